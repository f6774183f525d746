"""Two-dimensional convolution."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from seenn_deploy._typing import Array, Pair, Shape
from seenn_deploy.errors import ModelError
from seenn_deploy.ir.maps.base import Synapses


@dataclass(frozen=True, eq=False)
class Conv2d(Synapses):
    """Two-dimensional convolution (cross-correlation, as in torch) with zero padding.

    Parameters
    ----------
    weight : array (C_out, C_in / groups, K_h, K_w)
    stride, padding, dilation : (int, int)
        Along height and width.
    groups : int
    bias : array (C_out,), optional
        Only before compilation; afterwards it is part of the population's bias.
    """

    weight: Array
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    groups: int = 1
    bias: Array | None = None

    @property
    def text(self) -> str:
        k_h, k_w = self.weight.shape[2:]
        return f"{k_h}x{k_w} convolution"

    @property
    def border(self) -> tuple[int, int]:
        return self.padding

    @property
    def label(self) -> str:
        k_h, k_w = self.weight.shape[2:]
        stride = f"/{self.stride[0]}" if self.stride != (1, 1) else ""
        groups = f" g{self.groups}" if self.groups > 1 else ""
        return f"conv {k_h}x{k_w}{stride}{groups}"

    def check(self) -> None:
        least = {"stride": 1, "padding": 0, "dilation": 1}
        for name, low in least.items():
            if min(getattr(self, name)) < low:
                raise ModelError(f"{name} = {getattr(self, name)}; it must be at least {low}")
        if self.weight.ndim != 4 or self.groups < 1 or len(self.weight) % self.groups:
            raise ModelError(
                f"weights of shape {self.weight.shape} do not fit {self.groups} groups"
            )

    def out_shape(self, in_shape: Shape) -> Shape:
        c_out, c_group, *kernel = self.weight.shape
        if len(in_shape) != 3 or in_shape[0] != c_group * self.groups:
            raise ModelError(
                f"a convolution over {c_group * self.groups} channels cannot take shape {in_shape}"
            )
        size = tuple(
            (n + 2 * p - d * (k - 1) - 1) // s + 1
            for n, p, d, k, s in zip(
                in_shape[1:], self.padding, self.dilation, kernel, self.stride, strict=True
            )
        )
        if min(size) < 1:
            raise ModelError(f"a {kernel[0]}x{kernel[1]} kernel does not fit into {in_shape}")
        return (c_out, *size)

    def dense_macs(self, in_shape: Shape) -> int:
        return prod(self.out_shape(in_shape)) * prod(self.weight.shape[1:])

    def fan_out(self, in_shape: Shape, effective: bool = False) -> Array:
        _, height, width = self.out_shape(in_shape)
        c_out, c_group, k_h, k_w = self.weight.shape
        if effective:
            split = self.weight.reshape(self.groups, c_out // self.groups, c_group, k_h, k_w)
            per_tap = np.count_nonzero(split, axis=1).reshape(-1, k_h, k_w)
        else:
            per_tap = np.full((in_shape[0], k_h, k_w), c_out // self.groups)
        # Rows and columns are independent: two short tables say what a tap reaches.
        rows = _tap_hits(
            in_shape[1], height, k_h, self.stride[0], self.padding[0], self.dilation[0]
        )
        cols = _tap_hits(in_shape[2], width, k_w, self.stride[1], self.padding[1], self.dilation[1])
        found = np.einsum("ckl,yk,xl->cyx", per_tap.astype(np.int64), rows, cols, optimize=True)
        return np.asarray(found, np.int64)

    def connections(self, in_shape: Shape, zeros: bool = True) -> tuple[Array, Array, Array]:
        """All synapses, or without `zeros` those of a weight other than 0."""
        c_out, height, width = self.out_shape(in_shape)
        listed = (self.weight != 0) | zeros
        o, i, k, m = np.argwhere(listed).T[:, :, None, None]
        y, x = np.ogrid[:height, :width]
        row = y * self.stride[0] - self.padding[0] + k * self.dilation[0]
        col = x * self.stride[1] - self.padding[1] + m * self.dilation[1]
        channel = o // (c_out // self.groups) * self.weight.shape[1] + i
        exists = (row >= 0) & (row < in_shape[1]) & (col >= 0) & (col < in_shape[2])
        source = (channel * in_shape[1] + row) * in_shape[2] + col
        target = np.broadcast_to((o * height + y) * width + x, exists.shape)
        weight = np.broadcast_to(self.weight[listed][:, None, None], exists.shape)
        return source[exists], target[exists], weight[exists]

    def constant(self, in_shape: Shape) -> Array | None:
        return None if self.bias is None else self.bias[:, None, None]

    def summed(self, values: Array, in_shape: Shape) -> Array:
        """One sum per channel; a neuron at the border meets only a part of the kernel."""
        return np.asarray(values.reshape(len(values), -1).sum(axis=1))

    def currents(self, x: Array) -> Array:
        return self._currents(np.asarray(x, np.float64))

    def rounded_currents(self, x: Array) -> Array:
        return self._currents(np.asarray(x, np.float32))

    def _currents(self, x: Array) -> Array:
        """A product of the weights with all windows, sample by sample, in the type of `x`."""
        c_out, height, width = self.out_shape(x.shape[1:])
        k_h, k_w = self.weight.shape[2:]
        (down, right), (row, column) = self.stride, self.dilation
        padded = np.pad(x, ((0, 0), (0, 0), *((p, p) for p in self.padding)))
        weight = self.weight.astype(x.dtype).reshape(self.groups, c_out // self.groups, -1)
        out = np.zeros((len(x), *weight.shape[:2], height * width), x.dtype)
        taps = np.empty((x.shape[1], k_h, k_w, height, width), x.dtype)
        # One sample at a time: the windows of a batch would take its memory as often as a kernel
        # has taps.
        for sample, sums in zip(padded, out, strict=True):
            if not sample.any():  # layers that are silent cost nothing
                continue
            for k, m in np.ndindex(k_h, k_w):
                rows, columns = sample[:, k * row :: down], slice(m * column, None, right)
                taps[:, k, m] = rows[:, :height, columns][..., :width]
            np.matmul(weight, taps.reshape(self.groups, -1, height * width), out=sums)
        return out.reshape(len(x), c_out, height, width)

    def scaled(self, factors: Array, in_shape: Shape) -> Conv2d:
        return self.with_weight(self.weight * factors[:, None, None, None])

    def scaled_inputs(self, factors: Array, in_shape: Shape) -> Conv2d:
        """Factors must be alike within a channel."""
        self.out_shape(in_shape)
        by_channel = np.broadcast_to(factors, in_shape)[:, 0, 0]
        c_out, c_group = self.weight.shape[:2]
        group = np.arange(c_out) // (c_out // self.groups)
        channel = group[:, None] * c_group + np.arange(c_group)
        return self.with_weight(self.weight * by_channel[channel][:, :, None, None])


def _tap_hits(n_in: int, n_out: int, kernel: int, stride: int, pad: int, dilation: int) -> Array:
    """(n_in, kernel) 0/1: does input i meet tap k of some output."""
    hits = np.zeros((n_in, kernel), np.int64)
    for k in range(kernel):
        i = np.arange(n_out) * stride - pad + k * dilation
        hits[i[(i >= 0) & (i < n_in)], k] = 1
    return hits
