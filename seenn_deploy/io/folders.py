"""Output folders that appear whole or not at all, and lose nothing that we did not write."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seenn_deploy.errors import ProgramError
from seenn_deploy.fidelity import REPORT


@dataclass(frozen=True)
class Kind:
    """A kind of output folder.

    Parameters
    ----------
    name : str
        For messages: "a program".
    manifest, format : str
        The JSON file that marks such a folder, and what its ``format`` says.
    files : tuple of str
        What else we write on its top level. Files in its subfolders are listed in the manifest.
    """

    name: str
    manifest: str
    format: str
    files: tuple[str, ...] = ()

    def read(self, folder: Path) -> dict[str, Any] | None:
        """The manifest of a folder of this kind, None of any other folder."""
        try:
            found: dict[str, Any] = json.loads((folder / self.manifest).read_text(encoding="utf-8"))
            return found if found["format"] == self.format else None
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None


FORMAT = "seenn-deploy program"
MANIFEST = "program.json"
CHECKSUM = "checksum"  # key of a manifest: SHA-256 of everything else in it
WRITTEN = "written"  # key of a manifest: what we wrote into subfolders, with / between


@contextmanager
def new_folder(out: Path, kind: Kind, force: bool = False) -> Iterator[Path]:
    """A temporary folder beside `out` that takes its place when the block ends without an error.

    With `force`, files of an earlier folder of the same kind are replaced: those on its top level,
    and those in the subfolders that are written now. Everything else that lies there stays.

    Parameters
    ----------
    out : Path
    kind : Kind
    force : bool

    Raises
    ------
    ProgramError
        When `out` holds anything, unless it is of the same `kind` and `force` is given; or when
        a file that we did not write is in the way.
    """
    out = Path(os.path.realpath(out))
    check_ours(out, kind, force)
    out.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    work.chmod(0o755)
    try:
        yield work
        _replace(out, work, kind)
    except OSError as error:
        shutil.rmtree(work, ignore_errors=True)
        if error.errno is None:
            raise
        where = str(error.filename or out).replace(str(work), str(out), 1)
        raise OSError(error.errno, error.strerror, where) from error
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise


def _replace(out: Path, work: Path, kind: Kind) -> None:
    """Put `work` in the place of `out`, and what else lay there into it."""
    new = {p.relative_to(work).as_posix() for p in work.rglob("*") if not p.is_dir()}
    nested = {file for file in new if "/" in file}
    rewritten = {file.partition("/")[0] for file in nested}
    before = kind.read(out) or {}
    listed = {
        file
        for file in before.get(WRITTEN, ())
        if not Path(file).is_absolute() and ".." not in Path(file).parts
    }
    ours = {kind.manifest, *kind.files, *listed}
    stay = {file for file in ours if "/" in file and file.partition("/")[0] not in rewritten}
    for file in sorted(new):
        _check_free(out, file, ours)
    if nested or stay:
        manifest = json.loads((work / kind.manifest).read_text(encoding="utf-8"))
        write_manifest(work / kind.manifest, manifest | {WRITTEN: sorted(nested | stay)})
    if not out.exists():
        work.rename(out)
        return
    old = work.with_name(work.name + ".old")
    out.rename(old)
    try:
        work.rename(out)
    except BaseException:
        old.rename(out)
        raise
    for file in (ours - stay) | new:
        (old / file).unlink(missing_ok=True)
    _merge(old, out)


def _check_free(out: Path, file: str, ours: set[str]) -> None:
    """Raise ProgramError where something that is not ours lies in the way of a file."""
    top = file.partition("/")[0]
    known = file in ours or (top != file and (out / top / REPORT).is_file())  # before WRITTEN was
    for path in (out / file, *(out / file).parents):
        if path == out:
            break
        folder = path.is_dir() and not path.is_symlink()
        free = not os.path.lexists(path) or (known and not folder if path == out / file else folder)
        if not free:
            raise ProgramError(
                f"{path}: was not written by seenn-deploy, so it is left alone; move it away, or "
                "name another folder with -o/--out"
            )


def _merge(old: Path, out: Path) -> None:
    """Move what is left in `old` into `out`, a whole subfolder where `out` has none of the name."""
    for path in old.iterdir():
        if path.is_dir() and not path.is_symlink() and (out / path.name).is_dir():
            _merge(path, out / path.name)
        elif path.is_dir() and not any(path.iterdir()):
            path.rmdir()
        else:
            path.rename(out / path.name)
    old.rmdir()


def check_ours(out: Path, kind: Kind, force: bool = False) -> None:
    """Raise ProgramError unless `out` is missing or empty, or `force` and of the same kind."""
    check_writable(out)
    if not out.exists():
        return
    if not out.is_dir():
        raise ProgramError(f"{out}: is a file; name a new folder with -o/--out")
    if not any(out.iterdir()):
        return
    if kind.read(out) is None:
        raise ProgramError(
            f"{out}: exists and was not written by seenn-deploy (no {kind.manifest} of ours), so "
            "it is left alone; name another folder with -o/--out"
        )
    if not force:
        raise ProgramError(
            f"{out}: holds {kind.name} already; replace it with --force (in Python force=True), "
            "which keeps all other files there, or name another folder with -o/--out"
        )


def check_writable(path: Path) -> None:
    """Raise ProgramError where a file or folder `path` could not be written."""
    held = next(p for p in Path(os.path.abspath(path)).parents if p.exists())
    if not held.is_dir():
        raise ProgramError(f"{path}: {held} is a file, no folder; name another place")
    if path.exists():
        return
    try:
        # Permissions say too little: root has all of them, on file systems that are read-only too.
        tempfile.TemporaryFile(dir=held).close()
    except OSError as error:
        raise ProgramError(
            f"{path}: {held} may not be written to ({error.strerror}); name another place"
        ) from None


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
    except BaseException as error:
        Path(name).unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno is not None:
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


def write_json(path: Path, value: Any) -> None:
    """Write JSON, indented, whole or not at all."""
    write_file(path, json.dumps(value, indent=1) + "\n")


def write_manifest(path: Path, manifest: dict[str, Any]) -> None:
    """Write a folder's manifest with its own checksum."""
    plain = json.loads(json.dumps(manifest))  # as it will be read, keys and lists included
    write_json(path, plain | {CHECKSUM: _digest(plain)})


def check_manifest(path: Path, manifest: dict[str, Any], *, edited: bool = True) -> None:
    """Raise ProgramError where a manifest was changed after it was written.

    Manifests of earlier versions have no checksum. `edited` says that one is used without, too.
    """
    if CHECKSUM in manifest and manifest[CHECKSUM] != _digest(manifest):
        without = f', or delete its line "{CHECKSUM}" to use it as you edited it' if edited else ""
        raise ProgramError(
            f"{path}: was changed after it was written (its checksum differs); make it again"
            f"{without}"
        )


def _digest(manifest: dict[str, Any]) -> str:
    rest = {key: value for key, value in manifest.items() if key != CHECKSUM}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def sha256(path: Path) -> str:
    """Checksum of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return (
            hashlib.file_digest(file, "sha256").hexdigest()
            if hasattr(hashlib, "file_digest")
            else hashlib.sha256(file.read()).hexdigest()
        )
