"""The notebooks, cell by cell: what is stored below a cell is what it prints today."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

NOTEBOOKS = sorted((Path(__file__).parent.parent / "docs" / "notebooks").glob("*.ipynb"))
MARK = "---- cell ----"


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_cells_print_what_is_stored(notebook: Path, tmp_path: Path) -> None:
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    cells = [cell for cell in cells if cell["cell_type"] == "code"]
    code = f"\nprint({MARK!r})\n".join("".join(cell["source"]) for cell in cells)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], check=False, cwd=tmp_path, text=True,
        capture_output=True, timeout=300, env=os.environ | {"LOGURU_LEVEL": "ERROR"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split(f"{MARK}\n") == [_stored(cell) for cell in cells]


def _stored(cell: dict[str, Any]) -> str:
    assert all(output["output_type"] == "stream" for output in cell["outputs"])
    return "".join(line for output in cell["outputs"] for line in output["text"])


def test_there_are_notebooks() -> None:
    assert {path.stem for path in NOTEBOOKS} == {"exit_rule", "own_network"}
