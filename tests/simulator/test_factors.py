"""Products of factors, as their kernel makes them of currents that lie its own way."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seenn_deploy.ir.nodes import Product
from seenn_deploy.simulator.factors import Factors
from seenn_deploy.simulator.kernels import kernels
from seenn_deploy.simulator.kernels.vector_masks import LANES
from seenn_deploy.simulator.spikes import Plane, aligned


def products(
    subscripts: str, sizes: dict[str, int], rng: np.random.Generator, kind: type
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Run the kernel for two slots; return both factors, the products, and the pairs that met."""
    left, right, out = subscripts.replace("->", ",").split(",")
    shapes = [tuple(sizes[letter] for letter in letters) for letters in (left, right, out)]
    node = Product("product", shapes[2], subscripts, shapes[0], shapes[1])
    plane = Plane(node.shape)
    how = Factors.of(node, plane)
    factors = [
        rng.integers(-3, 4, (2, *shape)) * (rng.random((2, *shape)) < rng.choice([0.1, 0.9]))
        for shape in shapes[:2]
    ]
    bias = rng.integers(0, 2, len(how.place)) if rng.random() < 0.5 else np.zeros(0)
    arriving = np.concatenate([factor.reshape(2, -1) for factor in factors], 1)
    current = aligned((2, how.size), kind)
    current[:, how.place] = arriving - (bias if len(bias) else 0)
    laid = np.zeros(how.size * bool(len(bias)), kind)
    laid[how.place if len(bias) else slice(0)] = bias
    made = aligned((2, plane.pixels * plane.padded), kind)
    sums, met = aligned((-(-how.sizes[3] // LANES) * LANES,), kind), np.ones((2, 3), np.int64)
    kernels.multiply(
        np.arange(2), current, laid, how.sizes, how.width, how.made, how.in_rows, sums, made, met
    )
    assert not current.any()
    found = plane.from_grid(made.reshape(2, plane.pixels, plane.padded))
    return factors[0], factors[1], found, met


def assert_equal_to_einsum(
    subscripts: str, sizes: dict[str, int], rng: np.random.Generator, kind: type
) -> None:
    left, right, found, met = products(subscripts, sizes, rng, kind)
    for b in range(2):
        np.testing.assert_array_equal(found[b], np.einsum(subscripts, left[b], right[b]))
        ones = [np.einsum(subscripts, *(abs(f[b]) == 1 for f in (left, right)), dtype=int).sum()]
        both = np.einsum(subscripts, *(f[b] != 0 for f in (left, right)), dtype=int).sum()
        payloads = np.einsum(subscripts, *(abs(f[b]) > 1 for f in (left, right)), dtype=int).sum()
        assert met[b].tolist() == [*ones, both - ones[0] - payloads, payloads]


FORMS = ["hnk,hkm->hnm", "hnk,hmk->hnm", "hkn,hkm->hmn", "cn,n->cn", "nk,k->n", "ab,ab->ab"]


@given(
    st.sampled_from(FORMS),
    st.fixed_dictionaries({letter: st.integers(1, 40) for letter in "hnkmcab"}),
    st.integers(0, 2**32 - 1),
    st.sampled_from([np.float32, np.int32]),
)
@settings(deadline=None, max_examples=40)
def test_products_equal_a_sum_over_all_elements(subscripts, sizes, seed, kind) -> None:
    sizes["h"] = 1 + sizes["h"] % 3
    assert_equal_to_einsum(subscripts, sizes, np.random.default_rng(seed), kind)


@pytest.mark.parametrize("inner", [191, 192, 193, 400])
def test_long_rows_are_taken_in_stretches(inner: int) -> None:
    """A row number is one byte."""
    sizes = {"h": 2, "n": 3, "k": inner, "m": 80}
    assert_equal_to_einsum("hnk,hkm->hnm", sizes, np.random.default_rng(inner), np.float32)


@pytest.mark.nojit
def test_without_jit_products_are_the_same() -> None:
    sizes = {"h": 2, "n": 2, "k": 17, "m": 16}
    assert_equal_to_einsum("hnk,hkm->hnm", sizes, np.random.default_rng(0), np.float32)
