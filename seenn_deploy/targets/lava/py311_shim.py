"""Lets lava-nc 0.10.0 import on Python 3.11, installed by ``seenn setup-lava`` for want of 3.10.

From 3.11 on, ``dataclasses`` refuses a default value that cannot be hashed. Lava has one, an
instance of a dataclass in ``lava.magma.compiler.var_model``. While that module is executed, and
only then, its plain dataclasses get a hash.
"""

from __future__ import annotations

import dataclasses
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

NAME = "lava.magma.compiler.var_model"


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the one module as usual and wraps its loader."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != NAME:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)
        return spec


class _Loader(importlib.abc.Loader):
    def __init__(self, loader: Any) -> None:
        self.loader = loader

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        module: ModuleType | None = self.loader.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        original: Any = dataclasses.dataclass

        def hashable(cls: Any = None, /, **options: Any) -> Any:
            if cls is None or options or "__hash__" in cls.__dict__:
                return original(cls, **options)
            return original(cls, unsafe_hash=True)

        dataclasses.dataclass = hashable
        try:
            self.loader.exec_module(module)
        finally:
            dataclasses.dataclass = original


sys.meta_path.insert(0, _Finder())
