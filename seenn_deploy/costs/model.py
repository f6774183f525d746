"""Cost models: what each counted operation costs in energy, one JSON file per model.

A file has these entries:

``name``, ``about``
    Text.
``prices``
    The price in picojoules and its ``source``, for each count that the model prices. The names
    are those of :class:`seenn_deploy.simulator.result.Counts`, and of :data:`DERIVED`; ``ac`` and
    ``mac`` are required.
``addressing``, optional
    As ``prices``: what finding a neuron's place costs on top. It is no arithmetic, so the ANN
    beside the spiking network has none of it.
``memory``, optional
    The traffic between arithmetic units and memories. ``levels`` gives, smallest memory first,
    the price of one access of ``access_bits`` to a memory of at most ``bytes``, with its source.
    ``between`` says what a memory between two levels costs: ``step``, the default, as much as the
    next larger one; ``linear``, in proportion. A memory larger than the last level is taken as
    banked, at the last level's price per access. Instead of levels, ``line`` gives ``pJ`` plus
    ``pJ_per_byte``, without an end.
    ``traffic`` gives the words of ``word_bits`` that one counted operation moves, for example
    ``{"ac": {"weights": 1}}``; the width is one number, or one for each memory. Words come from a
    memory as large as the layer's ``weights``, ``potentials`` or ``inputs``, or from a ``queue``
    of ``queue_words``, and several of them share one access where they fit into it.
``not_applied``, optional
    Published figures of the hardware that no count here can be multiplied with.
``no_ann``, optional
    Why the model cannot price a conventional network beside the spiking one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from math import prod
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, TypeAlias

import numpy as np

from seenn_deploy._typing import Array
from seenn_deploy.errors import DataError
from seenn_deploy.ir.graph import Projection, SpikingGraph
from seenn_deploy.ir.nodes import Node
from seenn_deploy.ir.schedule import Timing

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
DERIVED = {
    "events": ("spikes",),  # a spike, once for each layer that takes it
    "convolved": ("spikes",),  # the same, convolutions alone: targets are found by multiplication
    "leaks": ("updates_active", "updates_inactive"),  # updates of neurons that leak
}
"""Counts that follow from a run's counts and its graph, and the counts that they follow from."""
_WORDS = {
    "ac": "AC", "mac": "MAC", "ac_effective": "effective AC", "mac_effective": "effective MAC",
    "bias_adds": "biases", "updates_active": "active updates",
    "updates_inactive": "inactive updates", "convolved": "spikes into convolutions",
}  # fmt: skip
MEMORIES = ("weights", "potentials", "inputs", "queue")


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
    inputs : int64 array (L,), optional
        Values that the layer takes, at a timestep.
    events, convolved : int64 array (L,), optional
        Layers that take the layer's spikes, and how many of them are convolutions.
    leaks : int64 array (L,), optional
        1 where neurons leak, else 0.
    """

    weights: Array
    potentials: Array
    dense_macs: Array
    inputs: Array | None = None
    events: Array | None = None
    convolved: Array | None = None
    leaks: Array | None = None

    @classmethod
    def of(cls, graph: SpikingGraph) -> LayerSizes:
        """The sizes of a compiled graph's layers."""
        into = [graph.into(layer.name) for layer in graph.layers]
        return cls(
            np.array([sum(_stored(graph, e) for e in edges) for edges in into], np.int64),
            np.array([node.potentials for node in graph.layers], np.int64),
            np.array([sum(e.dense_macs for e in edges) for edges in into], np.int64),
            np.array([sum(prod(graph.node(e.pre).shape) for e in x) for x in into], np.int64),
            _readers(graph),
            _readers(graph, "conv2d"),
            np.array([_leaks(node) for node in graph.layers], np.int64),
        )

    @classmethod
    def of_policy(cls, rule: Mapping[str, Any]) -> LayerSizes | None:
        """The sizes of the policy network in a stored exit rule (``ExitRule.to_dict``), if any."""
        layers = rule.get("layers")
        return cls(*np.array(layers, np.int64).T) if layers else None


def _readers(graph: SpikingGraph, kind: str = "") -> Array:
    """How many projections leave each layer, of all kinds of synapses or of one, int64 (L,)."""
    found = Counter(e.pre for e in graph.projections if not kind or e.synapses.kind == kind)
    return np.array([found[node.name] for node in graph.layers], np.int64)


def _leaks(node: Node) -> bool:
    return bool(np.any(np.asarray(getattr(node, "tau", 1.0)) != 1))


