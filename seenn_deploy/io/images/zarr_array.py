"""Zarr arrays, on this machine or at an address, of which one chunk at a time is in memory.

A group holds ``x`` and, if there are labels, ``y`` or ``labels``, as an ``.npz`` does; an array
alone is ``x``. Chunks are decoded by codecs that an array names, and one of those that exist runs
code of whoever wrote it (pickles): only codecs of numbers are ever let near a chunk.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from seenn_deploy._typing import Array, Shape
from seenn_deploy.errors import DataError, DataWarning
from seenn_deploy.io.images.remote import Place, reached

SUFFIX = ".zarr"
_MARKS = ("zarr.json", ".zarray", ".zgroup")
CODECS = {
    "bytes", "endian", "transpose", "sharding_indexed", "crc32c", "crc32", "adler32", "fletcher32",
    "blosc", "zstd", "gzip", "zlib", "lz4", "bz2", "lzma", "zfpy", "pcodec", "shuffle",
    "bitshuffle", "bitround", "delta", "fixedscaleoffset", "quantize", "packbits", "astype",
}  # fmt: skip


def is_zarr(where: Place) -> bool:
    """Tell by its name, or by what a folder holds, whether a path means zarr."""
    if where.suffix.lower() == SUFFIX:
        return where.exists()
    return where.is_dir() and any(held.name in _MARKS for held in where.iterdir())


@dataclass(frozen=True, eq=False)
class ZarrArray:
    """One array, which is opened anew where it is read.

    Parameters
    ----------
    place : Path or Remote
    key : str
        Name in the group; '' of an array alone.
    shape, dtype
    rows : int
        Samples that a chunk holds.
    """

    place: Place
    key: str
    shape: Shape
    dtype: np.dtype[np.generic]
    rows: int

    @classmethod
    def find(cls, place: Place) -> dict[str, ZarrArray]:
        """Return the arrays by name, '' that of an array alone, without reading a chunk.

        Raises
        ------
        DataError
            When zarr is not installed, it is no zarr, or an array is not one of plain numbers.
        """
        if find_spec("zarr") is None:
            raise DataError(
                f"{place}: zarr arrays need zarr: pip install 'seenn-deploy[data]', with Python "
                "3.11 or later"
            )
        import zarr

        _opened.cache_clear()  # it may have been written anew
        found = _opened(place)
        if isinstance(found, zarr.Array):
            return {"": cls._of(place, "", found)}
        return {name: cls._of(place, name, array) for name, array in found.arrays()}

    @classmethod
    def _of(cls, place: Place, key: str, array: Any) -> ZarrArray:
        where = f"{place}: {key}" if key else str(place)
        for codec in _codecs(array.metadata.to_dict()):
            if codec.removeprefix("numcodecs.") not in CODECS:
                raise DataError(
                    f"{where} is stored by codec {codec}, which is not one of numbers; save plain "
                    "numbers"
                )
        if np.dtype(array.dtype).kind not in "biuf":
            raise DataError(f"{where} is {array.dtype}; save plain numbers")
        chunks = array.chunks
        rows = max(int(chunks[0]), 1) if chunks else 1
        return cls(place, key, tuple(array.shape), np.dtype(array.dtype), rows)

    @property
    def name(self) -> str:
        return f"{self.place}: {self.key}" if self.key else str(self.place)

    def where(self, i: int) -> str:
        return f"{self.name}[{i}]"

    def load(self) -> Array:
        """Read the whole array; only labels are small enough for that."""
        return self._read(0, self.shape[0])

    def blocks(self, start: int, stop: int, size: int) -> Iterator[Array]:
        """Yield rows `start` to `stop`, at most `size` at a time; a chunk is decoded once."""
        first, held = start, self._read(start, start)
        for i in range(start, stop, size):
            at, end, parts = i, min(i + size, stop), []
            while at < end:
                if at == first + len(held):
                    first, until = at, min(stop, (at // self.rows + 1) * self.rows)
                    held = self._read(at, until)
                    self._tell_unwritten(held, at)
                part = held[at - first : end - first]
                parts.append(part)
                at += len(part)
            yield parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _read(self, start: int, stop: int) -> Array:
        if start == stop:
            return np.empty((0, *self.shape[1:]), self.dtype)
        try:
            opened = _opened(self.place)
            array: Any = opened[self.key] if self.key else opened
            return np.asarray(array[start:stop])
        except (DataError, MemoryError):
            raise
        except Exception as error:  # each codec has errors of its own
            what = str(error).split("\n", maxsplit=1)[0] or type(error).__name__
            raise DataError(
                f"{self.name}[{start}:{stop}]: not a readable chunk ({what}); copy it anew"
            ) from None

    def _tell_unwritten(self, values: Array, start: int) -> None:
        """Zarr reads a chunk that is missing as zeros, which also is how it stores zeros."""
        if not values.any():
            warnings.warn(
                f"{self.name}[{start}:{start + len(values)}] is nothing but zeros, as a chunk that "
                "is missing reads",
                DataWarning,
                stacklevel=2,
            )


def _codecs(told: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names of all codecs in an array's metadata, those inside of others included."""
    for key in ("codecs", "index_codecs", "filters", "compressor"):
        found = told.get(key) or ()
        for codec in found if isinstance(found, list | tuple) else [found]:
            if not isinstance(codec, Mapping):
                yield str(codec)
                continue
            yield str(codec.get("id", codec.get("name")))
            yield from _codecs({**codec, **(codec.get("configuration") or {})})


@lru_cache(maxsize=8)
def _opened(place: Place) -> Any:
    """An opened array or group; a chunk of samples would open it again and again."""
    import zarr
    from zarr.storage import FsspecStore, LocalStore

    with reached(place):
        store: Any = (
            LocalStore(place, read_only=True)
            if isinstance(place, Path)
            else FsspecStore.from_url(str(place), read_only=True)
        )
        return zarr.open(store, mode="r")
