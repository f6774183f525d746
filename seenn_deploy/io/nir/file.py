"""NIR files as plain Python: nodes with their arrays, edges, sub-graphs inlined; and the sidecar.

A sidecar, ``network.nir.json`` beside ``network.nir``, holds what NIR has no place for. What
:func:`read_nir` returns holds no object of the ``nir`` package.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from seenn_deploy._typing import Array, Shape
from seenn_deploy.errors import ModelError
from seenn_deploy.fidelity import FidelityReport
from seenn_deploy.io.folders import sha256
from seenn_deploy.io.nir.hdf5 import Content, build, edges_of, load

FORMAT = "seenn-deploy NIR sidecar"
VERSION = 1
# What numpy and dict look-ups raise where the content of a file is damaged.
STRANGE = (ValueError, TypeError, KeyError, IndexError, ArithmeticError)
TYPES = ("input_type", "output_type", "metadata")


@dataclass(frozen=True, eq=False)
class NirNode:
    """One node of a NIR graph.

    Parameters
    ----------
    kind : str
        ``LIF``, ``Conv2d``, ..; ``Relay`` stands for the Input or Output of a sub-graph.
    name : str
        The node's name after the names of the sub-graphs around it, separated by dots.
    values : dict
        Arrays (float64, int64 or as stored), numbers and strings by parameter name.
    metadata : dict
    """

    kind: str
    name: str
    values: dict[str, Any]
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def where(self) -> str:
        """The node's kind and name, as errors print them."""
        return f"{self.kind} node {self.name!r}"


@dataclass(frozen=True, eq=False)
class NirModel:
    """A NIR graph whose sub-graphs have been inlined.

    Parameters
    ----------
    nodes : dict of NirNode
        The nodes by name.
    edges : tuple of (str, str)
        Names of the nodes at the beginning and end of each edge.
    input, output : str
        Names of the only Input node and of the only Output node.
    """

    nodes: dict[str, NirNode]
    edges: tuple[tuple[str, str], ...]
    input: str
    output: str

    def before(self, name: str) -> list[str]:
        """List the nodes with an edge into `name`."""
        return [a for a, b in self.edges if b == name]


def read_nir(path: Path, report: FidelityReport) -> NirModel:
    """Read a NIR file and check its structure.

    Parameters
    ----------
    path : Path
    report : FidelityReport
        Where it is recorded what was read faithfully, and what was refused.

    Raises
    ------
    ModelError
        When nir is not installed, or the file is damaged.
    RefusedError
        When an edge leads nowhere or is there twice, or when there is not exactly one Input node
        and one Output node.
    """
    nodes, edges = dict[str, NirNode](), list[tuple[str, str]]()
    _inline(load(path), "", nodes, edges, report)
    report.stop()
    _check_edges(nodes, edges, report)
    ends = {
        kind: [n.name for n in nodes.values() if n.kind == kind] for kind in ("Input", "Output")
    }
    for kind, found in ends.items():
        if len(found) != 1:
            names = ", ".join(map(repr, found)) or "none"
            report.refuse("graph", f"has {len(found)} {kind} nodes ({names})", "one is needed")
    model = NirModel(nodes, tuple(edges), ends["Input"][0], ends["Output"][0])
    _check_connected(model, report)
    return model


def _inline(
    graph: Content,
    prefix: str,
    nodes: dict[str, NirNode],
    edges: list[tuple[str, str]],
    report: FidelityReport,
) -> None:
    """Add the nodes and edges of `graph`, and of its sub-graphs, under dotted names."""
    ports = dict[str, tuple[str, str]]()
    where = f"NIRGraph node {prefix[:-1]!r}" if prefix else "graph"
    if not isinstance(graph.get("nodes"), dict):
        report.refuse(where, "has no nodes", "export it again")
    for name, node in graph["nodes"].items():
        full = f"{prefix}{name}"
        kind = node.get("type") if isinstance(node, dict) else None
        if not isinstance(kind, str):
            report.refuse(f"node {full!r}", "has no type", "export it again")
        if full in nodes:
            report.refuse(f"node {full!r}", "is there twice, in a sub-graph too", "rename it")
        if kind == "NIRGraph":
            _inline(node, f"{full}.", nodes, edges, report)
            ports[name] = _ports(node, full, report)
            report.faithful(f"NIRGraph node {full!r}", "inlined")
        else:
            with report.gathering():
                nodes[full] = _plain(kind, full, node, bool(prefix), report)
    for a, b in edges_of(graph, where, report):
        pre = ports[a][1] if a in ports else f"{prefix}{a}"
        post = ports[b][0] if b in ports else f"{prefix}{b}"
        edges.append((pre, post))


def _ports(graph: Content, name: str, report: FidelityReport) -> tuple[str, str]:
    """Return the nodes where edges into a sub-graph end, and where edges out of it begin."""
    found = []
    for kind in ("Input", "Output"):
        names = [k for k, n in graph["nodes"].items() if n["type"] == kind]
        if len(names) != 1:
            report.refuse(
                f"NIRGraph node {name!r}",
                f"has {len(names)} {kind} nodes",
                "a sub-graph needs one, so that edges say where they end",
            )
        found.append(f"{name}.{names[0]}")
    return found[0], found[1]