def _stored(graph: SpikingGraph, edge: Projection) -> int:
    """Weights of a projection; a sum needs none."""
    return int(edge.synapses.weight.size) if graph.stages(edge) else 0


@dataclass(frozen=True)
class Memory:
    """The memories that arithmetic units read from and write to.

    Parameters
    ----------
    access_bits : int
        Width of one access.
    word_bits : dict of memory to int
        Width of one word.
    traffic : dict of count to dict of memory to words
        Words that one operation of this count moves from or to each memory.
    levels : tuple of (bytes, picojoules per access)
        The smallest memory comes first.
    between : 'step' or 'linear'
        What a memory between two levels costs.
    line : (picojoules per access, picojoules per access and byte), optional
        The price of an access instead of levels.
    queue_words : int
        Words that a queue of spikes holds.
    sources : tuple of str
        Sources of the levels, or of the line.
    about : str
    """

    access_bits: int
    word_bits: dict[str, int]
    traffic: dict[str, dict[str, float]]
    levels: tuple[tuple[float, float], ...] = ()
    between: Literal["step", "linear"] = "step"
    line: tuple[float, float] | None = None
    queue_words: int = 0
    sources: tuple[str, ...] = ()
    about: str = ""

    def word_price(self, place: str, words: Array | int) -> Array:
        """Picojoules per word of a memory that holds `words` words, in the shape of `words`."""
        bits = self.word_bits[place]
        held = np.asarray(words) * bits / 8
        return np.asarray(self._access_price(held) * bits / self.access_bits)

    def _access_price(self, held: Array) -> Array:
        if self.line is not None:
            return self.line[0] + self.line[1] * held
        sizes, prices = (np.array(column, np.float64) for column in zip(*self.levels, strict=True))
        # Beyond the last level, in both cases, the memory is banked.
        if self.between == "linear":
            return np.asarray(np.interp(held, sizes, prices))
        return np.asarray(prices[np.minimum(np.searchsorted(sizes, held), len(sizes) - 1)])

    def prices(self, count: str, sizes: LayerSizes) -> Array:
        """Picojoules of memory traffic for one counted operation in each layer, float64 (L,)."""
        moved = self.traffic.get(count, {})
        found = [n * self.word_price(name, self._held(name, sizes)) for name, n in moved.items()]
        return np.sum(found, axis=0) if found else np.zeros(len(sizes.weights))

    def _held(self, name: str, sizes: LayerSizes) -> Array:
        if name == "queue":
            return np.full(len(sizes.weights), self.queue_words)
        return np.asarray(getattr(sizes, name))


class Ran(Protocol):
    """What a cost knows of a run: N samples, L layers, T timesteps."""

    @property
    def counts(self) -> Any:
        """Counts, whose ``items`` are pairs of a name and an int64 array (N, L, T)."""

    @property
    def sizes(self) -> LayerSizes:
        """Sizes of the L layers."""

    @property
    def layers(self) -> list[str]:
        """Their names."""

    @property
    def timing(self) -> Timing:
        """The schedule under which energy is told."""


class Cost(ABC):
    """What a run costs in energy.

    A :class:`CostModel` prices the counts of each layer. What counts do not say, as where neurons
    are placed, is a cost of its own: it prices the one run that it was made of.
    """

    name: str
    no_ann: str
    # Whether the price of a sample depends on its own counts alone.
    by_sample: ClassVar[bool] = False

    def __str__(self) -> str:
        return self.name

    @abstractmethod
    def spent(self, run: Ran) -> Array:
        """Joules of each timestep and layer, float64 (N, T, L)."""

    def ann(self, sizes: LayerSizes, bits: int | None = None) -> float | None:
        """Joules of a dense forward pass, None where there is no price; see `ann.ann_energy`."""
        return None


Priced: TypeAlias = str | Path | Cost
"""A cost as public functions take it: the name of a model, a file with one, or the cost itself."""


