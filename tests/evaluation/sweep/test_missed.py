"""Sweeps without a choice, or with one that does not hold on the samples reported."""

from __future__ import annotations

from dataclasses import replace

import pytest

from seenn_deploy.cli.tables import sweeps
from seenn_deploy.errors import DataError
from seenn_deploy.evaluation.sweep.sweep import sweep
from seenn_deploy.ir.graph import SpikingGraph
from tests.evaluation.sweep.test_sweep import PROGRAM, random_run


def test_an_aim_missed_on_the_samples_reported_is_told() -> None:
    found = {seed: sweep(random_run(seed, 30), PROGRAM, keep_accuracy=0) for seed in range(6)}
    for report in found.values():
        lost = -100 * report.chosen[report.best].figures.accuracy_change.value
        assert (f"{lost:.2f} points are lost" in report.missed) == (lost > 0)
        assert report.summary()["missed"] == report.missed
        assert dict(sweeps.sweep_notes(report, "", "")).get("missed", "") == report.missed
    assert len({bool(report.missed) for report in found.values()}) == 2


def test_a_budget_is_missed_by_what_speculation_wastes() -> None:
    run = random_run(8, 300)
    budget = 1.1 * float(sweep(run, PROGRAM, ["margin"], bootstrap=2).fixed.energy[1])
    eager = sweep(run, PROGRAM, energy_budget=budget, bootstrap=2)
    assert eager.missed.endswith("were allowed; a gated schedule wastes nothing")
    figures = eager.chosen[eager.best].figures
    total = 1e6 * (figures.energy.value + figures.wasted_energy.value)
    assert eager.missed.startswith(f"{total:.4g} uJ per sample with what is wasted")
    assert f"{total:.3g} in all" in dict(sweeps.sweep_notes(eager, "", ""))["wasted"]
    assert not sweep(run, PROGRAM, energy_budget=2 * budget, schedule="gated", bootstrap=2).missed


def test_a_single_timestep_has_no_exit_to_sweep() -> None:
    graph = PROGRAM.graph
    once = replace(PROGRAM, graph=SpikingGraph(graph.order, graph.projections, 1))
    with pytest.raises(DataError, match="a single timestep"):
        sweep(random_run(0, 9), once)
