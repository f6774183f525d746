"""Sums over samples at every threshold of an exit rule, without running the rule at each.

Thresholds are sorted, and a sample stops at t for a stretch of neighbouring ones. So its exit is
constant between a few borders, and a sum over samples changes only there: the changes go into one
bin a threshold, and their running total is the sum at every threshold.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from seenn_deploy._typing import Array


@dataclass(frozen=True, eq=False)
class OperatingPoints:
    """Exits of N samples at K thresholds; make one with :meth:`of_scores` or :meth:`of_stretches`.

    Parameters
    ----------
    start : int64 (N, S)
        Index of the threshold at which a stretch begins; each row ascends from 0.
    step : int64 (N, S)
        Exit, from 1, in that stretch.
    thresholds : int
        K.
    """

    start: Array
    step: Array
    thresholds: int

    @classmethod
    def of_scores(cls, scores: Array, thresholds: Array) -> OperatingPoints:
        """Exit at the first t < T whose score exceeds the threshold, else at T.

        Parameters
        ----------
        scores : array (N, T - 1)
        thresholds : array (K,), ascending
        """
        above = np.searchsorted(thresholds, scores, side="left")  # strictly smaller thresholds
        return cls.of_stretches(np.zeros_like(above), above, len(thresholds))

    @classmethod
    def of_stretches(cls, low: Array, high: Array, thresholds: int) -> OperatingPoints:
        """Exit at the first t < T with ``low[t] <= index of the threshold < high[t]``, else at T.

        Parameters
        ----------
        low, high : int64 arrays (N, T - 1), from 0 to K
        thresholds : int
            K.
        """
        n, steps = low.shape
        start = np.sort(np.hstack([np.zeros((n, 1), np.int64), low, high]), axis=1)
        step = np.full(start.shape, steps + 1)
        for t in range(steps, 0, -1):
            inside = (low[:, t - 1, None] <= start) & (start < high[:, t - 1, None])
            step[inside] = t
        return cls(start, step, thresholds)

    def sums(self, values: Array) -> Array:
        """Sum over samples of each one's value at its exit, float64 (K,).

        Parameters
        ----------
        values : array (N, T), or (T,) where it is the same for all samples
        """
        per_sample = np.broadcast_to(values, (len(self.step), np.shape(values)[-1]))
        found = np.take_along_axis(per_sample, self.step - 1, axis=1).astype(np.float64)
        change = np.diff(found, axis=1, prepend=0.0)
        bins = np.bincount(self.start.ravel(), change.ravel(), self.thresholds + 1)
        return np.cumsum(bins[: self.thresholds])


def distinct_thresholds(scores: Array) -> Array:
    """Every threshold at which some exit changes, ascending, from the lowest that is not negative.

    Scores have to be exceeded, so these are the scores themselves and one below them all.
    """
    values = np.unique(scores)
    lowest = np.nextafter(values[:1], -np.inf)
    return np.unique(np.maximum(np.concatenate([lowest, values]), 0.0))


def front(cost: Array, accuracy: Array) -> Array:
    """Which points no other point beats: as accurate for less, or more accurate for as much.

    Parameters
    ----------
    cost, accuracy : float arrays (P,)

    Returns
    -------
    bool array (P,)
        Equal points are on the front together.
    """
    levels, level = np.unique(cost, return_inverse=True)
    highest = np.full(len(levels), -np.inf)
    np.maximum.at(highest, level, accuracy)
    cheaper = np.concatenate([[-np.inf], np.maximum.accumulate(highest)[:-1]])
    return np.asarray((accuracy == highest[level]) & (accuracy > cheaper[level]))


__all__ = ["OperatingPoints", "distinct_thresholds", "front"]
