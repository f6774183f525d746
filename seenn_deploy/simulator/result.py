"""The results of a run: logits and exits per sample, counts per sample, layer and timestep."""

from __future__ import annotations

import json
import mmap
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from seenn_deploy import costs
from seenn_deploy._typing import Array
from seenn_deploy.costs import ann
from seenn_deploy.costs.model import LayerSizes
from seenn_deploy.errors import ProgramError, SeennError
from seenn_deploy.exits.base import softmax
from seenn_deploy.io.folders import check_manifest
from seenn_deploy.io.images.sources import DAMAGED_ARRAY
from seenn_deploy.ir import html
from seenn_deploy.ir.schedule import Timing
from seenn_deploy.metrics import Exited, accuracy_by_step
from seenn_deploy.simulator import pictures

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True, eq=False)
class Counts:
    """Operations as int64 arrays (N, L, T), zero after a sample's exit (design, section 4).

    Parameters
    ----------
    ac, mac : int64 array (N, L, T)
        Accumulates and multiply-accumulates, at every existing synapse.
    ac_effective, mac_effective : int64 array (N, L, T)
        The same, without synapses of weight 0.
    bias_adds : int64 array (N, L, T)
        Neurons with a bias other than 0.
    updates_active, updates_inactive : int64 array (N, L, T)
        Updates of neurons with a potential or current other than 0, and of all others.
    resets : int64 array (N, L, T)
        Neurons that were reset.
    spikes, graded : int64 array (N, L, T)
        Nonzero outputs, and among them those other than 1 and -1.
    ands : int64 array (N, L, T)
        Products of two spikes that are not summed up.
    payloads : int64 array (N, L, T)
        Accumulates, among `ac`, of a graded factor of a product where the other one spiked.
    comparisons : int64 array (N, L, T)
        Comparisons of currents in the windows of max pools.
    saturated : int64 array (N, L, T)
        Neurons of an integer program whose current wrapped or potential was clipped.
    own_ac, own_mac : int64 array (N, L, T)
        Accumulates and multiply-accumulates of the network's own layers, as they were trained;
        `ac` and `mac` are those of the program (docs/costs.md). No price belongs to them.
    """

    ac: Array
    mac: Array
    ac_effective: Array
    mac_effective: Array
    bias_adds: Array
    updates_active: Array
    updates_inactive: Array
    resets: Array
    spikes: Array
    graded: Array
    ands: Array
    payloads: Array
    comparisons: Array
    saturated: Array
    own_ac: Array
    own_mac: Array

    @classmethod
    def zeros(cls, *shape: int) -> Counts:
        """Make counts of the given shape that are all zero."""
        return cls(*(np.zeros(shape, np.int64) for _ in fields(cls)))

    def __repr__(self) -> str:
        n, layers, T = self.ac.shape
        return f"Counts({n} samples, {layers} layers, T={T})"

    def items(self) -> list[tuple[str, Array]]:
        """List every count as (name, array)."""
        return [(f.name, getattr(self, f.name)) for f in fields(self)]

    def take(self, samples: Array | slice) -> Counts:
        """Return the counts of some samples alone."""
        return Counts(*(values[samples] for _, values in self.items()))

    def per_sample(self) -> dict[str, Array]:
        """Sum every count over layers and timesteps, int64 (N,)."""
        return {name: values.sum(axis=(1, 2)) for name, values in self.items()}

    def by_layer(self) -> dict[str, Array]:
        """Sum every count over timesteps, int64 (N, L)."""
        return {name: values.sum(axis=2) for name, values in self.items()}

    def between(self, after: Array, until: Array) -> Counts:
        """Keep the counts of timesteps after < t <= until, both int (N,), with zero elsewhere."""
        t = np.arange(1, self.ac.shape[2] + 1)
        # A mask and no slices, because every sample has its own last timestep.
        kept = (after[:, None] < t) & (t <= until[:, None])
        return Counts(*(values * kept[:, None] for _, values in self.items()))


