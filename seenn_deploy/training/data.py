"""Training data in memory: pixels and frames of events as bytes, other values as float32."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from seenn_deploy._typing import Shape
from seenn_deploy.errors import DataError
from seenn_deploy.io.images import events, normalization
from seenn_deploy.io.images.image_set import open_images
from seenn_deploy.io.images.sources import IMAGE_SUFFIXES, NpzMember, npz_keys
from seenn_deploy.io.images.spec import ANY_VALUE, PIXELS, Coding, InputSpec, Range

Augment = Literal["crop-flip", "crop", "none"]
AUGMENTS = ("crop-flip", "crop", "none")
PAD = 4  # pixels around an image before a random crop, as for CIFAR-10 since He et al. 2016


@dataclass(frozen=True)
class Kind:
    """The kind of samples in a data set.

    Parameters
    ----------
    shape : (C, H, W)
    coding : 'direct' or 'events'
    pixels : bool
        Whether the samples are bytes 0..255, to be divided by 255 and normalised; otherwise they
        are values as the network sees them.
    """

    shape: Shape
    coding: Coding
    pixels: bool

    @property
    def input_range(self) -> Range:
        """The smallest and largest value allowed."""
        return PIXELS if self.pixels else ANY_VALUE


@dataclass(frozen=True, eq=False)
class DataSet:
    """N labelled samples.

    Parameters
    ----------
    samples : uint8 or float32 Tensor (N, C, H, W), of events (N, T, C, H, W)
    labels : int64 Tensor (N,)
    kind : Kind
    name : str
    length : int64 Tensor (N,), optional
        Timesteps of each signal, where they differ; what lies behind them is 0, and never heard.
    """

    samples: Tensor
    labels: Tensor
    kind: Kind
    name: str
    length: Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def classes(self) -> int:
        """The number of classes: one more than the largest label."""
        return int(self.labels.max()) + 1

    def program_input(self) -> NDArray[np.float32]:
        """Return all samples as a program takes them, with pixels in 0..1."""
        found: NDArray[np.float32] = self.as_float(self.samples).numpy()
        return found

    def as_float(self, samples: Tensor) -> Tensor:
        """Return samples as float32, with pixels in 0..1."""
        return samples.float() / 255 if self.kind.pixels else samples.float()


def load(
    path: str | Path,
    T: int,
    *,
    kind: Kind | None = None,
    classes: int | None = None,
    limit: int | None = None,
) -> DataSet:
    """Read a labelled data set, in a format of :mod:`seenn_deploy.io.images.image_set`.

    Parameters
    ----------
    path : str or Path
        ``.npz``, or a folder with one subfolder per class.
    T : int
        Frames per event sample.
    kind : Kind, optional
        Kind of the training set, which a test set has to fit; by default it is found out.
    classes : int, optional
        Number of classes; labels must be below it.
    limit : int, optional
        Number of samples to use; the first ones are taken.

    Raises
    ------
    DataError
        When the data is damaged, without labels, of a single class, of mixed sizes, or has labels
        out of range.
    """
    path = Path(path)
    kind = kind or find_kind(path)
    images = open_images(
        path, kind.shape, kind.coding, T, input_range=kind.input_range, limit=limit, classes=classes
    )
    if images.labels is None:
        raise DataError(f"{path}: no labels to train on; add y, or one subfolder per class")
    # Labels that were all read as 0 would train to 100 % at once, and nobody would notice.
    if len(np.unique(images.labels)) < 2:
        raise DataError(
            f"{path}: all {len(images)} labels are {images.labels[0]}; training needs two classes"
        )
    blocks = [_packed(block, kind) for block in images.batches(256)]
    length = None if images.length is None else torch.from_numpy(images.length)
    return DataSet(torch.cat(blocks), torch.from_numpy(images.labels), kind, str(path), length)


def timesteps(path: str | Path) -> int | None:
    """Return the timesteps of the frames or signals in a file; None where it has no such axis."""
    path = Path(path)
    if path.suffix.lower() != ".npz" or not path.is_file() or "x" not in (keys := npz_keys(path)):
        return None
    if events.is_recording(keys):
        return None
    shape = NpzMember.open(path, "x").shape
    return shape[1] if len(shape) in (3, 5) else None


def load_both(
    data: str | Path,
    test: str | Path | None,
    T: int,
    classes: int | None,
    limit: int | None,
    test_limit: int | None,
    kind: Kind | None = None,
) -> tuple[DataSet, DataSet | None]:
    """The training set, and the held-out set where there is one: of its kind and its classes."""
    train = load(data, T, kind=kind, classes=classes, limit=limit)
    if test is None:
        return train, None
    # A test set may lack the last class, so the number is that of the training set.
    known = classes or train.classes
    return train, load(test, T, kind=train.kind, classes=known, limit=test_limit)


def _packed(block: NDArray[np.float32], kind: Kind) -> Tensor:
    """Turn pixels and event frames back into bytes, which take a quarter of the memory."""
    if kind.pixels:
        return torch.from_numpy(np.rint(block * 255).astype(np.uint8))
    if kind.coding != "events" or block.min() < 0 or block.max() > 255:
        return torch.from_numpy(block)
    # Numbers of events; real values, as of signals, would lose what makes them so.
    whole = block.astype(np.uint8)
    return torch.from_numpy(whole if np.array_equal(whole, block) else block)


def find_kind(path: Path) -> Kind:
    """Find the shape and coding of a data set, from its headers or its first image.

    Raises
    ------
    DataError
        When the data is damaged, empty, or in no format that training takes.
    """
    if path.is_dir():
        return Kind(_picture_shape(_first_picture(path)), "direct", True)
    if path.suffix.lower() != ".npz" or not path.is_file():
        raise DataError(f"{path}: training data comes as an .npz file or a folder of class folders")
    keys = npz_keys(path)
    if events.is_recording(keys):
        return Kind((2, *events.frame_size(path)), "events", False)
    if "x" in keys:
        return _array_kind(NpzMember.open(path, "x"))
    if {"jpeg", "offsets"} <= set(keys):
        return Kind(_packed_shape(path), "direct", True)
    raise DataError(f"{path}: holds {', '.join(keys) or 'no arrays'}; expected x and y")


def _array_kind(member: NpzMember) -> Kind:
    shape, pixels = member.shape, member.dtype == np.uint8
    if len(shape) in (3, 5):  # signals (N, T, C), or frames
        return Kind((*shape[2:], 1, 1) if len(shape) == 3 else shape[2:], "events", False)
    if len(shape) != 4:
        raise DataError(
            f"{member.name} has shape {shape}; expected (N, C, H, W), (N, T, C, H, W) or signals "
            "(N, T, C)"
        )
    return Kind((shape[3], *shape[1:3]) if pixels else shape[1:], "direct", pixels)


def _first_picture(folder: Path) -> Path:
    files = (f for f in sorted(folder.rglob("*")) if f.suffix.lower() in IMAGE_SUFFIXES)
    first = next(files, None)
    if first is None:
        raise DataError(f"{folder}: no images in it; give one subfolder per class")
    return first


def _packed_shape(path: Path) -> Shape:
    from io import BytesIO

    edges = NpzMember.open(path, "offsets").load()[:2]
    return _picture_shape(BytesIO(next(NpzMember.open(path, "jpeg").pieces(edges)).tobytes()))


def _picture_shape(file: object) -> Shape:
    from PIL import Image

    try:
        with Image.open(file) as image:  # type: ignore[arg-type]
            channels = 1 if image.mode in ("1", "L") else 3
            return (channels, image.height, image.width)
    except (OSError, ValueError, SyntaxError) as error:
        raise DataError(f"{file}: not a readable image ({error})") from None


# --- batches -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Normalization:
    """``(pixel - mean) / std`` per channel, which the compiler folds into layer 1; or nothing."""

    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    @classmethod
    def of(
        cls, kind: Kind, mean: Sequence[float] | None = None, std: Sequence[float] | None = None,
        default: normalization.Normalization = normalization.CIFAR10,
    ) -> Normalization:  # fmt: skip
        """Choose what ``seenn-compile`` would choose: `default` for pixels of 3 channels.

        Raises
        ------
        DataError
            When mean and std do not fit the data.
        """
        InputSpec(kind.shape, kind.coding, mean=mean, std=std)  # what it refuses, training does
        if mean is None or std is None:
            colour = kind.pixels and kind.shape[0] == len(default[0])
            return cls(*map(tuple, default)) if colour else cls()
        if not kind.pixels:
            raise DataError("mean/std are given, but the data is not uint8 pixels: leave them out")
        return cls(tuple(mean), tuple(std))

    def apply(self, x: Tensor) -> Tensor:
        """Normalise images (..., C, H, W)."""
        if self.mean is None or self.std is None:
            return x
        mean, std = (x.new_tensor(v)[:, None, None] for v in (self.mean, self.std))
        return (x - mean) / std


def batches(
    data: DataSet, size: int, generator: torch.Generator, augment: Augment, cutout: int = 0
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield the batches of one epoch in random order.

    Parameters
    ----------
    data : DataSet
    size : int
        Samples per batch. A last batch of one sample is left out: batch norm cannot use it.
    generator : torch.Generator
        Generator that decides order, crops and flips.
    augment : 'crop-flip', 'crop' or 'none'
    cutout : int
        Side of the square that is hidden; 0 for none.

    Yields
    ------
    float32 Tensor (n, ...), int64 Tensor (n,), int64 Tensor (n,)
        Samples, with pixels in 0..1; their labels; their numbers in the data set.
    """
    order = torch.randperm(len(data), generator=generator)
    for picked in torch.split(order, size):
        if len(picked) < 2:
            continue
        samples = augmented(data.samples[picked], augment, generator)
        if cutout:
            samples = cut_out(samples, cutout, generator)
        yield data.as_float(samples), data.labels[picked], picked


