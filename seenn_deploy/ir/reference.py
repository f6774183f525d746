"""The slow, obvious arithmetic of linear maps in float64, which other code is compared with."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from seenn_deploy._typing import Array
from seenn_deploy.ir.maps import Conv2d, Dense, Identity, Sparse, Synapses


def apply(synapses: Synapses, x: Array) -> Array:
    """Currents that inputs (T, *in_shape) cause, float64 (T, *out_shape)."""
    if isinstance(synapses, Identity):
        return x * synapses.weight.astype(np.float64)
    if isinstance(synapses, Dense):
        return np.asarray(x.reshape(len(x), -1) @ synapses.weight.astype(np.float64).T)
    if isinstance(synapses, Sparse):
        return _apply_sparse(synapses, x)
    return _convolve(synapses, x)


def response(core: Conv2d | Dense, x: Array) -> Array:
    """What a linear map, its bias left out, makes of one input (*in_shape), in float64."""
    return np.asarray(apply(core, np.asarray(x, np.float64)[None])[0])


def _apply_sparse(sparse: Sparse, x: Array) -> Array:
    fan_out = np.diff(sparse.indptr)
    sent = np.repeat(x.reshape(len(x), -1), fan_out, axis=1) * sparse.weight.astype(np.float64)
    size = int(np.prod(sparse.shape_out))
    rows = [np.bincount(sparse.targets, row, size) for row in sent]
    return np.stack(rows).reshape(len(x), *sparse.shape_out)


def _convolve(conv: Conv2d, x: Array) -> Array:
    """A product of the weights with all windows, sample by sample."""
    c_out, height, width = conv.out_shape(x.shape[1:])
    padded = np.pad(x, ((0, 0), (0, 0), *((p, p) for p in conv.padding)))
    weight = conv.weight.astype(np.float64).reshape(conv.groups, c_out // conv.groups, -1)
    kernel = zip(conv.weight.shape[2:], conv.dilation, strict=True)
    spans = tuple((k - 1) * d + 1 for k, d in kernel)
    (down, right), (row, column) = conv.stride, conv.dilation
    out = np.empty((len(x), *weight.shape[:2], height * width))
    for sample, sums in zip(padded, out, strict=True):
        windows = sliding_window_view(sample, spans, (1, 2))[:, ::down, ::right, ::row, ::column]
        taps = windows.transpose(0, 3, 4, 1, 2).reshape(conv.groups, -1, height * width)
        np.matmul(weight, taps, out=sums)
    return out.reshape(len(x), c_out, height, width)
