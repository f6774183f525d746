"""Rules that look back, Simes and fusion, against plain loops; coverage on synthetic data."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import seenn_deploy as sd
from seenn_deploy import exits
from seenn_deploy.exits.base import ExitRule
from seenn_deploy.exits.conformal import Conformal
from seenn_deploy.exits.fusion import STRENGTHS, Fusion, fitted_strength
from seenn_deploy.exits.integer import lower
from seenn_deploy.exits.simes import Simes, SimesFamily
from tests.evaluation.sweep import oracle
from tests.targets.lava import graphs

cases = st.tuples(st.integers(0, 2**32 - 1), st.integers(2, 12), st.integers(1, 5), st.booleans())


def split(case: tuple[int, int, int, bool]) -> tuple[np.ndarray, np.ndarray]:
    """Random logits (N, T, 3) and labels; small integers make ties."""
    seed, n, T, ties = case
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, n)
    steps = rng.integers(-2, 3, (n, T, 3)) if ties else rng.normal(size=(n, T, 3))
    steps = steps + (np.arange(3) == labels[:, None])[:, None]
    return np.cumsum(steps, axis=1).astype(np.float64), labels


def naive_simes(
    held: np.ndarray, labels: np.ndarray, z: np.ndarray, level: float
) -> list[set[int]]:
    """The labels left at each timestep of one sample, by Simes' test of sorted p-values."""
    n, T = held.shape[:2]
    K, left = max(T - 1, 1), []
    for t in range(1, len(z) + 1):
        labels_left = set()
        for label in range(z.shape[1]):
            p = []
            for u in range(t):
                own = oracle.nonconformity(z[u], label)
                others = [oracle.nonconformity(held[i, u], labels[i]) for i in range(n)]
                p.append((1 + sum(o >= own - 1e-9 for o in others)) / (n + 1))
            ordered = sorted(p + [1.0] * (K - t))
            if all(v > j * (1 - level) / K + 1e-9 for j, v in enumerate(ordered[:K], start=1)):
                labels_left.add(label)
        left.append(labels_left)
    return left


@settings(max_examples=60, deadline=None)
@given(cases, st.floats(0.05, 1))
def test_simes_is_simes_test_of_sorted_p_values(case: Any, level: float) -> None:
    logits, labels = split(case)
    held, z = logits[1:], logits[0]
    rule = Simes.calibrate(held, labels[1:], level)
    T = logits.shape[1]
    expected = naive_simes(held, labels[1:], z, level)[: max(T - 1, 1)]
    found = rule.label_sets(z, np.arange(1, T + 1))
    assert [set(np.flatnonzero(row)) for row in found[: len(expected)]] == expected
    answers = [int(np.argmax(row)) for row in z]
    early = [t for t in range(1, T) if expected[t - 1] == {answers[t - 1]}]
    assert rule.exit_steps(z[None])[0] == [*early, T][0]


@given(cases, st.floats(0.05, 1))
def test_a_set_of_simes_lies_within_bonferronis(case: Any, level: float) -> None:
    logits, labels = split(case)
    t = np.arange(1, logits.shape[1] + 1)
    inner = Simes.calibrate(logits, labels, level).label_sets(logits, t)
    outer = Conformal.calibrate(logits, labels, level).label_sets(logits, t)
    assert inner is not None and outer is not None and (outer | ~inner).all()
    assert (inner[:, 1:] <= inner[:, :-1]).all()  # what is ruled out stays so


@settings(max_examples=40, deadline=None)
@given(cases, st.sampled_from([2, 7, 1000]))
def test_a_family_of_simes_is_the_rule_at_each_level(case: Any, most: int) -> None:
    logits, labels = split(case)
    family = SimesFamily.of(logits, labels, most, "")
    assert len(family.threshold) <= max(most, 2) and (np.diff(family.threshold) > 0).all()
    fresh = split((case[0] ^ 1, *case[1:]))[0]
    for z in (logits, fresh):
        points = family.points(z)
        steps = np.arange(1.0, z.shape[1] + 1)
        sums = points.sums(steps)
        for k in range(len(family.threshold)):
            assert family.rule(k).exit_steps(z).sum() == pytest.approx(sums[k])


def test_simes_adds_up_what_bonferroni_forgets() -> None:
    """Two weak timesteps rule a label out together: T = 3, nine samples, level 0.6."""
    p = np.arange(1, 10) / 10  # of the true label, at every timestep
    held = np.log(np.stack([p, 1 - p], axis=1))[:, None].repeat(3, axis=1)
    labels = np.zeros(9, np.int64)
    # Both errors are 0.4 / 2: rank 8 of 10 for one timestep, p < 0.2; rank 6 for two, p < 0.4.
    z = np.log([[0.65, 0.35], [0.65, 0.35], [0.65, 0.35]])
    t = np.arange(1, 4)
    simes, conformal = (sd.calibrate(name, held, labels, 0.6) for name in ("simes", "conformal"))
    assert conformal.exit_steps(z[None])[0] == 3
    assert simes.exit_steps(z[None])[0] == 2
    assert simes.label_sets(z, t).tolist()[:2] == [[True, True], [True, False]]


@pytest.mark.parametrize("alike", [0.0, 0.5, 0.95])
@pytest.mark.parametrize("name", ["simes", "conformal"])
def test_the_true_label_stays_in_the_set(name: str, alike: float) -> None:
    """Coverage over exchangeable samples whose timesteps depend little or much on each other."""
    covered, wrong = [], []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        labels = rng.integers(0, 4, 600)
        common, own = rng.normal(size=(600, 1, 4)), rng.normal(size=(600, 5, 4))
        steps = np.sqrt(alike) * common + np.sqrt(1 - alike) * own
        logits = np.cumsum(steps + (np.arange(4) == labels[:, None])[:, None], axis=1)
        rule = sd.calibrate(name, logits[:300], labels[:300], 0.8)
        z, y = logits[300:], labels[300:]
        sets = rule.label_sets(z, np.arange(1, 6))
        assert sets is not None
        own_in = np.take_along_axis(sets, y[:, None, None], axis=-1)[:, :4, 0].all(axis=1)
        covered.append(own_in.mean())
        steps_taken = rule.exit_steps(z)
        guess = z[np.arange(len(z)), steps_taken - 1].argmax(axis=1)
        wrong.append(((steps_taken < 5) & (guess != y)).mean())
    assert np.mean(covered) >= 0.8 - 0.02  # a standard error is below 0.005
    assert np.mean(wrong) <= 0.2 + 0.02


def naive_fusion(z: np.ndarray, strength: float) -> list[float]:
    """The score after each timestep of one sample."""
    before = [0.0] * z.shape[1]
    votes, found = [], []
    for t, row in enumerate(z.tolist(), start=1):
        step = [a - b for a, b in zip(row, before, strict=True)]
        before = row
        powers = [math.exp(x - max(step)) for x in step]
        votes.append([p / sum(powers) for p in powers])
        means = [
            (strength * votes[0][c] + sum(v[c] for v in votes[1:])) / (strength + t - 1)
            for c in range(len(row))
        ]
        answer = row.index(max(row))
        m = means[answer]
        if m < max(means) - 1e-12:
            found.append(0.0)
            continue
        found.append(max(0.0, m - math.sqrt(max(0.0, m * (1 - m)) / (strength + t))))
    return found


@given(cases, st.sampled_from(STRENGTHS), st.floats(0, 1))
def test_fusion_is_a_beta_belief(case: Any, strength: float, bound: float) -> None:
    z = split((*case[:3], False))[0]  # without ties, of which two labels could be the answer
    rule = Fusion(bound, strength)
    t = np.arange(1, z.shape[1] + 1)
    expected = [naive_fusion(row, strength) for row in z]
    np.testing.assert_allclose(rule.score(z, t), expected, atol=1e-9)
    np.testing.assert_allclose(rule.beliefs(z).sum(axis=-1), 1)
    if not any(abs(s - bound) < 1e-9 for row in expected for s in row):
        firsts = [oracle.first_over(row, bound) for row in expected]
        assert rule.exit_steps(z).tolist() == firsts


def test_fusion_by_hand() -> None:
    """Two even votes after a sure one: the prior's strength decides how much it still counts."""
    sure, even = np.log([0.8, 0.2]), np.zeros(2)
    z = np.cumsum([sure, even, even], axis=0)
    assert Fusion(strength=1).beliefs(z)[:, 0] == pytest.approx([0.8, 0.65, 0.6])
    assert Fusion(strength=3).beliefs(z)[:, 0] == pytest.approx([0.8, 0.725, 0.68])
    assert Fusion(strength=1).score(z, np.array([1, 2, 3]))[0] == pytest.approx(
        0.8 - math.sqrt(0.16 / 2)
    )
    assert Fusion(1.0).exit_steps(z[None])[0] == 3  # 1 never stops early


