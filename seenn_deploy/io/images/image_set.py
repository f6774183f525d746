"""Images for a program, checked and streamed in the program's shape and units.

=====================================  =========================================================
``.npz`` with ``x`` [and ``y``]        float (N, C, H, W) as the network sees it, or
                                       uint8 (N, H, W, C) pixels, divided by 255
``.npz`` with ``jpeg``, ``offsets``    encoded images after one another [and ``labels``]
``.npy``                               the same arrays as ``x``, without labels
``.tar``, a folder of them, or         encoded images in shards, a sample as ``key.jpg`` and
``val-{000..049}.tar``                 ``key.cls`` or ``key.json``
``.zarr``, or a folder of zarr         an array as ``x``, or a group with ``x`` and ``y``
a folder of images                     one subfolder per class of the program, labels in the order
                                       of their names; some alone where they are named by number;
                                       without subfolders: no labels
an image file                          one image without a label
event programs                         ``x`` (N, T, C, H, W), integer or float, taken as it is;
                                       or recordings, see :mod:`seenn_deploy.io.images.events`
signals, for the same programs         ``x`` (N, T, C) with ``length`` (N,): the timesteps that
                                       each sample has, of which later ones are never read; and
                                       ``rate``, how many timesteps a second has
=====================================  =========================================================

Each may lie at an address that fsspec knows (``s3://``, ``gs://``, ``hf://``) instead of a path.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from seenn_deploy._typing import Array, Shape
from seenn_deploy.errors import DataError, DataWarning
from seenn_deploy.io.images import shards, sources
from seenn_deploy.io.images.array_at import ArrayAt
from seenn_deploy.io.images.events import Binning, EventRecordings, is_recording
from seenn_deploy.io.images.preparation import Preparation
from seenn_deploy.io.images.remote import Place, Remote, place
from seenn_deploy.io.images.spec import ANY_VALUE, Coding, InputSpec, Range, check_labels
from seenn_deploy.io.images.zarr_array import ZarrArray, is_zarr


@dataclass(frozen=True, eq=False)
class ImageSet:
    """The images of one program, which are read when they are asked for.

    :func:`open_images` and :func:`from_array` make one. Shapes, dtypes and labels are checked
    when it is made, values when they are read.

    Parameters
    ----------
    source : StoredImages
    spec : InputSpec
    labels : int64 array (N,), optional
    class_names : list of str, optional
        Names of the subfolders, where images come from a folder: label i is ``class_names[i]``.
    limit : int, optional
        Number of images to use; the first ones of the source.
    length : int64 array (N,), optional
        Timesteps of each sample, from 1 to T; without it every sample has T.
    rate : float
        Timesteps of a second; 0 where it is not known.
    place : str
        The file or folder that the images were opened from; none where they came as an array.
    """

    source: sources.StoredImages
    spec: InputSpec
    labels: NDArray[np.int64] | None = None
    class_names: list[str] | None = None
    limit: int | None = None
    length: NDArray[np.int64] | None = None
    rate: float = 0.0
    place: str = ""

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise DataError(f"limit {self.limit}; it must be at least 1")
        self.spec.check_stored(self.source)

    def __len__(self) -> int:
        stored = self.source.shape[0]
        return stored if self.limit is None else min(stored, self.limit)

    @property
    def name(self) -> str:
        """The origin of the images, for messages and reports."""
        return self.source.name

    def batches(self, size: int, start: int = 0) -> Iterator[NDArray[np.float32]]:
        """Yield all images in order; each call begins anew.

        Parameters
        ----------
        size : int
            Images per batch; the last batch may have fewer.
        start : int
            The first image to read.

        Yields
        ------
        float32 array (n, C, H, W), or (n, T, C, H, W) for events

        Raises
        ------
        DataError
            When an image cannot be decoded, or a value is not finite or out of range.
        """
        if size < 1:
            raise DataError(f"batch size {size}; it must be at least 1")
        return self._read(start, len(self), size)

    def take(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return images ``start:stop`` (as a slice takes them) in one array."""
        start, stop, _ = slice(start, stop).indices(len(self))
        if stop <= start:
            return np.empty((0, *self.spec.sample_shape), np.float32)
        return next(self._read(start, stop, stop - start))

    def part(self, start: int, stop: int) -> ImageSet:
        """Images ``start:stop`` (as a slice takes them) as a set of their own."""
        start, stop, _ = slice(start, stop).indices(len(self))
        labels, length = (
            None if of is None else of[start:stop] for of in (self.labels, self.length)
        )
        window = sources.Window(self.source, start, stop)
        return replace(self, source=window, labels=labels, limit=None, length=length)

    def _read(self, start: int, stop: int, size: int) -> Iterator[NDArray[np.float32]]:
        told = False
        for block in self.source.blocks(start, stop, size):
            values = self.spec.convert(block)
            if self.length is not None:
                # What stands behind a sample's end is no part of it, whatever it is.
                until = self.length[start : start + len(values), None]
                values[np.arange(self.spec.T) >= until] = 0
            clipped = self.spec.check_values(values, self.source, start)
            if clipped and not told:
                warnings.warn(clipped, DataWarning, stacklevel=2)
                told = True
            start += len(values)
            yield values


