from __future__ import annotations

from fractions import Fraction
from math import floor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import seenn_deploy as sd
from seenn_deploy.cli import seenn
from seenn_deploy.errors import DataError, ModelError
from seenn_deploy.io.images.events import Binning, bin_events, frame_size
from seenn_deploy.io.images.image_set import open_images
from seenn_deploy.ir.inputs import for_program
from tests import checkpoints


def recordings(folder: Path, **changes: Any) -> Path:
    """Two recordings, of 4 events and of none, and one more."""
    arrays = {
        "x": np.array([0, 3, 3, 1, 2], np.uint8),
        "y": np.array([0, 1, 1, 2, 0], np.uint8),
        "p": np.array([0, 1, 1, 0, 1], np.uint8),
        "t_us": np.array([10, 11, 12, 30, 5], np.uint32),
        "offsets": np.array([0, 4, 4, 5]),
        "labels": np.array([1, 0, 1], np.uint8),
    }
    kept = {k: v for k, v in (arrays | changes).items() if v is not None}
    np.savez(folder / "events.npz", **kept)
    return folder / "events.npz"


def test_events_fall_into_equal_parts_of_the_recording() -> None:
    t = np.array([100, 149, 150, 199, 200], np.uint32)
    frames = bin_events(np.arange(5), np.zeros(5, int), np.zeros(5, int), t, 2, (1, 5))
    assert frames[:, 0, 0].tolist() == [[1, 1, 0, 0, 0], [0, 0, 1, 1, 1]]


def test_frames_say_whether_not_how_often() -> None:
    zeros = np.zeros(3, int)
    assert bin_events(zeros, zeros, zeros + 1, zeros, 4, (2, 2)).sum() == 1


def one_by_one(
    t: list[int], at: list[int], T: int, step: float, counts: bool, pixels: int
) -> list[list[int]]:
    """Event after event, exact: frames of one row of pixels, polarity 1."""
    frames = [[0] * pixels for _ in range(T)]
    for time, pixel in zip(t, at, strict=True):
        k = floor(Fraction(time - min(t)) / Fraction(step))
        if k < T:
            frames[k][pixel] = frames[k][pixel] + 1 if counts else 1
    return frames


@settings(deadline=None)
@given(
    events=st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 2)), max_size=60),
    start=st.integers(0, 2**32 - 5001),
    step=st.sampled_from([1000.0, 1.0, 333.3, 1e3 / 3, 0.1, 7e6, 1e-9]),
    T=st.integers(1, 12),
    counts=st.booleans(),
)
def test_bins_of_microseconds(
    events: list[tuple[int, int]], start: int, step: float, T: int, counts: bool
) -> None:
    events.sort()
    t = np.array([start + e[0] for e in events], np.uint32)
    x = np.array([e[1] for e in events], np.uint8)
    zero = np.zeros(len(x), np.uint8)
    found = bin_events(x, zero, zero + np.uint8(1), t, T, (1, 3), Binning(step, counts))
    want = one_by_one(t.tolist(), x.tolist(), T, step, counts, 3)
    assert found.shape == (T, 2, 1, 3) and not found[:, 0].any()
    assert found[:, 1, 0].tolist() == want


@pytest.mark.parametrize("step", [0.0, 1000.0])
def test_more_than_255_events_in_a_bin_are_counted(step: float) -> None:
    zeros = np.zeros(70_000, np.uint8)
    frames = bin_events(zeros, zeros, zeros, zeros, 2, (1, 1), Binning(step, True))
    assert frames[:, 0, 0, 0].tolist() == [70_000, 0]


def test_equal_parts_can_be_counted_too() -> None:
    t, zeros = np.array([5, 5, 6, 15]), np.zeros(4, int)
    frames = bin_events(zeros, zeros, zeros, t, 2, (1, 1), Binning(counts=True))
    assert frames[:, 0, 0, 0].tolist() == [3, 1]


def test_files_are_binned_as_asked(tmp_path: Path) -> None:
    path = recordings(tmp_path, t_us=np.array([10, 11, 11, 30, 5]), x=np.array([3, 3, 3, 1, 2]))
    for counts, dtype in ((False, np.uint8), (True, np.int32)):
        images = open_images(path, (2, 3, 4), "events", 2, step_us=2, counts_events=counts)
        assert images.source.dtype == dtype and images.source.shape == (3, 2, 2, 3, 4)
        frames = images.take(0, 3)
        assert [tuple(map(int, i)) for i in np.argwhere(frames)] == [
            (0, 0, 0, 0, 3), (0, 0, 1, 1, 3), (2, 0, 1, 0, 2)
        ]  # fmt: skip
        assert frames[0, 0, 1, 1, 3] == 1 + counts
    for step in (-1.0, np.inf, np.nan):
        with pytest.raises(DataError, match=r"step_us = .*: give microseconds"):
            open_images(path, (2, 3, 4), "events", 2, step_us=step)


