"""Every way to compute a layer gives what the naive synapse walk gives, at any density."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seenn_deploy.ir.maps import Conv2d, Dense, Identity, PooledDense, Sparse
from seenn_deploy.ir.maps.base import Synapses
from seenn_deploy.simulator.kernels import kernels
from seenn_deploy.simulator.kernels.vector_dense import GROUP, WIDE, add_all
from seenn_deploy.simulator.kernels.vector_masks import LANES
from seenn_deploy.simulator.spikes import Events, Plane, Scratch, aligned
from seenn_deploy.simulator.synapses import (
    PART_WORDS,
    Gathering,
    Multiplying,
    Placing,
    accumulator,
)
from tests import naive


@st.composite
def convolutions(draw: st.DrawFn) -> tuple:
    pair = st.tuples(st.integers(1, 3), st.integers(1, 3))
    kernel, stride, dilation = draw(pair), draw(pair), draw(pair)
    padding = draw(st.tuples(st.integers(0, 2), st.integers(0, 2)))
    groups = draw(st.sampled_from([1, 1, 1, 2, 5]))
    c_group, out_group = draw(st.integers(1, 20)), draw(st.integers(1, 70))
    c_in = groups * c_group
    least = [
        max(1, d * (k - 1) + 1 - 2 * p) for d, k, p in zip(dilation, kernel, padding, strict=True)
    ]
    shape = (c_in, *(draw(st.integers(n, n + 7)) for n in least))
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    weight = rng.integers(-64, 65, (groups * out_group, c_group, *kernel))
    conv = Conv2d(weight, stride, padding, dilation, groups)
    return conv, shape, rng


def events_of(frames: np.ndarray, border: tuple[int, int], graded: bool, kind: type) -> Events:
    """Events of (slots, C, H, W) frames in the kernels' layout."""
    events = Events.empty(len(frames), Plane(frames.shape[1:], border), graded, kind)
    events.put(np.arange(len(frames)), frames)
    return events


def currents(synapses: Synapses, frames: np.ndarray, kind: type, graded: bool) -> np.ndarray:
    """Currents (slots, *shape_out) that the kernels add to currents of 1, in a type of numbers."""
    border = synapses.padding if isinstance(synapses, Conv2d) else (0, 1)
    events = events_of(frames, border, graded, kind)
    post = Plane(synapses.out_shape(frames.shape[1:]))
    current = aligned((len(frames), post.pixels, post.padded), kind)
    current[:] = 1
    scratch = Scratch.empty(len(frames) * post.pixels, PART_WORDS * LANES, kind)
    accumulate = accumulator(synapses, events.plane, post)
    if graded and isinstance(accumulate, Gathering) and accumulate.weight.dtype == np.float32:
        accumulate = Multiplying(accumulate) if accumulate.width == WIDE else accumulate
    accumulate(np.arange(len(frames)), events, current, scratch)
    return post.from_grid(current)


def naive_currents(synapses: Synapses, frame: np.ndarray) -> np.ndarray:
    shape_out = synapses.out_shape(frame.shape)
    current = np.ones(np.prod(shape_out))
    source, target, weight = naive.synapses(synapses, frame.shape, shape_out)
    np.add.at(current, target, weight * frame.reshape(-1)[source])
    return current.reshape(shape_out)


def random_frames(
    rng: np.random.Generator, shape: tuple[int, ...], density: float, graded: bool
) -> np.ndarray:
    frames = (rng.random((2, *shape)) < density).astype(np.float32)
    return frames * rng.integers(-3, 4, frames.shape) if graded else frames


def test_kernels_say_what_they_inline() -> None:
    """A change of a vector file must change kernels.py, which numba's cache goes by."""
    sources = sorted(Path(kernels.__file__).parent.glob("vector*.py"))
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:12]
    assert digest == kernels.INLINED, f'set INLINED = "{digest}" in kernels.py'


