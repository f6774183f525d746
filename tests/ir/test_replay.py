"""The replay in float32 lies within the bound of the one in float64."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given, settings

from seenn_deploy import ir
from seenn_deploy.ir.replay import potentials, rounded_potentials
from tests import random_graphs


@settings(max_examples=50)
@given(random_graphs.examples(), random_graphs.rngs())
def test_float32_lies_within_the_bound(
    example: random_graphs.Example, rng: np.random.Generator
) -> None:
    graph = _rough(example.graph)
    image = example.images[0] * np.float32(1 / 3)
    spikes = {n.name: rng.random((graph.T, *n.shape)) < 0.4 for n in graph.populations}
    for node in graph.populations:
        exact = potentials(graph, node.name, image, spikes)
        rough = rounded_potentials(graph, node, image, spikes)
        assert rough.dtype == np.float32
        assert (np.abs(rough.astype(np.float64) - exact.value) <= exact.bound).all()


def _rough(graph: ir.SpikingGraph) -> ir.SpikingGraph:
    """The graph with weights whose products round; those of the examples add up exactly."""
    edges = list(graph.projections)
    for i, edge in enumerate(edges):
        if isinstance(graph.node(edge.post), ir.Population):
            weight = (edge.synapses.weight * (1 / 3)).astype(np.float32)
            edges[i] = replace(edge, maps=(edge.synapses.with_weight(weight),))
    return ir.SpikingGraph(list(graph.order), edges, graph.T)
