"""The time loop: samples enter slots, every timestep runs layer by layer, exits free their slot.

A slot is a place in a worker's arrays that one sample occupies from its first timestep to its exit.
Then the next sample takes the slot, so that a worker always has a full set of samples under way.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from math import prod
from pathlib import Path
from threading import Event, Lock
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from seenn_deploy._typing import Array, checked_types
from seenn_deploy.costs.model import LayerSizes
from seenn_deploy.errors import DataError, ProgramError
from seenn_deploy.io.images.image_set import Images, ImageSet
from seenn_deploy.ir.inputs import for_program
from seenn_deploy.ir.program import Program
from seenn_deploy.progress import Progress, shown
from seenn_deploy.simulator import arithmetic, distribute, memory, run_folder
from seenn_deploy.simulator.kernels import kernels
from seenn_deploy.simulator.kernels.vector_masks import LANES
from seenn_deploy.simulator.layout import PART_WORDS, Edge, Layer, lay_out, planes
from seenn_deploy.simulator.nodes import Logits, Neurons, runner
from seenn_deploy.simulator.result import Counts, RunResult
from seenn_deploy.simulator.spikes import Events, Scratch, aligned

MOST_THREADS = 1024  # more would only take memory


@checked_types
def simulate(
    program: Program,
    images: Images,
    labels: ArrayLike | None = None,
    *,
    record: bool = False,
    full_trace: bool = False,
    wasted: bool | None = None,
    first_layer: Literal["once", "every_step"] = "once",
    threads: int | None = None,
    slots: int | None = None,
    progress: Progress = None,
    out: str | Path | None = None,
    resume: bool = False,
    force: bool = False,
    client: distribute.Cluster | None = None,
) -> RunResult:
    """Run a program on images, event by event, and count its operations.

    Parameters
    ----------
    program : Program
    images : array (N, C, H, W), for event coding (N, T, C, H, W), ImageSet, or a path
        The images, as the program takes them. Signals of an ImageSet or .npz with `length` end
        where their length says, at the latest.
    labels : int array (N,), optional
    record : bool
        Whether to keep every population's spikes and, of integer programs, the potentials, integer
        logits and scores of the policy network. Memory grows with N times T times the number of
        neurons.
    full_trace : bool
        Whether to run every sample to T; `exit_step` still says where the rule would have stopped.
    wasted : bool, optional
        Whether to run and count the timesteps that a speculative schedule injects before it knows
        the exit. By default they run where the program's schedule is speculative, as they do on
        the hardware. True runs them for any schedule, so that the run can be told under each of
        them; False is faster, and makes the energy of a speculative schedule a lower bound.
    first_layer : 'once' or 'every_step'
        How often the multiply-accumulates of a direct-coded image count. The first layer sees the
        same image at every timestep, so its result is computed once and replayed.
    threads, slots : int, optional
        Number of workers, and of samples that each works on at a time. Results depend on neither.
    progress : bool or callable, optional
        True shows a bar, False none. By default there is one on a terminal and in a notebook, once
        the run takes longer than two seconds. A function is called with the number of samples
        that just finished.
    out : str or Path, optional
        Run folder, into which results are written as samples finish.
    resume : bool
        Whether to go on with a run folder that was cut off.
    force : bool
        Whether to begin anew in a folder that holds a run; files of others there stay.
    client : distributed.Client, optional
        A Dask cluster whose workers run the samples, with a thread per chunk of them; `threads`
        and `slots` are then the cluster's own. Results are the same, bit for bit.

    Raises
    ------
    DataError
        When the images do not fit the program.
    SeennError
        When the cluster has no worker, or one without this version of the package.
    ProgramError
        When the run folder exists without `resume` or `force`, or belongs to another run.
    ResourceError
        When the run needs more memory than there is.

    Examples
    --------
    >>> import seenn_deploy as sd
    >>> files = sd.example()
    >>> program = sd.compile(sd.import_model(files.network, T=4))
    >>> run = sd.simulate(program, files.images)
    >>> run.summary()["accuracy"]
    0.8
    >>> sd.simulate(program, files.images, out="run").summary()["mean_exit_step"]
    2.38
    """
    if first_layer not in ("once", "every_step"):
        raise DataError(f"first_layer = {first_layer!r} must be 'once' or 'every_step'")
    data = for_program(program, images, labels)
    wasted = program.followed_schedule == "speculative" if wasted is None else wasted
    wasted = wasted and not full_trace  # a full trace has them anyway
    options = {"full_trace": full_trace, "first_layer": first_layer, "wasted": wasted}
    if resume and force:
        raise DataError("resume goes on with a run and force begins it anew; give one of them")
    if not 1 <= (threads := threads or _cores()) <= MOST_THREADS:
        raise DataError(f"threads = {threads} lies outside 1..{MOST_THREADS}")
    if out is not None and record:
        raise DataError("record keeps spikes in memory; a run folder (out) does not hold them")
    extent = memory.Extent(len(data), threads, slots, record, out is not None)
    memory.require(program, extent)
    storage: AbstractContextManager[tuple[RunResult, Array]] = (
        nullcontext((_empty_result(program, data, record, wasted), np.zeros(len(data), np.bool_)))
        if out is None
        else run_folder.begin(Path(out), program, data, options, resume, force)
    )
    with storage as (result, finished), shown(progress, "simulating", len(data)) as advance:
        if client is not None:
            distribute.work(client, program, data, result, finished, options | {"record": record},
                            _chunk, advance)  # fmt: skip
        else:
            feed = _Feed(data, finished, full_trace, first_layer == "every_step", advance)
            _work(program, lay_out(program), result, feed, threads, extent.slots_of(program))
    return result


def _chunk(program: Program, data: ImageSet, options: dict[str, Any]) -> RunResult:
    """Run some samples on one thread, as a worker of a cluster does."""
    result = _empty_result(program, data, options["record"], options["wasted"])
    finished = np.zeros(len(data), np.bool_)
    every_step = options["first_layer"] == "every_step"
    feed = _Feed(data, finished, options["full_trace"], every_step, None)
    slots = memory.Extent(len(data), 1, None, options["record"], False).slots_of(program)
    _work(program, _laid_out(program), result, feed, 1, slots)
    return result


@lru_cache(maxsize=1)
def _laid_out(program: Program) -> tuple[Layer, ...]:
    """The layers of the program whose chunks a worker runs, laid out once."""
    return lay_out(program)


def _cores() -> int:
    """How many cores this process may use; macOS and Windows tell how many there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _work(
    program: Program,
    layers: tuple[Layer, ...],
    result: RunResult,
    feed: _Feed,
    threads: int,
    slots: int,
) -> None:
    """Run all workers until the feed is empty; a worker that fails stops the others."""
    with ThreadPoolExecutor(threads) as pool:
        jobs = [
            pool.submit(_Worker(program, layers, slots, result, feed).run) for _ in range(threads)
        ]
        try:
            for job in as_completed(jobs):
                job.result()
        finally:
            feed.stop.set()


