"""The sidecar of a NIR file: a program's graph restored as it was exported."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from seenn_deploy import exits
from seenn_deploy._typing import Array
from seenn_deploy.errors import ModelError
from seenn_deploy.exits import ExitRule
from seenn_deploy.fidelity import FidelityReport
from seenn_deploy.io.nir.file import STRANGE, NirModel, sidecar_path
from seenn_deploy.ir.graph import Source, SpikingGraph
from seenn_deploy.ir.serialize import edge_from_dict, node_from_dict, with_input


def restore(
    path: Path,
    model: NirModel,
    stored: dict[str, Any],
    report: FidelityReport,
    T: int | None,
    step_us: float | None,
    counts_events: bool | None,
) -> SpikingGraph:
    """Restore the graph that was exported; T and the binning of recordings may be overridden.

    Raises
    ------
    ModelError
        When file and sidecar do not fit each other.
    """
    try:
        arrays = {key: _find(model, *place) for key, place in stored["arrays"].items()}
        nodes = with_input((node_from_dict(n, arrays) for n in stored["nodes"]), stored)
        edges = [edge_from_dict(e, arrays) for e in stored["projections"]]
        T = stored["T"] if T is None else T
        before = {k: v for k, v in stored["provenance"].items() if k != "report"}
        binning = {"step_us": step_us, "counts_events": counts_events}
        told: dict[str, Any] = {k: v for k, v in binning.items() if v is not None}
        nodes = [replace(n, **told) if isinstance(n, Source) else n for n in nodes]
        graph = SpikingGraph(nodes, edges, T, exit_rule=_rule(path, stored["exit_rule"]))
        assumed = {
            **before.get("assumed", {}),
            "T": T,
            "dt": stored["dt"],
            "integration": stored["integration"],
            **told,
        }
    except (*STRANGE, AttributeError, ModelError) as error:
        raise ModelError(
            f"{sidecar_path(path)}: does not fit {path.name} "
            f"({' '.join(str(error).split())}); export again, or move it away"
        ) from None
    report.faithful("graph", f"identical to the exported one, by {sidecar_path(path).name}")
    found = {
        "source": path.name,
        "frontend": "nir",
        "exit_rule": stored["exit_rule"],
        "schedule": stored.get("schedule"),
        "assumed": assumed,
        "report": report.to_dict(),
    }
    return graph.noted({"family": "NIR", **before, **found})


def _rule(path: Path, stored: dict[str, Any]) -> ExitRule:
    """The exit rule of the exported program; the network of a policy lies beside the file."""
    beside = {"onnx": str(path.parent / Path(stored["onnx"]).name)} if "onnx" in stored else {}
    return exits.from_dict(stored | beside)


def _find(model: NirModel, name: str, key: str, shape: list[int]) -> Array:
    node = model.nodes[name]
    found = np.asarray(node.metadata[key] if key else node.values["weight"])
    return np.ascontiguousarray(found).ravel()[: prod(shape)].reshape(shape)
