"""The engine that goes event by event: each timestep, layer by layer, through compiled kernels."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import NamedTuple

import numpy as np

from seenn_deploy._typing import Array
from seenn_deploy.ir.program import Program
from seenn_deploy.simulator.factors import SmallFactors
from seenn_deploy.simulator.kernels import kernels
from seenn_deploy.simulator.kernels.vector_masks import LANES
from seenn_deploy.simulator.layout import Edge, Layer, planes
from seenn_deploy.simulator.nodes import CountsLater, Logits, Neurons, runner
from seenn_deploy.simulator.result import Counts, RunResult
from seenn_deploy.simulator.spikes import Events, Scratch, aligned
from seenn_deploy.simulator.synapses import PART_WORDS
from seenn_deploy.simulator.turns import Plain, Turns, at_a_time, counted, more_of, plain
from seenn_deploy.simulator.worker import Feed, Worker


class Alone(NamedTuple):
    """The turn of a layer that goes through Python, by its number among all.

    `is_counted` tells whether the row before it has counted its synapses.
    """

    number: int
    is_counted: bool


class EventWorker(Worker):
    """Slots whose state lies as the kernels want it."""

    def __init__(
        self,
        program: Program,
        layers: tuple[Layer, ...],
        slots: int,
        result: RunResult,
        feed: Feed,
    ) -> None:
        super().__init__(program, slots, result, feed)
        graph, kind = program.graph, self.arithmetic
        self.layers = layers
        # By node, the events of this timestep and of as many earlier ones as its longest lag needs.
        plane = planes(graph)
        self.sent = [
            [
                Events.empty(slots, plane[n.name], n.graded, kind.value)
                for _ in range(1 + min(graph.lag[n.name], graph.T))
            ]
            for n in graph.order
        ]
        seen = max(layer.arriving.pixels for layer in layers)
        self.scratch = Scratch.empty(slots * seen, PART_WORDS * LANES, kind.value)
        source = plane[self.source.name]
        self.frame = aligned((slots, source.pixels, source.padded), kind.value)
        self.loaded = np.zeros((2, slots), np.int64)  # values of the frames, by kind: not counted
        self.current = self._currents(slots)
        self.runners = [runner(layer.node, layer, kind, slots) for layer in layers]
        (self.z,) = (found.z for found in self.runners if isinstance(found, Logits))
        # What the image adds to a layer's currents at every timestep, and its operations.
        self.replay = {
            layer.index: np.zeros_like(self.current[layer.index])
            for layer in layers
            if any(edge.analog for edge in layer.edges)
        }
        self.by_layer = [
            {name: array[number] for name, array in self.counts.items()}
            for number in range(len(layers))
        ]
        self.counting_later = [
            (run, counts)
            for run, counts in zip(self.runners, self.by_layer, strict=True)
            if isinstance(run, CountsLater)
        ]
        self.trained = [
            (number, edge)
            for number, layer in enumerate(layers)
            for edge in layer.edges
            if edge.own and not edge.analog
        ]
        self.bias_adds = np.array([[layer.bias_adds] for layer in layers])
        self.turns = self._turns()
        self.more = more_of(turn for turn in self.turns if isinstance(turn, Turns))

    def _turns(self) -> list[Turns | Alone]:
        """Put plain layers in rows; each of the others takes its turn alone, counted in a row."""
        turns: list[Turns | Alone] = []
        row: list[Plain] = []
        for number, layer in enumerate(self.layers):
            counts = self.by_layer[number]
            whole = plain(
                layer, self.runners[number], self.sent, self.current[layer.index],
                self.replay.get(layer.index), counts,
            )  # fmt: skip
            counting = whole or counted(layer, self.sent, counts, len(self.z))
            row += [counting] if counting else []
            if whole is None:
                turns += [*([Turns.of(row)] if row else []), Alone(number, counting is not None)]
                row = []
        return turns + ([Turns.of(row)] if row else [])

    def _currents(self, slots: int) -> dict[int, Array]:
        """Allocate the currents; they live for one layer's turn, so all layers share memory."""
        sizes = {
            layer.index: (slots, layer.arriving.pixels, layer.arriving.padded)
            for layer in self.layers
        }
        shared = aligned((max(prod(size) for size in sizes.values()),), self.arithmetic.value)
        small = {layer.index for layer in self.layers if isinstance(layer.factors, SmallFactors)}
        return {
            index: (shared.view(np.uint8) if index in small else shared)[: prod(size)].reshape(size)
            for index, size in sizes.items()
        }

    def begin(self, slots: Array, images: list[Array]) -> None:
        """Set the initial state of a sample, and compute what its image adds at every timestep."""
        for layer in self.runners:
            layer.begin(slots)
        for history in self.sent:
            for events in history if len(history) > 1 else ():
                events.clear(slots)  # nothing was sent before the first timestep
        if self.source.coding == "direct":
            self._load(slots, images)
            self._compute_replay(slots)

    def _load(self, slots: Array, frames: list[Array]) -> None:
        """Turn one frame per slot into the source's events."""
        channels, events = self.source.shape[0], self.sent[0][0]
        self.frame[slots, :, :channels] = self.arithmetic.frames(self.source, frames)
        sent = events.plane.lies, events.masks, events.flat_values, events.number, events.units
        kernels.send_values(slots, self.frame.reshape(-1), channels, *sent, *self.loaded)

    def _compute_replay(self, slots: Array) -> None:
        """Compute the currents that an image causes at every timestep, and their operations."""
        for _, array in self.image_counts.items():
            array[:, slots] = 0
        for replay in self.replay.values():
            replay[slots] = 0
        for number, layer in enumerate(self.layers):
            for edge in layer.edges:
                if edge.analog:
                    self._send(slots, edge, self.replay[layer.index])
                    self._count(slots, number, edge, self.image_counts)
                    self._count_own(slots, number, edge, self.image_counts)

    def step(self, slots: Array, frames: list[Array]) -> None:
        """Run one timestep of every active slot, layer by layer."""
        for _, array in self.counts.items():
            array[:, slots] = 0
        for history in self.sent:
            history.insert(0, history.pop())  # the oldest events are overwritten
        if frames:
            self._load(slots, frames)
        for turn in self.turns:
            if isinstance(turn, Turns):
                turn.take(slots, self.scratch, self.more)
            else:
                layer = self.layers[turn.number]
                for edge in () if turn.is_counted else layer.edges:
                    if not edge.analog:
                        self._count(slots, turn.number, edge, self.counts)
                for some in self._together(slots, layer):
                    self._run_layer(some, turn.number, layer)
        self._count_rest(slots)

    def _count_rest(self, slots: Array) -> None:
        """Count what follows from what was counted, and the network's own layers."""
        self.counts.bias_adds[:, slots] = self.bias_adds
        for run, counts in self.counting_later:
            run.count(slots, counts)
        for number, edge in self.trained:
            self._count_own(slots, number, edge, self.counts)

    def _together(self, slots: Array, layer: Layer) -> list[Array]:
        """Cut slots into groups whose currents stay in the cache until the layer has fired."""
        most = at_a_time(layer.arriving)
        return [slots[first : first + most] for first in range(0, len(slots), most)]

    def _run_layer(self, slots: Array, number: int, layer: Layer) -> None:
        current = self.current[layer.index]
        if layer.index in self.replay:
            for b in slots:  # all at once, numpy would make a copy in between
                current[b] = self.replay[layer.index][b]
        for edge in layer.edges:
            if not edge.analog:
                self._send(slots, edge, current)
        sent, counts = self.sent[layer.index][0], self.by_layer[number]
        self.runners[number].step(slots, current, sent, counts)

    def _send(self, slots: Array, edge: Edge, current: Array) -> None:
        edge.accumulate(slots, self.sent[edge.pre][edge.lag], current, self.scratch)

    def _count(self, slots: Array, number: int, edge: Edge, counts: Counts) -> None:
        """Count the synapses that an edge's events meet: all, and those not 0."""
        events = self.sent[edge.pre][edge.lag]
        met = edge.met(slots, events, edge.fan_out)
        same = edge.effective is edge.fan_out
        effective = met if same else edge.met(slots, events, edge.effective)
        counts.ac[number, slots] += met[0]
        counts.ac_effective[number, slots] += effective[0]
        if events.graded:
            counts.mac[number, slots] += met[1]
            counts.mac_effective[number, slots] += effective[1]
        if edge.own is None:
            counts.own_ac[number, slots] += met[0]
            counts.own_mac[number, slots] += met[1]

    def _count_own(self, slots: Array, number: int, edge: Edge, counts: Counts) -> None:
        for layer in edge.own or ():
            layer.count(slots, self.sent, counts.own_ac[number], counts.own_mac[number])

    def recorded(self, slots: Array) -> Iterator[tuple[str, Array, Array]]:
        """Yield each population's name, its spikes and its potentials, (len(slots), *shape)."""
        for found in self.runners:
            if isinstance(found, Neurons):
                spikes = self.sent[found.layer.index][0].fired(slots)
                yield found.node.name, spikes, found.layer.plane.from_grid(found.state.v[slots])
