"""A program as ``network.nir``, its sidecar ``network.nir.json``, and what the export changed.

=====================  ============================================================================
tau, no tau_syn        LIF(tau = dt / (1 - tau), r = tau / dt); tau 1: IF(r = 1 / dt)
tau_syn                CubaLIF
bias                   of the convolution or matrix before, or of two; else ``v_leak``
Sparse                 the matrix; between images two convolutions
Sum                    edges that meet
lag                    Delay, or an edge that closes a loop
leaky readout          LI
=====================  ============================================================================

The timestep is 1 in networks of IF neurons alone, and 0.0001 in others, which is what snnTorch and
SpikingJelly assume. What has no place in NIR is in the sidecar (`nir_exchange.sidecar`).
"""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import dataclass, replace
from functools import singledispatch
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from seenn_deploy import ir
from seenn_deploy._typing import Array, Shape
from seenn_deploy.exits.policy import FILE, Policy
from seenn_deploy.fidelity import REPORT, FidelityReport
from seenn_deploy.io.folders import write_json
from seenn_deploy.io.nir.file import feedback, sidecar_path
from seenn_deploy.io.nir.hdf5 import import_nir
from seenn_deploy.ir.nodes.base import shown
from seenn_deploy.ir.serialize import arrays_of, edge_keys
from seenn_deploy.targets.nir.bias import before_padding
from seenn_deploy.targets.nir.sidecar import Place, describe

NETWORK = "network.nir"
PRECISIONS = ("float32",)
LEAKY_DT, PLAIN_DT = 1e-4, 1.0
FOREVER = float(1 << 30)  # timesteps of a time constant that stands for none
MOST = 1 << 25  # elements of a matrix


def write(program: ir.Program, folder: Path) -> None:
    """Write the NIR file, the sidecar and ``report.json`` into an existing, empty folder.

    Raises
    ------
    RefusedError, ModelError
        As :func:`examine`.
    """
    path = folder / NETWORK
    writer = _written(program)
    nir, report = writer.nir, writer.report
    nir.write(path, nir.NIRGraph(writer.nodes, sorted(writer.edges), type_check=False))
    if isinstance(program.exit_rule, Policy):
        shutil.copyfile(program.exit_rule.onnx, folder / FILE)
        program = replace(program, exit_rule=replace(program.exit_rule, onnx=FILE))
    write_json(sidecar_path(path), describe(program, writer.dt, writer.places, report, path))
    write_json(folder / REPORT, report.to_dict())


def examine(program: ir.Program) -> FidelityReport:
    """Report what the export keeps and what it can only approximate.

    Raises
    ------
    RefusedError
        When something has no form in NIR; the report has everything that has none.
    ModelError
        When the nir package is not installed.
    """
    return _written(program).report


def _written(program: ir.Program) -> _Writer:
    """The nodes and edges of the export, and the report."""
    report = FidelityReport("nir")
    if program.precision != "float32":
        report.refuse(
            "program",
            f"is {program.precision}, and NIR holds networks of real numbers",
            "export the float32 program; int8 is made from it again",
        )
    writer = _Writer(import_nir(Path(NETWORK)), program.graph, report)
    _report_program(program, report)
    return writer


def _report_program(program: ir.Program, report: FidelityReport) -> None:
    rule = type(program.exit_rule).__name__.lower()
    report.faithful("exit rule", f"{rule}: in the sidecar alone")
    low, high = program.input_range
    if np.isfinite(low) or np.isfinite(high):
        report.faithful("input", f"takes {low:g} to {high:g}: normalisation is part of the weights")


@dataclass(frozen=True, eq=False)
class _Bias:
    """A bias in parts of an edge: one per channel after its synapses, perhaps one before them."""

    edge: ir.Projection
    behind: Array
    before: Array | None = None


