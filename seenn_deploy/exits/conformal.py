"""SpikeCP: stop as soon as the conformal prediction set holds one label (arXiv 2305.11322)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .base import ExitRule, finite, log_softmax, per_step, top_two


@dataclass(frozen=True)
class Conformal(ExitRule):
    """Stop at the first t at which exactly one label has ``-ln softmax(z[t]) <= quantiles[t]``.

    ``calibrate`` finds the quantiles: at every t the ceil((n + 1)(1 - a))-th smallest
    nonconformity of the true labels of n held-out samples, with a = (1 - level) / (T - 1). SpikeCP
    splits 1 - level evenly over the times at which it may stop (Bonferroni); here those are
    t = 1..T-1, because at T a sample stops whatever its set holds. So with probability `level` or
    more the true label is in every set before T, and at most 1 - level of exchangeable samples stop
    early with a wrong label. An empty set stops nothing.

    Parameters
    ----------
    level : float in (0, 1]
        What the quantiles were calibrated for.
    quantiles : sequence of T floats, at least 0
        Infinity (None in JSON) keeps every label, so it never stops there.
    """

    level: float
    quantiles: tuple[float, ...]

    def __post_init__(self) -> None:
        finite("level", self.level, 0, 1)
        object.__setattr__(self, "quantiles", per_step("quantiles", self.quantiles))

    def score(self, z: NDArray[Any], t: NDArray[Any]) -> NDArray[np.float64]:
        """Nonconformity of the runner-up where the best label is in the set, -infinity elsewhere.

        It exceeds the quantile exactly where the set holds one label. Shapes as in the base class.
        """
        best, runner_up = nonconformities(z)
        return np.where(best <= self.threshold(t), runner_up, -np.inf)

    def threshold(self, t: NDArray[Any]) -> NDArray[np.float64]:
        return np.asarray(np.array(self.quantiles)[np.asarray(t) - 1])

    @property
    def timesteps(self) -> int | None:
        return len(self.quantiles)


def nonconformities(z: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """``-ln softmax(z)`` of the likeliest label and of the next, each (...) from z (..., M)."""
    first, second = top_two(log_softmax(z))
    return -first, -second
