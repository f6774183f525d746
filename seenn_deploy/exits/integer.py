"""Exit rules in integer arithmetic, as an exit controller inside the network computes them.

The logits are integers z; ``z * scale`` are the logits in real units. A confidence needs no
division and no exponential in the loop: with r = sum over the others of exp(-(z_max - z_j) scale),

    max softmax > alpha   <=>   1 + r < 1 / alpha

and exp(-d scale) of every integer d comes out of a table of 2^-24 fixed point. An entry is off by
at most half a unit, the best class's own by nothing, so r is off by at most

    e = (M - 1) / 2^25                                          (M classes)

and the decision is the float rule's unless r lies within e of r* = 1 / alpha - 1. As raising the
best logit by g divides r by exp(g), that is a *gap* ``ln(r* / r)`` within ``-ln(1 - e / r*)``:
``gap`` and ``bound`` say both, in real logit units. Logits so fine that the table would exceed 2^20
entries are looked up without their lowest bits, which widens the bound by half of what they hold.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from decimal import Context, Decimal, localcontext
from fractions import Fraction
from math import ceil, floor, inf, log, log1p, log2
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from .base import ExitRule, first_stops, top_two

BITS = 24  # of the fixed-point fraction: a sum over 1,000 classes then fits 34 bits
LONGEST = 2**20  # entries of a table; a finer scale would need more
UNSURE = 1e-6  # of a unit: floats put exp(-d scale) of a table within 1e-7 of where it lies
LARGEST = 2**62  # more than any sum of a table or difference of logits, and safe in int64
Integers = NDArray[np.int64]


class IntegerRule(ABC):
    """An exit rule for integer logits; its arrays are those of ``ExitRule``."""

    looks_back: ClassVar[bool] = False

    @abstractmethod
    def stops(self, z: NDArray[np.integer], t: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Tell where the rule says stop, for z int (..., M) and t int (...) from 1."""

    def exit_steps(self, z: NDArray[np.integer]) -> Integers:
        """Return the exits of N samples, int64 (N,) from 1, for accumulated logits (N, T, M)."""
        return first_stops(self.stops(z, np.broadcast_to(np.arange(z.shape[1]) + 1, z.shape[:2])))

    @abstractmethod
    def gap(self, z: NDArray[np.integer], t: NDArray[np.integer]) -> NDArray[np.float64]:
        """Return how far, in real logit units, the best logit is above what a stop needs, (...)."""

    @abstractmethod
    def bound(self, classes: int) -> float:
        """Return the gap, in real logit units, within which the float rule may decide otherwise."""

    def near(self, z: NDArray[np.integer], t: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Tell where the float rule may decide otherwise, (...)."""
        return np.asarray(np.abs(self.gap(z, t)) <= self.bound(np.shape(z)[-1]))


def lower(rule: ExitRule, scale: float, T: int) -> IntegerRule:
    """Lower an exit rule to integer arithmetic.

    Parameters
    ----------
    rule : ExitRule
    scale : float
        Factor from integer logits to real ones, above 0.
    T : int
        Largest number of timesteps.

    Raises
    ------
    ValueError
        When the rule has no integer form, or the scale is not a positive number.
    """
    if not 0 < scale < inf:
        raise ValueError(f"logit scale {scale} lies outside (0, inf)")
    found = Never() if rule.known_before else rule.integer(scale, T)
    if found is None:
        raise ValueError(
            f"exit rule {rule.name!r} has no integer form; an integer program takes one that has, "
            "such as confidence, margin, fixed or policy"
        )
    return found


def _shift(scale: float) -> int:
    """Return how many low bits of a difference to drop, so that a table keeps its limit."""
    return max(0, ceil(log2(_entries(scale) / LONGEST)))


def _entries(scale: float) -> int:
    return floor((BITS + 1) * log(2) / scale) + 1


def table(scale: float) -> Integers:
    """Tabulate ``rint(2^24 exp(-d scale))`` for d = 0, 1, .. as long as it is not 0.

    Raises
    ------
    ValueError
        When the table would have more than 2^20 entries.
    """
    length = _entries(scale)
    if length > LONGEST:
        raise ValueError(
            f"logit scale {scale:g} needs a table of {length} exponentials, the limit is {LONGEST}"
        )
    values = 2.0**BITS * np.exp(-scale * np.arange(length))
    units: Integers = np.rint(values).astype(np.int64)
    # The last bits of a float's exponential are other ones on every machine. Where they would tell
    # between two units, decimals do.
    with localcontext(Context(prec=40)):
        for d in np.flatnonzero(np.abs(values - np.floor(values) - 0.5) < UNSURE).tolist():
            units[d] = int((2**BITS * (-Decimal(scale) * d).exp()).to_integral_value())
    return units


@dataclass(frozen=True)
class Never(IntegerRule):
    """The rule of samples whose timesteps are known before: none stops earlier."""

    def stops(self, z: NDArray[np.integer], t: NDArray[np.integer]) -> NDArray[np.bool_]:
        return np.zeros(np.shape(z)[:-1], np.bool_)

    def gap(self, z: NDArray[np.integer], t: NDArray[np.integer]) -> NDArray[np.float64]:
        return np.full(np.shape(z)[:-1], -inf)

    def bound(self, classes: int) -> float:
        return 0.0


@dataclass(frozen=True, eq=False)
class ByTable(IntegerRule):
    """Confidence, decided by a sum: the exponentials of all classes stay below 1 / alpha.

    Parameters
    ----------
    alpha : float in (0, 1]
    scales : tuple of T floats
        Scale of the logits at each timestep: all equal, or divided by t for the mean.
    tables : tuple of int64 arrays
        One table per distinct scale, in the ascending order of the scales.
    shift : int
        Differences are rounded to multiples of ``2^shift`` before they are looked up.
    """

    alpha: float
    scales: tuple[float, ...]
    tables: tuple[Integers, ...]
    shift: int = 0

    @classmethod
    def of(cls, alpha: float, scales: tuple[float, ...]) -> ByTable:
        """Make the rule with the tables that the scales need."""
        shift = _shift(min(scales))
        tables = tuple(table(s * 2**shift) for s in sorted(set(scales)))
        return cls(alpha, scales, tables, shift)

    @property
    def limit(self) -> int:
        """The smallest sum, in units of 2^-24, that is not confident enough."""
        # As a fraction, because 2^24 / alpha in floats may round to the wrong side.
        exact: int = ceil(2**BITS / Fraction(self.alpha))
        return min(exact, LARGEST)

    def stops(self, z: NDArray[np.integer], t: NDArray[np.integer]) -> NDArray[np.bool_]:
        z = np.asarray(z, np.int64)
        at = np.broadcast_to(t, z.shape[:-1])
        stops = np.zeros(z.shape[:-1], np.bool_)
        # Half a unit is added before the shift, which makes it round to the nearest.
        below = (z.max(axis=-1, keepdims=True) - z + (1 << self.shift >> 1)) >> self.shift
        distinct = sorted(set(self.scales))
        for step in np.unique(at):
            found = self.tables[distinct.index(self.scales[step - 1])]
            there = at == step
            stops[there] = _look_up(found, below[there]).sum(axis=-1) < self.limit
        return stops

    def gap(self, z: NDArray[np.integer], t: NDArray[np.integer]) -> NDArray[np.float64]:
        z = np.asarray(z, np.int64)
        scale = np.array(self.scales)[np.broadcast_to(t, z.shape[:-1]) - 1]
        below = np.sort(z.max(axis=-1, keepdims=True) - z, axis=-1)[..., 1:]
        with np.errstate(divide="ignore", invalid="ignore"):  # of a single class, or alpha = 1
            others = np.log(np.exp(-scale[..., None] * below).sum(axis=-1))
            needed = log(1 / self.alpha - 1) if self.alpha < 1 else -inf
            return np.asarray(needed - others)

    def bound(self, classes: int) -> float:
        needed = 1 / self.alpha - 1
        if not needed:
            return 0.0  # neither ever stops
        share = (classes - 1) / 2 ** (BITS + 1) / needed
        looked_up = (1 << self.shift >> 1) * max(self.scales)  # differences rounded by the shift
        rounding = 1e-12 + looked_up  # 1e-12: the float rule's own exponentials and sums
        return rounding - log1p(-share) if share < 1 else inf


def _look_up(found: Integers, below: Integers) -> Integers:
    inside = below < len(found)  # beyond the table an exponential rounds to 0
    return np.where(inside, found[np.where(inside, below, 0)], 0)


@dataclass(frozen=True)
class ByMargin(IntegerRule):
    """Margin: the two best classes differ by more than beta[t], which is compared exactly.

    Parameters
    ----------
    beta : tuple of T floats, infinity where nothing stops
    scale : float
    """

    beta: tuple[float, ...]
    scale: float

    @property
    def limits(self) -> Integers:
        """The largest integer difference that does not stop, per timestep."""
        scale = Fraction(self.scale)  # exact, so that a margin of just beta does not stop
        found = [None if b == inf else floor(Fraction(b) / scale) for b in self.beta]
        return np.array([LARGEST if n is None else min(n, LARGEST - 1) for n in found])

    def stops(self, z: NDArray[np.integer], t: NDArray[np.integer]) -> NDArray[np.bool_]:
        return np.asarray(_lead(z) > self.limits[np.asarray(t) - 1])

    def gap(self, z: NDArray[np.integer], t: NDArray[np.integer]) -> NDArray[np.float64]:
        first, second = top_two(z)
        with np.errstate(invalid="ignore"):  # a single class leads by infinity
            lead = (first - second) * self.scale
            return np.asarray(lead - np.array(self.beta)[np.asarray(t) - 1])

    def bound(self, classes: int) -> float:
        """Return what float64 can lose in the differences that the float rule takes."""
        finite = [abs(b) for b in self.beta if b != inf]
        return 1e-12 * (1 + max(finite, default=0.0))


def _lead(z: NDArray[np.integer]) -> Integers:
    z = np.asarray(z, np.int64)
    if z.shape[-1] == 1:
        return np.full(z.shape[:-1], LARGEST)
    ordered = np.partition(z, -2, axis=-1)
    return np.asarray(ordered[..., -1] - ordered[..., -2])


__all__ = ["BITS", "IntegerRule", "lower", "table"]