Images: TypeAlias = ImageSet | str | Path | ArrayLike
"""The images that a public function takes: an opened set, a file or folder, or an array."""


# --- ways in -----------------------------------------------------------------------------------


def open_images(
    path: str | Path,
    shape: Shape,
    coding: Coding = "direct",
    T: int = 1,
    *,
    input_range: Range = ANY_VALUE,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    limit: int | None = None,
    classes: int | None = None,
    step_us: float = 0.0,
    counts_events: bool = False,
    preparation: Preparation | None = None,
) -> ImageSet:
    """Open a file or folder of images, in one of the formats that the module lists.

    Parameters
    ----------
    path : str or Path
        ``.npz``, ``.npy``, ``.tar``, or a folder of images; or an address of one.
    shape, coding, T, input_range, mean, std
        What the program takes, see :class:`~seenn_deploy.io.images.spec.InputSpec`.
    limit : int, optional
        Number of images to use. The first ones are taken, which in a folder are the first classes.
    classes : int, optional
        Number of classes; labels must be below it.
    step_us : float
        Microseconds per timestep of event recordings. Events after the T-th timestep are not
        seen. 0 cuts each recording into T equal parts.
    counts_events : bool
        Whether a value of an event frame is the number of events; otherwise it is 1 where there
        was any.
    preparation : Preparation, optional
        How image files are resized and cropped before.

    Raises
    ------
    DataError
        When the data does not fit, is damaged or is empty.
    """
    binning = Binning(step_us, counts_events)
    spec = InputSpec(tuple(shape), coding, T, input_range, plain(mean), plain(std), binning,
                     preparation=preparation)  # fmt: skip
    return _open(place(path), spec, limit, classes)


def from_array(
    x: ArrayLike,
    labels: ArrayLike | None = None,
    *,
    shape: Shape,
    coding: Coding = "direct",
    T: int = 1,
    input_range: Range = ANY_VALUE,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    limit: int | None = None,
    classes: int | None = None,
    length: ArrayLike | None = None,
    rate: float = 0.0,
) -> ImageSet:
    """Take images from an array, under the same checks as :func:`open_images`.

    Parameters
    ----------
    x : array
        float (N, C, H, W), uint8 (N, H, W, C), or (N, T, C, H, W) for events.
    labels : int array (N,), optional
        The class of each image.
    shape, coding, T, input_range, mean, std
        What the program takes, see :class:`~seenn_deploy.io.images.spec.InputSpec`.
    limit, classes : int, optional
        As for :func:`open_images`.
    length : int array (N,), optional
        Timesteps of each sample, for event coding; later ones are never read.
    rate : float
        Timesteps of a second; 0 where it is not known.

    Raises
    ------
    DataError
        When the data does not fit or is empty.
    """
    spec = InputSpec(tuple(shape), coding, T, input_range, plain(mean), plain(std))
    found = _wrap(x, labels, spec, limit, classes)
    lengths = None if length is None else np.asarray(length)
    return _timed(found, lengths, np.asarray(rate), "length")


def fit(
    images: ImageSet | str | Path | ArrayLike,
    spec: InputSpec,
    labels: ArrayLike | None = None,
    limit: int | None = None,
    classes: int | None = None,
) -> ImageSet:
    """Turn whatever a user calls images into a set that fits `spec`; see `open_images`.

    Raises
    ------
    DataError
        When they do not fit.
    """
    if not isinstance(images, ImageSet | str | Path):
        return _wrap(images, labels, spec, limit, classes)
    if isinstance(images, ImageSet):
        found = _narrowed(_same_input(images, spec), limit, classes)
    else:
        found = replace(_open(place(images), spec, limit, classes), place=str(images))
    return found if labels is None else _labelled(found, _as_array(labels, "labels"), classes)


