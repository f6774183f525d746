"""Cost models: what a counted operation costs in energy. One cited data file a model.

A file is JSON:

``name``, ``about``
    Text.
``prices``
    A picojoule figure with its ``source`` for each count that the model prices (names of
    :class:`seenn_deploy.simulator.result.Counts`); ``ac`` and ``mac`` at least.
``memory``, optional
    Traffic between arithmetic and memories. ``levels``: the price of one access of ``access_bits``
    to a memory of at most ``bytes``, each with its source, smallest first; what is larger is
    banked at the price of the last. ``traffic``: words of ``word_bits`` that one counted operation
    moves, ``{"ac": {"weights": 1}}``, from a memory as large as its layer's ``weights`` or
    ``potentials``; as many words as fit share an access.
``not_applied``, optional
    Sourced figures that belong to the hardware but that no count here can carry.
``no_ann``, optional
    Why the model cannot price a conventional network beside the spiking one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from seenn_deploy._typing import Array
from seenn_deploy.ir.graph import Projection, SpikingGraph, Sum, Target

COUNTS = (
    "ac",
    "mac",
    "ac_effective",
    "mac_effective",
    "bias_adds",
    "updates_active",
    "updates_inactive",
    "resets",
    "spikes",
    "graded",
)
MEMORIES = ("weights", "potentials")


@dataclass(frozen=True, eq=False)
class LayerSizes:
    """How large each of L layers is, in the order of a run's counts; int64 arrays (L,).

    Parameters
    ----------
    weights : stored weights of all synapses into the layer, a shared kernel once
    potentials : neurons, each with one potential; the readout has as many as classes
    dense_macs : multiply-accumulates of the trained layer as an ANN, padding included
    """

    weights: Array
    potentials: Array
    dense_macs: Array

    @classmethod
    def of(cls, graph: SpikingGraph) -> LayerSizes:
        """The sizes of a compiled graph's layers."""
        into = [graph.into(layer.name) for layer in graph.layers]
        return cls(
            np.array([sum(_stored(graph, e) for e in edges) for edges in into], np.int64),
            np.array([_potentials(layer) for layer in graph.layers], np.int64),
            np.array([sum(e.dense_macs for e in edges) for edges in into], np.int64),
        )

    @classmethod
    def of_policy(cls, rule: Mapping[str, Any]) -> LayerSizes | None:
        """Of the policy network in a stored exit rule (``ExitRule.to_dict``), if it has one."""
        layers = rule.get("layers")
        return cls(*np.array(layers, np.int64).T) if layers else None


def _stored(graph: SpikingGraph, edge: Projection) -> int:
    """Weights of a projection; a sum needs none."""
    return 0 if isinstance(graph.node(edge.post), Sum) else int(edge.synapses.weight.size)


def _potentials(layer: Target) -> int:
    return 0 if isinstance(layer, Sum) else int(np.prod(layer.shape))


@dataclass(frozen=True)
class Memory:
    """Memories that arithmetic reads from and writes to.

    Parameters
    ----------
    levels : tuple of (bytes, pJ an access)
        Smallest first.
    access_bits, word_bits : int
        Width of one access and of one word.
    traffic : dict of count to dict of memory to words
    """

    levels: tuple[tuple[int, float], ...]
    access_bits: int
    word_bits: int
    traffic: dict[str, dict[str, float]]

    def word_price(self, words: Array) -> Array:
        """Picojoules for one word of a memory that holds `words` words; shapes alike."""
        held = np.asarray(words) * self.word_bits / 8
        sizes, prices = (np.array(column, np.float64) for column in zip(*self.levels, strict=True))
        level = np.minimum(np.searchsorted(sizes, held), len(sizes) - 1)
        return np.asarray(prices[level] * self.word_bits / self.access_bits)

    def prices(self, count: str, sizes: LayerSizes) -> Array:
        """Picojoules of memory traffic for one counted operation in each layer, float64 (L,)."""
        moved = self.traffic.get(count, {})
        found = [n * self.word_price(getattr(sizes, name)) for name, n in moved.items()]
        return np.sum(found, axis=0) if found else np.zeros(len(sizes.weights))


@dataclass(frozen=True)
class CostModel:
    """Prices in picojoules by count, and where they come from (see the module's docstring)."""

    name: str
    about: str
    prices: dict[str, float]
    sources: dict[str, str]
    memory: Memory | None = None
    not_applied: dict[str, float] = field(default_factory=dict)
    no_ann: str = ""

    def layer_prices(self, sizes: LayerSizes) -> dict[str, Array]:
        """Joules of one operation in each layer, arithmetic and memory traffic, float64 (L,)."""
        traffic = self.memory.traffic if self.memory else {}
        return {name: self._price(name, sizes) * 1e-12 for name in {**self.prices, **traffic}}

    def _price(self, count: str, sizes: LayerSizes) -> Array:
        moved = self.memory.prices(count, sizes) if self.memory else 0.0
        return np.full(len(sizes.weights), self.prices.get(count, 0.0)) + moved

    def layer_energy(self, counts: Mapping[str, Array], sizes: LayerSizes) -> Array:
        """Energy by layer in joules.

        Parameters
        ----------
        counts : mapping of name to int64 array (..., L)
            At least the counts that the model prices.
        sizes : LayerSizes
            Of the same L layers.

        Returns
        -------
        float64 array (..., L)
        """
        priced = self.layer_prices(sizes).items()
        return np.asarray(sum(counts[name] * price for name, price in priced))

    def energy(self, counts: Mapping[str, Array], sizes: LayerSizes) -> Array:
        """Energy of all layers in joules, float64 (...); parameters as `layer_energy`."""
        return np.asarray(self.layer_energy(counts, sizes).sum(axis=-1))
