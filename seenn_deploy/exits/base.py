"""The base class of exit rules.

Rules need numpy alone, because the Lava bundle carries a copy of these files.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from .family import Family, Scored, early_scores
from .points import smallest_threshold

if TYPE_CHECKING:
    from .integer import IntegerRule


@dataclass(frozen=True)
class ExitRule(ABC):
    """A rule that stops a sample when a score of its accumulated logits exceeds a threshold.

    Every sample stops at t = T; the time loop sees to that, not the rule.

    Parameters
    ----------
    program : str
        Fingerprint of the program that the rule was calibrated for; '' fits any program.
    """

    parameter: ClassVar[str] = ""
    """The one number that a sweep varies and a calibration finds, by name; '' if there is none."""

    certain: ClassVar[float] = np.inf
    """A value of that number that no score exceeds, so that no sample stops early."""

    unshown: ClassVar[tuple[str, ...]] = ()
    """Fields that nobody chose, such as checksums; tables leave them out."""

    known_before: ClassVar[bool] = False
    """Whether the rule fixes a sample's timesteps before the network starts."""

    known_after_first: ClassVar[bool] = False
    """Whether the rule fixes a sample's timesteps once the first one is through the network."""

    looks_back: ClassVar[bool] = False
    """Whether the score at t needs the timesteps before it; z is then (..., s, M) from t = 1 on."""

    program: str = field(default="", kw_only=True)

    @property
    def name(self) -> str:
        """The rule's name, which is that of its file."""
        return type(self).__name__.lower()

    def __str__(self) -> str:
        unshown = {"rule", "program", *self.unshown}
        shown = {k: _plain(v) for k, v in self.to_dict().items() if k not in unshown}
        numbers = ", ".join(f"{k}={v}" for k, v in shown.items())
        return f"{self.name}({numbers})" if numbers else self.name

    @abstractmethod
    def score(self, z: NDArray[Any], t: NDArray[Any]) -> NDArray[np.float64]:
        """Return the score of accumulated logits.

        Parameters
        ----------
        z : array (..., M)
            Sum of the readout over timesteps 1..t; of a rule that `looks_back` (..., s, M), which
            are timesteps 1..s of each sample.
        t : int array (...)
            Timestep, counted from 1; of a rule that `looks_back` 1..s along the last axis.

        Returns
        -------
        float64 array (...)
        """

    @abstractmethod
    def threshold(self, t: NDArray[Any]) -> NDArray[np.float64]:
        """Return the threshold that the score has to exceed at timestep t."""

    def stops(self, z: NDArray[Any], t: NDArray[Any]) -> NDArray[np.bool_]:
        """Tell where the rule says stop; shapes as in :meth:`score`."""
        t = np.asarray(t)
        return np.asarray(self.score(z, t) > self.threshold(t))

    def stops_after(self, z: NDArray[Any], t: NDArray[Any]) -> NDArray[np.bool_]:
        """Tell which samples stop at timestep t, by what they said until then.

        Parameters
        ----------
        z : array (N, T, M)
            Accumulated logits; what stands behind a sample's timestep is not looked at.
        t : int array (N,)
            Timestep that each sample has reached, from 1.
        """
        now = np.arange(len(t)), np.asarray(t) - 1
        if not self.looks_back:
            return self.stops(z[now], t)
        until = int(np.max(t, initial=0))
        return np.asarray(self.stops(z[:, :until], np.arange(1, until + 1))[now])

    def label_sets(self, z: NDArray[Any], t: NDArray[Any]) -> NDArray[np.bool_] | None:
        """Return which labels the rule still holds possible, bool (..., M); shapes as in `score`.

        None where the rule has no prediction sets.
        """
        return None

    def exit_steps(self, z: NDArray[Any]) -> NDArray[np.int64]:
        """Return the exits of N samples, int64 (N,) from 1, for accumulated logits (N, T, M)."""
        return first_stops(self.stops(z, np.arange(1, z.shape[1] + 1)))

    def steps(self, images: Sequence[NDArray[Any]]) -> NDArray[np.int64] | None:
        """Return the timesteps of each sample, if the rule knows them before the network starts.

        Parameters
        ----------
        images : n float arrays (C, H, W)
            Images, as the program takes them.

        Returns
        -------
        int64 array (n,), or None for a rule that decides on the way
        """
        return None

    @property
    def timesteps(self) -> int | None:
        """The number of timesteps that the rule has parameters for; None if it fits any number."""
        return None

    def integer(self, scale: float, T: int) -> IntegerRule | None:
        """Return the rule for integer logits; None where it has no such form.

        Parameters
        ----------
        scale : float
            Factor from integer logits to real ones, above 0.
        T : int
            Largest number of timesteps.
        """
        return None

    @classmethod
    def calibrate(
        cls, logits: NDArray[Any], labels: NDArray[Any], level: float, program: str = ""
    ) -> ExitRule:
        """Fit the rule's `parameter` to labelled samples.

        This base class takes the smallest threshold at which a share of at least `level` of the
        samples that stop before T is right, and `certain` where there is none.

        Parameters
        ----------
        logits : array (N, T, M)
            Logits accumulated over timesteps 1..t.
        labels : int array (N,)
        level : float in (0, 1]
        program : str
            Fingerprint of the program that computed the logits.
        """
        right = logits.argmax(axis=-1) == labels[:, None]
        # Without T, where samples stop whatever their score.
        found = smallest_threshold(early_scores(cls(), logits), right[:, :-1], level)
        numbers: dict[str, Any] = {cls.parameter: cls.certain if found is None else found}
        return cls(**numbers, program=program)

    @classmethod
    def family(
        cls, logits: NDArray[Any], labels: NDArray[Any], most: int, program: str = ""
    ) -> Family:
        """Return the rule at up to `most` values of its `parameter`, for a sweep.

        This base class assumes that `parameter` is the threshold, and that the score does not
        depend on it. The other arguments are those of `calibrate`.
        """
        return Scored.of(cls(), logits, most, program)

    def to_dict(self) -> dict[str, Any]:
        """Return the rule as JSON values for ``exits.from_dict``; infinity becomes None."""
        stored = {k: to_json(v) for k, v in asdict(self).items() if k != "program"}
        calibrated = {"program": self.program} if self.program else {}
        return {"rule": self.name, **stored, **calibrated}


