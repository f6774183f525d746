"""Leaks of Loihi's integers."""

from __future__ import annotations

from typing import Any

import numpy as np


def kept(state: np.ndarray, share: Any) -> np.ndarray:
    """The share, in 4096ths, of a state that a timestep leaves, rounded toward zero."""
    product = np.int64(state) * share
    return np.sign(product) * np.right_shift(np.abs(product), 12)
