"""The network of ``network.json`` as connected Lava processes.

Arrays in the bundle are channels first, (C, H, W), and convolutions are correlations, as in torch.
Lava's are (W, H, C) and true convolutions: every array is turned here, once, and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from lava.magma.core.process.process import AbstractProcess
from lava.proc.conv.process import Conv
from lava.proc.dense.process import Dense
from lava.proc.sparse.process import Sparse
from processes.accumulator import Accumulator
from processes.delay import Delay
from processes.image_source import ImageSource
from processes.reset_lif import ResetLIF
from scipy.sparse import csr_matrix, identity

GRADED_BITS = 24  # any number above 0 makes Lava send values instead of 0 and 1


@dataclass(frozen=True)
class Network:
    """The processes that the host talks to.

    ``spike_files`` and ``v_files`` name what each population records, if it does.
    """

    source: ImageSource
    readout: Accumulator
    populations: dict[str, ResetLIF]
    spike_files: dict[str, Path]
    v_files: dict[str, Path]


def build(
    spec: dict[str, Any],
    arrays: dict[str, np.ndarray],
    frames: np.ndarray,
    spikes_to: Path | None = None,
    v_to: Path | None = None,
) -> Network:
    """Make and connect all processes.

    Parameters
    ----------
    spec : dict
        ``network.json``.
    arrays : dict of arrays
        ``weights.npz``.
    frames : array (N, F, C, H, W) or (N, F, n)
        The samples, one frame each or one a step.
    spikes_to, v_to : Path, optional
        Folders in which populations record.
    """
    recording = {"spike_file": _files(spec, spikes_to), "v_file": _files(spec, v_to)}
    processes: dict[str, AbstractProcess] = {}
    for node in spec["nodes"]:
        files = {k: v.get(node["name"]) for k, v in recording.items()}
        processes[node["name"]] = _node(node, arrays, frames, files)
    _connect_synapses(spec, arrays, processes)
    _connect_tokens(spec, processes)
    return Network(
        next(p for p in processes.values() if isinstance(p, ImageSource)),
        next(p for p in processes.values() if isinstance(p, Accumulator)),
        {name: p for name, p in processes.items() if isinstance(p, ResetLIF)},
        recording["spike_file"],
        recording["v_file"],
    )


def _files(spec: dict[str, Any], folder: Path | None) -> dict[str, Path]:
    """A file a population, numbered: a name may hold any character."""
    if folder is None:
        return {}
    nodes = enumerate(spec["nodes"])
    return {n["name"]: folder / f"{i}.bin" for i, n in nodes if n["kind"] == "population"}


# --- nodes -------------------------------------------------------------------------------------


def _node(
    node: dict[str, Any],
    arrays: dict[str, np.ndarray],
    frames: np.ndarray,
    files: dict[str, Path | None],
) -> AbstractProcess:
    name, shape = node["name"], tuple(node["shape"])
    if node["kind"] == "source":
        return ImageSource(frames=_turn(frames, len(shape)), name=name)
    bias = np.broadcast_to(arrays[node["bias"]].astype(float), shape)
    if node["kind"] == "readout":
        return Accumulator(shape=_turned_shape(shape), bias=_turn(bias, len(shape)), name=name)
    return ResetLIF(
        shape=_turned_shape(shape),
        bias=_turn(bias, len(shape)),
        name=name,
        **{k: node[k] for k in ("tau", "v_threshold", "v_init", "reset", "comparison")},
        **{k: None if path is None else str(path) for k, path in files.items()},
    )


def _turned_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape[::-1]


def _turn(values: np.ndarray, ndim: int) -> np.ndarray:
    """The last `ndim` axes reversed: (C, H, W) to (W, H, C) and back."""
    kept = range(values.ndim - ndim)
    return np.ascontiguousarray(
        values.transpose(*kept, *reversed(range(values.ndim - ndim, values.ndim)))
    )


def _turned_index(shape: tuple[int, ...]) -> np.ndarray:
    """Our flat index of each neuron in Lava's flat order."""
    return _turn(np.arange(prod(shape)).reshape(shape), len(shape)).ravel()


# --- edges -------------------------------------------------------------------------------------


def _connect_synapses(
    spec: dict[str, Any], arrays: dict[str, np.ndarray], processes: dict[str, AbstractProcess]
) -> None:
    nodes = {n["name"]: n for n in spec["nodes"]}
    delayed: dict[tuple[str, int], Delay] = {}
    for edge in spec["edges"]:
        pre, post = processes[edge["pre"]], processes[edge["post"]]
        graded = nodes[edge["pre"]]["kind"] == "source"
        shapes = tuple(nodes[edge[end]]["shape"] for end in ("pre", "post"))
        synapses = _synapses(edge, arrays, *map(tuple, shapes), GRADED_BITS if graded else 0)
        if edge["delay"]:
            pre = _delay(pre, edge, delayed)
        _link(pre.s_out, synapses.s_in)
        _link(synapses.a_out, post.a_in)


def _delay(
    pre: AbstractProcess, edge: dict[str, Any], delayed: dict[tuple[str, int], Delay]
) -> Delay:
    """The process that delays `pre` by the edge's steps; edges of equal delay share one."""
    key = edge["pre"], edge["delay"]
    if key not in delayed:
        delayed[key] = Delay(shape=pre.s_out.shape, steps=edge["delay"])
        pre.s_out.connect(delayed[key].s_in)
    return delayed[key]


def _link(out: Any, into: Any) -> None:
    (out if out.shape == into.shape else out.reshape(into.shape)).connect(into)


def _synapses(
    edge: dict[str, Any],
    arrays: dict[str, np.ndarray],
    shape_in: tuple[int, ...],
    shape_out: tuple[int, ...],
    message_bits: int,
) -> AbstractProcess:
    weight = arrays[edge["weight"]].astype(float)
    name = f"{edge['pre']} -> {edge['post']}"
    if edge["kind"] == "conv2d":
        return Conv(
            weight=np.ascontiguousarray(weight[:, :, ::-1, ::-1].transpose(0, 3, 2, 1)),
            input_shape=_turned_shape(shape_in),
            groups=edge["groups"],
            num_message_bits=message_bits,
            name=name,
            **{k: tuple(edge[k][::-1]) for k in ("stride", "padding", "dilation")},
        )
    if edge["kind"] == "dense":
        turned = weight[_turned_index(shape_out)][:, _turned_index(shape_in)]
        return Dense(weights=turned, num_message_bits=message_bits, name=name)
    if edge["kind"] == "identity":
        matrix = identity(prod(shape_in), format="csr") * weight.item()
    else:
        matrix = _sparse_matrix(edge, arrays, weight, shape_in, shape_out)
    return Sparse(weights=matrix, num_message_bits=message_bits, name=name)


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


# --- reset tokens ------------------------------------------------------------------------------


def _connect_tokens(spec: dict[str, Any], processes: dict[str, AbstractProcess]) -> None:
    """Each layer gets the token from a node one stage before it, where its own wave comes from."""
    depth = {n["name"]: n["depth"] for n in spec["nodes"]}
    for node in spec["nodes"]:
        if node["kind"] == "source":
            continue
        before = [e["pre"] for e in spec["edges"] if e["post"] == node["name"]]
        last = max(before, key=depth.__getitem__)
        processes[last].reset_out.connect(processes[node["name"]].reset_in)