class _Writer:
    """The NIR nodes and edges of an export; `places` tells where each array of the graph is."""

    def __init__(self, nir: Any, graph: ir.SpikingGraph, report: FidelityReport) -> None:
        self.nir, self.graph, self.report = nir, graph, report
        for node in graph.layers:
            with report.gathering(node.name):
                _check_node(node, report)
        for edge in graph.projections:
            if graph.node(edge.post).kind == "sum" and edge.synapses.kind != "identity":
                listed = edge.synapses.kind == "sparse"
                report.refuse(
                    f"{edge.pre} -> {edge.post}",
                    "spikes put elsewhere" if listed else "a pool that is deployed as a sum",
                    "NIR has no node for it; let neurons follow"
                    if listed
                    else "compile with pools='fold'",
                )
        report.stop()
        self.nodes: dict[str, Any] = {}
        self.edges: set[tuple[str, str]] = set()
        self.places: dict[str, Place] = {}
        self.dt = PLAIN_DT if all(_integrates(n) for n in graph.order) else LEAKY_DT
        self.tall = _tall(graph)
        self.at_once = _plain_feedback(graph)
        self.arrays = arrays_of(graph)
        self.keys = dict(zip(map(id, graph.projections), edge_keys(graph), strict=True))
        fed = [n for n in graph.layers if isinstance(n, ir.Population | ir.Readout)]
        self.hosts = {node.name: self._host(node) for node in fed}
        self.names: dict[str, str] = {}
        self.input = self._add("input", nir.Input({"input": np.array(self.shape(graph.source))}))
        self.names[graph.source.name] = self.input
        self._add_neurons()
        for target in fed:
            self._add_synapses(target)
        report.stop()
        self._keep_the_rest()

    def shape(self, node: ir.Node) -> Shape:
        """Return a node's shape in NIR, where populations that feed images are images, too."""
        return (*node.shape, 1, 1) if node.name in self.tall else node.shape

    def _add(self, name: str, node: Any) -> str:
        """Add a node under a new name that HDF5 and torch take, and return the name."""
        clean = "".join(c if c.isalnum() or c in "_-" else "_" for c in name).strip("_") or "node"
        number, found = 1, clean
        while found in self.nodes:
            number, found = number + 1, f"{clean}_{number}"
        self.nodes[found] = node
        return found

    def _link(self, pre: str, post: str) -> None:
        """Add an edge; a second one between the same nodes goes through a Scale of 1."""
        if (pre, post) in self.edges:
            shape = _out_shape(self.nodes[pre])
            scale = self._add(f"{pre}_again", self.nir.Scale(np.ones(shape, np.float32)))
            self.edges.add((pre, scale))
            pre = scale
        self.edges.add((pre, post))

    # --- neurons ---

    def _add_neurons(self) -> None:
        for node in self.graph.populations:
            hosted = self.hosts[node.name] is not None or not np.any(node.bias)
            self.names[node.name] = self._add(node.name, self._neuron(node, hosted))
            self._report_neuron(node)
        readout = self.graph.readout
        output = self._add("output", self.nir.Output({"output": np.array(readout.shape)}))
        self.names[readout.name] = output
        if not _integrates(readout):
            name = self._add(readout.name, self._integrator(readout))
            self.names[readout.name] = name
            self.edges.add((name, output))
        else:
            self.report.faithful(readout.name, "sum the output over the timesteps for the logits")

    def _neuron(self, node: ir.Population, hosted: bool) -> Any:
        shape = self.shape(node)
        common = {"v_threshold": self._full(node, node.v_threshold), "v_reset": np.zeros(shape)}
        if _integrates(node) and hosted:
            return self.nir.IF(r=np.full(shape, 1 / self.dt), **common)
        tau, left = self._constant(node, node.tau)
        bias = np.broadcast_to(node.bias.astype(np.float64), node.shape).reshape(shape)
        leak = np.zeros(shape) if hosted else bias / left
        # Euler's step takes the share dt / tau of current and v_leak; dividing by it undoes that.
        r = tau / self.dt
        if not np.any(node.tau_syn):
            return self.nir.LIF(tau=tau, r=r, v_leak=leak, **common)
        tau_syn, entering = self._constant(node, node.tau_syn)
        if not hosted:
            self.report.approximated(
                node.name,
                "a bias before its synaptic current became v_leak",
                "right when the current has settled",
            )
        return self.nir.CubaLIF(
            tau_syn=tau_syn,
            tau_mem=tau,
            r=r,
            v_leak=leak / entering,
            w_in=tau_syn / self.dt,
            **common,
        )

    def _full(self, node: ir.Population | ir.Readout, value: ir.Parameter) -> Array:
        """Return a parameter as NIR has it, one number for each neuron."""
        wide = np.broadcast_to(np.asarray(value, np.float64), node.shape)
        return np.array(wide).reshape(self.shape(node))

    def _constant(
        self, node: ir.Population | ir.Readout, left: ir.Parameter
    ) -> tuple[Array, Array]:
        """Return the time constants that leave a share `left` per timestep, and what they take."""
        lasting, taken = self._full(node, left) >= 1, 1 - self._full(node, left)
        if lasting.any():
            self.report.approximated(
                node.name,
                "what never leaks has a very long time constant",
                f"2^-{int(np.log2(FOREVER))} of it a timestep",
            )
            taken[lasting] = 1 / FOREVER
        return self.dt / taken, taken

    def _integrator(self, node: ir.Readout) -> Any:
        tau, _ = self._constant(node, node.tau)
        common = {"r": tau / self.dt, "v_leak": np.zeros(node.shape)}
        if not np.any(node.tau_syn):
            return self.nir.LI(tau=tau, **common)
        tau_syn, _ = self._constant(node, node.tau_syn)
        return self.nir.CubaLI(tau_syn=tau_syn, tau_mem=tau, w_in=tau_syn / self.dt, **common)

    def _report_neuron(self, node: ir.Population) -> None:
        self.report.faithful(
            node.name,
            f"{type(self.nodes[self.names[node.name]]).__name__}, leak "
            f"{shown(node.tau)}, threshold {shown(node.v_threshold)}",
        )
        if node.reset == "soft":
            self.report.approximated(
                node.name,
                f"a soft reset by {shown(node.subtracted)}",
                "readers without the sidecar reset to 0",
            )
        if node.comparison == ">=":
            self.report.approximated(
                node.name,
                "spikes at its threshold",
                "readers without the sidecar want more than it",
            )
        if np.any(node.v_init):
            self.report.approximated(
                node.name,
                f"starts at {shown(node.v_init)}",
                "readers without the sidecar start at 0",
            )

    # --- synapses ---

    def _host(self, node: ir.Population | ir.Readout) -> _Bias | None:
        """Find the projection whose NIR nodes can hold the bias."""
        # A NIR layer has one bias per channel.
        rows = np.broadcast_to(node.bias, node.shape).reshape(node.shape[0], -1)
        if np.any(rows != rows[:, :1]):
            return self._padded_host(node)
        for edge in self.graph.into(node.name):
            if not isinstance(edge.synapses, ir.Identity) or len(node.shape) == 1:
                return _Bias(edge, np.array(rows[:, 0]))
        return None

    def _padded_host(self, node: ir.Population | ir.Readout) -> _Bias | None:
        source = self.graph.source
        for edge in self.graph.into(node.name):
            if edge.pre == source.name and isinstance(edge.synapses, ir.Conv2d):
                found = before_padding(node.bias, edge.synapses, source.shape)
                if found is not None:
                    self.report.faithful(
                        f"{edge.pre} -> {edge.post}",
                        "what is taken from the input before its padding became a convolution",
                    )
                    before, behind = (np.asarray(b, np.float32) for b in found)
                    return _Bias(edge, behind, before)
        return None

    def _add_synapses(self, node: ir.Population | ir.Readout) -> None:
        host = self.hosts[node.name] if np.any(node.bias) else None
        for edge in self.graph.into(node.name):
            with self.report.gathering(f"{edge.pre} -> {edge.post}"):
                self._add_projection(edge, host if host and host.edge is edge else None)

    def _add_projection(self, edge: ir.Projection, host: _Bias | None) -> None:
        pre, post = self.graph.node(edge.pre), self.graph.node(edge.post)
        chain, shape = [], self.shape(pre)
        if edge.lag and id(edge) not in self.at_once:
            chain.append(("delay", self.nir.Delay(np.full(shape, edge.lag * self.dt))))
        if host and host.before is not None:
            pixel = ir.Conv2d(np.eye(shape[0], dtype=np.float32)[:, :, None, None])
            chain.append(("shift", self._conv(edge, pixel, shape, host.before)))
        chain += self._map(edge, shape, self.shape(post), host.behind if host else None)
        names = [self._add(f"{edge.pre}_{edge.post}_{kind}", node) for kind, node in chain]
        names.append(self.names[edge.post])
        for name, times in self._ends(pre).items():
            self._link(name if times == 1 else self._stronger(name, times), names[0])
        for a, b in pairwise(names):
            self._link(a, b)
        if len(names) > 1:
            self._place(f"{self.keys[id(edge)]}/weight", names[-2], edge)

    def _ends(self, node: ir.Node) -> Counter[str]:
        """Return the NIR nodes that send what a node of the graph sends."""
        # NIR has no sums: edges that meet are added, so what a sum adds is sent past it.
        if node.stages:
            return Counter([self.names[node.name]])
        return sum(
            (self._ends(self.graph.node(e.pre)) for e in self.graph.into(node.name)), Counter()
        )

    def _stronger(self, name: str, times: int) -> str:
        shape = _out_shape(self.nodes[name])
        scale = self._add(f"{name}_{times}x", self.nir.Scale(np.full(shape, times, np.float32)))
        self._link(name, scale)
        return scale

    def _map(
        self, edge: ir.Projection, taken: Shape, given: Shape, bias: Array | None
    ) -> list[Any]:
        """Return the nodes of one layer of synapses, each with a word for its name."""
        step = edge.synapses
        if isinstance(step, ir.Conv2d):
            return [("conv", self._conv(edge, step, taken, bias))]
        if isinstance(step, ir.Identity) and taken == given and bias is None:
            weight = np.full(taken, step.weight, np.float32)
            return [] if step.weight == 1 else [("scale", self.nir.Scale(weight))]
        matrix = self._matrix(edge, self.graph.node(edge.pre).shape, prod(given))
        if len(given) == 1:
            last = self.nir.Linear(matrix) if bias is None else self.nir.Affine(matrix, bias)
            flat = self.nir.Flatten({"input": np.array(taken)}, start_dim=0, end_dim=-1)
            return [*([("flatten", flat)] if len(taken) > 1 else []), ("linear", last)]
        return self._image_maps(edge, matrix, taken, given, bias)

    def _matrix(self, edge: ir.Projection, in_shape: Shape, n_out: int) -> Array:
        n_in = prod(in_shape)
        if n_in * n_out > MOST:
            self.report.refuse(
                f"{edge.pre} -> {edge.post}",
                f"{type(edge.synapses).__name__} of {n_in} to {n_out} neurons: NIR has no "
                "list of synapses, and the matrix would be too large",
                "use a convolution or a smaller layer",
            )
        if not isinstance(edge.synapses, ir.Dense | ir.PooledDense | ir.Identity):
            self.report.faithful(f"{edge.pre} -> {edge.post}", "a list of synapses became a matrix")
        return edge.synapses.matrix(in_shape)

    def _image_maps(
        self, edge: ir.Projection, matrix: Array, taken: Shape, given: Shape, bias: Array | None
    ) -> list[Any]:
        """Any map between images: all neurons as channels, and those as an image again."""
        name = f"{edge.pre} -> {edge.post}"
        if given[1:] == (1, 1):
            conv = ir.Conv2d(matrix.reshape(len(matrix), *taken))
            return [("conv", self._conv(edge, conv, taken, bias))]
        size, (channels, height, width) = prod(taken), given
        if size * size > MOST:
            self.report.refuse(
                name,
                f"{size} neurons as channels of a convolution are too many",
                "use a smaller layer",
            )
        apart = ir.Conv2d(np.eye(size, dtype=np.float32).reshape(size, *taken))
        # Turned round, because with full padding the first pixel meets the kernel's last tap.
        spread = matrix.reshape(*given, size)[:, ::-1, ::-1].transpose(0, 3, 1, 2)
        together = ir.Conv2d(np.ascontiguousarray(spread), padding=(height - 1, width - 1))
        assert together.out_shape((size, 1, 1)) == (channels, height, width)
        return [
            ("apart", self._conv(edge, apart, taken, None)),
            ("conv", self._conv(edge, together, (size, 1, 1), bias)),
        ]

    def _conv(self, edge: ir.Projection, conv: ir.Conv2d, shape: Shape, bias: Array | None) -> Any:
        conv = _squared(_ungrouped(conv))
        name = f"{edge.pre} -> {edge.post}"
        k_h, k_w = conv.weight.shape[2:]
        if k_h != k_w:
            self.report.faithful(
                name,
                f"a {k_h}x{k_w} kernel: nir 1.0.8 mistakes its output "
                "shape, read the file with type_check=False",
            )
        return self.nir.Conv2d(
            input_shape=shape[1:],
            weight=conv.weight,
            stride=conv.stride,
            padding=conv.padding,
            dilation=conv.dilation,
            groups=1,
            bias=np.zeros(len(conv.weight), np.float32) if bias is None else bias,
        )

    # --- where arrays are ---

    def _place(self, key: str, name: str, edge: ir.Projection) -> None:
        """A weight that lies in the node as it is."""
        weight = getattr(self.nodes[name], "weight", None)
        own = edge.synapses.weight
        if weight is not None and weight.shape == own.shape and weight.dtype == own.dtype:
            self.places[key] = (name, "", list(own.shape))

    def _keep_the_rest(self) -> None:
        """Put an array that no node holds as it is into the metadata of the input."""
        kept: dict[str, Array] = {}
        for key, array in self.arrays.items():
            if key not in self.places:
                where = f"seenn_{len(kept)}"
                kept[where] = array.ravel() if array.size else np.zeros(1, array.dtype)
                self.places[key] = (self.input, where, list(array.shape))
        self.nodes[self.input].metadata = kept


