"""Rounding of weights and biases to float32; the passes before compute in float64."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from seenn_deploy._typing import Array
from seenn_deploy.errors import ModelError
from seenn_deploy.ir.graph import SpikingGraph


def apply(graph: SpikingGraph) -> SpikingGraph:
    """Round every weight and bias to float32."""
    nodes = [n if n.bias is None else n.with_bias(_float32(n.name, n.bias)) for n in graph.order]
    edges = []
    for edge in graph.projections:
        weight = _float32(f"{edge.pre} -> {edge.post}", edge.synapses.weight)
        edges.append(replace(edge, maps=(edge.synapses.with_weight(weight),)))
    return graph.replace(nodes, edges)


def _float32(name: str, values: Array) -> Array:
    with np.errstate(over="ignore"):
        cast = np.ascontiguousarray(values, dtype=np.float32).reshape(values.shape)
    if not np.all(np.isfinite(cast)):
        raise ModelError(f"{name}: a folded weight exceeds float32 ({np.abs(values).max():g})")
    return cast
