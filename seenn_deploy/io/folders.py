"""Output folders that appear whole or not at all, and are only ever replaced when they are ours."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from seenn_deploy.errors import ProgramError

FORMAT = "seenn-deploy program"
MANIFEST = "program.json"


@contextmanager
def new_folder(out: Path, manifest: str = MANIFEST, file_format: str = FORMAT) -> Iterator[Path]:
    """A temporary folder beside `out` that takes its place when the block ends without an error.

    Parameters
    ----------
    out : Path
    manifest, file_format : str
        The JSON file that marks a folder of this kind, and what its ``format`` says.

    Raises
    ------
    ProgramError
        When `out` exists and was not written by seenn-deploy.
    """
    out = Path(os.path.realpath(out))
    check_ours(out, manifest, file_format)
    out.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    work.chmod(0o755)
    try:
        yield work
        if out.exists():
            old = work.with_name(work.name + ".old")
            out.rename(old)
            try:
                work.rename(out)
            except BaseException:
                old.rename(out)
                raise
            shutil.rmtree(old)
        else:
            work.rename(out)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise


def check_ours(out: Path, manifest: str = MANIFEST, file_format: str = FORMAT) -> None:
    """Raise ProgramError unless `out` is missing, empty, or a folder of ours of the same kind."""
    check_writable(out)
    if not out.exists():
        return
    if not out.is_dir():
        raise ProgramError(f"{out}: is a file; name a new folder with -o")
    if any(out.iterdir()) and not _is_ours(out, manifest, file_format):
        raise ProgramError(
            f"{out}: exists and was not written by seenn-deploy (no {manifest} of ours), so it is "
            "left alone; name another folder with -o/--out"
        )


def _is_ours(folder: Path, manifest: str, file_format: str) -> bool:
    try:
        return bool(json.loads((folder / manifest).read_text())["format"] == file_format)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def check_writable(path: Path) -> None:
    """Raise ProgramError where a file or folder `path` could not be written."""
    held = next(p for p in Path(os.path.abspath(path)).parents if p.exists())
    if not held.is_dir():
        raise ProgramError(f"{path}: {held} is a file, no folder; name another place")
    if not path.exists() and not os.access(held, os.W_OK | os.X_OK):
        raise ProgramError(f"{path}: {held} may not be written to; name another place")


def write_file(path: Path, content: bytes | str) -> None:
    """Write `path` whole or not at all; into a pipe or device that it names."""
    content = content.encode() if isinstance(content, str) else content
    if Path(path).exists() and not Path(path).is_file():
        Path(path).write_bytes(content)
        return
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any) -> None:
    """Write JSON, indented, whole or not at all."""
    write_file(path, json.dumps(value, indent=1) + "\n")


def sha256(path: Path) -> str:
    """Checksum of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return (
            hashlib.file_digest(file, "sha256").hexdigest()
            if hasattr(hashlib, "file_digest")
            else hashlib.sha256(file.read()).hexdigest()
        )
