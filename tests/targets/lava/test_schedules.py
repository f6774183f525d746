"""Schedules for real: what Lava did, step for step, against what ``schedules`` says it does."""

import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seenn_deploy.evaluation import schedule
from seenn_deploy.exits.confidence import Confidence
from seenn_deploy.ir.graph import Population
from seenn_deploy.ir.program import Program, write
from seenn_deploy.simulator.engine import simulate
from seenn_deploy.targets.base import DeviceRun
from seenn_deploy.targets.devices import run
from seenn_deploy.targets.lava import policy
from seenn_deploy.verification.exact import ExactComparison
from seenn_deploy.verification.rounded import RoundedComparison
from seenn_deploy.verification.verify import verify, wrong_latencies
from tests import naive, naive_integer, naive_policy
from tests.targets.lava import graphs, integer_graphs, policies

D = 3


def program(precision: str, T: int, rule: Any = None) -> Program:
    if precision == "int8":
        return integer_graphs.program(integer_graphs.small(T), rule or Confidence(0.8))
    return graphs.program(graphs.small(T), rule or Confidence(0.8))


def on_lava(program: Program, folder: Path, images: np.ndarray) -> DeviceRun:
    """A run that keeps what was wasted too."""
    folder.mkdir(exist_ok=True)
    write("lava", program, folder)
    return run(folder, images, record=True, wasted=True, timeout=120)


def assert_as_simulated(ran: DeviceRun, program: Program, images: np.ndarray) -> None:
    """Exits, latencies, starts, every wave that was sent, and the work it caused."""
    simulated = simulate(program, images, full_trace=True)
    assert np.array_equal(ran.exit_step, simulated.exit_step)
    assert len(set(ran.exit_step.tolist())) >= 3, "the samples prove nothing"
    said = schedule.work(program, simulated)
    assert said.depth == D
    assert np.array_equal(ran.hardware_steps, said.latency)
    assert np.array_equal(np.diff(ran.start), said.initiation_interval[:-1])
    assert_waves(ran, program, images)
    useful, wasted = work(ran, program, images)
    assert useful.tolist() == said.useful_ac.tolist()
    assert wasted.tolist() == said.wasted_ac.tolist()


def assert_waves(ran: DeviceRun, program: Program, images: np.ndarray) -> None:
    """Each timestep that was sent is what the slow oracle says; nothing else was seen."""
    oracle: Any = naive_integer if program.precision == "int8" else naive
    trace = oracle.run(program.graph, images)
    z = ran.integer_logits if program.precision == "int8" else ran.logits
    for n, sent in enumerate(ran.injected):
        for name, spikes in ran.spikes.items():
            assert np.array_equal(spikes[n, :sent], trace.outputs[name][n, :sent] > 0)
            assert not spikes[n, sent:].any()
            if program.precision == "int8":
                assert np.array_equal(ran.v[name][n, :sent], trace.membrane[name][n, :sent])
        assert np.array_equal(z[n, :sent], trace.logits[n, :sent])


