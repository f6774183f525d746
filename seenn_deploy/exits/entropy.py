"""DT-SNN: stop as soon as the output distribution is far from uniform (arXiv 2305.17346)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from .base import ExitRule, finite, log_softmax


@dataclass(frozen=True)
class Entropy(ExitRule):
    """Stop at the first t with ``1 - H(softmax z[t]) / ln M > theta``, H the entropy in nats.

    DT-SNN stops where the normalised entropy H / ln M falls below a threshold; theta is 1 minus
    that, so that a larger number means a later exit, as with the other rules.

    Parameters
    ----------
    theta : float in [0, 1]
        Certainty to exceed; 1 never stops early.
    mean : bool
        Whether to use z[t] / t, the mean over timesteps, as DT-SNN does. The sum is the default, as
        in the other rules.
    """

    certain: ClassVar[float] = 1.0
    parameter: ClassVar[str] = "theta"

    theta: float = 0.9
    mean: bool = False

    def __post_init__(self) -> None:
        finite("theta", self.theta, 0, 1, closed_low=True)

    def score(self, z: NDArray[Any], t: NDArray[Any]) -> NDArray[np.float64]:
        logits = z / np.asarray(t)[..., None] if self.mean else z
        log_p = log_softmax(logits)
        entropy = -(np.exp(log_p) * log_p).sum(axis=-1)
        classes = max(np.shape(z)[-1], 2)  # a single class is always certain: H = 0
        return np.asarray(1 - entropy / np.log(classes), np.float64)

    def threshold(self, t: NDArray[Any]) -> NDArray[np.float64]:
        return np.full(np.shape(t), self.theta)
