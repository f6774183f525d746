"""Linear maps: what lies on an edge of the graph. Arrays are channels first, as in torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import TypeAlias

import numpy as np

from seenn_deploy._typing import Array, Pair, Shape
from seenn_deploy.errors import ModelError


@dataclass(frozen=True, eq=False)
class Conv2d:
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
        """Multiply-accumulates of the dense layer, padding included, as papers count them."""
        return prod(self.out_shape(in_shape)) * prod(self.weight.shape[1:])

    def fan_out(self, in_shape: Shape, effective: bool = False) -> Array:
        """Existing synapses of each source neuron, int64 of `in_shape`; padding is none.

        With `effective`, synapses of weight 0 are left out.
        """
        _, height, width = self.out_shape(in_shape)
        c_out, c_group, k_h, k_w = self.weight.shape
        if effective:
            split = self.weight.reshape(self.groups, c_out // self.groups, c_group, k_h, k_w)
            per_tap = np.count_nonzero(split, axis=1).reshape(-1, k_h, k_w)
        else:
            per_tap = np.full((in_shape[0], k_h, k_w), c_out // self.groups)
        rows = _tap_hits(
            in_shape[1], height, k_h, self.stride[0], self.padding[0], self.dilation[0]
        )
        cols = _tap_hits(in_shape[2], width, k_w, self.stride[1], self.padding[1], self.dilation[1])
        found = np.einsum("ckl,yk,xl->cyx", per_tap.astype(np.int64), rows, cols, optimize=True)
        return np.asarray(found, np.int64)


def _tap_hits(n_in: int, n_out: int, kernel: int, stride: int, pad: int, dilation: int) -> Array:
    """(n_in, kernel) 0/1: does input i meet tap k of some output."""
    hits = np.zeros((n_in, kernel), np.int64)
    for k in range(kernel):
        i = np.arange(n_out) * stride - pad + k * dilation
        hits[i[(i >= 0) & (i < n_in)], k] = 1
    return hits


@dataclass(frozen=True, eq=False)
class Dense:
    """All-to-all synapses over the source flattened in C order.

    Parameters
    ----------
    weight : array (M, N)
    bias : array (M,), optional
        Only before compilation.
    """

    weight: Array
    bias: Array | None = None

    def out_shape(self, in_shape: Shape) -> Shape:
        if prod(in_shape) != self.weight.shape[1]:
            raise ModelError(
                f"a dense layer over {self.weight.shape[1]} neurons cannot take shape {in_shape}"
            )
        return (self.weight.shape[0],)

    def dense_macs(self, in_shape: Shape) -> int:
        return int(self.weight.size)

    def fan_out(self, in_shape: Shape, effective: bool = False) -> Array:
        per_neuron = (
            np.count_nonzero(self.weight, axis=0)
            if effective
            else np.full(self.weight.shape[1], self.weight.shape[0])
        )
        return per_neuron.astype(np.int64).reshape(in_shape)


@dataclass(frozen=True, eq=False)
class Sparse:
    """A list of synapses, compressed by source neuron (both sides flattened in C order).

    Parameters
    ----------
    indptr : int64 array (N + 1,)
        Synapses of source neuron i are ``indptr[i]:indptr[i + 1]``.
    targets : int32 array (S,)
    weight : array (S,)
    shape_out : tuple of int
    """

    indptr: Array
    targets: Array
    weight: Array
    shape_out: Shape
    bias: None = None

    def out_shape(self, in_shape: Shape) -> Shape:
        if prod(in_shape) != len(self.indptr) - 1:
            raise ModelError(
                f"sparse synapses of {len(self.indptr) - 1} neurons cannot take shape {in_shape}"
            )
        return self.shape_out

    def dense_macs(self, in_shape: Shape) -> int:
        return len(self.weight)

    def fan_out(self, in_shape: Shape, effective: bool = False) -> Array:
        if not effective:
            return np.diff(self.indptr).astype(np.int64).reshape(in_shape)
        running = np.concatenate(([0], np.cumsum(self.weight != 0)))
        return np.diff(running[self.indptr]).astype(np.int64).reshape(in_shape)


@dataclass(frozen=True, eq=False)
class Identity:
    """One synapse a neuron, all of one weight: an identity shortcut."""

    weight: Array = field(default_factory=lambda: np.ones((), np.float32))
    bias: None = None

    def out_shape(self, in_shape: Shape) -> Shape:
        return in_shape

    def dense_macs(self, in_shape: Shape) -> int:
        return 0

    def fan_out(self, in_shape: Shape, effective: bool = False) -> Array:
        return np.full(in_shape, int(self.weight != 0) if effective else 1, np.int64)


@dataclass(frozen=True, eq=False)
class AvgPool2d:
    """Average over windows of `kernel`, stride equal to it; a last partial window is dropped."""

    kernel: Pair

    def out_shape(self, in_shape: Shape) -> Shape:
        if len(in_shape) != 3 or in_shape[1] < self.kernel[0] or in_shape[2] < self.kernel[1]:
            raise ModelError(f"a {self.kernel} average pool does not fit into {in_shape}")
        return (in_shape[0], in_shape[1] // self.kernel[0], in_shape[2] // self.kernel[1])

    def dense_macs(self, in_shape: Shape) -> int:
        return 0


@dataclass(frozen=True, eq=False)
class Affine:
    """``y = scale * x + shift`` per channel: batch norm at inference, or input normalisation.

    Parameters
    ----------
    scale, shift : float64 array (C,)
    """

    scale: Array
    shift: Array

    def out_shape(self, in_shape: Shape) -> Shape:
        if in_shape[0] != len(self.scale):
            raise ModelError(f"a batch norm of {len(self.scale)} channels cannot take {in_shape}")
        return in_shape

    def dense_macs(self, in_shape: Shape) -> int:
        return 0


Synapses: TypeAlias = Conv2d | Dense | Sparse | Identity


LinearMap: TypeAlias = Synapses | AvgPool2d | Affine


def batch_norm(gamma: Array, beta: Array, mean: Array, var: Array, eps: float = 1e-5) -> Affine:
    """Batch norm with running statistics as an affine map, in float64."""
    scale = gamma.astype(np.float64) / np.sqrt(var.astype(np.float64) + eps)
    return Affine(scale, beta.astype(np.float64) - mean.astype(np.float64) * scale)
