"""The leak of Loihi's integer states."""

from __future__ import annotations

from typing import Any

import numpy as np


def kept(state: np.ndarray, share: Any) -> np.ndarray:
    """Return what a timestep leaves of a state, a share in 4096ths, rounded toward zero."""
    product = np.int64(state) * share
    return np.sign(product) * np.right_shift(np.abs(product), 12)
