"""Fidelity reports of imports, put together from the graph that a frontend made."""

from __future__ import annotations

from seenn_deploy.ir.graph import SpikingGraph, Target


def layer_text(graph: SpikingGraph, node: Target) -> str:
    """A layer in words: the maps of its inputs, then its neurons."""
    inputs = [", ".join(step.text for step in edge.maps) for edge in graph.into(node.name)]
    return f"{' + '.join(inputs)}; {node.text}"
