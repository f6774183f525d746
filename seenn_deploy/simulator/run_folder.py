"""Results on disk while a run goes on, so that a run that was cut off can go on later.

A run folder holds ``run.json``, which says what was run on which data, and one ``.npy`` per result
array, which is mapped into memory and written as samples finish. A sample counts as finished when
its last value is stored; what a cut-off run left of other samples is cleared and computed again.

One process writes at a time: it holds a lock on ``run.json``, which its end releases, however it
ends. The disk space is reserved before the first sample, because a write into mapped memory that
finds no space left would kill the process without a word.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields, replace
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np

from seenn_deploy._typing import Array
from seenn_deploy.costs.model import LayerSizes
from seenn_deploy.errors import DataError, ProgramError
from seenn_deploy.io import folders
from seenn_deploy.io.images.image_set import Images, ImageSet
from seenn_deploy.io.images.remote import place
from seenn_deploy.ir.inputs import for_program
from seenn_deploy.ir.inspection import description
from seenn_deploy.ir.program import Program
from seenn_deploy.simulator import result as runs

try:
    import fcntl
except ModuleNotFoundError:  # Windows
    fcntl = None  # type: ignore[assignment]

_PER_SAMPLE = ("logits", "exit_step", "finished", "labels", "length")
_COUNTED = tuple(field.name for kind in (runs.Counts, LayerSizes) for field in fields(kind))
FOLDER = folders.Kind(
    "a run", runs.MANIFEST, runs.FORMAT, tuple(f"{name}.npy" for name in (*_PER_SAMPLE, *_COUNTED))
)
# So many images, the first and last among them, tell whether a run goes on with the same data.
CHECKED = 9
_PIECE = 1 << 20
_KEPT = 1 << 24  # bytes of results that stay in a process's memory while it runs


@contextmanager
def begin(
    folder: Path,
    program: Program,
    data: ImageSet,
    options: dict[str, Any],
    resume: bool,
    force: bool = False,
) -> Iterator[tuple[runs.RunResult, Array]]:
    """Make a run folder, or open one to go on with, and hold it while the run lasts.

    Parameters
    ----------
    folder : Path
    program : Program
    data : ImageSet
    options : dict
        Options of ``simulate`` that change results.
    resume : bool
        Whether to go on with a folder that exists.
    force : bool
        Whether to begin anew in a folder that holds a run; files of others there stay.

    Yields
    ------
    RunResult
        The results; their arrays lie in the folder.
    bool array (N,)
        Whether each sample is finished.

    Raises
    ------
    ProgramError
        When the folder exists and neither `resume` nor `force` is asked for, it belongs to
        another run, another process writes to it, or the disk has no space for it.
    """
    if fcntl is None:
        raise ProgramError(f"{folder}: a run folder cannot be locked on this system; leave it out")
    described = _describe(program, data, options)
    used = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
    if used and force and (folder / runs.MANIFEST).is_file():
        with _lock(folder):
            pass  # another process that writes there is refused before anything is replaced
    if used and not force:
        stored = runs._read_manifest(folder)
        if not resume:
            finished = _finished(folder, stored["run"]["samples"])
            raise ProgramError(
                f"{folder}: holds a run, {np.count_nonzero(finished)} of {len(finished)} samples "
                "finished; add --resume to go on or --force to begin anew, or name another folder"
            )
        _check_same(folder, stored, described)
    else:
        _create(folder, program, data, described, force)
    with _lock(folder):
        result, finished = runs._open(folder, data.labels, "r+"), _finished(folder, len(data))
        finished[(result.exit_step < 1) | (result.exit_step > program.T)] = False
        # Where it has the same timesteps, a run is told under the schedule that is asked for now.
        result = replace(result, timing=program.timing, length=data.length)
        if used and not force:  # a new folder holds nothing
            _clear(result, ~finished)
            runs.let_go(*result.stored)
        yield result, finished


def letting_go(
    result: runs.RunResult, advance: Callable[[int], None] | None
) -> Callable[[int], None]:
    """Return `advance` that also takes what was written out of this process's memory at times."""
    row = sum(array.nbytes for array in result.stored) // max(1, len(result.exit_step))
    written = 0

    def told(samples: int) -> None:
        nonlocal written
        written += samples * row
        if written >= _KEPT:
            written = 0
            runs.let_go(*result.stored)
        if advance is not None:
            advance(samples)

    return told


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Hold a run folder; the system lets go of it when the process ends, also by a kill."""
    with open(folder / runs.MANIFEST, "rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ProgramError(
                f"{folder}: another process writes to this run; wait for it, or name another folder"
            ) from None
        yield


def _finished(folder: Path, samples: int) -> Array:
    return runs._checked(folder, "finished", "r+", (samples,), np.bool_)


def _clear(result: runs.RunResult, samples: Array) -> None:
    """Undo what a cut-off run stored of samples that it did not finish."""
    if samples.any():
        result.logits[samples] = np.nan
        result.exit_step[samples] = 0
        for _, counted in result.counts.items():
            counted[samples] = 0


def _describe(program: Program, data: ImageSet, options: dict[str, Any]) -> dict[str, Any]:
    """Describe the program and the data; both have to be the same for a run to go on."""
    return {
        "program": program.fingerprint,
        "exit_rule": program.exit_rule.to_dict(),
        "samples": len(data),
        "images": digest(data),
        **program.made_with,
        **options,
    }


def digest(data: ImageSet) -> str:
    """Return sixteen hexadecimal digits that tell the images of a run from others."""
    some = np.unique(np.linspace(0, len(data) - 1, CHECKED).astype(int))  # all would be read twice
    found = hashlib.sha256(b"".join(data.take(i, i + 1).tobytes() for i in some))
    if data.labels is not None:
        found.update(data.labels.tobytes())
    if data.length is not None:
        found.update(data.length.tobytes())
    return found.hexdigest()[:16]


def _place(data: ImageSet) -> dict[str, Any]:
    """Say where images lie and how they were read, so that a later command can read them again."""
    # A path that a user gives is often one from the folder where the command ran.
    where = data.place and place(data.place)
    path = str(where.resolve()) if isinstance(where, Path) else data.place
    return {"path": path, "mean": data.spec.mean, "std": data.spec.std}


def images_of(folder: str | Path, program: Program, data: Images | None = None) -> ImageSet:
    """Open the images of a run, to run them once more.

    Parameters
    ----------
    folder : path
        Of the run.
    program : Program
        The one that ran.
    data : image set, path, or array, optional
        The images, where they are no longer in the place that the folder tells.

    Raises
    ------
    ProgramError
        When the folder holds no run, or one of another program.
    DataError
        When there are no images, or others than those that ran.
    """
    folder = Path(folder)
    stored = runs._read_manifest(folder)
    run = stored["run"]
    check_program(str(folder), run.get("program"), program)
    if data is None:
        data = _reopened(folder, program, stored.get("data") or {})
    found = for_program(program, data, limit=run["samples"])
    check_images(str(folder), run["samples"], str(run.get("images")), found)
    return found


def _reopened(folder: Path, program: Program, told: dict[str, Any]) -> ImageSet:
    """Open what `_place` told of a run's images."""
    path = str(told.get("path", ""))
    if not path:
        raise DataError(f"{folder}: its images came as an array; name them with --data")
    try:
        return for_program(program, path, mean=told["mean"], std=told["std"])
    except DataError as error:
        raise DataError(
            f"{folder}: its images are no longer at {path} ({error}); name them with --data"
        ) from None


