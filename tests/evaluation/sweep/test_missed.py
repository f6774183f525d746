"""Sweeps without a choice, or with one that does not hold on the samples reported."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from seenn_deploy.cli.tables import sweeps
from seenn_deploy.errors import DataError
from seenn_deploy.evaluation.sweep.sweep import sweep
from seenn_deploy.ir.graph import SpikingGraph
from tests.evaluation.sweep.test_sweep import PROGRAM, random_run


def test_an_aim_missed_on_the_samples_reported_is_told() -> None:
    found = {seed: sweep(random_run(seed, 30), PROGRAM, keep_accuracy=0) for seed in range(6)}
    for report in found.values():
        lost = -100 * report.chosen[report.leader].figures.accuracy_change.value
        assert (f"{lost:.2f} points are lost" in report.missed) == (lost > 0)
        assert report.summary()["missed"] == report.missed
        assert dict(sweeps.sweep_notes(report, "", "")).get("missed", "") == report.missed
    assert len({bool(report.missed) for report in found.values()}) == 2


def test_the_rule_file_holds_what_is_recommended(tmp_path: Path) -> None:
    """Also where that is not the rule that was best to choose on."""
    found = [sweep(random_run(seed, 30), PROGRAM, keep_accuracy=0) for seed in range(6)]
    others = [x for x in found if x.rule != x.chosen[x.leader].rule]
    assert others and len(others) < len(found)
    for number, report in enumerate(found):
        assert report.best is not None and report.rule == report.best.rule
        report.save(tmp_path / str(number))
        stored = json.loads((tmp_path / str(number) / "rule.json").read_text())
        assert stored == report.rule.to_dict()
    without = sweep(random_run(0, 30), PROGRAM, ["margin"], bootstrap=2)
    assert without.rule is None and without.best is None


def test_what_is_best_can_be_passed_on() -> None:
    report = sweep(random_run(4, 60), PROGRAM, keep_accuracy=1, bootstrap=20)
    best = report.best
    assert best is not None and PROGRAM.with_exit(best.rule).exit_rule == report.rule == best.rule
    assert f"best: {best}" in repr(report) and repr(best).startswith(f"Choice({best}: ")
    figures = best.figures.summary()
    told = (best.accuracy, best.mean_exit_step, 1e6 * best.energy)
    keys = ("accuracy", "mean_exit_step", "energy_uJ_per_sample")
    assert told == tuple(figures[key] for key in keys)
    with pytest.warns(DeprecationWarning, match=r"is now SweepReport\.best"):
        assert report.recommended == best


def test_the_old_name_of_candidates_warns() -> None:
    run = random_run(4, 60)
    with pytest.warns(DeprecationWarning, match="thresholds of sweep is now candidates"):
        report = sweep(run, PROGRAM, ["margin"], thresholds=5, bootstrap=2)
    assert len(report.curves["margin"].threshold) <= 5


def test_a_budget_counts_what_speculation_wastes() -> None:
    """Exits at t = 1 fit into this budget, the two timesteps that follow them do not."""
    run = random_run(8, 300)
    budget = 1.1 * float(sweep(run, PROGRAM, ["margin"], bootstrap=2).fixed.energy[1])
    with pytest.raises(DataError, match=r"the cheapest takes .*, fixed t=2 takes [\d.]+ uJ"):
        sweep(run, PROGRAM, energy_budget=budget, bootstrap=2)
    for schedule in ("gated", "sequential"):
        assert sweep(run, PROGRAM, energy_budget=budget, schedule=schedule, bootstrap=2).best


def test_a_budget_missed_on_the_samples_reported_says_what_is_wasted() -> None:
    run = random_run(8, 300)
    cheapest = sweep(run, PROGRAM, ["margin"], bootstrap=2).curves["margin"].energy[0]
    found = [
        sweep(random_run(seed, 40), PROGRAM, ["margin"], energy_budget=1.2 * cheapest, bootstrap=2)
        for seed in range(12)
    ]
    (eager, *_) = [report for report in found if report.missed]
    figures = eager.chosen[eager.leader].figures
    spent, wasted = 1e6 * figures.energy.value, 1e6 * figures.wasted_energy.value
    assert eager.missed.startswith(f"{spent:.4g} uJ per sample are spent, ")
    assert eager.missed.endswith(f"{wasted:.3g} uJ of them wasted: a gated schedule wastes nothing")
    assert dict(sweeps.sweep_notes(eager, "", ""))["wasted"].startswith(
        f"{wasted:.3g} of {spent:.3g}"
    )


def test_a_single_timestep_has_no_exit_to_sweep() -> None:
    graph = PROGRAM.graph
    once = replace(PROGRAM, graph=SpikingGraph(graph.order, graph.projections, 1))
    with pytest.raises(DataError, match="a single timestep"):
        sweep(random_run(0, 9), once)
