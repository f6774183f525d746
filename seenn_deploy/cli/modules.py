"""Torch modules on the command line as ``file.py:name``; the user's file is run."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from seenn_deploy.errors import ModelError


def is_named(model: Path) -> bool:
    """Tell whether a model is ``file.py:name`` and not a file of weights."""
    return ".py:" in model.name


def opened(model: Path, given: str | None) -> tuple[Any, Any]:
    """Return the torch module of ``file.py:name`` and its example, or a file's path and None.

    Raises
    ------
    ModelError
        When an example is missing, or given for a file; and as `load` and `example`.
    """
    if not is_named(model):
        if given is not None:
            raise ModelError(f"--example is for torch modules (FILE.py:NAME), not for {model.name}")
        return model, None
    if given is None:
        raise ModelError(f"{model}: say what the module takes: --example 2,3,32,32")
    return load(model), example(given)


def load(model: Path) -> Any:
    """Return the torch module ``name`` of a file, or the one that ``name()`` returns.

    Raises
    ------
    ModelError
        When the file or the name is missing, its code raises, or what comes is no torch module.
    """
    from torch import nn

    # SpikingJelly defines its kernels at first use, of each of which torch would say so.
    logging.getLogger("torch._library.triton").setLevel(logging.ERROR)
    file, name = str(model).rsplit(":", 1)
    python = _run_file(Path(file))
    if not hasattr(python, name):
        raise ModelError(f"{file}: has no {name!r}; it defines {_defined(python)}")
    found = getattr(python, name)
    # A module is callable too, and calling it would be a forward without an input.
    if callable(found) and not isinstance(found, nn.Module):
        found = _told(found, Path(file), f"{name}()")
    if not isinstance(found, nn.Module):
        raise ModelError(f"{model}: is {type(found).__name__}, no torch module or what returns one")
    return found


def example(given: str) -> Any:
    """Make a batch for a module: of a shape such as ``2,3,32,32``, or from a ``.npy`` file.

    Raises
    ------
    ModelError
    """
    import torch

    if given.endswith(".npy"):
        try:
            return torch.from_numpy(np.load(given, allow_pickle=False))
        except (OSError, ValueError, TypeError) as error:
            raise ModelError(f"{given}: not an array that can be read ({error})") from None
    sizes = given.split(",")
    if not all(size.strip().isdigit() and int(size) for size in sizes):
        raise ModelError(f"--example {given}: give a shape as 2,3,32,32, or a .npy file")
    # The same batch every time, because what an import proves depends on it.
    seeded = torch.Generator().manual_seed(0)
    return torch.rand(tuple(map(int, sizes)), generator=seeded)


def _run_file(file: Path) -> ModuleType:
    if not file.is_file():
        raise ModelError(f"{file}: no such file")
    spec = spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    python = module_from_spec(spec)
    sys.modules[file.stem] = python  # torch names the user's lines by it
    # As `python FILE.py` would have it: the user's file may import its neighbours.
    sys.path.insert(0, str(file.parent))
    _told(lambda: spec.loader.exec_module(python), file, "running it")  # type: ignore[union-attr]
    return python


def _told(function: Callable[[], Any], file: Path, what: str) -> Any:
    """Call the user's code; an error in it becomes one line with its place."""
    try:
        return function()
    except Exception as error:  # whatever it raises
        lines = [
            frame.lineno
            for frame in traceback.extract_tb(error.__traceback__)
            if Path(frame.filename).name == file.name
        ]
        line = getattr(error, "lineno", None) if isinstance(error, SyntaxError) else None
        at = line or (lines[-1] if lines else None)
        where = f"{file}:{at}" if at else str(file)
        text = " ".join(str(error).split())
        raise ModelError(f"{where}: {what} raised {type(error).__name__}: {text}") from None


def _defined(python: ModuleType) -> str:
    from torch import nn

    own = {
        name
        for name, value in vars(python).items()
        if isinstance(value, nn.Module) or getattr(value, "__module__", "") == python.__name__
    }
    return ", ".join(sorted(n for n in own if not n.startswith("_"))) or "nothing"
