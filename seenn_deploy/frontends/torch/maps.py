"""Linear maps of the traced module, each made once, put into chains, and their constants."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import singledispatch, singledispatchmethod
from hashlib import blake2b
from typing import Any, TypeAlias, TypeVar, cast

import numpy as np

from seenn_deploy import ir
from seenn_deploy._typing import Array, Shape
from seenn_deploy.frontends.torch.values import NotMergedError
from seenn_deploy.ir.maps.base import along_channels, weighted

Maps: TypeAlias = tuple[ir.LinearMap, ...]
Made = TypeVar("Made", bound=ir.LinearMap)


class MapStore:
    """A store of linear maps, in which the same weights give the same object."""

    def __init__(self) -> None:
        self._made: dict[Any, ir.LinearMap] = {}
        self._prints: dict[int, tuple[Any, bytes]] = {}

    def conv(self, weight: Any, bias: Any, **settings: Any) -> ir.Conv2d:
        key = ("conv", self._print(weight), self._print(bias), *settings.items())
        return self._once(key, lambda: ir.Conv2d(_array(weight), bias=_optional(bias), **settings))

    def dense(self, weight: Any, bias: Any) -> ir.LinearMap:
        key = ("dense", self._print(weight), self._print(bias))
        return self._once(key, lambda: ir.Dense(_array(weight), _optional(bias)))

    def by_token(self, layer: ir.Dense, rows: bool) -> ir.Conv2d:
        """Return a linear layer as one of all tokens: over the rows of an image, or its pixels."""
        at = (slice(None), None, None) if rows else (..., None, None)
        key = ("by token", id(layer), rows)
        return self._once(key, lambda: ir.Conv2d(layer.weight[at], bias=layer.bias))

    def affine(self, scale: Array, shift: Array) -> ir.LinearMap:
        key = ("affine", scale.tobytes(), shift.tobytes())
        return self._once(key, lambda: ir.Affine(scale, shift))

    def pool(self, kernel: tuple[int, int]) -> ir.LinearMap:
        return self._once(("pool", kernel), lambda: ir.AvgPool2d(kernel))

    def listed(self, shape: Shape, rows: Array, columns: Array) -> ir.LinearMap:
        """Return the windows of (C, H, W) that weigh rows and columns so, synapse by synapse.

        `rows` is (windows, H), `columns` (windows, W).
        """
        key = ("listed", shape, rows.shape, rows.tobytes(), columns.shape, columns.tobytes())
        return self._once(key, lambda: _listed(shape, rows, columns))

    def without_constants(self, step: ir.LinearMap) -> ir.LinearMap:
        """Return the map without its bias or shift."""
        bare = step.without_constant()
        return step if bare is step else self._kept(bare, ("bare", id(step)))

    def rescaled_bias(self, step: ir.LinearMap, factor: float) -> ir.LinearMap:
        """Return the map with its bias or shift times `factor`."""
        return self._kept(step.with_constant_times(factor), ("bias", id(step), factor))

    @singledispatchmethod
    def _kept(self, made: ir.LinearMap, key: Any) -> ir.LinearMap:
        return self._once(key, lambda: made)

    @_kept.register
    def _(self, made: ir.Affine, key: Any) -> ir.LinearMap:
        """Keep scales by their numbers: they are made anew at every timestep."""
        return self.affine(made.scale, made.shift)

    def appended(self, maps: Maps, step: ir.LinearMap) -> Maps:
        """Append a map to a chain in such a way that the compiler can fold it."""
        return self._appended(step, maps)

    @singledispatchmethod
    def _appended(self, step: ir.LinearMap, maps: Maps) -> Maps:
        if not weighted(maps):
            return (*maps, step)
        folded = self._folded(maps)
        joined = merged(folded[-1], step)
        if joined is None:
            raise NotMergedError(
                "two layers with weights follow each other without neurons between",
                "merge them into one, or put a spiking layer between",
            )
        key = ("merged", id(folded[-1]), id(step))
        return (*folded[:-1], self._once(key, lambda: joined))

    def _folded(self, maps: Maps) -> Maps:
        """Merge a scale per channel at the end into the weights before it."""
        before, last = maps[-2:] if len(maps) > 1 else (maps[0], maps[0])
        if not (isinstance(last, ir.Affine) and isinstance(before, ir.Conv2d | ir.Dense)):
            return maps
        if before.weight.shape[0] != len(last.scale):
            return maps
        key = ("scaled", id(before), id(last))
        return (*maps[:-2], self._once(key, lambda: scaled(before, last)))

    @_appended.register
    def _(self, step: ir.Affine, maps: Maps) -> Maps:
        """Put scales per channel before pools: an average of equal scales is the scale."""
        at = len(maps)
        while at and isinstance(maps[at - 1], ir.AvgPool2d):
            at -= 1
        return (*maps[:at], step, *maps[at:])

    @_appended.register
    def _(self, step: ir.AvgPool2d, maps: Maps) -> Maps:
        """Merge a pool into the pool or the convolution before it."""
        # The last map but scales per channel, which a pool does not mind: it is what gets averaged.
        places = [i for i, m in enumerate(maps) if not isinstance(m, ir.Affine)]
        if not places:
            return (*maps, step)
        at = places[-1]
        return (*maps[:at], self._pooled(maps[at], step), *maps[at + 1 :])

    @singledispatchmethod
    def _pooled(self, before: ir.LinearMap, pool: ir.AvgPool2d) -> ir.LinearMap:
        raise NotMergedError(
            "an average pool behind a linear layer", "put the pool behind the neurons"
        )

    @_pooled.register
    def _(self, before: ir.AvgPool2d, pool: ir.AvgPool2d) -> ir.LinearMap:
        return self.pool((before.kernel[0] * pool.kernel[0], before.kernel[1] * pool.kernel[1]))

    @_pooled.register
    def _(self, before: ir.Conv2d, pool: ir.AvgPool2d) -> ir.LinearMap:
        key = ("pooled", id(before), pool.kernel)
        return self._once(key, lambda: pooled(before, pool))

    def _once(self, key: Any, make: Callable[[], Made]) -> Made:
        if key not in self._made:
            self._made[key] = make()
        return cast(Made, self._made[key])

    def _print(self, tensor: Any) -> bytes:
        if tensor is None:
            return b""
        if id(tensor) not in self._prints:
            values = _array(tensor)
            digest = blake2b(values.tobytes(), digest_size=16).digest()
            # The tensor is kept with its print, so that no other one can get its id.
            self._prints[id(tensor)] = (tensor, digest + repr(values.shape).encode())
        return self._prints[id(tensor)][1]


def scaled(layer: ir.Conv2d | ir.Dense, affine: ir.Affine) -> ir.Conv2d | ir.Dense:
    """Merge a layer and the scale per channel after it into one."""
    bias = affine.shift if layer.bias is None else affine.shift + affine.scale * layer.bias
    ones = [1] * (layer.weight.ndim - 1)
    return replace(layer, weight=layer.weight * affine.scale.reshape(-1, *ones), bias=bias)


def merged(first: ir.LinearMap, second: ir.LinearMap) -> ir.LinearMap | None:
    """Merge two layers into one, ``W2 W1`` and ``W2 b1 + b2``; None where that is not exact.

    It is exact for two matrices, and for two convolutions of which the second is 1x1; strides
    multiply. Other convolutions would differ at the border. A listed pool before a matrix is one.
    """
    merge = _MERGES.get((type(first), type(second)))
    return merge(first, second) if merge else None


def _list_then_matrix(first: ir.Sparse, second: ir.Dense) -> ir.Dense:
    sources, targets = first.sources, first.targets
    # Row by row: a matrix of VGG's first linear layer has 10^8 weights.
    rows = [
        np.bincount(sources, row[targets] * first.weight, len(first.indptr) - 1)
        for row in second.weight
    ]
    return ir.Dense(np.stack(rows).astype(second.weight.dtype), second.bias)


def _convolutions(first: ir.Conv2d, second: ir.Conv2d) -> ir.Conv2d | None:
    single = second.weight.shape[2:] == (1, 1) and second.padding == (0, 0)
    if not (single and first.groups == second.groups == 1):
        return None
    weight, bias = _product(first, second)
    stride = (first.stride[0] * second.stride[0], first.stride[1] * second.stride[1])
    return replace(first, weight=weight, bias=bias, stride=stride)


_MERGES: dict[tuple[type, type], Callable[..., ir.LinearMap | None]] = {
    (ir.Sparse, ir.Dense): _list_then_matrix,
    (ir.Dense, ir.Dense): lambda first, second: ir.Dense(*_product(first, second)),
    (ir.Conv2d, ir.Conv2d): _convolutions,
}


def _product(first: ir.Synapses, second: ir.Synapses) -> tuple[Array, Array | None]:
    """Return the weights and the bias of two layers in a row."""
    matrix = second.weight.reshape(len(second.weight), -1).astype(np.float64)
    weight = np.tensordot(matrix, first.weight.astype(np.float64), 1)
    parts = [matrix @ first.bias] if first.bias is not None else []
    parts += [second.bias] if second.bias is not None else []
    return weight, np.sum(parts, axis=0) if parts else None


def pooled(conv: ir.Conv2d, pool: ir.AvgPool2d) -> ir.Conv2d:
    """Merge a convolution and the average pool after it: its kernel is summed over the window.

    A pool of k after a stride of s moves by s k, and its window sees the kernel shifted by
    0, s, .. s (k - 1).
    """
    conv = _without_dilation(conv)
    c_out, c_in, k_h, k_w = conv.weight.shape
    (s_h, s_w), (p_h, p_w) = conv.stride, pool.kernel
    wide = np.zeros((c_out, c_in, k_h + s_h * (p_h - 1), k_w + s_w * (p_w - 1)))
    for y in range(p_h):
        for x in range(p_w):
            wide[:, :, y * s_h : y * s_h + k_h, x * s_w : x * s_w + k_w] += conv.weight
    return replace(conv, weight=wide / (p_h * p_w), stride=(s_h * p_h, s_w * p_w))


def _without_dilation(conv: ir.Conv2d) -> ir.Conv2d:
    """Return a convolution with zeros between its weights in place of a dilation."""
    (d_h, d_w), (c_out, c_in, k_h, k_w) = conv.dilation, conv.weight.shape
    wide = np.zeros((c_out, c_in, d_h * (k_h - 1) + 1, d_w * (k_w - 1) + 1), conv.weight.dtype)
    wide[:, :, ::d_h, ::d_w] = conv.weight
    return replace(conv, weight=wide, dilation=(1, 1))


def flat_over(maps: Maps, in_shape: Shape) -> Maps | None:
    """Return a chain with its last convolution over whole images of `in_shape` as a linear layer.

    It is the mean of a 1x1 convolution over the image as a pool and a linear layer. None where the
    last map is no such convolution.
    """
    conv = maps[-1] if maps else None
    if not isinstance(conv, ir.Conv2d) or conv.groups > 1 or conv.padding != (0, 0):
        return None
    if conv.weight.shape[2:] != in_shape[1:]:
        return None
    if np.ptp(conv.weight.reshape(*conv.weight.shape[:2], -1), axis=-1).any():
        return (*maps[:-1], ir.Dense(conv.weight.reshape(len(conv.weight), -1), conv.bias))
    mean = ir.Dense(conv.weight.sum((2, 3)), conv.bias)
    return (*maps[:-1], ir.AvgPool2d((in_shape[1], in_shape[2])), mean)


def _listed(shape: Shape, rows: Array, columns: Array) -> ir.Sparse:
    """List the synapses of a channel from those of its rows and columns, then of all channels."""
    # As a matrix of windows by pixels, most of it zeros, an image of 112x112 would take 300 MB.
    (i, y), (j, x) = np.nonzero(rows), np.nonzero(columns)
    channels, height, width = shape
    pixels, windows = height * width, len(rows) * len(columns)
    source = (y[:, None] * width + x).ravel()
    target = (i[:, None] * len(columns) + j).ravel()
    share = np.outer(rows[i, y], columns[j, x]).ravel()
    channel = np.arange(channels)[:, None]
    return ir.Sparse.of(
        (channel * pixels + source).ravel(),
        (channel * windows + target).ravel(),
        np.tile(share, channels),
        channels * pixels,
        (channels, len(rows), len(columns)),
    )


def constant_of(maps: Maps, in_shape: Shape) -> Array:
    """Return what a chain gives for an input of zeros, broadcastable to its output."""
    x = np.zeros(())
    for step in maps:
        x = _constant_behind(step, x, in_shape)
        if (added := step.constant(in_shape)) is not None:
            x = x + added.astype(np.float64)
        in_shape = step.out_shape(in_shape)
    return x


@singledispatch
def _constant_behind(step: ir.LinearMap, x: Array, in_shape: Shape) -> Array:
    """Return a constant input after one map, without what the map itself adds."""
    return x


@_constant_behind.register
def _(step: ir.Synapses, x: Array, in_shape: Shape) -> Array:
    # Most chains have no constant, and 10^8 weights times zeros take seconds.
    return step.response(np.broadcast_to(x, in_shape)) if x.any() else np.zeros(())


@_constant_behind.register
def _(step: ir.Affine, x: Array, in_shape: Shape) -> Array:
    return x * along_channels(step.scale, in_shape)


def _array(tensor: Any) -> Array:
    return np.ascontiguousarray(tensor.detach().cpu().numpy())


def _optional(bias: Any) -> Array | None:
    """A bias as an array; zeros are none."""
    return None if bias is None or not bool(bias.any()) else _array(bias)
