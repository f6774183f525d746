"""Corruptions against loops over pixels, what they share, and what is refused."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from seenn_deploy.errors import DataError
from seenn_deploy.evaluation.shift.corruptions import KINDS, STRENGTHS, corrupt
from tests import naive_shift

NAIVE = {
    "blur": naive_shift.blurred,
    "brightness": naive_shift.brighter,
    "contrast": naive_shift.contrasted,
}


def images(channels: int = 3, n: int = 3, size: int = 8) -> np.ndarray:
    """Pixels in steps of 1/255, smooth enough for JPEG to keep, with a black and a white corner."""
    rng = np.random.default_rng(0)
    coarse = rng.random((n, channels, 2, 2)).repeat(size // 2, axis=2).repeat(size // 2, axis=3)
    x = np.clip(coarse + 0.05 * rng.normal(size=coarse.shape), 0, 1)
    x[:, :, 0, 0], x[:, :, 0, 1] = 0, 1
    return (np.rint(255 * x) / 255).astype(np.float32)


@pytest.mark.parametrize("kind", NAIVE)
@pytest.mark.parametrize("strength", STRENGTHS)
def test_a_corruption_is_its_loop(kind: str, strength: int) -> None:
    x = images()
    found = corrupt(x, kind, strength)
    value = KINDS[kind].values[strength - 1]
    for image, shifted in zip(x, found, strict=True):
        expected = NAIVE[kind](image.transpose(1, 2, 0).astype(np.float64), value)
        distance = np.abs(shifted.transpose(1, 2, 0) - np.clip(expected, 0, 1))
        assert distance.max() <= 0.5 / 255 + 1e-6  # rounded to 8 bits


def test_noise_has_its_deviation_and_a_stream_per_image() -> None:
    x = np.full((4, 3, 64, 64), 0.5, np.float32)
    for strength, deviation in zip(STRENGTHS, KINDS["noise"].values, strict=True):
        found = corrupt(x, "noise", strength, seed=5)
        assert found.std(axis=(1, 2, 3)) == pytest.approx(deviation, rel=0.1)
        assert found.mean() == pytest.approx(0.5, abs=0.01)
        assert np.array_equal(found[:2], corrupt(x[:2], "noise", strength, seed=5))
        assert not np.array_equal(found[0], found[1])
        assert not np.array_equal(found, corrupt(x, "noise", strength, seed=6))


def test_jpeg_is_what_pillow_reads_back() -> None:
    x = images(n=1, size=16)
    stored = BytesIO()
    pixels = np.rint(255 * x[0].transpose(1, 2, 0)).astype(np.uint8)
    Image.fromarray(pixels).save(stored, "JPEG", quality=40)
    expected = np.asarray(Image.open(stored)).transpose(2, 0, 1) / np.float32(255)
    assert np.array_equal(corrupt(x, "jpeg", 3)[0], expected)
    assert not np.array_equal(expected, x[0])


def test_pixelate_makes_boxes() -> None:
    """A share of 0.65 of 2 pixels is 1: two pixels each way become their mean."""
    x = images(size=2)
    found = corrupt(x, "pixelate", 3)
    for image, shifted in zip(x, found, strict=True):
        expected = naive_shift.pixelated(image.transpose(1, 2, 0), 1, 1).transpose(2, 0, 1)
        assert np.abs(shifted - expected).max() <= 1.01 / 255  # Pillow rounds on its way


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_kind_gives_pixels_that_move_with_the_strength(kind: str, channels: int) -> None:
    x = images(channels, n=6, size=16)
    moved = []
    for strength in STRENGTHS:
        found = corrupt(x, kind, strength)
        assert found.shape == x.shape and found.dtype == np.float32
        assert np.array_equal(found, (np.rint(255 * found) / np.float32(255)).astype(np.float32))
        assert found.min() >= 0 and found.max() <= 1
        assert np.array_equal(found, corrupt(x, kind, strength))
        moved.append(float(np.abs(found - x).mean()))
    assert min(moved) > 0
    if kind != "pixelate":  # 15 of 16 pixels may fit the picture worse than 10
        assert moved == sorted(moved)


@pytest.mark.parametrize(
    ("x", "kind", "strength", "words"),
    [
        (images(), "fog", 1, "no shift fog 1; there are noise, blur"),
        (images(), "blur", 4, "no shift blur 4"),
        (images() * 2 - 1, "blur", 1, "takes pixels 0..1; compile with --mean and --std"),
        (np.zeros((2, 4, 2, 8, 8)), "blur", 1, "not events or signals"),
        (np.zeros((2, 5, 8, 8)), "blur", 1, "1 or 3 channels"),
    ],
)
def test_what_is_no_picture_is_refused(x: np.ndarray, kind: str, strength: int, words: str) -> None:
    with pytest.raises(DataError, match=words) as error:
        corrupt(x, kind, strength)
    assert "\n" not in str(error.value)
