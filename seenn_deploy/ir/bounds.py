"""Bounds on currents for any input: proofs that nothing overflows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from seenn_deploy._typing import Array, Shape
from seenn_deploy.errors import ModelError
from seenn_deploy.ir.graph import Projection, Source, SpikingGraph
from seenn_deploy.ir.maps import Synapses


@dataclass(frozen=True)
class Interval:
    """Integers from `low` to `high`."""

    low: int
    high: int

    def __add__(self, other: Interval) -> Interval:
        return Interval(self.low + other.low, self.high + other.high)

    @property
    def size(self) -> int:
        """The largest magnitude in the interval."""
        return max(-self.low, self.high)


SPIKE = Interval(0, 1)


def source_values(source: Source, input_range: tuple[float, float]) -> Interval | None:
    """Return what an integer program's source can send; None if the input has no limits."""
    if not np.all(np.isfinite(input_range)):
        return None
    low, high = (int(np.rint((x - source.offset) * source.scale)) for x in input_range)
    return Interval(low, high)


def current(synapses: Synapses, values: Interval, in_shape: Shape = ()) -> Interval:
    """Bound the current of one target neuron, whose source neurons send `values` or nothing.

    The shape of the sources is for kinds of synapses that have to be listed.
    """
    low, high = extremes(synapses, values.low, values.high, in_shape)
    return Interval(int(low), int(high))


def extremes(
    synapses: Synapses, low: float, high: float, in_shape: Shape = ()
) -> tuple[float, float]:
    """Return least and most current of one target neuron, if its sources send low..high or nothing.

    A neuron at the border of an image meets only a part of the kernel, which this covers too.
    """
    least, most = _by_target(synapses, low, high, in_shape)
    return float(least.min()), float(most.max())


def _by_target(synapses: Synapses, low: float, high: float, in_shape: Shape) -> tuple[Array, Array]:
    at_low, at_high = (np.multiply(synapses.weight, end, dtype=np.float64) for end in (low, high))
    # A synapse adds least or most at one end of the interval, or nothing where no spike comes.
    least, most = np.minimum(at_low, at_high), np.maximum(at_low, at_high)
    del at_low, at_high  # of a large layer each takes hundreds of MiB
    return (
        synapses.summed(np.minimum(least, 0), in_shape),
        synapses.summed(np.maximum(most, 0), in_shape),
    )


def sent(graph: SpikingGraph, name: str, input_values: Interval | None) -> Interval | None:
    """Return what a node can send; None if it has no limits."""
    node = graph.node(name)
    if node is graph.source:
        return input_values
    if node.stages:
        if node.graded:
            raise ModelError(f"{name}: what a {node.kind} node sends has no bound here")
        return SPIKE
    low, high = node.taken_between(*arriving(graph, name, input_values))
    return Interval(int(low.min()), int(high.max()))


def arriving(graph: SpikingGraph, name: str, input_values: Interval | None) -> tuple[Array, Array]:
    """Bound what arrives at each element of a sum or a product, its bias included."""
    node = graph.node(name)
    low = high = np.zeros(()) if node.bias is None else node.bias.astype(np.float64)
    for edge in graph.into(name):
        values = sent(graph, edge.pre, input_values)
        assert values is not None  # no source feeds a sum or a product
        shape = graph.node(edge.pre).shape
        least, most = _by_target(edge.synapses, values.low, values.high, shape)
        low, high = low + least, high + most
    return low, high


def layer_current(
    graph: SpikingGraph, into: list[Projection], input_values: Interval | None
) -> Interval | None:
    """Bound the current of a layer over all edges, without its bias; None if unlimited."""
    total = Interval(0, 0)
    for edge in into:
        values = sent(graph, edge.pre, input_values)
        if values is None:
            return None
        total += current(edge.synapses, values, graph.node(edge.pre).shape)
    return total
