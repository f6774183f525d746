"""What exits mean: predictions, accuracy over timesteps and average earliest timesteps.

The average earliest timestep is that of SEENN (arXiv 2304.01230, section 3).

Examples
--------
>>> import numpy as np
>>> import seenn_deploy as sd
>>> right = np.array([[True, True], [False, True]])  # two samples at t = 1 and t = 2
>>> sd.metrics.aet(right)
1.5
"""

from __future__ import annotations

from typing import Any

import numpy as np

from seenn_deploy._typing import Array
from seenn_deploy.errors import DataError


def correct_by_step(logits: Array, labels: Array) -> Array:
    """Is the prediction from the accumulated logits right at t.

    Parameters
    ----------
    logits : array (N, T, M)
    labels : int array (N,)

    Returns
    -------
    bool array (N, T)

    Raises
    ------
    DataError
        For logits that are NaN, as a run's are after each sample's exit.
    """
    if np.isnan(logits).any():
        raise DataError(
            "logits are NaN, as a run's are after each sample's exit; simulate with full_trace=True"
        )
    return np.asarray(logits.argmax(axis=-1) == labels[:, None])


def accuracy_by_step(logits: Array, labels: Array) -> Array:
    """Share of right predictions at t = 1..T, float64 (T,); arguments as `correct_by_step`."""
    return np.asarray(correct_by_step(logits, labels).mean(axis=0))


def aet(correct: Array) -> float:
    """Average earliest timestep, from the numbers of right predictions at every t.

    ``AET = (C_1 + sum_t t (C_t - C_{t-1}) + T (N - C_T)) / N`` with C_t samples right at t.

    Parameters
    ----------
    correct : bool array (N, T)
        As `correct_by_step` gives it.
    """
    n, T = correct.shape
    right = correct.sum(axis=0).astype(np.int64)
    # C_t - C_{t-1}, negative where answers that were right turn wrong.
    gained = np.diff(right, prepend=0)
    return float((np.arange(1, T + 1) @ gained + T * (n - right[-1])) / n)


def empirical_aet(correct: Array) -> float:
    """Mean over samples of the first t with a right prediction, T where there is none.

    Parameters
    ----------
    correct : bool array (N, T)
    """
    first = np.where(correct.any(axis=1), correct.argmax(axis=1) + 1, correct.shape[1])
    return float(first.mean())


class Exited:
    """The common part of simulated runs and device runs: N samples, each stopped at its exit.

    Attributes
    ----------
    logits : float64 (N, T, M)
        Logits accumulated over timesteps 1..t.
    exit_step : int64 (N,)
        Timestep of each exit, counted from 1.
    labels : int64 (N,), optional
    """

    logits: Array
    exit_step: Array
    labels: Array | None

    @property
    def exit_logits(self) -> Array:
        """Logits at each sample's exit, (N, M)."""
        return np.take_along_axis(self.logits, (self.exit_step - 1)[:, None, None], 1)[:, 0]

    @property
    def prediction(self) -> Array:
        """Class with the largest logit at the exit, int64 (N,)."""
        return np.asarray(self.exit_logits.argmax(axis=-1))

    @property
    def correct(self) -> Array:
        """Whether each sample was right at its exit, bool (N,); this needs labels."""
        return np.asarray(self.prediction == self.needed_labels)

    @property
    def needed_labels(self) -> Array:
        """The labels.

        Raises
        ------
        DataError
            When there are none.
        """
        if self.labels is None:
            raise DataError(
                "the images have no labels; accuracy needs `y` in the .npz or class folders"
            )
        return self.labels

    def exit_summary(self) -> dict[str, Any]:
        """The figures of exits and predictions, as JSON values."""
        T = self.logits.shape[1]
        histogram = np.bincount(self.exit_step, minlength=T + 1)[1:]
        return {
            "samples": len(self.exit_step),
            "accuracy": None if self.labels is None else float(self.correct.mean()),
            "mean_exit_step": float(self.exit_step.mean()),
            "exit_histogram": {str(t + 1): int(n) for t, n in enumerate(histogram)},
        }
