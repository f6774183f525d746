"""Lava as a device: a folder of arrays in, a folder of arrays out, through a subprocess.

The bundle runs in the Lava interpreter, a process group of its own, which is ended whole when the
time is up or the user interrupts. A remote host would get the same two folders.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np

from seenn_deploy.data import ImageSet
from seenn_deploy.errors import DeviceError, ProgramError
from seenn_deploy.graph import Array
from seenn_deploy.targets.lava import interpreter

GRACE = 5.0  # seconds between two attempts, each less gentle
LAST_WORDS = 12  # lines


@dataclass(frozen=True, eq=False)
class DeviceRun:
    """What a device measured over N samples of a program with T timesteps and M classes.

    Parameters
    ----------
    logits : float64 (N, T, M)
        Accumulated over steps 1..t; NaN after a sample's exit unless run with ``full_trace``.
    exit_step : int64 (N,)
        From 1.
    hardware_steps : int64 (N,)
        Algorithmic steps that a sample occupied the device: its timesteps plus the depth.
    spikes : dict of bool (N, T, *shape)
        By population, with ``record=True``; False for timesteps that were not run.
    labels : int64 (N,), optional
    """

    logits: Array
    exit_step: Array
    hardware_steps: Array
    spikes: dict[str, Array] = field(default_factory=dict)
    labels: Array | None = None

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


def run(
    folder: str | Path,
    images: Array | ImageSet,
    labels: Array | None = None,
    *,
    device: str = "lava",
    record: bool = False,
    full_trace: bool = False,
    timeout: float | None = None,
    python: Path | None = None,
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
    record : bool
        Keep every population's spikes; memory grows with N T neurons.
    full_trace : bool
        Run every sample to T; `exit_step` still says where the rule stopped.
    timeout : float, optional
        Seconds until the device is given up.
    python : Path, optional
        The Lava interpreter; found as ``interpreter.find`` says by default.
    progress : callable, optional
        Called with the number of samples that just finished.

    Raises
    ------
    ProgramError
        When there is no bundle.
    DeviceError
        When there is no Lava interpreter, the bundle refuses the images or was altered, the device
        fails, or the time is up.
    """
    bundle = _bundle(Path(folder), device)
    found = interpreter.find() if python is None else interpreter.check(python, "given")
    if isinstance(images, ImageSet):
        labels = images.labels if labels is None else labels
        images = images.take(0, len(images))
    with tempfile.TemporaryDirectory(prefix="seenn-lava-") as name:
        work = Path(name)
        np.save(work / "x.npy", images)
        command = [str(found.python), str(bundle / "run.py")]
        command += ["--data", str(work / "x.npy"), "-o", str(work / "out")]
        command += ["--record"] * record + ["--full-trace"] * full_trace
        _drive(command, _environment(work), timeout, progress)
        return _read(work / "out", labels)


def _bundle(folder: Path, device: str) -> Path:
    if device != "lava":
        raise DeviceError(f"device {device!r} does not exist; there is lava")
    for bundle in (folder, folder / device):
        if (bundle / "network.json").is_file():
            return bundle.absolute()
    raise ProgramError(f"{folder}: no Lava bundle here; make one with seenn-compile --target lava")


def _environment(work: Path) -> dict[str, str]:
    """The subprocess's variables: nothing of this Python, one thread a layer, no litter."""
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    threads = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")}
    return {**kept, **threads, "PYTHONPYCACHEPREFIX": str(work / "pycache")}


def _read(out: Path, labels: Array | None) -> DeviceRun:
    arrays = {name: np.load(out / f"{name}.npy") for name in ("logits", "exit_step")}
    spikes = {unquote(p.stem): np.load(p) for p in sorted((out / "spikes").glob("*.npy"))}
    steps = np.load(out / "hardware_steps.npy")
    return DeviceRun(arrays["logits"], arrays["exit_step"], steps, spikes, labels)


# --- the subprocess ----------------------------------------------------------------------------


def _drive(
    command: list[str],
    environment: dict[str, str],
    timeout: float | None,
    progress: Callable[[int], None] | None,
) -> None:
    """Run to the end, or end all of it. Raises DeviceError with the last words."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    words: deque[str] = deque(maxlen=LAST_WORDS)
    reader = threading.Thread(target=_listen, args=(process, words, progress), daemon=True)
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


def _listen(
    process: subprocess.Popen[str], words: deque[str], progress: Callable[[int], None] | None
) -> None:
    assert process.stdout is not None
    for line in process.stdout:
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
