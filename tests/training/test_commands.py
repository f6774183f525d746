from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from seenn_deploy.cli import _run, seenn
from tests.training.test_loop import shapes

SMALL = ["--model", "resnet8", "--width", "0.125", "-T", "2", "--epochs", "1", "--batch-size", "32"]


def invoke(*arguments: object) -> str:
    found = CliRunner().invoke(seenn, [str(a) for a in arguments], catch_exceptions=False)
    assert found.exit_code == 0, found.output
    return found.output


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line of an error; exit code 2."""
    from unittest import mock

    argv = mock.patch.object(sys, "argv", ["seenn", *map(str, arguments)])
    with argv, pytest.raises(SystemExit) as caught:
        _run(seenn)
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    return line


def test_from_data_to_both_methods_in_one_table(tmp_path: Path) -> None:
    data, run, policy, build = shapes(tmp_path), *(tmp_path / n for n in ("run", "policy", "build"))
    text = invoke("train", "snn", "--data", data, "-o", run, *SMALL, "--plot", tmp_path / "log.png")
    assert (tmp_path / "log.png").read_bytes().startswith(b"\x89PNG")
    hint = next(line for line in text.replace("\n", " ").split("compile it: seenn-compile ")[1:])
    flags = hint.split(" -o build/")[0].split()
    invoke("compile", *flags, "-o", build)
    invoke("train", "policy", build, "--data", data, "-o", policy, "--epochs", "1",
           "--error-cost", "2", "--choices", "1,2", "--test", data)  # fmt: skip
    invoke("compile", *flags, "--policy", policy / "policy.onnx", "--schedule", "pipelined",
           "-o", build, "--force")  # fmt: skip
    table = invoke("evaluate", build, "--data", data, "--thresholds", "0.6,0.9", "--json",
                   tmp_path / "found.json")  # fmt: skip
    assert "SEENN-II" in table and "SEENN-I alpha=0.6" in table
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["samples"] == 96 and found["seenn_2"]["policy_energy_uJ"] > 0
    assert "policy network" in invoke("simulate", build, "--data", data)
    joint = invoke(
        "train", "joint", "--data", data, "-o", tmp_path / "joint", *SMALL,
        "--init", run / "model.pth", "--policy-init", policy / "policy.pth",
    )  # fmt: skip
    assert "--policy" in joint


def test_every_epoch_is_told_when_it_ends(tmp_path: Path) -> None:
    data = shapes(tmp_path)
    found = CliRunner().invoke(
        seenn,
        ["train", "snn", "--data", str(data), "--test", str(data), "-o", str(tmp_path / "run"),
         *SMALL, "--epochs", "2"],
        catch_exceptions=False,
    )  # fmt: skip
    lines = [line.strip() for line in found.stderr.replace("\r", "\n").split("\n")]
    first, last = (next(x for x in lines if x.startswith(f"epoch {i} of 2, loss")) for i in (1, 2))
    assert "accuracy by step" in first and first.endswith(" left")
    assert last.endswith("0:00:00 left") and len(last) <= 80


def test_errors_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = shapes(tmp_path), tmp_path / "run"
    train = ("train", "snn", "--data", data, "-o", out, *SMALL)
    assert "the loss became" in refused(capsys, *train, "--lr", "1e30")
    assert "vgg16" in refused(capsys, *train, "--model", "lenet")
    assert "no labels" in refused(capsys, "train", "snn", "--data", _bare(tmp_path), "-o", out)
    assert "none.pth: no such file" in refused(capsys, *train, "--init", "none.pth")
    odd = np.zeros((4, 30, 30, 3), np.uint8)
    np.savez(tmp_path / "odd.npz", x=odd, y=[0, 1, 0, 1])
    uneven = ("train", "snn", "--data", tmp_path / "odd.npz", "-o", out, *SMALL)
    assert "resnet8 cannot take samples of 30x30" in refused(capsys, *uneven)
    ann = ("train", "ann", "--model", "vgg16", "--width", "0.0625", *uneven[2:6])
    assert "vgg16 takes images of at least 32x32" in refused(capsys, *ann)
    assert "is a folder" in refused(capsys, *train, "--plot", tmp_path)
    invoke(*train)
    assert "add --resume" in refused(capsys, *train)
    assert "is a run with width 0.125, not 0.25" in refused(
        capsys, *train, "--resume", "--width", "0.25"
    )
    assert "no program here" in refused(
        capsys, "train", "policy", tmp_path / "none", "--data", data, "-o", out
    )
    assert "cannot be read" in refused(
        capsys, "compile", out / "model.pth", "--policy", "none.onnx", "-T", "2", "-o",
        tmp_path / "build",
    )  # fmt: skip


def _bare(folder: Path) -> Path:
    np.savez(folder / "bare.npz", x=np.zeros((4, 8, 8, 3), np.uint8))
    return folder / "bare.npz"


def test_help_does_not_load_torch() -> None:
    code = (
        "import sys; from seenn_deploy import cli; "
        "sys.exit(any(m in sys.modules for m in ('torch', 'onnx', 'onnxruntime', 'matplotlib')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
