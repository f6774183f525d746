"""The Lava target: a folder that runs a program on Lava and needs nothing of seenn-deploy.

The bundle is ``network.json`` (structure, parameters, checksums), ``weights.npz`` (arrays, channels
first) and readable source files, copied from ``bundle/`` here and from ``seenn_deploy/exits``.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from seenn_deploy import exits, folders
from seenn_deploy.compiler.synapse_list import by_source, conv_synapses
from seenn_deploy.errors import ProgramError
from seenn_deploy.graph import (
    Array,
    Conv2d,
    Dense,
    Identity,
    Node,
    Population,
    Projection,
    Source,
    Sparse,
    SpikingGraph,
)
from seenn_deploy.program import Program

FORMAT, VERSION = "seenn-deploy lava bundle", 1
TAGS = {"float32": "floating_pt"}
SCHEDULES = ("speculative",)
WEIGHTS = "weights.npz"
SOURCES = Path(__file__).parent / "bundle"
LARGEST = 127  # Lava's Conv keeps kernel, stride, padding, dilation and groups in 8 signed bits


def write(program: Program, folder: Path) -> None:
    """Write the bundle of a program into an existing, empty folder.

    Parameters
    ----------
    program : Program
        Of float32 precision and the speculative schedule.
    folder : Path
        Where to write; the caller gives it its final name.

    Raises
    ------
    ProgramError
        For a precision or schedule that the Lava target has no processes for.
    """
    _check(program)
    arrays: dict[str, Array] = {}
    spec = _spec(program, arrays)
    _write_arrays(folder / WEIGHTS, arrays)
    spec["sha256"] = {WEIGHTS: folders.sha256(folder / WEIGHTS)}
    folders.write_json(folder / "network.json", spec)
    _copy_sources(folder)


def _check(program: Program) -> None:
    for what, found, runs in (
        ("precision", program.precision, TAGS),
        ("schedule", program.schedule, SCHEDULES),
    ):
        if found not in runs:
            raise ProgramError(f"{what} {found!r}: the Lava target runs {', '.join(runs)}")


def _write_arrays(path: Path, arrays: dict[str, Array]) -> None:
    with open(path, "wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def _spec(program: Program, arrays: dict[str, Array]) -> dict[str, Any]:
    graph = _with_runnable_synapses(program.graph)
    return {
        "format": FORMAT,
        "version": VERSION,
        "T": graph.T,
        "depth": graph.depth[graph.readout.name],
        "exit_rule": program.exit_rule.to_dict(),
        "schedule": program.schedule,
        "precision": program.precision,
        "tag": TAGS[program.precision],
        "input": {
            "shape": list(graph.source.shape),
            "coding": graph.source.coding,
            "range": [None if np.isinf(x) else x for x in program.input_range],
        },
        "provenance": {**graph.provenance, **program.provenance},
        "nodes": [_node(n, graph.depth[n.name], arrays) for n in graph.order],
        "edges": [_edge(e, i, arrays) for i, e in enumerate(graph.projections)],
    }


def _with_runnable_synapses(graph: SpikingGraph) -> SpikingGraph:
    return graph.replace(
        projections=[_runnable(e, graph.node(e.pre).shape) for e in graph.projections]
    )


def _runnable(edge: Projection, in_shape: tuple[int, ...]) -> Projection:
    """Convolutions that Lava's Conv cannot hold become synapse lists."""
    conv = edge.synapses
    if not isinstance(conv, Conv2d):
        return edge
    sizes = (*conv.weight.shape[2:], *conv.stride, *conv.padding, *conv.dilation, conv.groups)
    if max(sizes) <= LARGEST:
        return edge
    n_in, shape_out = int(np.prod(in_shape)), conv.out_shape(in_shape)
    return replace(edge, maps=(by_source(*conv_synapses(conv, in_shape), n_in, shape_out),))


def _node(node: Node, depth: int, arrays: dict[str, Array]) -> dict[str, Any]:
    common = {"name": node.name, "shape": list(node.shape), "depth": depth}
    if isinstance(node, Source):
        return {**common, "kind": "source", "coding": node.coding}
    key = f"{node.name}/bias"
    arrays[key] = node.bias
    if not isinstance(node, Population):
        return {**common, "kind": "readout", "bias": key}
    parameters = ("tau", "v_threshold", "v_init", "reset", "comparison")
    values = {name: getattr(node, name) for name in parameters}
    return {**common, "kind": "population", **values, "bias": key}


_KINDS = {Conv2d: "conv2d", Dense: "dense", Sparse: "sparse", Identity: "identity"}


def _edge(edge: Projection, number: int, arrays: dict[str, Array]) -> dict[str, Any]:
    synapses = edge.synapses
    stored: dict[str, Any] = {
        "pre": edge.pre,
        "post": edge.post,
        "kind": _KINDS[type(synapses)],
        "delay": edge.delay,
    }
    for name in ("stride", "padding", "dilation", "groups"):
        if isinstance(synapses, Conv2d):
            stored[name] = getattr(synapses, name)
    for name in ("weight", "indptr", "targets"):
        if hasattr(synapses, name):
            stored[name] = f"{number}:{edge.pre}->{edge.post}/{name}"
            arrays[stored[name]] = getattr(synapses, name)
    return stored


def _copy_sources(folder: Path) -> None:
    ours = sorted(SOURCES.rglob("*.py"))
    for path in ours:
        _copy(path, folder / path.relative_to(SOURCES))
    for path in sorted(Path(exits.__file__).parent.glob("*.py")):
        _copy(path, folder / "exits" / path.name)


def _copy(path: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, to)
