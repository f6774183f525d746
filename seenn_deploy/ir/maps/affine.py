"""A scale and a shift per channel, which the compiler folds into the synapses beside it."""

from __future__ import annotations

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

    def out_shape(self, in_shape: Shape) -> Shape:
        if in_shape[0] != len(self.scale):
            raise ModelError(f"a batch norm of {len(self.scale)} channels cannot take {in_shape}")
        return in_shape

    def dense_macs(self, in_shape: Shape) -> int:
        return 0

    def constant(self, in_shape: Shape) -> Array | None:
        return along_channels(self.shift, in_shape) if self.shift.any() else None

    def without_constant(self) -> Affine:
        return Affine(self.scale, np.zeros_like(self.shift)) if self.shift.any() else self


def batch_norm(gamma: Array, beta: Array, mean: Array, var: Array, eps: float = 1e-5) -> Affine:
    """Batch norm with running statistics as an affine map, in float64."""
    scale = gamma.astype(np.float64) / np.sqrt(var.astype(np.float64) + eps)
    return Affine(scale, beta.astype(np.float64) - mean.astype(np.float64) * scale)
