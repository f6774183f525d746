from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seenn_deploy.errors import DataError
from seenn_deploy.evaluation.calibrate import calibrate
from tests.evaluation.sweep import oracle
from tests.ir.test_program import program

cases = st.tuples(st.integers(0, 2**32 - 1), st.integers(1, 25), st.integers(1, 5), st.booleans())
levels = st.floats(0.05, 1)


def split(case: tuple[int, int, int, bool]) -> tuple[np.ndarray, np.ndarray]:
    """Random logits (N, T, 3) and labels; small integers make ties."""
    seed, n, T, ties = case
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, n)
    steps = rng.integers(-2, 3, (n, T, 3)) if ties else rng.normal(size=(n, T, 3))
    steps = steps + (np.arange(3) == labels[:, None])[:, None]
    return np.cumsum(steps, axis=1).astype(np.float32), labels


def enough(right: list[bool], level: float) -> bool:
    return bool(right) and sum(right) >= level * len(right) - 1e-9


@given(cases, levels)
def test_margin_is_the_smallest_that_does(case: Any, level: float) -> None:
    logits, labels = split(case)
    beta = calibrate("margin", logits, labels, level).to_dict()["beta"]
    for t, found in enumerate(beta):
        gaps = [ordered[0] - ordered[1] for ordered in map(oracle.ordered, logits[:, t])]
        right = [int(z.argmax()) == y for z, y in zip(logits[:, t], labels, strict=True)]
        below = np.nextafter(min(gaps), -math.inf)
        tried = sorted({max(below, 0.0), *gaps})
        works = [
            b for b in tried
            if enough([r for g, r in zip(gaps, right, strict=True) if g > b], level)
        ]  # fmt: skip
        assert found == (works[0] if works else None)


@pytest.mark.parametrize(("name", "parameter"), [("confidence", "alpha"), ("entropy", "theta")])
@given(case=cases, level=levels)
def test_scores_are_the_smallest_that_do(
    name: str, parameter: str, case: Any, level: float
) -> None:
    logits, labels = split(case)
    rule = calibrate(name, logits, labels, level)
    T = logits.shape[1]
    scores = rule.score(logits, np.arange(1, T + 1))

    def works(threshold: float) -> bool:
        exits = [oracle.first_over(row, threshold) for row in scores]
        early = [int(logits[n, t - 1].argmax()) == labels[n] for n, t in enumerate(exits) if t < T]
        return enough(early, level)

    before = sorted({float(s) for s in scores[:, :-1].ravel()})
    tried = [max(0.0, np.nextafter(before[0], -math.inf)), *before] if before else []
    good = [theta for theta in tried if theta >= 0 and works(theta)]
    assert rule.to_dict()[parameter] == (max(good[0], 0.0) if good else 1.0)


@given(cases, levels)
def test_conformal_quantiles(case: Any, level: float) -> None:
    logits, labels = split(case)
    found = calibrate("conformal", logits, labels, level).to_dict()["quantiles"]
    for t, q in enumerate(found):
        scores = [oracle.nonconformity(z, y) for z, y in zip(logits[:, t], labels, strict=True)]
        expected = oracle.quantile(scores, level, logits.shape[1])
        assert (math.inf if q is None else q) == pytest.approx(expected, abs=1e-12)


def test_conformal_by_hand() -> None:
    """Nine samples, T = 2: level 0.8 is the 8th smallest, 0.95 none of them."""
    p = np.arange(1, 10) / 10  # of the true label
    z = np.log(np.stack([p, 1 - p], axis=1))[:, None].repeat(2, axis=1)
    labels = np.zeros(9, np.int64)
    rule = calibrate("conformal", z, labels, 0.8)
    assert rule.to_dict()["quantiles"] == pytest.approx([-math.log(0.2)] * 2)
    assert calibrate("conformal", z, labels, 0.95).to_dict()["quantiles"] == [None, None]


def test_a_level_that_float64_makes_a_little_more() -> None:
    """0.55 of 100 is 55: the 55th smallest of 99, and enough where 55 of 100 are right."""
    assert 0.55 * 100 > 55
    p = np.arange(1, 100) / 100
    z = np.log(np.stack([p, 1 - p], axis=1))[:, None].repeat(2, axis=1)
    rule = calibrate("conformal", z, np.zeros(99, np.int64), 0.55)
    assert rule.to_dict()["quantiles"] == pytest.approx([-math.log(0.45)] * 2)
    alike, labels = np.tile([1.0, 0.0], (100, 2, 1)), (np.arange(100) >= 55).astype(np.int64)
    beta = calibrate("margin", alike, labels, 0.55).to_dict()["beta"]
    assert beta == [np.nextafter(1, 0)] * 2
    assert calibrate("margin", alike, labels, 0.551).to_dict()["beta"] == [None, None]


def test_conformal_holds_its_level() -> None:
    """Early and wrong at most 1 - level, over many splits of exchangeable samples."""
    wrong = []
    for seed in range(60):
        logits, labels = split((seed, 400, 4, False))
        rule = calibrate("conformal", logits[:200], labels[:200], 0.8)
        exits = rule.exit_steps(logits[200:])
        guess = logits[200:][np.arange(200), exits - 1].argmax(axis=1)
        wrong.append(((exits < 4) & (guess != labels[200:])).mean())
    assert np.mean(wrong) <= 0.2


@pytest.mark.parametrize("name", ["confidence", "entropy", "margin", "conformal"])
def test_the_rule_carries_its_program(name: str) -> None:
    logits, labels = split((0, 20, 4, False))
    mine = program()
    rule = calibrate(name, logits, labels, 0.5, mine)
    assert rule.program == mine.fingerprint
    assert mine.with_exit(rule).exit_rule == rule


LOGITS, LABELS = split((0, 6, 4, False))
CUT = np.where(np.arange(4)[:, None] > 1, np.nan, LOGITS)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("hunch", LOGITS, LABELS, 0.9), "rule 'hunch' cannot be calibrated; there are"),
        (("fixed", LOGITS, LABELS, 0.9), "rule 'fixed' cannot be calibrated"),
        (("margin", LOGITS, LABELS, 0), r"level = 0 lies outside \(0, 1\]"),
        (("margin", LOGITS, LABELS, math.nan), "level = nan lies outside"),
        (("margin", LOGITS, None, 0.9), "the images have no labels"),
        (("margin", LOGITS[:0], LABELS[:0], 0.9), "the split holds no samples"),
        (("margin", LOGITS, LABELS[:3], 0.9), r"logits \(6, 4, 3\) and labels \(3,\)"),
        (("margin", LOGITS, LABELS + 3, 0.9), r"labels 3\.\.5 for 3 classes"),
        (("margin", LOGITS, LABELS - 3, 0.9), "labels -3"),
        (("margin", CUT, LABELS, 0.9), "full_trace=True"),
        (("margin", LOGITS[:, :2], LABELS, 0.9, program()), "logits of 2 timesteps and 3 classes"),
        (("margin", LOGITS[..., :2], LABELS % 2, 0.9, program()), "and 2 classes; the program"),
    ],
)
def test_splits_that_cannot_be_used(arguments: tuple[Any, ...], words: str) -> None:
    with pytest.raises(DataError, match=words) as error:
        calibrate(*arguments)
    assert "\n" not in str(error.value)
