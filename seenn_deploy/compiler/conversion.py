"""Conversion of an ANN to a spiking network: activations become integrate-and-fire neurons.

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

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import replace

import numpy as np

from seenn_deploy import ir
from seenn_deploy._typing import Array
from seenn_deploy.compiler.passes import fold_affine, fold_pool
from seenn_deploy.errors import DataError, ModelError
from seenn_deploy.ir.maps.base import weighted

DEFAULT_PERCENTILE = 99.9  # of activations, from arXiv 1612.04052

# --- ANN to SNN ----------------------------------------------------------------------------------


def spiking(ann: ir.SpikingGraph) -> ir.SpikingGraph:
    """Replace activations by IF neurons, and fold each layer's scale into the weights after it.

    Parameters
    ----------
    ann : SpikingGraph
        An ANN as the module describes it.

    Raises
    ------
    ModelError
        When a threshold is not a positive number.
    """
    neurons = {n.name: _neuron(n) for n in ann.populations}
    nodes = [neurons.get(n.name, n) for n in ann.order]
    thresholds = {n.name: float(n.v_threshold) for n in ann.populations}
    edges = [_scaled(ann, edge, thresholds.get(edge.pre)) for edge in ann.projections]
    provenance = replace(ann.provenance, conversion={"thresholds": thresholds})
    return ann.replace(nodes, edges).noted(provenance)


def _neuron(activation: ir.Population) -> ir.Population:
    v = activation.v_threshold
    if not (np.isfinite(v) and v > 0):
        raise ModelError(f"{activation.name}: threshold {v:g}; it must be a positive number")
    # Starting at V/2 turns the floor of integrating into the rounding of QCFS.
    return replace(activation, tau=1.0, v_init=v / 2, reset="soft", comparison=">")


def _scaled(ann: ir.SpikingGraph, edge: ir.Projection, v: float | None) -> ir.Projection:
    """Multiply what comes in by the threshold `v` of the population that sends it, if one does."""
    if v is None:
        return edge
    found = weighted(edge.maps)
    if found is None or any(isinstance(m, ir.Affine) for m in edge.maps[: found[0]]):
        channels = ann.node(edge.pre).shape[0]
        per_channel = ir.Affine(np.full(channels, v), np.zeros(channels))
        return replace(edge, maps=(per_channel, *edge.maps))
    at, synapses = found
    weight = np.asarray(synapses.weight.astype(np.float64) * v)
    return replace(edge, maps=(*edge.maps[:at], synapses.with_weight(weight), *edge.maps[at + 1 :]))


# --- the ANN itself ------------------------------------------------------------------------------


def forward(
    ann: ir.SpikingGraph, images: Array, levels: int | None = None
) -> Iterator[tuple[str, Array]]:
    """Run an ANN in float64, layer after layer.

    Parameters
    ----------
    ann : SpikingGraph
        An ANN as the module describes it.
    images : array (N, C, H, W)
    levels : int, optional
        Number of levels L to which activations are rounded, as QCFS does; this needs finite
        thresholds.

    Yields
    ------
    name, float64 array (N, *shape)
        The activations of every layer, and at last the logits under the name of the readout.
    """
    graph = fold_affine.apply(fold_pool.apply(ann))
    values = {graph.source.name: np.asarray(images, np.float64)}
    populations = {node.name: node for node in graph.populations}
    waiting = Counter(edge.pre for edge in graph.projections)
    for node in graph.layers:
        assert node.bias is not None  # frontends of ANNs make no sums of spikes
        z = np.broadcast_to(node.bias.astype(np.float64), (len(images), *node.shape))
        for edge in graph.into(node.name):
            z = z + edge.synapses.currents(values[edge.pre])
            waiting[edge.pre] -= 1
            if not waiting[edge.pre]:  # batches of feature maps are large
                del values[edge.pre]
        population = populations.get(node.name)
        values[node.name] = z if population is None else _activate(population, z, levels)
        yield node.name, values[node.name]


def _activate(node: ir.Population, z: Array, levels: int | None) -> Array:
    v = node.v_threshold
    if levels is not None:
        z = np.floor(z / v * levels + 0.5) * (v / levels)
    return np.clip(z, 0, v)


def with_thresholds(
    ann: ir.SpikingGraph, images: Array, percentile: float = DEFAULT_PERCENTILE,
    bounded: Collection[str] = (),
) -> ir.SpikingGraph:  # fmt: skip
    """Choose thresholds for activations without one, from the values that images cause there.

    Parameters
    ----------
    ann : SpikingGraph
        An ANN. Activations of infinite threshold (ReLU) get one, the others keep theirs.
    images : array (N, C, H, W)
        Calibration images, as the program takes them.
    percentile : float in (0, 100]
        Percentile of all activations of a layer, zeros included; 100 is their maximum.
        arXiv 1612.04052 takes 99.9, because with the maximum all other neurons spike too rarely.
    bounded : names
        Activations with a threshold that was not learned (ReLU6): they get a lower one, where the
        percentile is lower, for the same reason.

    Raises
    ------
    DataError
        When the percentile is out of range, or there are no images.
    ModelError
        When a layer stays silent at that percentile, so that no threshold can be found.
    """
    if not 0 < percentile <= 100:
        raise DataError(f"percentile {percentile:g} lies outside (0, 100]")
    if not len(images):
        raise DataError("no calibration images; give at least one")
    found: dict[str, float] = {}
    without = {n.name for n in ann.populations if np.isinf(n.v_threshold)}
    for name, activation in forward(ann, images):
        if name in without or name in bounded:
            value = float(np.percentile(activation, percentile))
            if value > 0:  # at most its own threshold, where it has one
                found[name] = value
            elif name in without:
                raise ModelError(
                    f"{name}: silent, {percentile:g} % of its activations are 0 on the "
                    f"{len(images)} calibration images; give more of them or a higher percentile"
                )
    nodes = {
        n.name: replace(n, v_threshold=found.get(n.name, n.v_threshold)) for n in ann.populations
    }
    return ann.replace([nodes.get(n.name, n) for n in ann.order])
