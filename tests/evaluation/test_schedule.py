from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import seenn_deploy as sd
from seenn_deploy import ir
from seenn_deploy.cli import seenn
from seenn_deploy.costs.model import LayerSizes
from seenn_deploy.errors import DataError, ProgramError
from seenn_deploy.evaluation import schedule as schedules
from seenn_deploy.exits.confidence import Confidence
from seenn_deploy.exits.fixed import Fixed
from seenn_deploy.ir import schedule as arithmetic
from seenn_deploy.simulator.result import Counts, RunResult


def chain(stages: int, T: int) -> ir.SpikingGraph:
    """A network of `stages` synapse stages."""
    one = np.ones((2, 2), np.float32)
    names = ["input", *(f"p{k}" for k in range(stages - 1)), "out"]
    populations = [ir.Population(name, (2,)) for name in names[1:-1]]
    return ir.SpikingGraph(
        [ir.Source("input", (2, 1, 1)), *populations, ir.Readout("out", (2,))],
        [ir.Projection(a, b, (ir.Dense(one),)) for a, b in pairwise(names)],
        T,
    )


def a_run(exit_step: np.ndarray, stages: int, T: int, seed: int, full: bool = True) -> RunResult:
    """A run with random counts; what lies behind the exits is missing unless `full`."""
    rng = np.random.default_rng(seed)
    shape = (len(exit_step), stages, T)
    counts = Counts.zeros(*shape)
    for _, values in counts.items():
        values[:] = rng.integers(0, 1000, shape)
    logits = np.zeros((len(exit_step), T, 2), np.float32)
    if not full:
        counts = counts.between(np.zeros_like(exit_step), exit_step)
        logits[np.arange(1, T + 1) > exit_step[:, None]] = np.nan
    ones = np.ones(stages, np.int64)
    return RunResult(logits, exit_step, ["l"] * stages, counts, LayerSizes(ones, ones, ones))


@st.composite
def cases(draw: st.DrawFn) -> tuple[np.ndarray, int, int, int]:
    """Exit steps, D, T, seed."""
    T, stages = draw(st.integers(1, 8)), draw(st.integers(1, 6))
    exits = draw(st.lists(st.integers(1, T), min_size=1, max_size=5))
    return np.array(exits), stages, T, draw(st.integers(0, 1000))


# --- latency -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schedule", "latency", "interval"),
    [
        ("sequential", [1, 3, 4], [1, 3, 4]),
        ("pipelined", [19, 21, 22], [1, 3, 4]),
        ("speculative", [19, 21, 22], [4, 4, 4]),
        ("gated", [19, 57, 76], [19, 57, 76]),
    ],
)
def test_resnet19_by_hand(schedule: str, latency: list[int], interval: list[int]) -> None:
    """D = 18 and T = 4: the exit comes out long after all four steps went in."""
    exit_step = np.array([1, 3, 4])
    found = arithmetic.latency(schedule, exit_step, 18)
    assert found.tolist() == latency and found.dtype == np.int64
    steps = arithmetic.initiation_interval(schedule, exit_step, 18, 4)
    assert steps.tolist() == interval and steps.dtype == np.int64


def simulated(schedule: str, stop: int, stages: int, T: int) -> tuple[int, int]:
    """(latency, steps injected) by walking the hardware steps of one sample."""
    hardware, injected, decided, waiting = 0, 0, 0, False
    arrivals: dict[int, int] = {}  # hardware step -> SNN step whose logits come out
    known = schedule == "pipelined"
    while True:
        hardware += 1
        limit = stop if known else T
        if injected < limit and not waiting:
            injected += 1
            arrivals[hardware + stages] = injected
            waiting = schedule == "gated"
        if hardware in arrivals:
            decided = arrivals[hardware]
            waiting = False
            if decided == stop:
                return hardware, injected


