"""Average pooling, which the compiler folds into the synapses behind it."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from seenn_deploy._typing import Array, Pair, Shape
from seenn_deploy.errors import ModelError
from seenn_deploy.ir.maps.base import LinearMap
from seenn_deploy.ir.maps.conv2d import Conv2d


@dataclass(frozen=True, eq=False)
class AvgPool2d(LinearMap):
    """Average over windows of `kernel`, stride equal to it; a last partial window is dropped."""

    kernel: Pair

    @property
    def text(self) -> str:
        return f"{self.kernel[0]}x{self.kernel[1]} average pool"

    def out_shape(self, in_shape: Shape) -> Shape:
        if len(in_shape) != 3 or in_shape[1] < self.kernel[0] or in_shape[2] < self.kernel[1]:
            raise ModelError(f"a {self.kernel} average pool does not fit into {in_shape}")
        return (in_shape[0], in_shape[1] // self.kernel[0], in_shape[2] // self.kernel[1])

    def covers(self, in_shape: Shape) -> bool:
        """Whether the windows cover every neuron of `in_shape`."""
        return all(n % k == 0 for n, k in zip(in_shape[1:], self.kernel, strict=True))

    def dense_macs(self, in_shape: Shape) -> int:
        return 0

    def windows(self, x: Array) -> Array:
        """Values (N, C, H, W) as (N, C, h, k_h, w, k_w), a last partial window left out."""
        (k_h, k_w), (height, width) = self.kernel, x.shape[2:]
        h, w = height // k_h, width // k_w
        return x[:, :, : h * k_h, : w * k_w].reshape(*x.shape[:2], h, k_h, w, k_w)

    def means(self, x: Array) -> Array:
        """Averages of the windows of values (N, C, H, W), float64."""
        return np.asarray(self.windows(x).mean(axis=(3, 5), dtype=np.float64))

    def depthwise(self, channels: int) -> Conv2d:
        """The pool as a convolution."""
        weight = np.full((channels, 1, *self.kernel), 1 / prod(self.kernel))
        return Conv2d(weight, stride=self.kernel, groups=channels)
