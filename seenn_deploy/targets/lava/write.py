"""The Lava target: it writes a folder that runs a program on Lava without seenn-deploy.

The bundle is ``network.json`` (structure, parameters, checksums), ``weights.npz`` (arrays, channels
first) and readable source files, copied from ``bundle/`` here and from ``seenn_deploy/exits``.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from functools import singledispatch
from pathlib import Path
from typing import Any

import numpy as np

from seenn_deploy import exits, ir, plugins
from seenn_deploy._typing import Array
from seenn_deploy.errors import ProgramError
from seenn_deploy.exits.base import to_json
from seenn_deploy.exits.policy_network import forward, integer
from seenn_deploy.fidelity import REPORT, FidelityReport
from seenn_deploy.io import folders
from seenn_deploy.ir.text import layer_text
from seenn_deploy.targets.lava import policy, ranges

FORMAT, VERSION = "seenn-deploy lava bundle", 5
TAGS = {"float32": "floating_pt", "int8": "fixed_pt"}
PRECISIONS = tuple(TAGS)
WEIGHTS = "weights.npz"
SOURCES = Path(__file__).parent / "bundle"
POOLS = ("fold", "sum")
SCHEDULES = ("speculative", "gated", "pipelined")  # the first is what runs where none is named
LARGEST = 127  # Lava's Conv keeps kernel, stride, padding, dilation and groups in 8 signed bits


def write(program: ir.Program, folder: Path) -> None:
    """Write the bundle of a program into an existing, empty folder.

    Parameters
    ----------
    program : Program
        Program of float32 or int8 precision.
    folder : Path
        Folder to write into; the caller gives it its final name.

    Raises
    ------
    RefusedError
        As :func:`examine`.
    """
    report = examine(program)
    arrays: dict[str, Array] = {}
    spec = _spec(program, arrays)
    spec["policy"], spec["integer_policy"] = None, None
    more: dict[str, Array] = {}
    if program.policy is not None:
        spec["integer_policy"], more = program.policy.to_arrays()
    elif network := policy.lower(program.exit_rule):
        spec["policy"], more = network.to_arrays()
    np.savez(folder / WEIGHTS, allow_pickle=False, **arrays, **more)
    spec["sha256"] = {WEIGHTS: folders.sha256(folder / WEIGHTS)}
    folders.write_json(folder / "network.json", spec)
    folders.write_json(folder / REPORT, report.to_dict())
    _copy_sources(folder)


def examine(program: ir.Program) -> FidelityReport:
    """Report every layer that Lava takes as faithful: its numbers are the same.

    Raises
    ------
    RefusedError
        When Lava has no processes for the precision, a node or a policy network's operators, its
        integers cannot hold a value, or feedback comes back too late for the schedule; the report
        has everything of that.
    """
    report, graph = FidelityReport("lava"), program.graph
    # Nothing below makes sense in a precision that Lava does not have.
    with report.gathering("program"):
        if program.precision not in TAGS:
            raise ProgramError(
                f"precision {program.precision!r}: the Lava target runs {', '.join(TAGS)}"
            )
    report.stop()
    if program.precision == "int8":
        ranges.check(program, report)
    for edge in graph.projections:
        with report.gathering(f"{edge.pre} -> {edge.post}"):
            program.waiting_steps(edge)
            _as_written(edge, program)
    for node in graph.order:
        with report.gathering(node.name):
            # What writing would refuse is found by trying it: two lists of limits would disagree
            # one day.
            _parameters(node, {}, program.precision == "int8")
            if node is not graph.source:
                report.faithful(node.name, layer_text(graph, node))
    with report.gathering("exit rule"):
        if program.policy is None:
            policy.lower(program.exit_rule)
    report.stop()
    return report


def _spec(program: ir.Program, arrays: dict[str, Array]) -> dict[str, Any]:
    graph = _with_runnable_synapses(program)
    return {
        "format": FORMAT,
        "version": VERSION,
        # A bundle is moved about by itself; without this it could run beside another program.
        "made_for": program.made_for,
        "T": graph.T,
        "depth": graph.depth[graph.readout.name],
        "exit_rule": program.exit_rule.to_dict(),
        "schedule": program.schedule,
        "precision": program.precision,
        "tag": TAGS[program.precision],
        "logit_scale": ranges.logit_scale(program),
        "input": {
            "shape": list(graph.source.shape),
            "coding": graph.source.coding,
            "range": to_json(program.input_range),
            # Float bundles compute in float64, which no input exceeds.
            "limit": ranges.input_limit(program) if program.precision == "int8" else None,
        },
        "provenance": graph.provenance.to_dict(),
        "nodes": [
            _node(n, graph.depth[n.name], arrays, program.precision == "int8") for n in graph.order
        ],
        "edges": [_edge(program, e, i, arrays) for i, e in enumerate(graph.projections)],
    }


def _with_runnable_synapses(program: ir.Program) -> ir.SpikingGraph:
    graph = program.graph
    return graph.replace(
        projections=[replace(e, maps=(_as_written(e, program),)) for e in graph.projections]
    )


def _as_written(edge: ir.Projection, program: ir.Program) -> ir.Synapses:
    """Return an edge's synapses as the bundle has them; those into a sum are lists of ones."""
    if program.graph.node(edge.post).kind == "sum" and edge.synapses.kind != "identity":
        return ir.Sparse.listing(edge.synapses, program.graph.node(edge.pre).shape)
    return _runnable(edge.synapses, edge, program)


