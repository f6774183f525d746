"""What a sweep turns: for each exit rule its thresholds, and where samples exit at each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import ceil

import numpy as np

from seenn_deploy import exits
from seenn_deploy._typing import Array
from seenn_deploy.errors import DataError
from seenn_deploy.evaluation.calibrate import calibrate, quantile_rank, sorted_nonconformities
from seenn_deploy.evaluation.points import OperatingPoints, distinct_thresholds
from seenn_deploy.exits import ExitRule
from seenn_deploy.exits.conformal import nonconformities
from seenn_deploy.ir.program import Program

_CERTAIN = {"confidence": 1.0, "entropy": 1.0}  # scores that nothing exceeds


@dataclass(frozen=True, eq=False)
class Family(ABC):
    """An exit rule at K thresholds, ascending: the later, the more cautious.

    Parameters
    ----------
    name, parameter : str
        Of the rule, and of the number that is turned.
    threshold : float64 (K,)
    program : str
        Fingerprint that its rules carry.
    """

    name: str
    parameter: str
    threshold: Array
    program: str

    @abstractmethod
    def points(self, logits: Array) -> OperatingPoints:
        """Exits of samples, logits (N, T, M), at every threshold."""

    @abstractmethod
    def rule(self, index: int) -> ExitRule:
        """The rule at one threshold, written with as few digits as give the same exits."""


@dataclass(frozen=True, eq=False)
class Scored(Family):
    """A rule whose score is compared with one number at every timestep.

    Parameters
    ----------
    above : float64 (K,)
        Up to here (exclusive) every number has the exits of the threshold, on the samples that
        the family was made from.
    """

    above: Array

    @classmethod
    def of(cls, name: str, logits: Array, most: int, program: str) -> Scored:
        """Thresholds at the quantiles of the scores of `logits`, both ends among them."""
        parameter = parameter_of(name)
        scores = _scores(name, logits)
        distinct = distinct_thresholds(scores) if scores.size else np.zeros(1)
        if name in _CERTAIN:
            distinct = np.union1d(distinct, _CERTAIN[name])
        picked = _spread(len(distinct), most)
        above = np.append(distinct[1:], distinct[-1])
        return cls(name, parameter, distinct[picked], program, above[picked])

    def points(self, logits: Array) -> OperatingPoints:
        return OperatingPoints.of_scores(_scores(self.name, logits), self.threshold)

    def rule(self, index: int) -> ExitRule:
        value = fewest_digits(float(self.threshold[index]), float(self.above[index]))
        stored = {"rule": self.name, self.parameter: value, "program": self.program}
        return exits.from_dict(stored)


@dataclass(frozen=True, eq=False)
class ConformalFamily(Family):
    """Conformal sets at K levels; the level decides a rank, the rank one quantile a timestep.

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
        """Levels between 0 and 1 at which the ranks of the calibration split change."""
        n, T = logits.shape[:2]
        every = np.arange(1, n + 2)
        legal = every[cls._level(every, n, T) > 0]
        ranks = legal[_spread(len(legal), most)]
        quantiles = sorted_nonconformities(logits, labels)[ranks - 1]
        level = cls._level(ranks, n, T)
        return cls("conformal", "level", level, program, quantiles, logits, labels)

    @staticmethod
    def _level(ranks: Array, n: int, T: int, within: float = 0.5) -> Array:
        """The level that lies at a share `within` of those that give a rank."""
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
        low, high = (float(self._level(np.array(rank), n, T, share)) for share in (0.1, 0.9))
        level = fewest_digits(max(low, np.finfo(float).tiny), high)
        fitted = calibrate("conformal", self.logits, self.labels, level).to_dict()
        return exits.from_dict(fitted | {"program": self.program})


def family(name: str, logits: Array, labels: Array, thresholds: int, program: Program) -> Family:
    """A rule's thresholds from a calibration split; DataError where it has none to turn."""
    if name == "conformal":
        return ConformalFamily.of(logits, labels, thresholds, program.fingerprint)
    return Scored.of(name, logits, thresholds, program.fingerprint)


def fewest_digits(low: float, high: float) -> float:
    """The number in [low, high) with the fewest decimals; `low` itself where there is none."""
    for digits in range(17):
        value = ceil(low * 10.0**digits) / 10.0**digits
        if low <= value < high:
            return value
    return low


def parameter_of(name: str) -> str:
    """The number of a rule that a sweep turns; DataError where there is none."""
    if name == "conformal":
        return "level"
    if name not in exits.names():
        raise DataError(f"exit rule {name!r} does not exist; there are {', '.join(exits.names())}")
    parameter: str = exits.rule_class(name).parameter
    if not parameter:
        raise DataError(f"exit rule {name!r} has no threshold to sweep")
    return parameter


def _scores(name: str, logits: Array) -> Array:
    """Scores at t < T, float64 (N, T - 1)."""
    steps = np.arange(1, logits.shape[1])
    return exits.from_dict({"rule": name}).score(logits[:, :-1], steps)


def _spread(count: int, most: int) -> Array:
    """At most `most` indices below `count`, evenly apart, first and last among them."""
    return np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(np.int64))
