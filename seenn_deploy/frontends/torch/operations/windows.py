"""Windows of pools along one axis of an image, as torch lays them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from seenn_deploy._typing import Array, Pair


@dataclass(frozen=True)
class Windows:
    """Windows of `size` places over `length` values and their padding."""

    length: int
    size: int
    stride: int
    padding: int
    dilation: int
    count: int

    @property
    def whole(self) -> bool:
        """Whether none reaches beyond the padding, as the last one may in ``ceil_mode``."""
        last = (self.count - 1) * self.stride + self.dilation * (self.size - 1) + 1
        return last <= self.length + 2 * self.padding

    def members(self) -> Array:
        """Which values are in which window: float64 (count, length) of ones and zeros."""
        found = np.zeros((self.count, self.length))
        for i in range(self.count):
            places = i * self.stride - self.padding + self.dilation * np.arange(self.size)
            found[i, places[(places >= 0) & (places < self.length)]] = 1
        return found

    def shares(self, count_padding: bool) -> Array:
        """The share of each value in the average of each window, float64 (count, length).

        Padding may count as values of 0; what lies beyond it never does.
        """
        start = np.arange(self.count) * self.stride - self.padding
        padded = np.minimum(start + self.size, self.length + self.padding) - start
        found = self.members()
        return found / (padded[:, None] if count_padding else found.sum(1, keepdims=True))


def windows(
    lengths: Sequence[int], size: Pair, stride: Pair, padding: Pair, dilation: Pair, ceil: bool
) -> tuple[Windows, Windows]:
    """Lay the windows of a pool over rows and columns.

    With `ceil`, as torch's ``ceil_mode``, a last window may be partial, unless it begins behind all
    values.
    """
    rows, columns = (
        _laid(*sides, ceil) for sides in zip(lengths, size, stride, padding, dilation, strict=True)
    )
    return rows, columns


def _laid(length: int, size: int, stride: int, padding: int, dilation: int, ceil: bool) -> Windows:
    room = length + 2 * padding - dilation * (size - 1) - 1
    count = room // stride + 1
    if ceil and room % stride and count * stride < length + padding:
        count += 1
    return Windows(length, size, stride, padding, dilation, count)


def adaptive_shares(length: int, count: int) -> Array:
    """The shares of an adaptive average pool: window i is floor(i n / m) .. ceil((i + 1) n / m).

    Where m exceeds n, windows repeat values.
    """
    i, k = np.arange(count)[:, None], np.arange(length)
    found = (i * length // count <= k) & (k < -(-(i + 1) * length // count))
    return np.asarray(found / found.sum(1, keepdims=True))


__all__ = ["Windows", "adaptive_shares", "windows"]