@dataclass(frozen=True, eq=False)
class RunResult(Exited):
    """The results of a run: N samples, L layers, T timesteps and M classes.

    Parameters
    ----------
    logits : float64 (N, T, M)
        Logits accumulated over timesteps 1..t, in the precision that exits are decided in; NaN
        after a sample's exit unless run with ``full_trace``.
    exit_step : int64 (N,)
        Timestep of each sample's exit, counted from 1.
    layers : list of L names
        Names of the populations and of the readout, in topological order.
    counts : Counts
        Operations of all timesteps that ran; with ``full_trace`` also those after the exit, and
        under a speculative schedule those that it injects before the exit is known.
    sizes : LayerSizes
        Sizes of the L layers, for cost models that price memory.
    labels : int64 (N,), optional
    spikes : dict of bool (N, T, *shape), optional
        Spikes by population, with ``record=True``; False after a sample's exit.
    v : dict of int32 (N, T, *shape), optional
        Potentials after the reset, of a recorded integer program; 0 after a sample's exit.
    integer_logits : int64 (N, T, M), optional
        Integer logits of a recorded integer program; 0 after a sample's exit.
    policy : LayerSizes, optional
        Sizes of the policy network that chose each sample's exit before it started.
    not_proven : str
        Reason why the program was not compared with its source; '' where it was.
    timing : Timing
        Schedule under which latency and energy are told; `under` has another one.
    ran_wasted : bool
        Whether the timesteps that a speculative schedule wastes ran, whatever the schedule is.
    policy_scores : int64 (N, K), optional
        What the policy network of a recorded integer program said of each choice.
    length : int64 (N,), optional
        Timesteps of each sample, where they differ. No sample exits later; with ``full_trace`` the
        logits of its last timestep stand until T, and nothing is counted there.
    engine : str
        What added up the currents of a float program where that was torch, as ``torch cuda``: its
        sums have another order, so the run is that of the plain engine up to rounding ties
        (``sd.verify`` with the same device proves them). '' where it is the same bit for bit.

    Examples
    --------
    >>> import seenn_deploy as sd
    >>> files = sd.example()
    >>> program = sd.compile(sd.import_model(files.network, T=4))
    >>> run = sd.simulate(program, files.images)
    >>> run.exit_step[:6]
    array([2, 4, 1, 1, 1, 2])
    >>> run.counts.ac.shape
    (50, 14, 4)
    >>> run.summary()["mean_exit_step"]
    2.38
    """

    logits: Array
    exit_step: Array
    layers: list[str]
    counts: Counts
    sizes: costs.LayerSizes
    labels: Array | None = None
    spikes: dict[str, Array] = field(default_factory=dict)
    v: dict[str, Array] = field(default_factory=dict)
    integer_logits: Array | None = None
    policy: costs.LayerSizes | None = None
    not_proven: str = ""
    timing: Timing = field(default_factory=Timing)
    ran_wasted: bool = False
    policy_scores: Array | None = None
    length: Array | None = None
    engine: str = ""

    def __repr__(self) -> str:
        n, T, classes = self.logits.shape
        what = f"{n} samples, {len(self.layers)} layers, T={T}, {classes} classes"
        return f"RunResult({what}, mean exit step {self.exit_step.mean():.3f})"

    def _repr_html_(self) -> str:
        counts = {name: f"{x.mean():,.0f}" for name, x in self.charged_per_sample().items()}
        how = f"energy (uJ, cost model paper, {self.timing.schedule})"
        bound = "at least " if self.lower_bound else ""
        rows = [(how, f"{bound}{1e6 * self.energy().mean():.4g}")]
        table = html.table(repr(self), ("per sample", "mean"), [*rows, *counts.items()])
        return table + pictures.of_run(self)

    @property
    def confidence(self) -> Array:
        """Largest softmax of the logits at each sample's exit, float64 (N,)."""
        return np.asarray(softmax(self.exit_logits).max(axis=-1))

    def by_sample(self, cost: costs.Priced = "paper") -> dict[str, Array]:
        """Return a column of N values for each of what a sample did.

        The columns are the prediction, the label where there are labels, the exit step, the
        confidence at the exit, and the energy that the schedule spends in microjoules.

        Parameters
        ----------
        cost : str, Path or Cost
            Name of a cost model, a file with one, or what a placed run costs.
        """
        labels = {} if self.labels is None else {"label": self.labels}
        return {
            "prediction": self.prediction,
            **labels,
            "exit_step": self.exit_step,
            "confidence": self.confidence,
            "energy_uJ": 1e6 * self.energy(cost),
        }

    def to_pandas(self, cost: costs.Priced = "paper") -> pandas.DataFrame:
        """Return a row for each sample with the columns of `by_sample`; this needs pandas.

        Raises
        ------
        SeennError
            When pandas is not installed.
        """
        try:
            import pandas
        except ModuleNotFoundError:
            raise SeennError(
                "to_pandas needs pandas: pip install pandas; by_sample() gives the columns without"
            ) from None
        columns = {name: np.asarray(values) for name, values in self.by_sample(cost).items()}
        return pandas.DataFrame(columns).rename_axis("sample")

    @classmethod
    def load(cls, folder: str | Path) -> RunResult:
        """Read what ``simulate(..., out=folder)`` wrote, once it is finished.

        Raises
        ------
        ProgramError
            When the folder holds no run, or one that was cut off.
        """
        return load(folder)

    def accuracy_by_step(self) -> Array:
        """Return the share of right predictions at t = 1..T, float64 (T,).

        This needs labels and ``full_trace``.
        """
        return accuracy_by_step(self.logits, self.needed_labels)

    def ended(self, step: Array) -> Array:
        """Return the timesteps to stop at, or where a sample ends before, its length.

        Parameters
        ----------
        step : int array (N,) or (N, T)
            The timesteps at which samples are asked to stop.
        """
        return np.minimum(step, self.ends if step.ndim == 1 else self.ends[:, None])

    @property
    def ends(self) -> Array:
        """The last timestep of each sample, int64 (N,)."""
        n, T = self.logits.shape[:2]
        return np.full(n, T) if self.length is None else self.length

    @property
    def share_heard(self) -> float:
        """The mean share of a sample's timesteps that had passed at its exit."""
        return self.heard(self.exit_step)

    def heard(self, step: Array) -> float:
        """Return the mean share of a sample's timesteps that had passed at `step`, int (N,)."""
        return float((step / self.ends).mean())

    @property
    def full_trace(self) -> bool:
        """Whether every sample ran to T, whatever its exit."""
        return not bool(np.isnan(self.logits).any())

    @property
    def charged(self) -> Counts:
        """The counts up to each sample's exit, also in a full trace: the useful work."""
        return self.counts.between(np.zeros_like(self.exit_step), self.exit_step)

    @property
    def wasted(self) -> Counts:
        """The counts of timesteps that the schedule injects before the exit is known.

        They are all zero where these timesteps did not run; see `lower_bound`.
        """
        injected = self.timing.injected(self.exit_step, self.ends)
        return self.counts.between(self.exit_step, injected)

    @property
    def lower_bound(self) -> bool:
        """Whether timesteps that the schedule wastes did not run, so that energies lack them."""
        ran = self.ran_wasted or self.timing.followed != "speculative"
        return not ran and not self.full_trace

    def take(self, samples: Array) -> RunResult:
        """Return the run of some samples alone.

        Parameters
        ----------
        samples : int array (K,) or bool array (N,)
        """
        kept: dict[str, Any] = {"counts": self.counts.take(samples)}
        for name in ("logits", "exit_step", "labels", "integer_logits", "policy_scores", "length"):
            values = getattr(self, name)
            kept[name] = None if values is None else values[samples]
        for name in ("spikes", "v"):
            kept[name] = {layer: x[samples] for layer, x in getattr(self, name).items()}
        return replace(self, **kept)

    def under(self, schedule: str) -> RunResult:
        """Return the same run under another schedule, which changes its energy and latency.

        Parameters
        ----------
        schedule : 'sequential', 'pipelined', 'speculative', 'gated' or 'staged'

        Raises
        ------
        ProgramError
            When there is no such schedule, or the exit rule does not allow it.
        """
        return replace(self, timing=self.timing.under(schedule))

    def energy(self, cost: costs.Priced = "paper") -> Array:
        """Return the energy that the schedule spends on each sample in joules, float64 (N,).

        It is the sum of `useful_energy`, `wasted_energy` and the energy of the policy network; a
        policy network that the cost model cannot price is left out.

        Parameters
        ----------
        cost : str, Path or Cost
            Name of a cost model, a file with one, or what a placed run costs.

        Raises
        ------
        DataError
            When the cost model cannot be read.
        """
        model = costs.of(cost)
        # A model that cannot price the policy network adds nothing here; summaries say None.
        policy = (ann.ann_energy(model, self.policy) if self.policy else None) or 0.0
        # What ran is paid for, whether its result was used or not.
        return self.useful_energy(cost) + self.wasted_energy(cost) + policy

    def useful_energy(self, cost: costs.Priced = "paper") -> Array:
        """Return the energy of the timesteps up to each sample's exit; see `energy`."""
        return self._energy_until(self.exit_step, cost)

    def wasted_energy(self, cost: costs.Priced = "paper") -> Array:
        """Return the energy of timesteps injected before the exit was known; see `energy`.

        It is zero where these timesteps did not run; see `lower_bound`.
        """
        injected = self.timing.injected(self.exit_step, self.ends)
        return self._energy_until(injected, cost) - self.useful_energy(cost)

    def _energy_until(self, step: Array, cost: costs.Priced) -> Array:
        return np.asarray(self.energy_by_step(cost)[np.arange(len(step)), step - 1])

    def energy_by_step(self, cost: costs.Priced = "paper") -> Array:
        """Return the energy in joules of timesteps 1..t of each sample; float64 (N, T).

        The figures are cumulative, without a policy network. They no longer grow after the last
        timestep that ran, which is T with ``full_trace``. Parameters and errors are those of
        `energy`.
        """
        model = costs.of(cost)
        parts = self._parts() if model.by_sample else [slice(None)]
        found = []
        for part in parts:
            counts = self.counts.take(part)
            found.append(model.spent(replace(self, counts=counts)).sum(axis=-1))
            let_go(*self.stored)
        return np.cumsum(np.concatenate(found), axis=1)

    @property
    def stored(self) -> list[Array]:
        """The arrays that a run folder holds of what ran."""
        return [self.logits, self.exit_step, *(values for _, values in self.counts.items())]

    def charged_per_sample(self) -> dict[str, Array]:
        """Sum the counts of `charged` over layers and timesteps, int64 (N,)."""
        return self._summed(np.zeros_like(self.exit_step), self.exit_step)

    def wasted_per_sample(self) -> dict[str, Array]:
        """Sum the counts of `wasted` over layers and timesteps, int64 (N,)."""
        return self._summed(self.exit_step, self.timing.injected(self.exit_step, self.ends))

    def _summed(self, after: Array, until: Array) -> dict[str, Array]:
        found = []
        for part in self._parts():
            counts = self.counts.take(part).between(after[part], until[part])
            found.append(counts.per_sample())
            let_go(*self.stored)
        return {name: np.concatenate([one[name] for one in found]) for name in found[0]}

    def _parts(self) -> list[slice]:
        """Slices of samples: counts of all of them together may not fit the memory."""
        starts = range(0, max(len(self.exit_step), 1), PART)
        return [slice(start, start + PART) for start in starts]

    def compare(
        self, cost: costs.Priced = "paper", policy: costs.LayerSizes | None = None
    ) -> ann.Comparison:
        """Compare the mean sample with the same network as an ANN; see `ann.compare`.

        Without `policy`, the policy network is the one that the run itself had.
        """
        model, T = costs.of(cost), self.logits.shape[1]
        energy = float((self.useful_energy(cost) + self.wasted_energy(cost)).mean())
        return ann.compare(model, self.sizes, T, energy, policy or self.policy)

    def summary(
        self, cost: costs.Priced = "paper", policy: costs.LayerSizes | None = None
    ) -> dict[str, Any]:
        """Return the figures of a report as JSON values.

        Counts are those up to each sample's exit. ``energy_uJ_per_sample`` is what the schedule
        spends on the spiking network, useful and wasted timesteps; with the policy network it is
        ``total_energy_uJ_per_sample``, None where a part of it is unknown.

        Parameters
        ----------
        cost : str, Path or Cost
            Name of a cost model, a file with one, or what a placed run costs.
        policy : LayerSizes, optional
            Sizes of the policy network that ran before each sample; the run's own by default.
        """
        per_sample = self.charged_per_sample()
        return {
            **({"not_proven": self.not_proven} if self.not_proven else {}),
            **({"engine": self.engine} if self.engine else {}),
            **self.exit_summary(),
            **({} if self.length is None else {"share_heard": self.share_heard}),
            **{f"{name}_per_sample": float(values.mean()) for name, values in per_sample.items()},
            "cost_model": str(cost),
            **self.compare(cost, policy).summary(),
            **self.energy_summary(cost, policy),
        }

    def energy_summary(
        self, cost: costs.Priced = "paper", policy: costs.LayerSizes | None = None
    ) -> dict[str, Any]:
        """Return the schedule and what it spends as JSON values; arguments as in `summary`."""
        sizes = policy or self.policy
        extra = ann.ann_energy(costs.of(cost), sizes) if sizes else 0.0
        useful, wasted = (
            float(1e6 * part.mean())
            for part in (self.useful_energy(cost), self.wasted_energy(cost))
        )
        unknown = self.lower_bound or extra is None
        return {
            "schedule": self.timing.schedule,
            "energy_uJ_per_sample": useful + wasted,
            "useful_energy_uJ_per_sample": useful,
            "wasted_energy_uJ_per_sample": None if self.lower_bound else wasted,
            "total_energy_uJ_per_sample": None if unknown else useful + wasted + 1e6 * (extra or 0),
        }


