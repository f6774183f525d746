"""Chains of linear maps, and matrices of synapses: what the passes and frontends ask of them."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seenn_deploy import ir
from seenn_deploy.ir.maps.affine import composed
from seenn_deploy.ir.maps.base import weighted

C = 3


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(-4, 4), st.integers(-4, 4)), max_size=3), st.booleans())
def test_scales_in_a_row_are_one(drawn: list[tuple[int, int]], alike: bool) -> None:
    """Applied one after the other to small whole numbers, so that nothing is rounded."""
    steps = np.zeros(C) if alike else np.arange(C)
    maps = [ir.Affine(a + steps, np.full(C, float(b))) for a, b in drawn]
    x, y = np.arange(-1.0, C - 1), np.arange(-1.0, C - 1)
    for step in maps:
        y = step.scale * y + step.shift
    whole = composed(maps)
    assert (whole is None) == (not maps)
    assert composed([*maps, ir.AvgPool2d((2, 2))]) is None
    if whole is None:
        return
    np.testing.assert_array_equal(whole.scale * x + whole.shift, y)
    factor = whole.factor
    assert (factor is not None) == (not whole.shift.any() and len(set(whole.scale)) == 1)
    assert factor is None or (y == factor * x).all()


def test_the_first_synapses_of_a_chain() -> None:
    pool, dense = ir.AvgPool2d((1, 1)), ir.Dense(np.ones((2, 3)))
    assert weighted((pool, dense, dense)) == (1, dense)
    assert weighted((pool,)) is None and pool.factor is None and dense.factor is None


@pytest.mark.parametrize("kind", ["dense", "pooled", "conv", "identity", "sparse"])
def test_a_matrix_gives_the_currents(kind: str) -> None:
    rng, shape = np.random.default_rng(7), (2, 4, 4)
    weight = rng.integers(-3, 4, (3, 2, 3, 3)).astype(np.float32)
    conv = ir.Conv2d(weight, padding=(1, 1), stride=(2, 1))
    synapses = {
        "dense": ir.Dense(rng.integers(-3, 4, (5, 32)).astype(np.float32)),
        "pooled": ir.PooledDense(rng.integers(-3, 4, (5, 8)).astype(np.float32), (2, 2)),
        "conv": conv,
        "identity": ir.Identity(np.asarray(2, np.float32)),
        "sparse": ir.Sparse.listing(conv, shape),
    }[kind]
    matrix = synapses.matrix(shape)
    assert matrix.shape == (prod(synapses.out_shape(shape)), prod(shape))
    x = rng.integers(0, 3, (2, *shape)).astype(np.float64)
    found = (x.reshape(2, -1) @ matrix.T.astype(np.float64)).reshape(2, *synapses.out_shape(shape))
    np.testing.assert_array_equal(found, synapses.currents(x))
    if kind == "conv":
        np.testing.assert_array_equal(found[0], naive_conv(conv, x[0]))


def naive_conv(conv: ir.Conv2d, x: np.ndarray) -> np.ndarray:
    """One sum per output, straight from the definition."""
    wide = np.pad(x, ((0, 0), (1, 1), (1, 1)))
    out = np.zeros(conv.out_shape(x.shape))
    for o, i, j in np.ndindex(out.shape):
        out[o, i, j] = (wide[:, 2 * i : 2 * i + 3, j : j + 3] * conv.weight[o]).sum()
    return out
