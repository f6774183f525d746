"""Where a spike goes: the cores that a neuron of a unit reaches, and the synapses that it meets.

Neurons of a unit that lie on one core and meet the same synapses on the same cores are a *class*.
Along channels, rows and columns alike, classes follow from where the unit and its targets are cut,
so that there are few of them; neurons with synapses in lists are each a class of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import singledispatch
from itertools import pairwise
from math import prod

import numpy as np

from seenn_deploy import ir
from seenn_deploy._typing import Array, Shape
from seenn_deploy.compiler.mapping.needs import meeting
from seenn_deploy.compiler.mapping.placement import Placement, Tile
from seenn_deploy.compiler.mapping.reach import Cuts
from seenn_deploy.compiler.mapping.units import HOST, Link, Unit, pixels, units_of
from seenn_deploy.ir.maps import Conv2d, Dense, Identity, PooledDense, Sparse, Synapses

KINDS = ("conv", "sparse", "dense")  # of synapses, which chips price apart


@dataclass(frozen=True)
class Grid:
    """The boxes of a unit and their cores.

    Parameters
    ----------
    cuts : three tuples of int
        Where ranges of channels, rows and columns begin, and where the last one ends.
    cores : int64 array, (ranges of channels, of rows, of columns)
    """

    cuts: Cuts
    cores: Array

    @classmethod
    def of(cls, tiles: Sequence[Tile]) -> Grid:
        """The grid that the boxes of one unit are."""
        ends = [sorted({end for tile in tiles for end in tile.box.ranges[i]}) for i in range(3)]
        cores = np.zeros([len(cut) - 1 for cut in ends], np.int64)
        for tile in tiles:
            at = [cut.index(limits[0]) for cut, limits in zip(ends, tile.box.ranges, strict=True)]
            cores[tuple(at)] = tile.core
        c, r, q = (tuple(cut) for cut in ends)
        return cls((c, r, q), cores)

    def sums(self, values: Array) -> Array:
        """Sum values (.., C, H, W) up over each box, (.., boxes), in the order of `cores`."""
        for axis, cut in enumerate(self.cuts):
            values = np.add.reduceat(values, cut[:-1], axis=axis - 3, dtype=np.int64)
        return values.reshape(*values.shape[:-3], -1)


@dataclass(frozen=True)
class Routes:
    """What a spike of each class of a unit's neurons sends, and where it arrives.

    Parameters
    ----------
    unit, layer : str
    depth : int
        Hardware steps behind that of a timestep's start at which its neurons work.
    neurons : int
    grid : Grid, optional
        None for the host, whose spikes come by the tile of core 0.
    labels : three int arrays (C,), (H,), (W,)
        Class of each channel, row and column; a neuron's class is all three.
    sender : int64 array (P,)
        Core of each class, 0 for the host.
    pair, core : int64 arrays (E,)
        A spike of class ``pair[e]`` sends one message to ``core[e]``.
    synapses : int64 array (3, E)
        Synapses of each of `KINDS` that it meets there.
    hops : int64 array (2, E)
        East or west, and north or south.
    """

    unit: str
    layer: str
    depth: int
    neurons: int
    grid: Grid | None
    labels: tuple[Array, Array, Array]
    sender: Array
    pair: Array
    core: Array
    synapses: Array
    hops: Array

    @property
    def on_cores(self) -> int:
        """Neurons that lie on cores; none of the host's do."""
        return 0 if self.grid is None else self.neurons

    def counted(self, sent: Array) -> Array:
        """Spikes of each class, (waves, P), of bool (waves, C, H, W)."""
        found = sent
        for axis, label in enumerate(self.labels):
            order = np.argsort(label, kind="stable")
            firsts = np.searchsorted(label[order], np.arange(label.max() + 1))
            found = np.take(found, order, axis=axis + 1)
            found = np.add.reduceat(found, firsts, axis=axis + 1, dtype=np.int64)
        return found.reshape(len(sent), -1)


def routes_of(program: ir.Program, placement: Placement) -> Iterator[Routes]:
    """The routes of each unit, one after the other, as those of a wide layer take memory.

    Parameters
    ----------
    program : Program
        The one that was placed.
    placement : Placement
    """
    units = {unit.name: unit for unit in units_of(program, placement.chip)}
    tiles: dict[str, list[Tile]] = {name: [] for name in units}
    for tile in placement.tiles:
        if tile.unit in tiles:  # a policy network's boxes work before the first timestep
            tiles[tile.unit].append(tile)
    grids = {name: Grid.of(found) for name, found in tiles.items()}
    depth = program.graph.depth
    source = program.graph.source
    if any(link.pre == HOST for unit in units.values() for link in unit.links):
        shape = pixels(source.shape)
        yield _routes(Unit(HOST, source.name, shape, ()), 0, None, units, grids, placement)
    for unit in units.values():
        late = depth[unit.layer] + _waited(unit)
        yield _routes(unit, late, grids[unit.name], units, grids, placement)


def _waited(unit: Unit) -> int:
    """Hardware steps that the neurons of a delay line are behind their layer."""
    return int(unit.name.rpartition(".delay")[2]) if unit.name != unit.layer else 0


def _routes(
    unit: Unit,
    depth: int,
    grid: Grid | None,
    units: dict[str, Unit],
    grids: dict[str, Grid],
    placement: Placement,
) -> Routes:
    links = [
        (link, grids[target.name])
        for target in units.values()
        for link in target.links
        if link.pre == unit.name
    ]
    labels = _labels(unit.shape, grid, links)
    firsts = [np.unique(label, return_index=True)[1] for label in labels]
    shape = tuple(len(first) for first in firsts)
    parts = [_entries(link, target, labels, firsts) for link, target in links]
    pair, core, synapses = _merged(parts, placement.cores)
    sender = np.zeros(prod(shape), np.int64)
    if grid is not None:
        at = [np.searchsorted(c, f, "right") - 1 for c, f in zip(grid.cuts, firsts, strict=True)]
        sender = grid.cores[np.ix_(*at)].ravel()
    here, there = placement.where[sender[pair]], placement.where[core]
    return Routes(
        unit.name, unit.layer, depth, prod(unit.shape), grid, labels, sender, pair, core,
        synapses, np.abs(here - there).T,
    )  # fmt: skip


