"""Linear maps as explicit lists of synapses, for what no convolution can express."""

from __future__ import annotations

from math import prod

import numpy as np

from seenn_deploy._typing import Array, Shape
from seenn_deploy.ir.maps import Conv2d, Dense, Sparse


def conv_synapses(conv: Conv2d, in_shape: Shape, zeros: bool = True) -> tuple[Array, Array, Array]:
    """Synapses of a convolution: (source, target, weight), flattened in C order.

    All of them, or without `zeros` those of a weight other than 0.
    """
    c_out, height, width = conv.out_shape(in_shape)
    listed = (conv.weight != 0) | zeros
    o, i, k, m = np.argwhere(listed).T[:, :, None, None]
    y, x = np.ogrid[:height, :width]
    row = y * conv.stride[0] - conv.padding[0] + k * conv.dilation[0]
    col = x * conv.stride[1] - conv.padding[1] + m * conv.dilation[1]
    channel = o // (c_out // conv.groups) * conv.weight.shape[1] + i
    exists = (row >= 0) & (row < in_shape[1]) & (col >= 0) & (col < in_shape[2])
    source = (channel * in_shape[1] + row) * in_shape[2] + col
    target = np.broadcast_to((o * height + y) * width + x, exists.shape)
    weight = np.broadcast_to(conv.weight[listed][:, None, None], exists.shape)
    return source[exists], target[exists], weight[exists]


def dense_synapses(dense: Dense) -> tuple[Array, Array, Array]:
    """All synapses of a dense layer: (source, target, weight)."""
    target, source = np.indices(dense.weight.shape)
    return source.ravel(), target.ravel(), dense.weight.ravel()


def by_source(source: Array, target: Array, weight: Array, n_in: int, shape_out: Shape) -> Sparse:
    """Compress a synapse list by source neuron."""
    order = np.lexsort((target, source))
    indptr = np.zeros(n_in + 1, np.int64)
    np.cumsum(np.bincount(source, minlength=n_in), out=indptr[1:])
    return Sparse(indptr, target[order].astype(np.int32), weight[order], shape_out)


def spread_pool(
    synapses: tuple[Array, Array, Array], kernel: tuple[int, int], in_shape: Shape, shape_out: Shape
) -> Sparse:
    """Synapses of pooled neurons as synapses of the neurons in their windows, weight / window."""
    source, target, weight = synapses
    pooled = (in_shape[0], in_shape[1] // kernel[0], in_shape[2] // kernel[1])
    channel, y, x = np.unravel_index(source, pooled)
    dy, dx = (d.ravel()[:, None] for d in np.indices(kernel))
    row, col = y * kernel[0] + dy, x * kernel[1] + dx
    flat = (channel * in_shape[1] + row) * in_shape[2] + col
    shape = flat.shape
    return by_source(
        flat.ravel(),
        np.broadcast_to(target, shape).ravel(),
        np.broadcast_to(weight.astype(np.float64) / prod(kernel), shape).ravel(),
        prod(in_shape),
        shape_out,
    )
