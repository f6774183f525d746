"""The SANA-FE target: it writes a folder with a program on the cores of a chip.

The folder is ``architecture.yaml`` (the chip, as SANA-FE reads it), ``network.json`` and
``network.npz`` (neurons, their cores and their synapses), and readable source files that load both
into SANA-FE and run it. What SANA-FE's neurons cannot do stays with the host, which runs them: the
currents of an image, the exit rule, the policy network, and writing initial potentials.
"""

from __future__ import annotations

import shutil
from functools import singledispatch
from pathlib import Path
from typing import Any

import numpy as np

from seenn_deploy import ir
from seenn_deploy._typing import Array, Shape
from seenn_deploy.compiler.mapping import chip as chips
from seenn_deploy.compiler.mapping.place import map_to_chip
from seenn_deploy.compiler.mapping.placement import Placement
from seenn_deploy.compiler.mapping.units import HOST, Unit, units_of
from seenn_deploy.errors import ProgramError
from seenn_deploy.exits.base import to_json
from seenn_deploy.fidelity import REPORT, FidelityReport
from seenn_deploy.io import folders
from seenn_deploy.ir.text import layer_text
from seenn_deploy.targets.lava.write import copy_exits
from seenn_deploy.targets.sanafe import architecture
from seenn_deploy.targets.sanafe.neurons import UNIT, Neurons, neurons, passing

FORMAT, VERSION = "seenn-deploy sanafe bundle", 1
PRECISIONS = ("int8",)
POOLS = ("fold",)  # spikes carry no values on the chips that SANA-FE describes
SCHEDULES = ("speculative", "gated", "pipelined")
CHIP = "loihi1"
NETWORK, ARRAYS, CHIP_FILE = "network.json", "network.npz", "architecture.yaml"
SOURCES = Path(__file__).parent / "bundle"
SHARED = Path(__file__).parent.parent / "lava" / "bundle" / "files.py"


def write(program: ir.Program, folder: Path, chip: str = CHIP) -> None:
    """Write a placed program into an existing, empty folder.

    Parameters
    ----------
    program : Program
        Of int8 precision.
    folder : Path
    chip : str
        ``loihi1``, or a file like it, with energies and times.

    Raises
    ------
    DataError
        When there is no such chip.
    RefusedError
        As :func:`examine`.
    """
    found = chips.load(chip)
    report = _examined(program, found)
    placement = map_to_chip(program, found)
    arrays: dict[str, Array] = {}
    spec = _spec(program, placement, arrays)
    if program.policy is not None:
        spec["integer_policy"], more = program.policy.to_arrays()
        arrays |= more
    np.savez_compressed(folder / ARRAYS, allow_pickle=False, **arrays)
    text = architecture.text(placement, sum(host["size"] for host in spec["hosts"]))
    folders.write_file(folder / CHIP_FILE, text.encode())
    spec["sha256"] = {ARRAYS: folders.sha256(folder / ARRAYS)}
    folders.write_json(folder / NETWORK, spec)
    if chip not in chips.names():
        shutil.copyfile(chip, folder / "chip.json")
    folders.write_json(folder / REPORT, report.to_dict())
    for path in (*SOURCES.iterdir(), SHARED):
        if path.suffix in (".py", ".md"):
            shutil.copyfile(path, folder / path.name)
    copy_exits(folder)


def examine(program: ir.Program) -> FidelityReport:
    """Report every layer as faithful: SANA-FE's numbers are the simulator's.

    Raises
    ------
    RefusedError
        When the program is none of integers, a node or edge has no form in SANA-FE's units, a state
        may leave its range, or the chip cannot hold a neuron; the report has everything of that.
    """
    return _examined(program, chips.load(CHIP))


def _examined(program: ir.Program, chip: chips.Chip) -> FidelityReport:
    report, graph = FidelityReport("sanafe"), program.graph
    with report.gathering("program"):
        architecture.check(chip)
        units_of(program, chip)
    report.stop()
    for edge in graph.projections:
        with report.gathering(f"{edge.pre} -> {edge.post}"):
            _check(edge, graph)
    for node in graph.layers:
        with report.gathering(node.name):
            neurons(node, program)
            report.faithful(node.name, layer_text(graph, node))
    report.stop()
    with report.gathering("program"):
        map_to_chip(program, chip)
    report.stop()
    return report


def _check(edge: ir.Projection, graph: ir.SpikingGraph) -> None:
    if edge.lag and edge.pre != graph.source.name:
        raise ProgramError(
            f"{edge.pre} -> {edge.post}: a lag of {edge.lag}, with which spikes reach the next "
            "sample; SANA-FE has no gate for them, take target lava"
        )


# --- what the folder holds ------------------------------------------------------------------------


def _spec(program: ir.Program, placement: Placement, arrays: dict[str, Array]) -> dict[str, Any]:
    source, units = program.graph.source, units_of(program, placement.chip)
    spec: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "made_for": program.made_for,
        "chip": placement.chip.name,
        "chips": placement.chips,
        "T": program.T,
        "depth": program.depth,
        "exit_rule": program.exit_rule.to_dict(),
        "schedule": program.schedule,
        "logit_scale": program.logit_scale,
        "input": {
            "shape": list(source.shape),
            "coding": source.coding,
            "range": to_json(program.input_range),
            "limit": None,  # the host looks at the currents themselves
        },
        # The first one is what the shared reader of samples looks at.
        "nodes": [{"name": source.name, "scale": source.scale, "offset": source.offset}],
        "units": [_unit(program, placement, unit, i, arrays) for i, unit in enumerate(units)],
        "links": _links(units, arrays),
        "inputs": _inputs(program, arrays),
        "hosts": _hosts(program, units),
        "tokens": _tokens(placement),
        "integer_policy": None,
    }
    hosts = [link for host in spec["hosts"] for link in host["links"]]
    loaded = (arrays[f"{link['arrays']}/target"] for link in (*spec["links"], *hosts))
    return spec | {"synapses": sum(map(len, loaded))}


