"""A dense layer behind a pool tells the same of itself as its synapses one by one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seenn_deploy.errors import ModelError
from seenn_deploy.ir.maps import PooledDense
from tests import naive

sizes = st.integers(1, 3)


@given(st.tuples(sizes, sizes, sizes, sizes, sizes), st.integers(0, 2**32 - 1))
def test_it_equals_its_synapses(drawn: tuple[int, ...], seed: int) -> None:
    channels, rows, columns, k_h, k_w = drawn
    rng = np.random.default_rng(seed)
    weight = rng.integers(-2, 3, (4, channels * rows * columns)).astype(np.float64)
    pooled, shape = PooledDense(weight, (k_h, k_w)), (channels, rows * k_h, columns * k_w)
    source, target, value = naive.synapses(pooled, shape, (4,))
    x = rng.integers(0, 3, (2, *shape)).astype(np.float64)
    sums = [np.bincount(target, value * frame.ravel()[source], 4) for frame in x]
    np.testing.assert_array_equal(pooled.currents(x), sums)
    neurons = int(np.prod(shape))
    np.testing.assert_array_equal(
        pooled.fan_out(shape, effective=True).ravel(),
        np.bincount(source[value != 0], None, neurons),
    )
    np.testing.assert_array_equal(pooled.fan_out(shape).ravel(), np.bincount(source, None, neurons))
    np.testing.assert_array_equal(
        pooled.summed(np.abs(weight), shape), np.bincount(target, np.abs(value), 4)
    )
    np.testing.assert_array_equal(pooled.spread(shape).currents(x), sums)
    by_channel = rng.integers(1, 4, (channels, 1, 1)).astype(np.float64)
    np.testing.assert_array_equal(
        pooled.scaled_inputs(by_channel, shape).currents(x), pooled.currents(x * by_channel)
    )
    assert sorted(zip(*pooled.connections(shape), strict=True)) == sorted(
        zip(source, target, value, strict=True)
    )


def test_windows_that_do_not_fit_are_refused() -> None:
    pooled = PooledDense(np.ones((2, 4)), (2, 2))
    with pytest.raises(ModelError, match="do not cover an image"):
        pooled.out_shape((1, 5, 4))
    with pytest.raises(ModelError, match="over 4 pooled neurons cannot take"):
        pooled.out_shape((2, 4, 4))
    with pytest.raises(ModelError, match="are no matrix"):
        PooledDense(np.ones(4), (2, 2)).check()
    with pytest.raises(ModelError, match="at least 1"):
        PooledDense(np.ones((2, 4)), (0, 2)).check()
