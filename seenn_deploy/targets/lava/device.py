"""Lava as a device: a bundle and images in, arrays out, through a subprocess.

The bundle runs in the Lava interpreter, or wherever a command takes it: the command gets a tar with
the bundle, the images and the options on its standard input and answers with a tar of arrays on its
standard output (``bundle/answer.py`` does that on the other side). Either is a process group of
its own, which is ended whole when the time is up or the user interrupts.
"""

from __future__ import annotations

import io
import json
import os
import shlex
import signal
import subprocess
import tarfile
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote

import numpy as np

from seenn_deploy._typing import Array
from seenn_deploy.errors import DeviceError, ProgramError
from seenn_deploy.io.images.image_set import ImageSet
from seenn_deploy.targets.lava import interpreter

GRACE = 5.0  # seconds between two attempts, each less gentle
LAST_WORDS = 12  # lines


@dataclass(frozen=True, eq=False)
class DeviceRun:
    """What a device measured over N samples of a program with T timesteps and M classes.

    Parameters
    ----------
    logits : float64 (N, T, M)
        Accumulated over steps 1..t, in real units; NaN after a sample's exit unless run with
        ``full_trace`` or ``wasted``.
    exit_step : int64 (N,)
        From 1.
    hardware_steps : int64 (N,)
        Algorithmic steps from a sample's first frame to its answer: the latency.
    spikes : dict of bool (N, T, *shape)
        By population, with ``record=True``; False for timesteps that are not wanted.
    labels : int64 (N,), optional
    start : int64 (N,)
        The device's step, from 0, that sent a sample's first frame.
    injected : int64 (N,)
        Timesteps of each sample that were sent; those after the exit were wasted.
    v : dict of arrays (N, T, *shape)
        Of integer programs: membrane potentials after the reset, int32, like `spikes`.
    integer_logits : int64 (N, T, M), optional
        Of integer programs; 0 where `logits` is NaN.
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

    @property
    def exit_logits(self) -> Array:
        """Logits at each sample's exit, (N, M)."""
        return np.take_along_axis(self.logits, (self.exit_step - 1)[:, None, None], 1)[:, 0]

    @property
    def prediction(self) -> Array:
        """Class with the largest logit at the exit, int64 (N,)."""
        return np.asarray(self.exit_logits.argmax(axis=-1))

    def summary(self) -> dict[str, Any]:
        """The figures of a report, as JSON values."""
        T = self.logits.shape[1]
        histogram = np.bincount(self.exit_step, minlength=T + 1)[1:]
        right = None if self.labels is None else self.prediction == self.labels
        return {
            "samples": len(self.exit_step),
            "accuracy": None if right is None else float(right.mean()),
            "mean_exit_step": float(self.exit_step.mean()),
            "exit_histogram": {str(t + 1): int(n) for t, n in enumerate(histogram)},
            "hardware_steps_per_sample": float(self.hardware_steps.mean()),
        }


@dataclass(frozen=True)
class Request:
    """What a device is asked for.

    Parameters
    ----------
    record : bool
        Keep every population's spikes, of integer programs also v; memory grows with N T neurons.
    full_trace : bool
        Run every sample to T; `exit_step` still says where the rule stopped.
    wasted : bool
        Keep also what was injected before an exit was known.
    """

    record: bool = False
    full_trace: bool = False
    wasted: bool = False

    @property
    def options(self) -> list[str]:
        """As arguments of the bundle's ``run.py``."""
        chosen = {"--record": self.record, "--full-trace": self.full_trace, "--wasted": self.wasted}
        return [name for name, wanted in chosen.items() if wanted]


def run(
    folder: str | Path,
    images: Array | ImageSet,
    labels: Array | None = None,
    *,
    device: str = "lava",
    record: bool = False,
    full_trace: bool = False,
    wasted: bool = False,
    timeout: float | None = None,
    python: Path | None = None,
    command: str | None = None,
    progress: Callable[[int], None] | None = None,
) -> DeviceRun:
    """Run a bundle on images, with early exit.

    Parameters
    ----------
    folder : str or Path
        A bundle, or a program's folder with one in it.
    images : array (N, C, H, W), for event coding (N, T, C, H, W), or ImageSet
        As the program sees them.
    labels : int array (N,), optional
        Instead of those of an ImageSet.
    device : 'lava'
    record, full_trace, wasted : bool
        See `Request`.
    timeout : float, optional
        Seconds until the device is given up.
    python : Path, optional
        The Lava interpreter; found as ``interpreter.find`` says by default.
    command : str, optional
        Runs the device instead, e.g. ``ssh host ...``. On its standard input it gets a tar with
        ``bundle/``, ``x.npy`` and ``request.json``; its standard output has to be a tar with the
        arrays of ``bundle/run.py``, its exit code 0.
    progress : callable, optional
        Called with the number of samples that just finished.

    Raises
    ------
    ProgramError
        When there is no bundle.
    DeviceError
        When there is no Lava interpreter, the bundle refuses the images or was altered, the device
        fails or returns something else, or the time is up.
    """
    bundle = _bundle(Path(folder), device)
    if isinstance(images, ImageSet):
        labels = images.labels if labels is None else labels
        images = images.take(0, len(images))
    request = Request(record, full_trace, wasted)
    with tempfile.TemporaryDirectory(prefix="seenn-lava-") as name:
        work = Path(name)
        np.save(work / "x.npy", images)
        limits = (timeout, progress)
        if command is None:
            found = interpreter.find() if python is None else interpreter.check(python, "given")
            arrays = _here(bundle, found.python, work, request, *limits)
        else:
            arrays = _there(bundle, _split(command), work, request, *limits)
    spec = json.loads((bundle / "network.json").read_text())
    return _checked(arrays, spec, request, len(images), labels)


