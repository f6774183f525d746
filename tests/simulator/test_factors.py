"""Products of factors, as their kernel makes them of currents that lie its own way."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seenn_deploy.ir.nodes import Product
from seenn_deploy.simulator.factors import EachFactors, Factors, SmallFactors
from seenn_deploy.simulator.kernels import kernels
from seenn_deploy.simulator.kernels.vector_dense import WIDE, multiplies_bytes
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


def small_products(
    subscripts: str, sizes: dict[str, int], shape: tuple[int, ...], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Do what `products` does with the kernels for bytes or bits; the node sends `shape`."""
    letters = subscripts.replace("->", ",").split(",")
    left, right, _ = (tuple(sizes[letter] for letter in some) for some in letters)
    node, plane = Product("product", shape, subscripts, left, right), Plane(shape)
    most = [int(rng.choice([1, 127])) for _ in range(2)]
    of_spikes = max(most) == 1 or not multiplies_bytes()
    how = SmallFactors.of(node, plane, of_spikes)
    assert how is not None
    if of_spikes:
        most = [1, 1]
    factors = [
        rng.integers(1, high + 1, (2, *some)) * (rng.random((2, *some)) < rng.choice([0.1, 0.9]))
        for some, high in zip((left, right), most, strict=True)
    ]
    current, size = np.zeros((2, how.size), np.uint8), plane.pixels * plane.padded
    current[:, how.place] = np.concatenate([factor.reshape(2, -1) for factor in factors], 1)
    tall, long, wide = (-(-n // LANES) * LANES for n in how.sizes[1:])
    made, met = np.zeros(2 * size + WIDE, np.int32), np.ones((2, 3), np.int64)
    multiply = kernels.multiply_bytes
    scratch = aligned((tall * long,), np.uint8), aligned((long * WIDE,), np.int8)
    if of_spikes:
        multiply, words = kernels.multiply_bits, -(-long // kernels.BITS)
        scratch = aligned((words * tall,), np.int64), aligned((words * wide,), np.int64)
    multiply(
        np.arange(2),
        current,
        how.sizes,
        how.by_inner,
        how.made,
        how.step,
        *scratch,
        made,
        size,
        met,
    )
    assert not current.any()
    assert not made[2 * size :].any()
    found = plane.from_grid(made[: 2 * size].reshape(2, plane.pixels, plane.padded))
    return factors[0], factors[1], found, met


def assert_equal_to_einsum(
    subscripts: str, sizes: dict[str, int], rng: np.random.Generator, kind: type
) -> None:
    assert_products(subscripts, *products(subscripts, sizes, rng, kind))


def assert_products(
    subscripts: str, left: np.ndarray, right: np.ndarray, found: np.ndarray, met: np.ndarray
) -> None:
    for b in range(2):
        expected = np.einsum(subscripts, left[b], right[b])
        np.testing.assert_array_equal(found[b].reshape(expected.shape), expected)
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


@pytest.mark.parametrize("kind", [np.float32, np.int32])
@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.nojit
def test_products_of_elements_equal_those_of_numpy(kind, with_bias) -> None:
    rng, shape = np.random.default_rng(0), (19, 3, 2)
    node, plane = Product("product", shape, "abc,abc->abc", shape, shape), Plane(shape)
    how = EachFactors.of(node, plane)
    assert how is not None
    left, right = rng.integers(-2, 3, (2, 2, *shape))
    bias = rng.integers(0, 2, len(how.place)) * with_bias
    current, laid = aligned((2, how.size), kind), np.zeros(how.size * with_bias, kind)
    arriving = np.concatenate([left.reshape(2, -1), right.reshape(2, -1)], 1)
    current[:, how.place] = arriving - bias
    laid[how.place if with_bias else slice(0)] = bias[: len(bias) * with_bias]
    made, met = aligned((2, how.size // 2), kind), np.ones((2, 3), np.int64)
    kernels.multiply_each(np.arange(2), current, laid, made, met)
    assert not current.any()
    found = plane.from_grid(made.reshape(2, plane.pixels, plane.padded))
    assert_products("abc,abc->abc", left, right, found, met)


@pytest.mark.parametrize(
    ("subscripts", "left", "right", "size"),
    [("cn,n->cn", (5, 4), (4,), 20), ("nk,km->nm", (2, 2), (2, 2), 4), ("a,b->ab", (2,), (1,), 2)],
)
def test_elements_that_several_meet_are_no_products_of_elements(
    subscripts, left, right, size
) -> None:
    node = Product("product", (size,), subscripts, left, right)
    assert EachFactors.of(node, Plane((size,))) is None


@pytest.mark.parametrize("inner", [191, 192, 193, 400])
def test_long_rows_are_taken_in_stretches(inner: int) -> None:
    """A row number is one byte."""
    sizes = {"h": 2, "n": 3, "k": inner, "m": 80}
    assert_equal_to_einsum("hnk,hkm->hnm", sizes, np.random.default_rng(inner), np.float32)


@given(
    st.sampled_from(["hdn,hen->hde", "hdn,hde->hen", "hnd,hmd->hnm", "hnk,hkm->hnm"]),
    st.fixed_dictionaries({letter: st.integers(16, 90) for letter in "hnkmde"}),
    st.integers(0, 2**32 - 1),
)
@settings(deadline=None, max_examples=30)
def test_products_of_bytes_equal_a_sum_over_all_elements(subscripts, sizes, seed) -> None:
    sizes["h"] = 1 + sizes["h"] % 3
    assert_bytes(subscripts, sizes, seed)


def assert_bytes(subscripts: str, sizes: dict[str, int], seed: int) -> None:
    """Send channels by head side by side, the last axis as pixels."""
    heads, channels, pixels = (sizes[letter] for letter in subscripts.split("->")[1])
    sizes["h"] = heads
    shape, rng = (heads * channels, 1, pixels), np.random.default_rng(seed)
    assert_products(subscripts, *small_products(subscripts, sizes, shape, rng))


@pytest.mark.nojit
@pytest.mark.parametrize("subscripts", ["hdn,hen->hde", "hdn,hde->hen"])
def test_without_jit_products_of_bytes_are_the_same(subscripts) -> None:
    assert_bytes(subscripts, {"h": 1, "d": 16, "e": 17, "n": 18}, 0)


@pytest.mark.nojit
def test_without_jit_products_are_the_same() -> None:
    sizes = {"h": 2, "n": 2, "k": 17, "m": 16}
    assert_equal_to_einsum("hnk,hkm->hnm", sizes, np.random.default_rng(0), np.float32)
