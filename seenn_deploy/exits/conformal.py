"""SpikeCP: stop as soon as the conformal prediction set holds one label (arXiv 2305.11322)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from .base import ExitRule, finite, log_softmax, per_step, top_two
from .family import Family, fewest_digits, spread
from .points import Array, OperatingPoints

_ROUNDING = 1e-9  # of counts of samples: 0.55 * 100 is a little more than 55


@dataclass(frozen=True)
class Conformal(ExitRule):
    """Stop at the first t at which exactly one label has ``-ln softmax(z[t]) <= quantiles[t]``.

    ``calibrate`` finds the quantiles: at every t it takes the ceil((n + 1)(1 - a))-th smallest
    nonconformity of the true labels of n held-out samples, with a = (1 - level) / (T - 1). SpikeCP
    splits 1 - level evenly over the times at which it may stop (Bonferroni); here those are
    t = 1..T-1, because at T a sample stops whatever its set holds. So with probability `level` or
    more the true label is in every set before T, and at most 1 - level of exchangeable samples stop
    early with a wrong label. An empty set stops nothing.

    Parameters
    ----------
    level : float in (0, 1]
        Level that the quantiles were calibrated for.
    quantiles : sequence of T floats, at least 0
        Quantile of each timestep. Infinity (None in JSON) keeps every label, so that no sample
        stops there.
    """

    parameter: ClassVar[str] = "level"

    level: float
    quantiles: tuple[float, ...]

    def __post_init__(self) -> None:
        finite("level", self.level, 0, 1)
        object.__setattr__(self, "quantiles", per_step("quantiles", self.quantiles))

    def score(self, z: NDArray[Any], t: NDArray[Any]) -> NDArray[np.float64]:
        """Return the runner-up's nonconformity where the best label is in the set, else -infinity.

        It exceeds the quantile exactly where the set holds one label. Shapes as in the base class.
        """
        best, runner_up = nonconformities(z)
        return np.where(best <= self.threshold(t), runner_up, -np.inf)

    def threshold(self, t: NDArray[Any]) -> NDArray[np.float64]:
        return np.asarray(np.array(self.quantiles)[np.asarray(t) - 1])

    def label_sets(self, z: NDArray[Any], t: NDArray[Any]) -> NDArray[np.bool_]:
        return np.asarray(-log_softmax(z) <= self.threshold(t)[..., None])

    @property
    def timesteps(self) -> int | None:
        return len(self.quantiles)

    @classmethod
    def calibrate(
        cls, logits: NDArray[Any], labels: NDArray[Any], level: float, program: str = ""
    ) -> ExitRule:
        """Find the quantiles of a level as the class describes; see the base class."""
        rank = quantile_rank(len(logits), logits.shape[1], level)
        return cls(level, tuple(sorted_nonconformities(logits, labels)[rank - 1]), program=program)

    @classmethod
    def family(
        cls, logits: NDArray[Any], labels: NDArray[Any], most: int, program: str = ""
    ) -> Family:
        return ConformalFamily.of(logits, labels, most, program)


def nonconformities(z: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return ``-ln softmax(z)`` of the likeliest label and of the next, (...) from z (..., M)."""
    first, second = top_two(log_softmax(z))
    return -first, -second


def quantile_rank(samples: int, timesteps: int, level: float) -> int:
    """Return the rank, from 1, of the quantile among nonconformities; N + 1 means infinity.

    ``ceil((n + 1)(1 - a))`` with a = (1 - level) / (T - 1), the Bonferroni share of one early exit.
    """
    share = (1 - level) / max(timesteps - 1, 1)
    return int(np.ceil((samples + 1) * (1 - share) - _ROUNDING))


def sorted_nonconformities(logits: Array, labels: Array) -> Array:
    """Return ``-ln softmax`` of the true labels, sorted at each timestep, float64 (N + 1, T).

    Row r - 1 holds the quantiles of rank r; the last row is infinity.
    """
    own = -np.take_along_axis(log_softmax(logits), labels[:, None, None], axis=-1)[..., 0]
    return np.vstack([np.sort(own, axis=0), np.full(own.shape[1], np.inf)])


@dataclass(frozen=True, eq=False)
class ConformalFamily(Family):
    """Conformal sets at K levels: a level decides a rank, and a rank one quantile per timestep.

    Parameters
    ----------
    quantiles : float64 (K, T)
    logits, labels : of the calibration split
    """

    quantiles: Array
    logits: Array
    labels: Array

    @classmethod
    def of(cls, logits: Array, labels: Array, most: int, program: str) -> ConformalFamily:
        """Take the levels in (0, 1] at which the ranks of the calibration split change."""
        n, T = logits.shape[:2]
        every = np.arange(1, n + 2)
        legal = every[cls._level(every, n, T) > 0]
        ranks = legal[spread(len(legal), most)]
        quantiles = sorted_nonconformities(logits, labels)[ranks - 1]
        level = cls._level(ranks, n, T)
        return cls("conformal", "level", level, program, quantiles, logits, labels)

    @staticmethod
    def _level(ranks: Array, n: int, T: int, within: float = 0.5) -> Array:
        """Return the level at a share `within` of the interval of levels that give a rank."""
        return np.asarray(1 - max(T - 1, 1) * (1 - (ranks - 1 + within) / (n + 1)))

    def points(self, logits: Array) -> OperatingPoints:
        best, runner_up = nonconformities(logits[:, :-1])
        low, high = np.zeros(best.shape, np.int64), np.zeros(best.shape, np.int64)
        for t in range(best.shape[1]):
            low[:, t] = np.searchsorted(self.quantiles[:, t], best[:, t])
            high[:, t] = np.searchsorted(self.quantiles[:, t], runner_up[:, t])
        return OperatingPoints.of_stretches(low, high, len(self.threshold))

    def rule(self, index: int) -> ExitRule:
        n, T = self.logits.shape[:2]
        rank = quantile_rank(n, T, float(self.threshold[index]))
        # Any level in this part of the interval gives the rank, so the shortest number is taken.
        low, high = (float(self._level(np.array(rank), n, T, share)) for share in (0.1, 0.9))
        level = fewest_digits(max(low, np.finfo(float).tiny), high)
        return Conformal.calibrate(self.logits, self.labels, level, self.program)
