"""What the cores of a chip do at each hardware step, counted from the spikes of a run."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from seenn_deploy import ir
from seenn_deploy._typing import Array
from seenn_deploy.compiler.mapping.placement import Placement
from seenn_deploy.compiler.mapping.routes import KINDS, Routes
from seenn_deploy.evaluation.placed.activity import Activity


@dataclass(frozen=True, eq=False)
class PlacedCounts:
    """What each of U units did at each of T timesteps, int64 (N, U, T); see ``docs/chips.md``.

    Synaptic operations, messages and hops are those of the spikes that a unit sends.

    Parameters
    ----------
    updates, spikes : int64 array (N, U, T)
        Neurons that were updated, and among them those that fired.
    messages : int64 array (N, U, T)
        One for each core that a neuron that fired reaches.
    hops_east_west, hops_north_south : int64 array (N, U, T)
    synapses_conv, synapses_sparse, synapses_dense : int64 array (N, U, T)
        Synaptic operations by kind of synapse.
    """

    updates: Array
    spikes: Array
    messages: Array
    hops_east_west: Array
    hops_north_south: Array
    synapses_conv: Array
    synapses_sparse: Array
    synapses_dense: Array

    @classmethod
    def zeros(cls, *shape: int) -> PlacedCounts:
        """Counts that are all 0."""
        return cls(*(np.zeros(shape, np.int64) for _ in fields(cls)))

    @property
    def synapses(self) -> Array:
        """Synaptic operations of all kinds."""
        return np.asarray(self.synapses_conv + self.synapses_sparse + self.synapses_dense)

    @property
    def hops(self) -> Array:
        """Hops in both directions."""
        return np.asarray(self.hops_east_west + self.hops_north_south)

    def items(self) -> list[tuple[str, Array]]:
        """List every count as (name, array)."""
        return [(f.name, getattr(self, f.name)) for f in fields(self)]


@dataclass(frozen=True)
class Prices:
    """What an event takes of a core: nanoseconds, or where none are published, work in counts.

    Without times, the work of a core is its synaptic operations.

    Parameters
    ----------
    access, update, spike, send : float
        On the side of the sender.
    receive : float
    synapses : three floats
        By `KINDS`.
    """

    access: float = 0.0
    update: float = 0.0
    spike: float = 0.0
    send: float = 0.0
    receive: float = 0.0
    synapses: tuple[float, ...] = (1.0, 1.0, 1.0)

    @classmethod
    def of(cls, placement: Placement) -> Prices:
        """The times of a chip."""
        time = placement.chip.time
        if not time:
            return cls()
        return cls(
            time["access"], time["update"], time["spike"], time["message_out"], time["message_in"],
            tuple(time[f"synapse_{kind}"] for kind in KINDS),
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Loads:
    """What n samples do, by timestep and by hardware step behind its start.

    Parameters
    ----------
    counts : PlacedCounts
        Of n samples.
    sending, receiving : float64 array (n, T, R, cores)
        The work of each core, in nanoseconds; see `Prices`. Accesses are not in it.
    links : int64 array (n, T, R, 4, rows, columns)
        Messages from each tile to its neighbour in the east, west, south and north.
    """

    counts: PlacedCounts
    sending: Array
    receiving: Array
    links: Array


def loads(
    program: ir.Program, placement: Placement, routes: list[Routes], activity: Activity
) -> Loads:
    """Count what the samples of `activity` do.

    Parameters
    ----------
    program : Program
    placement : Placement
    routes : list of Routes
        Of ``routes_of``, as the program was placed.
    activity : Activity
    """
    n, T, prices = len(activity.images), program.T, Prices.of(placement)
    rows = 1 + max(route.depth for route in routes)
    columns, lines = placement.mesh
    found = Loads(
        PlacedCounts.zeros(n, len(routes), T),
        np.zeros((n, T, rows, placement.cores)),
        np.zeros((n, T, rows, placement.cores)),
        np.zeros((n, T, rows, 4, lines, columns), np.int64),
    )
    for number, route in enumerate(routes):
        _add_neurons(found, number, route, activity, placement, prices)
        _add_messages(found, number, route, activity, placement, prices)
    return found


def _add_neurons(
    found: Loads, number: int, route: Routes, activity: Activity, placement: Placement,
    prices: Prices,
) -> None:  # fmt: skip
    """Count updates and spikes, on the cores of a unit's neurons; the host's cost nothing."""
    if route.grid is None:
        return
    spikes, updates = (
        route.grid.sums(values)
        for values in (
            activity.fired(route.unit, route.layer), activity.updated(route.unit, route.layer)
        )
    )  # fmt: skip
    found.counts.spikes[:, number] = spikes.sum(axis=-1)
    found.counts.updates[:, number] = updates.sum(axis=-1)
    took = prices.spike * spikes + prices.update * updates
    found.sending[:, :, route.depth] += _scattered(took, route.grid.cores.ravel(), placement.cores)


def _add_messages(
    found: Loads, number: int, route: Routes, activity: Activity, placement: Placement,
    prices: Prices,
) -> None:  # fmt: skip
    """Count messages, hops and synaptic operations of a unit's spikes."""
    fired = activity.fired(route.unit, route.layer)
    n, T = fired.shape[:2]
    classes = route.counted(fired.reshape(n * T, *fired.shape[2:])).reshape(n, T, -1)
    sent = classes[..., route.pair]
    counts, cores = found.counts, placement.cores
    counts.messages[:, number] = sent.sum(axis=-1)
    counts.hops_east_west[:, number] = sent @ route.hops[0]
    counts.hops_north_south[:, number] = sent @ route.hops[1]
    for kind, each in zip(KINDS, route.synapses, strict=True):
        getattr(counts, f"synapses_{kind}")[:, number] = sent @ each
    each = prices.receive + np.array(prices.synapses) @ route.synapses
    found.receiving[:, :, route.depth] += _scattered(sent * each, route.core, cores)
    if route.grid is not None:
        sender = route.sender[route.pair]
        found.sending[:, :, route.depth] += prices.send * _scattered(sent, sender, cores)
    _add_links(found.links[:, :, route.depth], sent, route, placement)