def _unit(
    program: ir.Program, placement: Placement, unit: Unit, number: int, arrays: dict[str, Array]
) -> dict[str, Any]:
    """A population, a step of a delay line, or the readout: its neurons and their cores."""
    graph, node = program.graph, program.graph.node(unit.layer)
    line = unit.name != unit.layer
    made = passing(int(np.prod(unit.shape))) if line else neurons(node, program)
    waits = int(unit.name.rpartition(".delay")[2]) if line else 0
    cores = np.empty(unit.shape, np.int64)
    for tile in placement.tiles:
        if tile.unit == unit.name:
            cores[tile.box.slices] = tile.core
    places = [architecture.place(placement, core) for core in range(placement.cores)]
    arrays[f"{number}/tile"], arrays[f"{number}/core"] = np.array(places)[cores.ravel()].T
    _keep(made, f"{number}", arrays)
    return {
        "name": unit.name,
        "kind": "delay" if line else node.kind,
        "shape": list(node.shape),
        "depth": graph.depth[node.name] + waits,
        "soft": made.soft,
        "shift": made.shift,
        "room": [made.room.low, made.room.high],
    }


def _keep(made: Neurons, prefix: str, arrays: dict[str, Array]) -> None:
    for name in ("threshold", "leak", "bias", "start"):
        arrays[f"{prefix}/{name}"] = getattr(made, name)


def _links(units: tuple[Unit, ...], arrays: dict[str, Array]) -> list[dict[str, Any]]:
    """Synapses between units, one by one; those into the readout in units of its potential."""
    number, found = {unit.name: i for i, unit in enumerate(units)}, list[dict[str, Any]]()
    for post, unit in enumerate(units):
        for link in unit.links:
            if link.pre == HOST:
                continue
            prefix = f"link{len(found)}"
            _list(link.synapses, link.shape, prefix, arrays)
            scale = 1 / UNIT if unit is units[-1] else 1.0
            found.append(
                {"pre": number[link.pre], "post": post, "arrays": prefix, "scale": scale}
                | {"synapses": _hardware(link.synapses)}
            )
    return found


def _inputs(program: ir.Program, arrays: dict[str, Array]) -> list[dict[str, Any]]:
    """Synapses of the source, whose currents the host computes and adds to biases."""
    graph = program.graph
    source, found = graph.source, list[dict[str, Any]]()
    for edge in graph.projections:
        if edge.pre == source.name:
            prefix = f"input{len(found)}"
            _list(edge.synapses, source.shape, prefix, arrays)
            found.append({"post": edge.post, "arrays": prefix, "lag": edge.lag})
    return found


def _hosts(program: ir.Program, units: tuple[Unit, ...]) -> list[dict[str, Any]]:
    """Neurons of the host that send frames of events: one a pixel, for each time of sending.

    A frame goes to a layer of depth d in step t + d - 1, so that it arrives with its own timestep.
    """
    graph = program.graph
    source, number = graph.source, {unit.name: i for i, unit in enumerate(units)}
    times: dict[tuple[int, int], list[dict[str, Any]]] = {}
    edges = [edge for edge in graph.projections if edge.pre == source.name]
    for place, edge in enumerate(edges if source.coding == "events" else ()):
        scale = 1 / UNIT if edge.post == graph.readout.name else 1.0
        link = {"post": number[edge.post], "arrays": f"input{place}", "scale": scale}
        key = graph.depth[edge.post] - 1, edge.lag
        times.setdefault(key, []).append(link | {"synapses": _hardware(edge.synapses)})
    size = int(np.prod(source.shape))
    return [
        {"depth": depth, "lag": lag, "size": size, "links": links}
        for (depth, lag), links in times.items()
    ]


def _list(synapses: ir.Synapses, shape: Shape, prefix: str, arrays: dict[str, Array]) -> None:
    source, target, weight = ir.Sparse.listing(synapses, shape).connections(shape)
    for name, values in (("source", source), ("target", target), ("weight", weight)):
        arrays[f"{prefix}/{name}"] = np.asarray(values, np.int32)


@singledispatch
def _hardware(synapses: ir.Synapses) -> str:
    """The unit of a core that reads such synapses: their prices differ."""
    return "sparse"


@_hardware.register
def _(synapses: ir.Conv2d) -> str:
    return "conv"


@_hardware.register(ir.Dense)
@_hardware.register(ir.PooledDense)
def _(synapses: ir.Synapses) -> str:
    return "dense"


def _tokens(placement: Placement) -> list[dict[str, Any]]:
    """From the readout's core to all of its chip; other chips get them by their first core."""
    found, size = [], placement.chip.cores
    places = [architecture.place(placement, core) for core in range(placement.cores)]
    for first in range(0, placement.cores, size):
        inside = range(first, min(first + size, placement.cores))
        sender = placement.controller if placement.controller in inside else first
        found.append({"from": places[sender], "to": [places[core] for core in inside]})
    return found
