"""From an ANN to a spiking network: activations become integrate-and-fire neurons.

An ANN is a :class:`SpikingGraph` whose populations stand for activations ``clip(z, 0, V)`` of the
sum z of their inputs, V being ``v_threshold``: infinite for ReLU, learned for QCFS, the maximum of
Clip. :func:`spiking` turns it into IF neurons with soft reset, v_init = V/2 and comparison '>':
SEENN's ``ScaledNeuron``, after arXiv 2303.04347. There a spike carries its layer's V; spikes of a
graph are 1, so V goes into the weights behind, and an identity shortcut has weight V.

**What conversion keeps.** Let n be the spikes of a neuron in T steps and z the mean of its current.
Summed over time, the membrane equation is ``V n = V/2 + T z - v[T]``. A neuron that ends with
``0 < v[T] <= V`` therefore fired ``n = ceil(T z / V - 1/2)`` times, and that is
``floor(T z / V + 1/2)`` except where ``T z / V + 1/2`` is a whole number. Then, with L = T,
``V n / T = QCFS(z)`` exactly. A *constant* current ends there, or gives n = 0 for z <= 0 and n = T
for z >= V, as QCFS does. So the first layer under direct coding always equals its activation at
T = L, and the whole network does, layer by layer, on every input on which every neuron ends with
``0 < v[T] <= V`` or spikes as clipped (n = 0 at z <= 0, n = T at z >= V). Elsewhere spikes came
unevenly; that error goes to 0 as T grows.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from seenn_deploy.errors import ModelError
from seenn_deploy.graph import (
    Affine,
    AvgPool2d,
    LinearMap,
    Population,
    Projection,
    SpikingGraph,
)

# --- ANN to SNN ----------------------------------------------------------------------------------


def spiking(ann: SpikingGraph) -> SpikingGraph:
    """IF neurons for activations, each layer's scale folded into the weights behind it.

    Parameters
    ----------
    ann : SpikingGraph
        As the module says.

    Raises
    ------
    ModelError
        When a threshold is not a positive number.
    """
    nodes = [_neuron(n) if isinstance(n, Population) else n for n in ann.order]
    edges = [_scaled(ann, edge) for edge in ann.projections]
    return SpikingGraph(nodes, edges, ann.T, ann.provenance)


def _neuron(activation: Population) -> Population:
    v = activation.v_threshold
    if not (np.isfinite(v) and v > 0):
        raise ModelError(f"{activation.name}: threshold {v:g}; it must be a positive number")
    return replace(activation, tau=1.0, v_init=v / 2, reset="soft", comparison=">")


def _scaled(ann: SpikingGraph, edge: Projection) -> Projection:
    pre = ann.node(edge.pre)
    if not isinstance(pre, Population):
        return edge
    at = next((i for i, m in enumerate(edge.maps) if not isinstance(m, Affine | AvgPool2d)), None)
    if at is None or any(isinstance(m, Affine) for m in edge.maps[:at]):
        per_channel = Affine(np.full(pre.shape[0], pre.v_threshold), np.zeros(pre.shape[0]))
        return replace(edge, maps=(per_channel, *edge.maps))
    weighted = _times(edge.maps[at], pre.v_threshold)
    return replace(edge, maps=(*edge.maps[:at], weighted, *edge.maps[at + 1 :]))


def _times(weighted: LinearMap, scale: float) -> LinearMap:
    assert not isinstance(weighted, Affine | AvgPool2d)
    weight = np.asarray(weighted.weight.astype(np.float64) * scale)
    return replace(weighted, weight=weight)
