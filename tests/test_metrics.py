from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from seenn_deploy import metrics
from seenn_deploy.errors import DataError
from tests import naive

correct = arrays.arrays(np.bool_, st.tuples(st.integers(1, 9), st.integers(1, 6)))


@given(correct)
def test_aet_equals_the_naive_oracle(right: np.ndarray) -> None:
    np.testing.assert_allclose(metrics.aet(right), naive.aet(right.tolist()), rtol=1e-12)


@given(correct)
def test_empirical_aet_equals_the_naive_oracle(right: np.ndarray) -> None:
    want = naive.empirical_aet(right.tolist())
    np.testing.assert_allclose(metrics.empirical_aet(right), want, rtol=1e-12)


def test_known_answers_of_the_design() -> None:
    right = np.array([[False, True, False, True]])
    assert metrics.empirical_aet(right) == 2
    assert metrics.aet(right) == 3


def test_never_right_takes_all_steps() -> None:
    right = np.zeros((3, 5), bool)
    assert metrics.aet(right) == metrics.empirical_aet(right) == 5


def test_accuracy_by_step() -> None:
    logits = np.array([[[1, 0], [0, 1]], [[0, 1], [0, 1]]], np.float32)
    labels = np.array([1, 1])
    np.testing.assert_array_equal(
        metrics.correct_by_step(logits, labels), [[False, True], [True, True]]
    )
    np.testing.assert_array_equal(metrics.accuracy_by_step(logits, labels), [0.5, 1])


def test_logits_behind_an_exit_are_no_predictions() -> None:
    logits = np.array([[[1.0, 0.0], [np.nan, np.nan]]])
    with pytest.raises(DataError, match="full_trace=True"):
        metrics.accuracy_by_step(logits, np.array([0]))
