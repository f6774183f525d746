"""What the synapses into a box of neurons take of a core: input axons, and memory.

An input axon is a neuron that sends, or a pixel with all its channels (a *population axon*, whose
messages say the channel). Its synapses are a list of targets and weights. Lists that are alike but
for where they begin lie in memory once: of a convolution, those of all input pixels that see the
same part of the kernel. So a box at the border of an image, or a small one, has more kinds of lists
for its size than a large one in the middle.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, singledispatch
from itertools import pairwise, product
from math import prod
from typing import Literal

import numpy as np

from seenn_deploy._typing import Array, Shape
from seenn_deploy.compiler.mapping.chip import Chip, Format
from seenn_deploy.compiler.mapping.units import pixels
from seenn_deploy.ir.maps import Conv2d, Dense, Identity, PooledDense, Sparse, Synapses

Axons = Literal["neuron", "pixel"]
Range = tuple[int, int]


@dataclass(frozen=True)
class Box:
    """Neurons of a unit: a range of channels, of rows and of columns."""

    channels: Range
    rows: Range
    columns: Range

    @property
    def ranges(self) -> tuple[Range, Range, Range]:
        """Channels, rows, columns."""
        return self.channels, self.rows, self.columns

    @property
    def neurons(self) -> int:
        """Number of neurons."""
        (c, c_stop), (r, r_stop), (q, q_stop) = self.ranges
        return (c_stop - c) * (r_stop - r) * (q_stop - q)  # asked for very often

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """The box in an array (C, H, W)."""
        c, r, q = (slice(*limits) for limits in self.ranges)
        return c, r, q


@dataclass(frozen=True)
class Needs:
    """Input axons, bits of synapse memory, and synapses."""

    axons: int = 0
    bits: int = 0
    synapses: int = 0

    def __add__(self, other: Needs) -> Needs:
        return Needs(
            self.axons + other.axons, self.bits + other.bits, self.synapses + other.synapses
        )


@singledispatch
def needs(synapses: Synapses, shape: Shape, box: Box, axons: Axons, chip: Chip) -> Needs | None:
    """Return what synapses into a box take; None where axons of pixels have no form.

    Parameters
    ----------
    synapses : Synapses
    shape : (C, H, W)
        Of the neurons that send.
    box : Box
        Neurons that receive.
    axons : 'neuron' or 'pixel'
    chip : Chip
    """
    return needs(Sparse.listing(synapses, shape), shape, box, axons, chip)


@needs.register
def _(conv: Conv2d, shape: Shape, box: Box, axons: Axons, chip: Chip) -> Needs | None:
    if axons == "pixel" and conv.groups > 1:
        return None  # its channels have different targets
    rows, columns = (_taps(conv, axis, shape[1 + axis], *box.ranges[1 + axis]) for axis in (0, 1))
    atoms = _shared(conv.weight.shape[1], chip.channels_per_axon) if axons == "pixel" else ()
    groups = _overlaps(conv, box.channels)
    return _convolved(rows, columns, groups, conv.weight.shape[1], atoms, box.neurons, chip.format)


@cache
def _convolved(
    rows: Taps,
    columns: Taps,
    groups: tuple[tuple[int, int], ...],
    per_group: int,
    atoms: tuple[int, ...],
    targets: int,
    format: Format,
) -> Needs:
    """Many boxes of a layer differ by nothing but where they lie, so that this is asked again."""
    inputs = rows.inputs * columns.inputs
    lengths = [y * x for y, x in product(rows.lengths, columns.lengths)]
    channels = sum(n * k for n, k in groups)
    synapses = rows.synapses * columns.synapses * per_group * channels
    if atoms:
        bits = sum(format.bits(length * channels * n, targets) for n in atoms for length in lengths)
        return Needs(inputs * len(atoms), bits, synapses)
    bits = sum(
        k * per_group * format.bits(length * n, targets) for n, k in groups for length in lengths
    )
    return Needs(inputs * per_group * sum(k for _, k in groups), bits, synapses)


@needs.register
def _(dense: Dense, shape: Shape, box: Box, axons: Axons, chip: Chip) -> Needs:
    return _all_to_all(shape, shape[1] * shape[2], box, axons, chip)


@needs.register
def _(dense: PooledDense, shape: Shape, box: Box, axons: Axons, chip: Chip) -> Needs:
    return _all_to_all(shape, shape[1] * shape[2] // prod(dense.kernel), box, axons, chip)


@needs.register
def _(identity: Identity, shape: Shape, box: Box, axons: Axons, chip: Chip) -> Needs:
    if axons == "neuron":
        return Needs(box.neurons, chip.format.bits(1, box.neurons), box.neurons)
    channels = box.channels[1] - box.channels[0]
    atoms = _shared(channels, chip.channels_per_axon)
    bits = sum(chip.format.bits(n, box.neurons) for n in atoms)
    return Needs(box.neurons // channels * len(atoms), bits, box.neurons)


@needs.register
def _(sparse: Sparse, shape: Shape, box: Box, axons: Axons, chip: Chip) -> Needs | None:
    if axons == "pixel":
        return None
    inside = np.zeros(pixels(sparse.shape_out), bool)
    inside[box.slices] = True
    lengths = np.bincount(sparse.sources[inside.ravel()[sparse.targets]])
    sizes, number = np.unique(lengths[lengths > 0], return_counts=True)
    bits = sum(
        int(k) * chip.format.bits(int(n), box.neurons) for n, k in zip(sizes, number, strict=True)
    )
    return Needs(int(number.sum()), bits, int(lengths.sum()))


def _all_to_all(shape: Shape, windows: int, box: Box, axons: Axons, chip: Chip) -> Needs:
    """Every neuron to every one of the box; the pixels of a window have the same weights."""
    senders, neurons, bits = prod(shape), box.neurons, chip.format.bits
    if axons == "neuron":
        lists = shape[0] * windows
        return Needs(senders, lists * bits(neurons, neurons), senders * neurons)
    atoms = _shared(shape[0], chip.channels_per_axon)
    each = sum(bits(n * neurons, neurons) for n in atoms)
    return Needs(senders // shape[0] * len(atoms), windows * each, senders * neurons)


def _shared(channels: int, most: int) -> tuple[int, ...]:
    """Channels of each of the axons that a pixel needs."""
    return tuple(min(most, channels - first) for first in range(0, channels, most))


def _overlaps(conv: Conv2d, channels: Range) -> tuple[tuple[int, int], ...]:
    """Pairs of target channels that a group has in a box, and of the number of such groups."""
    size = len(conv.weight) // conv.groups
    first, last = channels[0] // size, (channels[1] - 1) // size
    ends = {g: min(channels[1], (g + 1) * size) - max(channels[0], g * size) for g in (first, last)}
    between = ((size, last - first - 1),) if last - first > 1 else ()
    return (*((n, 1) for n in ends.values()), *between)


@dataclass(frozen=True)
class Taps:
    """Along one axis of a convolution: which inputs reach a range of outputs, and how.

    Parameters
    ----------
    inputs : int
        Inputs that reach any.
    lengths : tuple of int
        Synapses of each kind of input: two are of one kind if their targets and weights are the
        same, but for where they begin.
    synapses : int
        Synapses of all inputs.
    """

    inputs: int
    lengths: tuple[int, ...]
    synapses: int


def _taps(conv: Conv2d, axis: int, size: int, first: int, stop: int) -> Taps:
    stride, padding, dilation = conv.stride[axis], conv.padding[axis], conv.dilation[axis]
    return _taps_of(conv.weight.shape[2 + axis], stride, padding, dilation, size, first, stop)


@cache
def _taps_of(
    kernel: int, stride: int, padding: int, dilation: int, size: int, first: int, stop: int
) -> Taps:
    reached: dict[int, list[tuple[int, int]]] = {}
    for output in range(first, stop):
        for tap in range(kernel):
            at = output * stride - padding + tap * dilation
            if 0 <= at < size:
                reached.setdefault(at, []).append((output, tap))
    kinds = {tuple((o - found[0][0], tap) for o, tap in found) for found in reached.values()}
    lengths = tuple(sorted(map(len, kinds)))
    return Taps(len(reached), lengths, sum(map(len, reached.values())))


@cache
def meeting(
    kernel: int, stride: int, padding: int, dilation: int, size: int, cuts: tuple[int, ...]
) -> Array:
    """Synapses of each input along an axis into each range between `cuts`, (ranges, size)."""
    found = np.zeros((len(cuts) - 1, size), np.int64)
    for number, (first, stop) in enumerate(pairwise(cuts)):
        outputs = np.arange(first, stop)[:, None] * stride - padding
        at = outputs + np.arange(kernel) * dilation
        found[number] = np.bincount(at[(at >= 0) & (at < size)], minlength=size)
    return found


@cache
def reaching(
    kernel: int, stride: int, padding: int, dilation: int, size: int, cuts: tuple[int, ...]
) -> Array:
    """How many of the ranges between `cuts` each input along an axis reaches, (size,)."""
    found = meeting(kernel, stride, padding, dilation, size, cuts)
    return np.asarray(np.count_nonzero(found, axis=0))
