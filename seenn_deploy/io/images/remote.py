"""Files where they lie: on this machine, or at an address that fsspec knows (s3://, gs://, hf://).

fsspec (https://filesystem-spec.readthedocs.io) gives every storage the same face; the library of a
storage, such as s3fs for ``s3://``, is installed beside it. Here is only as much of a path as
sources of images need, so that they read both kinds alike.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any, TypeAlias, cast

from seenn_deploy.errors import DataError, SeennError, UnreachableError

_ADDRESS = re.compile(r"[A-Za-z][\w+.-]*(://|::)")
_LOCAL = "file://"


@dataclass(frozen=True)
class Remote:
    """A file or folder behind an address; the methods are those of a path.

    Parameters
    ----------
    url : str
        Address as fsspec takes it, chains such as ``simplecache::s3://..`` included.
    kind : str
        'file' or 'directory' where a listing said so; '' asks the storage.
    """

    url: str
    kind: str = ""

    def __str__(self) -> str:
        return self.url

    @property
    def name(self) -> str:
        """The last part of the address."""
        return self._ends()[0].rstrip("/").rpartition("/")[2]

    @property
    def suffix(self) -> str:
        return Path(self.name).suffix

    @property
    def parent(self) -> Remote:
        head, rest = self._ends()
        above = head.rstrip("/").rpartition("/")[0]
        return Remote(above + ("/" if above.endswith(":/") else "") + rest)

    def exists(self) -> bool:
        return bool(self._found())

    def is_dir(self) -> bool:
        return self._found() == "directory"

    def is_file(self) -> bool:
        return self._found() == "file"

    def iterdir(self) -> Iterator[Remote]:
        """Yield what a folder holds, in no order."""
        system, path = self._system()
        with reached(self):
            listed = system.ls(path, detail=True)
        for found in listed:
            name = str(found["name"]).rstrip("/").rpartition("/")[2]
            if name != self.name or found["type"] != "directory":  # some storages list the folder
                yield self._child(name, found["type"])

    def open(self, mode: str = "rb") -> IO[bytes]:
        """Open for reading, with ranges of the file fetched as they are asked for."""
        system, path = self._system()
        with reached(self):
            return cast(IO[bytes], system.open(path, mode))

    def read_bytes(self) -> bytes:
        with reached(self), self.open() as file:
            return file.read()

    def _child(self, name: str, kind: str) -> Remote:
        head, rest = self._ends()
        return Remote(f"{head}{'' if head.endswith('/') else '/'}{name}{rest}", kind)

    def _ends(self) -> tuple[str, str]:
        """The part of a chain that holds the path, and what follows it."""
        links = self.url.split("::")
        at = next((i for i, link in enumerate(links) if "://" in link), len(links) - 1)
        rest = "".join(f"::{link}" for link in links[at + 1 :])
        return "::".join(links[: at + 1]), rest

    def _found(self) -> str:
        """'file', 'directory', or '' where there is none."""
        if self.kind:
            return self.kind
        system, path = self._system()
        with reached(self):
            # Not its exists(): that says no as well where a storage does not let in.
            try:
                return str(system.info(path)["type"])
            except FileNotFoundError:
                return ""

    def _system(self) -> tuple[Any, str]:
        if find_spec("fsspec") is None:
            raise DataError(f"{self.url}: addresses need fsspec: pip install 'seenn-deploy[data]'")
        from fsspec.core import url_to_fs

        with reached(self):
            system, path = url_to_fs(self.url)
        return system, str(path)


Place: TypeAlias = Path | Remote
"""Where a file or folder lies."""


def place(where: str | Place) -> Place:
    """Return a path for what lies on this machine, and a `Remote` for an address."""
    if not isinstance(where, str):
        return where
    if where.startswith(_LOCAL):
        return Path(where[len(_LOCAL) :])
    return Remote(where) if _ADDRESS.match(where) else Path(where)


@contextmanager
def reached(where: Place) -> Iterator[None]:
    """Turn what a storage raises into one line; each library has errors of its own.

    Raises
    ------
    UnreachableError
        When a file is missing, or a storage does not answer or let in.
    """
    try:
        yield
    except (SeennError, MemoryError):
        raise
    except Exception as error:
        told = getattr(error, "strerror", None) or str(error).split("\n", maxsplit=1)[0]
        if isinstance(error, FileNotFoundError):
            told = "no such file"
        raise UnreachableError(
            f"{where}: cannot be read ({told or type(error).__name__})"
        ) from None