def _bundle(folder: Path, device: str) -> Path:
    if device != "lava":
        raise DeviceError(f"device {device!r} does not exist; there is lava")
    for bundle in (folder, folder / device):
        if (bundle / "network.json").is_file():
            return bundle.absolute()
    raise ProgramError(f"{folder}: no Lava bundle here; make one with seenn-compile --target lava")


def _here(
    bundle: Path,
    python: Path,
    work: Path,
    request: Request,
    timeout: float | None,
    progress: Callable[[int], None] | None,
) -> dict[str, Array]:
    """The arrays of a run in a Lava interpreter on this machine."""
    command = [str(python), str(bundle / "run.py"), "--data", str(work / "x.npy")]
    command += ["-o", str(work / "out"), *request.options]
    _drive(command, _environment(work), timeout, progress)
    files = sorted((work / "out").rglob("*.npy"))
    return {str(p.relative_to(work / "out"))[:-4]: np.load(p) for p in files}


def _environment(work: Path) -> dict[str, str]:
    """The subprocess's variables: nothing of this Python, one thread a layer, no litter."""
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    threads = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")}
    return {**kept, **threads, "PYTHONPYCACHEPREFIX": str(work / "pycache")}


def _split(command: str) -> list[str]:
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise DeviceError(f"the device cannot be started: {error} in {command!r}") from None
    if not words:
        raise DeviceError("the device cannot be started: the command is empty")
    return words


def _there(
    bundle: Path,
    command: list[str],
    work: Path,
    request: Request,
    timeout: float | None,
    progress: Callable[[int], None] | None,
) -> dict[str, Array]:
    """The arrays of a run wherever a command takes the tar."""
    (work / "request.json").write_text(json.dumps(request.options))
    with tarfile.open(work / "request.tar", "w") as tar:
        tar.add(bundle, "bundle")
        for name in ("x.npy", "request.json"):
            tar.add(work / name, name)
    pipes = (work / "request.tar", work / "answer.tar")
    _drive(command, _environment(work), timeout, progress, pipes)
    try:
        with tarfile.open(work / "answer.tar") as tar:
            return dict(_unpacked(tar, member) for member in tar if member.name.endswith(".npy"))
    except (tarfile.TarError, ValueError, EOFError, OSError) as error:
        raise DeviceError(f"the device's answer is no tar of arrays: {error}") from None


def _unpacked(tar: tarfile.TarFile, member: tarfile.TarInfo) -> tuple[str, Array]:
    """An array and its name without the folder; nothing is written to disk."""
    found = tar.extractfile(member)
    if found is None:
        raise ValueError(f"{member.name} is no file")
    parts = [part for part in member.name[:-4].split("/") if part not in ("", ".")]
    return "/".join(parts[1:]), np.load(io.BytesIO(found.read()), allow_pickle=False)


# --- what came back ------------------------------------------------------------------------------


def _checked(
    arrays: dict[str, Array],
    spec: dict[str, Any],
    request: Request,
    samples: int,
    labels: Array | None,
) -> DeviceRun:
    """The arrays as a DeviceRun, once every one is there, of its shape and kind."""
    arrays = {unquote(name): values for name, values in arrays.items()}
    expected = _expected(spec, request, samples)
    for name, (shape, kind) in expected.items():
        _check(name, arrays.get(name), shape, kind)
    _check_steps(arrays, spec["T"])
    by_kind: dict[str, dict[str, Array]] = {"spikes": {}, "v": {}}
    for name in expected:
        folder, _, population = name.partition("/")
        if population:
            by_kind[folder][population] = arrays[name]
    names = ("logits", "exit_step", "hardware_steps", "start", "injected")
    return DeviceRun(
        **{name: arrays[name] for name in names},
        spikes=by_kind["spikes"],
        labels=labels,
        v=by_kind["v"],
        integer_logits=arrays.get("integer_logits"),
    )


