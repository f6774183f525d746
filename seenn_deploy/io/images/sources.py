"""The places images come from, each read block by block: arrays, ``.npz`` members, image files.

A source gives images as they are stored; :mod:`seenn_deploy.io.images.image_set` checks and
converts them. Nothing here holds more than one block of decoded images, or one array of labels
or offsets.
"""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path
from tokenize import TokenError
from typing import IO, Protocol

import numpy as np

from seenn_deploy._typing import Array, Shape
from seenn_deploy.errors import DataError
from seenn_deploy.io.images.preparation import Preparation
from seenn_deploy.io.images.remote import Place, reached

IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
# Pillow knows formats that start other programs (EPS); only these are ever decoded
_PILLOW_FORMATS = ("BMP", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
_PILLOW_MODES = {1: ("L", "1"), 3: ("RGB", "P")}
_MODES = {"1": "black and white", "L": "grey", "P": "of a palette", "RGBA": "RGB with transparency"}
# What numpy raises for a damaged .npy: it takes the header for Python's text.
DAMAGED_ARRAY = (OSError, EOFError, ValueError, SyntaxError, TokenError)
_NPY_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


class StoredImages(Protocol):
    """Images as they are stored, before :class:`InputSpec` checks and converts them."""

    @property
    def shape(self) -> Shape:
        """The shape of all images together, (N, ...)."""

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """The type of the stored values."""

    @property
    def name(self) -> str:
        """The name of the whole set in error messages."""

    def where(self, i: int) -> str:
        """Return the name of image `i` in error messages."""

    def blocks(self, start: int, stop: int, size: int) -> Iterator[Array]:
        """Yield images `start` to `stop`, in order, at most `size` at a time."""


@dataclass(frozen=True)
class Window:
    """Some images of a source: `first` up to `stop`."""

    source: StoredImages
    first: int
    stop: int

    @property
    def shape(self) -> Shape:
        return (self.stop - self.first, *self.source.shape[1:])

    @property
    def dtype(self) -> np.dtype[np.generic]:
        return self.source.dtype

    @property
    def name(self) -> str:
        return self.source.name

    def where(self, i: int) -> str:
        return self.source.where(self.first + i)

    def blocks(self, start: int, stop: int, size: int) -> Iterator[Array]:
        return self.source.blocks(self.first + start, self.first + stop, size)


@dataclass(frozen=True, eq=False)
class ArraySource:
    """An array in memory or mapped from an ``.npy`` file."""

    array: Array
    name: str

    @classmethod
    def from_npy(cls, path: Path) -> ArraySource:
        """Map an ``.npy`` file without reading it.

        Raises
        ------
        DataError
            When it is no ``.npy`` file, is cut short, or holds Python objects.
        """
        try:
            return cls(np.lib.format.open_memmap(path, mode="r"), str(path))
        except DAMAGED_ARRAY as error:
            raise DataError(f"{path}: not a readable .npy file ({error}); save it anew") from None

    @property
    def shape(self) -> Shape:
        return self.array.shape

    @property
    def dtype(self) -> np.dtype[np.generic]:
        return self.array.dtype

    def where(self, i: int) -> str:
        return f"{self.name}[{i}]"

    def blocks(self, start: int, stop: int, size: int) -> Iterator[Array]:
        for i in range(start, stop, size):
            yield self.array[i : min(i + size, stop)]


@dataclass(frozen=True, eq=False)
class NpzMember:
    """One array of an ``.npz``, which is streamed: the file is opened anew for each reading.

    Parameters
    ----------
    path : Path or Remote
    key : str
        The array's name in the file.
    shape, dtype
        Shape and type of the array, from its header.
    start : int
        Length of the header in bytes.
    """

    path: Place
    key: str
    shape: Shape
    dtype: np.dtype[np.generic]
    start: int

    @classmethod
    def open(cls, path: Place, key: str) -> NpzMember:
        """Read the header of one array.

        Raises
        ------
        DataError
            When the array is damaged, holds Python objects or is in Fortran order.
        """
        member = f"{key}.npy"
        with _archive(path) as archive, archive.open(member) as file:
            shape, fortran, dtype = npy_header(file)
            found = cls(path, key, shape, dtype, file.tell())
            stored = archive.getinfo(member).file_size
        if dtype.hasobject:
            raise DataError(
                f"{found.name} holds Python objects, which are never loaded; save numbers"
            )
        if fortran and len(shape) > 1:
            raise DataError(
                f"{found.name} is stored in Fortran order, which cannot be streamed; "
                "save np.ascontiguousarray(x)"
            )
        if found.start + math.prod(shape) * dtype.itemsize != stored:
            raise DataError(
                f"{found.name} is cut short (shape {shape}, {stored} bytes); save it anew"
            )
        return found

    @property
    def name(self) -> str:
        return f"{self.path}: {self.key}"

    def where(self, i: int) -> str:
        return f"{self.name}[{i}]"

    def blocks(self, start: int, stop: int, size: int) -> Iterator[Array]:
        return self.pieces([*range(start, stop, size), stop])

    def pieces(self, edges: Sequence[int] | Array) -> Iterator[Array]:
        """Yield rows ``edges[0]:edges[1]``, ``edges[1]:edges[2]``, .. in one pass over the file."""
        row = math.prod(self.shape[1:]) * self.dtype.itemsize
        with _archive(self.path) as archive, archive.open(f"{self.key}.npy") as file:
            file.seek(self.start + int(edges[0]) * row)
            for i, j in pairwise(edges):
                count = int(j) - int(i)
                data = file.read(count * row)
                if len(data) != count * row:
                    raise DataError(f"{self.where(int(i))}: the file ends early; save it anew")
                yield np.frombuffer(data, self.dtype).reshape(count, *self.shape[1:])

    def load(self) -> Array:
        """Read the whole array; only labels and offsets are small enough for that."""
        if not self.shape:
            raise DataError(f"{self.name} is a single value; expected one per sample")
        return next(self.pieces([0, self.shape[0]]))


def npz_keys(path: Place) -> list[str]:
    """List the names of the arrays in an ``.npz``.

    Raises
    ------
    DataError
        When the file is no readable ``.npz``.
    """
    with _archive(path) as archive:
        return [name[:-4] for name in archive.namelist() if name.endswith(".npy")]


@contextmanager
def _archive(path: Place) -> Iterator[zipfile.ZipFile]:
    """Open an ``.npz``; whatever a damaged or foreign file raises becomes an error of one line."""
    with reached(path):
        try:
            with path.open("rb") as file, zipfile.ZipFile(file) as archive:
                yield archive
        except (*DAMAGED_ARRAY, zipfile.BadZipFile, zlib.error) as error:
            what = str(error)[:200]  # zipfile quotes whatever stands in the place of a name
            raise DataError(f"{path}: not a readable .npz file ({what}); save it anew") from None
        except (RuntimeError, NotImplementedError) as error:  # a password, an unusual compression
            raise DataError(
                f"{path}: cannot be unpacked ({error}); save it with np.savez"
            ) from None


def npy_header(file: IO[bytes]) -> tuple[Shape, bool, np.dtype[np.generic]]:
    """Read shape, Fortran order and type of an ``.npy``, up to its first value."""
    version = np.lib.format.read_magic(file)
    if version not in _NPY_HEADERS:
        raise ValueError(f"array format {version[0]}.{version[1]} is unknown")
    shape, fortran, dtype = _NPY_HEADERS[version](file)
    return tuple(shape), bool(fortran), dtype


class EncodedImages(ABC):
    """Encoded images, which are decoded block by block into uint8 arrays (n, H, W, C).

    Parameters
    ----------
    count : int
        Number of images.
    takes : (C, H, W)
        The shape that the program takes; an image of another size or kind is refused.
    preparation : Preparation, optional
        How the program wants images resized, cropped and converted before.
    """

    dtype = np.dtype(np.uint8)
    name: str

    def __init__(self, count: int, takes: Shape, preparation: Preparation | None = None) -> None:
        self.shape: Shape = (count, *takes[1:], takes[0])
        self._preparation = preparation

    @abstractmethod
    def where(self, i: int) -> str:
        """Return the name of image `i` in error messages."""

    @abstractmethod
    def encoded(self, start: int, stop: int) -> Iterator[Path | io.BytesIO]:
        """Yield the encoded images `start` to `stop`, in order."""

    def blocks(self, start: int, stop: int, size: int) -> Iterator[Array]:
        """Yield the decoded images `start` to `stop`, at most `size` at a time."""
        images = (
            _decode(raw, self.where(i), self.shape[1:], self._preparation)
            for i, raw in enumerate(self.encoded(start, stop), start)
        )
        while block := list(islice(images, size)):
            yield np.stack(block)


class PackedImages(EncodedImages):
    """Encoded images that lie after one another in one uint8 array of an ``.npz``."""

    def __init__(self, path: Place, takes: Shape, preparation: Preparation | None = None) -> None:
        self._bytes = NpzMember.open(path, "jpeg")
        self._offsets = NpzMember.open(path, "offsets").load()
        self.name = self._bytes.name
        self._check(path)
        super().__init__(len(self._offsets) - 1, takes, preparation)

    def where(self, i: int) -> str:
        return self._bytes.where(i)

    def encoded(self, start: int, stop: int) -> Iterator[Path | io.BytesIO]:
        for piece in self._bytes.pieces(self._offsets[start : stop + 1]):
            yield io.BytesIO(piece.tobytes())

    def _check(self, path: Place) -> None:
        offsets, total = self._offsets, self._bytes.shape
        if self._bytes.dtype != np.uint8 or len(total) != 1:
            raise DataError(
                f"{self.name} is {self._bytes.dtype} of shape {total}; expected uint8 (B,)"
            )
        if offsets.ndim != 1 or not np.issubdtype(offsets.dtype, np.integer) or not len(offsets):
            raise DataError(
                f"{path}: offsets is {offsets.dtype} of shape {offsets.shape}; expected integers "
                "(N + 1,)"
            )
        falls = np.flatnonzero(offsets[1:] <= offsets[:-1])
        if len(falls):
            raise DataError(
                f"{path}: offsets[{falls[0] + 1}] is not above the one before; rebuild it"
            )
        if offsets[0] < 0 or offsets[-1] > total[0]:
            raise DataError(
                f"{path}: offsets run from {offsets[0]} to {offsets[-1]}, jpeg has {total[0]} "
                "bytes; rebuild the file"
            )


class ImageFiles(EncodedImages):
    """The image files of a folder."""

    def __init__(
        self,
        folder: Place,
        files: Sequence[Place],
        takes: Shape,
        preparation: Preparation | None = None,
    ) -> None:
        self.name = str(folder)
        self._files = files
        super().__init__(len(files), takes, preparation)

    def where(self, i: int) -> str:
        return str(self._files[i])

    def encoded(self, start: int, stop: int) -> Iterator[Path | io.BytesIO]:
        for file in self._files[start:stop]:
            yield file if isinstance(file, Path) else io.BytesIO(file.read_bytes())


def _decode(
    raw: Path | io.BytesIO, where: str, shape: Shape, preparation: Preparation | None
) -> Array:
    """Decode one image to uint8 (H, W, C); refuse one that is not what the program takes."""
    from PIL import Image, UnidentifiedImageError

    height, width, channels = shape
    kind = "grey" if channels == 1 else "RGB"
    try:
        with Image.open(raw, formats=_PILLOW_FORMATS) as opened:
            image: Image.Image = opened
            if preparation is not None:
                image = preparation.apply(opened, channels == 1, where)
            if image.size != (width, height):
                raise DataError(
                    f"{where} is {image.height}x{image.width} (height x width), this program takes "
                    f"{height}x{width}: resize or crop all images to it, or compile with --resize"
                )
            if image.mode not in _PILLOW_MODES[channels]:
                raise DataError(
                    f"{where} is {_MODES.get(image.mode, image.mode)}, this program takes "
                    f"{kind} images: convert it"
                )
            pixels = np.asarray(image.convert("L" if channels == 1 else "RGB"))
    except UnidentifiedImageError:  # Pillow names the object in memory
        raise DataError(
            f"{where}: not a readable image (of no known format); replace or remove it"
        ) from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{where}: not a readable image ({error}); replace or remove it") from None
    return pixels.reshape(shape)
