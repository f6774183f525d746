from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

import seenn_deploy as sd
from seenn_deploy import exits, ir
from seenn_deploy.costs.model import LayerSizes
from seenn_deploy.errors import DataError, ProgramError
from seenn_deploy.evaluation import schedule
from seenn_deploy.evaluation.calibrate import calibrate
from seenn_deploy.evaluation.sweep.curves import Curve
from seenn_deploy.evaluation.sweep.plot import plot
from seenn_deploy.evaluation.sweep.report import SweepReport
from seenn_deploy.evaluation.sweep.sweep import RULES, _Aim, sweep
from seenn_deploy.exits.base import log_softmax
from seenn_deploy.exits.conformal import Conformal, ConformalFamily
from seenn_deploy.simulator.result import Counts, RunResult
from tests.evaluation.sweep import oracle

T, M = 4, 3


def two_layers() -> ir.Program:
    """So shallow that a speculative schedule has not started all timesteps before an early exit."""
    rng = np.random.default_rng(0)
    nodes = [ir.Source("input", (2, 2, 2)), ir.Population("p", (5,)), ir.Readout("out", (M,))]
    edges = [
        ir.Projection("input", "p", (ir.Dense(rng.random((5, 8), np.float32)),)),
        ir.Projection("p", "out", (ir.Dense(rng.random((M, 5), np.float32)),)),
    ]
    return ir.Program(ir.SpikingGraph(nodes, edges, T), exits.Confidence(0.9), "speculative")


PROGRAM = two_layers()
PRICES = {"ac": 0.9e-12, "mac": 4.6e-12}


def random_run(seed: int, n: int, ties: bool = False) -> RunResult:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, M, n)
    steps = rng.integers(-2, 3, (n, T, M)) if ties else rng.normal(size=(n, T, M))
    steps = steps + (np.arange(M) == labels[:, None])[:, None]
    counts = Counts.zeros(n, 2, T)
    counts.ac[:] = rng.integers(0, 1000, counts.ac.shape)
    counts.mac[:, :, 0] = rng.integers(0, 50, (n, 2))
    sizes = LayerSizes(*(np.array([40, 15]),) * 3)
    logits = np.cumsum(steps, axis=1).astype(np.float32)
    return RunResult(logits, np.full(n, T), ["p", "out"], counts, sizes, labels)


def naive_tables(run: RunResult, schedule: str) -> dict[str, np.ndarray]:
    """Every figure at every exit, by loops over samples, layers and steps."""
    n, depth = len(run.logits), PROGRAM.depth
    names = ("accuracy", "mean_exit_step", "energy", "wasted_energy", "latency_steps", "ac", "mac")
    found = {name: np.zeros((n, T)) for name in names}
    for i in range(n):
        joules = []
        for t in range(1, T + 1):
            ac = sum(int(run.counts.ac[i, layer, s]) for layer in range(2) for s in range(t))
            mac = sum(int(run.counts.mac[i, layer, s]) for layer in range(2) for s in range(t))
            joules.append(ac * PRICES["ac"] + mac * PRICES["mac"])
            guess = max(range(M), key=lambda m: run.logits[i, t - 1, m])
            latency = {"gated": t * (depth + 1), "sequential": t}.get(schedule, t + depth)
            row = (guess == run.labels[i], t, joules[-1], 0.0, latency, ac, mac)
            for name, value in zip(names, row, strict=True):
                found[name][i, t - 1] = value
        if schedule == "speculative":
            for t in range(1, T + 1):
                waste = joules[min(t + depth, T) - 1] - joules[t - 1]
                found["wasted_energy"][i, t - 1] = waste
                found["energy"][i, t - 1] += waste
    return found


def naive_exits(run: RunResult, report: SweepReport, name: str, threshold: float) -> list[int]:
    """Exit of every reported sample at one threshold."""
    z = run.logits[report.report]
    if name != "conformal":
        scores = exits.from_dict({"rule": name}).score(z, np.arange(1, T + 1))
        return [oracle.first_over(row, threshold) for row in scores]
    held, labels = run.logits[report.calibration], run.labels[report.calibration]
    own = -log_softmax(held)
    found = []
    limits = [
        oracle.quantile([own[i, t, y] for i, y in enumerate(labels)], threshold, T)
        for t in range(T)
    ]
    for sample in -log_softmax(z):
        sizes = [sum(x <= q for x in row) for row, q in zip(sample, limits, strict=True)]
        found.append([*(t for t in range(1, T) if sizes[t - 1] == 1), T][0])
    return found