@given(cases(), st.sampled_from(["pipelined", "speculative", "gated"]))
def test_against_a_walk_through_hardware_steps(
    case: tuple[np.ndarray, int, int, int], schedule: str
) -> None:
    exit_step, stages, T, seed = case
    rule = Fixed() if schedule == "pipelined" else Confidence(0.9)
    program = ir.Program(chain(stages, T), rule, schedule)  # type: ignore[arg-type]
    run = a_run(exit_step, stages, T, seed)
    found = schedules.work(program, run)
    assert found.depth == stages
    for n, stop in enumerate(exit_step):
        steps, injected = simulated(schedule, int(stop), stages, T)
        assert found.latency[n] == steps
        for kind in ("ac", "mac"):
            counts = getattr(run.counts, kind)[n]
            useful = sum(int(counts[layer, t]) for layer in range(stages) for t in range(stop))
            wasted = sum(
                int(counts[layer, t]) for layer in range(stages) for t in range(stop, injected)
            )
            assert getattr(found, f"useful_{kind}")[n] == useful
            assert getattr(found, f"wasted_{kind}")[n] == wasted


# --- work --------------------------------------------------------------------------------------


def test_speculation_by_hand() -> None:
    """D = 2, T = 5, exit at 1: steps 2 and 3 went in before the exit came out, 4 and 5 did not.

    An exit at 4 comes out after all five steps went in.
    """
    program = ir.Program(chain(2, 5), Confidence(0.9), "speculative")
    run = a_run(np.array([1, 4]), 2, 5, 0)
    run.counts.ac[:] = [[1, 10, 100, 1000, 10000], [2, 20, 200, 2000, 20000]]
    run.counts.mac[:] = [[1, 2, 4, 8, 16], [0, 0, 0, 0, 0]]
    found = schedules.work(program, run)
    assert (found.useful_ac.tolist(), found.wasted_ac.tolist()) == ([3, 3333], [330, 30000])
    assert (found.useful_mac.tolist(), found.wasted_mac.tolist()) == ([1, 15], [6, 16])
    assert found.initiation_interval.tolist() == [3, 5]
    expected = {
        "schedule": "speculative",
        "depth": 2,
        "latency_steps": (3 + 6) / 2,
        "initiation_interval_steps": (3 + 5) / 2,
        "useful_ac_per_sample": 3336 / 2,
        "wasted_ac_per_sample": 30330 / 2,
        "useful_mac_per_sample": 16 / 2,
        "wasted_mac_per_sample": 22 / 2,
        "wasted_share": pytest.approx(30352 / (30352 + 3352)),
    }
    assert found.summary() == expected
    told = schedules.summary(program, run)
    assert told.items() >= {k: v for k, v in expected.items() if not k.startswith("useful")}.items()


def test_a_speculative_schedule_pipelines_timesteps_that_are_known() -> None:
    run = a_run(np.array([1, 3]), 3, 4, 1)
    found = schedules.work(ir.Program(chain(3, 4), Fixed(), "speculative"), run)
    assert found.latency.tolist() == [4, 6] and found.initiation_interval.tolist() == [1, 3]
    assert found.wasted_ac.tolist() == found.wasted_mac.tolist() == [0, 0]


@pytest.mark.parametrize("schedule", ["gated", "pipelined"])
def test_nothing_is_wasted_where_nothing_is_guessed(schedule: Any) -> None:
    run = a_run(np.array([1, 3]), 3, 4, 1, full=False)
    program = ir.Program(chain(3, 4), Fixed(), schedule)
    found = schedules.work(program, run)
    assert found.wasted_ac.tolist() == found.wasted_mac.tolist() == [0, 0]
    assert found.useful_ac.tolist() == run.counts.ac.sum(axis=(1, 2)).tolist()
    assert schedules.summary(program, run)["wasted_energy_uJ_per_sample"] == 0


