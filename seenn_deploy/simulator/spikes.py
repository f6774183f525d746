"""Where a node's spikes lie in memory, in the form that ``kernels`` explains."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import numpy as np

from seenn_deploy._typing import Array, Pair, Shape
from seenn_deploy.simulator.kernels.vector_masks import AT_ONCE, LANES

LINE = 64  # bytes of a cache line, which is also the widest vector


def aligned(shape: tuple[int, ...], kind: Any) -> Array:
    """Allocate zeros that begin at a cache line: loads across two of them take half as long again.

    NumPy itself aligns to 16 bytes.
    """
    size = prod(shape) * np.dtype(kind).itemsize
    raw = np.zeros(size + LINE, np.uint8)
    start = -raw.ctypes.data % LINE
    zeros: Array = raw[start : start + size].view(kind)
    return zeros.reshape(shape)


@dataclass(frozen=True)
class Plane:
    """A node as a grid of pixels with channels; a vector of N neurons is one pixel of N channels.

    Parameters
    ----------
    shape : tuple of int
        The node's shape, channels first.
    border : (int, int)
        Pixels of zeros above and below, left and right, as the widest padding behind it asks for.
    """

    shape: Shape
    border: Pair = (0, 0)

    @property
    def channels(self) -> int:
        """Channels C."""
        return self.shape[0]

    @property
    def size(self) -> Pair:
        """Height and width of an image, in pixels."""
        return (self.shape[1], prod(self.shape[2:])) if len(self.shape) > 1 else (1, 1)

    @property
    def pixels(self) -> int:
        """Pixels P."""
        return prod(self.size)

    @property
    def words(self) -> int:
        """Words of channels per pixel."""
        return -(-self.channels // LANES)

    @property
    def padded(self) -> int:
        """Channels rounded up to whole words, C_pad."""
        return self.words * LANES

    @property
    def bordered(self) -> Pair:
        """Height and width with the border."""
        height, width = (n + 2 * border for n, border in zip(self.size, self.border, strict=True))
        return height, width

    @property
    def step(self) -> int:
        """The number of words of one slot, with the border."""
        return self.words * prod(self.bordered)

    @cached_property  # asked for before every call of a kernel
    def lies(self) -> tuple[int, int, int, int, int, int, int]:
        """Where the words that are not border lie among all, as in ``kernels``."""
        height, width = self.bordered
        first = self.border[0] * width + self.border[1]
        return *self.size, self.words, self.step, height * width, width, first

    @property
    def inside(self) -> tuple[slice, slice]:
        """The pixels that are not border."""
        down, across = (
            slice(border, border + n) for n, border in zip(self.size, self.border, strict=True)
        )
        return down, across

    def to_grid(self, values: Array) -> Array:
        """Turn (..., *shape), channels first, into a contiguous (..., P, C), channels last."""
        lead = values.shape[: values.ndim - len(self.shape)]
        by_channel = values.reshape(*lead, self.channels, self.pixels)
        return np.ascontiguousarray(np.swapaxes(by_channel, -1, -2))

    def from_grid(self, values: Array) -> Array:
        """Undo `to_grid`; channels of padding are dropped."""
        by_channel = np.swapaxes(values[..., : self.channels], -1, -2)
        return by_channel.reshape(*values.shape[:-2], *self.shape)


@dataclass(frozen=True, eq=False)
class Events:
    """The events that a node sent in one timestep, one row per slot, laid out as in ``kernels``.

    Parameters
    ----------
    plane : Plane
    masks, flat_values : arrays, flat
        Everything, borders included.
    sent : uint16 array (slots, words, H, W)
        The part of `masks` that the node writes.
    values : array (slots, words, H, W, 16), or (slots, words, H, W, 0) where all values are 1
    number, units : int32 arrays (slots, P)
        Events of each pixel, and those of value 1 or -1; the same array where all are.
    """

    plane: Plane
    masks: Array
    flat_values: Array
    sent: Array
    values: Array
    number: Array
    units: Array

    @classmethod
    def empty(cls, slots: int, plane: Plane, graded: bool, kind: Any) -> Events:
        """Allocate room for every neuron, and for values where they are graded."""
        shape = (slots, plane.words, *plane.bordered)
        inside = (slice(None), slice(None), *plane.inside)
        size = prod(shape)
        # A load of several words at once may end behind the last one.
        masks = aligned((size + AT_ONCE,), np.uint16)
        values = aligned((*shape, LANES if graded else 0), kind)
        number = np.zeros((slots, plane.pixels), np.int32)
        return cls(
            plane,
            masks,
            values.reshape(-1),
            masks[:size].reshape(shape)[inside],
            values[inside],
            number,
            np.zeros_like(number) if graded else number,
        )

    @property
    def graded(self) -> bool:
        """Whether events carry values."""
        return bool(self.values.shape[-1])

    def clear(self, slots: Array) -> None:
        """Send nothing."""
        self.sent[slots], self.values[slots], self.number[slots], self.units[slots] = 0, 0, 0, 0

    def put(self, slots: Array, sent: Array) -> None:
        """Send values (slots, *shape), of which zeros are no event; without a kernel."""
        grid = self.plane.to_grid(sent)
        number = np.count_nonzero(grid, axis=-1)
        padding = self.plane.padded - self.plane.channels
        words = np.pad(grid, ((0, 0), (0, 0), (0, padding))).reshape(
            len(grid), *self.plane.size, self.plane.words, LANES
        )
        words = np.moveaxis(words, 3, 1)
        bits = np.packbits(words != 0, axis=-1, bitorder="little").view("<u2")[..., 0]
        self.sent[slots], self.number[slots] = bits, number
        if self.graded:
            self.values[slots] = words
            self.units[slots] = np.count_nonzero(np.abs(grid) == 1, axis=-1)

    def fired(self, slots: Array) -> Array:
        """Return which neurons sent an event, bool (len(slots), *shape)."""
        words = np.ascontiguousarray(np.moveaxis(self.sent[slots], 1, -1)).astype("<u2")
        bits = np.unpackbits(words.view(np.uint8), axis=-1, bitorder="little")
        grid = bits.reshape(len(slots), self.plane.pixels, -1)
        return np.asarray(self.plane.from_grid(grid), np.bool_)

    def dense(self, slots: Array) -> Array:
        """Return the values that were sent, zeros among them, (slots, *shape)."""
        if not self.graded:
            return self.fired(slots)
        values = np.moveaxis(self.values[slots], 1, 3)
        return self.plane.from_grid(values.reshape(len(slots), self.plane.pixels, -1))


@dataclass(frozen=True, eq=False)
class Scratch:
    """A worker's lists of events by output pixel, which every layer writes anew.

    Parameters
    ----------
    rows : uint8 array
        The weight row that each event meets.
    values : array
        The value of each event.
    count : uint16 array
        Events of each output pixel of each slot.
    """

    rows: Array
    values: Array
    count: Array

    @classmethod
    def empty(cls, pixels: int, events: int, kind: Any) -> Scratch:
        """Allocate lists for so many output pixels, with so many events each at most."""
        most = pixels * events + LINE
        return cls(np.empty(most, np.uint8), np.empty(most, kind), np.empty(pixels, np.uint16))
