"""Both ways to compute a layer give what the naive synapse walk gives, at any density."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seenn_deploy.ir.maps import Conv2d
from seenn_deploy.simulator import layout
from seenn_deploy.simulator.kernels import kernels
from tests import naive


@st.composite
def convolutions(draw: st.DrawFn, channels_out: st.SearchStrategy[int]) -> tuple:
    pair = st.tuples(st.integers(1, 3), st.integers(1, 3))
    kernel, stride, dilation = draw(pair), draw(pair), draw(pair)
    padding = draw(st.tuples(st.integers(0, 2), st.integers(0, 2)))
    c_in = draw(st.integers(1, 5))
    least = [
        max(1, d * (k - 1) + 1 - 2 * p) for d, k, p in zip(dilation, kernel, padding, strict=True)
    ]
    shape = (c_in, *(draw(st.integers(n, n + 7)) for n in least))
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    weight = rng.integers(-64, 65, (draw(channels_out), c_in, *kernel)) / 64  # sums are exact
    conv = Conv2d(weight.astype(np.float32), stride, padding, dilation)
    return conv, shape, rng


def events_of(frames: np.ndarray, valued: bool) -> tuple[np.ndarray, ...]:
    """Events of (slots, C, H, W) frames in the kernels' layout."""
    slots, channels = frames.shape[:2]
    pixels = frames[0, 0].size
    ptr = np.zeros((slots, pixels + 1), np.int32)
    idx = np.zeros((slots, frames[0].size), np.int32)
    val = np.zeros((slots, frames[0].size), np.float32)
    flat = frames.reshape(slots, channels, pixels).astype(np.float32)
    kernels.load_frame(np.arange(slots), flat, channels, ptr, idx, val)
    return ptr, idx, val if valued else val[:, :0]


def run_both(conv: Conv2d, frames: np.ndarray, valued: bool) -> tuple[np.ndarray, np.ndarray]:
    """Currents (slots, P, C_pad) from `gather` and from `convolve_dense`."""
    shape_in = frames.shape[1:]
    shape_out = conv.out_shape(shape_in)
    slots = np.arange(len(frames))
    events = events_of(frames, valued)
    rows = conv.weight.transpose(2, 3, 1, 0).reshape(-1, len(conv.weight))
    weight = layout._blocks(rows)
    size = (len(frames), shape_out[1] * shape_out[2], layout.padded(shape_out[0]))
    gathered, dense = np.ones(size, np.float32), np.ones(size, np.float32)
    kernels.gather(slots, *events, *layout._conv_runs(conv, shape_in, shape_out), weight, gathered)
    sizes = conv.weight.shape[2:], conv.stride, conv.padding, conv.dilation
    kernels.convolve_dense(slots, *events, shape_in, shape_out[1:], *sizes, weight, dense)
    return gathered, dense


def naive_currents(conv: Conv2d, frame: np.ndarray) -> np.ndarray:
    shape_out = conv.out_shape(frame.shape)
    current = np.zeros(np.prod(shape_out))
    source, target, weight = naive.synapses(conv, frame.shape, shape_out)
    np.add.at(current, target, weight * frame.reshape(-1)[source])
    return current.reshape(shape_out)


def test_kernels_say_what_they_inline() -> None:
    """A change of a vector file must change kernels.py, which numba's cache goes by."""
    sources = sorted(Path(kernels.__file__).parent.glob("vector*.py"))
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:12]
    assert digest == kernels.INLINED, f'set INLINED = "{digest}" in kernels.py'


@given(convolutions(st.integers(1, 70)), st.sampled_from([0.0, 0.05, 0.5, 1.0]), st.booleans())
@settings(deadline=None, max_examples=40)
def test_gather_and_dense_equal_the_synapse_walk(drawn, density, graded) -> None:
    conv, shape, rng = drawn
    frames = (rng.random((2, *shape)) < density).astype(np.float32)
    if graded:
        frames *= rng.integers(-3, 4, frames.shape)
    gathered, dense = run_both(conv, frames, graded)
    for b, frame in enumerate(frames):
        expected = 1 + layout.to_grid(naive_currents(conv, frame), conv.out_shape(shape))
        np.testing.assert_array_equal(gathered[b, :, : len(conv.weight)], expected)
        np.testing.assert_array_equal(dense[b, :, : len(conv.weight)], expected)


@pytest.mark.parametrize("channels", [5, 16, 32, 64, 128])
@pytest.mark.parametrize("graded", [False, True])
def test_gather_and_dense_round_alike(channels: int, graded: bool) -> None:
    """Both add in the same order, so the choice between them cannot change a bit."""
    rng = np.random.default_rng(channels)
    conv = Conv2d(rng.normal(size=(channels, 7, 3, 3)).astype(np.float32), padding=(1, 1))
    frames = (rng.random((2, 7, 9, 10)) < 0.4).astype(np.float32)
    if graded:
        frames *= rng.normal(size=frames.shape).astype(np.float32)
    gathered, dense = run_both(conv, frames, graded)
    np.testing.assert_array_equal(gathered, dense)


@pytest.mark.nojit
def test_without_jit_both_kernels_agree() -> None:
    rng = np.random.default_rng(1)
    conv = Conv2d((rng.integers(-8, 9, (3, 2, 3, 2)) / 8).astype(np.float32), (2, 1), (1, 1))
    frames = (rng.random((1, 2, 5, 4)) < 0.5).astype(np.float32)
    gathered, dense = run_both(conv, frames, valued=False)
    np.testing.assert_array_equal(gathered, dense)
    expected = 1 + layout.to_grid(naive_currents(conv, frames[0]), conv.out_shape((2, 5, 4)))
    np.testing.assert_array_equal(gathered[0, :, :3], expected)