def test_wasted_work_needs_the_steps_behind_the_exit() -> None:
    program = ir.Program(chain(3, 8), Confidence(0.9), "speculative")
    run = a_run(np.array([1, 4]), 3, 8, 1, full=False)
    with pytest.raises(DataError, match="simulate with wasted=True or full_trace=True"):
        schedules.work(program, run)
    summary = schedules.summary(program, run)
    assert summary["latency_steps"] == summary["initiation_interval_steps"] == 5.5
    assert summary["wasted_share"] is None and summary["wasted_energy_uJ_per_sample"] is None


def test_summary_prices_the_waste() -> None:
    program = ir.Program(chain(1, 4), Confidence(0.9), "speculative")
    run = a_run(np.array([2, 4]), 1, 4, 2)
    found = schedules.summary(program, run, "paper")
    joules = (0.9 * run.counts.ac[0, 0, 2] + 4.6 * run.counts.mac[0, 0, 2]) * 1e-12
    assert found["wasted_energy_uJ_per_sample"] == pytest.approx(joules / 2 * 1e6)
    assert found["wasted_ac_per_sample"] == run.counts.ac[0, 0, 2] / 2


# --- what cannot be ----------------------------------------------------------------------------


def test_a_pipeline_must_know_its_timesteps() -> None:
    graph = chain(2, 4)
    with pytest.raises(ProgramError, match="'confidence' finds them on the way; use fixed or"):
        sd.compile(graph, Confidence(0.9), schedule="pipelined")
    program = sd.compile(graph, Fixed(), schedule="pipelined")
    with pytest.raises(ProgramError, match="a pipelined schedule must know"):
        program.with_exit(Confidence(0.9))
    with pytest.raises(ProgramError, match="a pipelined schedule must know"):
        sd.compile(graph, Confidence(0.9)).with_schedule("pipelined")


def test_a_schedule_that_does_not_exist() -> None:
    with pytest.raises(ProgramError, match="'eager' does not exist; there are sequential"):
        arithmetic.latency("eager", np.array([1]), 3)
    with pytest.raises(ProgramError, match="'eager' does not exist"):
        ir.Program(chain(2, 4), Fixed()).with_schedule("eager")  # type: ignore[arg-type]


# --- on the command line -----------------------------------------------------------------------


def simulate(folder: Path, *options: str) -> tuple[str, dict[str, Any]]:
    """Output and JSON of ``seenn simulate`` over five random images."""
    if not (folder / "build").exists():
        sd.compile(chain(2, 4), Confidence(0.4), schedule="speculative").save(folder / "build")
        x = np.random.default_rng(0).random((5, 2, 1, 1), np.float32)
        np.savez(folder / "x.npz", x=x)
    data = ["--data", str(folder / "x.npz"), "--json", str(folder / "out.json")]
    found = CliRunner().invoke(seenn, ["simulate", str(folder / "build"), *data, *options])
    if found.exception:
        raise found.exception
    return found.output, json.loads((folder / "out.json").read_text())


def test_simulate_says_what_is_missing_for_the_waste(tmp_path: Path) -> None:
    output, summary = simulate(tmp_path, "--skip-wasted")
    assert "add --full-trace" in output and "at least" in output
    assert summary["latency_steps"] == summary["mean_exit_step"] + 2
    assert summary["wasted_share"] is None


@pytest.mark.parametrize("options", [["--full-trace"], ["--schedule", "speculative"]])
def test_simulate_with_a_full_trace_changes_nothing(tmp_path: Path, options: list[str]) -> None:
    early = simulate(tmp_path)
    full = simulate(tmp_path, *options)
    assert "% of all operations" in " ".join(full[0].split()) and full[1]["wasted_share"] > 0
    assert full == early


def test_simulate_under_another_schedule(tmp_path: Path) -> None:
    _, gated = simulate(tmp_path, "--schedule", "gated")
    assert gated["schedule"] == "gated" and gated["wasted_share"] == 0
    assert gated["latency_steps"] == pytest.approx(gated["mean_exit_step"] * 3)
    with pytest.raises(ProgramError, match="a pipelined schedule must know"):
        simulate(tmp_path, "--schedule", "pipelined")
