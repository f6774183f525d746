"""Cost models: what each counted operation costs in energy, one JSON file per model.

A file has these entries:

``name``, ``about``
    Text.
``prices``
    The price in picojoules and its ``source``, for each count that the model prices. The names
    are those of :class:`seenn_deploy.simulator.result.Counts`; ``ac`` and ``mac`` are required.
``memory``, optional
    The traffic between arithmetic units and memories. ``levels`` gives, smallest memory first,
    the price of one access of ``access_bits`` to a memory of at most ``bytes``, with its source.
    A memory larger than the last level is taken as banked, at the last level's price per access.
    ``traffic`` gives the words of ``word_bits`` that one counted operation moves, for example
    ``{"ac": {"weights": 1}}``. They come from a memory as large as the layer's ``weights`` or
    ``potentials``, and several words share one access where they fit into it.
``not_applied``, optional
    Published figures of the hardware that no count here can be multiplied with.
``no_ann``, optional
    Why the model cannot price a conventional network beside the spiking one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from seenn_deploy._typing import Array
from seenn_deploy.ir.graph import Projection, SpikingGraph

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
    "ands",
    "payloads",
    "comparisons",
)
MEMORIES = ("weights", "potentials")


@dataclass(frozen=True, eq=False)
class LayerSizes:
    """How large each of L layers is; the layers are in the order of a run's counts.

    Parameters
    ----------
    weights : int64 array (L,)
        Stored weights of all synapses into the layer; a shared kernel is stored once.
    potentials : int64 array (L,)
        Membrane potentials, one per neuron; the readout has one per class.
    dense_macs : int64 array (L,)
        Multiply-accumulates of the trained layer in an ANN, on padding too.
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
            np.array([node.potentials for node in graph.layers], np.int64),
            np.array([sum(e.dense_macs for e in edges) for edges in into], np.int64),
        )

    @classmethod
    def of_policy(cls, rule: Mapping[str, Any]) -> LayerSizes | None:
        """The sizes of the policy network in a stored exit rule (``ExitRule.to_dict``), if any."""
        layers = rule.get("layers")
        return cls(*np.array(layers, np.int64).T) if layers else None


def _stored(graph: SpikingGraph, edge: Projection) -> int:
    """Weights of a projection; a sum needs none."""
    return int(edge.synapses.weight.size) if graph.stages(edge) else 0


@dataclass(frozen=True)
class Memory:
    """The memories that arithmetic units read from and write to.

    Parameters
    ----------
    levels : tuple of (bytes, picojoules per access)
        The smallest memory comes first.
    access_bits, word_bits : int
        Width of one access and of one word.
    traffic : dict of count to dict of memory to words
        Words that one operation of this count moves from or to each memory.
    """

    levels: tuple[tuple[int, float], ...]
    access_bits: int
    word_bits: int
    traffic: dict[str, dict[str, float]]

    def word_price(self, words: Array) -> Array:
        """Picojoules per word of a memory that holds `words` words, in the shape of `words`."""
        held = np.asarray(words) * self.word_bits / 8
        sizes, prices = (np.array(column, np.float64) for column in zip(*self.levels, strict=True))
        # The smallest level that holds the layer; beyond the last, the memory is banked.
        level = np.minimum(np.searchsorted(sizes, held), len(sizes) - 1)
        return np.asarray(prices[level] * self.word_bits / self.access_bits)

    def prices(self, count: str, sizes: LayerSizes) -> Array:
        """Picojoules of memory traffic for one counted operation in each layer, float64 (L,)."""
        moved = self.traffic.get(count, {})
        found = [n * self.word_price(getattr(sizes, name)) for name, n in moved.items()]
        return np.sum(found, axis=0) if found else np.zeros(len(sizes.weights))


@dataclass(frozen=True)
class CostModel:
    """Prices in picojoules by count, and where they come from (see the module's docstring).

    Parameters
    ----------
    name, about : str
    prices, sources : dict of count to float, of count to str
    memory : Memory, optional
    not_applied : dict of name to float
        Picojoules that no count can be multiplied with.
    no_ann : str
        Why the model prices no ANN; '' where it does.
    """

    name: str
    about: str
    prices: dict[str, float]
    sources: dict[str, str]
    memory: Memory | None = None
    not_applied: dict[str, float] = field(default_factory=dict)
    no_ann: str = ""

    def layer_prices(self, sizes: LayerSizes) -> dict[str, Array]:
        """Joules per operation in each layer, arithmetic plus memory traffic, float64 (L,)."""
        traffic = self.memory.traffic if self.memory else {}
        picojoules = {}
        # What moves memory may have no price of its own, and the other way round.
        for count in {**self.prices, **traffic}:
            moved = self.memory.prices(count, sizes) if self.memory else 0.0
            picojoules[count] = np.full(len(sizes.weights), self.prices.get(count, 0.0)) + moved
        return {count: price * 1e-12 for count, price in picojoules.items()}

    def layer_energy(self, counts: Mapping[str, Array], sizes: LayerSizes) -> Array:
        """Energy per layer in joules.

        Parameters
        ----------
        counts : mapping of name to int64 array (..., L)
            Counts per layer; at least those that the model prices.
        sizes : LayerSizes
            Sizes of the same L layers.

        Returns
        -------
        float64 array (..., L)
        """
        priced = self.layer_prices(sizes).items()
        return np.asarray(sum(counts[name] * price for name, price in priced))

    def energy(self, counts: Mapping[str, Array], sizes: LayerSizes) -> Array:
        """The energy of all layers together in joules, float64 (...); see `layer_energy`."""
        return np.asarray(self.layer_energy(counts, sizes).sum(axis=-1))
