"""Predictions, figures on standard output, single images, and what a sweep recommends."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import seenn_deploy as sd
from seenn_deploy.cli import options, seenn
from seenn_deploy.cli.tables import sweeps
from seenn_deploy.errors import ModelError
from seenn_deploy.evaluation.sweep.sweep import sweep
from tests import checkpoints
from tests.evaluation.sweep.test_sweep import PROGRAM, random_run
from tests.frontends.test_onnx import Maker, error, resnet


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program of 8x8 RGB images in build/, and six of them in class folders."""
    monkeypatch.chdir(tmp_path)
    path = resnet(tmp_path)
    program = sd.convert(
        path, sd.exits.Confidence(0.5), calibration=checkpoints.images((8, 3, 8, 8)), T=4
    )
    program.save("build")
    rng = np.random.default_rng(0)
    for name in (
        "ant",
        "bee",
        "cat",
        *(f"d{i}" for i in range(program.graph.readout.shape[0] - 3)),
    ):
        Path("pictures", name).mkdir(parents=True)
    for i in range(6):
        folder = Path("pictures", ("ant", "bee", "cat")[i % 3])
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(folder / f"{i}.png")
    return tmp_path


def invoke(*words: str) -> str:
    done = CliRunner().invoke(seenn, words)
    assert done.exit_code == 0, (done.output, done.exception)
    return done.stdout


def test_predictions_are_those_of_python(build: Path) -> None:
    command = ("simulate", "build", "--data", "pictures", "--predictions")
    invoke(*command, "p.csv")
    invoke(*command, "p.json")
    stored = json.loads(Path("p.json").read_text())
    rows = list(csv.DictReader(Path("p.csv").read_text().splitlines()))
    run = sd.simulate(sd.Program.load("build"), "pictures")
    logits = np.stack([run.logits[i, t - 1] for i, t in enumerate(run.exit_step)])
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    for i, (row, text) in enumerate(zip(stored, rows, strict=True)):
        assert list(row) == ["sample", "file", "class", "exit_step", "confidence", "energy_uJ"]
        answer = int(logits[i].argmax())
        assert row["class"] == (("ant", "bee", "cat")[answer] if answer < 3 else f"d{answer - 3}")
        assert (row["sample"], row["exit_step"]) == (i, run.exit_step[i])
        assert row["confidence"] == pytest.approx(shares[i].max())
        assert row["energy_uJ"] == pytest.approx(1e6 * run.energy()[i])
        assert Path(row["file"]).is_file() and text == {k: str(v) for k, v in row.items()}


def test_one_image_and_a_plain_folder_are_data(build: Path) -> None:
    for data, count in (("pictures/ant/0.png", 1), ("pictures/ant", 2)):
        found = json.loads(invoke("simulate", "build", "--data", data, "--json", "-"))
        assert found["samples"] == count and found["accuracy"] is None
    assert not Path("-").exists()


def test_a_predictions_file_is_checked_before_the_run(build: Path) -> None:
    for name, words in (("p.txt", "name a .csv or .json"), ("build", "name a .csv or .json"),
                        ("pictures/ant/0.png/p.csv", "is a file, no folder")):  # fmt: skip
        done = CliRunner().invoke(
            seenn, ["simulate", "build", "--data", "pictures", "--predictions", name]
        )
        assert done.exit_code != 0 and words in done.output + str(done.exception)


def test_what_a_sweep_recommends_meets_its_aim() -> None:
    seen = set()
    for seed in range(8):
        report = sweep(random_run(seed, 30), PROGRAM, keep_accuracy=0, bootstrap=20)
        choice = report.best
        assert choice is not None and choice.figures.accuracy_change.value >= 0
        told = dict(sweeps.sweep_notes(report, "seenn-compile x.pth", ""))
        if report.missed:
            assert choice is not report.chosen[report.leader]
            assert report.chosen[report.leader].rule.name not in told["use"].split("(")[0]
        seen.add(bool(report.missed))
        assert report.summary()["recommended"] == choice.summary()
    assert seen == {True, False}


def test_a_fixed_timestep_can_win_a_sweep() -> None:
    """Where every later step is wrong, stopping at t = 1 costs least and is right."""
    run = random_run(3, 60)
    labels = run.logits[:, 0].argmax(axis=1)
    report = sweep(_with(run, labels), PROGRAM, ["entropy"], energy_budget=1.0, bootstrap=20)
    assert report.best is not None and report.fixed_t in (0, 1)
    assert report.best.figures.accuracy.value == 1


