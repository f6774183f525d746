"""Shifted images: six corruptions at three strengths, made from pixels by numpy and Pillow.

The strengths are severities 1, 3 and 5 of CIFAR-10-C (Hendrycks and Dietterich 2019, arXiv
1903.12261), whose numbers stand in its authors' ``make_cifar_c.py`` alone, not in the paper:

==========  ====================  =====================================================
noise       0.04, 0.08, 0.10      standard deviation of normal noise, pixels being 0..1
blur        0.4, 0.7, 1.0         standard deviation of a Gaussian, in pixels
contrast    0.75, 0.4, 0.15       share of each channel's distance from its mean
brightness  0.05, 0.15, 0.3       added to the value V of HSV
jpeg        80, 58, 40            quality
pixelate    0.95, 0.85, 0.65      side of the small image, as a share
==========  ====================  =====================================================

Where this differs from the benchmark: these are 6 of its 19 kinds, ``gaussian_blur`` among them,
which is one of its extra ones; results are rounded to 8 bits, theirs are truncated; noise has a
seed per image, so the images are the same whatever is corrupted beside them; JPEG is that of the
Pillow at hand. The strengths are meant for images of 32x32: larger ones are blurred and pixelated
less than ImageNet-C would.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from seenn_deploy._typing import Array
from seenn_deploy.errors import DataError

Pixels = NDArray[np.float64]  # one image (H, W, C) from 0 to 1
STRENGTHS = (1, 2, 3)


@dataclass(frozen=True)
class Corruption:
    """One way to shift an image.

    Parameters
    ----------
    values : float at each of the three strengths
    apply : function of an image, a value and a random generator
    """

    values: tuple[float, float, float]
    apply: Callable[[Pixels, float, np.random.Generator], Array]


def corrupt(images: Array, kind: str, strength: int, seed: int = 0) -> NDArray[np.float32]:
    """Shift images, each by itself.

    Parameters
    ----------
    images : float array (n, C, H, W)
        Pixels from 0 to 1, of 1 or 3 channels.
    kind : str
        One of `KINDS`.
    strength : 1, 2 or 3
    seed : int
        Of the noise; image i of the array has its own stream.

    Returns
    -------
    float32 array (n, C, H, W)
        Pixels in steps of 1/255.

    Raises
    ------
    DataError
        When there is no such kind or strength, or the images are no pixels.
    """
    if kind not in KINDS or strength not in STRENGTHS:
        raise DataError(f"no shift {kind} {strength}; there are {', '.join(KINDS)} with 1, 2 and 3")
    check_pixels(images)
    chosen = KINDS[kind]
    found = np.empty(images.shape, np.float32)
    for number, image in enumerate(images):
        pixels = image.transpose(1, 2, 0).astype(np.float64)
        random = np.random.default_rng([seed, number])
        shifted = chosen.apply(pixels, chosen.values[strength - 1], random)
        found[number] = as_bytes(shifted).transpose(2, 0, 1) / np.float32(255)
    return found


def check_pixels(images: Array) -> None:
    """Raise DataError unless images (n, C, H, W) are pixels from 0 to 1 of 1 or 3 channels."""
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise DataError(
            f"images of shape {images.shape[1:]} cannot be shifted; give pictures of 1 or 3 "
            "channels, not events or signals"
        )
    low, high = float(images.min(initial=0)), float(images.max(initial=0))
    if low < 0 or high > 1:
        raise DataError(
            f"images from {low:g} to {high:g} cannot be shifted, which takes pixels 0..1; compile "
            "with --mean and --std, so that the program normalises"
        )


def as_bytes(pixels: Array) -> NDArray[np.uint8]:
    """Round pixels from 0 to 1 to 8 bits, clipped where they lie outside."""
    return np.asarray(np.rint(np.clip(pixels, 0, 1) * 255), np.uint8)


# --- the kinds ---------------------------------------------------------------------------------


def _noise(image: Pixels, deviation: float, random: np.random.Generator) -> Array:
    return np.asarray(image + deviation * random.standard_normal(image.shape))


def _blur(image: Pixels, deviation: float, _: np.random.Generator) -> Array:
    """A Gaussian, cut off at four deviations; the border's pixels go on outside."""
    reach = int(4 * deviation + 0.5)
    weight = np.exp(-0.5 * (np.arange(-reach, reach + 1) / deviation) ** 2)
    weight /= weight.sum()
    for axis in (0, 1):
        width = [(reach, reach) if a == axis else (0, 0) for a in range(image.ndim)]
        padded, size = np.pad(image, width, mode="edge"), image.shape[axis]
        parts = (np.take(padded, range(i, i + size), axis) for i in range(len(weight)))
        image = sum(w * part for w, part in zip(weight, parts, strict=True))
    return image


def _contrast(image: Pixels, share: float, _: np.random.Generator) -> Array:
    mean = image.mean(axis=(0, 1), keepdims=True)
    return np.asarray((image - mean) * share + mean)


def _brightness(image: Pixels, more: float, _: np.random.Generator) -> Array:
    """Add to V of HSV; hue and saturation stay, so all channels grow by one factor."""
    value = image.max(axis=2, keepdims=True)
    brighter = np.minimum(value + more, 1)
    black = value == 0  # has neither hue nor saturation, and becomes grey
    grown = image * np.divide(brighter, value, out=np.zeros_like(value), where=~black)
    return np.asarray(np.where(black, brighter, grown))


def _jpeg(image: Pixels, quality: float, _: np.random.Generator) -> Array:
    stored = BytesIO()
    _picture(image).save(stored, "JPEG", quality=int(quality))
    return _pixels(Image.open(stored), image)


def _pixelate(image: Pixels, share: float, _: np.random.Generator) -> Array:
    height, width = image.shape[:2]
    small = max(1, int(width * share)), max(1, int(height * share))
    reduced = _picture(image).resize(small, Image.Resampling.BOX)
    return _pixels(reduced.resize((width, height), Image.Resampling.BOX), image)


def _picture(image: Pixels) -> Image.Image:
    stored = as_bytes(image)
    return Image.fromarray(stored[..., 0] if stored.shape[2] == 1 else stored)


def _pixels(picture: Image.Image, like: Pixels) -> Array:
    return np.asarray(picture, np.float64).reshape(like.shape) / 255


KINDS = {
    "noise": Corruption((0.04, 0.08, 0.10), _noise),
    "blur": Corruption((0.4, 0.7, 1.0), _blur),
    "contrast": Corruption((0.75, 0.4, 0.15), _contrast),
    "brightness": Corruption((0.05, 0.15, 0.3), _brightness),
    "jpeg": Corruption((80, 58, 40), _jpeg),
    "pixelate": Corruption((0.95, 0.85, 0.65), _pixelate),
}
