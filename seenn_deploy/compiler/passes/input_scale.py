"""The scale of an integer program's input: how much one unit of its numbers is worth.

1. Pixels in 0..1 are counted in steps of 1/255, in which 8-bit images arrive unrounded.
2. Spikes and numbers of events are whole numbers, and one stays one.
3. Real values, as speech and motion have, get 255 steps over their range, or fewer where the
   weights gain more (``passes.quantize``). The range was stated, or it is that of calibration
   samples, or twice that of the example that the network was imported with. The proofs of no
   overflow hold over it; what lies beyond is clipped where samples are read.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from seenn_deploy.errors import ModelError
from seenn_deploy.fidelity import FidelityReport
from seenn_deploy.io.images.image_set import ImageSet
from seenn_deploy.io.images.spec import PIXELS, Range, bounded
from seenn_deploy.ir.fixed_point import PIXEL_SCALE
from seenn_deploy.ir.nodes import Source

BATCH = 64


def scaled(source: Source, samples: ImageSet | None) -> tuple[Source, str]:
    """The source with its range and finest scale, and where the range is from.

    Parameters
    ----------
    source : Source
        Of the float program; its `real_range` is what was stated, or what the example held.
    samples : ImageSet, optional
        Calibration samples, which say more than an example. A stated range holds all the same.

    Raises
    ------
    ModelError
        When an image has no limits and nothing tells any.
    """
    stated = bounded(source.input_range)
    found = source.real_range if samples is None else real_range(samples)
    of = "as stated" if stated else "of calibration samples"
    if stated and (source.coding == "direct" or found is not None):
        found = source.input_range
    if source.coding == "events":
        if found is None:
            return source, of
        if not stated and samples is None:
            found, of = _doubled(found), "twice that of the import's example"
        # Zero is sent where a recording has ended, so the steps cover it as well.
        low, high = min(found[0], 0.0), max(found[1], 0.0)
        # A scale of 1 would say that the values are whole numbers; it, or a part of it, is evaded.
        scale = float(np.nextafter(PIXEL_SCALE / (high - low), 0))
        return replace(source, scale=scale, input_range=(low, high)), of
    if found is None:
        raise ModelError(
            f"{source.name}: an integer program needs an input with limits; state them "
            "(--input-range 0,1), give samples (--calibration), or compile with mean and std, so "
            "that it takes pixels 0..1"
        )
    if not stated and PIXELS[0] <= found[0] and found[1] <= PIXELS[1]:
        return replace(source, input_range=PIXELS), of
    if not stated and samples is None:
        found, of = _doubled(found), "twice that of the import's example"
    return replace(source, input_range=found), of


def _doubled(found: Range) -> Range:
    """Twice a range about its middle: an example is a sample or two, and others go further."""
    spread = (found[1] - found[0]) / 2
    return found[0] - spread, found[1] + spread


def report(source: Source, of: str, found: FidelityReport) -> None:
    """Say what became of the input of an integer program, whose source is given."""
    low, high = source.input_range
    if source.coding == "events" and source.scale == 1:
        found.faithful(source.name, "whole numbers")
    elif source.input_range == PIXELS and source.scale == PIXEL_SCALE:
        found.faithful(source.name, "pixels 0..1, in the steps of 1/255 that 8-bit images have")
    else:
        steps = round((high - low) * source.scale)
        found.approximated(
            source.name,
            f"real values in {steps} steps over {low:.4g}..{high:.4g}, {of}; those beyond are "
            "clipped",
            f"half a step is {1 / source.scale / 2:.3g}",
        )


def real_range(samples: ImageSet) -> Range | None:
    """Smallest and largest value of samples; None where all are whole numbers."""
    low, high, whole = np.inf, -np.inf, True
    for batch in samples.batches(BATCH):
        low, high = min(low, float(batch.min())), max(high, float(batch.max()))
        whole = whole and bool(np.all(batch == np.rint(batch)))
    return None if whole else (low, high)
