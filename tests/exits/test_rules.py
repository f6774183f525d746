from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from seenn_deploy import exits
from seenn_deploy.exits.base import ExitRule, softmax
from seenn_deploy.exits.confidence import Confidence
from seenn_deploy.exits.fixed import Fixed
from tests import naive


def first_stop(rule: ExitRule, z: np.ndarray) -> int:
    """Drive a rule over one sample's logits (T, M): at T it always stops."""
    stops = rule.stops(z, np.arange(1, len(z) + 1))
    stops[-1] = True
    return int(np.argmax(stops)) + 1


logits = arrays.arrays(
    np.float32,
    st.tuples(st.integers(1, 6), st.integers(2, 10)),
    elements=st.floats(-30, 30, width=32),
)


@given(logits, st.floats(0.01, 1), st.booleans())
def test_confidence_stops_where_the_naive_oracle_does(
    z: np.ndarray, alpha: float, mean: bool
) -> None:
    steps = np.arange(1, len(z) + 1)[:, None]
    top = softmax(z / steps if mean else z).max(axis=-1)
    if np.any(np.abs(top - alpha) < 1e-9):
        return  # closer to alpha than two ways of summing agree
    assert first_stop(Confidence(alpha, mean), z) == naive.exit_step(z, alpha, mean)


@given(logits)
def test_fixed_never_stops_early(z: np.ndarray) -> None:
    assert first_stop(Fixed(), z) == naive.exit_step(z) == len(z)


def test_confidence_by_hand() -> None:
    ln3 = math.log(3)
    z = np.array([[0, ln3], [0, 2 * ln3], [0, 3 * ln3]])  # confidence 3/4, 9/10, 27/28
    assert first_stop(Confidence(0.74), z) == 1
    assert first_stop(Confidence(0.76), z) == 2
    assert first_stop(Confidence(0.91), z) == 3
    assert first_stop(Confidence(0.76, mean=True), z) == 3  # the mean stays at 3/4


def test_exit_steps_of_many_samples() -> None:
    sure, unsure = [0, 9], [0, 1]
    z = np.array([[sure, sure, sure], [unsure, sure, unsure], [unsure, unsure, unsure]])
    found = Confidence(0.9).exit_steps(z)
    assert found.tolist() == [1, 2, 3] and found.dtype == np.int64


def test_confidence_must_exceed_alpha() -> None:
    even = np.zeros((2, 4))  # confidence exactly 1/4
    assert first_stop(Confidence(0.25), even) == 2
    assert first_stop(Confidence(0.2499), even) == 1


def test_alpha_1_never_stops_early() -> None:
    assert first_stop(Confidence(1.0), np.array([[900.0, 0], [900.0, 0], [900.0, 0]])) == 3


def test_large_logits_do_not_overflow() -> None:
    with np.errstate(over="raise", invalid="raise"):
        np.testing.assert_allclose(softmax(np.array([1e4, 0.0])), [1, 0], atol=1e-300)


def test_logits_that_are_not_there_stop_nothing() -> None:
    assert not Confidence(0.1).stops(np.full((2, 3), np.nan), np.array([1, 2])).any()


@pytest.mark.parametrize("alpha", [0, -0.1, 1.0001, math.nan, math.inf, -math.inf])
def test_alpha_outside_its_range(alpha: float) -> None:
    with pytest.raises(ValueError, match=r"alpha = .* lies outside \(0, 1\]"):
        Confidence(alpha)


@pytest.mark.parametrize("rule", [Fixed(), Confidence(), Confidence(0.3, mean=True)])
def test_rules_survive_json(rule: ExitRule) -> None:
    assert exits.from_dict(rule.to_dict()) == rule


@pytest.mark.parametrize(
    ("stored", "words"),
    [
        ({"rule": "hunch"}, "exit rule 'hunch' does not exist; there are"),
        ({"rule": "base"}, "does not exist"),
        ({"rule": "ExitRule"}, "does not exist"),
        ({}, "does not exist"),
        ({"rule": None}, "does not exist"),
        ({"rule": "confidence", "beta": 1}, "confidence: .*beta"),
        ({"rule": "confidence", "alpha": "high"}, "confidence"),
        ({"rule": "confidence", "alpha": 2}, "alpha = 2 lies outside"),
    ],
)
def test_rules_that_cannot_be_read(stored: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        exits.from_dict(stored)


def test_rules_are_found_by_file_name() -> None:
    assert {"confidence", "fixed"} <= set(exits.names())
    assert "base" not in exits.names()
    assert exits.Confidence is Confidence
    assert exits.Fixed is Fixed
    with pytest.raises(AttributeError, match="Hunch"):
        _ = exits.Hunch


def test_aet_of_the_design() -> None:
    """Known answer of section 3, checked on the oracle itself."""
    correct = [[False, True, False, True]]
    assert naive.empirical_aet(correct) == 2
    assert naive.aet(correct) == 3


def test_a_rule_in_words_leaves_out_what_nobody_chose() -> None:
    assert str(Confidence(0.5, program="0123456789abcdef")) == "confidence(alpha=0.5, mean=False)"
    assert (
        str(exits.from_dict({"rule": "margin", "beta": [0.25, None]})) == "margin(beta=(0.25, inf))"
    )
    assert str(Fixed()) == "fixed"