@settings(max_examples=25)
@given(
    st.integers(0, 2**32 - 1), st.integers(4, 24), st.booleans(),
    st.sampled_from(["sequential", "speculative", "gated"]), st.sampled_from([2, 5, 1000]),
)  # fmt: skip
def test_every_point_equals_a_rerun(
    seed: int, n: int, ties: bool, schedule: str, candidates: int
) -> None:
    run = random_run(seed, n, ties)
    report = sweep(run, PROGRAM, candidates=candidates, schedule=schedule, bootstrap=2)
    tables = {k: v[report.report] for k, v in naive_tables(run, schedule).items()}
    at_T = tables["accuracy"][:, -1].mean()
    assert list(report.curves) == list(RULES)
    for name, curve in report.curves.items():
        assert len(curve.threshold) <= candidates
        assert (np.diff(curve.threshold) > 0).all()
        for k, threshold in enumerate(curve.threshold):
            found = oracle.means(naive_exits(run, report, name, threshold), tables)
            found["accuracy_change"] = found["accuracy"] - at_T
            for figure, value in found.items():
                assert getattr(curve, figure)[k] == pytest.approx(value, rel=1e-9, abs=1e-18)


@given(st.integers(0, 2**32 - 1), st.integers(4, 16), st.booleans())
def test_the_fronts_equal_all_pairs(seed: int, n: int, ties: bool) -> None:
    report = sweep(random_run(seed, n, ties), PROGRAM, candidates=9, bootstrap=2)
    curves = [report.fixed, *report.curves.values()]
    for cost, flags in (("energy", "front_energy"), ("mean_exit_step", "front_steps")):
        x = np.concatenate([getattr(c, cost) for c in curves])
        points = [
            (round(a / x.max(), 12), b)
            for a, b in zip(x, np.concatenate([c.accuracy for c in curves]), strict=True)
        ]
        assert np.concatenate([getattr(c, flags) for c in curves]).tolist() == oracle.on_front(
            points
        )


def test_ends_stop_everything_at_once_and_nothing_early() -> None:
    report = sweep(random_run(1, 200), PROGRAM, bootstrap=2)
    for name in ("confidence", "entropy"):
        assert report.curves[name].mean_exit_step[-1] == T
        assert report.curves[name].threshold[-1] == 1
    for name in ("confidence", "entropy", "margin"):
        assert report.curves[name].mean_exit_step[0] == pytest.approx(1, abs=0.05)
        assert (np.diff(report.curves[name].mean_exit_step) >= 0).all()
    assert report.curves["conformal"].mean_exit_step[-1] == T


def test_fixed_timesteps_are_pipelined() -> None:
    run = random_run(2, 40)
    report = sweep(run, PROGRAM, schedule="gated", bootstrap=2)
    tables = naive_tables(run, "pipelined")
    for t in range(1, T + 1):
        found = oracle.means([t] * 20, {k: v[report.report] for k, v in tables.items()})
        for figure, value in found.items():
            assert getattr(report.fixed, figure)[t - 1] == pytest.approx(value)
            estimate = getattr(report.baselines[t - 1].figures, figure)
            assert estimate.value == pytest.approx(value)


@given(st.integers(0, 99), st.floats(0.2, 0.8), st.integers(10, 40))
def test_the_split_shares_no_sample(seed: int, share: float, n: int) -> None:
    report = sweep(
        random_run(0, n), PROGRAM, ["margin"], candidates=2, split=share, seed=seed, bootstrap=1
    )
    together = np.concatenate([report.calibration, report.report])
    assert sorted(together) == list(range(n))
    assert len(report.calibration) == round(n * share)


def naive_choice(run: RunResult, report: SweepReport, name: str, keep: float) -> float:
    """Energy, on the calibration split, of the cheapest of all thresholds that keep accuracy."""
    tables = {k: v[report.calibration] for k, v in naive_tables(run, "speculative").items()}
    scores = exits.from_dict({"rule": name}).score(
        run.logits[report.calibration], np.arange(1, T + 1)
    )
    good = []
    for threshold in [0.0, *sorted(scores[:, :-1].ravel()), 1e9]:
        found = oracle.means([oracle.first_over(row, threshold) for row in scores], tables)
        if found["accuracy"] >= tables["accuracy"][:, -1].mean() - keep / 100 - 1e-9:
            good.append(found["energy"])
    return min(good)


