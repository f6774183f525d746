"""README, tutorial and guides as a reader follows them: every block in order, in an empty folder.

The folder has what a clone has under ``examples/``, the terminal 80 columns. What a page shows as
output has to come out; a line of three dots stands for what it leaves out. ``sh`` blocks are
installation and hardware that is elsewhere, and are not run.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import seenn_deploy as sd

ROOT = Path(__file__).parent.parent
PAGES = ["README.md", "docs/tutorial.md"]
GUIDES = sorted(str(page.relative_to(ROOT)) for page in ROOT.glob("docs/guides/*.md"))
BLOCK = re.compile(r"(?:`([\w./-]+)`:\n\n)?^```(\w+)\n(.*?)^```$", re.S | re.M)


def _run(folder: Path, *command: str) -> str:
    """What a command prints, in a terminal of 80 columns that has the environment's commands."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    quiet = {"PATH": path, "COLUMNS": "80", "LOGURU_LEVEL": "ERROR", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        command, check=False, cwd=folder, env=os.environ | quiet, text=True, timeout=300,
        capture_output=True,
    )  # fmt: skip
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def _commands(block: str) -> list[tuple[str, str]]:
    """(command, output shown below it) of a console block; a backslash goes on in the next line."""
    parts = re.split(r"^\$ ((?:.*\\\n)*.*)\n", block, flags=re.M)
    return list(zip(parts[1::2], parts[2::2], strict=True))


def _check_output(shown: str, printed: str) -> None:
    """The lines shown are the lines printed, spaces aside; dots stand for any number of them."""
    there = iter([" ".join(line.split()) for line in printed.splitlines() if line.strip()])
    skip = False
    for line in (" ".join(x.split()) for x in shown.splitlines() if x.strip()):
        if line == "...":
            skip = True
        elif skip:
            assert line in there, f"not printed:\n{line}\nbut:\n{printed}"
            skip = False
        else:
            assert line == next(there, ""), f"not printed:\n{line}\nbut:\n{printed}"
    assert skip or not list(there), f"the page must say what it leaves out:\n{printed}"


def follow(page: str, folder: Path) -> None:
    """Write the page's files, run its code and commands, and compare what they print."""
    (folder / "examples").symlink_to(ROOT / "examples")
    printed = ""
    for name, kind, content in BLOCK.findall((ROOT / page).read_text(encoding="utf-8")):
        if name:
            (folder / name).write_text(content, encoding="utf-8")
        elif kind == "console":
            for command, shown in _commands(content):
                out = _run(folder, "bash", "-ec", command)
                if shown.strip():
                    _check_output(shown, out)
        elif kind == "python":
            printed = _run(folder, sys.executable, "-c", content)
        elif kind == "text":
            _check_output(content, printed)
        else:
            assert kind == "sh", f"{page}: a block of kind {kind!r} is not run"


@pytest.mark.parametrize("page", [*PAGES, *GUIDES])
def test_pages_are_followed_as_they_stand(page: str, tmp_path: Path) -> None:
    follow(page, tmp_path)
    if page.endswith("own-network.md"):
        _check_networks_of_one_s_own(tmp_path)


def _check_networks_of_one_s_own(folder: Path) -> None:
    source = sd.Program.load(folder / "build/events").graph.source
    assert (source.step_us, source.counts_events) == (1000.0, True)
    assert sd.Program.load(folder / "build/converted").T == 16
    x = np.random.default_rng(0).random((2, 3, 32, 32), dtype=np.float32)
    programs = [sd.Program.load(folder / f"build/{name}") for name in ("own", "nir")]
    own, nir = (sd.simulate(program, x, full_trace=True) for program in programs)
    np.testing.assert_allclose(own.logits, nir.logits, atol=1e-5)


def test_output_that_is_not_printed_is_found() -> None:
    _check_output("a b\n...\nz", "a  b\nc\nd\nz\n")
    for shown in ("a b\nd", "a b\n...\ny", "a b"):
        with pytest.raises(AssertionError):
            _check_output(shown, "a b\nc\nz\n")
