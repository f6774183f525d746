"""SEENN-I: stop as soon as the network is confident (arXiv 2304.01230)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from .base import ExitRule, finite, softmax


@dataclass(frozen=True)
class Confidence(ExitRule):
    """Stop at the first t with ``max softmax(z[t]) > alpha``.

    Parameters
    ----------
    alpha : float in (0, 1]
        1 never stops early.
    mean : bool
        Use z[t] / t, the mean over steps. SEENN's own code uses the sum, the default here.
    """

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
