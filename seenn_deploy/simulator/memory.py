"""How much memory a run takes, told before it starts.

The sizes are those of the arrays that ``layout``, ``synapses``, ``spikes``, ``nodes`` and the
workers allocate. What every process has, such as compiled kernels, is not among them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from functools import singledispatch
from math import prod

import numpy as np

from seenn_deploy import ir
from seenn_deploy._typing import Array
from seenn_deploy.io import memory
from seenn_deploy.ir.nodes import Filter, Product, Relay
from seenn_deploy.ir.own import OwnLayer
from seenn_deploy.simulator.kernels.vector_masks import LANES
from seenn_deploy.simulator.layout import arrival, is_laid_out, planes
from seenn_deploy.simulator.result import Counts
from seenn_deploy.simulator.spikes import Plane
from seenn_deploy.simulator.synapses import PART_WORDS, comes_in_pairs, narrow, summed_as

MAX_SLOTS = 16  # samples that one worker holds at a time, at most
STATE_BYTES = 96 << 20  # memory of one worker; large networks get fewer slots
READ_AT_ONCE = 64  # images
# Samples that the torch engine holds at a time at most, and the memory that they may take.
BATCH = {"cpu": (64, 512 << 20), "cuda": (256, 8 << 30)}
_WORD, _LONG = 4, 8  # bytes of the numbers of kernels and of counts


@dataclass(frozen=True)
class Forecast:
    """The memory of a run, in bytes.

    Parameters
    ----------
    network : int
        Weights and numbers of synapses, which all workers share.
    laying_out : int
        The most that these take while they are made, before workers begin.
    workers : int
        Potentials, currents, spikes and lists of events of all slots of all workers.
    results : int
        Counts and logits of all samples, and what is recorded of them.
    images : int
        Images that were read and wait for a slot.
    """

    network: int
    laying_out: int
    workers: int
    results: int
    images: int

    @property
    def total(self) -> int:
        """The most of all that there is at a time."""
        return self.results + max(self.laying_out, self.network + self.workers + self.images)


@dataclass(frozen=True)
class Extent:
    """How large a run is: samples, workers, and how many samples each of them holds at a time.

    Parameters
    ----------
    samples, threads : int
    slots : int, optional
        By default as many as `MAX_SLOTS` and `STATE_BYTES` allow.
    record : bool
        Whether spikes and potentials are kept.
    stored : bool
        Whether results go to a folder, whose pages the system can give up.
    device : str, optional
        Where the torch engine runs; its `threads` share the slots of one worker.
    """

    samples: int
    threads: int
    slots: int | None = None
    record: bool = False
    stored: bool = False
    device: str | None = None

    @property
    def workers(self) -> int:
        """The number of workers, each with slots of its own."""
        return self.threads if self.device is None else 1

    def slots_of(self, program: ir.Program) -> int:
        """The number of slots of a worker."""
        neurons = sum(prod(node.shape) for node in program.graph.order)
        share = -(-self.samples // self.workers)  # samples per worker, rounded up
        if self.device is None:
            # A neuron takes about 8 bytes: its potential, and its place among the events.
            most, taken, each = MAX_SLOTS, STATE_BYTES, 8 * neurons
        else:
            (most, taken), each = BATCH[self.device.split(":")[0]], _batched(program)
        return self.slots or max(1, min(most, share, taken // each))


def forecast(program: ir.Program, extent: Extent) -> Forecast:
    """Compute what a run takes, beyond the program, its data, and what earlier runs keep of it."""
    graph = program.graph
    plane = planes(graph)
    slots, integer = extent.slots_of(program), program.precision != "float32"
    classes = graph.readout.shape[0]
    frames = graph.T if graph.source.coding == "events" else 1
    per_step = len(fields(Counts)) * len(graph.layers) * _LONG + classes * _LONG
    if extent.record:
        kept = sum(prod(p.shape) for p in graph.populations)
        per_step += kept + (kept * _WORD + classes * _LONG) * integer
    if extent.device is None:
        shared = sum(_state(node)[1] for node in graph.layers)
        of_slot = sum(_per_slot(graph, plane, integer))
        network = (0, 0) if is_laid_out(program) else _network(graph, plane, integer)
    else:
        here = extent.device == "cpu"  # what a GPU holds is not taken from this machine's memory
        shared, of_slot = 0, here * _batched(program)
        network = here * _tensors(graph), 2 * max(_tensors_of(graph))
    return Forecast(
        *network,
        extent.workers * (slots * of_slot + shared),
        0 if extent.stored else extent.samples * graph.T * per_step,
        min(extent.samples, READ_AT_ONCE) * prod(graph.source.shape) * frames * _WORD * 2,
    )


def require(program: ir.Program, extent: Extent) -> None:
    """Refuse a run that does not fit into memory.

    Raises
    ------
    ResourceError
        It says how much the run needs, how much there is, and what would fit.
    """

    def needed(wanted: Extent) -> int:
        return forecast(program, wanted).total

    def remedy(there: int) -> str:
        alone = replace(extent, threads=1)
        stored = replace(extent, record=False, stored=True)
        ways = {
            "one thread": alone,
            "one thread and one slot": replace(alone, slots=1),
            "a run folder (out) without record": stored,
            "the same with one thread and one slot": replace(stored, threads=1, slots=1),
        }
        fits = (
            f"{way} needs {memory.size(n)}" for way, e in ways.items() if (n := needed(e)) < there
        )
        return next(fits, "fewer threads do not help; take a machine with more")

    memory.require(needed(extent), f"simulating {extent.samples:,} samples", remedy)


# --- shared by all workers ------------------------------------------------------------------------


def _network(graph: ir.SpikingGraph, plane: dict[str, Plane], integer: bool) -> tuple[int, int]:
    """Bytes of all projections as ``layout`` keeps them, and at most while it works on them."""
    held, most = 0, 0
    for edge in graph.projections:
        pre, synapses = plane[edge.pre], edge.synapses
        weights = _weights(synapses, pre, plane[edge.post])
        if integer and graph.node(edge.pre).graded:
            weights *= 2  # they may be kept as floats
        by_neuron, by_pixel = pre.pixels * pre.padded, pre.pixels * _LONG
        # A copy of the weights; the numbers of synapses; the bounds of integer currents.
        bounds = 4 * _LONG * synapses.weight.size if integer else 0
        most = max(most, held + max(2 * weights, 3 * _LONG * by_neuron, bounds))
        uneven = synapses.kind == "sparse", synapses.kind == "sparse" or not np.all(synapses.weight)
        held += weights + sum(by_neuron * _WORD if u else by_pixel for u in uneven)
        own = (layer for layer in edge.own or () if isinstance(layer, OwnLayer))
        held += sum(prod(layer.in_shape) * _LONG for layer in own)
    return held, most


@singledispatch
def _weights(synapses: ir.Synapses, pre: Plane, post: Plane) -> int:
    """Bytes of a kind's weights as ``synapses.accumulator`` lays them out; by default of a list."""
    listed = ir.Sparse.listing(synapses, pre.shape)
    return _weights(listed, pre, post)