@given(
    convolutions(),
    st.sampled_from([0.0, 0.05, 0.5, 1.0]),
    st.booleans(),
    st.sampled_from([np.int8, np.int16, np.float32]),
)
@settings(deadline=None, max_examples=60)
def test_a_convolution_equals_the_synapse_walk(drawn, density, graded, weights) -> None:
    """Weights are whole numbers, so that sums are exact in every type."""
    conv, shape, rng = drawn
    frames = random_frames(rng, shape, density, graded)
    kind = np.float32 if weights == np.float32 else np.int32
    found = currents(conv.with_weight(conv.weight.astype(weights)), frames, kind, graded)
    for frame, sums in zip(frames, found, strict=True):
        np.testing.assert_array_equal(sums, naive_currents(conv, frame))


@pytest.mark.parametrize("graded", [False, True])
@pytest.mark.parametrize("synapses", ["dense", "pooled", "window", "identity", "sparse"])
def test_other_synapses_equal_the_synapse_walk(synapses: str, graded: bool) -> None:
    rng = np.random.default_rng(0)
    shape = (37, 6, 4)
    kind = {
        "dense": Dense(rng.integers(-9, 10, (21, 37 * 24)).astype(np.float32)),
        "pooled": PooledDense(rng.integers(-9, 10, (21, 37)).astype(np.float32), (6, 4)),
        "window": PooledDense(rng.integers(-9, 10, (21, 37 * 6)).astype(np.float32), (2, 2)),
        "identity": Identity(np.array(3, np.float32)),
        "sparse": Sparse.listing(
            Conv2d(rng.integers(-9, 10, (4, 37, 2, 2)).astype(np.float32)), shape
        ),
    }[synapses]
    frames = random_frames(rng, shape, 0.4, graded)
    found = currents(kind, frames, np.float32, graded)
    for frame, sums in zip(frames, found, strict=True):
        np.testing.assert_array_equal(sums, naive_currents(kind, frame))