def augmented(samples: Tensor, how: Augment, generator: torch.Generator) -> Tensor:
    """Shift each sample by up to 4 pixels (zeros come in), and mirror it half of the time."""
    if how == "none":
        return samples
    n, *lead, height, width = samples.shape
    flat = samples.reshape(n, -1, height, width)
    padded = functional.pad(flat, (PAD,) * 4)
    # Both are drawn whatever `how` says, so a seed gives the same crops with and without flips.
    shifts = torch.randint(0, 2 * PAD + 1, (n, 2), generator=generator)
    flips = torch.rand(n, generator=generator) < (0.5 if how == "crop-flip" else 0.0)
    rows = shifts[:, :1] + torch.arange(height)
    columns = shifts[:, 1:] + torch.where(
        flips[:, None], torch.arange(width).flip(0), torch.arange(width)
    )
    i = torch.arange(n)[:, None, None]
    moved = padded.permute(0, 2, 3, 1)[i, rows[:, :, None], columns[:, None, :]]
    return moved.permute(0, 3, 1, 2).reshape(n, *lead, height, width)


def cut_out(samples: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """Set a square of each sample to 0; it lies anywhere, and may reach over the border."""
    height, width = samples.shape[-2:]
    hidden = [
        # From the first to the last row or column of the square, around its centre.
        (torch.arange(n) - torch.randint(n, (len(samples), 1), generator=generator) + side // 2)
        for n in (height, width)
    ]
    rows, columns = ((place >= 0) & (place < side) for place in hidden)
    square = rows[:, :, None] & columns[:, None, :]
    return samples.masked_fill(
        square.reshape(len(samples), *(1,) * (samples.ndim - 3), height, width), 0
    )


def resized(samples: Tensor, size: int | None) -> Tensor:
    """Resize samples (N, ..., H, W) to `size` x `size`; None leaves them."""
    if size is None or samples.shape[-2:] == (size, size):
        return samples
    lead = samples.shape[:-3]
    flat = samples.reshape(-1, *samples.shape[-3:])
    smaller = functional.interpolate(flat, (size, size), mode="bilinear", antialias=True)
    return smaller.reshape(*lead, *smaller.shape[1:])
