"""A sweep the slow way: for each threshold, loop over samples and steps. Shares no code with it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def ordered(z: Sequence[float]) -> list[float]:
    return sorted((float(x) for x in z), reverse=True)


def nonconformity(z: Sequence[float], label: int) -> float:
    top = max(float(x) for x in z)
    return math.log(sum(math.exp(float(x) - top) for x in z)) + top - float(z[label])


def set_size(z: Sequence[float], quantile: float) -> int:
    return sum(nonconformity(z, label) <= quantile for label in range(len(z)))


def quantile(scores: list[float], level: float, T: int) -> float:
    """The finite-sample quantile at 1 - (1 - level) / (T - 1)."""
    n = len(scores)
    share = (1 - level) / max(T - 1, 1)
    for rank, score in enumerate(sorted(scores), start=1):
        if rank >= (n + 1) * (1 - share) - 1e-9:
            return score
    return math.inf


def first_over(scores: Sequence[float], threshold: float) -> int:
    """First t < T whose score exceeds the threshold, else T; one score for every t <= T."""
    for t, score in enumerate(scores[:-1], start=1):
        if score > threshold:
            return t
    return len(scores)


def means(exits: Sequence[int], tables: dict[str, np.ndarray]) -> dict[str, float]:
    """Mean of every (N, T) table at the samples' exits."""
    found = {}
    for name, table in tables.items():
        total = 0.0
        for n, t in enumerate(exits):
            total += float(table[n][t - 1])
        found[name] = total / len(exits)
    return found


def on_front(points: Sequence[tuple[float, float]]) -> list[bool]:
    """For (cost, accuracy) pairs: no other is as accurate for less or more accurate for as much."""
    return [
        not any((c < cost and a >= acc) or (c <= cost and a > acc) for c, a in points)
        for cost, acc in points
    ]
