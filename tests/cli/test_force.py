"""Compiling and simulating into folders that exist."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from seenn_deploy.cli import seenn
from seenn_deploy.errors import ProgramError
from seenn_deploy.ir.program import Program
from tests import checkpoints
from tests.frontends.test_onnx import resnet


def invoke(*words: str | Path) -> str:
    done = CliRunner().invoke(seenn, [*map(str, words)])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.output


def test_compile_convert_and_simulate_keep_what_others_wrote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    resnet(tmp_path).rename("ann.onnx")
    np.savez("train.npz", x=checkpoints.images((4, 3, 8, 8)))
    convert = ("convert", "ann.onnx", "--calibration", "train.npz", "-T", "4", "-o", "build")
    invoke(*convert, "--target", "nir")
    simulate = ("simulate", "build", "--data", "train.npz", "--out", "build/run")
    invoke(*simulate)
    Path("build/notes.txt").write_text("a week of work")
    for again in (convert, simulate):
        with pytest.raises(ProgramError, match="--force"):
            invoke(*again)
    said = invoke(*convert, "--force", "--exit", "fixed")
    assert "left as it was  nir, notes.txt, run" in said
    assert "build/nir/ came from an earlier compile; renew with --target" in said
    assert Program.load("build").exit_rule.to_dict() == {"rule": "fixed"}
    invoke(*simulate, "--force")
    kept = ("build/notes.txt", "build/nir/network.nir", "build/run/run.json")
    assert all(Path(name).is_file() for name in kept)
    assert Path("build/notes.txt").read_text() == "a week of work"
