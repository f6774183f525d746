"""The engine that goes tensor by tensor: each timestep, layer by layer, all samples of a batch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from seenn_deploy._typing import Array
from seenn_deploy.errors import ResourceError, SeennError
from seenn_deploy.ir.bounds import Interval
from seenn_deploy.ir.graph import Node, Projection, SpikingGraph
from seenn_deploy.ir.program import Program
from seenn_deploy.simulator.layout import WRAP
from seenn_deploy.simulator.result import Counts, RunResult
from seenn_deploy.simulator.tensors import nodes
from seenn_deploy.simulator.tensors.counting import Toll
from seenn_deploy.simulator.tensors.nodes import Logits, Neurons, Place, Pooled, Rows, Runner
from seenn_deploy.simulator.tensors.numbers import WORD, Numbers, wrapped
from seenn_deploy.simulator.tensors.synapses import Currents, currents
from seenn_deploy.simulator.worker import Feed, Worker

NAMES = tuple(field.name for field in fields(Counts))


@dataclass(frozen=True, eq=False)
class Arrival:
    """A projection, ready to run.

    Parameters
    ----------
    pre, lag : str, int
    analog : bool
        Whether the source is an image.
    kind : torch.dtype
        In which the currents are summed.
    currents : callable
        From what was sent to the currents.
    wraps : bool
        Whether a convolution's sum may leave the 24 bits that it has on the chip.
    toll : Toll
        What it costs.
    """

    pre: str
    lag: int
    analog: bool
    kind: torch.dtype
    currents: Currents
    wraps: bool
    toll: Toll

    def of(self, sent: Tensor) -> Tensor:
        """Return the currents of what was sent."""
        found = self.currents(sent.to(self.kind))
        return wrapped(found, WRAP) if self.wraps else found


@dataclass(frozen=True, eq=False)
class Layer:
    """A node that takes currents, with its projections.

    Parameters
    ----------
    node : Node
    arrivals : tuple of Arrival
    bound : Interval
        Of the currents, without bias, where they are whole numbers.
    kind : torch.dtype
        Of the currents.
    bias_adds : int
        Number of currents with a bias other than 0.
    """

    node: Node
    arrivals: tuple[Arrival, ...]
    bound: Interval
    kind: torch.dtype
    bias_adds: int


_READY: WeakKeyDictionary[SpikingGraph, dict[Any, tuple[Layer, ...]]] = WeakKeyDictionary()


def lay_out(program: Program, device: str) -> tuple[Layer, ...]:
    """Bring a program's weights and fan-outs to a device, layer by layer in topological order.

    Programs that differ in their exit rule alone share them, for as long as they live.

    Raises
    ------
    ProgramError
        When sums are too large to be exact, or a kind of nodes has no form in torch.
    ResourceError
        When the memory of the GPU is full.
    """
    ready, key = _READY.setdefault(program.graph, {}), (program.input_range, device)
    if key not in ready:
        numbers, place = Numbers(program), torch.device(device)
        with _memory_of(device, "the program's weights"):
            ready[key] = tuple(_layer(numbers, node, place) for node in program.graph.layers)
    return ready[key]


@contextmanager
def _memory_of(device: str, holding: str) -> Iterator[None]:
    """Say in one line that the memory of a GPU is full."""
    try:
        yield
    except torch.cuda.OutOfMemoryError:
        raise ResourceError(f"device {device}: its memory is full, with {holding}") from None


def _layer(numbers: Numbers, node: Node, device: torch.device) -> Layer:
    nodes.check(node)
    edges = numbers.program.graph.into(node.name)
    bias = np.zeros(()) if node.bias is None else np.asarray(node.bias)
    bound, kind = Interval(0, 0), torch.float32
    if numbers.whole:
        bound, most = numbers.arriving(edges), int(np.abs(bias).max())
        with_bias = bound + Interval(-most, most)
        kinds = numbers.type_of(with_bias, node.name), numbers.carrying(node)
        kind = max(kinds, key=lambda k: k.itemsize)
    return Layer(
        node,
        tuple(_arrival(numbers, edge, device) for edge in edges),
        bound,
        kind,
        int(np.count_nonzero(np.broadcast_to(bias, node.arriving))),
    )


def _arrival(numbers: Numbers, edge: Projection, device: torch.device) -> Arrival:
    graph, synapses = numbers.program.graph, edge.synapses
    pre, name = graph.node(edge.pre), f"{edge.pre} -> {edge.post}"
    kind = numbers.type_of(numbers.by(edge), name) if numbers.whole else torch.float32
    lag = min(edge.lag, graph.T)  # what is sent later than that never arrives
    return Arrival(
        edge.pre,
        lag,
        pre.analog,
        kind,
        currents(synapses, pre.shape, kind, device),
        numbers.wraps(edge),
        Toll.of(graph, edge, lag, device),
    )


class Mail:
    """What a node sent: now, and for all slots where that is needed later.

    Parameters
    ----------
    kept : tensor (steps, slots, *shape), optional
        A ring of timesteps, the newest at `newest`.
    """

    def __init__(self, kept: Tensor | None) -> None:
        self.kept, self.newest = kept, 0
        self.now = torch.zeros(())

    def turn(self) -> None:
        """Let a timestep begin: the oldest is overwritten."""
        if self.kept is not None:
            self.newest = (self.newest + 1) % len(self.kept)

    def put(self, rows: Rows, values: Tensor) -> None:
        """Send values (n, *shape)."""
        self.now = values
        if self.kept is not None:
            self.kept[self.newest][rows] = values

    def get(self, rows: Rows, lag: int) -> Tensor:
        """Return what was sent `lag` timesteps ago, or as long ago as is kept."""
        if self.kept is None:
            return self.now
        steps = len(self.kept)
        return self.kept[(self.newest - min(lag, steps - 1)) % steps][rows]

    def clear(self, rows: Rows) -> None:
        """Send nothing in any timestep that is kept."""
        if self.kept is not None:
            self.kept[:, rows] = 0


class TensorWorker(Worker):
    """Slots whose state is tensors on a device."""

    def __init__(
        self,
        program: Program,
        layers: tuple[Layer, ...],
        slots: int,
        result: RunResult,
        feed: Feed,
        device: str,
    ) -> None:
        super().__init__(program, slots, result, feed)
        self.layers, self.slots, self.device = layers, slots, torch.device(device)
        self.numbers = Numbers(program)
        self.runners = [self._runner(layer) for layer in layers]
        self.readout = next(found for found in self.runners if isinstance(found, Logits))
        self.z = np.zeros((slots, *program.graph.readout.shape), self.arithmetic.logits)
        self.mail = {node.name: self._mail(node) for node in program.graph.order}
        # What the image adds to a layer's currents at every timestep.
        self.replay = {
            layer.node.name: torch.zeros(
                slots, *layer.node.arriving, dtype=layer.kind, device=self.device
            )
            for layer in layers
            if any(arrival.analog for arrival in layer.arrivals)
        }
        self.active = np.arange(slots)

    def _runner(self, layer: Layer) -> Runner:
        whole = self.numbers.whole
        place = Place(self.arithmetic, whole, layer.kind, layer.bound, self.device, self.slots)
        return nodes.runner(layer.node, place)

    def _mail(self, node: Node) -> Mail:
        lag = min(self.program.graph.lag[node.name], self.program.T)
        if not lag and not node.analog:
            return Mail(None)
        shape, kind = (1 + lag, self.slots, *node.shape), self.numbers.carrying(node)
        return Mail(torch.zeros(shape, dtype=kind, device=self.device))

    def _rows(self, slots: Array) -> Rows:
        if len(slots) == self.slots:
            return slice(None)  # which copies nothing
        return torch.as_tensor(slots).to(self.device)

    def begin(self, slots: Array, images: list[Array]) -> None:
        """Set the initial state of a sample, and compute what its image adds at every timestep."""
        rows = self._rows(slots)
        for runner in self.runners:
            runner.begin(rows)
        for mail in self.mail.values():
            mail.clear(rows)
        if self.source.coding == "direct":
            self._send_frames(rows, images)
            self._compute_replay(slots, rows)

    def _send_frames(self, rows: Rows, frames: list[Array]) -> None:
        values = self.arithmetic.sent(self.source, frames)
        kind = self.numbers.carrying(self.source)
        self.mail[self.source.name].put(rows, torch.as_tensor(values).to(self.device, kind))

    def _compute_replay(self, slots: Array, rows: Rows) -> None:
        """Compute the currents that an image causes at every timestep, and their operations."""
        tally = self._tally(slots)
        for number, layer in enumerate(self.layers):
            if layer.node.name in self.replay:
                images = [arrival for arrival in layer.arrivals if arrival.analog]
                self.replay[layer.node.name][rows] = self._sum(images, rows, None, layer)
                self._count(images, rows, _by_name(tally, number))
        _enter(tally, self.image_counts, slots)

    def step(self, slots: Array, frames: list[Array]) -> None:
        """Run one timestep of every active slot, layer by layer."""
        self.active, rows, tally = slots, self._rows(slots), self._tally(slots)
        for mail in self.mail.values():
            mail.turn()
        if frames:
            self._send_frames(rows, frames)
        for number, (layer, runner) in enumerate(zip(self.layers, self.runners, strict=True)):
            arriving = [arrival for arrival in layer.arrivals if not arrival.analog]
            current = self._sum(arriving, rows, self.replay.get(layer.node.name), layer)
            counts = _by_name(tally, number)
            self._count(arriving, rows, counts)
            sent, more = runner.step(rows, current)
            self.mail[layer.node.name].put(rows, sent)
            for name, operations in {"bias_adds": layer.bias_adds, **more}.items():
                counts[name] += operations
        _enter(tally, self.counts, slots)
        self.z[slots] = self.readout.z[rows].cpu().numpy()

    def _tally(self, slots: Array) -> Tensor:
        shape = len(NAMES), len(self.layers), len(slots)
        return torch.zeros(shape, dtype=torch.int64, device=self.device)

    def _sum(
        self, arrivals: list[Arrival], rows: Rows, replay: Tensor | None, layer: Layer
    ) -> Tensor:
        """Add up what arrives at a layer, (n, *arriving)."""
        total = None if replay is None else replay[rows]
        for arrival in arrivals:
            found = arrival.of(self.mail[arrival.pre].get(rows, arrival.lag)).to(layer.kind)
            total = found if total is None else total + found
        assert total is not None  # every layer has an input
        if layer.bound.size > WORD.high:  # currents are 32-bit words in the other engine
            total = wrapped(total, 1 << 31)
        return total

    def _count(self, arrivals: list[Arrival], rows: Rows, counts: dict[str, Tensor]) -> None:
        for arrival in arrivals:
            arrival.toll.count(lambda name, lag: self.mail[name].get(rows, lag), counts)

    def recorded(self, slots: Array) -> Iterator[tuple[str, Array, Array]]:
        """Yield each population's name, its spikes and its potentials, (len(slots), *shape)."""
        rows, among = self._rows(slots), np.searchsorted(self.active, slots)
        for layer, runner in zip(self.layers, self.runners, strict=True):
            if isinstance(runner, Neurons | Pooled):
                spikes = self.mail[layer.node.name].now.cpu().numpy()[among] != 0
                yield layer.node.name, spikes, runner.v[rows].cpu().numpy()


