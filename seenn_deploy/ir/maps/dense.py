"""All-to-all synapses."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from seenn_deploy._typing import Array, Shape
from seenn_deploy.errors import ModelError
from seenn_deploy.ir.maps.base import Synapses


@dataclass(frozen=True, eq=False)
class Dense(Synapses):
    """All-to-all synapses over the source flattened in C order.

    Parameters
    ----------
    weight : array (M, N)
    bias : array (M,), optional
        Only before compilation.
    """

    weight: Array
    bias: Array | None = None

    @property
    def text(self) -> str:
        return "linear"

    def check(self) -> None:
        if self.weight.ndim != 2:
            raise ModelError(f"weights of shape {self.weight.shape} are no matrix")

    def out_shape(self, in_shape: Shape) -> Shape:
        if prod(in_shape) != self.weight.shape[1]:
            raise ModelError(
                f"a dense layer over {self.weight.shape[1]} neurons cannot take shape {in_shape}"
            )
        return (self.weight.shape[0],)

    def dense_macs(self, in_shape: Shape) -> int:
        return int(self.weight.size)

    def fan_out(self, in_shape: Shape, effective: bool = False) -> Array:
        per_neuron = (
            np.count_nonzero(self.weight, axis=0)
            if effective
            else np.full(self.weight.shape[1], self.weight.shape[0])
        )
        return per_neuron.astype(np.int64).reshape(in_shape)

    def connections(self, in_shape: Shape) -> tuple[Array, Array, Array]:
        target, source = np.indices(self.weight.shape)
        return source.ravel(), target.ravel(), self.weight.ravel()

    def matrix(self, in_shape: Shape) -> Array:
        return self.weight

    def summed(self, values: Array, in_shape: Shape) -> Array:
        return np.asarray(values.sum(axis=1))

    def currents(self, x: Array) -> Array:
        return np.asarray(x.reshape(len(x), -1) @ self.weight.astype(np.float64).T)

    def rounded_currents(self, x: Array) -> Array:
        return np.asarray(x.reshape(len(x), -1) @ self.weight.astype(np.float32).T)

    def scaled(self, factors: Array, in_shape: Shape) -> Dense:
        return self.with_weight(self.weight * factors[:, None])

    def scaled_inputs(self, factors: Array, in_shape: Shape) -> Dense:
        return self.with_weight(self.weight * np.broadcast_to(factors, in_shape).ravel())
