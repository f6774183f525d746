"""Neurons behind a max pool over currents."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from seenn_deploy._typing import Array, Pair, Shape
from seenn_deploy.errors import ModelError
from seenn_deploy.ir.nodes.population import Population


class Windows:
    """A node whose currents are pooled: the largest one of each window is what it takes."""

    name: str
    shape: Shape
    before: Pair
    window: Pair
    stride: Pair
    padding: Pair

    @property
    def arriving(self) -> Shape:
        """Shape of the currents, (C, h, w)."""
        return (self.shape[0], *self.before)

    @property
    def comparisons(self) -> int:
        """Comparisons per timestep: one less than there are currents in each window."""
        rows, columns = (sum(stop - start for start, stop in self._ranges(axis)) for axis in (0, 1))
        height, width = self.shape[1:]
        return self.shape[0] * (rows * columns - height * width)

    def taken(self, currents: Array) -> Array:
        """The largest current of each window: (..., C, h, w) to (..., C, H, W)."""
        rows = [currents[..., start:stop, :].max(axis=-2) for start, stop in self._ranges(0)]
        tall = np.stack(rows, axis=-2)
        columns = [tall[..., start:stop].max(axis=-1) for start, stop in self._ranges(1)]
        return np.stack(columns, axis=-1)

    def _ranges(self, axis: int) -> list[tuple[int, int]]:
        """First row and row behind the last one of each window, or its columns."""
        step, size, padding = self.stride[axis], self.window[axis], self.padding[axis]
        starts = [i * step - padding for i in range(self.shape[1 + axis])]
        return [(max(0, first), min(first + size, self.before[axis])) for first in starts]

    def check_windows(self) -> None:
        """Raise ModelError where the window does not fit."""
        sizes = (*self.before, *self.window, *self.stride, *(n + 1 for n in self.padding))
        half = all(2 * pad <= size for pad, size in zip(self.padding, self.window, strict=True))
        if len(self.shape) != 3 or min(sizes) < 1 or not half:
            raise ModelError(
                f"{self.name}: a max pool of window {self.window}, stride {self.stride} and "
                f"padding {self.padding} over {self.before}"
            )
        pooled = tuple(
            (n + 2 * pad - size) // step + 1
            for n, size, step, pad in zip(
                self.before, self.window, self.stride, self.padding, strict=True
            )
        )
        if self.shape[1:] != pooled:
            raise ModelError(f"{self.name}: its windows give {pooled}, its shape is {self.shape}")


@dataclass(frozen=True, eq=False)
class Maximum(Windows, Population):
    """Leaky integrate-and-fire neurons that each take the largest current of a window.

    Synapses and bias make currents of shape (C, h, w). A neuron of the population, of shape
    (C, H, W), gets the largest of those in its window, and then does what the neurons of any
    :class:`Population` do with a current. What lies in the padding is no current and never the
    largest, also where all others are negative.

    Parameters
    ----------
    before : (int, int)
        Height h and width w of the currents.
    window, stride, padding : (int, int)
        Rows and columns, as of torch's ``max_pool2d``.
    """

    before: Pair = (1, 1)
    window: Pair = (1, 1)
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)

    @property
    def text(self) -> str:
        """For example: max pool 2x2, LIF, tau 0.5, V 1, hard reset."""
        return f"max pool {self.window[0]}x{self.window[1]}, {super().text}"

    def check(self) -> None:
        """Raise ModelError where the window does not fit, too."""
        super().check()
        self.check_windows()