@singledispatch
def _check_node(node: ir.Node, report: FidelityReport) -> None:
    """Refuse a kind of nodes that NIR has none for."""
    report.refuse(node.name, f"NIR has no form for a {node.kind} node", "export without it")


@_check_node.register(ir.Population)
@_check_node.register(ir.Readout)
@_check_node.register(ir.Sum)
def _(node: ir.Node, report: FidelityReport) -> None:
    """Accept the node: there is nothing to refuse."""


@_check_node.register
def _(node: ir.Maximum, report: FidelityReport) -> None:
    report.refuse(
        node.name, "NIR has no node for a max pool over currents",
        "put the pool behind the neurons, or train with average pools",
    )  # fmt: skip


def _integrates(node: ir.Node) -> bool:
    """Tell whether a node has no leak, as IF neurons and sums have none."""
    return bool(np.all(getattr(node, "tau", 1) == 1)) and not np.any(getattr(node, "tau_syn", 0))


def _out_shape(node: Any) -> Shape:
    (found,) = node.output_type.values()
    return tuple(int(n) for n in found)


def _tall(graph: ir.SpikingGraph) -> set[str]:
    """Vectors that must be written (N, 1, 1), for NIR has no way from (N,) to an image."""
    tall: set[str] = set()
    flat = {n.name for n in graph.order if len(n.shape) == 1 and n is not graph.readout}
    while True:
        more = set()
        for e in graph.projections:
            if e.pre in flat and (e.post in tall or len(graph.node(e.post).shape) > 1):
                more.add(e.pre)
            if e.post in flat and e.pre in tall and not graph.stages(e):
                more.add(e.post)
        if more <= tall:
            return tall
        tall |= more


