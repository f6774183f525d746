"""Batch norm, input normalisation and biases disappear into weights and population biases.

Rules, applied from the right until none fits:

1. ``W then affine``: rows of W are scaled, the shift becomes a bias.
2. ``affine then W``: columns of W are scaled; the shift seen through W becomes a bias. Behind zero
   padding it differs at the border, so it is one bias per neuron and not one per channel.
3. ``affine`` alone: a depthwise 1x1 convolution.

Everything is computed in float64. Pools must be folded before.
"""

from __future__ import annotations

from functools import singledispatch

import numpy as np

from seenn_deploy import ir
from seenn_deploy._typing import Array, Shape
from seenn_deploy.compiler.passes.rewrite import Maps, rewrite
from seenn_deploy.errors import ModelError
from seenn_deploy.ir.maps.affine import composed
from seenn_deploy.ir.maps.base import along_channels


def apply(graph: ir.SpikingGraph) -> ir.SpikingGraph:
    """Fold every affine map and every bias of a linear map."""
    return rewrite(graph, _fold)


def _fold(maps: Maps, in_shape: Shape) -> tuple[Maps, Array | None]:
    weighted = [i for i, m in enumerate(maps) if not isinstance(m, ir.Affine)]
    if len(weighted) > 1:
        kinds = " then ".join(type(maps[i]).__name__ for i in weighted)
        raise ModelError(f"cannot merge {kinds}")
    at = weighted[0] if weighted else len(maps)
    core = maps[at] if weighted else ir.Identity()
    if not isinstance(core, ir.Synapses):
        raise ModelError(f"{type(core).__name__} was not folded")
    before, after = composed(maps[:at]), composed(maps[at + 1 :])
    # The core's own bias comes between the two affine maps, so it is taken out first.
    bias, core = core.constant(in_shape), core.without_constant()
    if before:
        scale, shift = (along_channels(a, in_shape) for a in (before.scale, before.shift))
        scaled = core.scaled_inputs(scale, in_shape)
        shifted = core.response(np.broadcast_to(shift, in_shape))
        core, bias = scaled, shifted if bias is None else bias + shifted
    if after:
        shape = core.out_shape(in_shape)
        scale, shift = (along_channels(a, shape) for a in (after.scale, after.shift))
        core = _scaled(core, after.scale, in_shape)
        bias = shift if bias is None else bias * scale + shift
    return (core,), bias


@singledispatch
def _scaled(core: ir.Synapses, factors: Array, in_shape: Shape) -> ir.Synapses:
    """Rule 1; synapses that cannot take the factors are listed first."""
    return ir.Sparse.listing(core, in_shape).scaled(factors, in_shape)


@_scaled.register(ir.Conv2d)
@_scaled.register(ir.Dense)
@_scaled.register(ir.PooledDense)
@_scaled.register(ir.Identity)
def _(core: ir.Synapses, factors: Array, in_shape: Shape) -> ir.Synapses:
    return core.scaled(factors, in_shape)
