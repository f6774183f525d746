"""A JSON file nested too deeply for Python's reader is told in one line, wherever one is taken."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seenn_deploy import fidelity
from seenn_deploy.errors import ModelError, ProgramError, SeennError
from seenn_deploy.io.nir import file as nir
from tests.targets.c.test_c import PROGRAM, seenn

NESTED = "[" * 100_000


@pytest.mark.parametrize("option", ["--cost", "--exit-file"])
def test_one_line_and_exit_code_2(option: str, tmp_path: Path) -> None:
    PROGRAM.save(tmp_path / "build")
    np.savez(tmp_path / "x.npz", x=np.zeros((1, *PROGRAM.graph.source.shape), np.float32))
    (nested := tmp_path / "nested.json").write_text(NESTED)
    given = ("simulate", tmp_path / "build", "--data", tmp_path / "x.npz", option, nested)
    done = seenn(*given, code=2)
    assert str(nested) in done.stderr and len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "read", "error"),
    [
        ("report.json", lambda path: fidelity.report(path.parent), ProgramError),
        ("net.nir.json", lambda path: nir.read_sidecar(path.with_suffix("")), ModelError),
    ],
)
def test_files_beside_others(
    name: str, read: Callable[[Path], Any], error: type[SeennError], tmp_path: Path
) -> None:
    (tmp_path / name).write_text(NESTED)
    with pytest.raises(error, match=name):
        read(tmp_path / name)
