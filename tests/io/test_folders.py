"""Output folders: what we wrote is replaced on demand, what we did not write is never touched."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

import pytest

from seenn_deploy.errors import ProgramError
from seenn_deploy.io import folders

KIND = folders.Kind("a thing", "thing.json", "seenn-deploy thing", ("body.bin", "rule.bin"))


def write(out: Path, *files: str, force: bool = False, text: str = "ours") -> None:
    with folders.new_folder(out, KIND, force) as work:
        folders.write_json(work / "thing.json", {"format": KIND.format})
        for name in files:
            folders.write_file(work / name, text)


def tree(folder: Path) -> dict[str, str]:
    found = (p for p in folder.rglob("*") if p.is_file() and p.name != "thing.json")
    return {p.relative_to(folder).as_posix(): p.read_text() for p in found}


def test_nothing_is_replaced_without_force(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write(out, "body.bin", "lava/run.py")
    with pytest.raises(ProgramError, match=r"holds a thing already.*--force"):
        write(out, "body.bin", text="new")
    assert tree(out) == {"body.bin": "ours", "lava/run.py": "ours"}


def test_force_replaces_ours_and_keeps_the_rest(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write(out, "body.bin", "rule.bin", "lava/run.py", "lava/old/stale.py", "nir/network.nir")
    theirs = {"notes.txt": "a week", "run/run.json": "{}", "lava/out/result.npz": "spikes",
              "nir/mine.txt": "mine"}  # fmt: skip
    for name, content in theirs.items():
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_text(content)
    write(out, "body.bin", "lava/run.py", "lava/new.py", force=True, text="new")
    fresh = dict.fromkeys(("body.bin", "lava/run.py", "lava/new.py"), "new")
    assert tree(out) == {**fresh, **theirs, "nir/network.nir": "ours"}  # another target stays
    assert not (out / "lava/old").exists()
    write(out, "nir/network.nir", force=True, text="third")  # and is still known as ours
    del fresh["body.bin"]
    assert tree(out) == {**fresh, **theirs, "nir/network.nir": "third"}
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("name", ["lava/run.py", "lava"])
def test_a_file_of_others_in_the_way_is_left_alone(tmp_path: Path, name: str) -> None:
    out = tmp_path / "out"
    write(out, "body.bin")
    (out / name).parent.mkdir(exist_ok=True)
    (out / name).write_text("mine")
    with pytest.raises(ProgramError, match=rf"{name}: was not written by seenn-deploy"):
        write(out, "body.bin", "lava/run.py", force=True, text="new")
    assert tree(out) == {"body.bin": "ours", name: "mine"}
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_manifest_names_nothing_outside_its_folder(tmp_path: Path) -> None:
    out, outside = tmp_path / "out", tmp_path / "outside.txt"
    outside.write_text("mine")
    write(out, "body.bin")
    folders.write_json(
        out / "thing.json", {"format": KIND.format, "written": ["../outside.txt", str(outside)]}
    )
    write(out, "body.bin", force=True)
    assert outside.read_text() == "mine"


@pytest.mark.parametrize("force", [False, True])
def test_a_folder_of_another_kind_is_never_touched(tmp_path: Path, force: bool) -> None:
    (tmp_path / "thesis.tex").write_text("years")
    with pytest.raises(ProgramError, match="left alone"):
        write(tmp_path, "body.bin", force=force)
    assert tree(tmp_path) == {"thesis.tex": "years"}


def test_errors_name_the_file_that_was_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left") as error:
        folders.write_file(tmp_path / "figures.json", "{}")
    assert error.value.filename == str(tmp_path / "figures.json")
    with pytest.raises(OSError, match="No space left") as error:
        write(tmp_path / "out", "body.bin")
    assert error.value.filename == str(tmp_path / "out" / "thing.json")
    assert not [*tmp_path.iterdir()]


def test_a_place_that_cannot_be_written_is_told_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also to root, who has every permission on a file system that is read-only."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with pytest.raises(ProgramError) as error:
        folders.check_ours(tmp_path / "a" / "b", KIND)
    told = f"{tmp_path / 'a' / 'b'}: {tmp_path} may not be written to (Read-only file system)"
    assert str(error.value) == f"{told}; name another place"
