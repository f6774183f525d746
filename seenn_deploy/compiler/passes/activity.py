"""What every node of a float graph sends on calibration samples: the plain equations, in float64.

The simulator stands a floor higher. A few samples are enough here, so that speed is no concern.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import singledispatch
from math import prod

import numpy as np

from seenn_deploy import ir
from seenn_deploy._typing import Array
from seenn_deploy.io.images.image_set import ImageSet
from seenn_deploy.ir.replay import fires

MOST_SAMPLES = 16
MOST_VALUES = 1 << 24  # that are kept of all nodes, samples and timesteps together


def sent(graph: ir.SpikingGraph, samples: ImageSet) -> dict[str, Array]:
    """Values that each node sends, float32 (N, T, *shape), of the first N samples.

    Parameters
    ----------
    graph : SpikingGraph
        Compiled graph of float arrays.
    samples : ImageSet
    """
    values = graph.T * sum(prod(node.shape) for node in graph.order)
    images = samples.take(0, max(1, min(MOST_SAMPLES, MOST_VALUES // values)))
    source, found = graph.source, {}
    found[source.name] = images if source.coding == "events" else images[:, None].repeat(graph.T, 1)
    states = {node.name: _State(node) for node in graph.layers}
    for node in graph.layers:
        found[node.name] = np.zeros((len(images), graph.T, *node.shape), np.float32)
    for t in range(graph.T):
        for node in graph.layers:
            current = np.zeros((len(images), *node.arriving))
            for edge in graph.into(node.name):
                if t >= edge.lag:
                    current += edge.synapses.currents(found[edge.pre][:, t - edge.lag])
            found[node.name][:, t] = _sent(node, states[node.name], current)
    return found


@dataclass
class _State:
    """A node, and what it keeps from one timestep to the next."""

    node: ir.Target
    v: Array = field(default_factory=lambda: np.zeros(()))
    u: Array = field(default_factory=lambda: np.zeros(()))

    def __post_init__(self) -> None:
        self.v = np.asarray(getattr(self.node, "v_init", 0.0), np.float64)


@singledispatch
def _sent(node: ir.Node, state: _State, current: Array) -> Array:
    """What a node sends; nobody takes what a readout sends, and others send what they got."""
    return node.taken(current if node.bias is None else current + node.bias)


@_sent.register
def _(node: ir.Population, state: _State, current: Array) -> Array:
    state.u = node.tau_syn * state.u + node.taken(current + node.bias)
    before = node.tau * state.v + state.u
    spikes = fires(node, before)
    after = 0.0 if node.reset == "hard" else before - node.subtracted
    state.v = np.where(spikes, after, before)
    return spikes


@_sent.register
def _(node: ir.Filter, state: _State, current: Array) -> Array:
    state.u = node.after(state.u, current + node.bias)
    return state.u
