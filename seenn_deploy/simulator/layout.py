"""The graph's arrays in the kernels' layout: grids of pixels, channels last, currents padded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, singledispatch
from math import prod
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

import numpy as np

from seenn_deploy import ir
from seenn_deploy._typing import Array, Shape
from seenn_deploy.ir import bounds
from seenn_deploy.simulator.kernels import kernels
from seenn_deploy.simulator.kernels.vector_add import WIDTHS

# Share of spiking neurons above which the dense kernel is faster than adding row by row (measured).
# Rows of 8-bit weights are so short that adding them pays nearly to the end.
DENSE_FROM = {"f": 0.4, "i": 0.9}
DENSE_FROM_LARGE = 0.28  # the same, where one block of rows exceeds the second-level cache
CACHE_BYTES = 1 << 20
WRAP = 1 << 23  # a convolution's result is a signed 24-bit integer, design section 6

Accumulate: TypeAlias = Callable[[Array, Array, Array, Array, Array], None]
Runs: TypeAlias = tuple[Array, Array, Array, Array]  # run_ptr, first, last, base of vector_add


def pixels_and_channels(shape: Shape) -> tuple[int, int]:
    """Return a node's pixels and channels (P, C); a vector of N is one pixel of N channels."""
    return (prod(shape[1:]), shape[0]) if len(shape) > 1 else (1, shape[0])


def to_grid(values: Array, shape: Shape) -> Array:
    """Turn (..., *shape), channels first, into a contiguous (..., P, C), channels last."""
    pixels, channels = pixels_and_channels(shape)
    lead = values.shape[: values.ndim - len(shape)]
    return np.ascontiguousarray(np.swapaxes(values.reshape(*lead, channels, pixels), -1, -2))


def from_grid(values: Array, shape: Shape) -> Array:
    """Undo `to_grid`."""
    pixels, channels = pixels_and_channels(shape)
    lead = values.shape[: values.ndim - 2]
    return np.swapaxes(values.reshape(*lead, pixels, channels), -1, -2).reshape(*lead, *shape)


