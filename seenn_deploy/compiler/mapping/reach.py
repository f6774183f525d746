"""How many boxes of a unit each neuron sends to: a spike is one message for each of them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import singledispatch
from itertools import pairwise
from math import prod

import numpy as np

from seenn_deploy._typing import Array, Shape
from seenn_deploy.compiler.mapping.needs import Axons, Box, reaching
from seenn_deploy.compiler.mapping.units import pixels
from seenn_deploy.ir.maps import Conv2d, Dense, Identity, PooledDense, Sparse, Synapses

Cuts = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]


@dataclass(frozen=True)
class Split:
    """A unit cut into boxes, and the axons by which these are reached.

    Parameters
    ----------
    cuts : three tuples of int
        Where ranges of channels, rows and columns begin, and where the last one ends.
    axons : 'neuron' or 'pixel'
    """

    cuts: Cuts
    axons: Axons

    @property
    def boxes(self) -> list[Box]:
        """The boxes, channel by channel."""
        c, r, q = (list(pairwise(cut)) for cut in self.cuts)
        return [Box(i, j, k) for i in c for j in r for k in q]

    @property
    def number(self) -> int:
        """Number of boxes."""
        return prod(len(cut) - 1 for cut in self.cuts)


@singledispatch
def reach(synapses: Synapses, shape: Shape, split: Split) -> tuple[Array, Array, Array] | Array:
    """Boxes of a split that each neuron sends to.

    Returns
    -------
    three arrays (C,), (H,), (W,), whose product it is; or one array (C, H, W)
    """
    return reach(Sparse.listing(synapses, shape), shape, split)


@reach.register
def _(conv: Conv2d, shape: Shape, split: Split) -> tuple[Array, Array, Array]:
    channels = np.zeros(shape[0], np.int64)
    size, into = conv.weight.shape[1], len(conv.weight) // conv.groups
    for first, stop in pairwise(split.cuts[0]):
        channels[first // into * size : ((stop - 1) // into + 1) * size] += 1
    rows, columns = (
        reaching(
            conv.weight.shape[2 + axis], conv.stride[axis], conv.padding[axis],
            conv.dilation[axis], shape[1 + axis], split.cuts[1 + axis],
        )
        for axis in (0, 1)
    )  # fmt: skip
    return channels, rows, columns


@reach.register(Dense)
@reach.register(PooledDense)
def _(dense: Synapses, shape: Shape, split: Split) -> tuple[Array, Array, Array]:
    ones = (np.ones(n, np.int64) for n in shape[1:])
    return np.full(shape[0], split.number, np.int64), *ones  # type: ignore[return-value]


@reach.register
def _(identity: Identity, shape: Shape, split: Split) -> tuple[Array, Array, Array]:
    c, r, q = (np.ones(n, np.int64) for n in shape)
    return c, r, q


@reach.register
def _(sparse: Sparse, shape: Shape, split: Split) -> Array:
    places = np.zeros(pixels(sparse.shape_out), np.int64)
    for number, box in enumerate(split.boxes):
        places[box.slices] = number
    pairs = np.unique(sparse.sources * split.number + places.ravel()[sparse.targets])
    return np.bincount(pairs // split.number, minlength=prod(shape)).reshape(shape)


@dataclass(frozen=True)
class Slots:
    """Output axon slots of each neuron of a unit, in sums that a box of it can be read from.

    Parameters
    ----------
    along : tuple of arrays
        Running sums along each axis, or of all three at once.
    """

    along: tuple[Array, ...]

    @classmethod
    def of(cls, found: tuple[Array, Array, Array] | Array) -> Slots:
        """Sum up what `reach` returned."""
        if isinstance(found, tuple):
            return cls(tuple(np.concatenate([[0], np.cumsum(a)]) for a in found))
        whole = np.zeros(tuple(n + 1 for n in found.shape), np.int64)
        whole[1:, 1:, 1:] = found.cumsum(0).cumsum(1).cumsum(2)
        return cls((whole,))

    def within(self, box: Box) -> int:
        """Slots that the neurons of a box take."""
        if len(self.along) == 1:
            (whole,) = self.along
            corners = whole[np.ix_(*(list(limits) for limits in box.ranges))]
            total = np.diff(np.diff(np.diff(corners, axis=0), axis=1), axis=2).sum()
        else:
            total = prod(
                int(sums[stop] - sums[first])
                for sums, (first, stop) in zip(self.along, box.ranges, strict=True)
            )
        return int(total)
