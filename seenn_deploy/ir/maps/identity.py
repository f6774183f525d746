"""An identity shortcut."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod

import numpy as np

from seenn_deploy._typing import Array, Shape
from seenn_deploy.errors import ModelError
from seenn_deploy.ir.maps.base import Synapses
from seenn_deploy.ir.maps.conv2d import Conv2d


@dataclass(frozen=True, eq=False)
class Identity(Synapses):
    """One synapse per neuron, all of one weight: an identity shortcut."""

    weight: Array = field(default_factory=lambda: np.ones((), np.float32))

    @property
    def factor(self) -> float:
        return float(self.weight)

    def check(self) -> None:
        if self.weight.size != 1:
            raise ModelError(f"an identity has one weight; found shape {self.weight.shape}")

    def out_shape(self, in_shape: Shape) -> Shape:
        return in_shape

    def dense_macs(self, in_shape: Shape) -> int:
        return 0

    def fan_out(self, in_shape: Shape, effective: bool = False) -> Array:
        return np.full(in_shape, int(self.weight != 0) if effective else 1, np.int64)

    def connections(self, in_shape: Shape) -> tuple[Array, Array, Array]:
        neurons = np.arange(prod(in_shape))
        return neurons, neurons, np.broadcast_to(self.weight, neurons.shape)

    def summed(self, values: Array, in_shape: Shape) -> Array:
        return values.reshape(1)

    def currents(self, x: Array) -> Array:
        return np.asarray(x * self.weight.astype(np.float64))

    def scaled(self, factors: Array, in_shape: Shape) -> Conv2d:
        return self._depthwise(len(factors)).scaled(factors, in_shape)

    def scaled_inputs(self, factors: Array, in_shape: Shape) -> Conv2d:
        return self._depthwise(in_shape[0]).scaled_inputs(factors, in_shape)

    def _depthwise(self, channels: int) -> Conv2d:
        return Conv2d(np.full((channels, 1, 1, 1), float(self.weight)), groups=channels)
