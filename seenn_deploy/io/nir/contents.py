"""The groups and data sets of a NIR file as dicts, read in a process of its own.

What HDF5 may fetch from elsewhere is refused: links, raw data and virtual data sets that name other
files would make their bytes weights.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from seenn_deploy.errors import ModelError
from seenn_deploy.io import isolated

_DEPTH = 64  # sub-graphs within sub-graphs


def contents(path: Path) -> Any:
    """Return everything below the group ``node`` of a file.

    Raises
    ------
    ModelError
        When the file is damaged, holds too much or refers to other files.
    """
    import h5py

    isolated.limit([path])
    try:
        with h5py.File(path, "r") as file:
            return _Reader(isolated.allowed([path])).group(file, ("node",))["node"]
    except (ModelError, MemoryError):
        raise
    except Exception as error:  # h5py raises many kinds for a damaged file
        text = " ".join((str(error) or type(error).__name__).split())
        raise ModelError(f"not a readable NIR file ({text})") from None


class _Reader:
    """Reads groups while `left`, the bytes that a file of this size may hold, lasts."""

    def __init__(self, left: int) -> None:
        self.left = self.most = left

    def group(self, group: Any, names: Any = None, depth: int = 0) -> dict[str, Any]:
        """Read the members of a group; all of them, or those of these names."""
        if depth > _DEPTH:  # also where a group contains itself
            raise ModelError(f"its groups lie more than {_DEPTH} deep; export it again")
        found = {}
        for name in group if names is None else names:
            item = _own(group, name)
            nested = hasattr(item, "items")
            found[name] = self.group(item, None, depth + 1) if nested else self._data(item)
        return found

    def _data(self, data: Any) -> Any:
        """Read one data set: numbers, texts, or nothing else."""
        kind = getattr(data, "dtype", None)
        if kind is None or data.shape is None or kind.kind not in "biufSO":
            raise ModelError(f"{data.name}: holds {kind or 'no data'}, neither numbers nor text")
        if data.is_virtual or data.external:
            raise ModelError(f"{data.name}: its data lie in another file; put them into this one")
        self.left -= data.size * max(kind.itemsize, 1)
        if self.left < 0:
            raise ModelError(
                f"{data.name}: has shape {data.shape}, with which a file of this size would hold "
                f"more than {self.most // isolated.MIB} MiB; write it uncompressed"
            )
        value = data[()]
        return value if kind.kind in "biuf" else _texts(data.name, value)


def _own(group: Any, name: str) -> Any:
    """Return a member that lies in the group itself, not behind a link."""
    link = type(group.get(name, getlink=True)).__name__
    if link in ("SoftLink", "ExternalLink"):
        kind = "a link to another place" if link == "SoftLink" else "a link to another file"
        raise ModelError(f"{group.name.rstrip('/')}/{name}: is {kind}; put the data itself there")
    return group[name]


def _texts(name: str, value: Any) -> Any:
    """Return text, or nested lists of it."""
    if isinstance(value, bytes | str):
        return value.decode(errors="replace") if isinstance(value, bytes) else value
    if not isinstance(value, np.ndarray | list):
        raise ModelError(f"{name}: holds neither numbers nor text")
    return [_texts(name, item) for item in value]


if __name__ == "__main__":
    isolated.answer(contents)
