"""Lookahead: the logits of the first timestep decide how many more there will be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from .base import ExitRule, finite, per_step, top_two
from .family import Family, spread
from .points import Array, OperatingPoints


@dataclass(frozen=True)
class Lookahead(ExitRule):
    """Stop at the first t at which the lead of the answer at t = 1 exceeds bounds[t].

    The lead is the difference of the two largest values of z[1], and never changes after; so the
    number of timesteps is known as soon as the first one is through the network. SEENN-II's policy
    network (arXiv 2304.01230) knows it earlier, from the image alone, and has to be paid for; this
    rule is ours, and costs nothing.

    ``calibrate`` finds the bounds by cost-aware dynamic programming: of all ways to cut the
    held-out samples, sorted by lead, into T groups that stop at T, T - 1, .., 1, the one with the
    largest

        sum over samples of  patience * (right at its exit) - (exit step)

    so a right answer is worth `patience` timesteps.

    Parameters
    ----------
    patience : float, at least 0
        Timesteps that one right answer is worth, with which the bounds were found.
    bounds : sequence of T floats, at least 0
        Lead to exceed, per timestep. Infinity (None in JSON) stops nothing there.
    """

    parameter: ClassVar[str] = "patience"
    looks_back: ClassVar[bool] = True
    known_after_first: ClassVar[bool] = True

    patience: float
    bounds: tuple[float, ...]

    def __post_init__(self) -> None:
        finite("patience", self.patience, 0, np.finfo(np.float64).max, closed_low=True)
        object.__setattr__(self, "bounds", per_step("bounds", self.bounds))

    def score(self, z: NDArray[Any], t: NDArray[Any]) -> NDArray[np.float64]:
        return np.asarray(np.broadcast_to(leads(z)[..., None], np.shape(z)[:-1]))

    def threshold(self, t: NDArray[Any]) -> NDArray[np.float64]:
        return np.asarray(np.array(self.bounds)[np.asarray(t) - 1])

    @property
    def timesteps(self) -> int | None:
        return len(self.bounds)

    @classmethod
    def calibrate(
        cls, logits: NDArray[Any], labels: NDArray[Any], level: float, program: str = ""
    ) -> ExitRule:
        """Find the smallest patience at which a share `level` of the early exits is right.

        Tried are `TRIED` of them; where none is enough, no sample stops early. Arguments as in the
        base class.
        """
        right = logits.argmax(axis=-1) == labels[:, None]
        lead, T = leads(logits), logits.shape[1]
        for patience in patiences(len(labels), T, TRIED):
            rule = cls(patience, best_bounds(lead, right, patience), program=program)
            step = rule.exit_steps(logits)
            early = step < T
            if early.any() and right[early, step[early] - 1].mean() >= level - _ROUNDING:
                return rule
        return cls(0.0, (np.inf,) * T, program=program)

    @classmethod
    def family(
        cls, logits: NDArray[Any], labels: NDArray[Any], most: int, program: str = ""
    ) -> Family:
        return LookaheadFamily.of(logits, labels, most, program)


TRIED = 200
_ROUNDING = 1e-9


def leads(z: NDArray[Any]) -> NDArray[np.float64]:
    """Return the lead of the answer at t = 1, (...), for logits (..., s, M)."""
    first, second = top_two(np.asarray(z)[..., 0, :])
    return np.asarray(first - second)


def patiences(samples: int, T: int, most: int) -> list[float]:
    """Return values of patience, ascending: from 1, where all stop at once, to N T."""
    found = np.geomspace(1, max(samples * T, 2), max(min(most, TRIED), 2))
    return [float(f"{value:.4g}") for value in found]


def best_bounds(lead: Array, right: Array, patience: float) -> tuple[float, ...]:
    """Find the bounds of the largest total, as :class:`Lookahead` says; of equal ones, some.

    Parameters
    ----------
    lead : float array (N,)
    right : bool array (N, T)
    patience : float

    Returns
    -------
    tuple of T floats, descending
    """
    order = np.argsort(lead, kind="stable")
    lead, (n, T) = lead[order], right.shape
    # Row i: what the first i samples give, were they to stop at t.
    given = patience * right[order] - np.arange(1, T + 1)
    sums = np.vstack([np.zeros(T), np.cumsum(given, axis=0)])
    cuttable = np.concatenate([[True], lead[1:] > lead[:-1], [True]])
    best, cuts = sums[:, T - 1], []
    for t in range(T - 1, 0, -1):
        # best[i]: the first i samples stop after t, or from some cut on at t.
        gain = np.where(cuttable, best - sums[:, t - 1], -np.inf)
        highest = np.maximum.accumulate(gain)
        cuts.append(np.maximum.accumulate(np.where(gain == highest, np.arange(n + 1), 0)))
        best = sums[:, t - 1] + highest
    later, bounds = n, []
    for cut in reversed(cuts):
        later = int(cut[later])  # so many of the samples stop after this timestep
        bounds.append(_between(lead, later))
    return (*bounds, 0.0)


def _between(lead: Array, count: int) -> float:
    """Return a number above the first `count` of ascending leads, and below all others."""
    if count == len(lead):
        return float(np.inf)
    return float((lead[count - 1] + lead[count]) / 2) if count else 0.0


@dataclass(frozen=True, eq=False)
class LookaheadFamily(Family):
    """The rule at K values of patience.

    Parameters
    ----------
    rules : tuple of K Lookahead
    """

    rules: tuple[Lookahead, ...]

    @classmethod
    def of(cls, logits: Array, labels: Array, most: int, program: str) -> LookaheadFamily:
        right, lead = logits.argmax(axis=-1) == labels[:, None], leads(logits)
        tried = np.unique(patiences(len(labels), logits.shape[1], most))
        tried = tried[spread(len(tried), most)]
        found = [Lookahead(p, best_bounds(lead, right, p), program=program) for p in tried.tolist()]
        return cls("lookahead", "patience", tried, program, tuple(found))

    def points(self, logits: Array) -> OperatingPoints:
        step = np.stack([rule.exit_steps(logits) for rule in self.rules], axis=1)
        start = np.broadcast_to(np.arange(step.shape[1]), step.shape)
        return OperatingPoints(start, step, step.shape[1])

    def rule(self, index: int) -> ExitRule:
        return self.rules[index]
