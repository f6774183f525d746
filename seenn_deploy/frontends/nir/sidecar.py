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
from seenn_deploy.fidelity import FidelityReport
from seenn_deploy.io.nir.file import STRANGE, NirModel, sidecar_path
from seenn_deploy.ir.graph import Source, SpikingGraph
from seenn_deploy.ir.serialize import edge_from_dict, node_from_dict


def restore(
    path: Path,
    model: NirModel,
    stored: dict[str, Any],
    report: FidelityReport,
    T: int | None,
    step_us: float | None,
    counts_events: bool | None,
) -> SpikingGraph:
    """The graph that was exported; T and the binning of recordings may be told anew.

    Raises
    ------
    ModelError
        When file and sidecar do not fit.
    """
    try:
        arrays = {key: _find(model, *place) for key, place in stored["arrays"].items()}
        nodes = [node_from_dict(n, arrays) for n in stored["nodes"]]
        edges = [edge_from_dict(e, arrays) for e in stored["projections"]]
        T = stored["T"] if T is None else T
        before = {k: v for k, v in stored["provenance"].items() if k != "report"}
        binning = {"step_us": step_us, "counts_events": counts_events}
        told: dict[str, Any] = {k: v for k, v in binning.items() if v is not None}
        graph = SpikingGraph(nodes, edges, T, before)
        if told:
            graph = graph.replace(
                [replace(n, **told) if isinstance(n, Source) else n for n in nodes]
            )
        exit_rule = _checked_rule(stored["exit_rule"])
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
        "exit_rule": exit_rule,
        "schedule": stored.get("schedule"),
        "assumed": assumed,
        "report": report.to_dict(),
    }
    return SpikingGraph(graph.order, graph.projections, T, {"family": "NIR", **before, **found})


def _checked_rule(stored: dict[str, Any]) -> dict[str, Any]:
    if "onnx" not in stored:  # the network of a policy is loaded with its program
        exits.from_dict(stored)
    return stored


def _find(model: NirModel, name: str, key: str, shape: list[int]) -> Array:
    node = model.nodes[name]
    found = np.asarray(node.metadata[key] if key else node.values["weight"])
    return np.ascontiguousarray(found).ravel()[: prod(shape)].reshape(shape)