def let_go(*arrays: Array) -> None:
    """Take what is mapped from files out of this process's memory, without losing it.

    Mapped pages count as resident until the system wants them back: of 50,000 samples of a network
    of 20 layers half a gigabyte. They stay in the system's cache, and reach the disk from there.
    """
    for array in arrays:
        mapped = getattr(array, "_mmap", None)
        if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
            mapped.madvise(mmap.MADV_DONTNEED)


FORMAT = "seenn-deploy run"
VERSION = 5  # with what layers take and who takes from them
MANIFEST = "run.json"
PART = 4096  # samples whose counts are worked on at a time


def load(folder: str | Path) -> RunResult:
    """Read a finished run.

    Raises
    ------
    ProgramError
        When the folder holds no run, or one that was cut off.
    """
    folder = Path(folder)
    samples = (_read_manifest(folder)["run"]["samples"],)
    # Samples finish in any order, so a run that was cut off has holes.
    finished = _checked(folder, "finished", "r", samples, np.bool_)
    if not finished.all():
        raise ProgramError(
            f"{folder}: {np.count_nonzero(finished)} of {len(finished)} samples are finished; "
            "go on with seenn simulate --resume"
        )
    labels, length = (_optional(folder, name, samples) for name in ("labels", "length"))
    result = replace(_open(folder, labels, "r"), length=length)
    exits = result.exit_step
    if samples[0] and not 1 <= exits.min() <= exits.max() <= result.logits.shape[1]:
        raise ProgramError(
            f"{folder / 'exit_step'}.npy: steps from {exits.min()} to {exits.max()}, the run has "
            f"{result.logits.shape[1]} timesteps; delete the folder and run again"
        )
    return result


