"""Is confidence tied to being right: accuracy by confidence, and the expected calibration error."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from seenn_deploy import metrics
from seenn_deploy._typing import Array
from seenn_deploy.exits.base import softmax

BINS = 10


@dataclass(frozen=True, eq=False)
class Reliability:
    """How often samples of each confidence are right at one timestep.

    Confidence is the largest softmax of the logits summed up to t, as ``confidence`` compares it.
    Bins are equally wide, (0, 1/B], (1/B, 2/B], .., (1 - 1/B, 1].

    Parameters
    ----------
    count : int64 (B,)
    confidence, accuracy : float64 (B,)
        Means over a bin's samples; NaN in empty bins.
    """

    count: Array
    confidence: Array
    accuracy: Array

    @classmethod
    def of(cls, confidence: Array, right: Array, bins: int = BINS) -> Reliability:
        """Sort N samples into bins, by confidence float (N,) and whether they are right (N,)."""
        place = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
        count = np.bincount(place, minlength=bins)
        with np.errstate(invalid="ignore"):  # 0 / 0 of empty bins
            means = [np.bincount(place, x, bins) / count for x in (confidence, right)]
        return cls(count, *means)

    @property
    def ece(self) -> float:
        """The mean over samples of |accuracy - confidence| of their bin (arXiv 1706.04599)."""
        full = self.count > 0
        apart = np.abs(self.accuracy - self.confidence)[full]
        return float(self.count[full] @ apart / self.count.sum())

    @property
    def mean_confidence(self) -> float:
        """The mean confidence of all samples."""
        full = self.count > 0
        return float(self.count[full] @ self.confidence[full] / self.count.sum())

    @property
    def mean_accuracy(self) -> float:
        """The share of all samples that are right."""
        full = self.count > 0
        return float(self.count[full] @ self.accuracy[full] / self.count.sum())

    def summary(self) -> dict[str, Any]:
        """Return the figures as JSON values; None for the means of empty bins."""
        means = {
            name: [None if np.isnan(x) else float(x) for x in getattr(self, name)]
            for name in ("confidence", "accuracy")
        }
        return {
            "expected_calibration_error": self.ece,
            "mean_confidence": self.mean_confidence,
            "bins": {"count": self.count.tolist(), **means},
        }


def by_step(logits: Array, labels: Array, bins: int = BINS) -> tuple[Reliability, ...]:
    """Return the reliability at t = 1..T.

    Parameters
    ----------
    logits : array (N, T, M)
    labels : int array (N,)
    bins : int
        Number of bins, B.

    Raises
    ------
    DataError
        For logits that are NaN, as a run's are after each sample's exit.
    """
    right = metrics.correct_by_step(logits, labels)
    confidence = softmax(logits).max(axis=-1)
    return tuple(Reliability.of(c, r, bins) for c, r in zip(confidence.T, right.T, strict=True))
