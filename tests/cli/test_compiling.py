"""What compile says before, while and after it works."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import seenn_deploy as sd
from seenn_deploy.cli import main
from tests import checkpoints
from tests.frontends.test_onnx import resnet

SHIPPED = Path(__file__).parents[2] / "examples" / "resnet20_T4_cifar10.pth"


def seenn(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """Run the command line itself; what it prints is with `capsys`."""
    monkeypatch.setattr(sys, "argv", ["seenn", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


@pytest.fixture
def convert(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    monkeypatch.chdir(tmp_path)
    resnet(tmp_path).rename("ann.onnx")
    x = checkpoints.images((4, 3, 8, 8))
    x[2, 0, 0, 0], x[3, 1, 1, 1] = -2e-7, 1 + 2e-7
    np.savez("train.npz", x=x)
    norm = ("--mean", "0.5,0.5,0.5", "--std", "0.5,0.5,0.5")
    return ("convert", "ann.onnx", "--calibration", "train.npz", "-T", "2", *norm, "-o", "build")


def test_targets_come_one_by_one_or_with_commas(
    convert: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert seenn(monkeypatch, *convert, "--target", "nir,tpu") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "'tpu': there are c, lava, nir, sanafe" in line and not Path("build").exists()
    assert seenn(monkeypatch, *convert, "--target", "nir,lava", "--target", "nir") == 0
    assert Path("build/nir/network.nir").is_file() and Path("build/lava/run.py").is_file()


def test_calibration_of_what_is_compiled_is_for_its_source(
    convert: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert seenn(monkeypatch, *convert) == 0
    words = ("compile", "build", "--target", "c", "--calibration", "train.npz", "-o", "other")
    capsys.readouterr()
    assert seenn(monkeypatch, *words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "build: is compiled already, --calibration is for its source" in line


@pytest.mark.parametrize(("target", "last"), [("c", "sum"), ("nir", "fold")])
def test_pools_are_sums_where_all_targets_take_them(
    target: str, last: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The last pool, of 8 x 8 neurons in front of 10 classes, costs less as a sum.
    words = ("--precision", "int8" if target == "c" else "float32", "--target", target)
    model, build = str(SHIPPED), str(tmp_path / "build")
    assert seenn(monkeypatch, "compile", model, "--pools", "auto", *words, "-o", build) == 0
    chosen = [pool["choice"] for pool in sd.Program.load(build).provenance.pools]
    assert chosen[-1] == last


def test_clipped_pixels_are_one_line(
    convert: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert seenn(monkeypatch, *convert) == 0
    command = [sys.executable, "-c", "from seenn_deploy.cli import main; main()"]
    done = subprocess.run(  # pytest would keep the warning to itself
        [*command, "simulate", "build", "--data", "train.npz"],
        check=False,
        stderr=subprocess.PIPE,
        text=True,
    )
    (line,) = done.stderr.splitlines()
    told = "train.npz: x[2] holds -2.00000002e-07: values within 1e-06 of 0..1 are clipped to it"
    assert (done.returncode, line) == (0, f"note: {told}")
