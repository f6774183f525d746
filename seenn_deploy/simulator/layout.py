"""A program's layers and projections, made ready to run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import singledispatch
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

import numpy as np

from seenn_deploy import ir
from seenn_deploy._typing import Array
from seenn_deploy.ir import bounds
from seenn_deploy.ir.nodes import Product
from seenn_deploy.ir.own import OwnLayer
from seenn_deploy.simulator.factors import EachFactors, Factors, SmallFactors
from seenn_deploy.simulator.kernels import kernels
from seenn_deploy.simulator.kernels.vector_dense import WIDE, multiplies_bytes
from seenn_deploy.simulator.kernels.vector_masks import LANES
from seenn_deploy.simulator.own import OwnCount
from seenn_deploy.simulator.spikes import Events, Plane, Scratch, aligned
from seenn_deploy.simulator.synapses import (
    PAIR_WORDS,
    PART_WORDS,
    Accumulate,
    Gathering,
    Multiplying,
    accumulator,
    narrow,
)

Multiplied: TypeAlias = EachFactors | Factors | SmallFactors
WRAP = 1 << 23  # a convolution's result is a signed 24-bit integer, design section 6


@dataclass(frozen=True, eq=False)
class FanOut:
    """Number of synapses of each neuron of a source.

    Parameters
    ----------
    by_pixel : int64 array (P,)
        Where all channels of each pixel have as many; else empty.
    rows : int32 array (rows, C_pad)
        Where they differ, the numbers of a pixel's channels. Most pixels share one row, so that all
        rows stay in the cache; only those at the edge of an image have others.
    row_of : int32 array (P,)
        Each pixel's row.
    """

    by_pixel: Array
    rows: Array
    row_of: Array

    @classmethod
    def of(cls, fan_out: Array, plane: Plane) -> FanOut:
        """Lay out the synapses of each neuron, channels first."""
        grid, none = plane.to_grid(fan_out), np.empty(0, np.int32)
        if np.all(grid == grid[:, :1]):
            return cls(np.ascontiguousarray(grid[:, 0]), none, none)
        padded = np.pad(grid.astype(np.int32), ((0, 0), (0, plane.padded - plane.channels)))
        rows, row_of = np.unique(padded, axis=0, return_inverse=True)
        return cls(np.empty(0, np.int64), rows, row_of.reshape(-1).astype(np.int32))


@dataclass(frozen=True, eq=False)
class Edge:
    """A projection, ready to run.

    Parameters
    ----------
    pre : int
        Index of the source node in the graph's order.
    accumulate : callable
        ``(slots, events, current, scratch) -> None``; it adds what the events cause to `current`.
    fan_out, effective : FanOut
        Synapses of the source: all that exist, and those of nonzero weight; one object where these
        are the same.
    analog, real : bool
        Whether the source is an image, and whether that or another source of real values, so that
        every element costs multiply-accumulates.
    per_event : int, optional
        Accumulates per synapse that an event meets, whatever its value, where there is no weight
        to multiply with: 1 into a sum and from real values one to one, 0 into a product, which
        counts what it multiplies. None elsewhere.
    lag : int
        Timesteps between sending and arriving.
    own : tuple of OwnCount, optional
        The trained layers, where their cost is not that of the synapses.
    """

    pre: int
    accumulate: Accumulate
    fan_out: FanOut
    effective: FanOut
    analog: bool
    real: bool
    per_event: int | None
    lag: int
    own: tuple[OwnCount, ...] | None = None

    def met(self, slots: Array, events: Events, fan_out: FanOut) -> tuple[Array, Array | int]:
        """Return the accumulates and multiply-accumulates of events, (len(slots),) each.

        An event of value 1 or -1 costs accumulates, any other and all of an image or of real
        values multiply-accumulates (design, section 4).
        """
        ones: Array
        others: Array | int = 0
        sent = slots, events.masks, events.plane.lies
        each = fan_out.rows.reshape(-1), fan_out.row_of
        if len(fan_out.rows) and events.graded:
            ones, others = kernels.count_each_value(*sent, events.flat_values, *each)
        elif len(fan_out.rows):
            ones = kernels.count_each(*sent, *each)
        else:
            table = fan_out.by_pixel
            ones = kernels.count_synapses(slots, events.units, events.units[:0], table)
            if events.graded:
                others = kernels.count_synapses(slots, events.number, events.units, table)
        if self.per_event is not None:  # an addition, whatever the value
            return self.per_event * (ones + others), 0
        return (0 * ones, ones + others) if self.real else (ones, others)


@dataclass(frozen=True, eq=False)
class Layer:
    """A population, a sum or the readout, ready to run.

    Parameters
    ----------
    node : Population, Sum or Readout
    index : int
        Index of the node in the graph's order.
    edges : tuple of Edge
        The projections that end here.
    bias : array (P, C_pad) or (1, C_pad)
        Of the currents.
    bias_adds : int
        Number of currents with a bias other than 0.
    plane, arriving : Plane
        How its neurons lie in memory, and how the currents do; the same but for a max pool.
    factors : EachFactors, Factors or SmallFactors, optional
        Of a product, how they lie among the currents.
    """

    node: ir.Target
    index: int
    edges: tuple[Edge, ...]
    bias: Array
    bias_adds: int
    plane: Plane
    arriving: Plane
    factors: Multiplied | None = None


_FACTORS: WeakKeyDictionary[ir.SpikingGraph, dict[str, Multiplied | None]] = WeakKeyDictionary()
_READY: WeakKeyDictionary[ir.SpikingGraph, dict[Any, tuple[Layer, ...]]] = WeakKeyDictionary()


def lay_out(program: ir.Program) -> tuple[Layer, ...]:
    """Make every population, sum and the readout ready to run, in topological order.

    Programs that differ in their exit rule alone share one layout, for as long as they live.
    """
    graph = program.graph
    ready, key = _READY.setdefault(graph, {}), _key(program)
    if key not in ready:
        index = {node.name: i for i, node in enumerate(graph.order)}
        found = planes(graph)
        ready[key] = tuple(_layer(program, node, index, found) for node in graph.layers)
    return ready[key]


def is_laid_out(program: ir.Program) -> bool:
    """Whether an earlier run has made the program ready."""
    return _key(program) in _READY.get(program.graph, {})


def _key(program: ir.Program) -> tuple[object, ...]:
    return program.precision, program.input_range


def planes(graph: ir.SpikingGraph) -> dict[str, Plane]:
    """Lay out every node, by name, with the border that the convolutions behind it ask for."""
    borders = {node.name: (0, 0) for node in graph.order}
    for edge in graph.projections:
        (down, right), (more_down, more_right) = borders[edge.pre], edge.synapses.border
        borders[edge.pre] = max(down, more_down), max(right, more_right)
    return {node.name: Plane(node.shape, borders[node.name]) for node in graph.order}


def _layer(
    program: ir.Program, node: ir.Target, index: dict[str, int], plane: dict[str, Plane]
) -> Layer:
    kind = np.float32 if program.precision == "float32" else np.int32
    bias = np.zeros((), kind) if node.bias is None else node.bias
    arriving, factors = arrival(program.graph, node, plane[node.name])
    place = None if factors is None else factors.place
    into = program.graph.into(node.name)
    return Layer(
        node,
        index[node.name],
        tuple(_edge(program, e, index, plane[e.pre], arriving, place) for e in into),
        _laid_out_at(bias, arriving, place).astype(kind),
        int(np.count_nonzero(np.broadcast_to(bias, node.arriving))),
        plane[node.name],
        arriving,
        factors,
    )


def arrival(
    graph: ir.SpikingGraph, node: ir.Target, plane: Plane
) -> tuple[Plane, Multiplied | None]:
    """Return how what arrives at a node lies in memory, and the factors of a product.

    `plane` is that of what the node sends.
    """
    known = _FACTORS.setdefault(graph, {})  # the forecast of every run asks, and bounds take time
    if node.name not in known:
        known[node.name] = _factors(node, graph, plane)
    factors = known[node.name]
    if factors is not None:
        return Plane((factors.size,)), factors
    return plane if node.arriving == node.shape else Plane(node.arriving), None


@singledispatch
def _factors(node: ir.Target, graph: ir.SpikingGraph, plane: Plane) -> Multiplied | None:
    return None


@_factors.register
def _(node: Product, graph: ir.SpikingGraph, plane: Plane) -> Multiplied:
    each, small = EachFactors.of(node, plane), None
    if each is not None:
        return each
    if not np.any(node.bias):
        low, high = bounds.arriving(graph, node.name, None)
        of_spikes = bool(high.max() <= 1)
        if low.min() >= 0 and (of_spikes or (multiplies_bytes() and high.max() <= 127)):
            small = SmallFactors.of(node, plane, of_spikes)
    return Factors.of(node, plane) if small is None else small


def _laid_out_at(bias: Array, arriving: Plane, place: Array | None) -> Array:
    if place is None:
        return laid_out(bias, arriving)
    grid = np.zeros((1, arriving.padded), bias.dtype)
    grid[0, place] = bias
    return grid


def laid_out(values: Array, plane: Plane) -> Array:
    """Lay a value per neuron out as (P, C_pad), or (1, C_pad) where all pixels have the same."""
    shape = plane.shape
    if values.size == 1 or (len(shape) == 3 and values.shape[-2:] == (1, 1)):
        grid = np.broadcast_to(values.reshape(-1), (plane.channels,))[None]
    else:
        grid = plane.to_grid(np.broadcast_to(values, shape))
    padded = np.zeros((len(grid), plane.padded), grid.dtype)
    padded[:, : plane.channels] = grid
    return padded


def _edge(
    program: ir.Program,
    edge: ir.Projection,
    index: dict[str, int],
    before: Plane,
    after: Plane,
    place: Array | None,
) -> Edge:
    graph = program.graph
    source, post, synapses = graph.node(edge.pre), graph.node(edge.post), edge.synapses
    weight = synapses.weight
    if program.precision != "float32" and weight.dtype.kind == "f":
        weight = weight.astype(np.int64)  # ones into a sum are stored as floats in every program
    added = synapses.with_weight(narrow(weight))
    if place is not None:
        sparse = ir.Sparse.listing(added, source.shape)
        added = replace(sparse, targets=place[sparse.targets], shape_out=after.shape)
    accumulate = accumulator(added, before, after)
    # An image is seen once per sample, and a kernel for it alone would have to be compiled.
    if isinstance(accumulate, Gathering) and source.graded and not source.analog:
        values = None if program.precision == "float32" or source.stages else _sent(program, source)
        if values is not None and _exact_in_floats(values, weight):
            whole = synapses.with_weight(weight.astype(np.float32))
            accumulate = accumulator(whole, before, after)
        accumulate = _multiplying(accumulate, values, weight)
    # Only where the sum can leave 24 bits does the chip's wrapping have to be imitated.
    if isinstance(synapses, ir.Conv2d) and program.precision != "float32":
        values = _sent(program, source)
        if values is None or bounds.current(synapses, values, source.shape).size >= WRAP:
            accumulate = _wrapping(accumulate)
    existing, nonzero = (synapses.fan_out(source.shape, effective=zeros) for zeros in (False, True))
    fan_out = FanOut.of(existing, before)
    # What is the same need not be counted twice.
    effective = fan_out if np.array_equal(existing, nonzero) else FanOut.of(nonzero, before)
    plain = source.real and isinstance(synapses, ir.Identity) and bool(np.all(weight == 1))
    per_event = 1 if plain else None if post.stages else int(post.adds)
    lag = min(edge.lag, graph.T)  # what is sent later than that never arrives
    own = None
    if edge.own is not None:
        layers = (layer for layer in edge.own if isinstance(layer, OwnLayer))
        own = tuple(OwnCount.of(layer, graph, index) for layer in layers)
    pre = index[edge.pre]
    real = source.analog or source.real
    return Edge(pre, accumulate, fan_out, effective, source.analog, real, per_event, lag, own)


def _exact_in_floats(values: bounds.Interval, weight: Array) -> bool:
    """Whether a part's sums of whole weights and graded values are exact in float32.

    Floats are multiplied several times as fast as integers.
    """
    most = PAIR_WORDS * LANES * int(np.abs(weight.astype(np.int64)).max(initial=0))
    return most * values.size < 1 << 24


def _multiplying(
    gathering: Accumulate, values: bounds.Interval | None, weight: Array
) -> Accumulate:
    """Multiply full slots without lists; all of them as bytes, where the processor can and may.

    `values` are those of an integer program, which has rows of floats only where they are bounded.
    """
    if not isinstance(gathering, Gathering) or gathering.width != WIDE:
        return gathering
    if gathering.weight.dtype != np.float32:
        return gathering
    if values is None or not multiplies_bytes():
        return Multiplying(gathering)
    short = weight.size and -128 <= weight.min() <= weight.max() <= 127
    # Pixels that share rows of weights, as behind a pool, are summed up first.
    small = values.low >= 0 and values.high * PART_WORDS <= 255
    return Multiplying.with_bytes(gathering) if short and small else Multiplying(gathering)


def _sent(program: ir.Program, node: ir.Node) -> bounds.Interval | None:
    inputs = bounds.source_values(program.graph.source, program.input_range)
    return bounds.sent(program.graph, node.name, inputs)


def _wrapping(accumulate: Accumulate) -> Accumulate:
    """Take the sum modulo 2^24 before it is added, as Lava's Conv process does."""

    def accumulate_wrapped(slots: Array, events: Events, current: Array, scratch: Scratch) -> None:
        alone = aligned(current.shape, current.dtype)
        accumulate(slots, events, alone, scratch)
        current[slots] += (alone[slots] + WRAP) % (2 * WRAP) - WRAP

    return accumulate_wrapped
