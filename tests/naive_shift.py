"""Corruptions and calibration errors the slow way: one pixel, one sample after the other."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Sequence

import numpy as np


def blurred(image: np.ndarray, deviation: float) -> np.ndarray:
    """A Gaussian over (H, W, C), one sum over a square per pixel; outside is the nearest pixel."""
    height, width, channels = image.shape
    reach = int(4 * deviation + 0.5)
    weight = {d: math.exp(-0.5 * (d / deviation) ** 2) for d in range(-reach, reach + 1)}
    total = sum(weight.values())
    found = np.zeros(image.shape)
    for y in range(height):
        for x in range(width):
            for dy, wy in weight.items():
                for dx, wx in weight.items():
                    row, column = min(max(y + dy, 0), height - 1), min(max(x + dx, 0), width - 1)
                    for c in range(channels):
                        found[y, x, c] += wy * wx / total**2 * image[row, column, c]
    return found


def brighter(image: np.ndarray, more: float) -> np.ndarray:
    """By the standard library's HSV, of (H, W, 3)."""
    found = np.zeros(image.shape)
    for y, row in enumerate(image):
        for x, pixel in enumerate(row):
            hue, saturation, value = colorsys.rgb_to_hsv(*map(float, pixel))
            found[y, x] = colorsys.hsv_to_rgb(hue, saturation, min(value + more, 1.0))
    return found


def contrasted(image: np.ndarray, share: float) -> np.ndarray:
    found = np.zeros(image.shape)
    for c in range(image.shape[2]):
        values = [float(v) for v in image[:, :, c].ravel()]
        mean = sum(values) / len(values)
        found[:, :, c] = [[mean + share * (float(v) - mean) for v in row] for row in image[:, :, c]]
    return found


def pixelated(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Means over the boxes of a grid that divides the image."""
    tall, wide = image.shape[0] // height, image.shape[1] // width
    found = np.zeros(image.shape)
    for y in range(height):
        for x in range(width):
            at = slice(y * tall, (y + 1) * tall), slice(x * wide, (x + 1) * wide)
            found[at] = image[at].reshape(-1, image.shape[2]).mean(axis=0)
    return found


def calibration_error(confidence: Sequence[float], right: Sequence[bool], bins: int) -> float:
    """The mean gap of each bin (b / bins, (b + 1) / bins], weighted by its samples."""
    total = 0.0
    for b in range(bins):
        inside = [
            i for i, c in enumerate(confidence)
            if b / bins < c <= (b + 1) / bins or (b == 0 and c <= 0)
        ]  # fmt: skip
        if inside:
            mean = sum(confidence[i] for i in inside) / len(inside)
            share = sum(bool(right[i]) for i in inside) / len(inside)
            total += abs(mean - share) * len(inside)
    return total / len(confidence)
