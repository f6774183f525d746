"""What is printed is what ran: each schedule under each rule, against a walk through its steps."""

from __future__ import annotations

import json
import re
from functools import cache
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
from seenn_deploy.compiler.passes import balance_delays
from seenn_deploy.errors import ProgramError
from seenn_deploy.evaluation import schedule as schedules
from seenn_deploy.exits.policy import Policy
from seenn_deploy.ir import schedule as arithmetic
from tests import naive
from tests.exits.test_policy import write_policy
from tests.random_graphs import exact_weights

SHAPE, T, N = (3, 8, 8), 5, 8
PAPER = {"ac": 0.9, "mac": 4.6}
ROOT = Path(__file__).parents[2]
RULES: dict[str, dict[str, Any]] = {
    "fixed": {"rule": "fixed"},
    "confidence": {"rule": "confidence", "alpha": 0.55},
    "entropy": {"rule": "entropy", "theta": 0.3},
    "margin": {"rule": "margin", "beta": 0.6},
    "conformal": {"rule": "conformal", "level": 0.9, "quantiles": [0.5, 0.8, 1.0, 1.0, 1.0]},
    "policy": {"rule": "policy"},
}


@cache
def network() -> ir.SpikingGraph:
    """Two convolutions and a shortcut: D = 3, exact sums, spikes at every timestep."""
    rng = np.random.default_rng(6)
    first = ir.Conv2d(exact_weights(rng, (4, 3, 3, 3)), (2, 2), (1, 1), (1, 1), 1, None)
    second = ir.Conv2d(exact_weights(rng, (4, 4, 3, 3)), (1, 1), (1, 1), (1, 1), 1, None)
    shape = (4, 4, 4)
    graph = ir.SpikingGraph(
        [
            ir.Source("input", SHAPE),
            ir.Population("a", shape, v_threshold=0.5),
            ir.Population("b", shape, v_threshold=0.5),
            ir.Readout("out", (10,)),
        ],
        [
            ir.Projection("input", "a", (first,)),
            ir.Projection("a", "b", (second,)),
            ir.Projection("b", "out", (ir.Dense(exact_weights(rng, (10, 64))),)),
            ir.Projection("a", "out", (ir.Dense(exact_weights(rng, (10, 64), largest=0.25)),)),
        ],
        T,
    )
    return balance_delays.apply(graph)


@cache
def images() -> np.ndarray:
    """From nearly empty to full, so that every rule stops samples at several timesteps."""
    rng = np.random.default_rng(8)
    values = rng.integers(0, 5, (N, *SHAPE)) / 4
    kept = rng.random(values.shape) < np.linspace(0.05, 1, N)[:, None, None, None]
    return np.where(kept, values, 0).astype(np.float32)


@cache
def trace() -> naive.Trace:
    return naive.run(network(), images())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("energy")
    np.savez(folder / "x.npz", x=images())
    write_policy(folder, choices=(1, 2, 4), shape=SHAPE, T=T)
    return folder


def rule_of(name: str, folder: Path) -> sd.exits.ExitRule:
    return Policy(folder / "trained.onnx") if name == "policy" else sd.exits.from_dict(RULES[name])


def expected(name: str, schedule: str, rule: Any) -> list[tuple[naive.Walk, float]]:
    """Each sample's walk and what it spends, a policy network with its MACs by hand."""
    found = []
    chosen = rule.steps(list(images())) if name == "policy" else [T] * N
    for n in range(N):
        known = int(chosen[n]) if name in ("fixed", "policy") else None
        z = trace().logits[n]
        walked = naive.walk(
            network(), "pipelined" if known and schedule == "speculative" else schedule,
            lambda t, z=z: naive.stops(RULES[name], z[t - 1], t), known,
        )  # fmt: skip
        spent = naive.picojoules(walked.seen, trace(), n, PAPER)
        spent += PAPER["mac"] * rule.dense_macs if name == "policy" else 0
        found.append((walked, spent))
    return found


