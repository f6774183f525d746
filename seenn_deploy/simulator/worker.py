"""The loop over samples that every engine runs: they enter slots, exits free their slot.

A slot is a place in a worker's arrays that one sample occupies from its first timestep to its exit.
Then the next sample takes the slot, so that a worker always has a full set of samples under way.
What a timestep computes is the engine's: :class:`Worker` has a child for each.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from threading import Event, Lock

import numpy as np

from seenn_deploy._typing import Array
from seenn_deploy.errors import ProgramError
from seenn_deploy.io.images.image_set import ImageSet
from seenn_deploy.ir.program import Program
from seenn_deploy.simulator import arithmetic, memory
from seenn_deploy.simulator.result import Counts, RunResult


class Feed:
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


class Worker(ABC):
    """One thread's slots, the samples in them, and what becomes of a timestep's results.

    Parameters
    ----------
    program : Program
    slots : int
    result : RunResult
        Its arrays are written to.
    feed : Feed
    """

    z: Array
    """Logits (slots, M), which `step` leaves here."""

    def __init__(self, program: Program, slots: int, result: RunResult, feed: Feed) -> None:
        self.program, self.result, self.feed = program, result, feed
        self.source = program.graph.source
        self.arithmetic = arithmetic.of(program)
        self.stops = self.arithmetic.stopping(program)
        layers = len(program.graph.layers)
        self.counts, self.image_counts = (Counts.zeros(layers, slots) for _ in range(2))
        self.sample = np.full(slots, -1)  # -1 marks a free slot
        self.t, self.until = np.zeros(slots, np.int64), np.full(slots, program.T)
        self.last = np.full(slots, program.T)  # the timestep after which a slot becomes free
        self.frames: list[Array] = [np.empty(0)] * slots

    @abstractmethod
    def begin(self, slots: Array, images: list[Array]) -> None:
        """Let a sample begin in each of `slots`.

        Of a direct-coded program, `image_counts` receives what each image costs.
        """

    @abstractmethod
    def step(self, slots: Array, frames: list[Array]) -> None:
        """Run one timestep of the samples in `slots`: `z` and `counts` receive what it gives.

        Of an event-coded program, `frames` are what arrives in this timestep.
        """

    @abstractmethod
    def recorded(self, slots: Array) -> Iterator[tuple[str, Array, Array]]:
        """Yield each population's name, its spikes and its potentials, (len(slots), *shape)."""

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
        self.begin(slots, [image for _, image in taken])

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
        self.t[slots] += 1
        events = self.source.coding == "events"
        self.step(slots, [self.frames[b][self.t[b] - 1] for b in slots] if events else [])
        self._add_image_counts(slots)

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
        if result.spikes and len(slots):
            self._record(slots)

    def _record(self, slots: Array) -> None:
        """Keep the spikes and, of integer programs, the potentials of this timestep."""
        place = self.sample[slots], self.t[slots] - 1
        for name, spikes, v in self.recorded(slots):
            self.result.spikes[name][place] = spikes
            if self.result.v:
                self.result.v[name][place] = v