@pytest.mark.parametrize("keep", [0, 2, 10])
@pytest.mark.parametrize("name", ["confidence", "entropy", "margin"])
def test_the_choice_is_the_cheapest_that_keeps_accuracy(name: str, keep: float) -> None:
    run = random_run(5, 120)
    report = sweep(run, PROGRAM, [name], keep_accuracy=keep, bootstrap=2)
    choice = report.chosen[name]
    z = run.logits[report.calibration]
    steps = choice.rule.exit_steps(z)
    tables = {k: v[report.calibration] for k, v in naive_tables(run, "speculative").items()}
    chosen = oracle.means(steps.tolist(), tables)["energy"]
    assert chosen == pytest.approx(naive_choice(run, report, name, keep))


def test_the_choice_is_reported_on_the_other_split() -> None:
    run = random_run(6, 200)
    report = sweep(run, PROGRAM, keep_accuracy=3)
    tables = {k: v[report.report] for k, v in naive_tables(run, "speculative").items()}
    assert set(report.chosen) == set(RULES)
    for choice in report.chosen.values():
        steps = choice.rule.exit_steps(run.logits[report.report])
        assert np.bincount(steps, minlength=T + 1)[1:].tolist() == list(choice.exit_histogram)
        for figure, value in oracle.means(steps.tolist(), tables).items():
            assert getattr(choice.figures, figure).value == pytest.approx(value)


def test_a_chosen_conformal_rule_is_what_calibrate_gives() -> None:
    run = random_run(7, 200)
    report = sweep(run, PROGRAM, ["conformal"], keep_accuracy=3, bootstrap=2)
    rule = report.chosen["conformal"].rule
    split = run.logits[report.calibration], run.labels[report.calibration]
    assert rule == calibrate("conformal", *split, rule.to_dict()["level"], PROGRAM)


def naive_best(
    run: RunResult, report: SweepReport, rule: exits.ExitRule, budget: float
) -> tuple[float, float]:
    """The most accurate of all thresholds within a budget, of equals the cheapest."""
    tables = {k: v[report.calibration] for k, v in naive_tables(run, "speculative").items()}
    scores = rule.score(run.logits[report.calibration], np.arange(1, T + 1))
    found = [
        oracle.means([oracle.first_over(row, threshold) for row in scores], tables)
        for threshold in [0.0, *sorted(scores[:, :-1].ravel()), 1e9]
    ]
    return min((-x["accuracy"], x["energy"]) for x in found if x["energy"] <= budget)


def test_of_rules_that_cost_alike_the_more_accurate_is_best() -> None:
    aim = _Aim.of(5, None, 0.9)
    means = {
        "worse": {"accuracy": np.array([0.86]), "energy": np.array([2.0])},
        "better": {"accuracy": np.array([0.8, 0.87, 0.9]), "energy": np.array([1.0, 2.0, 3.0])},
    }
    assert list(aim.choose(means, {}).items()) == [("better", 1), ("worse", 0)]


def test_accuracy_is_kept_by_as_many_points_as_asked_exactly() -> None:
    assert 0.8 - 10 / 100 > 0.7
    means = {"margin": {"accuracy": np.array([0.7, 0.8]), "energy": np.array([1.0, 2.0])}}
    assert _Aim.of(10, None, 0.8).choose(means, {}) == {"margin": 0}


@pytest.mark.parametrize(("seed", "n", "steps"), [(0, 9, 4), (1, 10, 4), (2, 30, 1), (3, 12, 2)])
def test_every_conformal_level_has_the_quantiles_of_its_point(
    seed: int, n: int, steps: int
) -> None:
    rng = np.random.default_rng(seed)
    logits, labels = rng.normal(size=(n, steps, M)), rng.integers(0, M, n)
    family = ConformalFamily.of(logits, labels, 1000, "")
    for k, quantiles in enumerate(family.quantiles):
        rule = family.rule(k)
        assert isinstance(rule, Conformal) and rule.quantiles == tuple(quantiles)


