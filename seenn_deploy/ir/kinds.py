"""Kinds of nodes and linear maps by the names of their files, which programs on disk hold."""

from __future__ import annotations

from typing import Any

from seenn_deploy import plugins
from seenn_deploy.errors import ModelError

ROOMS = ("ir/nodes", "ir/maps")


def names(room: str) -> list[str]:
    """The kinds of a room, ``ir/nodes`` or ``ir/maps``."""
    return plugins.names(room, without=("base",))


def find(room: str, kind: str, base: type[Any]) -> type[Any]:
    """The class of a kind: the child of `base` that its file defines.

    Raises
    ------
    ModelError
        When there is no such file, or no such class in it.
    """
    if kind not in names(room):
        raise ModelError(
            f"{room}: kind {kind!r} does not exist; there are {', '.join(names(room))}; "
            f"${plugins.VARIABLE} names the folder of further ones"
        )
    module = plugins.load(room, kind)
    for found in vars(module).values():
        # A file also has the classes that it imports, among them the base itself.
        ours = isinstance(found, type) and found.__module__ == module.__name__
        if ours and issubclass(found, base):
            kind_class: type[Any] = found
            return kind_class
    raise ModelError(f"{module.__file__}: it defines no child of {base.__name__}")


def attribute(name: str) -> Any:
    """A class that a kind's file defines, as ``ir.Diagonal`` of ``ir/maps/diagonal.py``."""
    for room in ROOMS:
        for kind in names(room):
            if kind.replace("_", "") == name.lower():
                return getattr(plugins.load(room, kind), name)
    raise AttributeError(f"module 'seenn_deploy.ir' has no attribute {name!r}")
