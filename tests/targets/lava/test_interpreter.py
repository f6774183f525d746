"""Where the Lava interpreter is looked for, and what is said when there is none."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from seenn_deploy.errors import DeviceError
from seenn_deploy.targets.lava import interpreter


def script(path: Path, body: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No variable, no lava here, an empty home."""
    monkeypatch.delenv("SEENN_LAVA_PYTHON")
    monkeypatch.setenv("SEENN_LAVA_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(
        interpreter, "find_spec", lambda name: None if "lava" in name else find_spec(name)
    )
    return tmp_path / "home"


def test_found_by_the_variable(lava: Path) -> None:
    found = interpreter.find()
    assert (found.python, found.lava_version) == (lava, "0.10.0")
    assert found.how == "SEENN_LAVA_PYTHON"


def test_none_at_all_names_the_remedy(nowhere: Path) -> None:
    with pytest.raises(DeviceError, match=r"no Lava interpreter: .* seenn setup-lava$") as error:
        interpreter.find()
    assert str(nowhere) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_script_called_lava_is_not_lava(
    nowhere: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lava.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(interpreter, "find_spec", find_spec)
    monkeypatch.setitem(sys.modules, "lava", None)  # put back as it was when the test ends
    del sys.modules["lava"]
    with pytest.raises(DeviceError, match="seenn setup-lava"):
        interpreter.find()
    assert sys.modules["lava"].__file__ == str(tmp_path / "lava.py")


def test_nor_where_the_interpreter_is_asked(
    lava: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lava.py").write_text("raise SystemExit('not this one')")
    monkeypatch.chdir(tmp_path)
    assert interpreter.check(lava, "in a folder with lava.py").lava_version == "0.10.0"


def test_found_in_the_home_that_setup_made(nowhere: Path, lava: Path) -> None:
    script(nowhere / "bin" / "python", f'exec "{lava}" "$@"')
    with pytest.raises(DeviceError, match="no Lava interpreter"):
        interpreter.find()  # no marker yet: not complete
    (nowhere / interpreter.MARKER).write_text("")
    assert interpreter.find().python == nowhere / "bin" / "python"
    assert interpreter.setup_lava().python == nowhere / "bin" / "python"


def test_the_home_follows_the_caches_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SEENN_LAVA_HOME", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert interpreter.home() == Path("/somewhere/seenn-deploy/lava")


def test_a_wrong_version_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = script(tmp_path / "python", "echo 0.9.0")
    monkeypatch.setenv("SEENN_LAVA_PYTHON", str(old))
    with pytest.raises(DeviceError, match=r"has lava-nc 0\.9\.0, this needs 0\.10\.0"):
        interpreter.find()


@pytest.mark.parametrize(
    ("body", "says"),
    [("echo No module named lava >&2; exit 1", "No module named lava"), (None, "does not run")],
)
def test_a_python_without_lava(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str | None, says: str
) -> None:
    path = tmp_path / "python" if body is None else script(tmp_path / "python", body)
    monkeypatch.setenv("SEENN_LAVA_PYTHON", str(path))
    with pytest.raises(DeviceError, match=says):
        interpreter.find()


def test_a_shim_that_fails_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = script(tmp_path / "shims" / "python3.10", "echo not installed >&2; exit 127")
    good = script(tmp_path / "bin" / "python3.10", "echo 3.10")
    monkeypatch.setenv("PATH", f"{broken.parent}{os.pathsep}{good.parent}{os.pathsep}/bin")
    found, version = interpreter._base_python(None, lambda line: None)
    assert version == "3.10"
    assert found == good or found == Path(sys.executable)


def test_what_setup_cannot_use(tmp_path: Path) -> None:
    old = script(tmp_path / "python3.8", "echo 3.8")
    with pytest.raises(DeviceError, match=r"3\.8; lava-nc needs Python 3\.10"):
        interpreter.setup_lava(tmp_path / "new", python=str(old))
    with pytest.raises(DeviceError, match="is no environment; name another folder"):
        interpreter.setup_lava(tmp_path)
    assert old.exists()
