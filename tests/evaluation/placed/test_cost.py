"""What a placed run costs, wherever a cost is asked for."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import seenn_deploy as sd
from seenn_deploy.errors import DataError
from seenn_deploy.evaluation import activity
from seenn_deploy.evaluation.placed.cost import PlacedCost, resolved
from seenn_deploy.evaluation.schedule import summary
from seenn_deploy.ir.schedule import SCHEDULES
from tests.evaluation.placed.test_run import by_hand
from tests.targets.c.test_c import PROGRAM, seenn


def images(number: int = 12) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.random((number, *PROGRAM.graph.source.shape)).astype(np.float32)


def test_a_run_costs_what_its_cores_spend_under_every_schedule() -> None:
    program = PROGRAM.with_exit(sd.exits.Confidence(0.5))
    x = images()
    placed = sd.run_placed(program, sd.map_to_chip(program), x)
    cost = PlacedCost(placed)
    run = sd.simulate(program, x, wasted=True)
    for schedule in placed.timing.possible:
        under = run.under(schedule)
        whole = sum(placed.energy(schedule).values())
        np.testing.assert_allclose(under.energy(cost), whole, rtol=1e-12)
        np.testing.assert_allclose(
            under.wasted_energy(cost), placed.wasted_energy(schedule), atol=1e-18
        )
    told = summary(program, run, cost)["schedules"]
    for schedule in SCHEDULES:
        figures = placed.schedule(schedule)
        assert (told[schedule] is None) == (figures is None)
        if figures is not None:
            assert told[schedule]["total_energy_uJ_per_sample"] == pytest.approx(
                figures["total_energy_uJ_per_sample"]
            )
    assert run.summary(cost)["cost_model"] == "loihi1-placed"
    assert run.compare(cost).dense_energy is None
    assert activity.energy(run, cost).axes


def test_a_gated_step_is_paid_for_by_every_neuron() -> None:
    program, x = by_hand(sd.exits.Fixed())
    cost = PlacedCost(sd.run_placed(program, sd.map_to_chip(program), x))
    run = sd.simulate(program, x)
    joules = 1e-12 * 2 * 4 * 5 * 51.2  # two steps more for each of 4 timesteps, of 5 neurons
    more = run.under("gated").energy(cost) - run.under("pipelined").energy(cost)
    assert more == pytest.approx([joules])


def test_another_run_has_no_price() -> None:
    x = images(3)
    cost = PlacedCost(sd.run_placed(PROGRAM, sd.map_to_chip(PROGRAM), x))
    with pytest.raises(DataError, match="cost loihi1-placed: was counted for 3 samples"):
        sd.simulate(PROGRAM, x[:2]).energy(cost)


def test_a_sweep_prices_thresholds_and_fixed_timesteps() -> None:
    x = images(30)
    labels = np.arange(30) % PROGRAM.graph.readout.shape[0]
    run = sd.simulate(PROGRAM, x, labels, full_trace=True)
    placed = sd.run_placed(PROGRAM, sd.map_to_chip(PROGRAM), x)
    report = sd.sweep(run, PROGRAM, ["confidence"], cost=PlacedCost(placed), schedule="gated")
    assert report.cost == "loihi1-placed"
    at_T = sum(sd.run_placed(PROGRAM.with_exit(sd.exits.Fixed()), placed.placement, x)
               .energy("gated").values())[report.report]  # fmt: skip
    never = report.curves["confidence"]
    assert never.energy.max() == pytest.approx(at_T.mean())
    # With T known before, a pipeline need not wait: fewer steps at which neurons are accessed.
    assert report.fixed.energy[-1] < never.energy.max()


def test_the_command_line_takes_the_name_of_a_chip(tmp_path: Path) -> None:
    PROGRAM.save(tmp_path / "build")
    x = images(6)
    np.savez(tmp_path / "x.npz", x=x, y=np.zeros(6, int))
    words = tmp_path / "build", "--data", tmp_path / "x.npz"
    seenn("simulate", *words, "--cost", "loihi1-placed", "--json", tmp_path / "s.json")
    told = json.loads((tmp_path / "s.json").read_text())
    cost = resolved("loihi1-placed", PROGRAM, x)
    assert told["total_energy_uJ_per_sample"] == pytest.approx(
        1e6 * sd.simulate(PROGRAM, x).energy(cost).mean()
    )
    for chip, says in (("loihi2", "nobody has published"), ("loihi3", "does not exist")):
        done = seenn("simulate", *words, "--cost", f"{chip}-placed", code=2)
        (line,) = done.stderr.splitlines()
        assert says in line
    done = seenn("sweep", *words, "--cost", "loihi1-placed", "--split", "0.5")
    assert "loihi1-placed" in done.stdout
