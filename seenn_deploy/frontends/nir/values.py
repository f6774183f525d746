"""The values on the edges of a NIR graph between two neurons: sums of linear maps, and a bias.

A spiking graph has one layer of synapses between two populations. NIR allows any number of linear
nodes there: scales go into weights, two matrices become their product, and whatever else follows
each other becomes an explicit list of synapses.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import singledispatch
from math import prod

import numpy as np

from seenn_deploy import ir
from seenn_deploy._typing import Array, Shape
from seenn_deploy.errors import ModelError
from seenn_deploy.ir.maps.base import weighted
from seenn_deploy.ir.own import passed

MOST_SYNAPSES = 20_000_000  # of an explicit list
MOST_TERMS = 1000
Listed = tuple[Array, Array, Array]


@dataclass(frozen=True, eq=False)
class Contribution:
    """The contribution of one population, or of the source.

    Parameters
    ----------
    pre : str
    shape : Shape
        Shape of `pre`.
    lag : int
    maps : tuple of linear maps
        Average pools, then at most one layer of synapses.
    scale : float64 array
        Factor after the maps: (), or one number per neuron.
    """

    pre: str
    shape: Shape
    lag: int = 0
    maps: tuple[ir.LinearMap, ...] = ()
    scale: Array = field(default_factory=lambda: np.ones(()))

    @property
    def grid(self) -> Shape:
        """The shape after the maps."""
        shape = self.shape
        for step in self.maps:
            shape = step.out_shape(shape)
        return shape

    @property
    def has_synapses(self) -> bool:
        """Whether there is more than pools."""
        return weighted(self.maps) is not None


@dataclass(frozen=True, eq=False)
class Current:
    """A sum of terms.

    Parameters
    ----------
    terms : tuple of Contribution
    shape : Shape
        Shape, as NIR sees it.
    bias : float64 array of `shape`, optional
    """

    terms: tuple[Contribution, ...]
    shape: Shape
    bias: Array | None = None

    def delayed(self, lag: int) -> Current:
        """Return the current as it arrives `lag` timesteps later."""
        return replace(self, terms=tuple(replace(t, lag=t.lag + lag) for t in self.terms))

    def delayed_each(self, lags: Array) -> Current:
        """Return the current with each neuron as late as `lags` says: one list for each lag."""
        parts = [(lag, lags.ravel() == lag) for lag in np.unique(lags).tolist()]
        _check_terms(len(parts) * len(self.terms))
        grid = grid_of(self.shape)
        return replace(
            self, terms=tuple(_only(t, at, lag, grid) for t in self.terms for lag, at in parts)
        )

    def scaled(self, scale: Array) -> Current:
        """Return the current times `scale`, one number or one per neuron."""
        if scale.ndim and scale.shape != self.shape:
            scale = np.broadcast_to(scale, self.shape)
        terms = tuple(
            replace(t, scale=np.multiply(t.scale, scale, dtype=np.float64)) for t in self.terms
        )
        return replace(self, terms=terms, bias=None if self.bias is None else self.bias * scale)

    def biased(self, bias: Array) -> Current:
        """Return the current plus `bias`, which fits the shape from the left."""
        if not np.any(bias):
            return self
        full = bias.astype(np.float64).reshape(*bias.shape, *[1] * (len(self.shape) - bias.ndim))
        return replace(
            self, bias=(0 if self.bias is None else self.bias) + np.broadcast_to(full, self.shape)
        )

    def flattened(self, shape: Shape) -> Current:
        """Return the current in another shape, its neurons in C order."""
        terms = tuple(
            replace(t, scale=t.scale.reshape(shape) if t.scale.ndim else t.scale)
            for t in self.terms
        )
        return Current(terms, shape, None if self.bias is None else self.bias.reshape(shape))

    def through(self, step: ir.Synapses | ir.AvgPool2d, shape: Shape) -> Current:
        """Apply one more linear map, over :func:`grid_of` the shape; `shape` is the new one."""
        before = grid_of(self.shape)
        bias = None
        if self.bias is not None:
            bias = passed((step,), self.bias.reshape(1, *before)).reshape(shape)
        return Current(tuple(_behind(t, step, before) for t in self.terms), shape, bias)


def total(values: list[Current]) -> Current:
    """Return the sum of currents of one shape.

    Raises
    ------
    ModelError
        When there are too many terms.
    """
    terms = tuple(t for v in values for t in v.terms)
    _check_terms(len(terms))
    biases = [v.bias for v in values if v.bias is not None]
    return Current(terms, values[0].shape, sum(biases[1:], biases[0]) if biases else None)


def _check_terms(found: int) -> None:
    if found > MOST_TERMS:
        raise ModelError(f"is a sum of {found} paths; at most {MOST_TERMS} can be taken")


def grid_of(shape: Shape) -> Shape:
    """The shape of a population for a shape in NIR: (N,) or (C, H, W)."""
    if len(shape) == 2:
        return (shape[0], 1, shape[1])
    return shape if len(shape) in (1, 3) else (prod(shape),)


def finished(term: Contribution, shape: Shape) -> tuple[ir.LinearMap, ...]:
    """The maps of a projection into a population of `shape`."""
    grid = term.grid
    rows = _by_channel(term.scale, grid)
    if grid == shape and rows is not None:
        return _scaled_rows(term, rows)
    return (_compressed(_term_list(term), prod(term.shape), shape),)


# --- one more map --------------------------------------------------------------------------------


def _behind(term: Contribution, step: ir.Synapses | ir.AvgPool2d, before: Shape) -> Contribution:
    columns = _by_channel(term.scale, before)
    fits = isinstance(step, ir.Dense) or (term.grid == before and columns is not None)
    if fits and not term.has_synapses:
        return _first(term, step, before, columns)
    last = term.maps[-1] if term.maps else None
    if isinstance(step, ir.Dense) and isinstance(last, ir.Dense):
        rows = np.broadcast_to(term.scale.ravel(), len(last.weight))[:, None]
        product = step.weight.astype(np.float64) @ (last.weight * rows)
        return replace(term, maps=(*term.maps[:-1], ir.Dense(product)), scale=np.ones(()))
    after = _list(step, before)
    joined = _join(_term_list(term), after)
    listed = _compressed(joined, prod(term.shape), step.out_shape(before))
    return replace(term, maps=(listed,), scale=np.ones(()))


def _first(
    term: Contribution, step: ir.Synapses | ir.AvgPool2d, before: Shape, columns: Array | None
) -> Contribution:
    """The first layer of synapses, or one more pool."""
    if isinstance(step, ir.AvgPool2d):
        kept = (
            term.scale
            if not term.scale.ndim or columns is None
            else _pooled_scale(term, step, columns)
        )
        if term.maps and isinstance(pool := term.maps[-1], ir.AvgPool2d):
            kernel = (pool.kernel[0] * step.kernel[0], pool.kernel[1] * step.kernel[1])
            return replace(term, maps=(*term.maps[:-1], ir.AvgPool2d(kernel)), scale=kept)
        return replace(term, maps=(*term.maps, step), scale=kept)
    if np.any(term.scale != 1):
        step = step.scaled_inputs(term.scale, before)
    return replace(term, maps=(*term.maps, step), scale=np.ones(()))


def _pooled_scale(term: Contribution, pool: ir.AvgPool2d, columns: Array) -> Array:
    shape = pool.out_shape(term.grid)
    return np.array(np.broadcast_to(columns[:, None, None], shape))


def _by_channel(scale: Array, grid: Shape) -> Array | None:
    """Return one number per channel, or None where values differ within a channel."""
    if not scale.ndim:
        return np.full(grid[0], float(scale))
    rows = scale.reshape(grid[0], -1)
    return None if np.any(rows != rows[:, :1]) else np.array(rows[:, 0])


def _scaled_rows(term: Contribution, rows: Array) -> tuple[ir.LinearMap, ...]:
    if not np.any(rows != 1):
        return term.maps or (ir.Identity(),)
    if not term.maps and not np.any(rows != rows[0]):
        return (ir.Identity(np.asarray(rows[0])),)
    found = weighted(term.maps)
    if found is None:
        return (*term.maps, ir.Affine(rows, np.zeros_like(rows)))
    at, last = found  # nothing stands behind it: pools come before, and scales go into it
    return (*term.maps[:at], last.scaled(rows, term.shape))


# --- explicit lists ------------------------------------------------------------------------------


@singledispatch
def _list(step: ir.LinearMap, shape: Shape) -> Listed:
    """The synapses of a map that are not 0: (source, target, weight)."""
    raise ModelError(f"{type(step).__name__} cannot be listed")


@_list.register
def _(step: ir.Synapses, shape: Shape) -> Listed:
    return step.connections(shape)


@_list.register
def _(step: ir.AvgPool2d, shape: Shape) -> Listed:
    return _list(step.depthwise(shape[0]), shape)


@_list.register
def _(step: ir.Conv2d, shape: Shape) -> Listed:
    _check_size(int(np.count_nonzero(step.weight)) * prod(step.out_shape(shape)[1:]))
    return step.connections(shape, zeros=False)


@_list.register
def _(step: ir.Dense, shape: Shape) -> Listed:
    target, source = np.nonzero(step.weight)
    return source, target, step.weight[target, source]


def _term_list(term: Contribution) -> Listed:
    size, shape = prod(term.shape), term.shape
    every = np.arange(size)
    found: Listed = every, every, np.ones(size)
    for step in term.maps:
        found = _join(found, _list(step, shape))
        shape = step.out_shape(shape)
    source, target, weight = found
    return source, target, weight * np.broadcast_to(term.scale.ravel(), prod(shape))[target]


def _only(term: Contribution, at: Array, lag: int, grid: Shape) -> Contribution:
    """Keep what arrives at some of the neurons, and delay it by `lag` timesteps."""
    source, target, weight = _term_list(term)
    kept = at[target]
    listed = _compressed((source[kept], target[kept], weight[kept]), prod(term.shape), grid)
    return replace(term, lag=term.lag + lag, maps=(listed,), scale=np.ones(()))


def _join(first: Listed, second: Listed) -> Listed:
    """The synapses of two layers in a row, those between the same neurons added up."""
    # Sorted by source, what a neuron of the middle layer sends to is one stretch.
    order = np.argsort(second[0], kind="stable")
    source, target, weight = (a[order] for a in second)
    begin = np.searchsorted(source, first[1])
    times = np.searchsorted(source, first[1], side="right") - begin
    _check_size(int(times.sum()))
    # The places of all stretches one after the other, without a loop over neurons.
    at = np.repeat(begin - np.concatenate(([0], np.cumsum(times)[:-1])), times) + np.arange(
        times.sum()
    )
    pairs = np.stack((np.repeat(first[0], times), target[at]))
    product = np.repeat(first[2].astype(np.float64), times) * weight[at]
    found, where = np.unique(pairs, axis=1, return_inverse=True)
    added = np.bincount(where.ravel(), weights=product, minlength=found.shape[1])
    return found[0], found[1], added


def _compressed(listed: Listed, size: int, shape: Shape) -> ir.Sparse:
    source, target, weight = listed
    return ir.Sparse.of(source, target, weight, size, shape)


def _check_size(synapses: int) -> None:
    if synapses > MOST_SYNAPSES:
        raise ModelError(
            f"two linear layers in a row make {synapses:,} synapses; merge them, or put "
            "neurons between"
        )
