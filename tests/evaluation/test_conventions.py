"""One run under every cost model: each figure against the run's own, each gap with its reason."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from seenn_deploy import costs
from seenn_deploy.costs.model import LayerSizes
from seenn_deploy.evaluation import conventions
from seenn_deploy.ir.schedule import Timing
from seenn_deploy.simulator.result import RunResult
from tests.evaluation.test_schedule import a_run

PARTS = ("useful", "wasted", "policy", "total")


def the_run(full: bool = True) -> RunResult:
    """Three samples, four layers, five timesteps, a policy network beside them."""
    run = a_run(np.array([1, 3, 5]), 4, 5, seed=3, full=full)
    listed = (
        [9, 5000, 70, 10],
        [64, 9000, 3, 2],
        [80] * 4,
        [5] * 4,
        [1, 2, 1, 0],
        [1] * 4,
        [1] * 4,
    )
    sizes = LayerSizes(*(np.array(values) for values in listed))
    policy = LayerSizes(*(np.array([n]) for n in (30, 4, 700)))
    timing = Timing("speculative", 3)
    return replace(run, sizes=sizes, policy=policy, timing=timing)


@pytest.mark.parametrize("name", costs.names())
def test_a_row_is_what_the_run_says_of_itself(name: str) -> None:
    run = the_run()
    found = conventions.matrix(run)
    assert (found.samples, found.schedule, found.bits) == (3, "speculative", 3)
    (row,) = [row for row in found.summary()["cost_models"] if row["name"] == name]
    told = run.summary(name)
    keys = [f"{part}_energy_uJ_per_sample" for part in PARTS]
    for key in (*keys, "dense_ann_energy_uJ", "quantized_ann_energy_uJ"):
        assert row[key] == (told[key] if told[key] is None else pytest.approx(told[key])), key
    assert bool(row["reason"]) == any(row[key] is None for key in row)
    assert name not in ("paper", "memory") or not row["reason"]
    assert row["about"] == costs.load(name).about
    json.dumps(found.summary(), allow_nan=False)


def test_what_did_not_run_is_no_zero() -> None:
    (row,) = conventions.matrix(the_run(full=False), ["paper"]).rows
    assert row.wasted is None and row.total is None
    assert row.useful is not None and row.policy and row.dense_ann
    assert "did not run" in row.reason


def test_a_model_that_needs_more_than_the_run_has_says_so() -> None:
    run = the_run()
    short = replace(run, sizes=replace(run.sizes, events=None))
    paper, lemaire = conventions.matrix(short, ["paper", "lemaire"]).rows
    assert lemaire.useful is None and lemaire.total is None and lemaire.dense_ann
    assert "needs what is not known of these layers: events" in lemaire.reason
    assert paper.total and not paper.reason


def test_models_are_those_asked_for() -> None:
    rows = conventions.matrix(the_run(), ["loihi1", "paper"]).rows
    assert [row.name for row in rows] == ["loihi1", "paper"]
    assert [row.name for row in conventions.matrix(the_run()).rows] == costs.names()
