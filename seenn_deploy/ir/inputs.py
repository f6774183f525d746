"""Images as a program takes them: shape, range, timesteps and labels checked against it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from numpy.typing import ArrayLike

from seenn_deploy.io.images.events import Binning
from seenn_deploy.io.images.image_set import Images, ImageSet, fit, plain
from seenn_deploy.io.images.spec import PIXELS, InputSpec
from seenn_deploy.ir.program import Program


def for_program(
    program: Program,
    images: Images,
    labels: ArrayLike | None = None,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    limit: int | None = None,
) -> ImageSet:
    """Turn whatever a user calls images into the set that `program` takes.

    Parameters
    ----------
    program : Program
        Program that decides shape, coding, T, range, classes and the binning of recordings.
    images : ImageSet, path, or array
        Images in a form that :func:`open_images` or :func:`from_array` takes.
    labels : int array (N,), optional
        Labels to use in place of those that come with the images.
    mean, std : sequence of one number per channel, optional
        Normalisation of uint8 pixels, if it is not part of the program.
    limit : int, optional
        Number of images to use; the first ones are taken.

    Raises
    ------
    DataError
        When the images do not fit the program.
    """
    spec = spec_of(program, mean, std)
    return fit(images, spec, labels, limit, classes=program.graph.readout.shape[0])


def spec_of(
    program: Program, mean: Sequence[float] | None = None, std: Sequence[float] | None = None
) -> InputSpec:
    """Return what a program takes as input; `mean` and `std` are those of `for_program`."""
    source = program.graph.source
    return InputSpec(
        source.shape, source.coding, program.T, program.input_range, plain(mean), plain(std),
        Binning(source.step_us, source.counts_events), _values(program),
        source.normalization is not None or program.precision == "float32", source.preparation,
    )  # fmt: skip


def _values(program: Program) -> Literal["any", "whole", "clipped"]:
    """What an integer program does with values: rounding them silently is never right."""
    source = program.graph.source
    if program.precision == "float32":
        return "any"
    if source.coding == "events":
        return "whole" if source.scale == 1 else "clipped"
    return "any" if program.input_range == PIXELS else "clipped"