def _open(path: Place, spec: InputSpec, limit: int | None, classes: int | None) -> ImageSet:
    if found := shards.find(path):
        return _open_shards(path, found, spec, limit, classes)
    if is_zarr(path):
        return _open_zarr(path, spec, limit, classes)
    if path.is_dir():
        return _open_folder(path, spec, limit, classes)
    if not path.exists():
        raise DataError(f"{path}: no such file or folder")
    if path.suffix.lower() == ".npz":
        return _open_npz(path, spec, limit, classes)
    if path.suffix.lower() in sources.IMAGE_SUFFIXES:
        spec.check_pictures(str(path))
        return ImageSet(
            sources.ImageFiles(path, [path], spec.shape, spec.preparation), spec, limit=limit
        )
    if path.suffix.lower() == ".npy":
        array: sources.StoredImages = (
            ArrayAt.open(path) if isinstance(path, Remote) else sources.ArraySource.from_npy(path)
        )
        return ImageSet(array, spec, limit=limit)
    kind = path.suffix or "a file without suffix"
    raise DataError(f"{path}: images come as .npz, .npy, .tar, .zarr or a folder, not as {kind}")


def _wrap(
    x: ArrayLike,
    labels: ArrayLike | None,
    spec: InputSpec,
    limit: int | None,
    classes: int | None,
) -> ImageSet:
    images = ImageSet(_as_array(x, "images"), spec, limit=limit)
    return images if labels is None else _labelled(images, _as_array(labels, "labels"), classes)


def _labelled(images: ImageSet, labels: sources.ArraySource, classes: int | None) -> ImageSet:
    counts = (images.source.shape[0], len(images))
    checked = check_labels(labels.array, counts, labels.name, classes)
    return replace(images, labels=checked[: len(images)])


def _narrowed(images: ImageSet, limit: int | None, classes: int | None) -> ImageSet:
    kept = len(images) if limit is None else min(limit, len(images))
    length = None if images.length is None else images.length[:kept]
    narrowed = replace(images, limit=kept, labels=None, length=length)
    if images.labels is None:
        return narrowed
    return _labelled(narrowed, sources.ArraySource(images.labels[:kept], "labels"), classes)


def _same_input(images: ImageSet, spec: InputSpec) -> ImageSet:
    """Return `images` if they were opened for a program with the same input, else refuse them."""
    mean, std = (images.spec.mean, images.spec.std) if spec.mean is None else (spec.mean, spec.std)
    stored = images.source
    while isinstance(stored, sources.Window):
        stored = stored.source
    # Frames that are ready were binned by nobody, and arrays are resized by nobody.
    binning = spec.binning if isinstance(stored, EventRecordings) else images.spec.binning
    files = isinstance(stored, sources.EncodedImages)
    preparation = spec.preparation if files else images.spec.preparation
    same = replace(spec, mean=mean, std=std, binning=binning, preparation=preparation)
    if replace(images.spec, values=spec.values, normalizes=spec.normalizes) != same:
        raise DataError(
            f"{images.name}: opened for another program ({images.spec}, this one takes {spec}); "
            "open it again for this one"
        )
    return replace(images, spec=same)


def _timed(images: ImageSet, length: Array | None, rate: Array, name: str) -> ImageSet:
    """Add how long each sample is, and how long a timestep.

    Raises
    ------
    DataError
        When a length lies outside 1..T, or their number, type or rate does not fit.
    """
    if np.shape(rate) != () or rate.dtype.kind not in "iuf" or not 0 <= rate < np.inf:
        raise DataError(f"{images.name}: rate is {rate}; give timesteps a second, one number")
    images = replace(images, rate=float(rate))
    if length is None:
        return images
    spec, samples = images.spec, images.source.shape[0]
    if spec.coding != "events":
        raise DataError(f"{name}: this program takes images, which have no length; leave it out")
    # Where the first samples alone are used, there may be the lengths of these, or of all.
    used = len(images)
    check_length(length, used if length.shape == (used,) else samples, spec.T, name)
    return replace(images, length=length[: len(images)].astype(np.int64))


