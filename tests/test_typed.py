"""What a type checker outside of the clone sees of an editable install."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
BUILD = "from setuptools.build_meta import build_editable; build_editable('..')"
USE = """
import seenn_deploy as sd

files = sd.example()
program = sd.compile(sd.import_model(files.network, T=4), sd.exits.Confidence(0.9))
run: sd.RunResult = sd.simulate(program, files.images)
run.no_such_figure
"""


def test_the_types_are_found_from_elsewhere(tmp_path: Path) -> None:
    """py.typed counts and the types are real: mypy complains about the last line alone."""
    clone = tmp_path / "clone"
    shutil.copytree(ROOT / "seenn_deploy", clone / "seenn_deploy")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, clone)
    _run(sys.executable, "-c", BUILD, at=clone)
    _run(sys.executable, "-m", "venv", "--without-pip", "venv", at=tmp_path)
    python = tmp_path / "venv" / "bin" / "python"
    packages = _run(
        str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", at=tmp_path
    )
    (wheel,) = tmp_path.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(packages.strip())
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "use.py").write_text(USE)
    said = _run(
        sys.executable, "-m", "mypy", "--strict", "--cache-dir", os.devnull,
        "--python-executable", str(python), "use.py", at=elsewhere, code=1,
    )  # fmt: skip
    assert said.splitlines() == [
        'use.py:7: error: "RunResult" has no attribute "no_such_figure"  [attr-defined]',
        "Found 1 error in 1 file (checked 1 source file)",
    ]


def _run(*command: str, at: Path, code: int = 0) -> str:
    """Standard output of a command that does not know where this clone is."""
    outside = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=at, env=outside, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout
