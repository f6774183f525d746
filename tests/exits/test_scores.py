"""Entropy, margin and conformal against plain loops, by hand, and through JSON."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seenn_deploy import exits
from seenn_deploy.errors import ProgramError
from seenn_deploy.exits.base import ExitRule
from seenn_deploy.exits.conformal import Conformal
from seenn_deploy.exits.entropy import Entropy
from seenn_deploy.exits.margin import Margin
from tests.exits.test_rules import first_stop, logits
from tests.ir.test_program import program


def naive_probabilities(z: np.ndarray) -> list[float]:
    powers = [math.exp(float(x) - float(max(z))) for x in z]
    return [p / sum(powers) for p in powers]


def naive_entropy(z: np.ndarray, t: int, mean: bool) -> float:
    share = naive_probabilities(z / t if mean else z)
    return 1 + sum(p * math.log(p) for p in share if p > 0) / math.log(len(share))


@given(logits, st.floats(0, 1), st.booleans())
def test_entropy_stops_where_the_loop_does(z: np.ndarray, theta: float, mean: bool) -> None:
    scores = [naive_entropy(row.astype(float), t, mean) for t, row in enumerate(z, start=1)]
    if any(abs(score - theta) < 1e-9 for score in scores):
        return  # closer to theta than two ways of summing agree
    early = [t for t, score in enumerate(scores[:-1], start=1) if score > theta]
    assert first_stop(Entropy(theta, mean), z) == [*early, len(z)][0]


@given(logits, st.floats(0, 60, width=32), st.booleans())
def test_margin_stops_where_the_loop_does(z: np.ndarray, beta: float, one: bool) -> None:
    early = []
    for t in range(1, len(z)):
        *_, second, first = sorted(z[t - 1].astype(float))
        if first - second > beta:
            early.append(t)
    rule = Margin(beta) if one else Margin([beta] * len(z))
    assert first_stop(rule, z) == [*early, len(z)][0]


@given(logits, st.data())
def test_conformal_stops_at_the_first_set_of_one(z: np.ndarray, data: st.DataObject) -> None:
    quantiles = [data.draw(st.floats(0, 5)) for _ in z]
    sizes = []
    for row, q in zip(z.astype(float), quantiles, strict=True):
        scores = [-math.log(p) if p > 0 else math.inf for p in naive_probabilities(row)]
        if any(abs(score - q) < 1e-9 for score in scores):
            return
        sizes.append(sum(score <= q for score in scores))
    early = [t for t, size in enumerate(sizes[:-1], start=1) if size == 1]
    assert first_stop(Conformal(0.9, tuple(quantiles)), z) == [*early, len(z)][0]


def test_entropy_by_hand() -> None:
    even = np.zeros((2, 4))
    assert Entropy().score(even, np.array([1, 2])) == pytest.approx(0)
    assert first_stop(Entropy(0.0001), even) == 2
    half = np.log([[0.5, 0.5, 1e-300, 1e-300]] * 2)  # one bit of two
    assert first_stop(Entropy(0.499), half) == 1
    assert first_stop(Entropy(0.501), half) == 2


def test_margin_must_exceed_beta() -> None:
    z = np.array([[1.0, 3.0], [1.0, 3.5], [0.0, 9.0]])
    assert first_stop(Margin(2.0), z) == 2
    assert first_stop(Margin(1.9), z) == 1
    assert first_stop(Margin([None, 2.5, 0]), z) == 3  # type: ignore[arg-type]
    assert first_stop(Margin(0), np.ones((3, 4))) == 3


def test_conformal_by_hand() -> None:
    z = np.log([[0.6, 0.3, 0.1], [0.8, 0.15, 0.05], [0.9, 0.06, 0.04]])
    at = [-math.log(p) for p in (0.7, 0.5, 0.2)]
    assert first_stop(Conformal(0.9, (at[0], at[0], 0)), z) == 2  # empty at 1, one label at 2
    assert first_stop(Conformal(0.9, (at[1], at[0], 0)), z) == 1
    assert first_stop(Conformal(0.9, (at[2], at[2], 0)), z) == 2  # two labels at 1
    assert first_stop(Conformal(0.9, (math.inf,) * 3), z) == 3


def test_a_label_exactly_at_the_quantile_is_in_the_set() -> None:
    z = np.array([[0.0, -1000.0]] * 2)  # the best label's nonconformity is exactly 0
    assert first_stop(Conformal(0.9, (0, 0)), z) == 1


def test_a_single_class_is_certain() -> None:
    z = np.zeros((2, 1))
    for rule in (Entropy(0.5), Margin(5), Conformal(0.9, (0.1, 0.1))):
        assert rule.stops(z, np.array([1, 2])).all()


RULES = [
    Entropy(),
    Entropy(0.0, mean=True),
    Margin(),
    Margin(math.inf),
    Margin(np.float32(2)),
    Margin((1.5, math.inf, 0.0)),
    Margin([4]),  # type: ignore[arg-type]
    Conformal(1, (0.5, math.inf)),
    Conformal(0.9, [0, 1, 2], program="0123"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_rules_survive_json(rule: ExitRule) -> None:
    text = json.dumps(rule.to_dict(), allow_nan=False)
    read = exits.from_dict(json.loads(text))
    assert read == rule
    assert hash(read) == hash(rule)


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_logits_that_are_not_there_stop_nothing(rule: ExitRule) -> None:
    assert not rule.stops(np.full((1, 3), np.nan), np.array([1])).any()


@pytest.mark.parametrize(
    ("rule", "parameters", "words"),
    [
        ("entropy", {"theta": -0.1}, r"theta = -0.1 lies outside \[0, 1\]"),
        ("entropy", {"theta": math.nan}, "theta = nan lies outside"),
        ("margin", {"beta": -1}, r"beta = -1.0 lies outside \[0, inf\]"),
        ("margin", {"beta": math.nan}, "beta = nan"),
        ("margin", {"beta": [1, -2]}, r"beta\[t=2\] = -2.0 lies outside"),
        ("margin", {"beta": []}, "beta = .* holds no number"),
        ("margin", {"beta": "wide"}, "could not convert"),
        ("conformal", {"level": 0, "quantiles": [1]}, r"level = 0 lies outside \(0, 1\]"),
        ("conformal", {"level": 0.9, "quantiles": []}, "quantiles = .* holds no number"),
        ("conformal", {"level": 0.9, "quantiles": [1, -1]}, r"quantiles\[t=2\] = -1.0"),
        ("conformal", {"level": 0.9}, "conformal: .*quantiles"),
        ("conformal", {"level": 0.9, "quantiles": 3}, "conformal: "),
    ],
)
def test_parameters_out_of_range(rule: str, parameters: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words) as error:
        exits.from_dict({"rule": rule, **parameters})
    assert "\n" not in str(error.value)


def test_a_rule_stays_with_its_program() -> None:
    mine, other = program(), program(scale=2.0)
    assert len(mine.fingerprint) == 16
    assert mine.fingerprint != other.fingerprint
    assert mine.fingerprint == program(schedule="gated").fingerprint
    rule = Margin((1.0, 2.0, 3.0, 4.0), program=mine.fingerprint)
    assert mine.with_exit(rule).exit_rule is rule
    with pytest.raises(ProgramError) as error:
        other.with_exit(rule)
    assert mine.fingerprint in str(error.value)
    assert other.fingerprint in str(error.value)


def test_the_fingerprint_is_the_same_after_loading(tmp_path: Any) -> None:
    mine = program()
    mine.save(tmp_path / "p")
    assert type(mine).load(tmp_path / "p").fingerprint == mine.fingerprint


def test_a_rule_needs_a_number_for_every_timestep() -> None:
    with pytest.raises(ProgramError, match="numbers for 3 timesteps, the program runs 4"):
        program().with_exit(Margin((1.0, 2.0, 3.0)))