def check_program(run: str, ran: str | None, program: Program) -> None:
    """Refuse another program than the one, by its fingerprint, that a run is of."""
    if ran != program.fingerprint:
        raise ProgramError(
            f"{run}: is a run of program {ran}, not of {program.fingerprint}; name the program "
            "that ran"
        )


def check_images(run: str, samples: int, wanted: str, data: ImageSet) -> None:
    """Refuse other images than those, by number and digest if it is known, that a run is of."""
    if len(data) != samples or (wanted and digest(data) != wanted):
        raise DataError(f"{data.name}: not the {samples} images of the run {run}")


def _create(
    folder: Path, program: Program, data: ImageSet, described: dict[str, Any], force: bool
) -> None:
    graph, n, T = program.graph, len(data), program.T
    layers = [layer.name for layer in graph.layers]
    sizes = LayerSizes.of(graph)
    with folders.new_folder(folder, FOLDER, force) as work:
        logits = _new(work, "logits", np.float64, n, T, graph.readout.shape[0])
        for first in range(0, n, runs.PART):  # of a thousand classes it is a gigabyte
            logits[first : first + runs.PART] = np.nan
            runs.let_go(logits)
        _new(work, "exit_step", np.int64, n)
        _new(work, "finished", np.bool_, n)
        for field in fields(runs.Counts):
            _new(work, field.name, np.int64, n, len(layers), T)
        if data.labels is not None:
            np.save(work / "labels.npy", data.labels)
        if data.length is not None:
            np.save(work / "length.npy", data.length)
        for field in fields(LayerSizes):
            np.save(work / f"{field.name}.npy", getattr(sizes, field.name))
        stored = {
            "format": runs.FORMAT,
            "version": runs.VERSION,
            "layers": layers,
            "run": described,
            "timing": asdict(program.timing),
            "not_proven": program.provenance.not_proven,
            "data": _place(data),
            "about": description(program),
        }
        folders.write_manifest(work / runs.MANIFEST, stored)


def _new(folder: Path, name: str, kind: Any, *shape: int) -> Array:
    """An array in a file of its own, with all its space reserved."""
    path = folder / f"{name}.npy"
    try:
        array = np.lib.format.open_memmap(path, "w+", kind, shape)
        with open(path, "r+b") as file:
            _reserve(file, os.path.getsize(path))
    except OSError as error:
        size = prod(shape) * np.dtype(kind).itemsize
        raise ProgramError(
            f"{folder.parent}: no space for a run's {name}, {size:,} bytes ({error.strerror}); "
            "free some, or name a folder on another disk"
        ) from None
    return array


def _reserve(file: IO[bytes], size: int) -> None:
    """Take disk space for the zeros that a new file of this size consists of."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
        return
    for at in range(0, size, _PIECE):  # macOS has no such call: what is written takes space
        file.seek(at)
        piece = file.read(_PIECE)
        file.seek(at)
        file.write(piece)


def _check_same(folder: Path, stored: dict[str, Any], described: dict[str, Any]) -> None:
    # Earlier releases ended every sample at its exit, and had one engine.
    run = {"wasted": False, "engine": "", **stored["run"]}
    for name, value in json.loads(json.dumps(described)).items():
        if run.get(name) != value:
            raise ProgramError(
                f"{folder}: is a run with {name} {run.get(name)}, not {value}; name another folder"
            )
