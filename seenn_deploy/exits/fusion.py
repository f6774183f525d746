"""Fusion: an early prediction is the prior, later timesteps are its data (BayesianSpikeFusion)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from .base import ExitRule, finite, softmax
from .family import Family, Scored, early_scores
from .points import smallest_threshold

STRENGTHS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)


@dataclass(frozen=True)
class Fusion(ExitRule):
    """Stop at the first t at which the answer's belief exceeds `bound`, one deviation deducted.

    Every timestep votes with q[u] = softmax(z[u] - z[u - 1]). The first vote is the prior, worth
    `strength` timesteps; the votes of timesteps 2..t are data. The belief in a label is then a Beta
    distribution with the mean and deviation

        m = (strength q[1] + q[2] + .. + q[t]) / (strength + t - 1)
        d = sqrt(m (1 - m) / (strength + t))

    and the score is m - d of the answer, the label with the largest z[t]. It is 0 where that is not
    the label of the largest m, or where it is negative.

    What is theirs and what is ours: BayesianSpikeFusion (Habara, Sato, Awano, Frontiers in
    Neuroscience 18, 2024, 10.3389/fnins.2024.1420119) fuses the firing rates of a classifier at an
    intermediate layer, as a prior, with the spikes of the last layer, as data. By their published
    code the prior of a label's rate is Beta(a, a (1 / E - 1)) with E the intermediate rate and a
    fitted number a per timestep; the answer is the label of the largest posterior mean, and no
    sample stops by itself. Theirs is the idea of a prior from an early prediction that later spikes
    outweigh, and its strength as a fitted number. Ours: the networks here have one classifier, so
    the early prediction is that of the first *timestep*; the vote of a timestep takes the place of
    a spike; the prior is Beta(a E, a (1 - E)), whose beliefs sum to 1; one strength serves all
    timesteps; and the stopping, by the posterior's lower end.

    Parameters
    ----------
    bound : float in [0, 1]
        Belief, less its deviation, to exceed; 1 never stops early.
    strength : float above 0
        Timesteps that the first one's vote is worth.
    """

    certain: ClassVar[float] = 1.0
    parameter: ClassVar[str] = "bound"
    looks_back: ClassVar[bool] = True

    bound: float = 0.5
    strength: float = 1.0

    def __post_init__(self) -> None:
        finite("bound", self.bound, 0, 1, closed_low=True)
        finite("strength", self.strength, 0, np.finfo(np.float64).max)

    def score(self, z: NDArray[Any], t: NDArray[Any]) -> NDArray[np.float64]:
        mean = self.beliefs(z)
        answer = np.expand_dims(np.argmax(z, axis=-1), -1)
        m = np.take_along_axis(mean, answer, axis=-1)[..., 0]
        deviation = np.sqrt(m * np.maximum(1 - m, 0) / (self.strength + np.asarray(t)))
        agree = m >= mean.max(axis=-1)
        return np.asarray(np.where(agree, np.maximum(m - deviation, 0), 0), np.float64)

    def beliefs(self, z: NDArray[Any]) -> NDArray[np.float64]:
        """Return the mean belief in every label after t = 1..s, (..., s, M), for z (..., s, M)."""
        z = np.asarray(z, np.float64)
        votes = softmax(np.diff(z, axis=-2, prepend=np.zeros_like(z[..., :1, :])))
        data = votes.cumsum(axis=-2)
        first = votes[..., :1, :]
        steps = np.arange(z.shape[-2])[:, None]
        return np.asarray((data + (self.strength - 1) * first) / (self.strength + steps))

    def threshold(self, t: NDArray[Any]) -> NDArray[np.float64]:
        return np.full(np.shape(t), self.bound)

    @classmethod
    def calibrate(
        cls, logits: NDArray[Any], labels: NDArray[Any], level: float, program: str = ""
    ) -> ExitRule:
        """Fit the strength, then the bound as the base class does.

        The strength is that of `STRENGTHS` which gives the true labels the largest sum of ln m over
        all samples and timesteps. Arguments as in the base class.
        """
        strength = fitted_strength(logits, labels)
        right = logits.argmax(axis=-1) == labels[:, None]
        scores = early_scores(cls(strength=strength), logits)
        found = smallest_threshold(scores, right[:, :-1], level)
        return cls(cls.certain if found is None else found, strength, program=program)

    @classmethod
    def family(
        cls, logits: NDArray[Any], labels: NDArray[Any], most: int, program: str = ""
    ) -> Family:
        return Scored.of(cls(strength=fitted_strength(logits, labels)), logits, most, program)


def fitted_strength(logits: NDArray[Any], labels: NDArray[Any]) -> float:
    """Return the strength of `STRENGTHS` under which the true labels are likeliest."""
    own = labels[:, None, None]
    sums = []
    for strength in STRENGTHS:
        belief = np.take_along_axis(Fusion(strength=strength).beliefs(logits), own, axis=-1)
        sums.append(np.log(np.maximum(belief, np.finfo(np.float64).tiny)).sum())
    return STRENGTHS[int(np.argmax(sums))]
