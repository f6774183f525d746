"""Batch norm, input normalisation and biases disappear into weights and population biases.

Rules, applied from the right until none fits:

1. ``W then affine``: rows of W are scaled, the shift becomes a bias.
2. ``affine then W``: columns of W are scaled; the shift seen through W becomes a bias. Behind zero
   padding it differs at the border, so it is a bias a neuron, not a bias a channel.
3. ``affine`` alone: a depthwise 1x1 convolution.

Everything is computed in float64. Pools must be folded before.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from seenn_deploy import ir
from seenn_deploy._typing import Array, Shape
from seenn_deploy.compiler.passes.rewrite import Maps, rewrite
from seenn_deploy.errors import ModelError
from seenn_deploy.ir.reference import response


def apply(graph: ir.SpikingGraph) -> ir.SpikingGraph:
    """Fold every affine map and every bias of a linear map."""
    return rewrite(graph, _fold)


def _fold(maps: Maps, in_shape: Shape) -> tuple[Maps, Array | None]:
    weighted = [m for m in maps if not isinstance(m, ir.Affine)]
    if len(weighted) > 1:
        raise ModelError(f"cannot merge {' then '.join(type(m).__name__ for m in weighted)}")
    at = next((i for i, m in enumerate(maps) if not isinstance(m, ir.Affine)), len(maps))
    core: ir.LinearMap = weighted[0] if weighted else ir.Identity()
    before = _compose([m for m in maps[:at] if isinstance(m, ir.Affine)])
    after = _compose([m for m in maps[at:] if isinstance(m, ir.Affine)])
    core, bias = _without_bias(core)
    if before:
        core, bias = _fold_before(core, before, in_shape, bias)
    if after:
        core, bias = _fold_after(core, after, in_shape, bias)
    return (core,), bias


def _compose(affines: list[ir.Affine]) -> ir.Affine | None:
    if not affines:
        return None
    scale, shift = affines[0].scale, affines[0].shift
    for affine in affines[1:]:
        scale, shift = scale * affine.scale, shift * affine.scale + affine.shift
    return ir.Affine(scale, shift)


def _without_bias(core: ir.LinearMap) -> tuple[ir.LinearMap, Array | None]:
    if isinstance(core, ir.Conv2d) and core.bias is not None:
        return replace(core, bias=None), core.bias[:, None, None]
    if isinstance(core, ir.Dense) and core.bias is not None:
        return replace(core, bias=None), core.bias
    return core, None


def _fold_after(
    core: ir.LinearMap, affine: ir.Affine, in_shape: Shape, bias: Array | None
) -> tuple[ir.LinearMap, Array]:
    ndim = len(core.out_shape(in_shape))
    scale, shift = (a.reshape(-1, *[1] * (ndim - 1)) for a in (affine.scale, affine.shift))
    if isinstance(core, ir.Identity):
        core = _depthwise(core, len(affine.scale))
    bias = shift if bias is None else bias * scale + shift
    if isinstance(core, ir.Sparse):
        channel = np.unravel_index(core.targets, core.shape_out)[0]
        return replace(core, weight=core.weight * affine.scale[channel]), bias
    assert isinstance(core, ir.Conv2d | ir.Dense)
    rows = affine.scale.reshape(-1, *[1] * (core.weight.ndim - 1))
    return replace(core, weight=core.weight * rows), bias


def _fold_before(
    core: ir.LinearMap, affine: ir.Affine, in_shape: Shape, bias: Array | None
) -> tuple[ir.LinearMap, Array]:
    if isinstance(core, ir.Identity):
        core = _depthwise(core, len(affine.scale))
    if isinstance(core, ir.Sparse | ir.AvgPool2d | ir.Affine):
        raise ModelError(f"cannot scale the input of {type(core).__name__}")
    field = np.broadcast_to(affine.shift.reshape(-1, *[1] * (len(in_shape) - 1)), in_shape)
    shifted = response(core, field)
    if isinstance(core, ir.Dense):
        columns = np.broadcast_to(
            affine.scale.reshape(-1, *[1] * (len(in_shape) - 1)), in_shape
        ).ravel()
        scaled: ir.LinearMap = replace(core, weight=core.weight * columns)
    else:
        c_out, c_group = core.weight.shape[:2]
        group = np.arange(c_out) // (c_out // core.groups)
        channel = group[:, None] * c_group + np.arange(c_group)
        scaled = replace(core, weight=core.weight * affine.scale[channel][:, :, None, None])
    return scaled, shifted if bias is None else bias + shifted


def _depthwise(core: ir.Identity, channels: int) -> ir.Conv2d:
    return ir.Conv2d(np.full((channels, 1, 1, 1), float(core.weight)), groups=channels)
