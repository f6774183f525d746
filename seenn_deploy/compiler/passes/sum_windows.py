"""Averages of spikes that no layer can take up, as sums.

A pool whose windows overlap or are padded is a convolution of equal weights. Where it cannot become
part of the convolution behind it, as at a padded border, a frontend sends its currents on
(``Relay``), and only float32 has a form for that. Of spikes, those currents are whole numbers times
one weight: a sum node adds up the spikes of each window and sends the sum as one graded spike, and
the layers behind take over the weight. The values are the same, and int8 and devices have them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import cast

import numpy as np

from seenn_deploy import ir
from seenn_deploy.compiler.passes.rewrite import with_factor
from seenn_deploy.ir.maps import Conv2d


def apply(graph: ir.SpikingGraph) -> ir.SpikingGraph:
    """Replace every relay of such averages by a sum; the graph is one before folding."""
    weights = {node.name: w for node in graph.order if (w := _weight(graph, node)) is not None}
    if not weights:
        return graph
    nodes = [ir.Sum(n.name, n.shape) if n.name in weights else n for n in graph.order]
    return graph.replace(nodes, [_moved(graph, edge, weights) for edge in graph.projections])


def _weight(graph: ir.SpikingGraph, node: ir.Node) -> float | None:
    """The one weight with which windows of spikes arrive at a relay; None for any other node."""
    if node.kind != "relay" or cast(ir.Relay, node).window != (1, 1) or np.any(node.bias):
        return None
    edge, *others = graph.into(node.name)
    plain = not others and not edge.lag and graph.node(edge.pre).spikes and len(edge.maps) == 1
    behind = (graph.node(e.post) for e in graph.projections if e.pre == node.name)
    if not plain or not all(post.stages for post in behind):
        return None
    if edge.maps[0].kind != "conv2d":
        return None
    window = cast(Conv2d, edge.maps[0])
    by_channel = window.groups == window.weight.shape[0] == node.shape[0]
    equal = window.bias is None and not np.ptp(window.weight)
    return float(window.weight.flat[0]) if by_channel and equal else None


def _moved(
    graph: ir.SpikingGraph, edge: ir.Projection, weights: Mapping[str, float]
) -> ir.Projection:
    """A projection into a sum, of weights of 1, or out of one, with the weight in front."""
    if edge.post in weights:
        window = cast(Conv2d, edge.maps[0])
        return replace(edge, maps=(window.with_weight(np.ones_like(window.weight)),), own=())
    if edge.pre in weights:
        channels = graph.node(edge.pre).shape[0]
        return replace(edge, maps=with_factor(edge.maps, weights[edge.pre], channels))
    return edge
