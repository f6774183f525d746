"""The sidecar of an exported NIR file: from it and the file comes the identical graph again.

Arrays stay in the NIR file: weights where other readers find them, and what NIR has no place for
(biases in float32, lists of synapses) in the metadata of a node. The sidecar says where each is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeAlias

from seenn_deploy.fidelity import FidelityReport
from seenn_deploy.io.folders import sha256
from seenn_deploy.io.nir.file import FORMAT, VERSION
from seenn_deploy.ir.program import Program
from seenn_deploy.ir.serialize import input_to_dict, structure

Place: TypeAlias = tuple[str, str, list[int]]


def describe(
    program: Program, dt: float, places: dict[str, Place], report: FidelityReport, path: Path
) -> dict[str, Any]:
    """The sidecar of a file that was written.

    Parameters
    ----------
    program : Program
    dt : float
    places : dict
        Of each array, its NIR node, the key in the metadata ('' for the node's own weight), shape.
    report : FidelityReport
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
        **input_to_dict(graph.source),
        "provenance": graph.provenance.to_dict(),
        **structure(graph, {}),
        "arrays": places,
        "report": report.to_dict(),
    }
