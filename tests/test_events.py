from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seenn_deploy.data import open_images
from seenn_deploy.errors import DataError
from seenn_deploy.events import bin_events, frame_size


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
    np.savez(folder / "events.npz", **(arrays | changes))
    return folder / "events.npz"


def test_events_fall_into_equal_parts_of_the_recording() -> None:
    t = np.array([100, 149, 150, 199, 200], np.uint32)
    frames = bin_events(np.arange(5), np.zeros(5, int), np.zeros(5, int), t, 2, (1, 5))
    assert frames[:, 0, 0].tolist() == [[1, 1, 0, 0, 0], [0, 0, 1, 1, 1]]


def test_frames_say_whether_not_how_often() -> None:
    zeros = np.zeros(3, int)
    assert bin_events(zeros, zeros, zeros + 1, zeros, 4, (2, 2)).sum() == 1


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
    ],
)
def test_refusals(
    tmp_path: Path, changes: dict[str, Any], shape: tuple[int, ...], words: str
) -> None:
    path = recordings(tmp_path, **changes)
    with pytest.raises(DataError, match=words):
        list(open_images(path, shape, "events", 2).batches(8))
