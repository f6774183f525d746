"""What a program takes as input, and the checks that images fit it.

Every error is one line that names the object (with the index of the first offending sample), the
value found, the limit and the remedy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from seenn_deploy._typing import Array, Shape
from seenn_deploy.errors import DataError
from seenn_deploy.io.images.events import EQUAL_PARTS, Binning
from seenn_deploy.io.images.preparation import Preparation
from seenn_deploy.io.images.sources import StoredImages

Coding: TypeAlias = Literal["direct", "events"]
Range: TypeAlias = tuple[float, float]
ANY_VALUE: Range = (-np.inf, np.inf)
PIXELS: Range = (0.0, 1.0)
ROUNDING = 1e-6  # how far float32 arithmetic on pixels, such as a resize, may leave their range


def bounded(limits: Range) -> bool:
    """Tell whether a range has both ends."""
    return bool(np.all(np.isfinite(limits)))


@dataclass(frozen=True)
class InputSpec:
    """What a program takes as input.

    Parameters
    ----------
    shape : (C, H, W)
    coding : 'direct' or 'events'
    T : int
        Number of timesteps; with 'events', each sample has one frame per timestep.
    input_range : (float, float)
        Smallest and largest value allowed; 0..1 says that normalisation is part of the program.
    mean, std : sequence of one number per channel, optional
        ``(pixel - mean) / std`` is applied to uint8 pixels, after the division by 255.
    binning : Binning
        How event recordings become frames; events after the T-th timestep are not seen.
    values : 'any', 'whole' or 'clipped'
        Of an integer program: whether it takes whole numbers alone, or clips to `input_range`.
    normalizes : bool
        Whether normalisation is why the range is that of pixels.
    preparation : Preparation, optional
        How image files are resized and cropped before; arrays are taken as they are.

    Raises
    ------
    DataError
        When mean and std do not fit, or the program normalises its input itself.
    """

    shape: Shape
    coding: Coding = "direct"
    T: int = 1
    input_range: Range = ANY_VALUE
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    binning: Binning = EQUAL_PARTS
    values: Literal["any", "whole", "clipped"] = "any"
    normalizes: bool = True
    preparation: Preparation | None = None

    def __post_init__(self) -> None:
        if len(self.shape) != 3:
            raise DataError(f"this program takes shape {self.shape}; images are (C, H, W)")
        if (self.mean is None) != (self.std is None):
            raise DataError("mean and std belong together; give both or neither")
        if self.mean is not None and self.std is not None:
            self._check_normalization(self.mean, self.std)

    @property
    def sample_shape(self) -> Shape:
        """The shape of one sample: (C, H, W), or (T, C, H, W) for events."""
        return (self.T, *self.shape) if self.coding == "events" else self.shape

    def _check_normalization(self, mean: Sequence[float], std: Sequence[float]) -> None:
        if self.input_range == PIXELS:
            raise DataError(
                "mean/std are given, but normalisation is part of this program: leave them out, "
                "or compile with --no-normalize"
            )
        if self.coding == "events":
            raise DataError("mean/std are given, but events are not normalised: leave them out")
        for name, values in (("mean", mean), ("std", std)):
            if len(values) != self.shape[0] or not np.all(np.isfinite(values)):
                raise DataError(
                    f"{name} is {list(values)}; this program needs {self.shape[0]} finite numbers, "
                    "one per channel"
                )
        if min(std) <= 0:
            raise DataError(f"std is {list(std)}; each must be above 0")

    # --- before reading --------------------------------------------------------------------------

    def check_stored(self, source: StoredImages) -> None:
        """Refuse images whose dtype or shape does not fit, without reading them.

        Raises
        ------
        DataError
            When there are none, or their dtype or shape does not fit.
        """
        shape, dtype = source.shape, source.dtype
        if shape[:1] == (0,):
            raise DataError(f"{source.name}: no images in it; give at least one")
        self._check_dtype(source.name, dtype)
        expected = self._stored_shape(dtype)
        if shape[1:] not in (expected, self._without_ones(expected)):
            raise DataError(
                f"{source.name} is {dtype} of shape {shape}; this program takes "
                f"(N, {_text(expected)}){self._shape_remedy(shape, expected)}"
            )

    def check_pictures(self, name: str) -> None:
        """Refuse image files where they cannot hold what the program takes.

        Raises
        ------
        DataError
            When the program takes events, or neither 1 nor 3 channels.
        """
        if self.coding == "events":
            raise DataError(
                f"{name}: holds images, this program takes events: give .npz with x of shape "
                f"(N, {_text(self.sample_shape)})"
            )
        if self.shape[0] not in (1, 3):
            raise DataError(
                f"{name}: holds images (1 or 3 channels), this program takes {self.shape[0]} "
                "channels: give .npz with x"
            )

    def _check_dtype(self, name: str, dtype: np.dtype[Any]) -> None:
        events = self.coding == "events"
        if dtype.kind != "f" and not (dtype.kind in "biu" if events else dtype == np.uint8):
            other = "integers" if events else "uint8 pixels (N, H, W, C)"
            raise DataError(
                f"{name} is {dtype}; give float32 (N, {_text(self.sample_shape)}) or {other}"
            )
        if dtype.kind == "f" and self.mean is not None:
            raise DataError(
                f"{name} is {dtype}, taken as the network sees it, but mean/std are given: leave "
                "them out, or give uint8 pixels"
            )

    def _stored_shape(self, dtype: np.dtype[Any]) -> Shape:
        """The shape of one sample as it is stored; pixels have the channels last."""
        if self.coding == "direct" and dtype == np.uint8:
            return (*self.shape[1:], self.shape[0])
        return self.sample_shape

    def _without_ones(self, stored: Shape) -> Shape:
        """Return the shape without the axes of 1 that images of one channel, linear and 1-d layers
        have no use for.
        """
        channels, height, width = self.shape
        if channels == 1 < height:
            return (*stored[:-3], height, width)
        if height != 1 or (width != 1 and stored != self.sample_shape):
            return stored  # pixels in a row stay (1, W, C): channels and width could be mistaken
        return (*stored[:-3], channels, *([] if width == 1 else [width]))

    def _shape_remedy(self, shape: Shape, expected: Shape) -> str:
        channels, height, width = self.shape
        if shape == expected:
            return ": add a first axis, x[None]"
        if self.coding == "events":
            if shape[2:] == self.shape:
                return f": bin the events into {self.T} frames, or compile with T = {shape[1]}"
            return ": give one frame per timestep"
        if shape[1:] == self.shape:
            return ": uint8 pixels have the channels last, x.transpose(0, 2, 3, 1)"
        if shape[1:] == (height, width, channels):
            return ": floats have the channels first, x.transpose(0, 3, 1, 2)"
        return ": give one image per sample, of this size"

    # --- while reading ---------------------------------------------------------------------------

    def convert(self, block: Array) -> NDArray[np.float32]:
        """Return a stored block as the network sees it: a float32 copy with the channels first."""
        block = block.reshape(len(block), *self._stored_shape(block.dtype))
        if self.coding == "events" or block.dtype != np.uint8:
            with np.errstate(over="ignore"):  # infinity, which check_values refuses
                return block.astype(np.float32, order="C")
        pixels = block.transpose(0, 3, 1, 2).astype(np.float32, order="C") / np.float32(255)
        if self.mean is None:
            return pixels
        mean, std = (np.asarray(v, np.float32)[:, None, None] for v in (self.mean, self.std))
        normalized: NDArray[np.float32] = (pixels - mean) / std
        return normalized

    def check_values(self, values: NDArray[np.float32], source: StoredImages, start: int) -> str:
        """Refuse values that are not finite or out of range.

        Those that rounding carried out of the range, by `ROUNDING` at most, are clipped in place,
        and so are all others where an integer program clips.

        Parameters
        ----------
        values : float32 array (n, ...)
            The values, as :meth:`convert` returns them.
        source : StoredImages
            Where they come from, for the message.
        start : int
            Index of ``values[0]`` in the source.

        Returns
        -------
        str
            What was clipped first, for a warning; '' where nothing was.

        Raises
        ------
        DataError
            When a value is not finite, or outside `input_range`.
        """
        low, high = self.input_range
        if self.values == "whole":
            self._check_whole(values, source, start)
        # Two passes without a mask decide the usual case, in which nothing is wrong.
        least, most = float(values.min()), float(values.max())  # NaN if there is one
        if np.isfinite(least) and np.isfinite(most) and low <= least and most <= high:
            return ""
        inside = (values >= low) & (values <= high)
        margin = np.inf if self.values == "clipped" else ROUNDING
        near = (values >= low - margin) & (values <= high + margin)
        bad = ~(np.isfinite(values) & near)
        outside = bad if bad.any() else ~inside
        i = int(np.argmax(outside.reshape(len(values), -1).any(axis=1)))
        value = float(values[i][outside[i]][0])
        if not bad.any():
            np.clip(values, low, high, out=values)
            which = f"within {ROUNDING:g} of" if self.values != "clipped" else "beyond"
            return (
                f"{source.where(start + i)} holds {value:.9g}: values {which} {low:g}..{high:g} "
                "are clipped to it"
            )
        raise DataError(f"{source.where(start + i)} holds {value:g}{self._value_remedy(value)}")

    def _check_whole(self, values: NDArray[np.float32], source: StoredImages, start: int) -> None:
        broken = values != np.rint(values)
        if broken.any():
            i = int(np.argmax(broken.reshape(len(values), -1).any(axis=1)))
            raise DataError(
                f"{source.where(start + i)} holds {values[i][broken[i]][0]:g}; this int8 program "
                "takes whole numbers, and would round: compile it for real values, with "
                "--calibration or --input-range"
            )

    def _value_remedy(self, value: float) -> str:
        if not np.isfinite(value):
            return "; values must be finite: correct or leave out this sample"
        if self.input_range == PIXELS and not self.normalizes:
            return (
                "; this program takes pixels 0..1, as its example or calibration samples: give "
                "such, or compile for others, with --calibration or --input-range"
            )
        if self.input_range == PIXELS:
            return (
                "; this program takes pixels 0..1 because normalisation is part of it: give raw "
                "pixels (0..255 divided by 255), or compile with --no-normalize"
            )
        low, high = self.input_range
        return f"; this program takes values {low:g}..{high:g}: scale the input"


def check_labels(
    labels: Array, counts: tuple[int, int], what: str, classes: int | None
) -> NDArray[np.int64]:
    """Labels as int64, refused unless there is one class from 0 for each image.

    Parameters
    ----------
    labels : array (N,)
        The labels as they were stored.
    counts : (int, int)
        The two lengths allowed: the number of all images, and of those in use under a limit.
    what : str
        The name of the labels in messages.
    classes : int, optional
        Number of classes; labels must be below it.

    Raises
    ------
    DataError
        When their number, type or range does not fit.
    """
    if labels.ndim != 1 or len(labels) not in counts:
        raise DataError(
            f"{what} has shape {labels.shape} for {counts[0]} images; give one label per image"
        )
    if labels.dtype.kind not in "iu":
        raise DataError(f"{what} is {labels.dtype}; give integers from 0, the class of each image")
    outside = labels < 0 if classes is None else (labels < 0) | (labels >= classes)
    if outside.any():
        i = int(np.argmax(outside))
        limit = "count classes from 0" if classes is None else f"this program has 0..{classes - 1}"
        raise DataError(f"{what}[{i}] is {labels[i]}; {limit}")
    return labels.astype(np.int64)


def _text(shape: Shape) -> str:
    return ", ".join(map(str, shape))
