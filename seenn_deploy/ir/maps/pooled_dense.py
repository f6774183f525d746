"""All-to-all synapses behind an average pool, whose windows share their weights."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from seenn_deploy._typing import Array, Pair, Shape
from seenn_deploy.errors import ModelError
from seenn_deploy.ir.maps.avg_pool2d import AvgPool2d
from seenn_deploy.ir.maps.base import Synapses
from seenn_deploy.ir.maps.dense import Dense


@dataclass(frozen=True, eq=False)
class PooledDense(Synapses):
    """All-to-all synapses of images: the neurons of one channel and window have the same weights.

    A network's last pool covers the whole image, so that spread out its weights would take as many
    times more memory as the image has pixels.

    Parameters
    ----------
    weight : array (M, C H W)
        Of the pooled image, divided by the size of a window already.
    kernel : (int, int)
        Height and width of a window. Windows lie side by side and cover the image.
    bias : array (M,), optional
        Only before compilation.
    """

    weight: Array
    kernel: Pair
    bias: Array | None = None

    @property
    def text(self) -> str:
        return "linear"

    @property
    def label(self) -> str:
        return "dense"

    def check(self) -> None:
        if self.weight.ndim != 2:
            raise ModelError(f"weights of shape {self.weight.shape} are no matrix")
        if min(self.kernel) < 1:
            raise ModelError(f"kernel = {self.kernel}; it must be at least 1")

    def out_shape(self, in_shape: Shape) -> Shape:
        if prod(self._pooled(in_shape)) != self.weight.shape[1]:
            raise ModelError(
                f"a dense layer over {self.weight.shape[1]} pooled neurons cannot take {in_shape}"
            )
        return (self.weight.shape[0],)

    def spread(self, in_shape: Shape) -> Dense:
        """The same synapses with a weight of its own for each."""
        weight = self.weight.reshape(-1, *self._pooled(in_shape))
        weight = weight.repeat(self.kernel[0], axis=2).repeat(self.kernel[1], axis=3)
        return Dense(weight.reshape(len(weight), -1), self.bias)

    def dense_macs(self, in_shape: Shape) -> int:
        return len(self.weight) * prod(in_shape)

    def fan_out(self, in_shape: Shape, effective: bool = False) -> Array:
        window = Dense(self.weight).fan_out(self._pooled(in_shape), effective)
        return window.repeat(self.kernel[0], axis=1).repeat(self.kernel[1], axis=2)

    def connections(self, in_shape: Shape) -> tuple[Array, Array, Array]:
        return self.spread(in_shape).connections(in_shape)

    def matrix(self, in_shape: Shape) -> Array:
        return self.spread(in_shape).weight

    def summed(self, values: Array, in_shape: Shape) -> Array:
        return np.asarray(values.sum(axis=1) * prod(self.kernel))

    def currents(self, x: Array) -> Array:
        return Dense(self.weight).currents(self._sums(x))

    def rounded_currents(self, x: Array) -> Array:
        return Dense(self.weight).rounded_currents(self._sums(x))

    def scaled(self, factors: Array, in_shape: Shape) -> PooledDense:
        return self.with_weight(self.weight * factors[:, None])

    def scaled_inputs(self, factors: Array, in_shape: Shape) -> PooledDense:
        """Factors must be alike within a channel."""
        pooled = self._pooled(in_shape)
        by_channel = np.broadcast_to(factors, in_shape)[:, :1, :1]
        return self.with_weight(self.weight * np.broadcast_to(by_channel, pooled).ravel())

    def _sums(self, x: Array) -> Array:
        channels, height, width = self._pooled(x.shape[1:])
        windows = x.reshape(-1, channels, height, self.kernel[0], width, self.kernel[1])
        return np.asarray(windows.sum(axis=(3, 5)))

    def _pooled(self, in_shape: Shape) -> Shape:
        pool = AvgPool2d(self.kernel)
        shape = pool.out_shape(in_shape)
        if not pool.covers(in_shape):
            raise ModelError(f"{self.kernel} windows do not cover an image of {in_shape}")
        return shape