def test_a_program_bins_as_it_was_trained(tmp_path: Path) -> None:
    """From the command line to the frames, and not other images' bins."""
    model = checkpoints.vggsnn((2, 2, 3, 3, 3, 3, 2, 2), size=16)
    sd_file = str(tmp_path / "m.pth")
    torch.save(model, sd_file)
    rng = np.random.default_rng(0)
    t = np.sort(rng.integers(0, 9000, 500))
    xyp = {"x": rng.integers(0, 16, 500), "y": rng.integers(0, 16, 500)}
    xyp |= {"p": rng.integers(0, 2, 500), "offsets": np.array([0, 500]), "labels": np.array([0])}
    path = recordings(tmp_path, **xyp, t_us=t)
    options = ["-T", "3", "--step-us", "2500", "--count-events", "-o", str(tmp_path / "b")]
    assert CliRunner().invoke(seenn, ["compile", sd_file, *options]).exit_code == 0
    program = sd.Program.load(tmp_path / "b")
    source = program.graph.source
    assert (source.step_us, source.counts_events) == (2500.0, True)
    assert program.graph.provenance["assumed"]["step_us"] == 2500.0
    frames = for_program(program, path).take(0, 1)
    assert frames.sum() == np.count_nonzero(t - t[0] < 7500) and frames.max() > 1
    as_frames = sd.simulate(program, frames)
    np.testing.assert_array_equal(sd.simulate(program, path).logits, as_frames.logits)
    others = open_images(path, (2, 16, 16), "events", 3)
    with pytest.raises(DataError, match="opened for another program"):
        for_program(program, others)
    np.savez(tmp_path / "frames.npz", x=frames)
    binned = open_images(tmp_path / "frames.npz", (2, 16, 16), "events", 3)
    assert len(for_program(program, binned)) == 1


def test_bins_are_for_events(tmp_path: Path) -> None:
    torch.save(checkpoints.vgg((16, "M", 24), size=8), tmp_path / "m.pth")
    with pytest.raises(ModelError, match="this network takes images; leave them out"):
        sd.import_model(tmp_path / "m.pth", input_size=8, step_us=1000)
    with pytest.raises(ModelError, match="step_us = -1: give microseconds"):
        sd.import_model(tmp_path / "m.pth", input_size=8, step_us=-1, coding="events")


def test_recordings_are_read_as_a_program_takes_them(tmp_path: Path) -> None:
    images = open_images(recordings(tmp_path), (2, 3, 4), "events", 2, classes=2)
    assert images.labels is not None and images.labels.tolist() == [1, 0, 1]
    (all_of_them,) = images.batches(8)
    assert all_of_them.shape == (3, 2, 2, 3, 4) and all_of_them.dtype == np.float32
    found = [tuple(map(int, i)) for i in np.argwhere(all_of_them)]
    assert found == [(0, 0, 0, 0, 0), (0, 0, 1, 1, 3), (0, 1, 0, 2, 1), (2, 0, 1, 0, 2)]
    np.testing.assert_array_equal(np.concatenate(list(images.batches(2))), all_of_them)
    np.testing.assert_array_equal(images.take(2, 3), all_of_them[2:])
    assert frame_size(tmp_path / "events.npz") == (3, 4)


@pytest.mark.parametrize(
    ("changes", "shape", "words"),
    [
        ({}, (2, 2, 4), "recording 0: an event has y = 2; it must lie in 0..1"),
        ({"p": np.array([0, 1, 2, 0, 1])}, (2, 3, 4), "an event has p = 2"),
        ({}, (3, 3, 4), "2 polarities"),
        ({"offsets": np.array([0, 4, 9])}, (2, 3, 4), "offsets must ascend within the 5 events"),
        ({"x": np.zeros(5)}, (2, 3, 4), "float64"),
        ({"p": np.zeros(4, int)}, (2, 3, 4), "p has 4 events, x has 5"),
        (
            {"t_us": np.array([1, 2, 3, 2**63, 5], np.uint64)},
            (2, 3, 4),
            "recording 0: its events lie at t_us = 1 to 9223372036854775808, beyond 64-bit",
        ),
        ({"t_us": np.array([-1, 2, 3, 2**63 - 1, 5])}, (2, 3, 4), "to 9223372036854775807, beyond"),
        ({"t_us": np.array([0, 2, 3, 2**62, 5])}, (2, 3, 4), "arithmetic with T = 2; write micro"),
        ({"t_us": None}, (2, 3, 4), "recordings need x, y, p, t_us and offsets; t_us is missing"),
    ],
)
def test_refusals(
    tmp_path: Path, changes: dict[str, Any], shape: tuple[int, ...], words: str
) -> None:
    path = recordings(tmp_path, **changes)
    with pytest.raises(DataError, match=words):
        list(open_images(path, shape, "events", 2).batches(8))
