from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import seenn_deploy as sd
from seenn_deploy import metrics
from seenn_deploy.cli.tables import evaluations
from seenn_deploy.errors import DataError
from seenn_deploy.exits.base import softmax
from seenn_deploy.exits.policy import Policy
from seenn_deploy.exits.policy_network import writing
from seenn_deploy.training.policy import PolicyModel, describe
from tests import checkpoints

SHAPE, T, N = (3, 16, 16), 4, 40


def with_policy(folder: Path, T: int) -> sd.Program:
    """With a policy of random weights."""
    torch.save(checkpoints.resnet(1, (1, 1, 1), size=16), folder / "model.pth")
    torch.manual_seed(4)
    model = PolicyModel(tuple(range(1, T + 1)), channels=(2, 3, 4))
    model.train()(torch.rand(32, *SHAPE))
    with torch.no_grad():
        model.net.fc1.module.bias -= model.eval()(torch.rand(64, *SHAPE)).mean(dim=0)
    onnx = writing.to_onnx(describe(model), SHAPE, 10, T)
    (folder / "policy.onnx").write_bytes(onnx)
    graph = sd.import_model(folder / "model.pth", T=T, input_size=16)
    return sd.compile(graph, Policy(folder / "policy.onnx"))


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> sd.Program:
    return with_policy(tmp_path_factory.mktemp("evaluation"), T)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(1).random((N, *SHAPE)).astype(np.float32)


@pytest.fixture(scope="module")
def labels(program: sd.Program, images: np.ndarray) -> np.ndarray:
    """What the network says at T, for half of the images."""
    run = sd.simulate(program.with_exit(sd.exits.Fixed()), images)
    random = np.random.default_rng(2)
    return np.where(random.random(N) < 0.5, run.prediction, random.integers(0, 10, N))


@pytest.mark.parametrize("schedule", ["sequential", "speculative", "gated"])
def test_every_point_is_what_a_run_of_its_rule_gives(
    program: sd.Program, images: np.ndarray, labels: np.ndarray, schedule: Any
) -> None:
    program = program.with_schedule(schedule)
    found = sd.evaluate(program, images, labels, thresholds=(0.13, 0.16))
    rules = [sd.exits.Confidence(0.13), sd.exits.Confidence(0.16), program.exit_rule]
    assert found.seenn_2 is not None
    for rule, point in zip(rules, [*found.seenn_1, found.seenn_2], strict=True):
        summary = sd.simulate(program.with_exit(rule), images, labels).summary()
        assert point.accuracy == pytest.approx(summary["accuracy"])
        assert point.mean_exit_step == pytest.approx(summary["mean_exit_step"])
        assert 1e6 * point.energy == pytest.approx(summary["energy_uJ_per_sample"])
        assert 1e6 * point.total_energy == pytest.approx(summary["total_energy_uJ_per_sample"])
        wasted = pytest.approx(summary["wasted_energy_uJ_per_sample"], abs=1e-12)
        assert 1e6 * point.wasted_energy == wasted
    assert (found.seenn_1[0].wasted_energy > 0) == (schedule == "speculative")
    assert found.seenn_2.wasted_energy == 0 and found.schedule == schedule
    summary = sd.simulate(program, images, labels).summary()
    policy = 1e6 * found.seenn_2.policy_energy
    assert policy == pytest.approx(summary["policy_energy_uJ_per_sample"]) and policy > 0
    assert 1 < found.seenn_1[0].mean_exit_step < found.seenn_1[1].mean_exit_step < T


def test_figures_by_step(program: sd.Program, images: np.ndarray, labels: np.ndarray) -> None:
    found = sd.evaluate(program, images, labels)
    run = sd.simulate(program, images, labels, full_trace=True)
    correct = metrics.correct_by_step(run.logits, labels)
    np.testing.assert_array_equal(found.accuracy_by_step, correct.mean(axis=0))
    assert (found.aet, found.empirical_aet) == (
        metrics.aet(correct),
        metrics.empirical_aet(correct),
    )
    assert [p.accuracy for p in found.fixed] == list(found.accuracy_by_step)
    assert [p.mean_exit_step for p in found.fixed] == [1, 2, 3, 4]


