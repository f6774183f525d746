"""The replay of a network in float64 from given spikes, with bounds on float32 rounding.

Every neuron takes the given spikes of its sources and its own given spikes as its past, so each
comparison with the threshold is computed on its own: an error elsewhere does not spread to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import singledispatch

import numpy as np

from seenn_deploy._typing import Array
from seenn_deploy.errors import ModelError
from seenn_deploy.ir.graph import (
    Filter,
    Node,
    Population,
    Projection,
    Readout,
    Relay,
    SpikingGraph,
)
from seenn_deploy.ir.maps.base import Synapses
from seenn_deploy.ir.nodes.base import Parameter

UNIT = 2.0**-24  # largest relative error of one float32 rounding


@dataclass(frozen=True, eq=False)
class Potentials:
    """The potentials of one population or readout over the T timesteps of one sample.

    Parameters
    ----------
    value : float64 (T, *shape)
        Potential v' before the reset; for a readout, the logits.
    bound : float64 (T, *shape)
        Largest distance from `value` of float32 arithmetic, in any order of summation.
    """

    value: Array
    bound: Array


def potentials(
    graph: SpikingGraph, name: str, image: Array, spikes: dict[str, Array]
) -> Potentials:
    """One layer's potentials, given the spikes of one sample.

    With u = 2^-24, a current summed from n inputs in float32 is off by at most (n + 2) u sum|w x|
    (products, sums and the bias rounded). It adds to what the potential already was off, times
    tau, and to 3 u (|tau v| + |v'|) for the leak, its product and the sum; a synaptic current
    leaks alike before. A hard reset forgets; a soft one that subtracts R adds u (|v' - R| + R).
    Comparing adds u V for a threshold that float32 cannot hold. Logits are kept in float64.

    Parameters
    ----------
    graph : SpikingGraph
        Compiled graph.
    name : str
        Name of a population or of the readout.
    image : array (C, H, W), for event coding (T, C, H, W)
        The sample.
    spikes : dict of bool (T, *shape)
        Spikes of every population that feeds `name`, also through sums, and of `name` itself.
    """
    return _over_time(graph.node(name), graph, image, spikes)


@singledispatch
def _over_time(
    node: Node, graph: SpikingGraph, image: Array, spikes: dict[str, Array]
) -> Potentials:
    raise ModelError(f"{node.name}: the replay has no form for a {node.kind} node")


@_over_time.register
def _(node: Population, graph: SpikingGraph, image: Array, spikes: dict[str, Array]) -> Potentials:
    # Two maxima differ by no more than what they are the largest of.
    current, rounding = map(node.taken, _current(graph, node, image, spikes))
    current, rounding = _filtered(node, current, rounding)
    value = _before_reset(node, current, spikes[node.name])
    return Potentials(value, _off(node, value, rounding, spikes[node.name]))


@_over_time.register
def _(node: Readout, graph: SpikingGraph, image: Array, spikes: dict[str, Array]) -> Potentials:
    currents = _current(graph, node, image, spikes)
    value, bound = (_decaying(node.tau, _decaying(node.tau_syn, x)) for x in currents)
    return Potentials(value, bound + 2 * UNIT * np.abs(value))


def rounded_potentials(
    graph: SpikingGraph, node: Population, image: Array, spikes: dict[str, Array]
) -> Array:
    """The value of :func:`potentials` in float32, (T, *shape), in a fraction of its time.

    It is off by no more than the bound there. So a spike that these potentials confirm is one in
    float64, too, or a tie.
    """
    current = np.zeros((graph.T, *node.arriving), np.float32) + node.bias
    for edge in graph.into(node.name):
        x, _ = _arriving(graph, edge, image, spikes)
        current += edge.synapses.rounded_currents(x.astype(np.float32))
    current = node.taken(current)
    if np.any(node.tau_syn):
        current = _decaying(node.tau_syn, current)
    return _before_reset(node, current, spikes[node.name])


def _current(
    graph: SpikingGraph, node: Node, image: Array, spikes: dict[str, Array]
) -> tuple[Array, Array]:
    """Input currents with their bias, float64 (T, *shape), and the bound on their rounding."""
    bias = np.zeros(()) if node.bias is None else node.bias.astype(np.float64)
    value = np.zeros((graph.T, *node.arriving)) + bias
    bound = np.empty_like(value)
    arriving = [
        (*_with_sizes(edge.synapses), *_arriving(graph, edge, image, spikes))
        for edge in graph.into(node.name)
    ]
    still = all(len(sent) == 1 for *_, sent, _ in arriving)  # an image alone, always the same
    # Timestep by timestep: of a large layer each of these arrays is many megabytes.
    for t in range(1 if still else graph.T):
        size, terms, off = np.abs(value[t]), np.ones(node.arriving), np.zeros(node.arriving)
        for synapses, sizes, ones, sent, uncertain in arriving:
            x = sent[min(t, len(sent) - 1)][None].astype(np.float64)
            value[t] += synapses.currents(x)[0]
            size += sizes.currents(np.abs(x))[0]
            terms += ones.currents((x != 0).astype(np.float64))[0]
            if uncertain is not None:
                off += sizes.currents(uncertain[min(t, len(uncertain) - 1)][None])[0]
        bound[t] = (terms + 2) * UNIT * (size + off) + off
    if still:
        value[1:], bound[1:] = value[0], bound[0]
    return value, bound


def _with_sizes(synapses: Synapses) -> tuple[Synapses, Synapses, Synapses]:
    """Return synapses, those with |w|, which give the size of a sum, and with 1, its terms."""
    ones = np.asarray(synapses.weight != 0, np.float64)
    return synapses, synapses.with_weight(np.abs(synapses.weight)), synapses.with_weight(ones)


def _arriving(
    graph: SpikingGraph, edge: Projection, image: Array, spikes: dict[str, Array]
) -> tuple[Array, Array | None]:
    """Return what arrives by a projection, (T, *shape), and how far off float32 has it, if at all.

    Both are delayed by the projection's lag. An image is there once, (1, *shape), because it
    arrives at every timestep alike.
    """
    x, off = _sent(graph, graph.node(edge.pre), image, spikes)
    return _late(x, edge.lag), None if off is None else _late(off, edge.lag)


def _late(x: Array, lag: int) -> Array:
    """What was sent `lag` timesteps before, and nothing until then."""
    if not lag:
        return x
    late = np.zeros_like(x)
    late[lag:] = x[: max(0, len(x) - lag)]
    return late


def _sent(
    graph: SpikingGraph, node: Node, image: Array, spikes: dict[str, Array]
) -> tuple[Array, Array | None]:
    """What a node sends, and how far off float32 has it: whole numbers it has exactly."""
    if node.real:
        return _real(node, *_current(graph, node, image, spikes))
    if not node.stages:
        parts = (
            edge.synapses.currents(_arriving(graph, edge, image, spikes)[0].astype(np.float64))
            for edge in graph.into(node.name)
        )
        total = sum(parts, np.zeros(())) + (0 if node.bias is None else node.bias)
        return node.taken(total), None
    if node is not graph.source:
        return spikes[node.name], None
    return (image if graph.source.coding == "events" else image[None]), None


@singledispatch
def _real(node: Node, current: Array, rounding: Array) -> tuple[Array, Array]:
    """Real values that a node sends of its currents, (T, *shape), and their bounds."""
    raise ModelError(f"{node.name}: the replay has no form for a {node.kind} node")


@_real.register
def _(node: Relay, current: Array, rounding: Array) -> tuple[Array, Array]:
    # Two maxima differ by no more than what they are the largest of.
    return node.taken(current), node.taken(rounding)


@_real.register
def _(node: Filter, current: Array, rounding: Array) -> tuple[Array, Array]:
    value, off = np.zeros_like(current), np.zeros_like(current)
    leak = 1 - np.asarray(node.tau)
    for t, x in enumerate(current):
        before, was_off = (value[t - 1], off[t - 1]) if t else (np.zeros_like(x),) * 2
        value[t] = node.after(before, x)
        # The share that stays is off by what x is, and five operations are rounded.
        off[t] = (
            (np.abs(1 - (1 - x) * leak) + leak * rounding[t]) * was_off
            + (1 + leak * np.abs(before)) * rounding[t]
            + 5 * UNIT * (np.abs(before) * (1 + np.abs(1 - x) * leak) + np.abs(x))
        )
    return value, off


def _decaying(tau: Parameter, added: Array) -> Array:
    """A state over time, from 0: the share `tau` of the one before, and what is added."""
    state = np.zeros_like(added)
    for t in range(len(added)):
        state[t] = added[t] + (tau * state[t - 1] if t else 0)
    return state


def _filtered(node: Population, current: Array, rounding: Array) -> tuple[Array, Array]:
    """Synaptic currents, and how far off float32 has them."""
    if not np.any(node.tau_syn):
        return current, rounding
    u = _decaying(node.tau_syn, current)
    kept = np.concatenate((np.zeros_like(u[:1]), node.tau_syn * u[:-1]))
    off = _decaying(node.tau_syn, rounding + 3 * UNIT * (np.abs(kept) + np.abs(u)))
    return u, off


def _before_reset(node: Population, current: Array, spikes: Array) -> Array:
    """Potentials v' (T, *shape), of the type of `current`."""
    value = np.empty_like(current)
    v: Array = np.broadcast_to(node.v_init, node.shape).astype(current.dtype)
    for t in range(len(current)):
        value[t] = node.tau * v + current[t]
        v = _reset(node, value[t], spikes[t])
    return value


def _reset(node: Population, value: Array, spikes: Array) -> Array:
    if node.reset == "hard":
        return np.where(spikes, value.dtype.type(0), value)
    return np.asarray(value - np.asarray(node.subtracted, value.dtype) * spikes)


def _off(node: Population, value: Array, rounding: Array, spikes: Array) -> Array:
    """How far off float32 has potentials whose currents it has off by `rounding`."""
    bound = np.empty_like(value)
    before = np.broadcast_to(node.v_init, node.shape).astype(np.float64)
    off = UNIT * np.abs(before)
    for t in range(len(value)):
        # The leak is rounded, its product and the sum: three roundings.
        rounded = 3 * UNIT * (np.abs(node.tau * before) + np.abs(value[t]))
        bound[t] = node.tau * off + rounding[t] + rounded
        before = _reset(node, value[t], spikes[t])
        if node.reset == "hard":  # 0 exactly: the error is forgotten with the potential
            off = np.where(spikes[t], 0, bound[t])
        else:
            off = bound[t] + UNIT * (np.abs(before) + np.abs(node.subtracted)) * spikes[t]
    bound += UNIT * np.abs(node.v_threshold)
    return bound


def fires(node: Population, value: Array) -> Array:
    """Tell where potentials exceed the threshold."""
    over = value >= node.v_threshold if node.comparison == ">=" else value > node.v_threshold
    return np.asarray(over)