def check_length(length: Array, samples: int, T: int, name: str = "length") -> None:
    """Raise DataError unless lengths are whole numbers from 1 to T, one for each sample."""
    if length.shape != (samples,) or length.dtype.kind not in "iu":
        raise DataError(
            f"{name} is {length.dtype} of shape {length.shape} for {samples} samples; give one "
            "whole number of timesteps for each"
        )
    outside = (length < 1) | (length > T)
    if outside.any():
        i = int(np.argmax(outside))
        raise DataError(f"{name}[{i}] is {length[i]}; it lies between 1 and T = {T}")


def plain(values: Sequence[float] | None) -> tuple[float, ...] | None:
    """Return numbers as a tuple of floats, and None as None."""
    return None if values is None else tuple(float(v) for v in values)


def _as_array(values: ArrayLike, name: str) -> sources.ArraySource:
    try:
        return sources.ArraySource(np.asarray(values), name)
    except (ValueError, TypeError) as error:
        raise DataError(f"{name}: not an array ({error}); give all samples one shape") from None


# --- formats -----------------------------------------------------------------------------------


def _open_npz(path: Place, spec: InputSpec, limit: int | None, classes: int | None) -> ImageSet:
    keys = sources.npz_keys(path)
    images = _with_times(path, keys, ImageSet(_npz_source(path, keys, spec), spec, limit=limit))
    # Of a recording, y is a coordinate.
    key = "labels" if is_recording(keys) else _labels_key(path, keys)
    if key not in keys:
        return images
    member = sources.NpzMember.open(path, key)
    labels = _of_shape(member, images.source.shape[:1], ())
    return _labelled(images, sources.ArraySource(labels, member.name), classes)


def _labels_key(path: Place, keys: Collection[str]) -> str:
    """The name of the array of labels, if there is one."""
    if {"y", "labels"} <= set(keys):
        raise DataError(f"{path}: holds both y and labels; keep one")
    return "y" if "y" in keys else "labels"


def _of_shape(array: sources.NpzMember | ZarrArray, *shapes: Shape) -> Array:
    """Read an array of one of some shapes; any other, which its shape alone refuses, is zeros."""
    if array.shape in shapes:
        return array.load()
    return np.broadcast_to(np.zeros((), array.dtype), array.shape)  # it may be of any size


def _with_times(path: Place, keys: list[str], images: ImageSet) -> ImageSet:
    """Take `length` and `rate` of signals from the file."""
    if is_recording(keys) or not {"length", "rate"} & set(keys):
        return images
    found = {key: _small(path, key, images) for key in ("length", "rate") if key in keys}
    rate = found.get("rate", np.zeros(()))
    return _timed(images, found.get("length"), rate, f"{path}: length")


def _small(path: Place, key: str, images: ImageSet) -> Array:
    """Read a single value, or one per sample; of another shape, zeros that are refused by it."""
    member = sources.NpzMember.open(path, key)
    if member.shape == ():
        return np.asarray(replace(member, shape=(1,)).load()[0])
    return _of_shape(member, images.source.shape[:1])


def _npz_source(path: Place, keys: list[str], spec: InputSpec) -> sources.StoredImages:
    if is_recording(keys):
        return EventRecordings(path, spec.T, spec.shape, spec.binning)
    if "x" in keys:
        return sources.NpzMember.open(path, "x")
    if {"jpeg", "offsets"} <= set(keys):
        spec.check_pictures(str(path))
        return sources.PackedImages(path, spec.shape, spec.preparation)
    raise DataError(
        f"{path}: holds {', '.join(keys) or 'no arrays'}; expected x (and y), or jpeg, offsets "
        "(and labels)"
    )


def _open_shards(
    path: Place,
    found: Sequence[Place],
    spec: InputSpec,
    limit: int | None,
    classes: int | None,
) -> ImageSet:
    spec.check_pictures(str(path))
    source = shards.TarShards(str(path), found, spec.shape, spec.preparation)
    images = ImageSet(source, spec, limit=limit)
    if source.labels is None:
        return images
    labels = source.labels
    if classes is not None and (beyond := np.flatnonzero(labels >= classes)).size:
        i = int(beyond[0])
        raise DataError(
            f"{source.where(i)} is of class {labels[i]}; this program has 0..{classes - 1}"
        )
    return replace(images, labels=labels[: len(images)])


