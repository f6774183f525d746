"""Two linear maps that a traced module applies in a row, as one: equal to one after the other."""

from __future__ import annotations

import numpy as np
import pytest

from seenn_deploy.frontends.torch.maps import MapStore, constant_of, merged, pooled, scaled
from seenn_deploy.ir.maps import Affine, AvgPool2d, Conv2d, Dense, LinearMap
from tests import naive

RNG = np.random.default_rng(0)


def numbers(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape)


CONV = Conv2d(numbers(3, 2, 3, 2), (2, 1), (1, 2), bias=numbers(3))
GROUPED = Conv2d(numbers(4, 1, 2, 3), (1, 2), (0, 1), groups=2, bias=numbers(4))
DILATED = Conv2d(numbers(3, 2, 2, 3), (2, 1), (1, 2), dilation=(3, 2), bias=numbers(3))
PIXEL = Conv2d(numbers(5, 3, 1, 1), (1, 2), bias=numbers(5))
DENSE = Dense(numbers(4, 6), numbers(4))


@pytest.mark.parametrize(
    ("first", "second", "shape"),
    [
        (CONV, AvgPool2d((2, 3)), (2, 9, 11)),
        (GROUPED, AvgPool2d((3, 2)), (2, 7, 12)),
        (DILATED, AvgPool2d((2, 3)), (2, 11, 12)),
        (CONV, PIXEL, (2, 9, 11)),
        (DENSE, Dense(numbers(3, 4), numbers(3)), (6,)),
        (Dense(numbers(4, 6)), Dense(numbers(3, 4), numbers(3)), (6,)),
        (DENSE, Dense(numbers(3, 4)), (6,)),
        (CONV, Affine(numbers(3), numbers(3)), (2, 9, 11)),
        (DENSE, Affine(numbers(4), numbers(4)), (6,)),
    ],
)
def test_two_maps_as_one(first: LinearMap, second: LinearMap, shape: tuple[int, ...]) -> None:
    assert isinstance(first, Conv2d | Dense)
    if isinstance(second, AvgPool2d):
        assert isinstance(first, Conv2d)
        one: LinearMap = pooled(first, second)
    elif isinstance(second, Affine):
        one = scaled(first, second)
    else:
        one = merged(first, second)
    x = numbers(*shape)
    expected = naive.chain((first, second), x)
    np.testing.assert_allclose(naive.chain((one,), x), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "maps",
    [
        (CONV, Affine(numbers(3), numbers(3))),
        (Affine(numbers(2), numbers(2)), CONV),
        (AvgPool2d((3, 2)), CONV),
        (Affine(numbers(2), numbers(2)), AvgPool2d((3, 2)), CONV),
    ],
)
def test_what_a_chain_gives_for_zeros(maps: tuple[LinearMap, ...]) -> None:
    expected = naive.chain(maps, np.zeros((2, 9, 12)))
    found = np.broadcast_to(constant_of(maps, (2, 9, 12)), expected.shape)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("step", [CONV, DENSE, Affine(numbers(3), numbers(3))])
def test_a_map_without_its_constants_and_with_more_of_them(step: LinearMap) -> None:
    store, shape = MapStore(), {Conv2d: (2, 9, 11), Dense: (6,)}.get(type(step), (3, 2, 2))
    x = numbers(*shape)
    all_of_it, constant = (naive.chain((step,), v) for v in (x, np.zeros(shape)))
    bare = naive.chain((store.without_constants(step),), x)
    twice = naive.chain((store.rescaled_bias(step, 2.0),), x)
    np.testing.assert_allclose(bare, all_of_it - constant, atol=1e-12)
    np.testing.assert_allclose(twice, all_of_it + constant, atol=1e-12)