def _expected(
    spec: dict[str, Any], request: Request, samples: int
) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and kind of every array that has to come back, by name."""
    integers = spec["tag"] == "fixed_pt"
    steps = (samples, spec["T"])
    readout = next(tuple(n["shape"]) for n in spec["nodes"] if n["kind"] == "readout")
    names = ("exit_step", "hardware_steps", "start", "injected")
    expected = {"logits": ((*steps, *readout), "f"), **dict.fromkeys(names, ((samples,), "i"))}
    if integers:
        expected["integer_logits"] = (*steps, *readout), "i"
    for node in spec["nodes"] if request.record else ():
        if node["kind"] == "population":
            shape = (*steps, *node["shape"])
            expected[f"spikes/{node['name']}"] = shape, "b"
            if integers:
                expected[f"v/{node['name']}"] = shape, "i"
    return expected


_KINDS = {"f": "floating point", "i": "integers", "b": "booleans"}


def _check(name: str, values: Array | None, shape: tuple[int, ...], kind: str) -> None:
    if values is None:
        raise DeviceError(f"the device returned no {name}")
    if values.shape != shape:
        raise DeviceError(f"the device returned {name} of shape {values.shape}, expected {shape}")
    if values.dtype.kind != kind:
        raise DeviceError(
            f"the device returned {name} of type {values.dtype}, expected {_KINDS[kind]}"
        )


def _check_steps(arrays: dict[str, Array], T: int) -> None:
    stop, sent = arrays["exit_step"], arrays["injected"]
    for n in np.flatnonzero((stop < 1) | (stop > T) | (sent < stop) | (sent > T))[:1]:
        raise DeviceError(
            f"the device says that sample {n} stopped at step {stop[n]} of {sent[n]} that it sent, "
            f"the program has {T}"
        )


# --- the subprocess ----------------------------------------------------------------------------


def _drive(
    command: list[str],
    environment: dict[str, str],
    timeout: float | None,
    progress: Callable[[int], None] | None,
    pipes: tuple[Path, Path] | None = None,
) -> None:
    """Run to the end, or end all of it. Raises DeviceError with the last words.

    Standard input and output are the two files in `pipes`, or nothing and words.
    """
    with ExitStack() as open_files:
        process, said = _start(command, environment, pipes, open_files)
    words: deque[str] = deque(maxlen=LAST_WORDS)
    reader = threading.Thread(target=_listen, args=(said, words, progress), daemon=True)
    reader.start()
    try:
        code = process.wait(timeout)
    except subprocess.TimeoutExpired:
        _end(process)
        reader.join(1)
        raise DeviceError(f"the device took more than {timeout:g} s; {_said(words)}") from None
    except BaseException:
        _end(process)
        raise
    reader.join(1)
    if code:
        _end(process)
        raise DeviceError(_reason(code, words))


def _start(
    command: list[str],
    environment: dict[str, str],
    pipes: tuple[Path, Path] | None,
    open_files: ExitStack,
) -> tuple[subprocess.Popen[str], IO[str]]:
    """The process, and where it speaks."""
    into: int | IO[bytes] = subprocess.DEVNULL
    out: int | IO[bytes] = subprocess.PIPE
    if pipes:
        into = open_files.enter_context(pipes[0].open("rb"))
        out = open_files.enter_context(pipes[1].open("wb"))
    try:
        process = subprocess.Popen(
            command,
            stdin=into,
            stdout=out,
            stderr=subprocess.PIPE if pipes else subprocess.STDOUT,
            env=environment,
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except OSError as error:
        raise DeviceError(f"the device cannot be started: {error}") from None
    said = process.stderr if pipes else process.stdout
    assert said is not None
    return process, said


def _listen(said: IO[str], words: deque[str], progress: Callable[[int], None] | None) -> None:
    for line in said:
        words.append(line.rstrip())
        if progress and line.startswith("sample "):
            progress(1)


def _reason(code: int, words: deque[str]) -> str:
    errors = [line for line in words if line.startswith("error: ")]
    if code == 2 and errors:
        return errors[-1].removeprefix("error: ")
    return f"the device failed with exit code {code}; {_said(words)}"


def _said(words: deque[str]) -> str:
    return "it said:\n" + "\n".join(words) if words else "it said nothing"


def _end(process: subprocess.Popen[str]) -> None:
    """End the whole process group, its leader first: that returns Lava's shared memory."""
    for end in (
        process.terminate,
        lambda: os.killpg(process.pid, signal.SIGTERM),
        lambda: os.killpg(process.pid, signal.SIGKILL),
    ):
        with suppress(ProcessLookupError):
            end()
        if _gone(process):
            return


def _gone(process: subprocess.Popen[str]) -> bool:
    """Wait a while for the last process of the group; was there an end?"""
    until = time.monotonic() + GRACE
    while time.monotonic() < until:
        process.poll()
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False
