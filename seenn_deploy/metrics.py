"""Accuracy over timesteps and average earliest timesteps (SEENN, arXiv 2304.01230, section 3)."""

from __future__ import annotations

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
