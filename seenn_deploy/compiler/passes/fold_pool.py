"""Average pools disappear into the synapses behind them.

Rules:

1. ``pool k, convolution K stride s``: one convolution of kernel kK and stride ks, weights / k^2.
   Exact unless the pool drops a last partial window that padding would bring back, or the
   convolution is dilated: then rule 3.
2. ``pool, dense``: every neuron of a window gets the window's weights / k^2. Where the pool drops
   neurons: rule 3.
3. otherwise: an explicit synapse list.
4. a pool alone: a depthwise convolution.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np

from seenn_deploy import ir
from seenn_deploy._typing import Array, Shape
from seenn_deploy.compiler.passes.rewrite import Maps, rewrite
from seenn_deploy.errors import ModelError
from seenn_deploy.ir.synapse_lists import conv_synapses, dense_synapses, spread_pool


def apply(graph: ir.SpikingGraph) -> ir.SpikingGraph:
    """Fold every average pool."""
    return rewrite(graph, _fold)


def _fold(maps: Maps, in_shape: Shape) -> tuple[Maps, Array | None]:
    at = next((i for i, m in enumerate(maps) if isinstance(m, ir.AvgPool2d)), None)
    if at is None:
        return maps, None
    for step in maps[:at]:
        in_shape = step.out_shape(in_shape)
    pool = maps[at]
    assert isinstance(pool, ir.AvgPool2d)
    behind = maps[at + 1] if at + 1 < len(maps) else None
    if isinstance(behind, ir.Affine) or behind is None:
        merged: Maps = (_depthwise(pool, in_shape[0]),)
        rest = maps[at + 1 :]
    else:
        merged, rest = _merge(pool, behind, in_shape), maps[at + 2 :]
    return (*maps[:at], *merged, *rest), None


def _merge(pool: ir.AvgPool2d, behind: ir.LinearMap, in_shape: Shape) -> Maps:
    whole = all(n % k == 0 for n, k in zip(in_shape[1:], pool.kernel, strict=True))
    if isinstance(behind, ir.Conv2d):
        if behind.dilation == (1, 1) and (whole or behind.padding == (0, 0)):
            return (_wider(pool, behind),)
        synapses = conv_synapses(behind, pool.out_shape(in_shape))
        shape_out = behind.out_shape(pool.out_shape(in_shape))
        bias = None if behind.bias is None else behind.bias
    elif isinstance(behind, ir.Dense):
        if whole:
            return (_spread(pool, behind, in_shape),)
        synapses, bias = dense_synapses(behind), behind.bias
        shape_out = behind.out_shape(pool.out_shape(in_shape))
    else:
        raise ModelError(f"cannot fold an average pool into {type(behind).__name__}")
    listed = spread_pool(synapses, pool.kernel, in_shape, shape_out)
    if bias is None:
        return (listed,)
    return listed, ir.Affine(np.ones(len(bias)), bias.astype(np.float64))


def _wider(pool: ir.AvgPool2d, conv: ir.Conv2d) -> ir.Conv2d:
    k_h, k_w = pool.kernel
    weight = conv.weight.astype(np.float64).repeat(k_h, axis=2).repeat(k_w, axis=3)
    return replace(
        conv,
        weight=weight / (k_h * k_w),
        stride=(conv.stride[0] * k_h, conv.stride[1] * k_w),
        padding=(conv.padding[0] * k_h, conv.padding[1] * k_w),
    )


def _spread(pool: ir.AvgPool2d, dense: ir.Dense, in_shape: Shape) -> ir.Dense:
    pooled = pool.out_shape(in_shape)
    weight = dense.weight.astype(np.float64).reshape(-1, *pooled)
    weight = weight.repeat(pool.kernel[0], axis=2).repeat(pool.kernel[1], axis=3)
    return replace(dense, weight=weight.reshape(len(weight), -1) / prod(pool.kernel))


def _depthwise(pool: ir.AvgPool2d, channels: int) -> ir.Conv2d:
    weight = np.full((channels, 1, *pool.kernel), 1 / prod(pool.kernel))
    return ir.Conv2d(weight, stride=pool.kernel, groups=channels)