def _scattered(values: Array, place: Array, size: int) -> Array:
    """Sum values (.., E) up by place, float64 (.., size)."""
    flat = values.reshape(int(np.prod(values.shape[:-1])), values.shape[-1])
    at = np.arange(len(flat))[:, None] * size + place
    found = np.bincount(at.ravel(), flat.ravel(), len(flat) * size)
    return found.reshape(*values.shape[:-1], size)


def _add_links(links: Array, sent: Array, route: Routes, placement: Placement) -> None:
    """Count the messages over each link: along the row first, then along the column."""
    columns, rows = placement.mesh
    x1, y1 = placement.where[route.sender[route.pair]].T
    x2, y2 = placement.where[route.core].T
    ends = ((x1, x2, y1, True), (x2, x1, y1, True), (y1, y2, x2, False), (y2, y1, x2, False))
    for direction, (low, high, line, along) in enumerate(ends):
        kept = np.flatnonzero(low < high)
        if not len(kept):
            continue
        # Where a message gets on and off; the running sum says how many are on a link.
        size = (rows, columns + 1) if along else (columns, rows + 1)
        on, off = (line[kept] * size[1] + end[kept] for end in (low, high))
        moved = sent[..., kept]
        total = size[0] * size[1]
        change = _scattered(moved, on, total) - _scattered(moved, off, total)
        over = change.reshape(*sent.shape[:-1], *size).cumsum(axis=-1)[..., :-1]
        over = over if along else over.swapaxes(-1, -2)
        # Eastward and southward from the low end; the other way, from the tile behind it.
        links[..., direction, :, :] += _from_sender(np.rint(over).astype(np.int64), direction)


def _from_sender(over: Array, direction: int) -> Array:
    """Move the count of a link that goes west or north to the tile that it leaves."""
    if direction == 1:
        return np.roll(over, 1, axis=-1)
    return np.roll(over, 1, axis=-2) if direction == 3 else over