def _plain(kind: str, name: str, content: Content, inner: bool, report: FidelityReport) -> NirNode:
    """Return a node as plain arrays; `inner` says that it belongs to a sub-graph."""
    node = build(kind, name, content, report)
    values = {f.name: _value(getattr(node, f.name)) for f in fields(node) if f.name not in TYPES}
    if kind in ("Input", "Output"):
        values["shape"] = _shape(kind, name, content.get("shape"), report)
    metadata = node.metadata if isinstance(node.metadata, dict) else {}
    return NirNode(
        "Relay" if inner and kind in ("Input", "Output") else kind, name, values, metadata
    )


def _shape(kind: str, name: str, given: Any, report: FidelityReport) -> Array | None:
    if given is None:
        return None
    sizes = np.atleast_1d(given)
    known = sizes.dtype.kind in "iuf" and sizes.ndim == 1
    if not known or not np.all(sizes == np.round(sizes)):
        report.refuse(f"{kind} node {name!r}", "its shape is no list of sizes", "export it again")
    return sizes


def _value(value: Any) -> Any:
    """Return numbers and lists as arrays, bytes as text, and text and None as they are."""
    if value is None or isinstance(value, str | bytes):
        return value.decode(errors="replace") if isinstance(value, bytes) else value
    return np.asarray(value)


def _check_edges(
    nodes: dict[str, NirNode], edges: Iterable[tuple[str, str]], report: FidelityReport
) -> None:
    known = ", ".join(sorted(nodes)[:20])
    for (a, b), times in Counter(edges).items():
        for end in (a, b):
            if end not in nodes:
                report.refuse(
                    f"edge {a!r} -> {b!r}", f"there is no node {end!r}", f"the file has {known}"
                )
        if times > 1:
            report.refuse(
                f"edge {a!r} -> {b!r}",
                f"is there {times} times",
                "write it once; a Scale node makes it stronger",
            )


def _check_connected(model: NirModel, report: FidelityReport) -> None:
    fed, feeding = {b for _, b in model.edges}, {a for a, _ in model.edges}
    for node in model.nodes.values():
        with report.gathering():
            if node.kind != "Input" and node.name not in fed:
                report.refuse(node.where, "has no input", "add the missing edge, or leave it out")
            if node.kind != "Output" and node.name not in feeding:
                report.refuse(node.where, "feeds nothing", "add the missing edge, or leave it out")
    report.stop()
    if model.input in fed:
        report.refuse(f"Input node {model.input!r}", "has an edge into it", "leave that edge out")
    if model.output in feeding:
        report.refuse(f"Output node {model.output!r}", "feeds a node", "leave that edge out")


def as_shape(values: Any) -> Shape:
    """Return an array of sizes as a tuple of int."""
    return tuple(int(n) for n in np.atleast_1d(values))


# --- the sidecar ---------------------------------------------------------------------------------


def sidecar_path(path: Path) -> Path:
    """Return the path of the sidecar: ``network.nir.json`` for ``network.nir``."""
    return path.with_name(f"{path.name}.json")


def read_sidecar(path: Path) -> dict[str, Any] | None:
    """Read the sidecar of a NIR file; None where there is none.

    Raises
    ------
    ModelError
        When the sidecar is damaged, of another version, or belongs to another NIR file.
    """
    beside = sidecar_path(path)
    if not beside.is_file():
        return None
    try:
        stored: dict[str, Any] = json.loads(beside.read_text(encoding="utf-8"))
        found = stored["format"], stored["version"], stored["sha256"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise ModelError(f"{beside}: no sidecar of a NIR file; move it away") from None
    if found[:2] != (FORMAT, VERSION):
        raise ModelError(
            f"{beside}: format {found[0]!r} version {found[1]}, this is {FORMAT!r} version "
            f"{VERSION}; export again, or move it away"
        )
    # A file that was exported again by another tool keeps its name, and the old sidecar.
    if found[2] != sha256(path):
        raise ModelError(
            f"{beside}: was written for another {path.name} (its checksum differs); export again, "
            "or move the sidecar away to read the file alone"
        )
    return stored


def feedback(edges: Iterable[tuple[str, str]], start: str) -> Iterator[tuple[str, str]]:
    """Yield the edges that close a loop: on a walk from `start` they lead back onto its own path.

    Neighbours are visited by name, so the answer does not depend on the order in a file.
    """
    after: dict[str, list[str]] = {}
    for a, b in sorted(set(edges), reverse=True):
        after.setdefault(a, []).append(b)
    # A depth-first walk with a stack of its own, because long chains exceed Python's recursion.
    on_path, done = {start}, set[str]()
    stack = [(start, list(after.get(start, [])))]
    while stack:
        name, left = stack[-1]
        if not left:
            stack.pop()
            on_path.discard(name)
            done.add(name)
            continue
        following = left.pop()
        if following in on_path:
            yield name, following
        elif following not in done:
            on_path.add(following)
            stack.append((following, list(after.get(following, []))))
