"""Tar shards of encoded images, as webdataset writes them: a sample is ``key.jpg`` and ``key.cls``.

The members of a sample follow each other and share all of their name up to the first dot of its
last part (https://github.com/webdataset/webdataset). The class stands in ``key.cls``, as a number,
or in ``key.json``, as ``label`` or ``cls``; other members are passed over. Headers are read once,
for an index of some tens of bytes a sample; images are read when they are asked for.
"""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from itertools import product
from operator import attrgetter
from typing import IO, Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from seenn_deploy._typing import Shape
from seenn_deploy.errors import DataError
from seenn_deploy.io.images.preparation import Preparation
from seenn_deploy.io.images.remote import Place, place, reached
from seenn_deploy.io.images.sources import IMAGE_SUFFIXES, EncodedImages
from seenn_deploy.progress import shown

SUFFIX = ".tar"
LABELS = ("label", "cls")  # the keys of a .json that may hold the class
_MOST_TEXT = 1 << 20  # bytes of a .cls or .json
_BLOCK = 512  # bytes of a tar's header
_PADDING = 1 << 16  # bytes behind the last member, of which a tar has 10 kB at most
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_MOST_SHARDS = 100_000


def find(where: Place) -> list[Place]:
    """List the shards that a path means; none where it means something else.

    Parameters
    ----------
    where : Path or Remote
        A ``.tar``, a folder of them, or several by ``val-{000..049}.tar`` or ``val-*.tar``.

    Raises
    ------
    DataError
        When a shard is missing, or a pattern fits none.
    """
    text = str(where)
    if where.suffix.lower() == SUFFIX:
        if where.exists():
            return [where]
        return _matching(text) if "{" in text or "*" in text else []
    if where.is_dir():
        found = sorted(
            (x for x in where.iterdir() if x.suffix.lower() == SUFFIX), key=attrgetter("name")
        )
        return [x for x in found if not x.name.startswith(".")]
    return []


def _matching(text: str) -> list[Place]:
    found: list[Place] = []
    for one in _expanded(text):
        shard = place(one)
        if "*" not in shard.name:
            if not shard.exists():
                raise DataError(f"{shard}: no such shard")
            found.append(shard)
            continue
        folder = shard.parent
        held = folder.iterdir() if folder.is_dir() else ()
        some: list[Place] = [x for x in held if fnmatchcase(x.name, shard.name)]
        if not some:
            raise DataError(f"{shard}: no shard of such a name")
        found += sorted(some, key=attrgetter("name"))
    return found


def _expanded(text: str) -> Iterator[str]:
    """Yield what braces stand for: 000..049 all numbers from one to the other, a,b either."""
    parts = _BRACES.split(text)
    choices: list[Sequence[str]] = []
    for inside in parts[1::2]:
        if ends := _RANGE.fullmatch(inside):
            first, last, width = int(ends[1]), int(ends[2]), len(ends[1])
            if not 0 <= last - first < _MOST_SHARDS:
                raise DataError(f"{text}: {{{inside}}} is no range of shards; give FIRST..LAST")
            choices.append([str(i).zfill(width) for i in range(first, last + 1)])
        else:
            choices.append(inside.split(","))
    for chosen in product(*choices):
        between = [*chosen, ""]
        yield "".join(a + b for a, b in zip(parts[::2], between, strict=True))


class TarShards(EncodedImages):
    """The images of tar shards, in the order of the shards and of their members.

    Parameters
    ----------
    name : str
        What the shards are called together.
    shards : sequence of Path or Remote
    takes : (C, H, W)
    preparation : Preparation, optional

    Attributes
    ----------
    labels : int64 array (N,), optional
        None where no sample has a class.

    Raises
    ------
    DataError
        When a shard is damaged, a sample has no image or no class though others have one, or a
        class is no whole number; the message names shard and member.
    """

    def __init__(
        self,
        name: str,
        shards: Sequence[Place],
        takes: Shape,
        preparation: Preparation | None = None,
    ) -> None:
        self.name, self._shards = name, tuple(shards)
        found: list[_Found] = []
        with shown(None, "reading the index of shards", len(shards)) as advance:
            for shard in shards:
                found.append(_Index.of(shard))  # arrays: lists of 50,000 would take 10 MB
                if advance:
                    advance(1)
        self._first = np.cumsum([0, *(len(one.names) for one in found)])
        self._offset = np.concatenate([one.offset for one in found])
        self._size = np.concatenate([one.size for one in found])
        self._names = np.concatenate([one.names for one in found])
        self.labels = _together(shards, found)
        super().__init__(len(self._offset), takes, preparation)

    def where(self, i: int) -> str:
        return f"{self._shards[self._shard_of(i)]}: {self._names[i].decode()}"

    def encoded(self, start: int, stop: int) -> Iterator[io.BytesIO]:
        while start < stop:
            number = self._shard_of(start)
            end = min(stop, int(self._first[number + 1]))
            shard = self._shards[number]
            with reached(shard), shard.open("rb") as file:
                for i in range(start, end):
                    file.seek(int(self._offset[i]))
                    raw = file.read(int(self._size[i]))
                    if len(raw) != self._size[i]:
                        raise DataError(f"{self.where(i)}: the shard ends early; copy it anew")
                    yield io.BytesIO(raw)
            start = end

    def _shard_of(self, i: int) -> int:
        return int(np.searchsorted(self._first, i, side="right")) - 1


