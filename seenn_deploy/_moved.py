"""Import paths of earlier releases, which go on working for one more with a DeprecationWarning.

``import seenn_deploy`` puts one finder behind Python's own. It knows the modules that moved in
version 0.2 and where each of them went; a module that was divided went to several.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any

_PACKAGE = __package__
# old folder or file: new ones, the first that has a name gives it
MOVED = {
    "adapters": ("frontends.torch.adapters", "frontends.torch.adapters.base"),
    "building": ("frontends.base", "io.images.normalization"),
    "calibration": ("evaluation.calibrate",),
    "checkpoint": ("io.state_dict",),
    "comparison": ("costs.ann",),
    "conversion": ("compiler.conversion", "frontends.convert"),
    "data": ("io.images", "io.images.image_set", "ir.inputs"),
    "folders": ("io.folders",),
    "graph": ("ir.graph", "ir.maps", "_typing"),
    "import_report": ("ir.text", "frontends.base"),
    "inspection": ("ir.inspection",),
    "loss_report": ("fidelity",),
    "models": ("training.models",),
    "nir_exchange": ("io.nir",),
    "onnx_file": ("io.onnx",),
    "policies": ("exits.policy_network",),
    "precision_report": ("verification.precision",),
    "program": ("ir.program", "ir.serialize", "ir.schedule"),
    "replay": ("ir.replay",),
    "schedules": ("ir.schedule", "evaluation.schedule"),
    "sweeps": ("evaluation.sweep",),
    "torch_import": ("frontends.torch",),
}


class _OldPaths(MetaPathFinder, Loader):
    """Finds modules under their old names and fills them from their new places."""

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        found = _places(fullname)
        return ModuleSpec(fullname, self, is_package=True) if found else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Moved(spec.name, _places(spec.name))

    def exec_module(self, module: ModuleType) -> None:
        """Nothing to run: names are looked up when they are asked for."""


class _Moved(ModuleType):
    """A module under its old name."""

    def __init__(self, name: str, places: Sequence[str]) -> None:
        super().__init__(name, f"Moved to {', '.join(places)}.")
        self.__dict__["_places"] = places
        warnings.warn(
            f"{name} is now {' and '.join(places)}; the old path goes with the next release",
            DeprecationWarning,
            stacklevel=3,  # Python leaves out its own import system's frames
        )

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("__"):
            for place in self.__dict__["_places"]:
                module = import_module(place)
                if hasattr(module, name):
                    return getattr(module, name)
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")


def _places(fullname: str) -> tuple[str, ...]:
    """Return where a module of the package went; () where it never was anywhere else."""
    package, _, rest = fullname.partition(".")
    top, _, inner = rest.partition(".")
    if package != _PACKAGE or top not in MOVED:
        return ()
    new = MOVED[top] if not inner else (f"{MOVED[top][0]}.{inner}",)
    places = [f"{_PACKAGE}.{place}" for place in new]
    return tuple(place for place in places if find_spec(place))


def install() -> None:
    """Let Python find modules under their old names."""
    sys.meta_path.append(_OldPaths())
