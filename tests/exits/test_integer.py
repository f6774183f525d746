"""Exit rules in integers: equal to the float rules, except within the bound that they state."""

import math
from decimal import Context, Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seenn_deploy import exits
from seenn_deploy.exits import integer
from seenn_deploy.exits.confidence import Confidence
from seenn_deploy.exits.margin import Margin

T = 4
SCALES = st.floats(1e-4, 2.0)


def logits(seed: int, classes: int, scale: float) -> np.ndarray:
    """(200, T, classes): logits of every usual size, ties among them."""
    rng = np.random.default_rng(seed)
    size = np.exp(rng.uniform(0, 5, (200, 1, 1)))
    return np.rint(rng.normal(0, 1, (200, T, classes)) * size / scale / 10).astype(np.int64)


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 2**32 - 1), st.integers(1, 12), SCALES,
    st.floats(0.01, 1.0), st.booleans(),
)  # fmt: skip
def test_confidence(seed: int, classes: int, scale: float, alpha: float, mean: bool) -> None:
    z = logits(seed, classes, scale)
    rule = Confidence(alpha, mean=mean)
    lowered = integer.lower(rule, scale, T)
    t = np.broadcast_to(np.arange(1, T + 1), z.shape[:2])
    differs = lowered.stops(z, t) != rule.stops(z * scale, t)
    assert not (differs & ~lowered.near(z, t)).any()
    assert alpha > 0.999 or lowered.bound(classes) < 4e-4
    for step in range(1, T + 1):  # a single step at a time, as the exit controller asks
        alone = lowered.stops(z[:, step - 1], np.full(200, step))
        assert np.array_equal(alone, lowered.stops(z, t)[:, step - 1])


def test_the_bound_holds_where_logits_are_made_to_meet_it() -> None:
    alpha, scale = 0.9, 1e-4  # so fine that one integer step is far below the bound's size
    rule, lowered = Confidence(alpha), integer.lower(Confidence(alpha), 1e-4, T)
    rng = np.random.default_rng(0)
    below = rng.integers(20_000, 40_000, (2000, 9))
    others = np.log(np.exp(-scale * below).sum(axis=1))
    shift = np.rint((others - np.log(1 / alpha - 1)) / scale).astype(np.int64)
    z = np.concatenate([shift[:, None] + rng.integers(-1, 2, (2000, 1)), -below], axis=1)
    t = np.ones(len(z), np.int64)
    assert np.abs(lowered.gap(z, t)).max() < 2 * scale
    differs = lowered.stops(z, t) != rule.stops(z * scale, t)
    near = lowered.near(z, t)
    assert not (differs & ~near).any()
    assert 0 < near.sum() < 200, "the samples prove nothing"
    assert lowered.bound(10) < 3e-6


@pytest.mark.parametrize("mean", [False, True])
def test_logits_too_fine_for_a_table_are_looked_up_coarsely(mean: bool) -> None:
    scale, rule = 3e-7, Confidence(0.9, mean=mean)
    lowered = integer.lower(rule, scale, T)
    assert max(map(len, lowered.tables)) <= integer.LONGEST
    rng = np.random.default_rng(1)
    z = np.rint(rng.normal(size=(4000, T, 3)) / scale).astype(np.int64)
    z[..., 0] += round(2.2 / scale)
    t = np.broadcast_to(np.arange(1, T + 1), z.shape[:2])
    stops = lowered.stops(z, t)
    assert 0.02 < stops.mean() < 0.9
    differs = stops != rule.stops(z * scale, t)
    assert not (differs & ~lowered.near(z, t)).any()
    assert lowered.bound(3) < 5e-5


def test_a_coarse_look_up_rounds_to_the_nearest_entry() -> None:
    """Entries 64 integer steps apart: confidence 1/2 is exceeded from half of that on."""
    lowered = integer.lower(Confidence(0.5), 3e-7, T)
    z = np.array([[0, -31], [0, -32]])
    assert lowered.stops(z, np.array([1, 1])).tolist() == [False, True]