def _by_name(tally: Tensor, layer: int) -> dict[str, Tensor]:
    """The counts of a layer by name, (n,) each; they are part of the tally."""
    return {name: tally[number, layer] for number, name in enumerate(NAMES)}


def _enter(tally: Tensor, counts: Counts, slots: Array) -> None:
    """Bring counts (names, L, n) from the device, at once."""
    found = tally.cpu().numpy()
    for number, (_, into) in enumerate(counts.items()):
        into[:, slots] = found[number]


# --- the device -----------------------------------------------------------------------------------


def check(device: str) -> None:
    """Refuse a device that torch does not have.

    Raises
    ------
    SeennError
        When there is no such GPU.
    """
    kind, _, number = device.partition(":")
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if kind == "cuda" and int(number or 0) >= found:
        how_many = f"GPUs 0..{found - 1} only" if found else "no GPU"
        raise SeennError(f"device {device}: {how_many}")


def threads() -> int:
    """The number of threads that torch uses in this process."""
    return torch.get_num_threads()


def run(
    program: Program, slots: int, result: RunResult, feed: Feed, device: str, threads: int
) -> None:
    """Run samples in one batch of slots until the feed is empty, on so many of torch's threads.

    Raises
    ------
    ResourceError
        When the memory of the GPU is full.
    """
    batch = f"a batch of {slots} slots; give fewer"
    with _memory_of(device, batch), _exact_products(threads), torch.inference_mode():
        layers = lay_out(program, device)
        TensorWorker(program, layers, slots, result, feed, device).run()


@contextmanager
def _exact_products(threads: int) -> Iterator[None]:
    """Let torch multiply float32 without shortcuts, whatever the process has allowed it."""
    precision, before = torch.get_float32_matmul_precision(), torch.get_num_threads()
    convolutions = getattr(torch.backends.mkldnn, "conv", None)  # of torch 2.9 and later
    chosen = convolutions and convolutions.fp32_precision
    torch.set_float32_matmul_precision("highest")
    torch.set_num_threads(threads)
    if convolutions:
        convolutions.fp32_precision = "ieee"
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(precision)
        torch.set_num_threads(before)
        if convolutions:
            convolutions.fp32_precision = chosen
