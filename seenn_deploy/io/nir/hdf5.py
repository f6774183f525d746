"""What a NIR file holds, exactly as it is stored: one dict per node.

The nir package reads a file as a whole, and its errors do not say where; here each node is read and
built by itself. The package's type checks are left out: they infer wrong shapes for some layers,
and they move nodes into sub-graphs.
"""

from __future__ import annotations

from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import numpy as np

from seenn_deploy.errors import ModelError
from seenn_deploy.fidelity import FidelityReport
from seenn_deploy.io import isolated

_NEEDS = "NIR needs the nir package"
INSTALL = "pip install 'seenn-deploy[nir]'"
NODES = (
    "Affine", "AvgPool2d", "Conv1d", "Conv2d", "CubaLI", "CubaLIF", "Delay", "Flatten", "I", "IF",
    "Input", "LI", "LIF", "Linear", "Output", "Scale", "SumPool2d", "Threshold",
)  # fmt: skip
_MAY_LACK = {  # parameters that follow from the nodes before
    "Conv1d": ("input_shape",),
    "Conv2d": ("input_shape",),
    "Input": ("shape",),
    "Output": ("shape",),
}
_NO_NUMBERS = ("input_type", "output_type", "metadata", "padding")  # they may be text or groups
Content = dict[str, Any]


def import_nir(path: Path) -> Any:
    """Import the nir package.

    Raises
    ------
    ModelError
        When the package is not installed.
    """
    try:
        import nir
    except ImportError:
        raise ModelError(f"{path}: {_NEEDS}; {INSTALL}") from None
    return nir


def load(path: Path) -> Content:
    """Read the outermost graph of a file, with its ``nodes`` and ``edges``.

    Raises
    ------
    ModelError
        When nir is not installed, or the file is damaged, holds too much for its size, refers to
        other files or is no NIR file.
    """
    import_nir(path)
    found = isolated.read("seenn_deploy.io.nir.contents", path, f"{_NEEDS}; {INSTALL}")
    kind = found.get("type") if isinstance(found, dict) else None
    if not isinstance(kind, str) or kind != "NIRGraph":
        raise ModelError(f"{path}: holds no graph, but a node of type {str(kind)[:99]!r}")
    graph: Content = found
    return graph


def edges_of(graph: Content, where: str, report: FidelityReport) -> list[tuple[str, str]]:
    """Return the edges of a graph as pairs of node names.

    Raises
    ------
    RefusedError
        When they are stored as anything but pairs of names.
    """
    pairs = np.asarray(graph.get("edges", "missing"))
    if pairs.size == 0:
        return []
    ends = [_text(end) for end in pairs.ravel()]
    if pairs.ndim != 2 or pairs.shape[1] != 2 or not all(isinstance(e, str) for e in ends):
        report.refuse(where, "its edges are no pairs of names", "export it again")
    return list(zip(ends[::2], ends[1::2], strict=True))


def build(kind: str, name: str, content: Content, report: FidelityReport) -> Any:
    """Build the node as the nir package knows it, with the package's defaults filled in.

    Raises
    ------
    RefusedError
        When there is no such kind of node, or a parameter is missing, unknown or not a number.
    """
    import nir

    where = f"{kind} node {name!r}"
    if kind not in NODES:
        report.refuse(where, "this node is not supported", f"there are {', '.join(NODES)}")
    made = getattr(nir, kind)
    for key in sorted(_needed(made) - content.keys()):
        report.refuse(where, f"has no {key}", "export it again")
    for field in fields(made):
        held = _instead_of_numbers(content.get(field.name))
        if held and field.name not in _NO_NUMBERS:
            report.refuse(where, f"its {field.name} is {held}, no numbers", "export it again")
    left_out = [k for k in _MAY_LACK.get(kind, ()) if k not in content]
    try:
        return nir.dict2NIRNode({**content, **dict.fromkeys(left_out)})
    except Exception as error:  # nir asserts, and numpy raises many kinds
        report.refuse(where, _said(error), "export it again")


def _needed(made: Any) -> set[str]:
    """Return the parameters that nir can neither infer nor fill in."""
    found = {f.name for f in fields(made) if f.init and f.default is f.default_factory is MISSING}
    return found - {"v_reset", "input_shape", "input_type", "output_type"}


def _instead_of_numbers(value: Any) -> str:
    """What a member of a node is if it is no array or number; '' if it is one, or missing."""
    if isinstance(value, dict):
        return "a group"
    return "text" if isinstance(value, str | bytes | list) else ""


def _text(value: Any) -> Any:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _said(error: Exception) -> str:
    return " ".join((str(error) or type(error).__name__).split())