def test_a_rule_that_needs_a_file_is_kept_first() -> None:
    """No command is shown that a shell could not run."""
    found = (sweep(random_run(seed, 60), PROGRAM, ["conformal"], energy_budget=1.0, bootstrap=2)
             for seed in range(20))  # fmt: skip
    report = next(x for x in found if x.best and x.best.rule.name == "conformal")
    told = dict(sweeps.sweep_notes(report, "seenn-compile x.pth", "", "seenn simulate x"))
    assert "try" not in told and told["next"].startswith("sweep again with -o FOLDER")
    told = dict(sweeps.sweep_notes(report, "seenn-compile x.pth", "'a b/rule.json'"))
    assert "--exit-file 'a b/rule.json' -o NEW_FOLDER" in str(told["next"])


def _with(run: sd.RunResult, labels: np.ndarray) -> sd.RunResult:
    from dataclasses import replace

    return replace(run, labels=labels)


def test_few_images_are_told() -> None:
    few = sweep(random_run(1, 30), PROGRAM, keep_accuracy=0.5, bootstrap=50)
    assert "15 images say only" in few.warning and "wider than the 0.5" in few.warning
    assert few.warning in dict(sweeps.sweep_notes(few, "", "")).values()
    assert not sweep(random_run(1, 30), PROGRAM, keep_accuracy=100, bootstrap=50).warning


def test_another_frameworks_tau_is_recognised() -> None:
    path = Path(__file__).parents[2] / "examples/resnet20_T4_cifar10.pth"
    with pytest.raises(ModelError, match=r"SpikingJelly's tau = 2\.0 give 0\.5"):
        sd.import_model(path, tau=2.0)


def test_vectors_as_onnx_are_told_a_form_that_is_taken(tmp_path: Path) -> None:
    def network(*shape: int | str) -> Path:
        m = Maker()
        x = "image" if len(shape) == 2 else m.op("Flatten", ["image"])
        hidden = m.op("Relu", [m.gemm(x, 16, 8)])
        return m.save(tmp_path, m.gemm(hidden, 8, 3), shape)

    assert "export (N, K, 1, 1) with a Flatten" in error(network("N", 16))
    images = np.random.default_rng(0).random((4, 16, 1, 1)).astype(np.float32)
    program = sd.convert(network("N", 16, 1, 1), calibration=images, T=4)
    assert sd.simulate(program, images).logits.shape == (4, 4, 3)


def test_outputs_and_calibration_have_one_spelling(build: Path) -> None:
    np.savez("train.npz", x=checkpoints.images((4, 3, 8, 8)))
    for number, option in enumerate(("--calibration=train.npz", "--calibrate=train.npz")):
        words = ("convert", str(resnet(build)), option, "-T", "2", "-o", f"c{number}")
        done = CliRunner().invoke(seenn, words, catch_exceptions=False)
        told = "warning: --calibrate is now --calibration; the old spelling goes" in done.stderr
        assert done.exit_code == 0 and told == bool(number)
    weights = [Path(f"c{n}/weights.safetensors").read_bytes() for n in range(2)]
    assert weights[0] == weights[1]
    invoke("simulate", "build", "--data", "pictures", "-o", "run")
    invoke("sweep", "build", "--data", "pictures", "-o", "swept", "--rules", "margin")
    assert Path("run/run.json").is_file() and Path("swept/sweep.json").is_file()


@pytest.mark.parametrize(
    ("command", "old", "new"),
    [("policy", "--beta", "--error-cost"), ("joint", "--beta", "--error-cost")]
    + [(name, "--device", "--torch-device") for name in ("snn", "policy", "joint", "ann")],
)
def test_old_spellings_of_training_say_the_new_one(command: str, old: str, new: str) -> None:
    words = ["train", command, old, "x", "--help"]
    done = CliRunner().invoke(seenn, words)
    assert f"warning: {old} is now {new}; the old spelling goes" in done.stderr
    assert f"{new} " in done.stdout and f"{old} " not in done.stdout


def test_an_energy_without_its_unit_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert options.joules(None, None, "20uJ") == pytest.approx(2e-5)  # type: ignore[arg-type]
    assert capsys.readouterr().err == ""
    assert options.joules(None, None, "3e-5") == 3e-5  # type: ignore[arg-type]
    assert "3e-5 without a unit is read as joules; write 30uJ" in capsys.readouterr().err
