"""Small pictures of the samples that a page may show: those that leave late, or early and wrong."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np

from seenn_deploy._typing import Array
from seenn_deploy.io.images.image_set import ImageSet

MOST = 240  # pictures in a page, some 300 kB of them
LARGEST = 64  # pixels of their longer side
QUALITY = 85


def of_samples(images: ImageSet, samples: dict[str, Any]) -> dict[str, str]:
    """Return pictures of the most telling samples, as data URIs by the sample's number.

    Where every sample ran to T, half of them are those that would leave first among the wrong at
    t = 1, and half those that are least certain before T; otherwise the wrong and the late of the
    run itself.

    Parameters
    ----------
    images : ImageSet
        The images of the run, in its order.
    samples : dict
        The figures' ``samples``.
    """
    return {str(i): picture(images.take(i, i + 1)[0]) for i in sorted(_telling(samples))}


def _telling(samples: dict[str, Any]) -> set[int]:
    exits = np.array(samples["exit_step"])
    labels = np.array(samples["label"]) if "label" in samples else None
    if "confidence_by_step" in samples:
        confidence = np.array(samples["confidence_by_step"])
        late = np.argsort(confidence[:, :-1].max(axis=1), kind="stable")
        first, answer = confidence[:, 0], np.array(samples["prediction_by_step"])[:, 0]
    else:
        first, answer = np.array(samples["confidence"]), np.array(samples["prediction"])
        late = np.argsort(-exits, kind="stable")
    wrong = np.arange(0) if labels is None else np.flatnonzero(answer != labels)
    early = wrong[np.argsort(-first[wrong], kind="stable")]
    return {*early[: MOST // 2].tolist(), *late[: MOST // 2].tolist()}


def picture(sample: Array) -> str:
    """Return a sample (C, H, W), or (T, C, H, W) of events, as the data URI of a JPEG.

    Colours are the first three channels where there are three; otherwise the mean of all, as of
    events, over their timesteps, is grey. Values are stretched from the smallest to the largest,
    but pixels 0..1 stay as they are.
    """
    from PIL import Image

    flat = sample.mean(axis=0) if sample.ndim == 4 else sample
    whole = flat.transpose(1, 2, 0) if flat.shape[0] == 3 else flat.mean(axis=0)
    low, high = (0.0, 1.0) if whole.min() >= 0 and whole.max() <= 1 else (whole.min(), whole.max())
    scaled = (whole - low) / max(high - low, 1e-12)
    image = Image.fromarray(np.rint(255 * scaled).astype(np.uint8))
    image.thumbnail((LARGEST, LARGEST))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