def _plain(value: Any) -> str:
    """A rule's parameter: sequences with six digits, None is infinity."""
    if isinstance(value, list):
        return f"({', '.join('inf' if x is None else f'{x:.6g}' for x in value)})"
    return "inf" if value is None else str(value)


def first_stops(stops: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the first timestep, from 1, at which each of (N, T) stops is true; T without any."""
    at_T = np.arange(1, stops.shape[1] + 1) == stops.shape[1]
    return np.asarray((stops | at_T).argmax(axis=1) + 1, np.int64)


def rule_of(module: ModuleType) -> type[ExitRule]:
    """Return the rule in a module: the class whose name is the file's in CamelCase."""
    found: type[ExitRule] = getattr(module, module.__name__.rsplit(".", 1)[-1].title())
    return found


def make(kind: type[ExitRule], stored: dict[str, Any]) -> ExitRule:
    """Make a rule from what ``to_dict`` returned; ValueError for a parameter out of range."""
    try:
        return kind(**{name: value for name, value in stored.items() if name != "rule"})
    except TypeError as error:
        raise ValueError(f"exit rule {stored['rule']}: {error}") from None


def softmax(z: NDArray[Any]) -> NDArray[np.float64]:
    """Return the softmax over the last axis in float64, without overflow."""
    z = np.asarray(z, np.float64)
    e = np.exp(z - z.max(axis=-1, keepdims=True))  # at most exp(0), so nothing overflows
    return np.asarray(e / e.sum(axis=-1, keepdims=True), np.float64)


def log_softmax(z: NDArray[Any]) -> NDArray[np.float64]:
    """Return the logarithm of the softmax over the last axis; finite where the logits are."""
    z = np.asarray(z, np.float64)
    below = z - z.max(axis=-1, keepdims=True)
    return np.asarray(below - np.log(np.exp(below).sum(axis=-1, keepdims=True)), np.float64)


def top_two(values: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the largest and second largest of the last axis; -infinity without a second."""
    values = np.asarray(values, np.float64)
    if values.shape[-1] == 1:
        return values[..., 0], np.full(values.shape[:-1], -np.inf)
    ordered = np.partition(values, -2, axis=-1)  # cheaper than sorting all classes
    return ordered[..., -1], ordered[..., -2]


def finite(name: str, value: float, low: float, high: float, closed_low: bool = False) -> None:
    """Raise ValueError unless `value` lies in (low, high], or [low, high] with `closed_low`."""
    inside = (low <= value if closed_low else low < value) and value <= high
    if not inside:
        left = "[" if closed_low else "("
        raise ValueError(f"{name} = {value} lies outside {left}{low:g}, {high:g}]")


def per_step(name: str, values: Iterable[float | None]) -> tuple[float, ...]:
    """Read one number per timestep from JSON values, where None stands for infinity.

    Raises
    ------
    ValueError
        When there is none, or one is negative or not a number.
    """
    found = tuple(np.inf if x is None else float(x) for x in values)
    if not found:
        raise ValueError(f"{name} = () holds no number; give one per timestep")
    for t, value in enumerate(found, start=1):
        label = name if len(found) == 1 else f"{name}[t={t}]"
        finite(label, value, 0, np.inf, closed_low=True)
    return found


def to_json(value: Any) -> Any:
    """Return a number or nested tuple as JSON values: lists, and None for infinity."""
    if isinstance(value, tuple):
        return [to_json(x) for x in value]
    return None if isinstance(value, float) and np.isinf(value) else value
