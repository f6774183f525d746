"""The network of ``network.json`` as connected Lava processes.

Arrays in the bundle are channels first, (C, H, W), and convolutions are correlations, as in torch.
Lava's are (W, H, C) and true convolutions: every array is turned here, once, and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from exits import integer
from exits.base import make, rule_of
from exits.policy_network.forward import PolicyNetwork
from exits.policy_network.integer import IntegerPolicy
from lava.magma.core.process.process import AbstractProcess
from lava.proc.conv.process import Conv
from lava.proc.dense.process import Dense
from lava.proc.sparse.process import Sparse
from processes.delay import Delay
from processes.exit_controller import ExitController
from processes.graded_add import GradedAdd
from processes.image_source import ImageSource
from processes.lag_gate import LagGate
from processes.policy_source import PolicySource
from processes.reset_lif import ResetLIF
from processes.windows import Windows
from scipy.sparse import csr_matrix, identity

GRADED_BITS = 24  # any number above 0 makes Lava send values instead of 0 and 1


@dataclass(frozen=True)
class Options:
    """The options of a run: what it records, and how far it goes.

    ``folder`` takes the recordings. ``drain``: run until the last wave has left the network.
    """

    folder: Path
    spikes: bool = False
    v: bool = False
    full_trace: bool = False
    drain: bool = False


@dataclass(frozen=True)
class Network:
    """The processes that the host talks to, and the files in which all of them record."""

    source: ImageSource
    controller: ExitController
    length: np.ndarray
    sent_file: Path
    seen_file: Path
    score_file: Path
    spike_files: dict[str, Path]
    v_files: dict[str, Path]


class Builder:
    """The builder that makes and connects all processes of a bundle.

    Parameters
    ----------
    spec : dict
        ``network.json``.
    arrays : dict of arrays
        ``weights.npz``.
    frames : array (N, F, C, H, W) or (N, F, n)
        The samples, with one frame each or one per timestep.
    length : int array (N,)
        Timesteps of each sample.
    options : Options
    """

    def __init__(
        self,
        spec: dict[str, Any],
        arrays: dict[str, np.ndarray],
        frames: np.ndarray,
        length: np.ndarray,
        options: Options,
    ) -> None:
        self.spec, self.arrays, self.options = spec, arrays, options
        self.frames, self.length = frames, length
        self.fixed = spec["tag"] == "fixed_pt"
        self.nodes = {n["name"]: n for n in spec["nodes"]}
        self.spike_files = self._files("spikes") if options.spikes else {}
        self.v_files = self._files("v") if options.v else {}
        self.processes: dict[str, AbstractProcess] = {}

    def build(self) -> Network:
        """Make and connect all processes."""
        make = {
            "source": self._source, "population": self._neurons, "sum": self._sum,
            "readout": self._controller,
        }  # fmt: skip
        for node in self.spec["nodes"]:
            self.processes[node["name"]] = make[node["kind"]](node)
        self._connect_synapses()
        self._connect_tokens()
        source, controller = (self._of(kind) for kind in (ImageSource, ExitController))
        controller.verdict_out.connect(source.verdict_in)
        return Network(
            source, controller, self.length, self._file("sent"), self._file("seen"),
            self._file("scores"), self.spike_files, self.v_files,
        )  # fmt: skip

    def _of(self, kind: type) -> Any:
        return next(p for p in self.processes.values() if isinstance(p, kind))

    def _file(self, name: str) -> Path:
        return self.options.folder / f"{name}.bin"

    def _files(self, kind: str) -> dict[str, Path]:
        """Name one file per population by number, because a name may hold any character."""
        nodes = enumerate(self.spec["nodes"])
        return {n["name"]: self._file(f"{kind}{i}") for i, n in nodes if n["kind"] == "population"}

    # --- nodes -----------------------------------------------------------------------------------

    def _source(self, node: dict[str, Any]) -> ImageSource:
        frames = self.frames.astype(float)
        if self.fixed:
            frames = np.rint((frames - node["offset"]) * node["scale"]).astype(np.int32)
        common = {
            "frames": _turn(frames, len(node["shape"])),
            "length": self.length,
            "schedule": self.spec["schedule"],
            "full_trace": self.options.full_trace,
            "file": str(self._file("sent")),
            "name": node["name"],
        }
        if self.spec["integer_policy"]:
            policy = IntegerPolicy.from_arrays(self.spec["integer_policy"], self.arrays)
            kept = str(self._file("scores"))
            return PolicySource(policy=policy, images=frames[:, 0], scores=kept, **common)
        if self.spec["policy"]:
            network = PolicyNetwork.from_arrays(self.spec["policy"], self.arrays)
            return PolicySource(policy=network, images=self.frames[:, 0], **common)
        return ImageSource(**common)

    def _controller(self, node: dict[str, Any]) -> ExitController:
        stored = self.spec["exit_rule"]
        rule = make(rule_of(import_module(f"exits.{stored['rule']}")), stored)
        if self.fixed:
            rule = integer.lower(rule, self.spec["logit_scale"], self.spec["T"])
        return ExitController(
            shape=_turned_shape(tuple(node["shape"])),
            bias=self._bias(node),
            rule=rule,
            length=self.length,
            tau=self._constant(node, "tau"),
            tau_syn=self._constant(node, "tau_syn"),
            full_trace=self.options.full_trace,
            drain=self.options.drain,
            file=str(self._file("seen")),
            name=node["name"],
        )

    def _neurons(self, node: dict[str, Any]) -> ResetLIF:
        files = {"spike_file": self.spike_files, "v_file": self.v_files}
        return ResetLIF(
            shape=_turned_shape(tuple(node["shape"])),
            dv=self._constant(node, "dv") if self.fixed else 1 - self._constant(node, "tau"),
            vth=self._constant(node, "v_threshold"),
            bias=self._bias(node),
            bias_exp=node["bias_exp"],
            holds=self.spec["schedule"] == "gated",
            name=node["name"],
            **{k: self._constant(node, k) for k in ("v_init", "tau_syn", "reset_by")},
            **{k: node[k] for k in ("reset", "comparison")},
            **{k: str(v[node["name"]]) if v else None for k, v in files.items()},
        )

    def _sum(self, node: dict[str, Any]) -> GradedAdd:
        return GradedAdd(shape=_turned_shape(tuple(node["shape"])), name=node["name"])

    def _constant(self, node: dict[str, Any], name: str) -> Any:
        """Return one number for the layer, or an array of its shape, as Lava has it."""
        if not isinstance(node[name], str):
            return node[name]
        values = np.broadcast_to(self.arrays[node[name]], node["shape"])
        return _turn(values, len(node["shape"]))

    def _bias(self, node: dict[str, Any]) -> np.ndarray:
        bias = np.broadcast_to(self.arrays[node["bias"]], node["shape"])
        return _turn(bias if self.fixed else bias.astype(float), len(node["shape"]))

    # --- edges -----------------------------------------------------------------------------------

    def _connect_synapses(self) -> None:
        # Equal delays and lags share one process, for each is a process of the machine, too.
        delayed: dict[tuple[str, int], Delay] = {}
        gates: dict[tuple[str, int], LagGate] = {}
        for edge in self.spec["edges"]:
            pre, post = self.processes[edge["pre"]], self.processes[edge["post"]]
            if edge["delay"]:
                pre = _delay(pre, edge, delayed)
            if isinstance(post, GradedAdd):
                _add(self._windows(edge, pre), post)
                continue
            if edge["lag"]:
                post = self._gate(post, edge, gates)
            for synapses in self._synapses(edge):
                _link(pre.s_out, synapses.s_in)
                _link(synapses.a_out, post.a_in)

    def _shapes(self, edge: dict[str, Any]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        pre, post = (tuple(self.nodes[edge[end]]["shape"]) for end in ("pre", "post"))
        return pre, post

    def _windows(self, edge: dict[str, Any], pre: AbstractProcess) -> AbstractProcess:
        """Return what a sum adds: a pool's windows, or spikes as they are."""
        if edge["kind"] == "identity":
            return pre
        shapes, weight = self._shapes(edge), self.arrays[edge["weight"]]
        matrix = _sparse_matrix(edge, self.arrays, weight, *shapes)
        sizes = {"shape_in": pre.s_out.shape, "shape": _turned_shape(shapes[1])}
        windows = Windows(synapses=matrix, name=f"{edge['pre']} -> {edge['post']}", **sizes)
        pre.s_out.connect(windows.s_in)
        return windows

    def _gate(
        self, post: AbstractProcess, edge: dict[str, Any], gates: dict[tuple[str, int], LagGate]
    ) -> LagGate:
        """Return the process that brings an edge's currents to `post`; equal lags share one."""
        key = edge["post"], edge["lag"]
        if key not in gates:
            gates[key] = LagGate(shape=post.a_in.shape, lag=edge["lag"])
            gates[key].a_out.connect(post.a_in)
            self._wave_from(edge["post"]).token_out.connect(gates[key].token_in)
        return gates[key]

    def _synapses(self, edge: dict[str, Any]) -> list[AbstractProcess]:
        """Make one process, or two where Lava's matrices cannot hold both signs."""
        shapes = self._shapes(edge)
        weight = self.arrays[edge["weight"]].astype(np.int32 if self.fixed else float)
        graded = self.nodes[edge["pre"]]["kind"] in ("source", "sum")
        common = {
            "num_message_bits": GRADED_BITS if graded else 0,
            "name": f"{edge['pre']} -> {edge['post']}",
        }
        if edge["kind"] == "conv2d":
            return [_convolution(edge, weight, shapes[0], common)]
        if edge["kind"] == "dense":
            turned = weight[_turned_index(shapes[1])][:, _turned_index(shapes[0])]
            return [Dense(weights=turned, **common)]
        if edge["kind"] == "identity":
            matrix = identity(prod(shapes[0]), weight.dtype, format="csr") * weight.item()
        else:
            matrix = _sparse_matrix(edge, self.arrays, weight, *shapes)
        parts = [matrix] if not edge["split"] else [matrix.maximum(0), matrix.minimum(0)]
        return [Sparse(weights=csr_matrix(part), **common) for part in parts]

    def _connect_tokens(self) -> None:
        for node in self.spec["nodes"]:
            if node["kind"] in ("population", "readout"):
                before = self._wave_from(node["name"])
                before.token_out.connect(self.processes[node["name"]].token_in)

    def _wave_from(self, name: str) -> AbstractProcess:
        """The node one stage before another: its wave and its token come from there.

        A sum has no token and no stage: the deepest population that it adds stands for it.
        """
        node = self.nodes[name]
        depth = node["depth"] - (node["kind"] != "sum")
        before = (e["pre"] for e in self.spec["edges"] if e["post"] == name)
        found = next(pre for pre in before if self.nodes[pre]["depth"] == depth)
        is_sum = self.nodes[found]["kind"] == "sum"
        return self._wave_from(found) if is_sum else self.processes[found]