def test_the_choice_within_an_energy_budget() -> None:
    run = random_run(8, 300)
    at_steps = sweep(run, PROGRAM, ["margin"], bootstrap=2).fixed.energy
    budget = float(at_steps[3])
    report = sweep(run, PROGRAM, energy_budget=budget)
    energy = naive_tables(run, "speculative")["energy"][report.calibration]
    for choice in report.chosen.values():
        steps = choice.rule.exit_steps(run.logits[report.calibration])
        spent = energy[np.arange(len(steps)), steps - 1].mean()
        assert spent <= budget * (1 + 1e-9)
        if not isinstance(choice.rule, Conformal):
            right = naive_tables(run, "speculative")["accuracy"][report.calibration]
            accuracy = right[np.arange(len(steps)), steps - 1].mean()
            assert (-accuracy, spent) == pytest.approx(naive_best(run, report, choice.rule, budget))
    assert report.leader in report.chosen
    with pytest.raises(DataError, match=r"the cheapest takes [\d.e-]+ uJ \(rule"):
        sweep(run, PROGRAM, energy_budget=1e-15)


def test_bootstrap_intervals() -> None:
    run = random_run(9, 2000)
    report = sweep(run, PROGRAM, ["confidence"], keep_accuracy=2)
    for choice in report.baselines:
        accuracy = choice.figures.accuracy
        expected = 1.96 * math.sqrt(accuracy.value * (1 - accuracy.value) / len(report.report))
        assert accuracy.low < accuracy.value < accuracy.high
        assert (accuracy.high - accuracy.low) / 2 == pytest.approx(expected, rel=0.08)
    last = report.baselines[-1].figures
    assert (last.accuracy_change.low, last.accuracy_change.high) == (0, 0)
    change = report.chosen["confidence"].figures.accuracy_change
    width = report.chosen["confidence"].figures.accuracy
    assert change.high - change.low < width.high - width.low  # paired, so narrower
    again = sweep(run, PROGRAM, ["confidence"], keep_accuracy=2)
    assert again.summary() == report.summary()


def test_aet_of_the_report_split() -> None:
    run = random_run(10, 50)
    report = sweep(run, PROGRAM, ["margin"], bootstrap=1)
    correct = naive_tables(run, "gated")["accuracy"][report.report].astype(bool)
    assert report.aet == pytest.approx(sd.metrics.aet(correct))
    assert report.empirical_aet == pytest.approx(sd.metrics.empirical_aet(correct))


def cut(run: RunResult) -> RunResult:
    run.logits[3, 2:] = np.nan
    return run


def without_labels(run: RunResult) -> RunResult:
    object.__setattr__(run, "labels", None)
    return run


@pytest.mark.parametrize(
    ("run", "options", "error", "words"),
    [
        (cut(random_run(0, 9)), {}, DataError, "full_trace=True"),
        (without_labels(random_run(0, 9)), {}, DataError, "no labels"),
        (random_run(0, 0), {}, DataError, "of 0 samples leaves none"),
        (random_run(0, 1), {}, DataError, "of 1 samples leaves none"),
        (random_run(0, 9), {"split": 1}, DataError, r"split = 1 lies outside \(0, 1\)"),
        (random_run(0, 9), {"split": 0.01}, DataError, "none in the calibration part"),
        (random_run(0, 9), {"split": 0.99}, DataError, "none in the report part"),
        (random_run(0, 9), {"rules": ["hunch"]}, DataError, "'hunch' does not exist"),
        (random_run(0, 9), {"rules": ["fixed"]}, DataError, "'fixed' has no threshold"),
        (random_run(0, 9), {"rules": []}, DataError, "no exit rules"),
        (random_run(0, 9), {"candidates": 1}, DataError, "at least 2"),
        (random_run(0, 9), {"bootstrap": 0}, DataError, "at least 1 resample"),
        (random_run(0, 9), {"keep_accuracy": -1}, DataError, r"keep_accuracy = -1 lies outside"),
        (random_run(0, 9), {"energy_budget": -1}, DataError, "number above 0"),
        (random_run(0, 9), {"energy_budget": 1, "keep_accuracy": 1}, DataError, "one of them"),
        (random_run(0, 9), {"cost": "nope"}, DataError, "cost model 'nope'"),
        (random_run(0, 9), {"schedule": "pipelined"}, ProgramError, "pipelined"),
        (random_run(0, 9), {"schedule": "soon"}, ProgramError, "'soon' does not exist"),
    ],
)
def test_sweeps_that_cannot_be(
    run: RunResult, options: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words) as found:
        sweep(run, PROGRAM, **options)
    assert "\n" not in str(found.value)


