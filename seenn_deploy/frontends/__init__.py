"""Ways in: each file turns one kind of source into a float :class:`SpikingGraph`.

A frontend module has ``SUFFIXES`` and ``read(path, **options) -> SpikingGraph``; it is found by
its file name and imported only when a file with one of its suffixes is opened.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

from seenn_deploy.errors import ModelError
from seenn_deploy.graph import SpikingGraph


def import_model(path: str | Path, **options: Any) -> SpikingGraph:
    """Read a trained network.

    Parameters
    ----------
    path : str or Path
        ``.pth``, ``.pt`` or ``.safetensors``: a state_dict as SEENN's training script saves it.
    **options
        What the file cannot say; see the frontend, e.g. :func:`seenn_deploy.frontends.seenn.read`.

    Raises
    ------
    ModelError
        When the file is missing, unsafe, damaged, or of a network that is not known.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"{path}: no such file")
    modules = [import_module(f"{__name__}.{m.name}") for m in iter_modules(__path__)]
    for module in modules:
        if path.suffix.lower() in module.SUFFIXES:
            graph: SpikingGraph = module.read(path, **options)
            return graph
    known = ", ".join(sorted(s for m in modules for s in m.SUFFIXES))
    raise ModelError(
        f"{path}: no frontend reads {path.suffix or 'a file without suffix'} ({known})"
    )