@dataclass(frozen=True)
class _Found:
    """Where the n images of a shard lie, their names, and their classes; arrays (n,)."""

    offset: NDArray[np.int64]
    size: NDArray[np.int64]
    names: NDArray[np.bytes_]
    labels: NDArray[np.int64] | None


@dataclass
class _Index:
    """The images of a shard while its members are being read."""

    shard: Place
    offset: list[int] = field(default_factory=list)
    size: list[int] = field(default_factory=list)
    names: list[bytes] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    # Of the sample whose members are being read.
    key: str = ""
    image: tarfile.TarInfo | None = None
    label: int | None = None
    said: str = ""

    @classmethod
    def of(cls, shard: Place) -> _Found:
        index, last = cls(shard), "its beginning"
        with reached(shard), shard.open("rb") as file:
            try:
                with tarfile.open(fileobj=file, mode="r:") as archive:
                    while (member := archive.next()) is not None:
                        archive.members.clear()  # type: ignore[attr-defined]  # it keeps every one
                        last = member.name
                        index.enter(member, archive)
                    end = archive.offset
                _check_end(file, end)
            except tarfile.TarError as error:
                index.refuse(f"damaged behind {last} ({error}); copy or make it anew")
        index.close()
        if not index.names:
            index.refuse("no images in it; a sample is key.jpg and key.cls")
        return _Found(
            np.array(index.offset, np.int64),
            np.array(index.size, np.int64),
            np.array(index.names, np.bytes_),
            np.array(index.labels, np.int64) if index.labels else None,
        )

    def enter(self, member: tarfile.TarInfo, archive: tarfile.TarFile) -> None:
        """Take a member in, as a part of its sample."""
        folder, slash, base = member.name.rpartition("/")
        stem, _, suffix = base.partition(".")
        if not member.isreg() or not stem:  # a name that begins with a dot is hidden
            return
        if (key := folder + slash + stem) != self.key:
            self.close()
            self.key = key
        suffix = suffix.lower()
        if f".{suffix}" in IMAGE_SUFFIXES:
            if self.image is not None:
                self.refuse(f"{self.image.name} and {member.name} are one sample; keep one")
            if member.issparse():
                self.refuse(f"{member.name} is stored with holes; make the shard anew")
            self.image = member
        elif suffix in ("cls", "json"):
            self._label(member, suffix, archive)

    def _label(self, member: tarfile.TarInfo, suffix: str, archive: tarfile.TarFile) -> None:
        file = archive.extractfile(member)
        text = file.read(_MOST_TEXT + 1) if file else b""
        if len(text) > _MOST_TEXT:
            self.refuse(f"{member.name} has more than {_MOST_TEXT} bytes; a class is a number")
        value: Any = None
        try:
            value = int(text) if suffix == "cls" else json.loads(text)
        except (ValueError, RecursionError):
            self.refuse(f"{member.name} holds {text[:20]!r}, no {_KINDS[suffix]}")
        if suffix == "json":
            known = [key for key in LABELS if isinstance(value, dict) and key in value]
            if not known:
                self.refuse(f"{member.name} has no key {' or '.join(LABELS)}")
            value = value[known[0]]
        if type(value) is not int or not 0 <= value < 1 << 31:
            self.refuse(f"{member.name} says class {value!r}; give a whole number from 0")
        if self.label not in (None, value):
            self.refuse(f"{self.said} says class {self.label}, {member.name} {value}")
        self.label, self.said = value, member.name

    def close(self) -> None:
        """End a sample, which has to have an image if it has a class."""
        if self.image is None and self.label is not None:
            self.refuse(
                f"{self.said} has no image beside it ({self.key}.jpg); the members of a sample "
                "follow each other"
            )
        if self.image is not None:
            name = self.image.name.encode(errors="replace")
            if self.names and (self.label is None) == bool(self.labels):
                self.refuse(_lonely(name.decode(), self.label is not None))
            self.offset.append(self.image.offset_data)
            self.size.append(self.image.size)
            self.names.append(name)
            self.labels += [] if self.label is None else [self.label]
        self.image = self.label = None

    def refuse(self, what: str) -> NoReturn:
        raise DataError(f"{self.shard}: {what}")


_KINDS = {"cls": "class as a number", "json": "JSON"}


def _lonely(member: str, labelled: bool) -> str:
    what = "has a class, others have none" if labelled else "has no .cls or .json, others have"
    return f"{member} {what}: give one to every sample, or to none"


def _check_end(file: IO[bytes], end: int) -> None:
    """Refuse a shard that does not end as a tar does; tarfile takes damage there for its end."""
    file.seek(end)
    found = file.read(_PADDING)
    if len(found) < _BLOCK or any(found[:_BLOCK]):
        raise tarfile.ReadError("no end mark follows")
    if any(found):
        raise tarfile.ReadError("more follows the end mark, as where two tars were joined")


def _together(shards: Sequence[Place], found: list[_Found]) -> NDArray[np.int64] | None:
    labels = [one.labels for one in found if one.labels is not None]
    if labels and len(labels) < len(found):
        first = found[0].labels is None
        odd = next(i for i, one in enumerate(found) if (one.labels is None) != first)
        raise DataError(f"{shards[odd]}: {_lonely(found[odd].names[0].decode(), first)}")
    return np.concatenate(labels) if labels else None
