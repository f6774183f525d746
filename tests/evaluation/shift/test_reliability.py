from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seenn_deploy.errors import DataError
from seenn_deploy.evaluation.shift.reliability import Reliability, by_step
from tests import naive_shift

samples = st.lists(st.tuples(st.floats(0.01, 1), st.booleans()), min_size=1, max_size=40)


@given(samples, st.integers(1, 20))
def test_the_error_is_the_loops(drawn: list[tuple[float, bool]], bins: int) -> None:
    confidence, right = [c for c, _ in drawn], [r for _, r in drawn]
    if any(abs(c * bins - round(c * bins)) < 1e-9 for c in confidence):
        return  # at a border between two bins, within rounding
    found = Reliability.of(np.array(confidence), np.array(right), bins)
    assert found.ece == pytest.approx(naive_shift.calibration_error(confidence, right, bins))
    assert found.mean_confidence == pytest.approx(np.mean(confidence))
    assert found.mean_accuracy == pytest.approx(np.mean(right))
    assert found.count.sum() == len(drawn)


def test_by_hand() -> None:
    """Half of the sure ones are right, all of the unsure ones: 0.4 of 4 and 0.4 of 2."""
    confidence = np.array([0.9, 0.9, 0.9, 0.9, 0.6, 0.6])
    right = np.array([True, True, False, False, True, True])
    found = Reliability.of(confidence, right, 4)
    assert found.count.tolist() == [0, 0, 2, 4]
    assert found.accuracy[2:].tolist() == [1, 0.5]
    assert found.ece == pytest.approx(0.4)
    said = found.summary()
    assert said["bins"]["accuracy"] == [None, None, 1.0, 0.5]
    assert Reliability.of(np.ones(3), np.ones(3, bool)).ece == 0


def test_every_timestep_has_its_own() -> None:
    z = np.log([[[0.8, 0.2], [0.3, 0.7]], [[0.6, 0.4], [0.9, 0.1]]])
    found = by_step(z, np.array([0, 0]), bins=10)
    assert [r.mean_accuracy for r in found] == [1.0, 0.5]
    assert [r.mean_confidence for r in found] == pytest.approx([0.7, 0.8])
    z[0, 1] = np.nan
    with pytest.raises(DataError, match="full_trace"):
        by_step(z, np.array([0, 0]))