def test_seenn_1_as_accurate_as_seenn_2_is_at_least_that(
    program: sd.Program, images: np.ndarray, labels: np.ndarray
) -> None:
    found = sd.evaluate(program, images, labels)
    assert found.equal is not None and found.seenn_2 is not None
    assert found.equal.accuracy >= found.seenn_2.accuracy
    run = sd.simulate(program, images, labels, full_trace=True)
    confidence = softmax(run.logits).max(axis=-1)
    every = tuple(np.unique([0.01, *confidence[:, :-1].ravel()]))
    cheaper = sd.evaluate(program, images, labels, thresholds=every).seenn_1
    enough = [p.energy for p in cheaper if p.accuracy >= found.seenn_2.accuracy]
    assert found.equal.energy == pytest.approx(min(enough), rel=1e-12)


def test_exactly_as_accurate_is_enough(program: sd.Program, images: np.ndarray) -> None:
    """Labels that the first timestep says: any later exit costs more for nothing."""
    run = sd.simulate(program, images, full_trace=True)
    found = sd.evaluate(program, images, run.logits[:, 0].argmax(axis=1))
    assert found.equal is not None and found.seenn_2 is not None
    right = [p for p in found.fixed if p.accuracy >= found.seenn_2.accuracy]
    assert found.fixed[0].accuracy == 1 > found.seenn_2.accuracy
    assert found.equal.energy <= min(p.energy for p in right)


def test_a_single_timestep_is_all_there_is(tmp_path: Path, images: np.ndarray) -> None:
    found = sd.evaluate(with_policy(tmp_path, 1), images[:4], np.zeros(4, np.int64))
    assert found.equal is not None and found.seenn_2 is not None
    assert found.equal.energy == found.seenn_2.energy == found.fixed[0].energy


def test_without_a_policy_there_is_no_seenn_2(
    program: sd.Program, images: np.ndarray, labels: np.ndarray
) -> None:
    summary = sd.evaluate(program.with_exit(sd.exits.Fixed()), images, labels).summary()
    assert summary["seenn_2"] is None and summary["seenn_1_as_accurate_as_seenn_2"] is None
    assert summary["published"] == []  # another network than the paper's


@pytest.mark.parametrize(
    ("width", "T", "published"),
    [(8, 4, [1.1309, 1.1188]), (8, 2, None), (1, 4, None)],
)
def test_published_figures_stand_under_the_papers_network_alone(
    width: int, T: int, published: list[float] | None, tmp_path: Path
) -> None:
    """Its shapes say which network it is: a narrower one with the same layers is another."""
    state = checkpoints.resnet(width, (3, 3, 2), calibrated=False)
    torch.save(state, tmp_path / "resnet19.pth")
    program = sd.compile(sd.import_model(tmp_path / "resnet19.pth", T=T))
    found = sd.evaluate(program, np.zeros((1, 3, 32, 32), np.float32), [0], thresholds=[0.9])
    last = found.summary()["published"][-1:]
    assert [[row["aet"], row["empirical_aet"]] for row in last] == (
        [published] if published else []
    )
    assert len([*evaluations.evaluation_tables(found)]) == 2 + bool(published)


def test_refusals(program: sd.Program, images: np.ndarray, labels: np.ndarray) -> None:
    with pytest.raises(DataError, match="no labels"):
        sd.evaluate(program, images)
    with pytest.raises(DataError, match=r"alpha = 1\.5"):
        sd.evaluate(program, images, labels, thresholds=(1.5,))


def test_tables_fit_a_terminal(
    program: sd.Program, images: np.ndarray, labels: np.ndarray, capsys: pytest.CaptureFixture[str]
) -> None:
    from seenn_deploy.cli.console import WIDTH, show

    near_one = (0.9, 0.99999, float(np.nextafter(1, 0)), 1.0)
    found = sd.evaluate(program, images, labels, thresholds=near_one)
    assert len([*evaluations.evaluation_tables(found)]) == 2 + (found.equal is not None)
    for part in evaluations.evaluation_tables(replace(found, comparable=True)):
        show(part)
    text = capsys.readouterr().out
    for expected in ("fixed t=4", "SEENN-I alpha=0.9", "SEENN-II", "AET", "1.1309", "96.10 %"):
        assert expected in text
    shown = re.findall(r"alpha=(\S+)", text)[:4]
    assert shown == ["0.9", "0.99999", "0.999999999999999889", "1"]
    assert "…" not in text and max(map(len, text.splitlines())) <= WIDTH


def test_the_example_of_the_paper(tmp_path: Path) -> None:
    correct = np.array([[False, True, False, True]])
    assert metrics.empirical_aet(correct) == 2
    assert metrics.aet(correct) == 3