def load_finished(folder: str | Path) -> tuple[RunResult, Array, dict[str, Any]]:
    """Read the finished samples of a run that may still go on, or was cut off.

    Returns
    -------
    RunResult
        The run of the finished samples alone.
    bool array (N,)
        Whether each sample is finished.
    dict
        What ``run.json`` says: ``run`` has the program, data and options, ``about`` the program's
        layers, where the folder is of a version that wrote them.

    Raises
    ------
    ProgramError
        When the folder holds no run, or not one of its samples is finished.
    """
    folder = Path(folder)
    manifest = _read_manifest(folder)
    samples = (manifest["run"]["samples"],)
    finished = np.array(_checked(folder, "finished", "r", samples, np.bool_))
    if not finished.any():
        raise ProgramError(
            f"{folder}: none of {len(finished)} samples is finished; go on with seenn simulate "
            "--resume"
        )
    run = replace(
        _open(folder, _optional(folder, "labels", samples), "r"),
        length=_optional(folder, "length", samples),
    )
    return (run if finished.all() else run.take(finished)), finished, manifest


def _optional(folder: Path, name: str, shape: tuple[int, ...]) -> Array | None:
    return _checked(folder, name, "r", shape) if (folder / f"{name}.npy").is_file() else None


def _open(folder: Path, labels: Array | None, mode: Any) -> RunResult:
    """The arrays of a run folder, once their shapes and types are those of one run."""
    manifest = _read_manifest(folder)
    layers, samples = manifest["layers"], manifest["run"]["samples"]
    logits = _array(folder, "logits", mode)
    if logits.ndim != 3 or len(logits) != samples or logits.dtype != np.float64:
        raise _damaged(folder, "logits", logits, f"float64 ({samples}, T, M)")
    counted = (samples, len(layers), logits.shape[1])
    exit_step = _checked(folder, "exit_step", mode, (samples,))
    counts = [_checked(folder, field.name, mode, counted) for field in fields(Counts)]
    sizes = [_checked(folder, field.name, "r", (len(layers),)) for field in fields(LayerSizes)]
    return RunResult(
        logits, exit_step, layers, Counts(*counts), LayerSizes(*sizes), labels,
        policy=LayerSizes.of_policy(manifest["run"]["exit_rule"]),
        timing=_timing(folder, manifest),
        ran_wasted=manifest["run"].get("wasted") is True,
        not_proven=str(manifest.get("not_proven", "")),
        engine=str(manifest["run"].get("engine", "")),
    )  # fmt: skip