def _plain_feedback(graph: ir.SpikingGraph) -> set[int]:
    """Projections with a lag of 1 that a reader finds out by itself: they close a loop."""
    edges, start = list(graph.projections), graph.source.name
    plain = {id(e) for e in edges if e.lag == 1}
    while True:
        walked = [e for e in edges if not e.lag or id(e) in plain]
        waiting = [(start, e.post) for e in edges if e.lag and id(e) not in plain]
        late = set(feedback([*((e.pre, e.post) for e in walked), *waiting], start))
        closing = {id(e) for e in walked if (e.pre, e.post) in late}
        if not closing <= plain:
            return set()
        if closing == plain:
            return plain
        plain = closing


def _ungrouped(conv: ir.Conv2d) -> ir.Conv2d:
    """Return a convolution in one group, with zeros: most readers know no other."""
    if conv.groups == 1:
        return conv
    c_out, c_group, *kernel = conv.weight.shape
    weight = np.zeros((c_out, c_group * conv.groups, *kernel), conv.weight.dtype)
    for i, row in enumerate(conv.weight):
        start = i // (c_out // conv.groups) * c_group
        weight[i, start : start + c_group] = row
    return replace(conv, weight=weight, groups=1)


def _squared(conv: ir.Conv2d) -> ir.Conv2d:
    """A square kernel with a border of zeros, where that needs no half pixels."""
    sides = conv.weight.shape[2:]
    extra = [max(sides) - k for k in sides]
    if any(e % 2 for e in extra):
        return conv
    half = [e // 2 for e in extra]
    weight = np.pad(conv.weight, ((0, 0), (0, 0), *((h, h) for h in half)))
    p, d = conv.padding, conv.dilation
    return replace(conv, weight=weight, padding=(p[0] + half[0] * d[0], p[1] + half[1] * d[1]))
