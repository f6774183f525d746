"""What passes share: the loop that rewrites every edge with one rule, a factor for a chain."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

import numpy as np

from seenn_deploy._typing import Array, Shape
from seenn_deploy.fidelity import FidelityReport
from seenn_deploy.ir.graph import Node, SpikingGraph
from seenn_deploy.ir.maps import Affine, Identity, LinearMap

Maps: TypeAlias = tuple[LinearMap, ...]
Rule: TypeAlias = Callable[[Maps, Shape], tuple[Maps, Array | None]]


def rewrite(graph: SpikingGraph, rule: Rule) -> SpikingGraph:
    """Apply ``rule(maps, in_shape) -> (maps, bias)`` to every edge.

    The bias (broadcastable to the target's shape, or None) is added to the target's own.

    Raises
    ------
    RefusedError
        When the rule fails for an edge; its report has every edge for which it does.
    """
    projections, extra, report = [], dict[str, Array](), FidelityReport("compile")
    for edge in graph.projections:
        with report.gathering(f"{edge.pre} -> {edge.post}"):
            maps, bias = rule(edge.maps, graph.node(edge.pre).shape)
            projections.append(replace(edge, maps=maps))
            if bias is not None:
                extra[edge.post] = extra.get(edge.post, 0) + bias.astype(np.float64)
    report.stop()
    return graph.replace([_add_bias(n, extra) for n in graph.order], projections)


def with_factor(maps: Maps, factor: float, channels: int) -> Maps:
    """Return a chain whose input of so many channels is multiplied by a factor first."""
    if not maps:
        return (Identity(np.asarray(factor, np.float64)),)
    return (Affine(np.full(channels, factor), np.zeros(channels)), *maps)


def _add_bias(node: Node, extra: dict[str, Array]) -> Node:
    if node.name not in extra:
        return node
    own = np.zeros(()) if node.bias is None else node.bias.astype(np.float64)
    return node.with_bias(own + extra[node.name])
