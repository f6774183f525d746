"""A scale and a shift per channel, which the compiler folds into the synapses beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from seenn_deploy._typing import Array, Shape
from seenn_deploy.errors import ModelError
from seenn_deploy.ir.maps.base import LinearMap, along_channels


@dataclass(frozen=True, eq=False)
class Affine(LinearMap):
    """``y = scale * x + shift`` per channel: batch norm at inference, or input normalisation.

    Parameters
    ----------
    scale, shift : float64 array (C,)
    """

    scale: Array
    shift: Array

    @property
    def text(self) -> str:
        return "scale and shift"

    @property
    def factor(self) -> float | None:
        alike = not self.shift.any() and bool((self.scale == self.scale[0]).all())
        return float(self.scale[0]) if alike else None

    def out_shape(self, in_shape: Shape) -> Shape:
        if in_shape[0] != len(self.scale):
            raise ModelError(f"a batch norm of {len(self.scale)} channels cannot take {in_shape}")
        return in_shape

    def dense_macs(self, in_shape: Shape) -> int:
        return 0

    def constant(self, in_shape: Shape) -> Array | None:
        return along_channels(self.shift, in_shape) if self.shift.any() else None

    def with_constant_times(self, factor: float) -> Affine:
        return Affine(self.scale, self.shift * factor)

    def without_constant(self) -> Affine:
        return Affine(self.scale, np.zeros_like(self.shift)) if self.shift.any() else self


def composed(maps: Sequence[LinearMap]) -> Affine | None:
    """The one scale and shift that a chain of them is; None where it has other maps, or none."""
    affines = [m for m in maps if isinstance(m, Affine)]
    if not affines or len(affines) < len(maps):
        return None
    scale, shift = affines[0].scale, affines[0].shift
    for affine in affines[1:]:
        scale, shift = scale * affine.scale, shift * affine.scale + affine.shift
    return Affine(scale, shift)


def batch_norm(gamma: Array, beta: Array, mean: Array, var: Array, eps: float = 1e-5) -> Affine:
    """Batch norm with running statistics as an affine map, in float64."""
    scale = gamma.astype(np.float64) / np.sqrt(var.astype(np.float64) + eps)
    return Affine(scale, beta.astype(np.float64) - mean.astype(np.float64) * scale)
