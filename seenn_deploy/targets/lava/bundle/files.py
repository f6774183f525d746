"""Reading and checking what comes in, writing what goes out."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

FORMAT, VERSION = "seenn-deploy lava bundle", 5
RESULT = "run.json"


class InputError(Exception):
    """Input that cannot be used; the message is one line."""


def read_bundle(
    folder: Path, kind: tuple[str, int] = (FORMAT, VERSION)
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read ``network.json`` and the arrays that it names, after comparing their checksums."""
    try:
        spec = json.loads((folder / "network.json").read_text())
        found = spec["format"], spec["version"]
        checksums = spec["sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder / 'network.json'}: unreadable ({error})") from None
    if found != kind:
        raise InputError(f"{folder / 'network.json'}: {found}, expected {kind}")
    arrays: dict[str, np.ndarray] = {}
    for name, checksum in checksums.items():
        _check(folder / name, checksum)
        # A pickle may run code as it is read.
        with np.load(folder / name, allow_pickle=False) as stored:
            arrays.update(stored)
    return spec, arrays


def _check(path: Path, checksum: str) -> None:
    if not path.is_file():
        raise InputError(f"{path}: missing; write the bundle again")
    if hashlib.sha256(path.read_bytes()).hexdigest() != checksum:
        raise InputError(
            f"{path}: the checksum differs from network.json, the weights were altered; "
            "write the bundle again"
        )


def _read(path: Path) -> np.ndarray:
    try:
        x = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: no array there ({error})") from None
    if not isinstance(x, np.ndarray):
        raise InputError(f"{path}: an archive; give one array in a .npy file")
    return x


def read_length(path: Path | None, samples: int, T: int) -> np.ndarray:
    """Read the timesteps (N,) of each sample; without a file every sample has T."""
    if path is None:
        return np.full(samples, T)
    length = _read(path)
    if length.shape != (samples,) or length.dtype.kind not in "iu":
        wanted = f"one whole number for each of {samples} samples"
        raise InputError(f"{path}: shape {length.shape}, {length.dtype}; give {wanted}")
    if length.min() < 1 or length.max() > T:
        found = f"from {length.min()} to {length.max()}"
        raise InputError(f"{path}: timesteps {found}; the network has 1 to {T}")
    return length


def read_frames(path: Path, spec: dict[str, Any]) -> np.ndarray:
    """Read the samples as (N, F, *shape): one frame for direct coding, T frames for events."""
    x = _read(path)
    events = spec["input"]["coding"] == "events"
    one = ([spec["T"]] if events else []) + spec["input"]["shape"]
    if x.ndim == 0 or list(x.shape[1:]) != one or not len(x):
        wanted = ", ".join(map(str, ["N", *one]))
        raise InputError(f"{path}: shape {x.shape}, the network takes ({wanted})")
    if x.dtype.kind != "f":
        raise InputError(f"{path}: {x.dtype} values, the network takes float32")
    _check_values(path, x, spec)
    return x if events else x[:, None]


def _check_values(path: Path, x: np.ndarray, spec: dict[str, Any]) -> None:
    if not np.isfinite(x).all():
        raise InputError(f"{path}: holds NaN or infinity")
    low, high = spec["input"]["range"]
    if (low is not None and x.min() < low) or (high is not None and x.max() > high):
        raise InputError(
            f"{path}: values from {x.min():g} to {x.max():g}, the network takes {low} to {high}"
        )
    limit, source = spec["input"]["limit"], spec["nodes"][0]
    # In float64, because float32 would round the difference that is compared.
    largest = np.abs(x.astype(float) - source["offset"]).max()
    if limit is not None and largest > limit:
        raise InputError(
            f"{path}: values {largest:g} from {source['offset']:g}, this program's integers end at "
            f"{limit:g}"
        )


class Results:
    """A folder of arrays that appears whole or not at all.

    ``scratch`` is a folder for recordings, beside the result and gone with it.
    """

    def __init__(self, out: Path) -> None:
        self.out = out.absolute()
        if self.out.exists() and not self._replaceable():
            raise InputError(f"{out}: exists and holds no earlier run; name another folder")
        self.out.parent.mkdir(parents=True, exist_ok=True)

    def _replaceable(self) -> bool:
        if not self.out.is_dir():
            return False
        return (self.out / RESULT).is_file() or not any(self.out.iterdir())

    def __enter__(self) -> Results:
        # Beside the result, so that renaming it into place is one step of the file system.
        self.work = Path(tempfile.mkdtemp(prefix=f".{self.out.name}.", dir=self.out.parent))
        self.ready, self.scratch = self.work / "ready", self.work / "scratch"
        for folder in (self.ready, self.scratch):
            folder.mkdir(parents=True)
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.work, ignore_errors=True)

    def add(self, name: str, values: np.ndarray) -> None:
        """Keep an array as ``name.npy``; a name may hold any character."""
        *folders, last = name.split("/", 1)
        # Layers have names such as layer1/0, which a file cannot have.
        path = self.ready.joinpath(*folders, quote(last, safe=" ") + ".npy")
        path.parent.mkdir(exist_ok=True)
        np.save(path, values)

    def publish(self, summary: dict[str, Any]) -> None:
        """Write the summary, and put the finished folder in its place."""
        (self.ready / RESULT).write_text(json.dumps(summary, indent=1) + "\n")
        if self.out.exists():
            self.out.rename(self.work / "old")
        self.ready.rename(self.out)
