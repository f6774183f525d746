"""The sidecar of an exported NIR file: from it and the file comes the identical graph again.

Arrays stay in the NIR file: weights where other readers find them, and what NIR has no place for
(biases in float32, lists of synapses) in the metadata of a node. The sidecar says where each is.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from seenn_deploy import exits
from seenn_deploy._typing import Array
from seenn_deploy.errors import ModelError
from seenn_deploy.fidelity import LossReport
from seenn_deploy.io.folders import sha256
from seenn_deploy.io.nir.file import FORMAT, STRANGE, VERSION, NirModel, sidecar_path
from seenn_deploy.ir.graph import Source, SpikingGraph
from seenn_deploy.ir.program import Program
from seenn_deploy.ir.serialize import edge_from_dict, edge_to_dict, node_from_dict, node_to_dict

Place: TypeAlias = tuple[str, str, list[int]]


def arrays_of(graph: SpikingGraph) -> dict[str, Array]:
    """Every array of a compiled graph, by the name that the sidecar knows it by."""
    arrays: dict[str, Array] = {}
    _structure(graph, arrays)
    return arrays


def edge_keys(graph: SpikingGraph) -> list[str]:
    """The beginning of the names of each projection's arrays."""
    return [edge_to_dict(e, i, {})["key"] for i, e in enumerate(graph.projections)]


def _structure(graph: SpikingGraph, arrays: dict[str, Array]) -> dict[str, Any]:
    return {
        "nodes": [node_to_dict(n, arrays) for n in graph.order],
        "projections": [edge_to_dict(e, i, arrays) for i, e in enumerate(graph.projections)],
    }


def describe(
    program: Program, dt: float, places: dict[str, Place], report: LossReport, path: Path
) -> dict[str, Any]:
    """The sidecar of a file that was written.

    Parameters
    ----------
    program : Program
    dt : float
    places : dict
        Of each array, its NIR node, the key in the metadata ('' for the node's own weight), shape.
    report : LossReport
    path : Path
        The NIR file.
    """
    graph = program.graph
    return {
        "format": FORMAT,
        "version": VERSION,
        "sha256": sha256(path),
        "T": program.T,
        "dt": dt,
        "integration": "euler",
        "coding": graph.source.coding,
        "exit_rule": program.exit_rule.to_dict(),
        "schedule": program.schedule,
        "precision": program.precision,
        "input_range": [None if np.isinf(x) else x for x in program.input_range],
        "provenance": {**graph.provenance, **program.provenance},
        **_structure(graph, {}),
        "arrays": places,
        "report": report.to_dict(),
    }


def restore(
    path: Path,
    model: NirModel,
    stored: dict[str, Any],
    report: LossReport,
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