@_weights.register
def _(conv: ir.Conv2d, pre: Plane, post: Plane) -> int:
    height, width = conv.weight.shape[2:]
    if conv.groups > 1:
        across, size = len(conv.weight) // conv.groups, narrow(conv.weight).itemsize
    elif comes_in_pairs(replace(conv, weight=narrow(conv.weight)), post):
        across, width, size = 2 * post.padded, width + 1, _row_bytes(conv.weight)
    else:
        across, size = post.padded, _row_bytes(conv.weight)
    return pre.padded * int(height * width) * across * size


@_weights.register
def _(dense: ir.Dense, pre: Plane, post: Plane) -> int:
    return pre.padded * pre.pixels * post.padded * _row_bytes(dense.weight)


@_weights.register
def _(dense: ir.PooledDense, pre: Plane, post: Plane) -> int:
    windows = pre.pixels // prod(dense.kernel)
    return pre.padded * windows * post.padded * _row_bytes(dense.weight)


@_weights.register
def _(sparse: ir.Sparse, pre: Plane, post: Plane) -> int:
    return len(sparse.targets) * (_LONG + narrow(sparse.weight).itemsize) + sparse.indptr.nbytes


@_weights.register
def _(identity: ir.Identity, pre: Plane, post: Plane) -> int:
    return 0


