"""Formats that can run wild are read in a child process with limits on time and memory.

One flipped byte lets HDF5 loop forever, a file of some kB asks it for gigabytes, and a node of an
ONNX file can compute as much as it likes. So a module of ours opens such a file in a process of its
own: :func:`read` starts it, and the module ends in :func:`answer`. What comes back are JSON values
and the bytes of arrays, never a pickle, because it was made from a file that nobody vouches for.

The limit on memory needs Linux. macOS holds the child to its processor time, and Windows, which has
neither limit, to the time on the clock after which every system ends it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np

from seenn_deploy._typing import Array
from seenn_deploy.errors import ModelError

try:
    import resource
except ModuleNotFoundError:  # Windows
    resource = None  # type: ignore[assignment]

MIB = 1 << 20
CONTENT, RATIO = 256 * MIB, 16  # what a file may hold: so much, and so many times its size
SECONDS, PACE = 5, 16 * MIB  # of processor time: so many, and one for every 16 MiB
_TOO_LONG = -24  # how a process ends that took its processor time: by SIGXCPU
_MEMORY = Path("/proc/self/statm")  # pages that the process has mapped


def read(module: str, path: Path, missing: str, doing: str = "reading it", **given: Any) -> Any:
    """Let a module of ours read a file in a child process.

    Parameters
    ----------
    module : str
        The module, which ends in :func:`answer`.
    path : Path
    missing : str
        What to say where a package is not installed.
    doing : str
        What the module does with the file, for the error that says that it broke off.
    **given
        Further arguments for the module's function: JSON values and arrays. If `seconds` of
        processor time are among them, it may take them beyond what the file's size allows.

    Raises
    ------
    ModelError
        When the file cannot be read, or not within the limits.
    """
    if not path.is_file():
        raise ModelError(f"{path}: no such file")
    # The child imports from where this process does, and needs no threads for a file.
    here, home = os.getcwd(), str(Path(__file__).resolve().parents[2])
    places = [os.path.abspath(place) for place in sys.path if place]
    paths = os.pathsep.join([home, *(place for place in places if place != here)])
    settings = {"PYTHONPATH": paths, "OPENBLAS_NUM_THREADS": "1", "HDF5_PLUGIN_PRELOAD": "::"}
    # Its present folder is an empty one, because Python looks there first for what is imported.
    with tempfile.TemporaryDirectory() as empty, tempfile.TemporaryFile() as out:
        command = [sys.executable, "-m", module, os.path.abspath(path)]
        if given:
            command.append(os.path.join(empty, "given"))
            with open(command[-1], "wb") as file:
                _write(file, "value", given)
        seconds = _seconds([path]) + given.get("seconds", 0)
        code = _run(command, settings, empty, out, 60 + 6 * seconds)
        if code:
            said = f"{doing} {_broken_off(code)}, so it is damaged"
            raise ModelError(f"{path}: {said}; export it again")
        out.seek(0)
        head = json.loads(out.readline())
        if "missing" in head:
            raise ModelError(f"{path}: {missing}")
        if "error" in head:
            raise ModelError(f"{path}: {head['error']}")
        return _unpacked(head["value"], out)


def _run(
    command: list[str], settings: dict[str, str], cwd: str, out: IO[bytes], seconds: float
) -> int:
    try:
        return subprocess.run(
            command,
            cwd=cwd,
            env=os.environ | settings,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.DEVNULL,
            timeout=seconds,
            check=False,
        ).returncode
    except subprocess.TimeoutExpired:
        return _TOO_LONG


def _broken_off(code: int) -> str:
    """Say how a reader ended that did not come to an end of its own."""
    if code == _TOO_LONG:
        return "takes longer than its size allows"
    names = {-sign: sign.name for sign in signal.Signals}
    return f"breaks off ({names.get(code, f'exit code {code}')})"


def _unpacked(value: Any, file: IO[bytes]) -> Any:
    """Take the arrays of what :func:`_packed` made from a file, in which they follow in order."""
    if not isinstance(value, list):
        return value
    kind, content, *more = value
    if kind == "dict":
        return {key: _unpacked(item, file) for key, item in content.items()}
    if kind == "list":
        return [_unpacked(item, file) for item in content]
    dtype, shape = content, more[0]
    array = np.fromfile(file, np.dtype(dtype), prod(shape)).reshape(shape)
    return array[()] if more[1] else array


# --- the child's side ----------------------------------------------------------------------------


def answer(contents: Callable[..., Any]) -> None:
    """Write what the file that the command line names holds to the standard output, or an error.

    Parameters
    ----------
    contents : function of a path, and of what :func:`read` was given
        It imports what it needs, calls :func:`limit` and returns dicts, lists, strings, numbers
        and arrays; or raises ModelError without naming the file.
    """
    path, given = Path(sys.argv[1]), {}
    if len(sys.argv) > 2:
        with open(sys.argv[2], "rb") as file:
            given = _unpacked(json.loads(file.readline())["value"], file)
    found: tuple[str, Any]
    try:
        found = "value", contents(path, **given)
    except ImportError:
        found = "missing", True
    except ModelError as error:
        found = "error", str(error)
    except MemoryError:
        found = "error", f"holds more than {allowed([path]) // MIB} MiB; export it again"
    _write(sys.stdout.buffer, *found)


def limit(files: list[Path], seconds: int = 0, memory: int = 0) -> None:
    """Limit this process to the time and memory that reading `files` may take from now on.

    `seconds` and bytes of `memory` are added to what the files' sizes allow.
    """
    if resource is None:
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    most = int(used.ru_utime + used.ru_stime) + 1 + _seconds(files) + seconds
    _lower(resource.RLIMIT_CPU, most)
    _lower(resource.RLIMIT_CORE, 0)
    if _MEMORY.exists():
        held = int(_MEMORY.read_text().split()[0]) * resource.getpagesize()
        # Twice, for what a library holds beside what it hands out.
        _lower(resource.RLIMIT_AS, held + 2 * (allowed(files) + memory))


def _lower(what: int, most: int) -> None:
    """Set a soft limit; the hard one stays, so that a file may allow more once it was looked at."""
    _, hard = resource.getrlimit(what)
    resource.setrlimit(what, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def allowed(files: list[Path]) -> int:
    """Return the bytes that the content of `files` may take once it is unpacked."""
    return CONTENT + RATIO * sum(file.stat().st_size for file in files)


def _seconds(files: list[Path]) -> int:
    return SECONDS + sum(file.stat().st_size for file in files) // PACE


def _write(file: IO[bytes], key: str, value: Any) -> None:
    """Write a value as a line of JSON, and its arrays behind it."""
    arrays = list[Array]()
    file.write(json.dumps({key: _packed(value, arrays)}).encode() + b"\n")
    for array in arrays:
        file.write(np.ascontiguousarray(array).data)


def _packed(value: Any, arrays: list[Array]) -> Any:
    """JSON values, in which lists stand for dicts, lists and arrays; those go to `arrays`."""
    if isinstance(value, dict):
        return ["dict", {key: _packed(item, arrays) for key, item in value.items()}]
    if isinstance(value, list | tuple):
        return ["list", [_packed(item, arrays) for item in value]]
    if isinstance(value, np.ndarray | np.generic):
        arrays.append(np.asarray(value))
        return ["array", arrays[-1].dtype.str, value.shape, isinstance(value, np.generic)]
    return value
