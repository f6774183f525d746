"""What has to find a place on a chip: layers, delay lines and the readout, and who sends to whom.

A direct image enters as a bias of each neuron of the first layers, which the host computes and
writes, so that it takes no axon. Spikes of an event stream come from the host by messages. A delay
line passes spikes on, a neuron per spike and hardware step. The exit controller reads the logits
where the readout is, and sends every core one token that ends a sample. A policy network runs
before the first timestep; ``policy.py`` lists what it takes.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from seenn_deploy import ir
from seenn_deploy._typing import Shape
from seenn_deploy.compiler.mapping.chip import Chip
from seenn_deploy.errors import ProgramError
from seenn_deploy.ir.maps import Synapses

HOST = "host"  # where an event stream comes from


@dataclass(frozen=True)
class Link:
    """Synapses from one unit to another.

    Parameters
    ----------
    pre : str
        Name of a unit, or `HOST`.
    shape : (C, H, W)
        Of the neurons that send.
    synapses : Synapses
    """

    pre: str
    shape: Shape
    synapses: Synapses


@dataclass(frozen=True)
class Unit:
    """Neurons of one layer, or of one step of a delay line.

    Parameters
    ----------
    name : str
    layer : str
        Layer whose row of a table it belongs to.
    shape : (C, H, W)
        A vector of N neurons is (N, 1, 1).
    links : tuple of Link
    """

    name: str
    layer: str
    shape: Shape
    links: tuple[Link, ...]


def units_of(program: ir.Program, chip: Chip) -> tuple[Unit, ...]:
    """List what has to be placed, in the order in which spikes run.

    Raises
    ------
    ProgramError
        When the chip cannot compute the program, or feedback comes back too late.
    """
    if program.precision != "int8":
        raise ProgramError(
            f"chip {chip.name} computes in integers; this program has precision "
            f"{program.precision}: compile the network with --precision int8"
        )
    # The cores of a chip are a pipeline, as Lava's processes are.
    program = program.for_targets("lava")
    graph, lines = program.graph, dict[str, int]()
    for node in graph.layers:
        if node.kind not in ("population", "readout", "sum"):
            raise ProgramError(f"{node.name}: chip {chip.name} has no form for a {node.kind} node")
        if node.graded and not chip.graded:
            raise ProgramError(
                f"{node.name}: chip {chip.name} has no spikes with values, which a {node.kind} "
                "sends; compile with --pools fold, or take another chip"
            )
    for edge in graph.projections:
        lines[edge.pre] = max(lines.get(edge.pre, 0), program.waiting_steps(edge))
    found = []
    for node in graph.layers:
        links = [_link(program, edge) for edge in graph.into(node.name)]
        whole = tuple(link for link in links if link is not None)
        found.append(Unit(node.name, node.name, pixels(node.shape), whole))
        found += _line(node, lines.get(node.name, 0))
    return tuple(found)


def pixels(shape: Shape) -> Shape:
    """A shape as (C, H, W)."""
    return (*shape, 1, 1)[:3] if len(shape) < 3 else (shape[0], shape[1], prod(shape[2:]))


def _link(program: ir.Program, edge: ir.Projection) -> Link | None:
    """The synapses of an edge, from the end of its delay line; none of an image."""
    graph = program.graph
    source, waits = graph.source, program.waiting_steps(edge)
    if edge.pre == source.name and source.coding == "direct":
        return None
    pre = HOST if edge.pre == source.name else edge.pre
    name = f"{pre}.delay{waits}" if waits and pre != HOST else pre
    return Link(name, pixels(graph.node(edge.pre).shape), edge.synapses)


def _line(node: ir.Node, length: int) -> list[Unit]:
    """The neurons that pass what a node sent on, hardware step by hardware step."""
    shape, found, before = pixels(node.shape), [], node.name
    for step in range(1, length + 1):
        name = f"{node.name}.delay{step}"
        found.append(Unit(name, node.name, shape, (Link(before, shape, ir.Identity()),)))
        before = name
    return found