def _empty_result(program: Program, data: ImageSet, record: bool, wasted: bool) -> RunResult:
    graph, n, T = program.graph, len(data), program.T
    populations = graph.populations if record else ()
    integer = program.precision != "float32"
    return RunResult(
        np.full((n, T, graph.readout.shape[0]), np.nan),
        np.zeros(n, np.int64),
        [layer.name for layer in graph.layers],
        Counts.zeros(n, len(graph.layers), T),
        LayerSizes.of(graph),
        data.labels,
        {p.name: np.zeros((n, T, *p.shape), np.bool_) for p in populations},
        {p.name: np.zeros((n, T, *p.shape), np.int32) for p in populations if integer},
        np.zeros((n, T, graph.readout.shape[0]), np.int64) if record and integer else None,
        LayerSizes.of_policy(program.exit_rule.to_dict()),
        program.provenance.not_proven,
        program.timing,
        wasted,
        np.zeros((n, len(program.policy.choices)), np.int64) if record and program.policy else None,
        data.length,
    )


class _Feed:
    """The queue that hands out images to workers in order; it reads one batch at a time."""

    def __init__(
        self,
        data: ImageSet,
        finished: Array,
        full_trace: bool,
        every_step: bool,
        progress: Callable[[int], None] | None,
    ) -> None:
        self.finished, self.full_trace, self.every_step = finished, full_trace, every_step
        self.stop = Event()
        self._progress, self._lock = progress, Lock()
        T = data.spec.T if data.spec.coding == "events" else np.iinfo(np.int64).max
        self.length = np.full(len(data), T) if data.length is None else data.length
        self._images = self._unfinished(data)
        self.report(int(np.count_nonzero(finished)))

    def _unfinished(self, data: ImageSet) -> Iterator[tuple[int, Array]]:
        waiting = np.flatnonzero(~self.finished)
        number = int(waiting[0]) if len(waiting) else len(data)
        done = self.finished.copy()  # the original changes while samples are being read
        for batch in data.batches(memory.READ_AT_ONCE, start=number) if len(waiting) else ():
            for image in batch:
                if not done[number]:
                    yield number, image
                number += 1

    def take(self, most: int) -> list[tuple[int, Array]]:
        """Return the next images with their numbers; fewer than `most` at the end."""
        with self._lock:
            # The range comes first: zip must not draw an image that it then drops.
            return [pair for _, pair in zip(range(most), self._images, strict=False)]

    def report(self, samples: int) -> None:
        """Tell the caller's progress function that some samples are done."""
        if self._progress and samples:
            with self._lock:
                self._progress(samples)


