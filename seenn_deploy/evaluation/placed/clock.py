"""How long the hardware steps of a chip take, as samples follow each other.

All cores step together. A step takes as long as the core that takes longest, for sending or for
receiving, and the barrier behind it: the timing model ``simple`` of SANA-FE (docs/chips.md).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from seenn_deploy._typing import Array, Pair
from seenn_deploy.compiler.mapping.placement import Placement


@dataclass(frozen=True, eq=False)
class Pace:
    """Latency and throughput of N samples in the order of a run.

    Parameters
    ----------
    latency : float64 array (N,)
        Seconds from a sample's first step to its answer, on a chip that is empty before the first.
    interval : float64 array (N,)
        Seconds from its first step to that of the next sample, as if the samples came again and
        again: the first ones meet the last ones in the pipe.
    steps : float64 array (S,)
        Seconds of each hardware step, those behind the last sample's start included.
    """

    latency: Array
    interval: Array
    steps: Array

    @property
    def throughput(self) -> float:
        """Samples per second."""
        return float(len(self.interval) / self.interval.sum())


@dataclass(frozen=True, eq=False)
class StepTime:
    """What a step takes, in nanoseconds.

    Parameters
    ----------
    base : float64 array (cores,)
        Accesses of all neurons, at every step.
    barrier : float
    """

    base: Array
    barrier: float

    @classmethod
    def of(cls, placement: Placement) -> StepTime:
        """That of a placed program; without published times, work in place of nanoseconds."""
        neurons = np.array([load["neurons"] for load in placement.loads], np.float64)
        time = placement.chip.time
        if not time:
            return cls(0.0 * neurons, 0.0)
        tiles = len(np.unique(placement.where, axis=0))
        reached = [took for least, took in sorted(time["barrier"]) if least <= tiles]
        # As SANA-FE's table: the largest number of tiles that is reached, or else the first one.
        barrier = reached[-1] if reached else min(time["barrier"])[1]
        return cls(neurons * time["access"], float(barrier))

    def busy(self, sending: Array, receiving: Array) -> Array:
        """What each core takes, the longer of both sides, (.., cores)."""
        return np.asarray(np.maximum(self.base + sending, receiving))

    def __call__(self, sending: Array, receiving: Array) -> Array:
        """What steps take, (..), with the barrier."""
        return np.asarray(self.busy(sending, receiving).max(axis=-1) + self.barrier)


@dataclass
class Clock:
    """The steps of a chip on which timesteps follow each other as a schedule says.

    Parameters
    ----------
    step : StepTime
    every : (int, int)
        Hardware steps from a sample's first timestep to the second, and between later ones.
    rows : int
        Hardware steps that a timestep is under way.
    """

    step: StepTime
    every: Pair
    rows: int
    took: list[float] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    _first: list[Array] = field(default_factory=list)
    _pending: Array = field(init=False)

    def __post_init__(self) -> None:
        size = max(self.rows, *self.every)
        self._pending = np.zeros((2, size, len(self.step.base)))

    def sample(self, sending: Array, receiving: Array) -> None:
        """Let a sample in, whose timesteps do (timesteps, rows, cores)."""
        self.starts.append(len(self.took))
        for t, work in enumerate(zip(sending, receiving, strict=True)):
            self._pending[:, : self.rows] += work
            self._advance(self.every[t > 0])

    def _advance(self, steps: int) -> None:
        done = self._pending[:, :steps]
        if len(self._first) < self.rows:
            self._first += list(done.swapaxes(0, 1))
        self.took += self.step(*done).tolist()
        rest = self._pending[:, steps:]
        self._pending = np.concatenate([rest, np.zeros_like(done)], axis=1)

    def pace(self, latency: Array) -> Pace:
        """Latency and interval, of samples that take so many steps to their answer."""
        starts, end = np.array(self.starts), len(self.took)
        again = _until(self._steady(end))
        self._advance(self._pending.shape[1])
        until = _until(self.took)
        interval = np.diff(again[np.append(starts, end)])
        return Pace(until[starts + latency] - until[starts], interval, np.diff(until))

    def _steady(self, end: int) -> list[float]:
        """What steps take where the last samples are still under way in the first ones."""
        first = np.array(self._first[:end])
        for later, work in enumerate(self._pending.swapaxes(0, 1)):
            first[later % end] += work  # a short run meets itself more than once
        return [*self.step(first[:, 0], first[:, 1]).tolist(), *self.took[len(first) :]]


def _until(took: list[float]) -> Array:
    """Seconds before each step, and behind the last one, of nanoseconds."""
    return np.asarray(1e-9 * np.concatenate([[0.0], np.cumsum(took)]))
