"""Families of exit rules for a sweep: one rule at many thresholds, and the exits at each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from math import ceil, isfinite
from typing import TYPE_CHECKING, Any

import numpy as np

from .points import Array, OperatingPoints, distinct_thresholds

if TYPE_CHECKING:
    from .base import ExitRule


@dataclass(frozen=True, eq=False)
class Family(ABC):
    """An exit rule at K ascending thresholds, of which later ones are more cautious.

    Parameters
    ----------
    name, parameter : str
        Names of the rule, and of the number that the sweep varies.
    threshold : float64 (K,)
    program : str
        Fingerprint of the program that its rules are calibrated for.
    """

    name: str
    parameter: str
    threshold: Array
    program: str

    @abstractmethod
    def points(self, logits: Array) -> OperatingPoints:
        """Find the exits of samples with logits (N, T, M) at every threshold."""

    @abstractmethod
    def rule(self, index: int) -> ExitRule:
        """Return the rule at one threshold, with as few digits as give the same exits."""


@dataclass(frozen=True, eq=False)
class Scored(Family):
    """A rule whose score is compared with one number at every timestep.

    Parameters
    ----------
    above : float64 (K,)
        The next threshold. Every number below it has the same exits, on the samples that the
        family was made from.
    like : ExitRule
        The rule at any threshold, with all its other fields.
    """

    above: Array
    like: ExitRule

    @classmethod
    def of(cls, like: ExitRule, logits: Array, most: int, program: str) -> Scored:
        """Take thresholds at the quantiles of the scores of `logits`, with both ends."""
        scores = early_scores(like, logits)
        distinct = distinct_thresholds(scores) if scores.size else np.zeros(1)
        if isfinite(like.certain):
            # Nothing exceeds it, so every sample runs to T: the cautious end of the curve.
            distinct = np.union1d(distinct, like.certain)
        picked = spread(len(distinct), most)
        above = np.append(distinct[1:], distinct[-1])
        at = distinct[picked], program, above[picked]
        return cls(like.name, like.parameter, *at, like)

    def points(self, logits: Array) -> OperatingPoints:
        return OperatingPoints.of_scores(early_scores(self.like, logits), self.threshold)

    def rule(self, index: int) -> ExitRule:
        value = fewest_digits(float(self.threshold[index]), float(self.above[index]))
        numbers: dict[str, Any] = {self.parameter: value, "program": self.program}
        return replace(self.like, **numbers)


def fewest_digits(low: float, high: float) -> float:
    """Return the number in [low, high) with the fewest decimals; `low` where there is none."""
    for digits in range(17):
        value = ceil(low * 10.0**digits) / 10.0**digits
        if low <= value < high:
            return value
    return low


def early_scores(rule: ExitRule, logits: Array) -> Array:
    """Score logits (N, T, M) at t < T, where a rule may stop: float64 (N, T - 1)."""
    return rule.score(logits[:, :-1], np.arange(1, logits.shape[1]))


def spread(count: int, most: int) -> Array:
    """Return at most `most` indices below `count`, evenly apart, with the first and the last."""
    return np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(np.int64))
