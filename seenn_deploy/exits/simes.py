"""SpikeCP with Simes' correction: evidence against a label adds up over timesteps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from .base import ExitRule, finite, log_softmax, per_step
from .conformal import sorted_nonconformities
from .family import Family, fewest_digits, spread
from .points import Array, OperatingPoints

_ROUNDING = 1e-9  # of counts of samples, as in conformal.py


@dataclass(frozen=True)
class Simes(ExitRule):
    """Stop at the first t at which the answer is the one label that no timestep has ruled out.

    ``conformal`` looks at one timestep and tests a label with the share a = (1 - level) / K of the
    error, K = T - 1 being the timesteps at which a sample may stop (Bonferroni). Simes (Biometrika
    73, 1986) tests all of them together: a label is ruled out at t as soon as, for some j, at least
    j of the timesteps 1..t find it less likely than j a allows,

        #{u <= t : -ln softmax(z[u])[label] > quantiles[u][j]} >= j      for some j in 1..K,

    with quantiles[u][j] the ceil((n + 1)(1 - j a))-th smallest nonconformity of the true labels of
    n held-out samples. In other words, the smallest K p_(j) / j of the label's sorted conformal
    p-values is at most 1 - level, those of timesteps to come being 1. With j = 1 alone this is
    Bonferroni, so a set here lies within that of ``conformal`` at the same level and timestep.

    What is theirs and what is ours: SpikeCP (arXiv 2305.11322) has the conformal sets, the stopping
    by their size and the Bonferroni share; its abstract (version 4) names Simes' correction as an
    alternative, and its text could not be read beyond that. The statement above is ours, from
    Simes' inequality: that labels stay ruled out, that the answer must be the label that is left,
    and that T is no checkpoint, as in ``conformal``.

    The guarantee: the true label is ever ruled out before T with probability at most 1 - level
    where the p-values of its timesteps depend on each other positively, which for one sample seen
    longer and longer is plausible and not proven; and with at most (1 + 1/2 + .. + 1/K) times that
    however they depend (Hommel, Biometrical Journal 25, 1983). An empty set stops nothing.

    Parameters
    ----------
    level : float in (0, 1]
        Level that the quantiles were calibrated for.
    quantiles : T sequences of K floats, at least 0
        Quantile of each timestep and j. Infinity (None in JSON) rules nothing out.
    """

    parameter: ClassVar[str] = "level"
    looks_back: ClassVar[bool] = True
    unshown: ClassVar[tuple[str, ...]] = ("quantiles",)

    level: float
    quantiles: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        finite("level", self.level, 0, 1)
        rows = tuple(per_step(f"quantiles[t={t}]", row) for t, row in enumerate(self.quantiles, 1))
        if not rows or len({len(row) for row in rows}) > 1:
            raise ValueError("quantiles: give as many numbers for one timestep as for another")
        object.__setattr__(self, "quantiles", rows)

    def score(self, z: NDArray[Any], t: NDArray[Any]) -> NDArray[np.float64]:
        """Return 1 where the answer is the one label left, else 0. Shapes as in the base class."""
        left = self.label_sets(z, t)
        answer = np.expand_dims(np.argmax(z, axis=-1), -1)
        alone = (left.sum(axis=-1) == 1) & np.take_along_axis(left, answer, axis=-1)[..., 0]
        return np.asarray(alone, np.float64)

    def threshold(self, t: NDArray[Any]) -> NDArray[np.float64]:
        return np.zeros(np.shape(t))

    def label_sets(self, z: NDArray[Any], t: NDArray[Any]) -> NDArray[np.bool_]:
        own = -log_softmax(z)
        at = np.array(self.quantiles)[np.asarray(t) - 1]
        left = ~np.isnan(own)  # logits that are not there leave nothing
        for j in range(at.shape[-1]):
            left &= (own > at[..., j, None]).cumsum(axis=-2) <= j
        return np.asarray(left)

    @property
    def timesteps(self) -> int | None:
        return len(self.quantiles)

    @classmethod
    def calibrate(
        cls, logits: NDArray[Any], labels: NDArray[Any], level: float, program: str = ""
    ) -> ExitRule:
        """Find the quantiles of a level as the class describes; see the base class."""
        ranks = quantile_ranks(logits.shape[0], logits.shape[1], level)
        found = sorted_nonconformities(logits, labels)[ranks - 1]  # (K, T)
        return cls(level, tuple(map(tuple, found.T.tolist())), program=program)

    @classmethod
    def family(
        cls, logits: NDArray[Any], labels: NDArray[Any], most: int, program: str = ""
    ) -> Family:
        return SimesFamily.of(logits, labels, most, program)


def quantile_ranks(samples: int, timesteps: int, level: float) -> Array:
    """Return the ranks, from 1, of the quantiles of j = 1..K; N + 1 means infinity."""
    checks = max(timesteps - 1, 1)
    share = np.arange(1, checks + 1) * (1 - level) / checks
    ranks = np.ceil((samples + 1) * (1 - share) - _ROUNDING).astype(np.int64)
    return np.asarray(np.maximum(ranks, 1))


def p_values(z: Array, sorted_own: Array) -> Array:
    """Return Simes' p-value of every label after t = 1, 2, .., float64 (N, S, M) of z (N, S, M).

    Parameters
    ----------
    z : array (N, S, M)
        Accumulated logits of the S = K timesteps before T.
    sorted_own : float64 (n + 1, T)
        Nonconformities of the calibration samples, of `sorted_nonconformities`.
    """
    own, n = -log_softmax(z), len(sorted_own) - 1
    single = np.empty_like(own)
    for t in range(own.shape[1]):
        below = np.searchsorted(sorted_own[:n, t], own[:, t], side="left")
        single[:, t] = (n + 1 - below) / (n + 1)
    found, checks = np.empty_like(single), own.shape[1]
    for t in range(checks):
        ordered = np.sort(single[:, : t + 1], axis=1)
        found[:, t] = (ordered * (checks / np.arange(1, t + 2))[:, None]).min(axis=1)
    return found


@dataclass(frozen=True, eq=False)
class SimesFamily(Family):
    """The rule at K levels, each in the middle between two at which some quantile changes.

    Parameters
    ----------
    low, high : float64 (K,)
        The levels between which the quantiles stay the same.
    logits, labels : of the calibration split
    """

    low: Array
    high: Array
    logits: Array
    labels: Array

    @classmethod
    def of(cls, logits: Array, labels: Array, most: int, program: str) -> SimesFamily:
        """Take levels from all in (0, 1) that give different quantiles, evenly apart."""
        n, T = logits.shape[:2]
        checks = max(T - 1, 1)
        shares = np.outer(np.arange(1, n + 2), checks / np.arange(1, checks + 1)) / (n + 1)
        changes = 1 - np.unique(np.round(shares[shares < 1], 12))[::-1]
        borders = np.concatenate([[0.0], changes, [1.0]])
        picked = spread(len(borders) - 1, most)
        low, high = borders[picked], borders[picked + 1]
        return cls("simes", "level", (low + high) / 2, program, low, high, logits, labels)

    def points(self, logits: Array) -> OperatingPoints:
        early = logits[:, :-1]
        p = p_values(early, sorted_nonconformities(self.logits, self.labels))
        answer = early.argmax(axis=-1)[..., None]
        best = np.take_along_axis(p, answer, axis=-1)[..., 0]
        others = p.copy()
        np.put_along_axis(others, answer, 0.0, axis=-1)
        # It stops where others <= 1 - level < best.
        level = self.threshold
        low = np.searchsorted(level, 1 - best, side="right")
        high = np.searchsorted(level, 1 - others.max(axis=-1), side="right")
        return OperatingPoints.of_stretches(low, high, len(level))

    def rule(self, index: int) -> ExitRule:
        low, high = float(self.low[index]), float(self.high[index])
        width = high - low
        # Any level within gives the same quantiles, so the shortest number is taken.
        level = fewest_digits(low + 0.1 * width, high - 0.1 * width)
        return Simes.calibrate(self.logits, self.labels, level, self.program)
