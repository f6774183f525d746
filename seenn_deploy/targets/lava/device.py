"""Lava as a device: a bundle and images in, arrays out, through a subprocess.

The bundle runs in the Lava interpreter, or wherever a command takes it: the command gets a tar with
the bundle, the images and the options on its standard input and answers with a tar of arrays on its
standard output (``bundle/answer.py`` does that on the other side).
"""

from __future__ import annotations

import io
import json
import os
import shlex
import tarfile
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np

from seenn_deploy._typing import Array
from seenn_deploy.errors import DeviceError, ProgramError
from seenn_deploy.targets.base import DeviceRun, Outline, Request, checked
from seenn_deploy.targets.command import drive
from seenn_deploy.targets.lava import interpreter


class Device:
    """A Lava bundle in the Lava interpreter, or wherever a command takes it.

    Parameters
    ----------
    bundle : Path
    python : Path, optional
        The Lava interpreter; found as ``interpreter.find`` says by default.
    command : str, optional
        Runs the bundle instead, e.g. ``ssh host ...``. On its standard input it gets a tar with
        ``bundle/``, ``x.npy``, ``request.json`` and, of samples that differ in length,
        ``length.npy``; its standard output has to be a tar with the arrays of ``bundle/run.py``,
        its exit code 0.

    Raises
    ------
    ProgramError
        When there is no bundle.
    DeviceError
        When there is no Lava interpreter, or `command` is no command.
    """

    def __init__(
        self, bundle: Path, *, python: Path | None = None, command: str | None = None
    ) -> None:
        if not (bundle / "network.json").is_file():
            raise ProgramError(
                f"{bundle}: no Lava bundle here; make one with seenn compile --target lava"
            )
        self.bundle = bundle.absolute()
        self.spec = json.loads((bundle / "network.json").read_text())
        self.made_for = self.spec.get("made_for")
        # A bundle of an earlier release would not read length.npy, and run every sample to T.
        self.takes_length = self.spec.get("version", 0) >= 5
        self.command = None if command is None else _split(command)
        if command is None:
            found = interpreter.find() if python is None else interpreter.check(python, "given")
            self.python = found.python

    def run(self, images: Array, request: Request) -> DeviceRun:
        """Run the bundle; see :meth:`seenn_deploy.targets.base.Device.run`."""
        with tempfile.TemporaryDirectory(prefix="seenn-lava-") as name:
            work = Path(name)
            np.save(work / "x.npy", images)
            if request.length is not None:
                np.save(work / "length.npy", request.length)
            run = self._here if self.command is None else self._there
            arrays = {unquote(name): values for name, values in run(work, request).items()}
        # The other side may be anybody's script, so its arrays are believed only when they fit.
        return checked(arrays, _outline(self.spec), request, len(images))

    def _here(self, work: Path, request: Request) -> dict[str, Array]:
        """The arrays of a run in the Lava interpreter on this machine."""
        command = [str(self.python), str(self.bundle / "run.py"), "--data", str(work / "x.npy")]
        if request.length is not None:
            command += ["--length", str(work / "length.npy")]
        drive([*command, "-o", str(work / "out"), *_options(request)], _environment(work), request)
        files = sorted((work / "out").rglob("*.npy"))
        return {str(p.relative_to(work / "out"))[:-4]: np.load(p) for p in files}

    def _there(self, work: Path, request: Request) -> dict[str, Array]:
        """The arrays of a run wherever the command takes the tar."""
        assert self.command is not None
        (work / "request.json").write_text(json.dumps(_options(request)))
        with tarfile.open(work / "request.tar", "w") as tar:
            tar.add(self.bundle, "bundle")
            for name in ("x.npy", "length.npy", "request.json"):
                if (work / name).exists():
                    tar.add(work / name, name)
        pipes = (work / "request.tar", work / "answer.tar")
        drive(self.command, _environment(work), request, pipes)
        try:
            with tarfile.open(work / "answer.tar") as tar:
                return dict(_unpacked(tar, file) for file in tar if file.name.endswith(".npy"))
        except (tarfile.TarError, ValueError, EOFError, OSError) as error:
            raise DeviceError(f"the device's answer is no tar of arrays: {error}") from None


def _split(command: str) -> list[str]:
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise DeviceError(f"the device cannot be started: {error} in {command!r}") from None
    if not words:
        raise DeviceError("the device cannot be started: the command is empty")
    return words


def _options(request: Request) -> list[str]:
    """A request as arguments of the bundle's ``run.py``."""
    names = ("record", "full_trace", "wasted")
    return ["--" + name.replace("_", "-") for name in names if getattr(request, name)]


def _environment(work: Path) -> dict[str, str]:
    """The subprocess's variables: nothing of this Python, one thread a layer, no litter."""
    # These two would bring this environment's packages into the other Python.
    kept = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    # Every layer is a process already; threads of theirs would only fight for the cores.
    threads = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")}
    return {**kept, **threads, "PYTHONPYCACHEPREFIX": str(work / "pycache")}


def _unpacked(tar: tarfile.TarFile, member: tarfile.TarInfo) -> tuple[str, Array]:
    """An array and its name without the folder; nothing is written to disk."""
    found = tar.extractfile(member)
    if found is None:
        raise ValueError(f"{member.name} is no file")
    parts = [part for part in member.name[:-4].split("/") if part not in ("", ".")]
    return "/".join(parts[1:]), np.load(io.BytesIO(found.read()), allow_pickle=False)


def _outline(spec: dict[str, Any]) -> Outline:
    """The part of ``network.json`` that describes the arrays that come back."""
    shapes = {
        kind: {n["name"]: tuple(n["shape"]) for n in spec["nodes"] if n["kind"] == kind}
        for kind in ("readout", "population")
    }
    (classes,) = shapes["readout"].values()
    chooses = spec.get("integer_policy")  # bundles of earlier releases have none
    choices = len(chooses["choices"]) if chooses else 0
    return Outline(spec["T"], classes, shapes["population"], spec["tag"] == "fixed_pt", choices)
