"""What papers would say of the same run: attention counted densely, by firing rate, or not at all.

Papers on spiking transformers price a layer by the share of its input that fired: its synaptic
operations are ``SOP = rate x T x FLOPs`` at an accumulate each, but those of the first layer,
which takes the image, at a multiply-accumulate (Spikformer, arXiv 2209.15425; written out as
equations 1 and 2 in the appendix of arXiv 2403.18228, which follows it). FLOPs are dense ones, on
padding too. They differ in what attention costs, which :data:`HOW` lists with the source of each.

An exact count differs from all of them, since a rate is a mean: which spikes meet which, zeros
at a border, and spikes of values other than 1 are lost in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

from seenn_deploy.costs.model import CostModel
from seenn_deploy.ir.graph import SpikingGraph

HOW = {
    "dense": "every product of elements, 2 N^2 D per block and timestep: f(Q, K, V) of "
    "self-attention in table 1 of arXiv 2307.01694 (Spike-driven Transformer)",
    "rate": "the rate of the factor that fires less, times all products: get_energy_cost of "
    "github.com/zhouchenlin2096/Spikingformer, behind the figures of arXiv 2304.11954",
    "none": "not at all: syops-counter, which sees layers and no matrix products "
    "(github.com/iCGY96/syops-counter)",
}


@dataclass(frozen=True)
class Convention:
    """The mean energy of a sample in joules, as one convention has it.

    Parameters
    ----------
    attention : float
        Energy of the products of attention.
    rest : float
        Energy of all other layers.
    source : str
        Where the convention comes from; '' for the exact count.
    """

    attention: float
    rest: float
    source: str = ""

    @property
    def total(self) -> float:
        """Energy of the whole network."""
        return self.attention + self.rest


def products_of(graph: SpikingGraph) -> list[str]:
    """Names of the products of attention."""
    return [node.name for node in graph.layers if node.kind == "product"]


def conventions(
    graph: SpikingGraph,
    sent: Mapping[str, float],
    exact: Mapping[str, float],
    steps: float,
    cost: CostModel,
) -> dict[str, Convention]:
    """Price a run as papers do, beside its exact count; nothing for a network without products.

    Parameters
    ----------
    graph : SpikingGraph
        The compiled graph that ran.
    sent : mapping of layer to float
        Outputs other than 0 per sample, over all timesteps that are priced.
    exact : mapping of layer to float
        Energy per sample in joules, from counts by element.
    steps : float
        Mean number of these timesteps.
    cost : CostModel
        Its prices of an AC and a MAC; papers know no other ones, and no memory.

    Returns
    -------
    dict of str to Convention
        ``exact``, and those of :data:`HOW`.
    """
    products = products_of(graph)
    if not products:
        return {}
    own = sum(exact[name] for name in products)
    rest = _layers(graph, sent, steps, cost)
    found = {"exact": Convention(own, sum(exact.values()) - own)}
    for name, source in HOW.items():
        operations = sum(_product(graph, product, sent, steps, name) for product in products)
        found[name] = Convention(1e-12 * cost.prices["ac"] * operations, rest, source)
    return found


def _layers(graph: SpikingGraph, sent: Mapping[str, float], steps: float, cost: CostModel) -> float:
    """Energy of convolutions and linear layers by rate; the image has one of 1 at every t."""
    total = 0.0
    for edge in graph.projections:
        # Sums and products take spikes as they are: no layer of a paper's table.
        if graph.node(edge.post).stages == 0:
            continue
        if edge.pre == graph.source.name:
            total += cost.prices["mac"] * edge.dense_macs * steps
        else:
            rate = sent[edge.pre] / prod(graph.node(edge.pre).shape)  # summed over timesteps
            total += cost.prices["ac"] * edge.dense_macs * rate
    return 1e-12 * total


def _product(
    graph: SpikingGraph, name: str, sent: Mapping[str, float], steps: float, how: str
) -> float:
    """Operations of a product, of which the factor that is a product itself has no rate."""
    if how == "none":
        return 0.0
    node = graph.node(name)
    dense: int = node.multiplications  # type: ignore[attr-defined]
    if how == "dense":
        return dense * steps
    factors = [graph.node(edge.pre) for edge in graph.into(name)]
    spiking = [n for n in factors if n.kind != "product"] or factors
    return dense * min(sent[n.name] / prod(n.shape) for n in spiking)
