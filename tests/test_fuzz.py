"""A few of the mutated files of benchmarks/fuzz.py: each is read, or refused in one line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "fuzz.py"


def test_mutated_files_of_every_reader() -> None:
    command = [sys.executable, str(SCRIPT), "--files", "150", "--seed", "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "150 files in" in done.stdout and "MiB, 0 wrong" in done.stdout
    *rows, _ = done.stdout.splitlines()
    assert all(int(row.split()[3]) > 0 for row in rows[1:]), "every reader refuses some"
