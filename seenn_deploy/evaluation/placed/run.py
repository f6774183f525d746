"""A run on the cores of a chip: counts, energy, and the time of every schedule."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from seenn_deploy import ir
from seenn_deploy._typing import Array, Pair
from seenn_deploy.compiler.mapping.placement import Placement
from seenn_deploy.compiler.mapping.routes import KINDS, Routes, routes_of
from seenn_deploy.costs.model import LayerSizes
from seenn_deploy.errors import DataError, ProgramError
from seenn_deploy.evaluation.placed.activity import Activity
from seenn_deploy.evaluation.placed.clock import Clock, Pace, StepTime
from seenn_deploy.evaluation.placed.counting import Loads, PlacedCounts, loads
from seenn_deploy.evaluation.placed.steps import Steps, StepSums
from seenn_deploy.io.images.image_set import Images
from seenn_deploy.ir.inputs import for_program
from seenn_deploy.ir.program import schedules_of
from seenn_deploy.ir.schedule import STAGED, Timing
from seenn_deploy.progress import Progress, shown
from seenn_deploy.simulator.engine import simulate
from seenn_deploy.simulator.result import RunResult

CHUNK = 64 << 20  # bytes of spikes and of work by core that are kept at a time
TERMS = ("synapse", "access", "update", "spike", "message", "hop", "token")


@dataclass(frozen=True)
class PlacedUnit:
    """A unit of a placed network: a layer, one step of a delay line, or the host.

    Parameters
    ----------
    name, layer : str
    depth : int
        Hardware steps behind that of a timestep's start at which it works.
    neurons : int
    """

    name: str
    layer: str
    depth: int
    neurons: int


@dataclass(frozen=True, eq=False)
class PlacedRun:
    """What N samples do on a chip; every one ran to T, and its exit says what is paid for.

    Parameters
    ----------
    placement : Placement
    timing : Timing
        The program's schedule on a pipeline, its depth, and whether timesteps are known before.
    units : tuple of PlacedUnit
    counts : PlacedCounts
        Of each unit at each timestep, int64 (N, U, T).
    exit_step : int64 array (N,)
    steps : Steps
        Means by hardware step, under the program's schedule.
    paces : mapping of schedule to Pace
        Of the schedules that the exit rule allows; empty for a chip without published times.
    accuracy : float, optional
    policy : LayerSizes, optional
        Sizes of the policy network, which runs on the host.
    """

    placement: Placement
    timing: Timing
    units: tuple[PlacedUnit, ...]
    counts: PlacedCounts
    exit_step: Array
    steps: Steps
    paces: Mapping[str, Pace]
    accuracy: float | None = None
    policy: LayerSizes | None = None

    def __repr__(self) -> str:
        n, units, T = self.counts.spikes.shape
        return f"PlacedRun({self.placement.chip.name}, {n} samples, {units} units, T={T})"

    @property
    def T(self) -> int:
        """The largest number of timesteps."""
        return int(self.counts.spikes.shape[2])

    @property
    def neurons(self) -> int:
        """Neurons on all cores, each of which is accessed at every step."""
        return sum(unit.neurons for unit in self.units)

    def steps_of(self, schedule: str) -> Pair:
        """Hardware steps from a sample's first timestep to its second, and between later ones."""
        return steps_between(self.timing.under(schedule))

    def latency_steps(self, schedule: str) -> Array:
        """Hardware steps from a sample's first one to its answer, int64 (N,)."""
        first, later = self.steps_of(schedule)
        begun = np.where(self.exit_step > 1, first + (self.exit_step - 2) * later, 0)
        return np.asarray(begun + self.timing.depth + 1)

    def interval_steps(self, schedule: str) -> Array:
        """Hardware steps from one sample's start to the next one's, int64 (N,)."""
        first, later = self.steps_of(schedule)
        return first + (self.injected(schedule) - 1) * later

    def injected(self, schedule: str) -> Array:
        """Timesteps of each sample that run, int64 (N,)."""
        return self.timing.under(schedule).injected(self.exit_step, self.T)

    def step_energy(self, every: Pair) -> dict[str, Array]:
        """Joules of each unit and timestep by term, float64 (N, U, T), tokens left out.

        Parameters
        ----------
        every : (int, int)
            Hardware steps from the first timestep to the second, and between later ones; neurons
            are accessed at each of them.

        Raises
        ------
        DataError
            When nobody has published what an operation costs on the chip.
        """
        price = self._prices
        counts = self.counts
        steps = np.where(np.arange(self.T) == 0, *every)
        accesses = np.array([unit.neurons for unit in self.units])[:, None] * steps
        return {
            "synapse": sum(
                (price[f"synapse_{kind}"] * getattr(counts, f"synapses_{kind}") for kind in KINDS),
                np.zeros(()),
            ),
            "access": price["access"] * np.broadcast_to(accesses, counts.spikes.shape),
            "update": price["update"] * counts.updates,
            "spike": price["spike"] * counts.spikes,
            "message": price["message"] * counts.messages,
            "hop": price["hop_east_west"] * counts.hops_east_west
            + price["hop_north_south"] * counts.hops_north_south,
        }

    @property
    def token_energy(self) -> float:
        """Joules of the tokens that end a sample on every core."""
        price = self._prices
        messages, (across, along) = tokens(self.placement)
        return (
            price["message"] * messages
            + price["hop_east_west"] * across
            + price["hop_north_south"] * along
        )

    @property
    def _prices(self) -> dict[str, float]:
        chip = self.placement.chip
        if not chip.energy:
            raise DataError(
                f"chip {chip.name}: nobody has published what an operation costs on it, so there "
                "is no energy; its file has none"
            )
        return {name: 1e-12 * value for name, value in chip.energy.items()}

    def energy(self, schedule: str | None = None) -> dict[str, Array]:
        """Joules that a schedule spends on each sample, by `TERMS`, float64 (N,).

        Raises
        ------
        DataError
            When nobody has published what an operation costs on the chip.
        ProgramError
            When the exit rule does not allow the schedule.
        """
        schedule = schedule or self.timing.schedule
        return self._until(schedule, self.injected(schedule)) | {
            "token": np.full(len(self.exit_step), self.token_energy)
        }

    def wasted_energy(self, schedule: str) -> Array:
        """Joules of the timesteps behind each sample's exit, float64 (N,)."""
        whole, useful = (
            sum(self._until(schedule, until).values(), np.zeros(()))
            for until in (self.injected(schedule), self.exit_step)
        )
        return np.asarray(whole - useful)

    def _until(self, schedule: str, until: Array) -> dict[str, Array]:
        kept = np.arange(self.T) < until[:, None]
        return {
            name: np.asarray((spent * kept[:, None]).sum(axis=(1, 2)))
            for name, spent in self.step_energy(self.steps_of(schedule)).items()
        }

    def schedule(self, name: str) -> dict[str, Any] | None:
        """Return a schedule's figures as JSON values; None where the exit rule forbids it."""
        if name not in self.timing.possible:
            return None
        found: dict[str, Any] = {
            "latency_steps": float(self.latency_steps(name).mean()),
            "interval_steps": float(self.interval_steps(name).mean()),
            "timesteps": float(self.injected(name).mean()),
        }
        if name in self.paces:
            pace = self.paces[name]
            found |= {
                "latency_us": float(1e6 * pace.latency.mean()),
                "interval_us": float(1e6 * pace.interval.mean()),
                "samples_per_s": pace.throughput,
            }
        if self.placement.chip.energy:
            terms = {key: float(1e6 * spent.mean()) for key, spent in self.energy(name).items()}
            found["energy_uJ_per_sample"] = terms
            found["total_energy_uJ_per_sample"] = sum(terms.values())
            found["wasted_energy_uJ_per_sample"] = float(1e6 * self.wasted_energy(name).mean())
            found["delay_lines_energy_uJ_per_sample"] = self._delay_lines(name)
        return found

    def _delay_lines(self, schedule: str) -> float:
        """Mean microjoules per sample of the neurons of delay lines, and of what they send."""
        lines = np.array([unit.name != unit.layer and unit.neurons > 0 for unit in self.units])
        kept = np.arange(self.T) < self.injected(schedule)[:, None]
        spent = sum(self.step_energy(self.steps_of(schedule)).values(), np.zeros(()))
        return float(1e6 * (spent[:, lines] * kept[:, None]).sum(axis=(1, 2)).mean())

    def summary(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        messages, (across, along) = tokens(self.placement)
        return {
            "samples": len(self.exit_step),
            "accuracy": self.accuracy,
            "mean_exit_step": float(self.exit_step.mean()),
            "schedule": self.timing.schedule,
            "depth": self.timing.depth,
            "neurons": self.neurons,
            "tokens_per_sample": messages,
            "token_hops_east_west": across,
            "token_hops_north_south": along,
            "policy_mac": int(self.policy.dense_macs.sum()) if self.policy else 0,
            "per_timestep": self._by_timestep(),
            "hardware_steps": self.steps.summary(),
            "schedules": {name: self.schedule(name) for name in self.timing.compared},
        }

    def _by_timestep(self) -> dict[str, list[float]]:
        """Means over the samples, by timestep, over all units."""
        found = {name: values.sum(axis=1).mean(axis=0) for name, values in self.counts.items()}
        return {name: values.tolist() for name, values in found.items()}


def steps_between(timing: Timing) -> Pair:
    """Hardware steps from a sample's first timestep to its second, and between later ones."""
    if timing.followed in ("pipelined", "speculative"):
        return 1, 1
    # One timestep after the other has passed the network, which sequential means, too.
    return timing.depth + 1, 1 if timing.followed == STAGED else timing.depth + 1


def tokens(placement: Placement) -> tuple[int, tuple[int, int]]:
    """Messages that end a sample on every core, and their hops east or west, north or south.

    The readout's core sends them to its own chip; other chips get them from their own processors,
    by the tile of their first core.
    """
    where, size = placement.where, placement.chip.cores
    across = along = 0
    for first in range(0, placement.cores, size):
        inside = range(first, min(first + size, placement.cores))
        start = where[placement.controller if placement.controller in inside else first]
        hops = np.abs(where[inside.start : inside.stop] - start).sum(axis=0)
        across, along = across + int(hops[0]), along + int(hops[1])
    return placement.cores, (across, along)


def run_placed(
    program: ir.Program,
    placement: Placement,
    images: Images,
    labels: ArrayLike | None = None,
    *,
    run: RunResult | None = None,
    threads: int | None = None,
    progress: Progress = None,
) -> PlacedRun:
    """Run images through a placed program, and count what every core does.

    Parameters
    ----------
    program : Program
        The one that was placed; its exit rule may be another.
    placement : Placement
        Of ``sd.map_to_chip``.
    images, labels, threads, progress
        As in ``simulate``.
    run : RunResult, optional
        What ``simulate`` found for these images, e.g. ``sd.RunResult.load(folder)``: samples leave
        where they left there, under its schedule, whatever those of the program are. A run keeps
        no spikes by neuron, so they are computed again, and refused where a layer had other ones.

    Returns
    -------
    PlacedRun

    Raises
    ------
    ProgramError
        When the placement is that of another program.
    DataError
        When the images do not fit the program, or the run is of others.

    Examples
    --------
    >>> import seenn_deploy as sd
    >>> files = sd.example()
    >>> graph = sd.import_model(files.network, T=4)
    >>> program = sd.compile(graph, sd.exits.Confidence(0.9), precision="int8")
    >>> placement = sd.map_to_chip(program, "loihi1")
    >>> found = sd.run_placed(program, placement, files.images)
    >>> found.placement.chip.name, found.counts.messages.shape
    ('loihi1', (50, 20, 4))
    """
    if placement.program != program.fingerprint:
        raise ProgramError(
            f"the placement is of program {placement.program}, this is program "
            f"{program.fingerprint}: map this one"
        )
    program = program.for_targets("lava")
    data = for_program(program, images, labels)
    if not len(data):
        raise DataError("no images; give at least one")
    if run is not None and run.logits.shape[:2] != (len(data), program.T):
        n, T = run.logits.shape[:2]
        raise DataError(
            f"the run has {n} samples and T = {T}, these are {len(data)} and T = {program.T}: give "
            "the images that ran, and the program"
        )
    routes = list(routes_of(program, placement))
    book = _Book.empty(program, placement, routes, run)
    with shown(progress, "counting on cores", len(data)) as advance:
        for first, stop in _chunks(program, placement, routes, len(data)):
            found = simulate(
                program,
                data.part(first, stop),
                record=True,
                full_trace=True,
                threads=threads,
                progress=False,
            )
            if run is not None:
                found = _leaving_as(run.take(np.arange(first, stop)), found, first)
            activity = Activity(program, data.take(first, stop), found)
            book.add(loads(program, placement, routes, activity), found)
            if advance:
                advance(stop - first)
    return book.closed()


def _leaving_as(before: RunResult, found: RunResult, first: int) -> RunResult:
    """Give samples the exits of an earlier run, once it is known to be one of the same samples."""
    ran = np.arange(found.logits.shape[1]) < before.exit_step[:, None, None]
    differs = (before.counts.spikes != found.counts.spikes) & ran
    if differs.any():
        sample, layer, t = np.argwhere(differs)[0]
        raise DataError(
            f"the run is of other images: sample {first + sample} has "
            f"{before.counts.spikes[sample, layer, t]} spikes of {before.layers[layer]} at t = "
            f"{t + 1} there, {found.counts.spikes[sample, layer, t]} here"
        )
    return replace(found, exit_step=before.exit_step)


def _chunks(
    program: ir.Program, placement: Placement, routes: list[Routes], samples: int
) -> Iterator[tuple[int, int]]:
    """Samples that are counted together, within `CHUNK`."""
    rows = 1 + max(route.depth for route in routes)
    neurons = sum(prod(node.shape) for node in program.graph.layers)
    most = max(len(route.pair) for route in routes)
    each = program.T * (16 * rows * placement.cores + 8 * neurons + 24 * most)
    size = max(1, CHUNK // each)
    for first in range(0, samples, size):
        yield first, min(first + size, samples)


@dataclass(frozen=True)
class _Book:
    """What was counted so far."""

    timing: Timing
    policy: LayerSizes | None
    placement: Placement
    routes: list[Routes]
    clocks: dict[Pair, Clock]
    steps: StepSums
    counts: list[PlacedCounts]
    exit_step: list[Array]
    right: list[Array]

    @classmethod
    def empty(
        cls, program: ir.Program, placement: Placement, routes: list[Routes], run: RunResult | None
    ) -> _Book:
        """Begin for a program, whose exit rule that of a run stands for where there is one."""
        timing, policy = program.timing, LayerSizes.of_policy(program.exit_rule.to_dict())
        if run is not None:
            chips = schedules_of("lava")
            timing = run.timing
            timing = timing if timing.schedule in chips else timing.under(program.schedule)
            policy = run.policy
        rows = 1 + max(route.depth for route in routes)
        step = StepTime.of(placement)
        ways = {steps_between(timing.under(name)) for name in timing.possible}
        clocks = {every: Clock(step, every, rows) for every in ways}
        sums = StepSums.empty(timing, program.T, rows, placement, step)
        return cls(timing, policy, placement, routes, clocks, sums, [], [], [])

    def add(self, found: Loads, run: RunResult) -> None:
        """Enter some samples, in order."""
        timing, T = self.timing, run.logits.shape[1]
        pipe = timing.under("pipelined" if timing.known_before else "speculative")
        for every, clock in self.clocks.items():
            until = pipe.injected(run.exit_step, T) if every == (1, 1) else run.exit_step
            for sending, receiving, t in zip(found.sending, found.receiving, until, strict=True):
                clock.sample(sending[:t], receiving[:t])
        self.steps.add(found, [route.depth for route in self.routes], run.exit_step)
        self.counts.append(found.counts)
        self.exit_step.append(run.exit_step)
        if run.labels is not None:
            self.right.append(run.prediction == run.labels)

    def closed(self) -> PlacedRun:
        """Make the result of what was entered."""
        counts = PlacedCounts(*map(np.concatenate, zip(*map(_arrays, self.counts), strict=True)))
        units = tuple(PlacedUnit(r.unit, r.layer, r.depth, r.on_cores) for r in self.routes)
        found = PlacedRun(
            self.placement, self.timing, units, counts, np.concatenate(self.exit_step),
            self.steps.means(), {},
            float(np.concatenate(self.right).mean()) if self.right else None,
            self.policy,
        )  # fmt: skip
        return replace(found, paces=self._paces(found)) if self.placement.chip.time else found

    def _paces(self, found: PlacedRun) -> dict[str, Pace]:
        of: dict[Pair, Pace] = {}
        for name in found.timing.possible:
            every = found.steps_of(name)
            if every not in of:
                of[every] = self.clocks[every].pace(found.latency_steps(name))
        return {name: of[found.steps_of(name)] for name in found.timing.possible}


def _arrays(counts: PlacedCounts) -> list[Array]:
    return [values for _, values in counts.items()]