def _open_zarr(path: Place, spec: InputSpec, limit: int | None, classes: int | None) -> ImageSet:
    arrays = ZarrArray.find(path)
    if "" in arrays:
        return ImageSet(arrays[""], spec, limit=limit)
    if "x" not in arrays:
        raise DataError(
            f"{path}: holds {', '.join(sorted(arrays)) or 'no arrays'}; expected x (and y)"
        )
    if {"length", "rate"} & arrays.keys():
        raise DataError(f"{path}: holds length or rate: signals come as .npz")
    images = ImageSet(arrays["x"], spec, limit=limit)
    if (key := _labels_key(path, arrays)) not in arrays:
        return images
    array = arrays[key]
    labels = _of_shape(array, images.source.shape[:1])
    return _labelled(images, sources.ArraySource(labels, array.name), classes)


def _open_folder(
    folder: Place, spec: InputSpec, limit: int | None, classes: int | None
) -> ImageSet:
    spec.check_pictures(str(folder))
    loose = _image_files(folder)
    held = (d for d in folder.iterdir() if d.is_dir() and not d.name.startswith("."))
    folders = sorted(held, key=attrgetter("name"))
    if not folders:
        return ImageSet(
            sources.ImageFiles(folder, loose, spec.shape, spec.preparation), spec, limit=limit
        )
    if loose:
        raise DataError(
            f"{folder}: has class folders and loose images ({loose[0].name}); move the images "
            "into a class folder or away"
        )
    files, names = [_image_files(d) for d in folders], [d.name for d in folders]
    numbers, class_names = _classes(folder, names, classes)
    for found, where in zip(files, folders, strict=True):
        # An empty folder stands for its class where there is one for each.
        if not found and classes is None:
            raise DataError(f"{where}: a class folder without images; fill or remove it")
    labels = np.repeat(numbers, [len(found) for found in files])
    every = [file for found in files for file in found]
    source = sources.ImageFiles(folder, every, spec.shape, spec.preparation)
    images = ImageSet(source, spec, class_names=class_names, limit=limit)
    return _labelled(images, sources.ArraySource(labels, f"{folder}: labels"), classes)


def _classes(folder: Place, names: list[str], classes: int | None) -> tuple[list[int], list[str]]:
    """The class of each class folder, and the name of every class.

    Names in order are the classes from 0 where there is a folder for each. Otherwise a folder may
    say its class as a number. A `DataWarning` says what was understood of names that a program
    does not know.
    """
    if classes is None or len(names) == classes:
        number = {name: i for i, name in enumerate(names)}
        moved = [n for n in names if n.isdecimal() and int(n) < len(names) and int(n) != number[n]]
        if moved and set(names) == {str(i) for i in range(len(names))}:
            _tell(folder, "labels follow the order of the names", moved, number)
        elif classes is not None and not all(name.isdecimal() for name in names):
            _tell(folder, "classes are in the order of the names", names, number)
        return list(number.values()), names
    width = max(len(str(classes - 1)), len(names[0]) if names[0].isdecimal() else 0)
    every = [str(i).zfill(width) for i in range(classes)]
    number = {name: i for i, name in enumerate(every)}
    if not set(names) <= set(every):
        raise DataError(
            f"{folder}: {len(names)} class folders ({_some(names)}), this program has {classes} "
            "classes: add an empty folder for each of the others, so that the order of their names "
            f"tells the class; or name folders by class number, {every[0]} to {every[-1]}"
        )
    _tell(folder, f"{len(names)} class folders for {classes} classes", names, number)
    return [number[name] for name in names], every


def _tell(folder: Place, what: str, names: list[str], number: dict[str, int]) -> None:
    told = _some([f"{name} is class {number[name]}" for name in names], most=10)
    warnings.warn(f"{folder}: {what}: {told}", DataWarning, stacklevel=2)


def _some(names: list[str], most: int = 4) -> str:
    return ", ".join(names[:most]) + (", .." if len(names) > most else "")


def _image_files(folder: Place) -> list[Place]:
    found = (
        file
        for file in folder.iterdir()
        if file.suffix.lower() in sources.IMAGE_SUFFIXES
        and not file.name.startswith(".")
        and file.is_file()
    )
    return sorted(found, key=attrgetter("name"))
