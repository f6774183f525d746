"""The layers of a network as it was trained, where lowering changes what they cost.

A program folds pools and norms into synapses and gives every target neuron synapses of its own.
So a spike behind a pool meets the synapses of its whole window, and a convolution that feeds the
currents of several populations is there several times. Papers count the layers that were trained:
each convolution and linear layer once per timestep, by the elements of its own input that are not
zero. A projection keeps these layers beside its synapses; where both cost the same, it keeps None.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import singledispatch

import numpy as np

from seenn_deploy._typing import Array, Shape
from seenn_deploy.errors import ModelError
from seenn_deploy.ir.maps import Affine, AvgPool2d, LinearMap, Synapses
from seenn_deploy.ir.maps.base import along_channels


@dataclass(frozen=True, eq=False)
class OwnInput:
    """One of the signals whose sum a layer gets.

    Parameters
    ----------
    pre : str
        Name of the node that sends it.
    lag : int
        Timesteps that it takes to the end of the projection.
    maps : tuple of linear maps
        What stands between the node and the layer.
    """

    pre: str
    lag: int
    maps: tuple[LinearMap, ...] = ()


@dataclass(frozen=True, eq=False)
class Applied:
    """A layer as a source applies it to the sum of its inputs, of `in_shape`; before compilation.

    Two projections with the same layer, which is the same object, on the same inputs share it.
    """

    inputs: tuple[OwnInput, ...]
    layer: Synapses
    in_shape: Shape

    @property
    def key(self) -> tuple[object, ...]:
        """A key that is equal for two applications which are one: counted once."""
        # Lags relative to the first: a module applies its layer once, whoever takes the result
        # later.
        first = min(i.lag for i in self.inputs)
        ids = ((i.pre, i.lag - first, tuple(map(id, i.maps))) for i in self.inputs)
        return (id(self.layer), *sorted(ids))


@dataclass(frozen=True, eq=False)
class OwnLayer:
    """A trained layer, counted where the first of its users is.

    Parameters
    ----------
    inputs : tuple of OwnInput
    fan_out : int64 array
        Synapses of every element of its input, (C, H, W) or (N,); (1, H, W) where all channels of
        a pixel have the same.
    in_shape : tuple of int
    """

    inputs: tuple[OwnInput, ...]
    fan_out: Array
    in_shape: Shape

    @classmethod
    def of(cls, applied: Applied) -> OwnLayer:
        """The layer without its weights."""
        found, shape = applied.layer.fan_out(applied.in_shape), tuple(applied.in_shape)
        # Channels of a pixel meet equally many synapses of a convolution: a part of the memory
        # does.
        alike = len(shape) == 3 and bool(np.all(found == found[:1]))
        return cls(applied.inputs, found[:1].copy() if alike else found, shape)

    @property
    def synapses(self) -> int:
        """The number of synapses of the layer."""
        return int(np.broadcast_to(self.fan_out, self.in_shape).sum())


def passed(maps: tuple[LinearMap, ...], x: Array) -> Array:
    """Values (N, *shape) behind linear maps, float64."""
    for step in maps:
        x = _passed(step, x)
    return x


@singledispatch
def _passed(step: LinearMap, x: Array) -> Array:
    raise ModelError(f"a {step.kind} map in front of a layer cannot be computed")


@_passed.register
def _(step: Synapses, x: Array) -> Array:
    out = step.currents(x)
    return out if step.bias is None else out + along_channels(step.bias, out.shape[1:])


@_passed.register
def _(step: Affine, x: Array) -> Array:
    scale, shift = (along_channels(a, x.shape[1:]) for a in (step.scale, step.shift))
    return np.asarray(x * scale + shift)


@_passed.register
def _(step: AvgPool2d, x: Array) -> Array:
    return step.means(x)
