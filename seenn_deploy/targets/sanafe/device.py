"""SANA-FE as a device: the folder's own ``run.py`` in a subprocess, images in, arrays out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote

import numpy as np

from seenn_deploy._typing import Array, Shape
from seenn_deploy.errors import DeviceError, ProgramError
from seenn_deploy.targets.base import DeviceRun, Outline, Request, checked
from seenn_deploy.targets.command import drive

NEEDED = "2.2.9"
CHIP = "chip.json"


class Device:
    """A placed program on the chip that SANA-FE simulates.

    Parameters
    ----------
    bundle : Path
    timing : 'simple' or 'detailed'
        How SANA-FE finds the time of a step: by the busiest core, or with messages that wait for
        each other, which takes it much longer.
    python : Path, optional
        A Python that has SANA-FE; this one by default.

    Raises
    ------
    ProgramError
        When there is no such folder.
    DeviceError
        When SANA-FE is not installed there.
    """

    def __init__(
        self,
        bundle: Path,
        *,
        timing: Literal["simple", "detailed"] = "simple",
        python: Path | None = None,
    ) -> None:
        if not (bundle / "network.json").is_file() or not (bundle / "architecture.yaml").is_file():
            raise ProgramError(
                f"{bundle}: no SANA-FE folder here; make one with seenn compile --target sanafe"
            )
        if timing not in ("simple", "detailed"):
            raise DeviceError(f"device sanafe: timing {timing!r}; there are simple and detailed")
        self.bundle, self.timing = bundle.absolute(), timing
        self.spec = json.loads((bundle / "network.json").read_text())
        self.made_for = self.spec.get("made_for")
        own = self.bundle / CHIP  # of a chip that does not come with the package
        self.chip = str(own) if own.is_file() else self.spec["chip"]
        self.python = str(python or sys.executable)
        self.version = _version(self.python)

    def run(self, images: Array, request: Request) -> DeviceRun:
        """Run the folder; see :meth:`seenn_deploy.targets.base.Device.run`."""
        with tempfile.TemporaryDirectory(prefix="seenn-sanafe-") as name:
            work = Path(name)
            np.save(work / "x.npy", images)
            options = ["--timing", self.timing]
            for flag in ("record", "full_trace", "wasted"):
                options += ["--" + flag.replace("_", "-")] if getattr(request, flag) else []
            command = [self.python, str(self.bundle / "run.py"), "--data", str(work / "x.npy")]
            drive([*command, "-o", str(work / "out"), *options], _environment(work), request)
            files = sorted((work / "out").rglob("*.npy"))
            arrays = {unquote(str(p.relative_to(work / "out"))[:-4]): np.load(p) for p in files}
        ran = checked(arrays, _outline(self.spec), request, len(images))
        measured = {
            name.removeprefix("measured/"): values
            for name, values in arrays.items()
            if name.startswith("measured/")
        }
        chips = f"{self.spec['chips']} x " if self.spec["chips"] > 1 else ""
        chip = f"chip: {chips}{self.spec['chip']}, simulated by SANA-FE {self.version}"
        policy = ", policy network" if self.spec["integer_policy"] else ""
        image = "currents of the image, " if self.spec["input"]["coding"] == "direct" else ""
        host = f"on the host: {image}initial potentials, exit rule{policy}"
        return replace(ran, measured=measured, notes=(chip, host), chip=self.chip)


def _version(python: str) -> str:
    """The version of SANA-FE that a Python has.

    Raises
    ------
    DeviceError
        When it has none, or another one than what was tested.
    """
    ask = "import importlib.metadata as m; print(m.version('sanafe'))"
    try:
        done = subprocess.run(
            [python, "-c", ask], capture_output=True, text=True, check=False, env=_kept()
        )
    except OSError as error:
        raise DeviceError(f"{python}: no Python there ({error.strerror})") from None
    if done.returncode:
        raise DeviceError(
            f"SANA-FE is not installed for {python}; pip install 'seenn-deploy[sanafe]'"
        )
    found = done.stdout.strip()
    if found != NEEDED:
        raise DeviceError(f"SANA-FE {found} is not {NEEDED}; pip install 'seenn-deploy[sanafe]'")
    return found


def _kept() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}


def _environment(work: Path) -> dict[str, str]:
    """The subprocess's variables: one thread, so that every run is the same, and no litter."""
    return {**_kept(), "OMP_NUM_THREADS": "1", "PYTHONPYCACHEPREFIX": str(work / "pycache")}


def _outline(spec: dict[str, Any]) -> Outline:
    """The part of ``network.json`` that describes the arrays that come back."""
    shapes: dict[str, dict[str, Shape]] = {"readout": {}, "population": {}, "delay": {}}
    for unit in spec["units"]:
        shapes[unit["kind"]][unit["name"]] = tuple(unit["shape"])
    (classes,) = shapes["readout"].values()
    policy = spec["integer_policy"]
    choices = len(policy["choices"]) if policy else 0
    return Outline(spec["T"], classes, shapes["population"], True, choices)