def _timing(folder: Path, manifest: dict[str, Any]) -> Timing:
    """The schedule of a run; runs before there were any in their folders ended at the exits."""
    try:
        return Timing(**manifest.get("timing", {}))
    except (TypeError, ValueError, ProgramError):
        raise ProgramError(
            f"{folder / MANIFEST}: damaged (timing); delete the folder and run again"
        ) from None


def _checked(
    folder: Path, name: str, mode: Any, shape: tuple[int, ...], kind: Any = np.int64
) -> Array:
    array = _array(folder, name, mode)
    if array.shape != shape or array.dtype != kind:
        raise _damaged(folder, name, array, f"{np.dtype(kind)} {shape}")
    return array


def _damaged(folder: Path, name: str, array: Array, wanted: str) -> ProgramError:
    return ProgramError(
        f"{folder / name}.npy: {array.dtype} {array.shape}, the run has {wanted}; delete the "
        "folder and run again"
    )


def _array(folder: Path, name: str, mode: Any) -> Array:
    try:
        # Mapped: the counts of 10,000 samples may not fit the memory.
        return np.lib.format.open_memmap(folder / f"{name}.npy", mode)
    except DAMAGED_ARRAY as error:
        raise ProgramError(
            f"{folder / name}.npy: {error}; delete the folder and run again"
        ) from None


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        found = manifest["format"], manifest["version"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise ProgramError(
            f"{folder}: holds no run of seenn simulate; name another folder"
        ) from None
    # Counts of another version mean something else under the same name.
    if found != (FORMAT, VERSION):
        raise ProgramError(f"{path}: format {found[0]!r} version {found[1]}; run again")
    layers, run = manifest.get("layers"), manifest.get("run")
    whole = (
        isinstance(layers, list)
        and all(isinstance(name, str) for name in layers)
        and isinstance(run, dict)
        and isinstance(run.get("samples"), int)
        and isinstance(run.get("exit_rule"), dict)
    )
    if not whole:
        raise ProgramError(f"{path}: damaged; delete the folder and run again")
    check_manifest(path, manifest)
    return manifest
