"""Several programs on the same images: the figures are their own runs', the intervals paired."""

from __future__ import annotations

import json
from dataclasses import replace
from math import factorial
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import seenn_deploy as sd
from seenn_deploy.cli import seenn
from seenn_deploy.errors import DataError, SeennError
from seenn_deploy.evaluation.comparison import compare as comparison
from seenn_deploy.evaluation.comparison.plot import overview
from seenn_deploy.evaluation.report.figures import NORMAL_95, paired_share_interval
from tests.targets.lava.graphs import images, program, small

FIRST = program(small(), sd.exits.Confidence(0.5))
OTHER = program(small(seed=3), sd.exits.Fixed()).with_schedule("pipelined")
X = images(FIRST.graph, 30)
Y = np.arange(30) % 4


def test_figures_are_the_runs_own_and_differences_by_sample(tmp_path: Path) -> None:
    OTHER.save(tmp_path / "other")
    seen: list[int] = []
    found = sd.compare(
        {"a": FIRST, "b": tmp_path / "other"}, X, Y, cost="lemaire", progress=seen.append
    )
    runs = [sd.simulate(p, X, Y) for p in (FIRST, OTHER)]
    a, b = found.programs
    assert sum(seen) == 60 and found.samples == 30 and a.changes == {}
    assert (b.rule, b.schedule, b.precision) == (str(OTHER.exit_rule), "pipelined", "float32")
    energy = [1e6 * run.energy("lemaire") for run in runs]
    latency = [run.timing.latency(run.exit_step) for run in runs]
    steps = [run.exit_step for run in runs]
    for name, (was, now) in (
        ("energy_uJ", energy), ("latency_steps", latency), ("mean_exit_step", steps),
    ):  # fmt: skip
        assert a.figures[name].value == pytest.approx(was.mean())
        assert b.figures[name].value == pytest.approx(now.mean())
        change, half = b.changes[name], NORMAL_95 * (now - was).std() / np.sqrt(30)
        assert (change.value, change.low, change.high) == pytest.approx(
            ((now - was).mean(), (now - was).mean() - half, (now - was).mean() + half)
        )
    was, now = (run.correct for run in runs)
    assert b.changes["accuracy"].value == pytest.approx(now.mean() - was.mean())
    assert (b.became_right, b.became_wrong) == ((~was & now).sum(), (was & ~now).sum())
    assert overview(found).axes[0].get_xlabel() == "accuracy (%)"
    bare = sd.compare({"a": FIRST, "b": OTHER}, X, device="cpu")
    assert "accuracy" not in bare.programs[1].changes and len(overview(bare).axes) == 3


def test_the_interval_of_paired_shares_covers() -> None:
    """Over all outcomes of 16 pairs; Newcombe's is a little wide for few of them."""
    n, (both, lost, won) = 16, (0.6, 0.15, 0.1)
    inside = 0.0
    for i in range(n + 1):
        for j in range(n + 1 - i):
            for k in range(n + 1 - i - j):
                counts = (i, j, k, n - i - j - k)
                before = np.repeat([True, True, False, False], counts)
                after = np.repeat([True, False, True, False], counts)
                change, low, high = paired_share_interval(before, after)
                assert low <= change <= high and high - low > 0.05
                share = factorial(n)
                for p, m in zip((both, lost, won, 1 - both - lost - won), counts, strict=True):
                    share *= p**m / factorial(m)
                inside += share * (low <= won - lost <= high)
    assert 0.93 < inside < 0.99


def test_run_folders_go_on_and_the_command_prints_the_same(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    FIRST.save("builds/a")
    OTHER.save("others/a")
    np.savez("x.npz", x=X, y=Y)
    words = ["compare", "builds/a", "others/a", "--data", "x.npz", "--limit", "20"]
    more = ["-o", "runs", "--resume", "--json", "c.json", "--plot", "c.png"]
    done = CliRunner().invoke(seenn, [*words, *more])
    assert done.exit_code == 0, done.output
    assert sorted(p.name for p in Path("runs").iterdir()) == ["builds-a", "others-a"]
    again = CliRunner().invoke(seenn, [*words, *more])
    assert again.output == done.output and Path("c.png").read_bytes()[1:4] == b"PNG"
    stored = json.loads(Path("c.json").read_text())
    found = sd.compare({"builds-a": FIRST, "others-a": OTHER}, X[:20], Y[:20])
    assert stored == json.loads(json.dumps(found.summary()))
    refused = CliRunner().invoke(seenn, [*words, "--json", "-", "others/../builds/a"]).exception
    assert isinstance(refused, SeennError) and "is there twice" in str(refused)


def test_what_does_not_fit_is_said_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "simulate", None)
    source = replace(OTHER.graph.source, input_range=(0.0, 0.5))
    narrow = program(OTHER.graph.replace([source, *OTHER.graph.layers]))
    whole = sd.compile(small(), precision="int8", input_range=(0, 1))
    images = comparison.for_program(FIRST, X, Y)
    for programs, data, options, message in (
        ({"a": FIRST}, X, {}, "1 program to compare; give at least two"),
        ({"a": FIRST, "b": narrow}, images, {}, "opened for another program"),
        ({"a": FIRST, "b": whole}, X[:, :1], {}, "this program takes"),
        ({"a": FIRST, "../b": OTHER}, X, {"out": "x"}, "its run folder cannot have this name"),
        ({"a": FIRST, "b": OTHER}, X, {"resume": True}, "name the folder that holds them"),
        ({"a": FIRST, "b": OTHER}, X, {"cost": "none"}, "none"),
    ):
        with pytest.raises(DataError, match=message):
            sd.compare(programs, data, **options)
