"""Shifted evaluation: every figure from plain runs of the shifted images, the command, refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import seenn_deploy as sd
from seenn_deploy.cli import seenn
from seenn_deploy.errors import DataError
from seenn_deploy.evaluation.shift import plot
from seenn_deploy.evaluation.shift.corruptions import corrupt
from seenn_deploy.evaluation.shift.measure import RULES, evaluate_shift
from seenn_deploy.evaluation.shift.report import ShiftReport
from seenn_deploy.exits.base import softmax
from tests import checkpoints, naive_shift
from tests.evaluation.test_evaluate import with_policy

SHAPE, T, N, PER = (3, 16, 16), 4, 60, 20


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> sd.Program:
    folder = tmp_path_factory.mktemp("shift")
    torch.save(checkpoints.resnet(1, (1, 1, 1), size=16), folder / "model.pth")
    return sd.compile(sd.import_model(folder / "model.pth", T=T, input_size=16))


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(1).random((N, *SHAPE)).astype(np.float32)


@pytest.fixture(scope="module")
def labels(program: sd.Program, images: np.ndarray) -> np.ndarray:
    """What the network says at T, for two thirds of the images."""
    said = sd.simulate(program.with_exit(sd.exits.Fixed()), images).prediction
    rng = np.random.default_rng(2)
    return np.where(rng.random(N) < 0.67, said, rng.integers(0, 10, N))


@pytest.mark.parametrize("schedule", ["sequential", "speculative"])
def test_every_figure_is_what_a_run_of_its_rule_gives(
    program: sd.Program, images: np.ndarray, labels: np.ndarray, schedule: Any
) -> None:
    program = program.with_schedule(schedule)
    found = evaluate_shift(
        program, images, labels, level=0.6, per_shift=PER, kinds=["contrast"], seed=3
    )
    assert [c.name for c in found.conditions] == ["clean", *(f"contrast {s}" for s in (1, 2, 3))]
    assert list(found.rules) == ["fixed", *RULES] and found.calibrated_on == N // 2
    told = [i for i in range(N) if i not in _calibrated_on(N, 3)]
    for condition in (found.conditions[0], found.conditions[3]):
        x, y = images[told], labels[told]
        if condition.strength:
            x, y = corrupt(x[:PER], "contrast", 3, 3), y[:PER]
        assert condition.samples == len(y)
        full = sd.simulate(program, x, y, full_trace=True)
        for t in range(T):
            p = softmax(full.logits[:, t])
            right = (p.argmax(axis=1) == y).tolist()
            error = naive_shift.calibration_error(p.max(axis=1).tolist(), right, 10)
            assert condition.reliability[t].ece == pytest.approx(error)
        for name, rule in found.rules.items():
            run = sd.simulate(program.with_exit(rule), x, y)
            figures, summary = condition.rules[name], run.summary()
            assert figures.accuracy == pytest.approx(summary["accuracy"])
            assert figures.mean_exit_step == pytest.approx(summary["mean_exit_step"])
            assert 1e6 * figures.energy == pytest.approx(summary["energy_uJ_per_sample"])
            early = run.exit_step < T
            assert figures.early == pytest.approx(early.mean())
            assert figures.early_wrong == pytest.approx((early & ~run.correct).mean())
            sets = rule.label_sets(full.logits, np.arange(1, T + 1))
            assert (
                (sets is None) == np.isnan(figures.covered) == (name not in ("conformal", "simes"))
            )
            if sets is not None:
                held = [
                    all(sets[i, t, y[i]] for t in range(min(run.exit_step[i], T - 1)))
                    for i in range(len(y))
                ]
                assert figures.covered == pytest.approx(np.mean(held))


def _calibrated_on(n: int, seed: int) -> set[int]:
    return set(np.random.default_rng(seed).permutation(n)[: n // 2].tolist())


def test_a_policy_network_sees_the_shifted_images(
    tmp_path: Path, images: np.ndarray, labels: np.ndarray
) -> None:
    program = with_policy(tmp_path, T)
    found = evaluate_shift(program, images, labels, rules=[], kinds=["contrast"], seed=3)
    assert list(found.rules) == ["fixed", "policy"]
    told = [i for i in range(N) if i not in _calibrated_on(N, 3)]
    for condition in (found.conditions[0], found.conditions[3]):
        x = images[told]
        x = corrupt(x, "contrast", 3, 3) if condition.strength else x
        summary = sd.simulate(program, x, labels[told]).summary()
        figures = condition.rules["policy"]
        assert figures.mean_exit_step == pytest.approx(summary["mean_exit_step"])
        assert 1e6 * figures.energy == pytest.approx(summary["total_energy_uJ_per_sample"])


@pytest.fixture(scope="module")
def report(program: sd.Program, images: np.ndarray, labels: np.ndarray) -> ShiftReport:
    kinds = ["noise", "blur"]
    return evaluate_shift(program, images, labels, level=0.6, per_shift=PER, kinds=kinds)


def test_strengths_are_means_over_kinds(report: ShiftReport) -> None:
    by_strength = report.rule_by_strength("confidence")
    assert by_strength[0].accuracy == report.clean.rules["confidence"].accuracy
    for strength in (1, 2, 3):
        parts = [c.rules["confidence"] for c in report.conditions if c.strength == strength]
        assert len(parts) == 2
        for name in ("accuracy", "energy", "early_wrong"):
            mean = np.mean([getattr(p, name) for p in parts])
            assert getattr(by_strength[strength], name) == pytest.approx(mean)
    json.dumps(report.summary(), allow_nan=False)


def test_pictures_are_drawn(report: ShiftReport, tmp_path: Path) -> None:
    drawn = {}
    for name in ("reliability", "rules", "overview"):
        getattr(plot, name)(report).savefig(tmp_path / f"{name}.png")
        drawn[name] = (tmp_path / f"{name}.png").read_bytes()
    assert all(picture[:4] == b"\x89PNG" for picture in drawn.values())
    assert len({len(picture) for picture in drawn.values()}) == 3


def test_the_command(
    program: sd.Program, images: np.ndarray, labels: np.ndarray, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    program.save("build")
    np.savez("data.npz", x=images, y=labels)
    words = ["evaluate", "build", "--data", "data.npz", "--shift", "--per-shift", "5"]
    more = ["--level", "0.6", "--rules", "confidence,simes", "--seed", "3"]
    done = CliRunner().invoke(seenn, [*words, *more, "--json", "out.json", "--plot", "out.png"])
    assert done.exit_code == 0, done.output
    assert max(map(len, done.stdout.splitlines())) <= 80
    for line in ("30 clean images, for level 0.6", "30 others, 5 of them per shift", "pixelate 3"):
        assert line in done.stdout
    said = json.loads(Path("out.json").read_text())
    assert list(said["rules"]) == ["fixed", "confidence", "simes"] and len(said["conditions"]) == 19
    assert Path("out.png").read_bytes()[:4] == b"\x89PNG"

    for given, expected in (
        (["--level", "0.9"], "--level belongs to --shift"),
        (["--plot", "x.png"], "--plot belongs to --shift"),
        (["--shift", "--level", "2"], "level = 2.0 lies outside"),
        (["--shift", "--rules", "hunch"], "'hunch' cannot be calibrated"),
        (["--shift", "--split", "1"], "split = 1.0 lies outside"),
        (["--shift", "--cost", "free"], "free"),
    ):
        refused = CliRunner().invoke(seenn, ["evaluate", "build", "--data", "data.npz", *given])
        assert refused.exit_code != 0 and expected in str(refused.exception or refused.output)
        assert not Path("x.png").exists()


def test_what_cannot_be_shifted_is_refused(
    program: sd.Program, images: np.ndarray, labels: np.ndarray
) -> None:
    with pytest.raises(DataError, match="no labels"):
        evaluate_shift(program, images)
    with pytest.raises(DataError, match="no shift fog"):
        evaluate_shift(program, images, labels, kinds=["fog"])
    with pytest.raises(DataError, match="per_shift = 0: give at least 1"):
        evaluate_shift(program, images, labels, per_shift=0)
    with pytest.raises(DataError, match=r"takes pixels 0\.\.1"):
        evaluate_shift(program, images * 3 - 1, labels)
