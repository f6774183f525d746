"""Sums over samples at every threshold of an exit rule, without running the rule at each.

Thresholds are sorted, and a sample stops at t for a stretch of neighbouring thresholds. Its exit is
therefore constant between a few borders, and a sum over samples changes only there. The changes go
into one bin per threshold, and their running total is the sum at every threshold.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
_ROUNDING = 1e-9  # in floats, 0.55 * 100 is a little more than 55 samples


@dataclass(frozen=True, eq=False)
class OperatingPoints:
    """The exits of N samples at K thresholds; :meth:`of_scores` and :meth:`of_stretches` make it.

    Parameters
    ----------
    start : int64 (N, S)
        Index of the threshold at which a stretch begins; each row ascends from 0.
    step : int64 (N, S)
        Exit in that stretch, counted from 1.
    thresholds : int
        Number of thresholds, K.
    """

    start: Array
    step: Array
    thresholds: int

    @classmethod
    def of_scores(cls, scores: Array, thresholds: Array) -> OperatingPoints:
        """Let samples exit at the first t < T whose score exceeds the threshold, else at T.

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
            Number of thresholds, K.
        """
        n, steps = low.shape
        start = np.sort(np.hstack([np.zeros((n, 1), np.int64), low, high]), axis=1)
        step = np.full(start.shape, steps + 1)
        for t in range(steps, 0, -1):  # backwards, so that the earliest stop has the last word
            inside = (low[:, t - 1, None] <= start) & (start < high[:, t - 1, None])
            step[inside] = t
        return cls(start, step, thresholds)

    def sums(self, values: Array) -> Array:
        """Sum each sample's value at its exit over all samples, float64 (K,).

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
    """Return every threshold at which some exit changes, ascending and not negative.

    A score stops a sample when it exceeds the threshold, so these are the scores themselves, and
    one number below them all.
    """
    values = np.unique(scores)
    # One number just below the smallest score, which every score exceeds.
    lowest = np.nextafter(values[:1], -np.inf)
    return np.unique(np.maximum(np.concatenate([lowest, values]), 0.0))


def smallest_threshold(scores: Array, right: Array, level: float) -> float | None:
    """Return the smallest threshold at which enough of the samples that exceed it are right.

    Parameters
    ----------
    scores : array (N, steps)
        Scores at the timesteps before T, at which every sample stops.
    right : bool array (N, steps)
    level : float in (0, 1]
        Share that is enough.

    Returns
    -------
    float, or None where no threshold is enough
    """
    if not scores.size:
        return None
    thresholds = distinct_thresholds(scores)
    points = OperatingPoints.of_scores(scores, thresholds)
    at_the_end = np.zeros((len(scores), 1), np.bool_)
    early = points.sums(np.hstack([np.ones_like(right), at_the_end]))
    right_early = points.sums(np.hstack([right, at_the_end]))
    enough = (early > 0) & (right_early >= level * early - _ROUNDING)
    return float(thresholds[enough.argmax()]) if enough.any() else None
