"""SEENN-I: stop as soon as the network is confident (arXiv 2304.01230)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from .base import ExitRule, finite, softmax
from .integer import ByTable, IntegerRule


@dataclass(frozen=True)
class Confidence(ExitRule):
    """Stop at the first t with ``max softmax(z[t]) > alpha``.

    Parameters
    ----------
    alpha : float in (0, 1]
        Confidence to exceed; 1 never stops early.
    mean : bool
        Whether to use z[t] / t, the mean over timesteps. SEENN's own code uses the sum, which is
        the default.
    """

    certain: ClassVar[float] = 1.0
    parameter: ClassVar[str] = "alpha"

    alpha: float = 0.9
    mean: bool = False

    def __post_init__(self) -> None:
        finite("alpha", self.alpha, 0, 1)

    def score(self, z: NDArray[Any], t: NDArray[Any]) -> NDArray[np.float64]:
        logits = z / np.asarray(t)[..., None] if self.mean else z
        return np.asarray(softmax(logits).max(axis=-1))

    def threshold(self, t: NDArray[Any]) -> NDArray[np.float64]:
        return np.full(np.shape(t), self.alpha)

    def integer(self, scale: float, T: int) -> IntegerRule | None:
        scales = tuple(scale / t if self.mean else scale for t in range(1, T + 1))
        return ByTable.of(self.alpha, scales)
