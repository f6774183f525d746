"""Top-K cutoff: stop as soon as the best class leads by enough (arXiv 2301.09522)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from .base import ExitRule, per_step, top_two
from .integer import ByMargin, IntegerRule
from .points import smallest_threshold


@dataclass(frozen=True)
class Margin(ExitRule):
    """Stop at the first t at which the two largest values of z[t] differ by more than beta[t].

    Parameters
    ----------
    beta : float or sequence of T floats, at least 0
        Margin to exceed: one number for all timesteps, or one per timestep as ``calibrate`` finds
        them. Infinity (None in JSON) never stops there.
    """

    parameter: ClassVar[str] = "beta"

    beta: float | tuple[float, ...] = 5.0

    def __post_init__(self) -> None:
        one = np.ndim(self.beta) == 0
        values = per_step("beta", [self.beta] if one else self.beta)  # type: ignore[list-item, arg-type]
        object.__setattr__(self, "beta", values[0] if one else values)

    def score(self, z: NDArray[Any], t: NDArray[Any]) -> NDArray[np.float64]:
        first, second = top_two(z)
        return np.asarray(first - second)

    def threshold(self, t: NDArray[Any]) -> NDArray[np.float64]:
        if isinstance(self.beta, tuple):
            return np.asarray(np.array(self.beta)[np.asarray(t) - 1])
        return np.full(np.shape(t), self.beta, np.float64)

    @property
    def timesteps(self) -> int | None:
        return len(self.beta) if isinstance(self.beta, tuple) else None

    def integer(self, scale: float, T: int) -> IntegerRule | None:
        return ByMargin(tuple(self.threshold(np.arange(1, T + 1)).tolist()), scale)

    @classmethod
    def calibrate(
        cls, logits: NDArray[Any], labels: NDArray[Any], level: float, program: str = ""
    ) -> ExitRule:
        """Find the confidence cutoff of arXiv 2301.09522; arguments as in the base class.

        At every t on its own, beta[t] is the smallest margin for which a share of at least `level`
        of the samples whose margin exceeds it is right; infinity where there is none.
        """
        steps = range(logits.shape[1])
        margins = cls().score(logits, np.arange(len(steps)) + 1)
        right = logits.argmax(axis=-1) == labels[:, None]
        at = [slice(t, t + 1) for t in steps]
        beta = [smallest_threshold(margins[:, t], right[:, t], level) for t in at]
        return cls(tuple(np.inf if b is None else b for b in beta), program=program)