def _row_bytes(weight: Array) -> int:
    return summed_as(narrow(weight)).itemsize


# --- of the torch engine --------------------------------------------------------------------------


def _tensors(graph: ir.SpikingGraph) -> int:
    """Bytes of all weights and fan-outs, in float64 at most."""
    return sum(_tensors_of(graph))


def _tensors_of(graph: ir.SpikingGraph) -> Iterator[int]:
    for edge in graph.projections:
        synapses, neurons = edge.synapses, prod(graph.node(edge.pre).shape)
        places = 2 * _LONG * synapses.weight.size * (synapses.kind == "sparse")
        yield _LONG * (synapses.weight.size + 2 * neurons) + places


def _batched(program: ir.Program) -> int:
    """Bytes of a sample: states, what is sent, and a layer's currents on their way through it."""
    graph = program.graph
    # Whole numbers that float32 may not hold exactly are in float64.
    size = _WORD if program.precision == "float32" else _LONG
    kept = sum((3 + graph.lag[node.name]) * prod(node.shape) for node in graph.order)
    return size * (kept + 8 * max(prod(node.arriving) for node in graph.layers))


# --- of one worker --------------------------------------------------------------------------------


def _per_slot(graph: ir.SpikingGraph, plane: dict[str, Plane], integer: bool) -> Iterator[int]:
    arriving = {node.name: arrival(graph, node, plane[node.name])[0] for node in graph.layers}
    yield max(map(_grid, arriving.values())) * (1 + integer) + _grid(plane[graph.source.name])
    for node in graph.order:
        grid = plane[node.name]
        spikes = grid.step * 2 + grid.pixels * _WORD
        values = grid.step * LANES * _WORD + grid.pixels * _WORD if node.graded else 0
        yield (1 + min(graph.lag[node.name], graph.T)) * (spikes + values)
    for node in graph.layers:
        yield _state(node)[0]
        analog = any(graph.node(edge.pre).analog for edge in graph.into(node.name))
        yield _grid(arriving[node.name]) if analog else 0  # what the image adds at every timestep
    yield max(_listed(graph.node(e.pre), arriving[e.post].pixels) for e in graph.projections)


def _listed(pre: ir.Node, pixels: int) -> int:
    """Bytes of the events that output pixels see of a part; pages that stay empty take none."""
    events = PART_WORDS * min(LANES, pre.shape[0])
    return pixels * (events * (1 + _WORD * pre.graded) + 2)


def _grid(plane: Plane) -> int:
    """Bytes of one number per neuron of a slot."""
    return plane.pixels * plane.padded * _WORD


@singledispatch
def _state(node: ir.Node) -> tuple[int, int]:
    """Bytes that ``nodes.runner`` allocates for each slot, and for all together."""
    return 0, 0


@_state.register
def _(node: ir.Population) -> tuple[int, int]:
    grid = _grid(Plane(node.shape))
    pooled = node.arriving != node.shape
    return grid * (1 + bool(np.any(node.tau_syn)) + pooled), grid * (4 * node.each_its_own)


@_state.register
def _(node: Product) -> tuple[int, int]:
    places = prod(node.left) + prod(node.right) + prod(node.shape)
    return _grid(Plane(node.shape)), places * _LONG


@_state.register(Relay)
@_state.register(Filter)
def _(node: ir.Node) -> tuple[int, int]:
    return _grid(Plane(node.shape)), 0
