"""What happens at each hardware step of a sample that is alone on the chip, in the mean.

Where timesteps follow each other at once, the steps are those from a sample's first one to its
last timestep's arrival at the readout. Where a timestep waits until the last one has passed, they
are those of one timestep, and the means are over timesteps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from seenn_deploy._typing import Array
from seenn_deploy.compiler.mapping.placement import Placement
from seenn_deploy.evaluation.placed.clock import StepTime
from seenn_deploy.evaluation.placed.counting import Loads
from seenn_deploy.ir.schedule import STAGED, Timing

COUNTED = ("spikes", "updates", "messages", "hops_east_west", "hops_north_south", "synapses")
DIRECTIONS = ("east", "west", "south", "north")


@dataclass(frozen=True, eq=False)
class Steps:
    """Means over the samples that are still under way, by hardware step, (R,).

    Parameters
    ----------
    counts : dict of float64 array (R,)
        By `COUNTED`.
    timed : bool
        Whether the chip's times are published; otherwise work is told in synaptic operations.
    time : float64 array (R,)
        Seconds; 0 where no times are published.
    core, core_work : int64, float64 array (R,)
        The busiest core, and what it takes without the barrier: seconds, or synaptic operations.
    link : list of R (column, row, direction), or None where there is no message over any
    link_messages : float64 array (R,)
        Messages over the busiest link.
    by_core : float64 array (cores,)
        What each core takes of a step, the mean over the steps.
    least : float64 array (R,), optional
        Seconds that a step takes at least, for a chip of which no more is known; see `Chip.bound`.
    """

    counts: dict[str, Array]
    timed: bool
    time: Array
    core: Array
    core_work: Array
    link: list[tuple[int, int, str] | None]
    link_messages: Array
    by_core: Array
    least: Array | None = None

    def summary(self) -> list[dict[str, Any]]:
        """Return a row for each step, as JSON values."""
        return [
            {
                "step": row + 1,
                **{name: float(values[row]) for name, values in self.counts.items()},
                **({"time_us": float(1e6 * self.time[row])} if self.timed else {}),
                **({} if self.least is None else {"least_us": float(1e6 * self.least[row])}),
                "busiest_core": int(self.core[row]),
                **self._work(float(self.core_work[row])),
                "busiest_link": self.link[row],
                "busiest_link_messages": float(self.link_messages[row]),
            }
            for row in range(len(self.time))
        ]

    def _work(self, value: float) -> dict[str, float]:
        if self.timed:
            return {"busiest_core_us": 1e6 * value}
        return {"busiest_core_synapses": value}


@dataclass
class StepSums:
    """Sums over samples, of which `means` makes the result."""

    timing: Timing
    T: int
    placement: Placement
    step: StepTime
    starts: list[int]  # row of each timestep's first step
    counts: dict[str, Array]
    time: Array
    under_way: Array
    busy: Array
    links: Array

    @classmethod
    def empty(
        cls, timing: Timing, T: int, rows: int, placement: Placement, step: StepTime
    ) -> StepSums:
        starts = [_start(timing, t) for t in range(T)]
        size = starts[-1] + rows
        columns, lines = placement.mesh
        return cls(
            timing, T, placement, step, starts,
            {name: np.zeros(size, np.int64) for name in COUNTED},
            np.zeros(size), np.zeros(size, np.int64), np.zeros((size, placement.cores)),
            np.zeros((size, 4, lines, columns), np.int64),
        )  # fmt: skip

    def add(self, found: Loads, depths: list[int], exit_step: Array) -> None:
        """Enter some samples."""
        injected = self.timing.injected(exit_step, self.T)
        rows = found.sending.shape[2]
        for t in range(self.T):
            runs = injected > t
            first = self.starts[t]
            for unit, depth in enumerate(depths):
                for name, sums in self.counts.items():
                    sums[first + depth] += getattr(found.counts, name)[runs, unit, t].sum()
            self.links[first : first + rows] += found.links[runs, t].sum(axis=0)
        for sending, receiving, until in zip(found.sending, found.receiving, injected, strict=True):
            self._add_work(sending[:until], receiving[:until], rows)

    def _add_work(self, sending: Array, receiving: Array, rows: int) -> None:
        """Enter what cores do for a sample, (timesteps, rows, cores)."""
        if not any(self.starts):
            self.time += self.step(sending, receiving).sum(axis=0)
            self.busy += self.step.busy(sending, receiving).sum(axis=0)
            self.under_way += len(sending)
            return
        size = self.starts[len(sending) - 1] + rows
        both = np.zeros((2, size, sending.shape[2]))
        for t, work in enumerate(zip(sending, receiving, strict=True)):
            both[:, self.starts[t] : self.starts[t] + rows] += work
        self.time[:size] += self.step(*both)
        self.busy[:size] += self.step.busy(*both)
        self.under_way[:size] += 1

    def means(self) -> Steps:
        """Divide by how many samples, or timesteps, were under way."""
        size = int((self.under_way > 0).sum())
        n = self.under_way[:size]
        timed = 1e-9 if self.placement.chip.time else 1.0
        busy = self.busy[:size] / n[:, None]
        links = self.links[:size].reshape(size, -1)
        return Steps(
            {name: sums[:size] / n for name, sums in self.counts.items()},
            bool(self.placement.chip.time),
            1e-9 * self.time[:size] / n if self.placement.chip.time else np.zeros(size),
            busy.argmax(axis=1),
            timed * busy.max(axis=1),
            [self._named(int(link)) if most else None
             for link, most in zip(links.argmax(axis=1), links.max(axis=1), strict=True)],
            links.max(axis=1) / n,
            timed * (busy * n[:, None]).sum(axis=0) / n.sum(),
            self._least(busy.max(axis=1), links.max(axis=1) / n),
        )  # fmt: skip

    def _least(self, synapses: Array, messages: Array) -> Array | None:
        """Seconds that steps take at least; of means, it is no more than the mean of bounds."""
        chip = self.placement.chip
        if chip.time or not chip.bound:
            return None
        neurons = max(load["neurons"] for load in self.placement.loads)
        fixed = max(chip.bound["barrier"], chip.bound["neuron"] * neurons)
        moved = np.maximum(chip.bound["synapse"] * synapses, chip.bound["message"] * messages)
        return np.asarray(1e-9 * np.maximum(moved, fixed))

    def _named(self, link: int) -> tuple[int, int, str]:
        direction, row, column = np.unravel_index(link, self.links.shape[1:])
        return int(column), int(row), DIRECTIONS[int(direction)]


def _start(timing: Timing, t: int) -> int:
    """The row of a timestep's first step; 0 for all where they are told as one timestep."""
    if timing.followed == STAGED:
        return t and timing.depth + t
    return t if timing.followed in ("pipelined", "speculative") else 0
