"""Images as a program takes them: shape, range, timesteps and labels checked against it."""

from __future__ import annotations

from collections.abc import Sequence

from numpy.typing import ArrayLike

from seenn_deploy.io.images.events import Binning
from seenn_deploy.io.images.image_set import Images, ImageSet, fit, plain
from seenn_deploy.io.images.spec import InputSpec
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
    """Whatever a user calls images, as the set that `program` takes.

    Parameters
    ----------
    program : Program
        Gives shape, coding, T, range, the number of classes and how recordings are binned.
    images : ImageSet, path, or array
        As of :func:`open_images` or :func:`from_array`.
    labels : int array (N,), optional
        Instead of those that the images bring along.
    mean, std : one number a channel, optional
        For uint8 pixels, where normalisation is not part of the program.
    limit : int, optional
        Only the first `limit` images.

    Raises
    ------
    DataError
        When they do not fit the program.
    """
    source = program.graph.source
    spec = InputSpec(
        source.shape, source.coding, program.T, program.input_range, plain(mean), plain(std),
        Binning(source.step_us, source.counts_events),
    )  # fmt: skip
    return fit(images, spec, labels, limit, classes=program.graph.readout.shape[0])
