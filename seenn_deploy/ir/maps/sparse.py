"""Synapses one by one: what every other kind can be turned into."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from seenn_deploy._typing import Array, Shape
from seenn_deploy.errors import ModelError
from seenn_deploy.ir.maps.base import Synapses


@dataclass(frozen=True, eq=False)
class Sparse(Synapses):
    """A list of synapses, compressed by source neuron (both sides flattened in C order).

    Parameters
    ----------
    indptr : int64 array (N + 1,)
        Synapses of source neuron i are ``indptr[i]:indptr[i + 1]``.
    targets : int32 array (S,)
    weight : array (S,)
    shape_out : tuple of int
    """

    indptr: Array
    targets: Array
    weight: Array
    shape_out: Shape

    @classmethod
    def of(cls, source: Array, target: Array, weight: Array, n_in: int, shape_out: Shape) -> Sparse:
        """Compress synapses, in any order, from `n_in` neurons to those of `shape_out`."""
        # Targets ascend within a source, so that a kernel walks through memory in one direction.
        order = np.lexsort((target, source))
        indptr = np.zeros(n_in + 1, np.int64)
        np.cumsum(np.bincount(source, minlength=n_in), out=indptr[1:])
        return cls(indptr, target[order].astype(np.int32), weight[order], shape_out)

    @classmethod
    def listing(cls, synapses: Synapses, in_shape: Shape) -> Sparse:
        """Synapses of any kind as a list."""
        if isinstance(synapses, Sparse):
            return synapses
        shape_out = synapses.out_shape(in_shape)
        return cls.of(*synapses.connections(in_shape), prod(in_shape), shape_out)

    def check(self) -> None:
        """Check the list, because kernels go where it says without looking."""
        synapses, neurons = len(self.targets), prod(self.shape_out)
        ascends = np.all(np.diff(self.indptr) >= 0) and self.indptr[0] == 0
        if not ascends or self.indptr[-1] != synapses or self.weight.shape != (synapses,):
            raise ModelError("indptr, targets and weight list no synapses by source neuron")
        if synapses and not 0 <= self.targets.min() <= self.targets.max() < neurons:
            raise ModelError(f"a synapse ends outside the {neurons} neurons of {self.shape_out}")
        if self.indptr.dtype != np.int64 or self.targets.dtype != np.int32:
            raise ModelError("indptr must be int64 and targets int32")

    def out_shape(self, in_shape: Shape) -> Shape:
        if prod(in_shape) != len(self.indptr) - 1:
            raise ModelError(
                f"sparse synapses of {len(self.indptr) - 1} neurons cannot take shape {in_shape}"
            )
        return self.shape_out

    def dense_macs(self, in_shape: Shape) -> int:
        return len(self.weight)

    def fan_out(self, in_shape: Shape, effective: bool = False) -> Array:
        if not effective:
            return np.diff(self.indptr).astype(np.int64).reshape(in_shape)
        running = np.concatenate(([0], np.cumsum(self.weight != 0)))
        return np.diff(running[self.indptr]).astype(np.int64).reshape(in_shape)

    @property
    def sources(self) -> Array:
        """The source neuron of each synapse, int64 (S,)."""
        return np.repeat(np.arange(len(self.indptr) - 1), np.diff(self.indptr))

    def connections(self, in_shape: Shape) -> tuple[Array, Array, Array]:
        return self.sources, self.targets.astype(np.int64), self.weight

    def summed(self, values: Array, in_shape: Shape) -> Array:
        return np.bincount(self.targets, values, minlength=prod(self.shape_out))

    def scaled(self, factors: Array, in_shape: Shape) -> Sparse:
        channel = np.unravel_index(self.targets, self.shape_out)[0]
        return self.with_weight(self.weight * factors[channel])