# Currents that a layer works on at a time: 1 MiB stays in a second-level cache.
CURRENTS = 1 << 18


class _Worker:
    """One thread's slots with their state, and the time loop over them."""

    def __init__(
        self,
        program: Program,
        layers: tuple[Layer, ...],
        slots: int,
        result: RunResult,
        feed: _Feed,
    ) -> None:
        graph = program.graph
        self.program, self.layers, self.result, self.feed = program, layers, result, feed
        self.source = graph.source
        self.arithmetic = kind = arithmetic.of(program)
        self.stops = kind.stopping(program)
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
        self.current = self._currents(slots)
        self.runners = [runner(layer.node, layer, kind, slots) for layer in layers]
        (self.z,) = (found.z for found in self.runners if isinstance(found, Logits))
        # What the image adds to a layer's currents at every timestep, and its operations.
        self.replay = {
            layer.index: np.zeros_like(self.current[layer.index])
            for layer in layers
            if any(edge.analog for edge in layer.edges)
        }
        self.counts = Counts.zeros(len(layers), slots)
        self.by_layer = [
            {name: array[number] for name, array in self.counts.items()}
            for number in range(len(layers))
        ]
        self.image_counts = Counts.zeros(len(layers), slots)
        self.sample = np.full(slots, -1)  # -1 marks a free slot
        self.t, self.until = np.zeros(slots, np.int64), np.full(slots, program.T)
        self.last = np.full(slots, program.T)  # the timestep after which a slot becomes free
        self.frames: list[Array] = [np.empty(0)] * slots

    def _currents(self, slots: int) -> dict[int, Array]:
        """Allocate the currents; they live for one layer's turn, so all layers share memory."""
        sizes = {
            layer.index: (slots, layer.arriving.pixels, layer.arriving.padded)
            for layer in self.layers
        }
        shared = aligned((max(prod(size) for size in sizes.values()),), self.arithmetic.value)
        return {index: shared[: prod(size)].reshape(size) for index, size in sizes.items()}

    def run(self) -> None:
        """Run timesteps until the feed is empty."""
        while not self.feed.stop.is_set():
            self._admit()
            active = np.flatnonzero(self.sample >= 0)
            if not len(active):
                return
            self._step(active)
            self._leave(active)

    def _admit(self) -> None:
        """Give every free slot the next image and the initial state of a sample."""
        free = np.flatnonzero(self.sample < 0)
        taken = self.feed.take(len(free))
        slots = free[: len(taken)]
        if not len(slots):
            return
        for b, (number, image) in zip(slots, taken, strict=True):
            self.sample[b], self.frames[b] = number, image
        # A sample ends where its signal does, whatever the exit rule says.
        length = np.minimum(self.feed.length[[number for number, _ in taken]], self.program.T)
        self.t[slots], self.last[slots] = 0, length
        self.until[slots] = np.minimum(self._known_before(taken), length)
        for layer in self.runners:
            layer.begin(slots)
        for history in self.sent:
            for events in history if len(history) > 1 else ():
                events.clear(slots)  # nothing was sent before the first timestep
        if self.source.coding == "direct":
            self._load(slots, [image for _, image in taken])
            self._compute_replay(slots)

    def _load(self, slots: Array, frames: list[Array]) -> None:
        """Turn one frame per slot into the source's events."""
        channels, events = self.source.shape[0], self.sent[0][0]
        self.frame[slots, :, :channels] = self.arithmetic.frames(self.source, frames)
        sent = events.sent, events.values, events.number, events.units
        kernels.send_values(slots, self.frame, channels, *sent)

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

    def _known_before(self, taken: list[tuple[int, Array]]) -> Array | int:
        """Return the timesteps of samples that begin, T where the exit rule does not know them."""
        images = [image for _, image in taken]
        if self.program.policy is not None:
            scores = self.program.policy_scores(images)
            assert scores is not None
            if self.result.policy_scores is not None:
                self.result.policy_scores[[number for number, _ in taken]] = scores
            return self.program.policy.timesteps(scores)
        try:
            chosen = self.program.exit_rule.steps(images)
        except ValueError as error:  # of a policy network, whose file is another one by now
            raise ProgramError(str(error)) from None
        return self.program.T if chosen is None else chosen

    def _step(self, slots: Array) -> None:
        """Run one timestep of every active slot, layer by layer."""
        self.t[slots] += 1
        for _, array in self.counts.items():
            array[:, slots] = 0
        for history in self.sent:
            history.insert(0, history.pop())  # the oldest events are overwritten
        if self.source.coding == "events":
            frames = [self.frames[b][self.t[b] - 1] for b in slots]
            self._load(slots, frames)
        for number, layer in enumerate(self.layers):
            for some in self._together(slots, layer):
                self._run_layer(some, number, layer)
        self._add_image_counts(slots)

    def _together(self, slots: Array, layer: Layer) -> list[Array]:
        """Cut slots into groups whose currents stay in the cache until the layer has fired."""
        most = max(1, CURRENTS // (layer.arriving.pixels * layer.arriving.padded))
        return [slots[first : first + most] for first in range(0, len(slots), most)]

    def _run_layer(self, slots: Array, number: int, layer: Layer) -> None:
        current = self.current[layer.index]
        if layer.index in self.replay:
            for b in slots:  # all at once, numpy would make a copy in between
                current[b] = self.replay[layer.index][b]
        for edge in layer.edges:
            if not edge.analog:
                self._send(slots, edge, current)
                self._count(slots, number, edge, self.counts)
        self.counts.bias_adds[number, slots] = layer.bias_adds
        sent, counts = self.sent[layer.index][0], self.by_layer[number]
        self.runners[number].step(slots, current, sent, counts)

    def _send(self, slots: Array, edge: Edge, current: Array) -> None:
        edge.accumulate(slots, self.sent[edge.pre][edge.lag], current, self.scratch)

    def _count(self, slots: Array, number: int, edge: Edge, counts: Counts) -> None:
        ac, mac = counts.ac[number], counts.mac[number]
        own_ac, own_mac = counts.own_ac[number], counts.own_mac[number]
        before = ac[slots], mac[slots]
        self._count_program(slots, number, edge, counts)
        if edge.own is None:
            own_ac[slots] += ac[slots] - before[0]
            own_mac[slots] += mac[slots] - before[1]
        for layer in edge.own or ():
            layer.count(slots, self.sent, own_ac, own_mac)

    def _count_program(self, slots: Array, number: int, edge: Edge, counts: Counts) -> None:
        events = self.sent[edge.pre][edge.lag]
        ac, mac = counts.ac[number], counts.mac[number]
        effective = counts.ac_effective[number], counts.mac_effective[number]
        if edge.per_event == 0:
            return
        if edge.per_event:  # an addition, whatever the value
            mac, effective = ac, (effective[0], effective[0])
        edge.count(slots, events, edge.fan_out, ac, mac)
        edge.count(slots, events, edge.effective, *effective)

    def _add_image_counts(self, slots: Array) -> None:
        """Add the operations on the image to a sample's first timestep, or to every one."""
        paying = slots if self.feed.every_step else slots[self.t[slots] == 1]
        for (_, step), (_, image) in zip(
            self.counts.items(), self.image_counts.items(), strict=True
        ):
            step[:, paying] += image[:, paying]

    def _leave(self, slots: Array) -> None:
        """Store the results of this timestep, and free the slots of samples that run no further."""
        result, t, samples = self.result, self.t[slots], self.sample[slots]
        # Behind the exit, a sample that runs on is counted; what it then says is thrown away.
        running = result.exit_step[samples] == 0
        told = running | self.feed.full_trace
        self._tell(slots[told])
        for (_, kept), (_, step) in zip(result.counts.items(), self.counts.items(), strict=True):
            kept[samples, :, t - 1] = step[:, slots].T
        # A rule may say stop again; only its first word is the exit.
        stops = running & (self._says_stop(slots, t) | (t >= self.until[slots]))
        result.exit_step[samples[stops]] = t[stops]
        if not self.feed.full_trace:
            last = self._last_step(t[stops])
            self.last[slots[stops]] = np.minimum(last, self.last[slots[stops]])
        elif self.result.length is not None:
            self._hold(slots[t >= self.last[slots]])
        gone = t >= self.last[slots]
        self.sample[slots[gone]] = -1
        self.feed.finished[samples[gone]] = True
        self.feed.report(int(gone.sum()))

    def _says_stop(self, slots: Array, t: Array) -> Array:
        """Ask the exit rule, which sees this timestep's logits or, if it looks back, all so far."""
        rule = self.program.exit_rule
        if rule.looks_back:
            return rule.stops_after(self.result.logits[self.sample[slots]], t)
        return self.stops(self.z[slots], t)

    def _hold(self, slots: Array) -> None:
        """Let the answer of a signal that has ended stand until T, where nothing more is heard."""
        for sample, t in zip(self.sample[slots], self.t[slots], strict=True):
            for kept in (self.result.logits, self.result.integer_logits):
                if kept is not None:
                    kept[sample, t:] = kept[sample, t - 1]

    def _last_step(self, exit_step: Array) -> Array:
        """Return the last timestep that runs of samples with these exits."""
        if not self.result.ran_wasted:
            return exit_step
        return self.result.timing.under("speculative").injected(exit_step, self.program.T)

    def _tell(self, slots: Array) -> None:
        """Store the logits of this timestep, and what is recorded of it."""
        result, place = self.result, (self.sample[slots], self.t[slots] - 1)
        result.logits[place] = self.z[slots] * self.program.logit_scale
        if result.integer_logits is not None:
            result.integer_logits[place] = self.z[slots]
        if result.spikes:
            self._record(slots)

    def _record(self, slots: Array) -> None:
        """Keep the spikes and, of integer programs, the potentials of this timestep."""
        for layer in self.runners:
            if isinstance(layer, Neurons):
                for b in slots:
                    self._record_one(b, layer)

    def _record_one(self, b: int, layer: Neurons) -> None:
        name, place = layer.node.name, (self.sample[b], self.t[b] - 1)
        self.result.spikes[name][place] = self.sent[layer.layer.index][0].fired(b)
        if self.result.v:
            self.result.v[name][place] = layer.layer.plane.from_grid(layer.state.v[b])
