"""Folding of average pools into the synapses after them.

Rules:

1. ``pool k, convolution K stride s``: one convolution of kernel kK and stride ks, weights / k^2.
   Exact unless the pool drops a last partial window that padding would bring back, or the
   convolution is dilated: then rule 3.
2. ``pool, dense``: every neuron of a window gets the window's weights / k^2, which all of them
   share. If the pool drops neurons, rule 3 applies.
3. Anything else becomes an explicit list of synapses.
4. A pool alone becomes a depthwise convolution.
"""

from __future__ import annotations

from dataclasses import replace
from functools import singledispatch
from math import prod

import numpy as np

from seenn_deploy import ir
from seenn_deploy._typing import Array, Shape
from seenn_deploy.compiler.passes.rewrite import Maps, rewrite
from seenn_deploy.errors import ModelError


def apply(graph: ir.SpikingGraph) -> ir.SpikingGraph:
    """Fold every average pool."""
    return rewrite(graph, _fold)


def _fold(maps: Maps, in_shape: Shape) -> tuple[Maps, Array | None]:
    found = next(((i, m) for i, m in enumerate(maps) if isinstance(m, ir.AvgPool2d)), None)
    if found is None:
        return maps, None
    at, pool = found
    for step in maps[:at]:
        in_shape = step.out_shape(in_shape)
    behind = maps[at + 1] if at + 1 < len(maps) else None
    if behind is None:
        return (*maps[:at], pool.depthwise(in_shape[0])), None
    return (*maps[:at], *_merged(behind, pool, in_shape), *maps[at + 2 :]), None


@singledispatch
def keeps_kind(behind: ir.LinearMap, pool: ir.AvgPool2d, in_shape: Shape) -> bool:
    """Whether synapses behind a pool of `in_shape` stay what they are, and need no list."""
    return False


@keeps_kind.register
def _(conv: ir.Conv2d, pool: ir.AvgPool2d, in_shape: Shape) -> bool:
    return conv.dilation == (1, 1) and (pool.covers(in_shape) or conv.padding == (0, 0))


@keeps_kind.register
def _(dense: ir.Dense, pool: ir.AvgPool2d, in_shape: Shape) -> bool:
    return pool.covers(in_shape)


@singledispatch
def _merged(behind: ir.LinearMap, pool: ir.AvgPool2d, in_shape: Shape) -> Maps:
    """Merge a pool of `in_shape` and the map after it, perhaps with an affine map for the bias.

    A kind of synapses that may stand after a pool registers ``_listed``, or a form of its own.
    """
    raise ModelError(f"cannot fold an average pool into {type(behind).__name__}")


@_merged.register
def _(affine: ir.Affine, pool: ir.AvgPool2d, in_shape: Shape) -> Maps:
    return pool.depthwise(in_shape[0]), affine


@_merged.register
def _(conv: ir.Conv2d, pool: ir.AvgPool2d, in_shape: Shape) -> Maps:
    if not keeps_kind(conv, pool, in_shape):
        return _listed(conv, pool, in_shape)
    k_h, k_w = pool.kernel
    # A tap of the kernel meets a pooled neuron, so it becomes one tap per neuron of the window.
    weight = conv.weight.astype(np.float64).repeat(k_h, axis=2).repeat(k_w, axis=3)
    wider = replace(
        conv,
        weight=weight / (k_h * k_w),
        stride=(conv.stride[0] * k_h, conv.stride[1] * k_w),
        padding=(conv.padding[0] * k_h, conv.padding[1] * k_w),
    )
    return (wider,)


@_merged.register
def _(dense: ir.Dense, pool: ir.AvgPool2d, in_shape: Shape) -> Maps:
    if not keeps_kind(dense, pool, in_shape):
        return _listed(dense, pool, in_shape)
    weight = dense.weight.astype(np.float64) / prod(pool.kernel)
    return (ir.PooledDense(weight, pool.kernel, dense.bias),)


def _listed(behind: ir.Synapses, pool: ir.AvgPool2d, in_shape: Shape) -> Maps:
    """List the synapses of pooled neurons for the neurons in their windows, weight / window."""
    pooled = pool.out_shape(in_shape)
    source, target, weight = behind.connections(pooled)
    channel, y, x = np.unravel_index(source, pooled)
    dy, dx = (d.ravel()[:, None] for d in np.indices(pool.kernel))
    row, col = y * pool.kernel[0] + dy, x * pool.kernel[1] + dx
    flat = (channel * in_shape[1] + row) * in_shape[2] + col
    spread = ir.Sparse.of(
        flat.ravel(),
        np.broadcast_to(target, flat.shape).ravel(),
        np.broadcast_to(weight.astype(np.float64) / prod(pool.kernel), flat.shape).ravel(),
        prod(in_shape),
        behind.out_shape(pooled),
    )
    if behind.bias is None:
        return (spread,)
    return spread, ir.Affine(np.ones(len(behind.bias)), behind.bias.astype(np.float64))
