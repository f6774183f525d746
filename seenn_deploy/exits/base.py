"""What an exit rule is. Rules need numpy alone: the Lava bundle carries a copy of these files."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ExitRule(ABC):
    """Says stop when a score of the accumulated logits exceeds a threshold.

    At t = T every rule stops; whoever drives the timesteps sees to that.
    """

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

    def to_dict(self) -> dict[str, Any]:
        """The rule as JSON values; ``exits.from_dict`` reads it back."""
        return {"rule": type(self).__name__.lower(), **asdict(self)}


def softmax(z: NDArray[Any]) -> NDArray[np.float64]:
    """Softmax over the last axis in float64, safe against overflow."""
    z = np.asarray(z, np.float64)
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True), np.float64)


def finite(name: str, value: float, low: float, high: float, closed_low: bool = False) -> None:
    """Raise ValueError unless `value` lies in (low, high], or [low, high] with `closed_low`."""
    inside = (low <= value if closed_low else low < value) and value <= high
    if not inside:
        left = "[" if closed_low else "("
        raise ValueError(f"{name} = {value} lies outside {left}{low:g}, {high:g}]")