def _labels(
    shape: Shape, grid: Grid | None, links: Sequence[tuple[Link, Grid]]
) -> tuple[Array, Array, Array]:
    """Number the classes along each axis."""
    found = [taps(link.synapses, link.shape, target.cuts) for link, target in links]
    if any(met is None for met in found):
        c, r, q = (np.arange(n) for n in shape)
        return c, r, q
    labels = []
    for axis, size in enumerate(shape):
        own = np.zeros((1, size), np.int64)
        if grid is not None:
            own[0] = np.searchsorted(grid.cuts[axis], np.arange(size), "right")
        rows = np.concatenate([own, *(met[axis] for met in found if met is not None)])
        labels.append(np.unique(rows, axis=1, return_inverse=True)[1].ravel())
    return labels[0], labels[1], labels[2]


def _entries(
    link: Link, target: Grid, labels: tuple[Array, Array, Array], firsts: Sequence[Array]
) -> tuple[Array, Array, int, Array]:
    """Classes, cores, the kind of the synapses, and how many a spike meets on each core."""
    kind = KINDS.index(kind_of(link.synapses))
    met = taps(link.synapses, link.shape, target.cuts)
    if met is None:
        number, core, synapses = _listed(link, target)
        return number, core, kind, synapses
    boxes, classes, values = [], [], []
    for axis, of in enumerate(met):
        box, place = np.nonzero(of[:, firsts[axis]])
        boxes.append(box)
        classes.append(place)
        values.append(of[box, firsts[axis][place]])
    size = [len(first) for first in firsts]
    a, b, c = np.ix_(*classes)
    pair = (a * size[1] + b) * size[2] + c
    core = target.cores[np.ix_(*boxes)]
    x, y, z = np.ix_(*values)
    return pair.ravel(), core.ravel(), kind, (x * y * z).ravel()


def _listed(link: Link, target: Grid) -> tuple[Array, Array, Array]:
    synapses = Sparse.listing(link.synapses, link.shape)
    places = np.unravel_index(synapses.targets, pixels(synapses.shape_out))
    at = [np.searchsorted(c, p, "right") - 1 for c, p in zip(target.cuts, places, strict=True)]
    core = target.cores[tuple(at)]
    most = int(target.cores.max()) + 1
    key, number = np.unique(synapses.sources * most + core, return_counts=True)
    return key // most, key % most, number


def _merged(
    parts: Sequence[tuple[Array, Array, int, Array]], cores: int
) -> tuple[Array, Array, Array]:
    """One entry for each class and core, with the synapses of every kind."""
    keys = np.concatenate([np.zeros(0, np.int64), *(p * cores + core for p, core, *_ in parts)])
    found, at = np.unique(keys, return_inverse=True)
    synapses = np.zeros((len(KINDS), len(found)), np.int64)
    begin = 0
    for pair, _, kind, number in parts:
        np.add.at(synapses[kind], at[begin : begin + len(pair)], number)
        begin += len(pair)
    return found // cores, found % cores, synapses


# --- kinds of synapses ----------------------------------------------------------------------------


@singledispatch
def kind_of(synapses: Synapses) -> str:
    """Which of `KINDS` synapses are on a chip."""
    return "sparse"


@kind_of.register
def _(conv: Conv2d) -> str:
    return "conv"


@kind_of.register(Dense)
@kind_of.register(PooledDense)
def _(dense: Synapses) -> str:
    return "dense"


@singledispatch
def taps(synapses: Synapses, shape: Shape, cuts: Cuts) -> tuple[Array, Array, Array] | None:
    """Synapses of each neuron into each box, where they are a product along the three axes.

    Returns
    -------
    three arrays (ranges, C), (ranges, H), (ranges, W); None for synapses in a list
    """
    return None


@taps.register
def _(conv: Conv2d, shape: Shape, cuts: Cuts) -> tuple[Array, Array, Array]:
    into, per_group = len(conv.weight) // conv.groups, conv.weight.shape[1]
    group = np.arange(shape[0]) // per_group
    ends = np.array(cuts[0])[:, None].clip(group * into, (group + 1) * into)
    rows, columns = (
        meeting(
            conv.weight.shape[2 + axis], conv.stride[axis], conv.padding[axis],
            conv.dilation[axis], shape[1 + axis], cuts[1 + axis],
        )
        for axis in (0, 1)
    )  # fmt: skip
    return np.diff(ends, axis=0), rows, columns


@taps.register(Dense)
@taps.register(PooledDense)
def _(dense: Synapses, shape: Shape, cuts: Cuts) -> tuple[Array, Array, Array]:
    c, r, q = (
        np.repeat(np.diff(cut)[:, None], size, axis=1)
        for cut, size in zip(cuts, shape, strict=True)
    )
    return c, r, q


@taps.register
def _(identity: Identity, shape: Shape, cuts: Cuts) -> tuple[Array, Array, Array]:
    c, r, q = (
        np.stack([(np.arange(n) >= first) & (np.arange(n) < stop) for first, stop in pairwise(cut)])
        for n, cut in zip(shape, cuts, strict=True)
    )
    return c.astype(np.int64), r.astype(np.int64), q.astype(np.int64)