def test_the_fitted_strength_is_large_where_the_first_timestep_knows_most() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 400)
    true = (np.arange(3) == labels[:, None]).astype(float)
    noise = rng.normal(size=(400, 3))
    first, later = 3 * true, np.stack([noise, -noise], axis=1) * 3
    early = np.cumsum(np.concatenate([first[:, None], later], axis=1), axis=1)
    late = np.cumsum(np.stack([noise, 3 * true, 3 * true], axis=1), axis=1)
    assert fitted_strength(early, labels) == STRENGTHS[-1]
    assert fitted_strength(late, labels) == STRENGTHS[0]
    rule = sd.calibrate("fusion", early, labels, 0.9).to_dict()
    assert rule["strength"] == STRENGTHS[-1]


RULES = [
    Fusion(),
    Fusion(0.3, 4.0, program="0123"),
    Simes(0.9, ((0.5, 0.2, 0.1), (0.7, 0.3, math.inf), (1.0, 0.5, 0.2), (1, 1, 1))),
]


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_rules_survive_json(rule: ExitRule) -> None:
    read = exits.from_dict(json.loads(json.dumps(rule.to_dict(), allow_nan=False)))
    assert read == rule and hash(read) == hash(rule)


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_logits_that_are_not_there_stop_nothing(rule: ExitRule) -> None:
    for classes in (1, 3):
        assert not rule.stops(np.full((1, 3, classes), np.nan), np.arange(1, 4)).any()


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_what_comes_later_changes_nothing(rule: ExitRule) -> None:
    z = split((3, 40, 4, False))[0]
    whole = rule.stops(z, np.arange(1, 5))
    for t in range(1, 5):
        cut = z.copy()
        cut[:, t:] = np.nan
        assert np.array_equal(rule.stops_after(cut, np.full(40, t)), whole[:, t - 1])
    mixed = np.arange(40) % 4 + 1
    assert np.array_equal(rule.stops_after(z, mixed), whole[np.arange(40), mixed - 1])


@pytest.mark.parametrize(
    ("rule", "parameters", "words"),
    [
        ("fusion", {"bound": 1.5}, r"bound = 1.5 lies outside \[0, 1\]"),
        ("fusion", {"strength": 0}, "strength = 0 lies outside"),
        ("simes", {"level": 0, "quantiles": [[1]]}, r"level = 0 lies outside \(0, 1\]"),
        ("simes", {"level": 0.9, "quantiles": []}, "as many numbers for one timestep"),
        ("simes", {"level": 0.9, "quantiles": [[1], [1, 2]]}, "as many numbers for one timestep"),
        ("simes", {"level": 0.9, "quantiles": [[1], [-1]]}, r"quantiles\[t=2\] = -1.0 lies"),
        ("simes", {"level": 0.9}, "simes: .*quantiles"),
    ],
)
def test_parameters_out_of_range(rule: str, parameters: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words) as error:
        exits.from_dict({"rule": rule, **parameters})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_integers_refuse_them_in_one_line(rule: ExitRule) -> None:
    with pytest.raises(ValueError, match=f"'{rule.name}' has no integer form"):
        lower(rule, 0.1, 4)


@pytest.mark.parametrize("name", ["fusion", "simes"])
@pytest.mark.parametrize("schedule", ["sequential", "speculative"])
def test_the_simulator_stops_where_the_rule_does(name: str, schedule: Any) -> None:
    program = sd.compile(graphs.small(4), schedule=schedule)
    x = graphs.images(program.graph, 30)
    full = sd.simulate(program, x, full_trace=True)
    labels = full.logits[:, -1].argmax(axis=-1)
    rule = sd.calibrate(name, full.logits, labels, 0.7, program)
    expected = rule.exit_steps(full.logits)
    assert len(set(expected.tolist())) > 1  # some early, some not
    run = sd.simulate(program.with_exit(rule), x)
    assert run.exit_step.tolist() == expected.tolist()