def test_files(tmp_path: Path) -> None:
    report = sweep(random_run(11, 60), PROGRAM, candidates=20, keep_accuracy=1, bootstrap=20)
    out = tmp_path / "sweep"
    report.save(out)
    (out / "mine.txt").write_text("mine")
    with pytest.raises(ProgramError, match="holds a sweep already"):
        report.save(out)
    report.save(out, force=True)
    assert (out / "mine.txt").read_text() == "mine"
    (out / "mine.txt").unlink()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["sweep"]
    names = ["rule.json", "sweep.csv", "sweep.json", "sweep.png"]
    assert sorted(p.name for p in out.iterdir()) == names
    stored = json.loads((out / "sweep.json").read_text(), parse_constant=pytest.fail)
    assert stored == report.summary()
    rule = exits.from_dict(json.loads((out / "rule.json").read_text()))
    assert rule == report.rule
    rows = list(csv.DictReader(io.StringIO((out / "sweep.csv").read_text())))
    curves: list[Curve] = [report.fixed, *report.curves.values()]
    assert len(rows) == sum(len(c.threshold) for c in curves)
    assert [float(r["accuracy"]) for r in rows] == [x for c in curves for x in c.accuracy]
    assert (out / "sweep.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize("seed", [4, 11])  # of 11, what was chosen misses the aim
def test_the_picture_says_what_it_shows(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda self, _: drawn.append(self))
    report = sweep(random_run(seed, 60), PROGRAM, candidates=20, keep_accuracy=1, bootstrap=20)
    plot(report, tmp_path / "sweep.png")
    (figure,) = drawn
    energy, steps = figure.axes
    assert "uJ per sample, cost model paper" in energy.get_xlabel()
    assert (energy.get_ylabel(), steps.get_xlabel()) == ("accuracy (%)", "mean exit step")
    (legend,) = figure.legends
    others = {"Pareto front", "fixed t", "choice per rule, 95 % interval"}
    others |= {"recommended"} if report.best else set()
    assert {text.get_text() for text in legend.get_texts()} == {*report.curves, *others}
    title = figure.get_suptitle()
    assert title.startswith("Early exit on 30 samples, thresholds from 30 others")
    assert report.aim in title and bool(report.missed) == ("misses this" in title) == (seed == 11)
    stars = [bar for bar in steps.containers if bar.lines[0].get_marker() == "*"]
    at = [(bar.lines[0].get_xdata()[0], bar.lines[0].get_ydata()[0]) for bar in stars]
    best = report.best.figures if report.best else None
    assert at == ([(best.mean_exit_step.value, 100 * best.accuracy.value)] if best else [])
    assert {t.get_text() for t in steps.texts} == {"t=1", "t=2", "t=3", "t=4"}


def test_a_foreign_folder_is_left_alone(tmp_path: Path) -> None:
    report = sweep(random_run(11, 60), PROGRAM, candidates=5, bootstrap=2)
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ProgramError, match="left alone"):
        report.save(tmp_path)
    PROGRAM.save(tmp_path / "program")
    with pytest.raises(ProgramError, match="left alone"):
        report.save(tmp_path / "program")


def test_results_show_themselves_in_a_line() -> None:
    run = random_run(12, 60)
    report = sweep(run, PROGRAM, ["margin"], keep_accuracy=3, bootstrap=2)
    shown = {
        "RunResult(60 samples, 2 layers, T=4, 3 classes, mean exit step 4.000)": run,
        "Counts(60 samples, 2 layers, T=4)": run.counts,
        "ScheduleReport(speculative, D=2, 60 samples)": schedule.work(PROGRAM, run),
        f"Curve(margin, {len(report.curves['margin'].threshold)} values of beta)": report.curves[
            "margin"
        ],
    }
    assert all(repr(value) == text for text, value in shown.items())
    assert repr(report) == f"SweepReport(margin; 30 samples, best: {report.best})"


def test_public_names_stay_functions() -> None:
    for name in ("sweep", "calibrate", "verify", "simulate"):
        assert callable(getattr(sd, name))
        assert callable(getattr(sd, name))