def work(ran: DeviceRun, program: Program, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Accumulates of each sample up to its exit and behind it, from the device's own spikes."""
    T = program.T
    by_step = np.zeros((len(images), T), np.int64)
    for edge in program.graph.projections:
        if isinstance(program.graph.node(edge.pre), Population):
            fan_out = edge.synapses.fan_out(program.graph.node(edge.pre).shape)
            by_step += (ran.spikes[edge.pre] * fan_out).reshape(len(images), T, -1).sum(axis=2)
    useful = np.arange(T) < ran.exit_step[:, None]
    return (by_step * useful).sum(axis=1), (by_step * ~useful).sum(axis=1)


@pytest.mark.parametrize("precision", ["int8", "float32"])
def test_speculative(tmp_path: Path, precision: str) -> None:
    """T = 7 steps, an exit known 3 steps late: most samples waste some, the late ones fewer."""
    program_ = program(precision, 7)
    images = graphs.images(program_.graph, 16)
    ran = on_lava(program_, tmp_path, images)
    assert_as_simulated(ran, program_, images)
    assert np.array_equal(ran.injected, np.minimum(ran.exit_step + D, 7))
    assert len(set((ran.injected - ran.exit_step).tolist())) >= 2


@pytest.mark.parametrize("precision", ["int8", "float32"])
def test_gated(tmp_path: Path, precision: str) -> None:
    program_ = program(precision, 4).with_schedule("gated")
    images = graphs.images(program_.graph, 16)
    ran = on_lava(program_, tmp_path, images)
    assert_as_simulated(ran, program_, images)
    assert np.array_equal(ran.injected, ran.exit_step)
    assert np.array_equal(ran.hardware_steps, ran.exit_step * (D + 1))


@pytest.mark.parametrize(
    ("precision", "schedule"),
    [("int8", "pipelined"), ("float32", "pipelined"), ("int8", "speculative")],
)
def test_pipelined_behind_a_policy(tmp_path: Path, precision: str, schedule: Any) -> None:
    """The policy network runs inside the source's process; no step is wasted, none is empty."""
    graph = program(precision, 4).graph
    rule = policies.convolutional(graph, tmp_path / "policy.onnx", (1, 2, 3, 4), seed=2)
    program_ = program(precision, 4, rule).with_schedule(schedule)
    images = graphs.images(graph, 16)
    ran = on_lava(program_, tmp_path / "bundle", images)
    assert wrong_latencies(program_, ran, False) == 0
    assert ran.exit_step.tolist() == rule.steps(list(images)).tolist()
    assert_as_simulated(ran, program_, images)
    assert np.array_equal(ran.start, np.cumsum(ran.exit_step) - ran.exit_step)
    assert np.array_equal(ran.hardware_steps, ran.exit_step + D)
    simulated = simulate(program_, images, record=True, full_trace=precision == "int8")
    compare = ExactComparison if precision == "int8" else RoundedComparison
    assert compare(program_, images, simulated, ran, False).report("lava", 0.0).exact
    ran.exit_step[4] = 5 - ran.exit_step[4]
    assert not compare(program_, images, simulated, ran, False).report("lava", 0.0).ok


def test_the_integer_policy_chooses_on_lava_as_in_the_simulator(tmp_path: Path) -> None:
    bare = replace(program("int8", 4), input_range=(0.0, 1.0))
    rule = policies.convolutional(bare.graph, tmp_path / "policy.onnx", (1, 2, 3, 4), seed=2)
    program_ = bare.with_exit(rule)
    images = graphs.images(bare.graph, 8)
    report = verify(program_, images, "lava", timeout=120)
    assert report.ok
    assert (report.policy_scores, report.wrong_policy_scores) == (32, 0)
    steps = {there for _, there in report.exit_steps}
    assert len(steps) >= 3, "the samples prove nothing"
    assert program_.policy is not None
    whole = bare.graph.source.integers(images)
    stored, arrays = program_.policy.to_arrays()
    want = [naive_policy.scores(stored, arrays, x) for x in whole]
    assert [there for _, there in report.exit_steps] == [1 + int(np.argmax(s)) for s in want]


def test_sixteen_samples_in_one_pipelined_run_equal_sixteen_runs(
    tmp_path: Path, lava: Path
) -> None:
    graph = program("int8", 4).graph
    rule = policies.convolutional(graph, tmp_path / "policy.onnx", (1, 2, 3, 4), seed=2)
    program_ = program("int8", 4, rule).with_schedule("pipelined")
    images = graphs.images(graph, 16)
    together = on_lava(program_, tmp_path / "bundle", images)
    np.save(tmp_path / "x.npy", images)
    script = Path(__file__).with_name("separately.py")
    files = [tmp_path / "bundle", tmp_path / "x.npy", tmp_path / "out.npz"]
    done = subprocess.run(
        [str(lava), str(script), *map(str, files)],
        capture_output=True, text=True, timeout=170, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    alone = np.load(tmp_path / "out.npz")
    assert np.array_equal(together.exit_step, alone["exit_step"])
    assert len(set(together.exit_step.tolist())) >= 3
    assert together.integer_logits is not None
    assert np.array_equal(together.integer_logits, alone["logits"])
    for name in ("first", "second"):
        assert np.array_equal(together.spikes[name], alone[f"spikes/{name}"])
        assert np.array_equal(together.v[name], alone[f"v/{name}"])


def test_a_policy_network_in_numpy_equals_onnxruntime(tmp_path: Path) -> None:
    graph = graphs.small()
    images = graphs.images(graph, 64)
    chosen = set()
    for seed in range(6):
        rule = policies.convolutional(graph, tmp_path / f"{seed}.onnx", (1, 3, 4), seed)
        network = policy.lower(rule)
        assert network is not None
        steps = network.timesteps(images)
        assert np.array_equal(steps, rule.steps(list(images)))
        chosen |= set(steps.tolist())
    assert chosen == {1, 3, 4}