def full_frames(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Three slots of which the middle one is nearly empty, and the others lack a few values."""
    frames = rng.integers(1, 4, (3, *shape)) * rng.choice([-1, 1], (3, *shape))
    frames[1] *= rng.random(shape) < 0.1
    frames[::2] *= rng.random((2, *shape)) < 0.9
    return frames.astype(np.float32)


@pytest.mark.parametrize("kind", [np.float32, np.int32])
@pytest.mark.parametrize("name", ["conv", "strided", "point", "dense", "pooled"])
def test_slots_full_of_values_equal_the_synapse_walk(name: str, kind: type) -> None:
    """They are multiplied without lists, where blocks have 64 channels; others as ever."""
    rng, shape = np.random.default_rng(3), (32, 6, 4)
    synapses = {
        "conv": Conv2d(rng.integers(-9, 10, (120, 32, 3, 3)), padding=(1, 1)),
        "strided": Conv2d(rng.integers(-9, 10, (64, 32, 2, 3)), (2, 1), (1, 1), (1, 2)),
        "point": Conv2d(rng.integers(-9, 10, (60, 32, 1, 1))),
        "dense": Dense(rng.integers(-9, 10, (64, 32 * 24))),
        "pooled": PooledDense(rng.integers(-9, 10, (64, 32 * 6)), (2, 2)),
    }[name]
    whole = synapses.with_weight(synapses.weight.astype(np.float32))
    frames = full_frames(rng, shape)
    found = currents(whole, frames, kind, True)
    for frame, sums in zip(frames, found, strict=True):
        np.testing.assert_array_equal(sums, naive_currents(synapses, frame))


@pytest.mark.nojit
def test_without_jit_bytes_are_multiplied_alike() -> None:
    rng, rows = np.random.default_rng(2), 32
    weight, values = rng.integers(-128, 128, (rows, WIDE)), rng.integers(0, 256, (2, rows))
    grouped = weight.reshape(-1, GROUP, WIDE).swapaxes(1, 2).astype(np.int8).ravel()
    current = np.ones((2, 80), np.int32)
    sent = values.astype(np.uint8).ravel()
    add_all(current.reshape(-1), 3, 80, grouped, 0, sent, 0, rows, 2)
    np.testing.assert_array_equal(current[:, 3 : 3 + WIDE], 1 + values @ weight)
    assert (np.delete(current, np.s_[3 : 3 + WIDE], 1) == 1).all()


@given(st.integers(0, 2**32 - 1), st.booleans(), st.integers(1, 40), st.integers(1, 9))
@settings(deadline=None, max_examples=25)
def test_neurons_in_other_places_equal_the_synapse_walk(seed, graded, channels, width) -> None:
    """Some channels of an image go to another one, whose axes are in another order."""
    rng = np.random.default_rng(seed)
    shape = (channels, 2, width)
    chosen = np.flatnonzero(rng.random(channels) < 0.7)
    source = np.arange(np.prod(shape)).reshape(channels, -1)[chosen]
    target = rng.permutation(len(chosen))[:, None] + channels * np.arange(2 * width)
    weight = np.full(source.size, rng.integers(1, 9), np.float32)
    moved = Sparse.of(
        source.ravel(), target.ravel(), weight, int(np.prod(shape)), (2 * width, channels)
    )
    accumulate = accumulator(moved, Plane(shape), Plane(moved.shape_out))
    assert isinstance(accumulate, Placing) == bool(len(chosen))
    frames = random_frames(rng, shape, 0.5, graded)
    for frame, sums in zip(frames, currents(moved, frames, np.float32, graded), strict=True):
        np.testing.assert_array_equal(sums, naive_currents(moved, frame))


def test_the_largest_sums_of_a_part_fit_into_16_bits() -> None:
    """All weights at their limit, all neurons spiking: 9 words of 16 channels times -128."""
    shape = (64, 5, 5)
    conv = Conv2d(np.full((128, 64, 3, 3), -128, np.int8), padding=(1, 1))
    frames = np.ones((2, *shape), np.float32)
    want = naive_currents(conv.with_weight(conv.weight.astype(np.int64)), frames[0])
    np.testing.assert_array_equal(currents(conv, frames, np.int32, False)[1], want)


def test_events_that_are_put_come_out_again() -> None:
    frames = random_frames(np.random.default_rng(2), (19, 4, 3), 0.3, True)
    events = events_of(frames, (2, 1), True, np.float32)
    for b, frame in enumerate(frames):
        np.testing.assert_array_equal(events.fired(np.array([b]))[0], frame != 0)
        grid = events.plane.to_grid(frame)
        np.testing.assert_array_equal(events.number[b], np.count_nonzero(grid, axis=1))
        np.testing.assert_array_equal(events.units[b], (np.abs(grid) == 1).sum(axis=1))


@given(st.integers(0, 2**32 - 1), st.booleans(), st.sampled_from([0.0, 0.3, 1.0]))
@settings(deadline=None, max_examples=40)
def test_counts_of_unlike_channels_equal_a_sum_over_events(seed, graded, density) -> None:
    rng = np.random.default_rng(seed)
    shape = (int(rng.integers(1, 40)), int(rng.integers(1, 5)), int(rng.integers(1, 5)))
    frames = random_frames(rng, shape, density, graded)
    events = events_of(frames, (1, 0), graded, np.float32)
    rows = rng.integers(0, 1 << 20, (3, events.plane.padded)).astype(np.int32)
    row_of = rng.integers(0, 3, events.plane.pixels).astype(np.int32)
    each, table = (rows.reshape(-1), row_of), rows[row_of]
    place = np.arange(2), events.masks, events.plane.lies
    if graded:
        units, others = kernels.count_each_value(*place, events.flat_values, *each)
    else:
        units, others = kernels.count_each(*place, *each), np.zeros(2)
    for b, frame in enumerate(frames):
        grid, fan_out = events.plane.to_grid(frame), table[:, : shape[0]]
        assert units[b] == fan_out[np.abs(grid) == 1].sum()
        assert others[b] == fan_out[np.abs(grid) > 1].sum()


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.3, 1.0]))
@settings(deadline=None, max_examples=25)
def test_counts_of_averages_equal_a_mean_of_windows(seed, density) -> None:
    rng = np.random.default_rng(seed)
    (h, w), kernel = rng.integers(1, 4, 2), tuple(int(k) for k in rng.integers(1, 4, 2))
    # A last row and column that no whole window holds.
    shape = (int(rng.integers(1, 40)), int(h * kernel[0] + 1), int(w * kernel[1] + 1))
    frames = random_frames(rng, shape, density, False)
    events = events_of(frames, (0, 2), False, np.float32)
    fan_out = rng.integers(0, 1 << 20, (h, w))
    met = kernels.count_windows(np.arange(2), events.masks, events.plane.lies, kernel, fan_out).T
    for b, frame in enumerate(frames):
        whole = frame[:, : h * kernel[0], : w * kernel[1]]
        means = whole.reshape(shape[0], h, kernel[0], w, kernel[1]).mean(axis=(2, 4))
        assert met[b, 0] == (fan_out * (means == 1)).sum()
        assert met[b, 1] == (fan_out * ((means > 0) & (means < 1))).sum()


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_counts_of_averages_of_payloads_equal_a_mean_of_windows(kind) -> None:
    rng = np.random.default_rng(0)
    for kernel in ((1, 1), (2, 3), (4, 4)):
        frames = random_frames(rng, (20, 2 * kernel[0] + 1, 3 * kernel[1]), 0.7, True)
        frames[:, :9] = np.sign(frames[:, :9]).clip(0)  # ones and zeros: some averages are 1
        events = events_of(frames, (0, 2), True, kind)
        fan_out = rng.integers(0, 1 << 20, (2, 3))
        lies = events.plane.lies
        met = kernels.count_averages(np.arange(2), events.flat_values, lies, kernel, fan_out)
        for b, frame in enumerate(frames):
            whole = frame[:, : 2 * kernel[0], : 3 * kernel[1]]
            means = whole.reshape(20, 2, kernel[0], 3, kernel[1]).mean(axis=(2, 4))
            assert met[0, b] == (fan_out * (abs(means) == 1)).sum()
            assert met[1, b] == (fan_out * ((means != 0) & (abs(means) != 1))).sum()


def some_currents() -> bytes:
    """Bits of one layer's sums, of weights that round; the same on every processor."""
    rng = np.random.default_rng(5)
    conv = Conv2d(rng.normal(size=(40, 37, 3, 3)).astype(np.float32), padding=(1, 1))
    frames = random_frames(rng, (37, 6, 7), 0.3, False)
    graded = random_frames(rng, (37, 6, 7), 0.3, True)
    point = Conv2d(rng.normal(size=(50, 32, 1, 1)).astype(np.float32))
    full = full_frames(rng, (32, 5, 4))
    sums = (
        currents(conv, frames, np.float32, False),
        currents(conv, graded, np.float32, True),
        currents(point, full, np.float32, True),
    )
    return b"".join(found.tobytes() for found in sums)


@pytest.mark.parametrize(
    "options",
    [
        {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx2,+fma,+bmi,+popcnt"},
        {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""},
    ],
    ids=["avx2", "portable"],
)
def test_other_processors_give_the_same_bits(options: dict[str, str], tmp_path: Path) -> None:
    command = "import sys; from tests.simulator.test_kernels import some_currents as f"
    command += "; sys.stdout.buffer.write(f())"
    environment = os.environ | options | {"NUMBA_CACHE_DIR": str(tmp_path)}
    found = subprocess.run(
        [sys.executable, "-c", command],
        env=environment,
        capture_output=True,
        check=True,
    )
    assert found.stdout == some_currents()


@pytest.mark.nojit
def test_without_jit_a_convolution_equals_the_synapse_walk() -> None:
    rng = np.random.default_rng(1)
    conv = Conv2d(rng.integers(-8, 9, (3, 18, 3, 2)).astype(np.float32), (2, 1), (1, 1))
    for graded in (False, True):
        frames = random_frames(rng, (18, 5, 4), 0.5, graded)
        found = currents(conv, frames, np.float32, graded)
        np.testing.assert_array_equal(found[0], naive_currents(conv, frames[0]))
    point, full = Conv2d(rng.integers(-8, 9, (60, 32, 1, 1))), full_frames(rng, (32, 3, 1))
    for kind in (np.float32, np.int32):
        found = currents(point.with_weight(point.weight.astype(np.float32)), full, kind, True)
        np.testing.assert_array_equal(found[0], naive_currents(point, full[0]))
