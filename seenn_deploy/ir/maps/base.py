"""What a linear map tells about itself: the protocol that a new kind of synapses implements.

A kind is one file of this folder, or of ``$SEENN_PLUGINS/ir/maps``: a frozen dataclass, child of
:class:`Synapses`, whose file has the name that programs on disk know it by. Two methods are enough,
``out_shape`` and ``connections``: everything else, here and in the compiler, the simulator and the
targets, falls back on the list of synapses. A kind that knows a faster or nicer form overrides a
method, or registers with the consumer's function (``functools.singledispatch``).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import Any, TypeVar, cast

import numpy as np

from seenn_deploy._typing import Array, Shape
from seenn_deploy.errors import ModelError

Self = TypeVar("Self", bound="LinearMap")
Weighted = TypeVar("Weighted", bound="Synapses")


class LinearMap(ABC):
    """A linear map on an edge of the graph; arrays are channels first, as in torch."""

    bias: Array | None = None  # only before compilation; afterwards a part of the target's bias

    @property
    def kind(self) -> str:
        """The name of the kind's file."""
        return type(self).__module__.rpartition(".")[2]

    @property
    def text(self) -> str:
        """The map in a reader's words, for import reports."""
        return self.kind

    @abstractmethod
    def out_shape(self, in_shape: Shape) -> Shape:
        """The shape behind the map.

        Raises
        ------
        ModelError
            When the map cannot take `in_shape`.
        """

    @abstractmethod
    def dense_macs(self, in_shape: Shape) -> int:
        """Multiply-accumulates of the dense layer, padding included, as papers count them."""

    @property
    def factor(self) -> float | None:
        """The one number by which the map multiplies everything; None where it does else."""
        return None

    def check(self) -> None:  # noqa: B027 - most kinds can hold every value
        """Raise ModelError where the arrays and numbers of a file contradict each other."""

    def constant(self, in_shape: Shape) -> Array | None:
        """Return what the map adds to any input, broadcastable to its output; None for nothing."""
        return self.bias

    def without_constant(self: Self) -> Self:
        """The map without what it adds; the same object where that is nothing."""
        return self if self.bias is None else cast(Self, replace(cast(Any, self), bias=None))

    def with_constant_times(self: Self, factor: float) -> Self:
        """The map with what it adds multiplied by a factor; the same object where it is nothing."""
        if self.bias is None:
            return self
        return cast(Self, replace(cast(Any, self), bias=self.bias * factor))


class Synapses(LinearMap):
    """A linear map with weights, which a compiled edge has exactly one of.

    `weight` is an array of any shape, and the weight of every synapse is one of its elements: so
    weights can be rounded, scaled by one factor or replaced by their magnitudes at one place.
    """

    weight: Array

    @abstractmethod
    def connections(self, in_shape: Shape) -> tuple[Array, Array, Array]:
        """All synapses as (source, target, weight), neurons flattened in C order.

        Padding is no synapse; a weight of 0 is one.
        """

    @property
    def border(self) -> tuple[int, int]:
        """Rows and columns of zeros that the synapses see around what they read."""
        return 0, 0

    @property
    def label(self) -> str:
        """The synapses in a word or two, for tables."""
        return self.kind

    def with_weight(self: Weighted, weight: Array) -> Weighted:
        """The same synapses with other weights, an array of the same shape."""
        return cast(Weighted, replace(cast(Any, self), weight=np.asarray(weight)))

    def dense_macs(self, in_shape: Shape) -> int:
        """Multiply-accumulates of the dense layer: one per synapse unless the kind says more."""
        return len(self.connections(in_shape)[0])

    def fan_out(self, in_shape: Shape, effective: bool = False) -> Array:
        """Existing synapses of each source neuron, int64 of `in_shape`; padding is none.

        With `effective`, synapses of weight 0 are left out.
        """
        source, _, weight = self.connections(in_shape)
        # A spike is added through a weight of 0, too; only hardware that skips zeros saves it.
        kept = source[weight != 0] if effective else source
        return np.bincount(kept, minlength=prod(in_shape)).astype(np.int64).reshape(in_shape)

    def matrix(self, in_shape: Shape) -> Array:
        """The weights as a matrix (targets, sources), float32; neurons that do not meet have 0."""
        source, target, weight = self.connections(in_shape)
        matrix = np.zeros((prod(self.out_shape(in_shape)), prod(in_shape)), np.float32)
        np.add.at(matrix, (target, source), weight)
        return matrix

    def summed(self, values: Array, in_shape: Shape) -> Array:
        """Sums by target neuron of `values`, which stand in the weights' places, (targets,).

        Where many targets have the same weights, as the pixels of a convolution, one stands for
        all. Bounds on currents are made of it.
        """
        _, target, value = self.with_weight(values).connections(in_shape)
        return np.bincount(target, value, minlength=prod(self.out_shape(in_shape)))

    def currents(self, x: Array) -> Array:
        """Currents that inputs (T, *in_shape) cause, bias left out, float64 (T, *out_shape).

        This is the slow, obvious arithmetic that other code is compared with.
        """
        in_shape = x.shape[1:]
        source, target, weight = self.connections(in_shape)
        sent = x.reshape(len(x), -1)[:, source] * weight.astype(np.float64)
        shape = self.out_shape(in_shape)
        return np.stack([np.bincount(target, row, prod(shape)) for row in sent]).reshape(-1, *shape)

    def rounded_currents(self, x: Array) -> Array:
        """The same as :meth:`currents`, where float32 arithmetic in any order will do."""
        return self.currents(x)

    def response(self, x: Array) -> Array:
        """Currents that one input (*in_shape) causes, bias left out, float64 (*out_shape)."""
        return np.asarray(self.currents(np.asarray(x, np.float64)[None])[0])

    def scaled(self, factors: Array, in_shape: Shape) -> Synapses:
        """The map with each channel of its output multiplied by a factor, (C_out,).

        Raises
        ------
        ModelError
            When the kind cannot take factors into its weights; the compiler lists it then.
        """
        raise ModelError(f"cannot scale the output of {type(self).__name__}")

    def scaled_inputs(self, factors: Array, in_shape: Shape) -> Synapses:
        """The map with its inputs multiplied by factors that broadcast to `in_shape`.

        Raises
        ------
        ModelError
            When the kind cannot take factors into its weights.
        """
        raise ModelError(f"cannot scale the input of {type(self).__name__}")


def weighted(maps: Sequence[LinearMap]) -> tuple[int, Synapses] | None:
    """The first synapses in a chain of maps, with their place; None where there are none."""
    return next(((i, m) for i, m in enumerate(maps) if isinstance(m, Synapses)), None)


def along_channels(values: Array, shape: Shape) -> Array:
    """One value per channel, shaped so that it broadcasts to `shape`."""
    return values.reshape(-1, *[1] * (len(shape) - 1))