def simulate(folder: Path, program: sd.Program, *options: str) -> tuple[str, dict[str, Any]]:
    """Output and JSON of ``seenn simulate`` on the eight images."""
    program.save(folder / "build", force=True)
    data = ["--data", str(folder / "x.npz"), "--json", str(folder / "out.json")]
    command = ["simulate", str(folder / "build"), *data, *options]
    done = CliRunner().invoke(seenn, command, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output, json.loads((folder / "out.json").read_text())


@pytest.mark.parametrize("schedule", arithmetic.SCHEDULES)
@pytest.mark.parametrize("name", RULES)
def test_printed_energy_is_what_ran_times_its_price(folder: Path, name: str, schedule: Any) -> None:
    rule = rule_of(name, folder)
    program = sd.compile(network(), rule)
    if schedule == "pipelined" and not rule.known_before:
        with pytest.raises(ProgramError, match="must know"):
            program.with_schedule(schedule)
        return
    walks = expected(name, schedule, rule)
    program = program.with_schedule(schedule)
    output, found = simulate(folder, program)
    run = sd.simulate(program, images())
    assert run.exit_step.tolist() == [walked.exit_step for walked, _ in walks]
    if name not in ("fixed",):
        assert len({walked.exit_step for walked, _ in walks}) > 1
    spent = [picojoules for _, picojoules in walks]
    np.testing.assert_allclose(run.energy() * 1e12, spent, rtol=1e-9)
    total = float(np.mean(spent)) * 1e-6
    assert found["total_energy_uJ_per_sample"] == pytest.approx(total, rel=1e-9)
    assert found["latency_steps"] == pytest.approx(np.mean([w.steps for w, _ in walks]))
    assert found["initiation_interval_steps"] == pytest.approx(np.mean([w.more for w, _ in walks]))
    (printed,) = re.findall(r"^energy per sample +(\S+) uJ", output, re.M)
    assert float(printed) == pytest.approx(total, rel=5e-3)
    parts = ("useful", "wasted", "policy")
    assert sum(found[f"{part}_energy_uJ_per_sample"] for part in parts) == pytest.approx(total)
    _, traced = simulate(folder, program, "--full-trace")
    assert traced == found
    (times,) = re.findall(r"dense ANN +\S+ uJ \((\S+) times", output)
    assert float(times) == pytest.approx(found["dense_ann_energy_uJ"] / total, rel=0.05)


@pytest.mark.parametrize("name", RULES)
def test_schedules_stand_side_by_side(folder: Path, name: str) -> None:
    """The table and the JSON of one run are those of each schedule's own."""
    rule = rule_of(name, folder)
    output, found = simulate(folder, sd.compile(network(), rule))
    lines = {line.split()[0]: line.split() for line in output.splitlines() if line.split()}
    assert max(map(len, output.split("schedule      energy")[1].splitlines())) <= 80
    for schedule in arithmetic.SCHEDULES:
        row = [cell for cell in lines[schedule] if cell != "*"]
        if schedule == "pipelined" and not rule.known_before:
            assert found["schedules"][schedule] is None and row[1:] == ["-"] * 4
            continue
        walks = expected(name, schedule, rule)
        total, steps = (
            np.mean(x) for x in ([e * 1e-6 for _, e in walks], [w.steps for w, _ in walks])
        )
        told = found["schedules"][schedule]
        assert told["total_energy_uJ_per_sample"] == pytest.approx(total, rel=1e-9)
        assert told["latency_steps"] == pytest.approx(steps)
        assert float(row[1]) == pytest.approx(total, rel=5e-3)
        assert row[3:5] == [f"{steps:.2f}", "passes" if schedule == "sequential" else "steps"]


def test_without_the_wasted_timesteps_there_is_a_lower_bound_and_no_ratio(folder: Path) -> None:
    program = sd.compile(network(), rule_of("margin", folder), schedule="speculative")
    output, found = simulate(folder, program, "--skip-wasted")
    walks = expected("margin", "sequential", program.exit_rule)
    least = float(np.mean([picojoules for _, picojoules in walks])) * 1e-6
    assert found["energy_uJ_per_sample"] == pytest.approx(least)
    assert found["total_energy_uJ_per_sample"] is None
    assert found["wasted_energy_uJ_per_sample"] is None
    assert "at least" in output and "times as much" not in output
    run = sd.simulate(program, images(), wasted=False)
    assert run.lower_bound and not run.counts.between(run.exit_step, np.full(N, T)).ac.any()
    assert not sd.simulate(program, images()).lower_bound
    # A schedule that wastes nothing knows all that it spends.
    _, gated = simulate(folder, program, "--skip-wasted", "--schedule", "gated")
    assert gated["total_energy_uJ_per_sample"] == pytest.approx(least)
    done = CliRunner().invoke(
        seenn, ["simulate", "b", "--data", "x", "--skip-wasted", "--full-trace"]
    )
    assert "give one of them" in str(done.exception)


def test_a_run_folder_keeps_its_schedule(folder: Path, tmp_path: Path) -> None:
    program = sd.compile(network(), rule_of("margin", folder), schedule="speculative")
    run = sd.simulate(program, images(), out=tmp_path / "run")
    again = sd.RunResult.load(tmp_path / "run")
    np.testing.assert_array_equal(again.energy(), run.energy())
    assert again.timing == program.timing and again.wasted.ac.any()
    with pytest.raises(ProgramError, match="is a run with wasted True, not False"):
        sd.simulate(program, images(), out=tmp_path / "run", resume=True, wasted=False)
    manifest = json.loads((tmp_path / "run" / "run.json").read_text())
    del (
        manifest["timing"],
        manifest["run"]["wasted"],
        manifest["checksum"],
    )  # as earlier releases wrote it
    (tmp_path / "run" / "run.json").write_text(json.dumps(manifest))
    old = sd.RunResult.load(tmp_path / "run")
    np.testing.assert_array_equal(old.energy(), run.useful_energy())
    for wrong in ({"schedule": "later"}, {"depth": "2"}, {"known_before": 1}, [1]):
        (tmp_path / "run" / "run.json").write_text(json.dumps(manifest | {"timing": wrong}))
        with pytest.raises(ProgramError, match="damaged"):
            sd.RunResult.load(tmp_path / "run")


def test_a_target_brings_its_own_schedule(folder: Path, tmp_path: Path) -> None:
    program = sd.compile(network(), rule_of("margin", folder))
    program.save(tmp_path / "plain")
    program.save(tmp_path / "lava", targets=["lava"])
    program.save(tmp_path / "both", targets=["nir", "lava"])
    found = [sd.Program.load(tmp_path / name).schedule for name in ("plain", "lava", "both")]
    assert found == ["sequential", "speculative", "speculative"]
    assert (
        json.loads((tmp_path / "lava/lava/network.json").read_text())["schedule"] == "speculative"
    )
    command = ["compile", str(tmp_path / "plain"), "--target", "lava", "-o", str(tmp_path / "x")]
    done = CliRunner().invoke(seenn, [*command, "--schedule", "sequential"])
    assert "target lava cannot follow a sequential schedule" in str(done.exception)
    assert not (tmp_path / "x").exists()


# --- formulas ----------------------------------------------------------------------------------


def line(stages: int, T: int) -> ir.SpikingGraph:
    one = np.ones((1, 1), np.float32)
    names = ["input", *(f"p{k}" for k in range(stages - 1)), "out"]
    populations = [ir.Population(name, (1,)) for name in names[1:-1]]
    edges = pairwise(names)
    return ir.SpikingGraph(
        [ir.Source("input", (1, 1, 1)), *populations, ir.Readout("out", (1,))],
        [ir.Projection(a, b, (ir.Dense(one),)) for a, b in edges],
        T,
    )


@given(st.integers(1, 6), st.integers(1, 9), st.data())
def test_latency_and_wasted_timesteps(stages: int, T: int, data: st.DataObject) -> None:
    """Speculative wastes min(D, T - t*); the latencies are those of the design's table."""
    t, schedule = data.draw(st.integers(1, T)), data.draw(st.sampled_from(arithmetic.SCHEDULES))
    known = t if schedule == "pipelined" else None
    found = naive.walk(line(stages, T), schedule, lambda s: s == t, known)
    latency = {
        "sequential": t, "pipelined": t + stages, "speculative": t + stages,
        "gated": t * (stages + 1),
    }[schedule]  # fmt: skip
    wasted = min(stages, T - t) if schedule == "speculative" else 0
    timesteps = [s for layer, s in found.seen if layer == "out"]
    assert (found.exit_step, found.steps) == (t, latency)
    assert sorted(timesteps) == list(range(1, t + wasted + 1))
    how = arithmetic.Timing(schedule, stages, known is not None)
    at = np.array([t])
    assert how.latency(at).tolist() == [latency] and how.interval(at, T).tolist() == [found.more]
    assert how.injected(at, T).tolist() == [t + wasted]


# --- docs/costs.md -----------------------------------------------------------------------------


def by_hand() -> ir.SpikingGraph:
    """The network that docs/costs.md works through."""
    hidden = np.array([[1, 1], [0.5, 0.5], [0.5, 0.25]], np.float32)
    readout = np.array([[1, 1, 1], [-0.5, -0.5, -0.5]], np.float32)
    return ir.SpikingGraph(
        [
            ir.Source("input", (2, 1, 1)),
            ir.Population("hidden", (3,), tau=0.5, v_threshold=1.0),
            ir.Readout("out", (2,)),
        ],
        [
            ir.Projection("input", "hidden", (ir.Dense(hidden),)),
            ir.Projection("hidden", "out", (ir.Dense(readout),)),
        ],
        4,
    )


@pytest.mark.parametrize("schedule", arithmetic.SCHEDULES)
def test_the_calculation_in_the_documentation(schedule: Any) -> None:
    rule = sd.exits.Fixed() if schedule == "pipelined" else sd.exits.Confidence(0.9)
    program = sd.compile(by_hand(), rule, schedule=schedule)
    image = np.array([[[[1.0]], [[0.5]]]], np.float32)
    run = sd.simulate(program, image)
    assert run.counts.spikes[0, 0, : run.exit_step[0]].tolist() == [1, 2, 2, 2][: run.exit_step[0]]
    page = (ROOT / "docs/costs.md").read_text(encoding="utf-8")
    (row,) = re.findall(rf"^\| {re.escape(schedule)} \|(.*)\|$", page, re.M)
    cells = [cell.strip() for cell in row.split("|")]
    useful, wasted, total = (
        1e12 * float(x[0]) for x in (run.useful_energy(), run.wasted_energy(), run.energy())
    )
    figures = schedules.summary(program, run)
    unit = "passes" if schedule == "sequential" else "steps"
    assert cells == [
        f"{useful:.1f}", f"{wasted:.1f}", f"{total:.1f}", f"{figures['latency_steps']:.0f} {unit}"
    ]  # fmt: skip
