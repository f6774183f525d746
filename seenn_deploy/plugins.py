"""The one finder of extensions: a file in a room's folder is an extension, its name is the name.

A frontend, adapter, exit rule, cost model, node kind, target or device is one file. Files of the
package itself come first; then those of the folder that ``SEENN_PLUGINS`` names, which has the same
subfolders (``exits/lead.py``), so nothing has to be written into an installed package.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from importlib import import_module
from pathlib import Path
from types import ModuleType

VARIABLE = "SEENN_PLUGINS"


def folders(room: str) -> list[Path]:
    """Where a room's extensions lie, the package's own folder first.

    Parameters
    ----------
    room : str
        A folder of the package, with slashes: ``exits``, ``frontends/torch/adapters``.
    """
    path = import_module(_dotted(room)).__path__
    extra = [str(Path(p, room)) for p in os.environ.get(VARIABLE, "").split(os.pathsep) if p]
    path.extend(p for p in extra if p not in path)
    return [Path(p) for p in path]


def names(room: str, without: Collection[str] = ()) -> list[str]:
    """The extensions of a room in alphabetical order; `without` leaves out its other files."""
    found = {
        entry.name.removesuffix(".py")
        for folder in folders(room)
        if folder.is_dir()
        for entry in folder.iterdir()
        if entry.suffix == ".py" or (entry / "__init__.py").is_file()
    }
    return sorted(name for name in found if not name.startswith("_") and name not in without)


def load(room: str, name: str, main: str = "") -> ModuleType:
    """The module of an extension that `names` lists, imported when it is first asked for.

    Of an extension that is a folder it is the file `main` in it: ``write.py`` of a target.
    """
    folders(room)
    module = import_module(f"{_dotted(room)}.{name}")
    is_folder = hasattr(module, "__path__")
    return import_module(f"{module.__name__}.{main}") if main and is_folder else module


def _dotted(room: str) -> str:
    return f"{__package__}.{room.replace('/', '.')}"
