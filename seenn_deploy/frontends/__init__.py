"""Ways in: each file turns one kind of source into a float :class:`SpikingGraph`.

A frontend module is found by its file name and imported when a file is opened. It has

- ``SUFFIXES`` and ``read(path, **options) -> SpikingGraph``; and
- if it reads state_dicts, whose suffix says nothing about the network: ``NETWORKS``, the networks
  it knows in words, ``accepts(tensors) -> bool``, and ``build(tensors, **options)``, which
  `read` calls.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from inspect import signature
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

from seenn_deploy.checkpoint import Tensors, read_state_dict
from seenn_deploy.errors import ModelError
from seenn_deploy.graph import SpikingGraph


def import_model(path: str | Path, **options: Any) -> SpikingGraph:
    """Read a trained network.

    Parameters
    ----------
    path : str or Path
        ``.pth``, ``.pt`` or ``.safetensors``: a state_dict as SEENN's training scripts save it,
        directly trained or converted. ``.onnx``: an ANN, whose thresholds are in it (Clip) or come
        from calibration images (Relu).
    **options
        What the file cannot say; see the frontend, e.g. :func:`seenn_deploy.frontends.seenn.build`
        or :func:`seenn_deploy.frontends.qcfs.build`.

    Raises
    ------
    ModelError
        When the file is missing, unsafe, damaged, or of a network that is not known, or when its
        frontend does not know an option.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"{path}: no such file")
    modules = [import_module(f"{__name__}.{m.name}") for m in iter_modules(__path__)]
    fitting = [m for m in modules if path.suffix.lower() in m.SUFFIXES]
    if not fitting:
        known = ", ".join(sorted({s for m in modules for s in m.SUFFIXES}))
        raise ModelError(
            f"{path}: no frontend reads {path.suffix or 'a file without suffix'} ({known})"
        )
    if hasattr(fitting[0], "accepts"):
        return _from_state_dict(path, fitting, options)
    (module,) = fitting
    return _call(module.read, path, path, options)


def _from_state_dict(path: Path, modules: list[Any], options: dict[str, Any]) -> SpikingGraph:
    """By the first frontend that knows the network behind the names of the tensors."""
    tensors = Tensors(path, read_state_dict(path))
    module = next((m for m in modules if m.accepts(tensors)), None)
    if module is None:
        raise tensors.unknown(" or ".join(m.NETWORKS for m in modules))
    return _call(module.build, tensors, path, options)


def _call(
    function: Callable[..., SpikingGraph], given: Any, path: Path, options: dict[str, Any]
) -> SpikingGraph:
    _, *known = signature(function).parameters
    unknown = [name for name in options if name not in known]
    if unknown:
        frontend = function.__module__.rsplit(".", 1)[-1]
        raise ModelError(
            f"{path}: option {unknown[0]!r} means nothing for this network (frontend {frontend}; "
            f"it knows {', '.join(known)})"
        )
    return function(given, **options)
