"""Neurons in the order of C: pixel by pixel, the channels of each side by side."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from seenn_deploy._typing import Array, Shape
from seenn_deploy.errors import ProgramError

ROWS = 1 << 16  # of a dictionary, whose row numbers are 16 bits


@dataclass(frozen=True)
class Grid:
    """A node as pixels with channels; a vector is one pixel.

    Parameters
    ----------
    shape : tuple of int
        Channels first.
    """

    shape: Shape

    @property
    def channels(self) -> int:
        """Channels of each pixel."""
        return self.shape[0]

    @property
    def height(self) -> int:
        """Rows of pixels."""
        return self.shape[1] if len(self.shape) > 1 else 1

    @property
    def width(self) -> int:
        """Pixels of each row."""
        return prod(self.shape[2:])

    @property
    def pixels(self) -> int:
        """Pixels."""
        return self.height * self.width

    @property
    def size(self) -> int:
        """Neurons."""
        return prod(self.shape)

    @property
    def words(self) -> int:
        """Words of 32 spikes."""
        return -(-self.size // 32)

    def laid_out(self, values: Array) -> Array:
        """Values (..., *shape) in C's order, (..., pixels, channels)."""
        lead = values.shape[: values.ndim - len(self.shape)]
        return values.reshape(*lead, self.channels, self.pixels).swapaxes(-1, -2)

    def restored(self, values: Array) -> Array:
        """Values (..., neurons) in C's order as (..., *shape)."""
        lead = values.shape[:-1]
        there = values.reshape(*lead, self.pixels, self.channels).swapaxes(-1, -2)
        return np.ascontiguousarray(there).reshape(*lead, *self.shape)

    @property
    def places(self) -> Array:
        """The place in C's order of each neuron in the order of numpy, (neurons,)."""
        return self.restored(np.arange(self.size)).reshape(-1)


def dictionary(values: Array, grid: Grid) -> tuple[Array, Array | None]:
    """Values of neurons, (*shape, k) or what broadcasts to it, as distinct pixels.

    Most layers have one number for each channel, and those whose borders differ have a few: a table
    with each distinct pixel once is small.

    Returns
    -------
    array (rows, channels, k)
    uint16 array (pixels,), or None where all pixels are alike
        The row of each pixel.
    """
    k = values.shape[-1]
    wide = np.broadcast_to(values, (*grid.shape, k))
    planes = np.moveaxis(wide, -1, 0).reshape(k, grid.channels, grid.pixels)
    by_pixel = np.ascontiguousarray(planes.transpose(2, 1, 0)).reshape(grid.pixels, -1)
    rows, which = np.unique(by_pixel, axis=0, return_inverse=True)
    if len(rows) > ROWS:
        raise ProgramError(f"{len(rows)} pixels of other constants; target c tells {ROWS} apart")
    found = rows.reshape(len(rows), grid.channels, k)
    return found, None if len(rows) == 1 else which.ravel().astype(np.uint16)
