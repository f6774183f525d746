"""What an exit rule is. Rules need numpy alone: the Lava bundle carries a copy of these files."""

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
    """Says stop when a score of the accumulated logits exceeds a threshold.

    At t = T every rule stops; whoever drives the timesteps sees to that.

    Parameters
    ----------
    program : str
        Fingerprint of the program that the rule was calibrated for, '' for any.
    """

    parameter: ClassVar[str] = ""
    """The one number that a sweep turns and a calibration finds; '' where there is none."""

    certain: ClassVar[float] = np.inf
    """A value of that number that no score exceeds: with it, nothing stops early."""

    unshown: ClassVar[tuple[str, ...]] = ()
    """Fields that nobody chose, such as checksums: tables leave them out."""

    known_before: ClassVar[bool] = False
    """Does the rule fix a sample's timesteps before the network starts?"""

    program: str = field(default="", kw_only=True)

    @property
    def name(self) -> str:
        """The rule's name, which is that of its file."""
        return type(self).__name__.lower()

    @abstractmethod
    def score(self, z: NDArray[Any], t: NDArray[Any]) -> NDArray[np.float64]:
        """Score of accumulated logits.

        Parameters
        ----------
        z : array (..., M)
            Sum of the readout over steps 1..t.
        t : int array (...)
            Timestep, from 1.

        Returns
        -------
        float64 array (...)
        """

    @abstractmethod
    def threshold(self, t: NDArray[Any]) -> NDArray[np.float64]:
        """What the score has to exceed at timestep t."""

    def stops(self, z: NDArray[Any], t: NDArray[Any]) -> NDArray[np.bool_]:
        """Where the rule says stop; shapes as in :meth:`score`."""
        t = np.asarray(t)
        return np.asarray(self.score(z, t) > self.threshold(t))

    def exit_steps(self, z: NDArray[Any]) -> NDArray[np.int64]:
        """Where N samples stop, from 1: int64 (N,) from accumulated logits (N, T, M)."""
        return first_stops(self.stops(z, np.arange(1, z.shape[1] + 1)))

    def steps(self, images: Sequence[NDArray[Any]]) -> NDArray[np.int64] | None:
        """Timesteps that each sample runs, where the rule knows before the network starts.

        Parameters
        ----------
        images : n float arrays (C, H, W)
            As the program takes them.

        Returns
        -------
        int64 array (n,), or None for a rule that finds out on the way
        """
        return None

    @property
    def timesteps(self) -> int | None:
        """How many timesteps the rule has numbers for, None for any."""
        return None

    def integer(self, scale: float, T: int) -> IntegerRule | None:
        """The rule on integer logits, None where it has no such form.

        Parameters
        ----------
        scale : float
            Real logits are the integer ones times this; above 0.
        T : int
            Timesteps at most.
        """
        return None

    @classmethod
    def calibrate(
        cls, logits: NDArray[Any], labels: NDArray[Any], level: float, program: str = ""
    ) -> ExitRule:
        """The rule with its `parameter` fitted to labelled samples.

        Here the smallest threshold at which, of the samples that then stop before T, the share of
        right ones is at least `level`; `certain` where there is none.

        Parameters
        ----------
        logits : array (N, T, M)
            Accumulated over steps 1..t.
        labels : int array (N,)
        level : float in (0, 1]
        program : str
            Fingerprint of the program that gave the logits.
        """
        right = logits.argmax(axis=-1) == labels[:, None]
        found = smallest_threshold(early_scores(cls, logits), right[:, :-1], level)
        numbers: dict[str, Any] = {cls.parameter: cls.certain if found is None else found}
        return cls(**numbers, program=program)

    @classmethod
    def family(
        cls, logits: NDArray[Any], labels: NDArray[Any], most: int, program: str = ""
    ) -> Family:
        """The rule at up to `most` values of its `parameter`, for a sweep.

        Here thresholds that the scores are compared with, where the score does not depend on
        `parameter`. Other arguments as of `calibrate`.
        """
        return Scored.of(cls, logits, most, program)

    def to_dict(self) -> dict[str, Any]:
        """The rule as JSON values; ``exits.from_dict`` reads it back. Infinity becomes None."""
        stored = {k: to_json(v) for k, v in asdict(self).items() if k != "program"}
        calibrated = {"program": self.program} if self.program else {}
        return {"rule": self.name, **stored, **calibrated}


def first_stops(stops: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The first timestep, from 1, of (N, T) stops of N samples; T where there is none."""
    at_T = np.arange(1, stops.shape[1] + 1) == stops.shape[1]
    return np.asarray((stops | at_T).argmax(axis=1) + 1, np.int64)


def rule_of(module: ModuleType) -> type[ExitRule]:
    """The rule in a module: the class that is named as its file, in CamelCase."""
    found: type[ExitRule] = getattr(module, module.__name__.rsplit(".", 1)[-1].title())
    return found


def make(kind: type[ExitRule], stored: dict[str, Any]) -> ExitRule:
    """A rule of a class from what ``to_dict`` gave; ValueError for a parameter out of range."""
    try:
        return kind(**{name: value for name, value in stored.items() if name != "rule"})
    except TypeError as error:
        raise ValueError(f"exit rule {stored['rule']}: {error}") from None


def softmax(z: NDArray[Any]) -> NDArray[np.float64]:
    """Softmax over the last axis in float64, safe against overflow."""
    z = np.asarray(z, np.float64)
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True), np.float64)


def log_softmax(z: NDArray[Any]) -> NDArray[np.float64]:
    """Logarithm of the softmax over the last axis in float64; finite where the logits are."""
    z = np.asarray(z, np.float64)
    below = z - z.max(axis=-1, keepdims=True)
    return np.asarray(below - np.log(np.exp(below).sum(axis=-1, keepdims=True)), np.float64)


def top_two(values: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Largest and second largest over the last axis; -infinity for a second that is not there."""
    values = np.asarray(values, np.float64)
    if values.shape[-1] == 1:
        return values[..., 0], np.full(values.shape[:-1], -np.inf)
    ordered = np.partition(values, -2, axis=-1)
    return ordered[..., -1], ordered[..., -2]


def finite(name: str, value: float, low: float, high: float, closed_low: bool = False) -> None:
    """Raise ValueError unless `value` lies in (low, high], or [low, high] with `closed_low`."""
    inside = (low <= value if closed_low else low < value) and value <= high
    if not inside:
        left = "[" if closed_low else "("
        raise ValueError(f"{name} = {value} lies outside {left}{low:g}, {high:g}]")


def per_step(name: str, values: Iterable[float | None]) -> tuple[float, ...]:
    """One number a timestep from what JSON gave, None standing for infinity.

    Raises
    ------
    ValueError
        When there is none, or one is negative or not a number.
    """
    found = tuple(np.inf if x is None else float(x) for x in values)
    if not found:
        raise ValueError(f"{name} = () holds no number; give one a timestep")
    for t, value in enumerate(found, start=1):
        label = name if len(found) == 1 else f"{name}[t={t}]"
        finite(label, value, 0, np.inf, closed_low=True)
    return found


def to_json(value: Any) -> Any:
    """A number or nested tuple of numbers as JSON values: lists, and None for infinity."""
    if isinstance(value, tuple):
        return [to_json(x) for x in value]
    return None if isinstance(value, float) and np.isinf(value) else value