@dataclass(frozen=True)
class CostModel(Cost):
    """Prices in picojoules by count, and where they come from (see the module's docstring).

    Parameters
    ----------
    name, about : str
    prices, sources : dict of count to float, of count to str
    memory : Memory, optional
    not_applied, not_applied_sources : dict of name to float, of name to str
        Picojoules that no count can be multiplied with.
    no_ann : str
        Why the model prices no ANN; '' where it does.
    addressing, addressing_sources : dict of count to float, of count to str
        Picojoules of finding a neuron's place, on top of `prices`.
    """

    by_sample: ClassVar[bool] = True

    name: str
    about: str
    prices: dict[str, float]
    sources: dict[str, str]
    memory: Memory | None = None
    not_applied: dict[str, float] = field(default_factory=dict)
    no_ann: str = ""
    addressing: dict[str, float] = field(default_factory=dict)
    addressing_sources: dict[str, str] = field(default_factory=dict)
    not_applied_sources: dict[str, str] = field(default_factory=dict)

    @property
    def includes(self) -> tuple[str, ...]:
        """What the model has a price for, in words."""
        moved = {place for words in self._traffic.values() for place in words}
        return (
            *(_WORDS.get(count, count) for count in self.prices),
            *(["addresses"] if self.addressing else []),
            *([f"memory ({', '.join(sorted(moved, key=MEMORIES.index))})"] if moved else []),
        )

    def summary(self) -> dict[str, Any]:
        """Return the model as JSON values, prices in picojoules with their sources."""
        return {
            "name": self.name,
            "about": self.about,
            "includes": list(self.includes),
            "prices": _sourced(self.prices, self.sources),
            "addressing": _sourced(self.addressing, self.addressing_sources),
            "memory": asdict(self.memory) if self.memory else None,
            "not_applied": _sourced(self.not_applied, self.not_applied_sources),
            "no_ann": self.no_ann,
        }

    @property
    def _traffic(self) -> dict[str, dict[str, float]]:
        return self.memory.traffic if self.memory else {}

    @property
    def priced(self) -> tuple[str, ...]:
        """The counts that cost something: arithmetic, addresses or traffic."""
        return tuple({**self.prices, **self.addressing, **self._traffic})

    def lacks(self, sizes: LayerSizes, counts: Iterable[str] | None = None) -> str:
        """Return why layers of these sizes cannot be priced; '' where they can.

        Parameters
        ----------
        sizes : LayerSizes
        counts : iterable of str, optional
            The counts that matter; by default all that the model prices.
        """
        counts = self.priced if counts is None else counts
        needed = {count for count in counts if count in DERIVED and count in self.priced}
        needed |= {"inputs" for count in counts if "inputs" in self._traffic.get(count, {})}
        missing = sorted(name for name in needed if getattr(sizes, name) is None)
        return (
            f"cost model {self.name} needs what is not known of these layers: {', '.join(missing)}"
            if missing
            else ""
        )

    def mac_price(self, sizes: LayerSizes) -> Array:
        """Joules of a multiply-accumulate of an ANN in each layer, with its traffic (L,)."""
        moved = self.memory.prices("mac", sizes) if self.memory else 0.0
        return (np.full(len(sizes.weights), self.prices["mac"]) + moved) * 1e-12

    def spent(self, run: Ran) -> Array:
        by_step = {name: values.swapaxes(1, 2) for name, values in run.counts.items()}
        return self.layer_energy(by_step, run.sizes)

    def ann(self, sizes: LayerSizes, bits: int | None = None) -> float | None:
        if self.no_ann or self.lacks(sizes, ["mac"]):
            return None
        price = self.mac_price(sizes)
        if bits is not None:
            # Only the arithmetic changes its price; the memory traffic in `price` stays.
            arithmetic = min(bits * self.prices["ac"], self.prices["mac"])
            price = price + (arithmetic - self.prices["mac"]) * 1e-12
        return float(np.sum(sizes.dense_macs * price))

    def layer_prices(self, sizes: LayerSizes) -> dict[str, Array]:
        """Joules per operation in each layer, float64 (L,): arithmetic, addresses and memory.

        Raises
        ------
        DataError
            When the model needs sizes that are not known.
        """
        if missing := self.lacks(sizes):
            raise DataError(missing)
        found: dict[str, Array] = {}
        for count in self.priced:
            price = self._picojoules(count, sizes) * 1e-12
            times = np.asarray(getattr(sizes, count)) if count in DERIVED else 1
            for counted in DERIVED.get(count, (count,)):
                found[counted] = found.get(counted, 0.0) + times * price
        return found

    def _picojoules(self, count: str, sizes: LayerSizes) -> Array:
        moved = self.memory.prices(count, sizes) if self.memory else 0.0
        own = self.prices.get(count, 0.0) + self.addressing.get(count, 0.0)
        return np.full(len(sizes.weights), own) + moved

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


def _sourced(prices: Mapping[str, float], sources: Mapping[str, str]) -> dict[str, Any]:
    return {name: {"pJ": pJ, "source": sources[name]} for name, pJ in prices.items()}
