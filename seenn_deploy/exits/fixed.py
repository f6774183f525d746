"""The baseline: every sample runs all T timesteps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from .base import ExitRule


@dataclass(frozen=True)
class Fixed(ExitRule):
    """Stop at t = T and never before."""

    known_before: ClassVar[bool] = True

    def score(self, z: NDArray[Any], t: NDArray[Any]) -> NDArray[np.float64]:
        return np.zeros(np.shape(z)[:-1])

    def threshold(self, t: NDArray[Any]) -> NDArray[np.float64]:
        return np.full(np.shape(t), np.inf)
