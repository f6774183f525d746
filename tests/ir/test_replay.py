"""The replay in float32 lies within the bound of the one in float64."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given, settings

import seenn_deploy as sd
from seenn_deploy import ir
from seenn_deploy.exits import Fixed
from seenn_deploy.ir.replay import fires, potentials, rounded_potentials
from tests import random_graphs


@settings(max_examples=50)
@given(random_graphs.examples(real=True), random_graphs.rngs())
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


@settings(max_examples=50)
@given(random_graphs.examples(real=True))
def test_what_the_simulator_does_lies_within_the_bound(example: random_graphs.Example) -> None:
    graph, images = _rough(example.graph), example.images * np.float32(1 / 3)
    run = sd.simulate(ir.Program(graph, Fixed()), images, record=True, threads=1)
    spikes = {name: found[0] for name, found in run.spikes.items()}
    for node in graph.populations:
        found = potentials(graph, node.name, images[0], spikes)
        near = np.abs(found.value - node.v_threshold) <= found.bound
        assert (near | (fires(node, found.value) == spikes[node.name])).all(), node.name
    found = potentials(graph, graph.readout.name, images[0], spikes)
    assert (np.abs(run.logits[0] - found.value) <= found.bound).all()


def _rough(graph: ir.SpikingGraph) -> ir.SpikingGraph:
    """The graph with weights whose products round; those of the examples add up exactly."""
    edges = list(graph.projections)
    for i, edge in enumerate(edges):
        if isinstance(graph.node(edge.post), ir.Population):
            weight = (edge.synapses.weight * (1 / 3)).astype(np.float32)
            edges[i] = replace(edge, maps=(edge.synapses.with_weight(weight),))
    return ir.SpikingGraph(list(graph.order), edges, graph.T)
