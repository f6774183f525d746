"""What the author of a device imports: the contract, what is asked, and what has to come back.

A target becomes a device with a class ``Device`` beside its ``write``: in ``NAME/device.py`` where
the target is a folder, in the same file where it is one file. ``targets/devices.py`` finds it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from seenn_deploy._typing import Array, Shape
from seenn_deploy.errors import DeviceError
from seenn_deploy.io import folders
from seenn_deploy.ir.program import Program
from seenn_deploy.metrics import Exited

FOLDER = folders.Kind("a device run", "device.json", "seenn-deploy device run", ("arrays.npz",))


@dataclass(frozen=True)
class Request:
    """The request to a device.

    Parameters
    ----------
    record : bool
        Keep every population's spikes, of integer programs also the membrane potentials; memory
        grows with N T neurons.
    full_trace : bool
        Run every sample to T; `exit_step` still says where the rule stopped.
    wasted : bool
        Keep also what was injected before an exit was known.
    timeout : float, optional
        Seconds until the device is given up.
    progress : callable, optional
        To be called with the number of samples that just finished.
    length : int64 array (N,), optional
        Timesteps of each sample, where they differ; a device that `takes_length` alone gets any.
    """

    record: bool = False
    full_trace: bool = False
    wasted: bool = False
    timeout: float | None = None
    progress: Callable[[int], None] | None = None
    length: Array | None = None


@dataclass(frozen=True, eq=False)
class DeviceRun(Exited):
    """The results of a device run: N samples, T timesteps and M classes.

    Parameters
    ----------
    logits : float64 (N, T, M)
        Logits accumulated over timesteps 1..t, in real units; NaN after a sample's exit unless run
        with ``full_trace`` or ``wasted``.
    exit_step : int64 (N,)
        Timestep of each exit, counted from 1.
    hardware_steps : int64 (N,)
        Algorithmic steps from a sample's first frame to its answer: the latency.
    spikes : dict of bool (N, T, *shape)
        Spikes by population, with ``record=True``; False for timesteps that are not wanted.
    labels : int64 (N,), optional
    start : int64 (N,)
        The device's step, from 0, that sent a sample's first frame.
    injected : int64 (N,)
        Timesteps of each sample that were sent; those after the exit were wasted.
    v : dict of arrays (N, T, *shape)
        Membrane potentials after the reset, int32, of integer programs; recorded like `spikes`.
    integer_logits : int64 (N, T, M), optional
        Integer logits of integer programs; 0 where `logits` is NaN.
    notes : tuple of str
        What the device has to say of itself, each ``what: text``: the stack that it takes, checks
        that it left out.
    policy_scores : int64 (N, K), optional
        What the integer policy network said of each choice.
    measured : dict of arrays (S,)
        What a device that simulates a chip counted in each hardware step, all samples in one go:
        ``messages``, ``hops``, ``synapse_events``, ``updates`` of neurons, ``spikes``, ``tokens``
        (1 where a sample's end was sent to every core), energies in joules
        ``synapse_J``, ``neuron_J``, ``network_J``, and ``time_s`` in seconds.
    chip : str
        Name or file of the chip that it simulates; '' of any other device.
    """

    logits: Array
    exit_step: Array
    hardware_steps: Array
    spikes: dict[str, Array] = field(default_factory=dict)
    labels: Array | None = None
    start: Array = field(default_factory=lambda: np.zeros(0, np.int64))
    injected: Array = field(default_factory=lambda: np.zeros(0, np.int64))
    v: dict[str, Array] = field(default_factory=dict)
    integer_logits: Array | None = None
    notes: tuple[str, ...] = ()
    policy_scores: Array | None = None
    measured: dict[str, Array] = field(default_factory=dict)
    chip: str = ""

    def __repr__(self) -> str:
        n, T, classes = self.logits.shape
        steps = f"mean exit step {self.exit_step.mean():.3f}"
        hardware = f"{self.hardware_steps.mean():.1f} hardware steps per sample"
        return f"DeviceRun({n} samples, T={T}, {classes} classes, {steps}, {hardware})"

    def to_arrays(self) -> dict[str, Array]:
        """Every array by its name, those of a population as ``spikes/NAME`` and ``v/NAME``."""
        arrays = {name: getattr(self, name) for name in (*_COUNTS, "logits")}
        for name in ("integer_logits", "policy_scores"):
            if getattr(self, name) is not None:
                arrays[name] = getattr(self, name)
        for kind in ("spikes", "v"):
            arrays |= {f"{kind}/{name}": x for name, x in getattr(self, kind).items()}
        arrays |= {f"measured/{name}": x for name, x in self.measured.items()}
        return arrays

    def save(self, out: str | Path, force: bool = False) -> None:
        """Write device.json, which has the summary, and arrays.npz, which has `to_arrays`.

        Parameters
        ----------
        out : str or Path
            The folder appears whole or not at all.
        force : bool
            Replace the files of an earlier device run there; other files stay.

        Raises
        ------
        ProgramError
            When `out` holds an earlier device run and `force` is not given, or anything else.
        """
        with folders.new_folder(Path(out), FOLDER, force) as work:
            np.savez(work / "arrays.npz", **self.to_arrays())  # type: ignore[arg-type]
            found = {"format": FOLDER.format, "version": 1, **self.summary()}
            folders.write_json(work / FOLDER.manifest, found)

    def summary(self) -> dict[str, Any]:
        """Return the figures of a report, as JSON values."""
        return {
            **self.exit_summary(),
            "hardware_steps_per_sample": float(self.hardware_steps.mean()),
            **({"notes": list(self.notes)} if self.notes else {}),
            **({"measured": totals(self.measured)} if self.measured else {}),
        }


def totals(measured: Mapping[str, Array]) -> dict[str, float]:
    """Sums over all hardware steps, and their number as ``hardware_steps``."""
    steps = {"hardware_steps": float(max(map(len, measured.values())))} if measured else {}
    return {**steps, **{name: float(values.sum()) for name, values in measured.items()}}


class Device(Protocol):
    """Runs the bundle that a target wrote.

    ``Device(bundle)`` opens or prepares it. A device that has a keyword `argument` gets in it what
    stands behind the colon of its name (``serial:/dev/ttyACM0``); its other keywords are its own
    options, each with a default, which ``sd.run`` and ``sd.verify`` hand on. A device that runs the
    bundles of another target has its name as the class attribute `target`. A device that takes
    samples of different lengths has the attribute `takes_length`, True, and ends each at its
    ``request.length``. A device whose bundles keep ``program.made_for`` shows it as the attribute
    `made_for`: then a bundle that an earlier compile left beside another program is refused.
    """

    def run(self, images: Array, request: Request) -> DeviceRun:
        """Run images (N, C, H, W), of event coding (N, T, C, H, W), with early exit.

        Raises
        ------
        DeviceError
            When the device is missing, fails, or takes longer than ``request.timeout``.
        """


# --- what came back ------------------------------------------------------------------------------

_COUNTS = ("exit_step", "hardware_steps", "start", "injected")  # one integer per sample
_KINDS = {"f": "floating point", "i": "integers", "b": "booleans"}


@dataclass(frozen=True)
class Outline:
    """The sizes that decide the shapes of a device's arrays.

    Parameters
    ----------
    T : int
    classes : tuple of int
        Shape of the readout.
    populations : mapping of str to shape
    integers : bool
        An integer program.
    choices : int
        Scores of its integer policy network; 0 without one.
    """

    T: int
    classes: Shape
    populations: Mapping[str, Shape]
    integers: bool
    choices: int = 0

    @classmethod
    def of(cls, program: Program) -> Outline:
        """The outline of a program."""
        nodes = program.graph.populations
        populations = {node.name: node.shape for node in nodes}
        integers = program.precision != "float32"
        choices = 0 if program.policy is None else len(program.policy.choices)
        return cls(program.T, program.graph.readout.shape, populations, integers, choices)


def checked(
    arrays: Mapping[str, Array], outline: Outline, request: Request, samples: int
) -> DeviceRun:
    """The arrays as a DeviceRun, once every one is there, of its shape and kind.

    Parameters
    ----------
    arrays : mapping of str to array
        Named as `DeviceRun.to_arrays` names them; others are left out.
    outline : Outline
    request : Request
        What the device was asked for.
    samples : int

    Raises
    ------
    DeviceError
        For the first array that is missing or another one than was asked for.
    """
    expected = _expected(outline, request, samples)
    for name, (shape, kind) in expected.items():
        _check(name, arrays.get(name), shape, kind)
    # Shapes alone do not tell a device that counts from 0, or forgets the exit.
    _check_steps(arrays["exit_step"], arrays["injected"], outline.T)
    given: dict[str, Any] = {"spikes": {}, "v": {}}
    for name in expected:
        kind, _, population = name.partition("/")
        if population:
            given[kind][population] = arrays[name]
        else:
            given[name] = arrays[name]
    return DeviceRun(**given)


def _expected(
    outline: Outline, request: Request, samples: int
) -> dict[str, tuple[tuple[int, ...], str]]:
    """Return shape and kind of every array that has to come back, by name."""
    steps = (samples, outline.T)
    # Floating point of any width: a device of its own arithmetic need not have float64.
    expected = {"logits": ((*steps, *outline.classes), "f")}
    expected |= dict.fromkeys(_COUNTS, ((samples,), "i"))
    if outline.integers:
        expected["integer_logits"] = (*steps, *outline.classes), "i"
    if outline.choices:
        expected["policy_scores"] = (samples, outline.choices), "i"
    for name, shape in outline.populations.items() if request.record else ():
        expected[f"spikes/{name}"] = (*steps, *shape), "b"
        if outline.integers:
            expected[f"v/{name}"] = (*steps, *shape), "i"
    return expected


def _check(name: str, values: Array | None, shape: tuple[int, ...], kind: str) -> None:
    if values is None:
        raise DeviceError(f"the device returned no {name}")
    if values.shape != shape:
        raise DeviceError(f"the device returned {name} of shape {values.shape}, expected {shape}")
    if values.dtype.kind != kind:
        raise DeviceError(
            f"the device returned {name} of type {values.dtype}, expected {_KINDS[kind]}"
        )


def _check_steps(stop: Array, sent: Array, T: int) -> None:
    for n in np.flatnonzero((stop < 1) | (stop > T) | (sent < stop) | (sent > T))[:1]:
        raise DeviceError(
            f"the device says that sample {n} stopped at step {stop[n]} of {sent[n]} that it sent, "
            f"the program has {T}"
        )