@pytest.mark.parametrize(("scale", "rounded"), [(1e-3, 0), (3e-7, 32)])
def test_the_bound_is_the_one_of_the_module(scale: float, rounded: int) -> None:
    """And half of the integer steps between two entries of the table."""
    share = 9 / 2**25 / (1 / 0.9 - 1)
    expected = 1e-12 + rounded * scale - math.log(1 - share)
    assert integer.lower(Confidence(0.9), scale, T).bound(10) == pytest.approx(expected, rel=1e-9)


def test_a_sum_of_exponentials_just_below_the_limit_stops() -> None:
    lowered = integer.lower(Confidence(0.75), 1.0, T)
    assert isinstance(lowered, integer.ByTable)
    assert lowered.limit - 1 < Fraction(2**24 * 4, 3) < lowered.limit
    always = integer.lower(Confidence(1e-30), 1.0, T)
    assert isinstance(always, integer.ByTable)
    assert always.limit == 2**62, "it is kept in 64 bits"


def test_a_margin_at_which_float64_rounds_is_near() -> None:
    rule, z, t = Margin(0.3), np.array([[5, 2]]), np.array([1])
    lowered = integer.lower(rule, 0.1, T)
    assert lowered.stops(z, t).all() and not rule.stops(z * 0.1, t).any()
    assert lowered.near(z, t).all()


def test_gap_is_how_much_the_best_logit_has_too_much() -> None:
    lowered = integer.lower(Confidence(0.8), 0.5, T)
    z = np.array([[7, 3, 1], [2, 2, 0]])
    gap = lowered.gap(z, np.array([1, 1]))
    for row, g in zip(z * 0.5, gap, strict=True):
        row[row.argmax()] -= g
        assert np.exp(row).max() / np.exp(row).sum() == pytest.approx(0.8)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(1, 5), SCALES, st.floats(0, 20))
def test_margin_is_exact(seed: int, classes: int, scale: float, beta: float) -> None:
    z = logits(seed, classes, scale)
    rule = Margin((beta, np.inf, 0.0, beta / 2))
    lowered = integer.lower(rule, scale, T)
    t = np.broadcast_to(np.arange(1, T + 1), z.shape[:2])
    stops = lowered.stops(z, t)
    for n, step in np.ndindex(20, T):
        first, *rest = sorted(z[n, step].tolist(), reverse=True)
        needed = float(rule.threshold(np.array(step + 1)))
        lead = Fraction(first - rest[0]) * Fraction(scale) if rest else np.inf
        assert stops[n, step] == (lead > needed)
    differs = stops != rule.stops(z * scale, t)
    assert not (differs & ~lowered.near(z, t)).any()


def test_tables_are_those_of_every_machine() -> None:
    """Where an exponential lies between two units, to the last bit of a float."""
    for k in range(3_000_000, 15_000_000, 150_000):
        scale = -math.log((k + 0.5) / 2**24)
        with localcontext(Context(prec=60)):
            exact = 2**24 * (-Decimal(scale)).exp()
        assert abs(exact - k) < 0.5000001 and abs(exact - k - 1) < 0.5000001
        assert integer.table(scale)[1] == (k if 2 * exact < 2 * k + 1 else k + 1)


def test_what_has_no_integer_form_is_refused() -> None:
    for rule in (exits.Entropy(0.5), exits.Conformal(0.9, (1.0,) * T)):
        with pytest.raises(ValueError, match="has no integer form; an integer program takes"):
            integer.lower(rule, 1.0, T)
    with pytest.raises(ValueError, match="needs a table of 17328680 exponentials"):
        integer.table(1e-6)
    with pytest.raises(ValueError, match="logit scale 0 lies outside"):
        integer.lower(Confidence(0.9), 0, T)
    assert "integer" not in exits.names()


def test_alpha_1_never_stops() -> None:
    lowered = integer.lower(Confidence(1.0), 0.1, T)
    z = np.array([[10_000, 0], [0, 0]])
    assert not lowered.stops(z, np.array([1, 1])).any()
    assert not lowered.near(z, np.array([1, 1])).any()
    assert not integer.lower(exits.Fixed(), 0.1, T).stops(z, np.array([1, 1])).any()