def padded(channels: int) -> int:
    """Round a current's channels up to whole vectors."""
    return -(-channels // lanes(channels)) * lanes(channels)


def lanes(channels: int) -> int:
    """Return the widest vector that divides the channels, or the narrowest where none does."""
    return next((w for w in WIDTHS if channels % w == 0), WIDTHS[-1])


@dataclass(frozen=True, eq=False)
class Edge:
    """A projection, ready to run.

    Parameters
    ----------
    pre : int
        Index of the source node in the graph's order.
    accumulate : callable
        ``(slots, ptr, idx, val, current) -> None``; it adds what the events cause to `current`.
    fan_out, effective : int64 arrays (P C,), or (P,) where all channels of a pixel have the same
        Number of synapses of each source neuron: all that exist, and those of nonzero weight.
    analog : bool
        Whether the source is an image, so that every element costs multiply-accumulates.
    added : bool
        Whether the target is a sum, so that every event costs one accumulate whatever its value.
    lag : int
        Timesteps between sending and arriving.
    """

    pre: int
    accumulate: Accumulate
    fan_out: Array
    effective: Array
    analog: bool
    added: bool
    lag: int


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
    bias_adds : int
        Number of neurons with a bias other than 0.
    current : numpy type
        Type of the currents: float32, or the narrowest integer that holds all they can receive.
    """

    node: ir.Target
    index: int
    edges: tuple[Edge, ...]
    bias: Array
    bias_adds: int
    current: Any


_READY: WeakKeyDictionary[ir.SpikingGraph, dict[Any, tuple[Layer, ...]]] = WeakKeyDictionary()


def lay_out(program: ir.Program) -> tuple[Layer, ...]:
    """Make every population, sum and the readout ready to run, in topological order.

    Programs that differ in their exit rule alone share one layout, for as long as they live.
    """
    graph = program.graph
    ready = _READY.setdefault(graph, {})
    key = program.precision, program.input_range
    if key not in ready:
        index = {node.name: i for i, node in enumerate(graph.order)}
        ready[key] = tuple(_layer(program, node, index) for node in graph.layers)
    return ready[key]


def _layer(program: ir.Program, node: ir.Target, index: dict[str, int]) -> Layer:
    graph, kind = program.graph, _current_type(program, node.name)
    bias = np.zeros((), np.int32) if node.bias is None else node.bias
    return Layer(
        node,
        index[node.name],
        tuple(_edge(program, e, index[e.pre], kind) for e in graph.into(node.name)),
        _bias(bias, node.shape).astype(np.float32 if kind is np.float32 else np.int32),
        int(np.count_nonzero(np.broadcast_to(bias, node.shape))),
        kind,
    )


def _current_type(program: ir.Program, name: str) -> Any:
    if program.precision == "float32":
        return np.float32
    values = bounds.source_values(program.graph.source, program.input_range)
    found = bounds.layer_current(program.graph, program.graph.into(name), values)
    # 16-bit currents take half the registers, where the bound proves that none overflows.
    return np.int16 if found and found.size < 1 << 15 else np.int32


def _bias(bias: Array, shape: Shape) -> Array:
    """Lay a bias out as (P, C_pad), or as (1, C_pad) where all pixels have the same."""
    channels = shape[0]
    if bias.size == 1 or (len(shape) == 3 and bias.shape[-2:] == (1, 1)):
        grid = np.broadcast_to(bias.reshape(-1), (channels,))[None]
    else:
        grid = to_grid(np.broadcast_to(bias, shape), shape)
    return np.ascontiguousarray(np.pad(grid, ((0, 0), (0, padded(channels) - channels))))


def _edge(program: ir.Program, edge: ir.Projection, pre: int, current: Any) -> Edge:
    graph = program.graph
    source, post, synapses = graph.node(edge.pre), graph.node(edge.post), edge.synapses
    fan_out = _by_pixel(synapses.fan_out(source.shape), source.shape)
    effective = _by_pixel(synapses.fan_out(source.shape, effective=True), source.shape)
    narrow = synapses.with_weight(_narrow(synapses.weight, current))
    accumulate = accumulator(narrow, source.shape, post.shape)
    # Only where the sum can leave 24 bits does the chip's wrapping have to be imitated.
    if isinstance(synapses, ir.Conv2d) and program.precision != "float32":
        inputs = bounds.source_values(graph.source, program.input_range)
        values = bounds.sent(graph, source.name, inputs)
        if values is None or bounds.current(synapses, values, source.shape).size >= WRAP:
            accumulate = _wrapping(accumulate)
    analog = isinstance(source, ir.Source) and source.coding == "direct"
    added = not post.stages
    lag = min(edge.lag, graph.T)  # what is sent later than that never arrives
    return Edge(pre, accumulate, fan_out, effective, analog, added, lag)


def _narrow(weight: Array, current: Any) -> Array:
    """Store integer weights in as few bytes as hold them; reading weights is what takes time."""
    if weight.dtype.kind == "f":
        return weight
    fits = (k for k in (np.int8, np.int16) if np.array_equal(weight.astype(k), weight))
    return weight.astype(min(next(fits, np.int32), current, key=lambda k: np.dtype(k).itemsize))


def _wrapping(accumulate: Accumulate) -> Accumulate:
    """Take the sum modulo 2^24 before it is added, as Lava's Conv process does."""

    def accumulate_wrapped(
        slots: Array, ptr: Array, idx: Array, val: Array, current: Array
    ) -> None:
        alone = np.zeros_like(current)
        accumulate(slots, ptr, idx, val, alone)
        current[slots] += (alone[slots] + WRAP) % (2 * WRAP) - WRAP

    return accumulate_wrapped


def _by_pixel(fan_out: Array, shape: Shape) -> Array:
    """Flatten fan-outs in grid order; one number per pixel where all its channels have the same."""
    grid = to_grid(fan_out, shape)
    alike = np.all(grid == grid[:, :1])
    return np.ascontiguousarray(grid[:, 0]) if alike else grid.ravel()


@singledispatch
def accumulator(synapses: ir.Synapses, shape_in: Shape, shape_out: Shape) -> Accumulate:
    """Make the function that adds a source's events to a target's currents; by list by default."""
    return accumulator(ir.Sparse.listing(synapses, shape_in), shape_in, shape_out)


@accumulator.register
def _conv(conv: ir.Conv2d, shape_in: Shape, shape_out: Shape) -> Accumulate:
    runs = _conv_runs(conv, shape_in, shape_out)
    rows = conv.weight.transpose(2, 3, 1, 0)  # (K_h, K_w, C_in / groups, C_out)
    if conv.groups > 1:
        return _grouped(conv, runs, rows, shape_in[0])
    weight = _blocks(rows.reshape(-1, conv.weight.shape[0]))
    sizes = conv.weight.shape[2:], conv.stride, conv.padding, conv.dilation
    shapes = shape_in, shape_out[1:]
    crowded = _dense_from(weight) * prod(shape_in)

    def accumulate(slots: Array, ptr: Array, idx: Array, val: Array, current: Array) -> None:
        dense = ptr[slots, -1] > crowded
        kernels.gather(slots[~dense], ptr, idx, val, *runs, weight, current)
        if dense.any():
            kernels.convolve_dense(slots[dense], ptr, idx, val, *shapes, *sizes, weight, current)

    return accumulate


def _dense_from(weight: Array) -> float:
    """Return the share of spiking neurons from which the dense kernel is the faster one."""
    kind = weight.dtype.kind
    return DENSE_FROM_LARGE if kind == "f" and weight[0].nbytes > CACHE_BYTES else DENSE_FROM[kind]


def _grouped(conv: ir.Conv2d, runs: Runs, rows: Array, channels: int) -> Accumulate:
    out_group = conv.weight.shape[0] // conv.groups
    split = rows.reshape(*rows.shape[:3], conv.groups, out_group).swapaxes(2, 3)
    weight = np.ascontiguousarray(split.reshape(-1, out_group))

    def accumulate(slots: Array, ptr: Array, idx: Array, val: Array, current: Array) -> None:
        kernels.gather_grouped(slots, ptr, idx, val, *runs, weight, channels, conv.groups, current)

    return accumulate


@accumulator.register
def _dense(dense: ir.Dense, shape_in: Shape, shape_out: Shape) -> Accumulate:
    pixels, _ = pixels_and_channels(shape_in)
    first, last, base = (np.array([n], np.int32) for n in (0, pixels, 0))
    one_run = np.array([0, 1], np.int32), first, last, base
    columns = to_grid(dense.weight.reshape(-1, *shape_in), shape_in)
    weight = _blocks(columns.reshape(len(dense.weight), -1).T)

    def accumulate(slots: Array, ptr: Array, idx: Array, val: Array, current: Array) -> None:
        kernels.gather(slots, ptr, idx, val, *one_run, weight, current)

    return accumulate


def _blocks(rows: Array) -> Array:
    """Cut weight rows (R, C_out) into blocks of one vector's width, (blocks, R, width)."""
    width, c_pad = lanes(rows.shape[1]), padded(rows.shape[1])
    filled = np.pad(rows, ((0, 0), (0, c_pad - rows.shape[1])))
    return np.ascontiguousarray(filled.reshape(len(rows), -1, width).swapaxes(0, 1))


@accumulator.register
def _sparse(sparse: ir.Sparse, shape_in: Shape, shape_out: Shape) -> Accumulate:
    pixels, channels = pixels_and_channels(shape_out)
    numbers = np.arange(len(sparse.indptr) - 1)
    # The lists of synapses are reordered from channels-first neurons to the kernels' grid order.
    order = to_grid(numbers.reshape(shape_in), shape_in).ravel()
    length = np.diff(sparse.indptr)[order]
    indptr = np.concatenate(([0], np.cumsum(length)))
    take = np.repeat(sparse.indptr[:-1][order] - indptr[:-1], length) + np.arange(indptr[-1])
    channel, pixel = np.divmod(sparse.targets[take].astype(np.int64), pixels)
    targets = pixel * padded(channels) + channel
    weight = np.ascontiguousarray(sparse.weight[take])

    def accumulate(slots: Array, ptr: Array, idx: Array, val: Array, current: Array) -> None:
        kernels.scatter(slots, ptr, idx, val, indptr, targets, weight, current)

    return accumulate


@accumulator.register
def _identity(identity: ir.Identity, shape_in: Shape, shape_out: Shape) -> Accumulate:
    channels, weight = pixels_and_channels(shape_in)[1], identity.weight[()]

    def accumulate(slots: Array, ptr: Array, idx: Array, val: Array, current: Array) -> None:
        kernels.one_to_one(slots, ptr, idx, val, channels, weight, current)

    return accumulate


def _conv_runs(conv: ir.Conv2d, shape_in: Shape, shape_out: Shape) -> Runs:
    """Find, for every output pixel, the runs of input pixels that it sees and their weight rows."""
    kernel = conv.weight.shape[2:]
    return _runs(shape_in, shape_out[1:], kernel, conv.stride, conv.padding, conv.dilation)


@lru_cache(maxsize=64)  # layers of one network share few geometries
def _runs(
    shape_in: Shape, size_out: Shape, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape
) -> Runs:
    """Compute `_conv_runs` for a geometry.

    Neighbouring columns of the input meet neighbouring taps of the kernel, so without horizontal
    dilation a kernel row is one run; with it every tap is a run of its own.
    """
    channels, height, width = shape_in
    per_run = kernel[1] if dilation[1] == 1 else 1
    y, x, ky, kx = np.ogrid[: size_out[0], : size_out[1], : kernel[0], : kernel[1] : per_run]
    row = y * stride[0] - padding[0] + ky * dilation[0]
    left = x * stride[1] - padding[1] + kx * dilation[1]
    # Pixels in the padding do not exist: a run is cut where it leaves the image.
    start, stop = np.maximum(left, 0), np.minimum(left + per_run, width)
    exists = (row >= 0) & (row < height) & (start < stop)
    first = row * width + start
    # Event index (pixel, channel) plus `base` is the weight row of (ky, kx, channel).
    base = (ky * kernel[1] + kx + start - left - first) * channels
    run_ptr = np.concatenate(([0], np.cumsum(exists.sum(axis=(2, 3)))))
    parts = (np.broadcast_to(a, exists.shape)[exists] for a in (first, first + stop - start, base))
    first, last, base = (np.ascontiguousarray(a, dtype=np.int32) for a in parts)
    return run_ptr.astype(np.int32), first, last, base