# --- arrays the way Lava wants them --------------------------------------------------------------


def _turned_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape[::-1]


def _turn(values: np.ndarray, ndim: int) -> np.ndarray:
    """Reverse the last `ndim` axes: (C, H, W) becomes (W, H, C), and back."""
    kept = range(values.ndim - ndim)
    return np.ascontiguousarray(
        values.transpose(*kept, *reversed(range(values.ndim - ndim, values.ndim)))
    )


def _turned_index(shape: tuple[int, ...]) -> np.ndarray:
    """Return our flat index of each neuron, in Lava's flat order."""
    return _turn(np.arange(prod(shape)).reshape(shape), len(shape)).ravel()


def _delay(
    pre: AbstractProcess, edge: dict[str, Any], delayed: dict[tuple[str, int], Delay]
) -> Delay:
    """Return the process that delays `pre` by the edge's steps; equal delays share one."""
    key = edge["pre"], edge["delay"]
    if key not in delayed:
        delayed[key] = Delay(shape=pre.s_out.shape, steps=edge["delay"])
        pre.s_out.connect(delayed[key].s_in)
    return delayed[key]


def _add(pre: AbstractProcess, post: GradedAdd) -> None:
    """Connect two ports; Lava allows it once, so a repeated edge gets a process between."""
    if post.s_in in pre.s_out.out_connections:
        relay = GradedAdd(shape=pre.s_out.shape)
        pre.s_out.connect(relay.s_in)
        pre = relay
    pre.s_out.connect(post.s_in)


def _link(out: Any, into: Any) -> None:
    (out if out.shape == into.shape else out.reshape(into.shape)).connect(into)


def _convolution(
    edge: dict[str, Any], weight: np.ndarray, shape_in: tuple[int, ...], common: dict[str, Any]
) -> Conv:
    return Conv(
        weight=np.ascontiguousarray(weight[:, :, ::-1, ::-1].transpose(0, 3, 2, 1)),
        input_shape=_turned_shape(shape_in),
        groups=edge["groups"],
        **{k: tuple(edge[k][::-1]) for k in ("stride", "padding", "dilation")},
        **common,
    )


def _sparse_matrix(
    edge: dict[str, Any],
    arrays: dict[str, np.ndarray],
    weight: np.ndarray,
    shape_in: tuple[int, ...],
    shape_out: tuple[int, ...],
) -> csr_matrix:
    sources = np.repeat(np.arange(prod(shape_in)), np.diff(arrays[edge["indptr"]]))
    size = prod(shape_out), prod(shape_in)
    matrix = csr_matrix((weight, (arrays[edge["targets"]], sources)), size)
    return matrix[_turned_index(shape_out)][:, _turned_index(shape_in)]