@singledispatch
def _runnable(synapses: ir.Synapses, edge: ir.Projection, program: ir.Program) -> ir.Synapses:
    """Synapses that the bundle has a Lava process for: those it knows, and lists of all others."""
    return ir.Sparse.listing(synapses, program.graph.node(edge.pre).shape)


@_runnable.register(ir.Identity)
@_runnable.register(ir.Dense)
def _(synapses: ir.Synapses, edge: ir.Projection, program: ir.Program) -> ir.Synapses:
    return synapses


@_runnable.register
def _(pooled: ir.PooledDense, edge: ir.Projection, program: ir.Program) -> ir.Synapses:
    """Lava's Dense has a weight for every synapse."""
    return pooled.spread(program.graph.node(edge.pre).shape)


@_runnable.register
def _(conv: ir.Conv2d, edge: ir.Projection, program: ir.Program) -> ir.Synapses:
    """Convolutions that Lava's Conv cannot hold become lists."""
    sizes = (*conv.weight.shape[2:], *conv.stride, *conv.padding, *conv.dilation, conv.groups)
    if max(sizes) <= LARGEST:
        return conv
    if program.precision == "int8":
        ranges.check_without_wrap(edge, program)
    # Exact all the same, at the price of one stored weight per synapse.
    return ir.Sparse.listing(conv, program.graph.node(edge.pre).shape)


def _node(node: ir.Node, depth: int, arrays: dict[str, Array], integers: bool) -> dict[str, Any]:
    common = {"name": node.name, "shape": list(node.shape), "depth": depth, "kind": node.kind}
    return common | _parameters(node, arrays, integers)


@singledispatch
def _parameters(node: ir.Node, arrays: dict[str, Array], integers: bool) -> dict[str, Any]:
    """Return what the bundle's process for a node is made with; arrays go into `arrays`."""
    raise ProgramError(f"{node.name}: target lava has no form for a {node.kind} node")


@_parameters.register
def _(node: ir.Source, arrays: dict[str, Array], integers: bool) -> dict[str, Any]:
    return {"coding": node.coding, "scale": node.scale, "offset": node.offset}


@_parameters.register
def _(node: ir.Sum, arrays: dict[str, Array], integers: bool) -> dict[str, Any]:
    return {}


@_parameters.register
def _(node: ir.Population, arrays: dict[str, Array], integers: bool) -> dict[str, Any]:
    key = f"{node.name}/bias"
    arrays[key], exponent = ranges.bias_parts(node) if integers else (node.bias, 0)
    values = _whole_neurons(node) if integers else _neurons(node)
    return {**_stored(node, values, arrays), "bias": key, "bias_exp": exponent}


@_parameters.register
def _(node: ir.Maximum, arrays: dict[str, Array], integers: bool) -> dict[str, Any]:
    raise ProgramError(
        f"{node.name}: target lava has no process for a max pool over currents; put the pool "
        "behind the neurons, or train with average pools"
    )


@_parameters.register
def _(node: ir.Readout, arrays: dict[str, Array], integers: bool) -> dict[str, Any]:
    key = f"{node.name}/bias"
    arrays[key] = node.bias.astype(np.int32) if integers else node.bias
    kept = {"tau": node.tau, "tau_syn": node.tau_syn}
    kept = {name: ranges.share(x) if integers else x for name, x in kept.items()}
    return {**_stored(node, kept, arrays), "bias": key}


def _stored(node: ir.Node, values: dict[str, Any], arrays: dict[str, Array]) -> dict[str, Any]:
    """Put what differs between neurons into `arrays`, and its name in its place."""
    found = {name: x for name, x in values.items() if isinstance(x, np.ndarray)}
    arrays |= {f"{node.name}/{name}": np.ascontiguousarray(x) for name, x in found.items()}
    return {**values, **{name: f"{node.name}/{name}" for name in found}}


def _neurons(node: ir.Population) -> dict[str, Any]:
    parameters = ("tau", "tau_syn", "v_threshold", "v_init", "reset", "comparison")
    return {**{name: getattr(node, name) for name in parameters}, "reset_by": node.subtracted}


def _whole_neurons(node: ir.Population) -> dict[str, Any]:
    """The parameters as Lava's integers; the leak of currents in 4096ths, of potentials as dv."""
    values = _neurons(node)
    whole = {name: ranges.whole(values[name]) for name in ("v_threshold", "v_init", "reset_by")}
    return {**values, **whole, "dv": ranges.dv(node), "tau_syn": ranges.share(node.tau_syn)}


def _edge(
    program: ir.Program, edge: ir.Projection, number: int, arrays: dict[str, Array]
) -> dict[str, Any]:
    synapses = edge.synapses
    stored: dict[str, Any] = {
        "pre": edge.pre,
        "post": edge.post,
        "kind": synapses.kind,
        "delay": program.waiting_steps(edge),
        "lag": edge.lag,
        "split": ranges.needs_split(synapses),
    }
    for name in ("stride", "padding", "dilation", "groups"):
        if hasattr(synapses, name):
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
    copy_exits(folder)


def copy_exits(folder: Path) -> None:
    """Copy the exit rules and what computes policy networks, which need numpy alone."""
    for name in ("base", "family", "integer", "points", *exits.names()):
        path = Path(str(plugins.load("exits", name).__file__))
        _copy(path, folder / "exits" / path.name)
    for module in (forward, integer):
        path = Path(str(module.__file__))
        _copy(path, folder / "exits" / "policy_network" / path.name)


def _copy(path: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, to)
