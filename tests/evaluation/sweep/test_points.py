from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from seenn_deploy.evaluation.sweep.sweep import front
from seenn_deploy.exits.family import fewest_digits
from seenn_deploy.exits.points import OperatingPoints, distinct_thresholds
from tests.evaluation.sweep import oracle

seeds = st.integers(0, 2**32 - 1)


@given(seeds, st.integers(1, 8), st.integers(1, 6), st.integers(1, 9), st.booleans())
def test_sums_of_scores_equal_a_loop(seed: int, n: int, T: int, k: int, ties: bool) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 4, (n, T)).astype(float) if ties else rng.random((n, T))
    own = rng.integers(-1, 5, k).astype(float) if ties else rng.random(k)
    thresholds = np.sort(own)
    values = rng.integers(-9, 9, (n, T))
    got = OperatingPoints.of_scores(scores[:, :-1], thresholds).sums(values)
    for theta, total in zip(thresholds, got, strict=True):
        exits = [oracle.first_over(row, theta) for row in scores]
        assert total == sum(values[i, t - 1] for i, t in enumerate(exits))


@given(seeds, st.integers(1, 8), st.integers(1, 6), st.integers(1, 9))
def test_sums_of_stretches_equal_a_loop(seed: int, n: int, steps: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    low, high = rng.integers(0, k + 1, (2, n, steps))
    values = rng.integers(-9, 9, (n, steps + 1))
    got = OperatingPoints.of_stretches(low, high, k).sums(values)
    for index in range(k):
        total = 0
        for i in range(n):
            inside = [t for t in range(steps) if low[i, t] <= index < high[i, t]]
            total += values[i, [*inside, steps][0]]
        assert got[index] == total


@given(seeds, st.integers(1, 12), st.booleans())
def test_distinct_thresholds_reach_every_exit(seed: int, n: int, ties: bool) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 4, (n, 2)).astype(float) if ties else rng.random((n, 2))
    found = distinct_thresholds(scores)
    assert (np.diff(found) > 0).all()
    every = [[oracle.first_over([*row, 0], theta) for row in scores] for theta in found]
    for theta in rng.uniform(0, 4, 20):
        assert [oracle.first_over([*row, 0], theta) for row in scores] in every


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=12))
def test_the_front_equals_all_pairs(points: list[tuple[int, int]]) -> None:
    cost, accuracy = np.array(points, float).T
    assert front(cost, accuracy).tolist() == oracle.on_front(points)


@given(st.floats(0, 1), st.floats(0, 1))
def test_fewest_digits_stay_in_the_stretch(a: float, b: float) -> None:
    low, high = min(a, b), max(a, b)
    found = fewest_digits(low, high)
    assert found == low or low <= found < high


def test_fewest_digits_by_hand() -> None:
    assert fewest_digits(0.97312, 0.97498) == 0.974
    assert fewest_digits(0.98, 1.5) == 1.0
    assert fewest_digits(0.4, 0.4) == 0.4
