"""What SANA-FE's Loihi neuron is made with, so that it computes as section 6 of the design says.

Its potential p is v / 64, cut to whole multiples of 1/64 behind the leak, and it spikes where
p > threshold. It neither wraps nor saturates, so the ranges of all states are proven here; what the
host adds for an input has a limit, which the folder checks its data against.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import singledispatch
from math import ceil, floor

import numpy as np

from seenn_deploy import ir
from seenn_deploy._typing import Array
from seenn_deploy.errors import ProgramError
from seenn_deploy.ir import bounds
from seenn_deploy.ir.bounds import SPIKE, Interval
from seenn_deploy.ir.fixed_point import SHIFT, STATE, UNITY

UNIT = 1 << SHIFT  # of a potential in a current
LOGITS = (1 << 31) - 1  # SANA-FE cuts a potential to 32 bits
EXACT = 1 << 24  # whole numbers that its float32 attributes hold


@dataclass(frozen=True, eq=False)
class Neurons:
    """The constants of a layer's neurons, (N,) each, in multiples of 1/64 but for the leak.

    Parameters
    ----------
    threshold, bias, start : int64 array
    leak : float64 array
        Share of the potential that a step leaves.
    soft : bool
        Whether a spike subtracts the threshold; else it sets the potential to 0.
    shift : int
        What p is larger than v by: a soft reset at v >= V is one at v + 1 > V.
    room : Interval
        What an input may add to a current.
    """

    threshold: Array
    leak: Array
    bias: Array
    start: Array
    soft: bool = False
    shift: int = 0
    room: Interval = field(default_factory=lambda: Interval(-STATE, STATE))


@singledispatch
def neurons(node: ir.Node, program: ir.Program) -> Neurons:
    """Return the constants of a node's neurons.

    Raises
    ------
    ProgramError
        When SANA-FE's neurons cannot compute them, or a state may leave its range.
    """
    raise ProgramError(f"{node.name}: target sanafe has no form for a {node.kind} node")


@neurons.register
def _(node: ir.Population, program: ir.Program) -> Neurons:
    _check_current(node)
    threshold, leak = _whole(node, UNIT * np.asarray(node.v_threshold)), _leak(node)
    bias, start = _whole(node, node.bias), _whole(node, node.v_init)
    soft, at = node.reset == "soft", node.comparison == ">="
    if soft and np.any(node.subtracted != node.v_threshold):
        raise ProgramError(
            f"{node.name}: a soft reset by {np.ravel(node.subtracted)[0]:g}, SANA-FE's neurons "
            "subtract their threshold alone"
        )
    if soft and at and np.any(leak != 1):
        raise ProgramError(
            f"{node.name}: a soft reset at v >= V with a leak, SANA-FE's neurons compare by >"
        )
    room = _room(node, _arriving(node, program), program.T, (leak, bias, start))
    shift = int(soft and at)
    if at and not soft:
        threshold = threshold - 1
    return Neurons(threshold, leak, bias, start + shift, soft, shift, room)


@neurons.register
def _(node: ir.Readout, program: ir.Program) -> Neurons:
    _check_current(node)
    leak, bias = _leak(node), _whole(node, node.bias)
    if np.abs(bias).max(initial=0) >= EXACT:
        raise ProgramError(
            f"{node.name}: a bias of {np.abs(bias).max()}, SANA-FE holds up to {EXACT}"
        )
    largest = _arriving(node, program).size + int(np.abs(bias).max(initial=0))
    if program.T * largest > LOGITS:
        raise ProgramError(
            f"{node.name}: logits up to {program.T * largest}, SANA-FE's potentials have 32 bits"
        )
    nothing = np.zeros_like(bias)
    room = LOGITS // program.T - largest
    never = np.full(bias.shape, EXACT)
    return Neurons(never, leak, bias, nothing, room=Interval(-room, room))


def passing(size: int) -> Neurons:
    """Return neurons that pass a spike on, as in a delay line."""
    zeros = np.zeros(size, np.int64)
    return Neurons(np.full(size, UNIT // 2), zeros.astype(float), zeros, zeros)


def _check_current(node: ir.Population | ir.Readout) -> None:
    if np.any(node.tau_syn):
        raise ProgramError(
            f"{node.name}: a synaptic current that leaks (tau_syn), SANA-FE's neurons do not round "
            "it as Loihi does"
        )


def _leak(node: ir.Population | ir.Readout) -> Array:
    leak: Array = np.broadcast_to(node.tau, node.shape).ravel().astype(float)
    if np.any(leak * UNITY != np.rint(leak * UNITY)):
        raise ProgramError(f"{node.name}: a leak that is no multiple of 1/{UNITY}")
    return leak


def _whole(node: ir.Node, values: object) -> Array:
    spread: Array = np.rint(np.broadcast_to(np.asarray(values), node.shape).ravel())
    return spread.astype(np.int64)


def _arriving(node: ir.Node, program: ir.Program) -> Interval:
    """The currents that spikes cause."""
    graph, total = program.graph, Interval(0, 0)
    for edge in graph.into(node.name):
        if edge.pre != graph.source.name:
            total += bounds.current(edge.synapses, SPIKE, graph.node(edge.pre).shape)
    return total


def _room(
    node: ir.Population, arriving: Interval, T: int, of: tuple[Array, Array, Array]
) -> Interval:
    """What of the range of states is left for currents of the input.

    A potential is farthest from 0 where the largest current arrives in every timestep and no spike
    resets it. Above the range it makes a spike, saturated or not, and a hard reset forgets it.
    """
    leak, bias, start = of
    times = float((leak.max() ** np.arange(T)).sum())
    low = (-STATE - min(0, int(start.min()))) / times - int(bias.min())
    high = (STATE - max(0, int(start.max()))) / times - int(bias.max())
    most = STATE // UNIT  # or a current wraps
    least = max(ceil(low / UNIT), -most) - arriving.low
    most = (min(floor(high / UNIT), most) if node.reset == "soft" else most) - arriving.high
    if least > 0 or most < 0:
        raise ProgramError(
            f"{node.name}: states may leave the 24 bits of Loihi's, and SANA-FE's do not saturate; "
            "use smaller weights, biases or initial potentials, or fewer timesteps"
        )
    return Interval(least, most)
