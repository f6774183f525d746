"""Biases that differ at the border, where a convolution padded an input without its mean.

Normalisation is part of the weights of a program (``passes.fold_affine``), and the
padding, which is 0 in normalised pixels, becomes a bias that is another one at the border. NIR has
one bias per channel; two convolutions in a row say the same: one of a single pixel that adds
something to each channel, and the padded one.
"""

from __future__ import annotations

import numpy as np

from seenn_deploy._typing import Array, Shape
from seenn_deploy.ir.maps import Conv2d

CLOSE = 1e-5  # of the largest bias


def before_padding(bias: Array, conv: Conv2d, taken: Shape) -> tuple[Array, Array] | None:
    """Return what to add to each channel before `conv` and behind it, for `bias` (C, H, W).

    None where there is no such pair.
    """
    shifts = [_response_to(channel, conv, taken) for channel in range(taken[0])]
    within = np.stack([_centred(s).ravel() for s in shifts], axis=1)
    wanted = bias.astype(np.float64)
    added = np.linalg.lstsq(within, _centred(wanted).ravel(), rcond=None)[0]
    left = wanted - sum(a * s for a, s in zip(added, shifts, strict=True))
    behind = left.mean(axis=(1, 2))
    if np.abs(left - behind[:, None, None]).max() > CLOSE * np.abs(wanted).max():
        return None
    return added, behind


def _response_to(channel: int, conv: Conv2d, taken: Shape) -> Array:
    image = np.zeros(taken)
    image[channel] = 1
    return conv.response(image)


def _centred(images: Array) -> Array:
    return np.asarray(images - images.mean(axis=(1, 2), keepdims=True))
