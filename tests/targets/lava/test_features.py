"""Graded sums, lags, synaptic currents, resets and leaky readouts on Lava: equal to the oracle."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from seenn_deploy.errors import ProgramError
from seenn_deploy.exits import integer
from seenn_deploy.exits.confidence import Confidence
from seenn_deploy.exits.fixed import Fixed
from seenn_deploy.exits.fusion import Fusion
from seenn_deploy.ir.graph import Population, SpikingGraph
from seenn_deploy.ir.program import Program, write
from seenn_deploy.simulator.engine import simulate
from seenn_deploy.targets.base import DeviceRun
from seenn_deploy.targets.devices import run
from seenn_deploy.verification.rounded import RoundedComparison
from seenn_deploy.verification.verify import verify, wrong_latencies
from tests.targets.lava import feature_graphs, graphs, integer_graphs, oracle, policies


def on_lava(program: Program, folder: Path, images: np.ndarray) -> DeviceRun:
    """A run that keeps what was wasted too."""
    folder.mkdir(exist_ok=True)
    write("lava", program, folder)
    return run(folder, images, record=True, wasted=True, timeout=180)


def made(graph: SpikingGraph, precision: str, rule: Any = None, seed: int = 3) -> Program:
    if precision == "float32":
        return graphs.program(graph, rule)
    whole = integer_graphs.integers(graph, np.random.default_rng(seed))
    return integer_graphs.program(whole, rule, logit_scale=1 / 128)


def assert_equals_oracle(
    ran: DeviceRun, program: Program, images: np.ndarray, exits: np.ndarray | None = None
) -> None:
    """Every wave that was sent, and where the rule stopped."""
    integers = program.precision == "int8"
    trace = oracle.run(program.graph, images, integers)
    z = ran.integer_logits if integers else ran.logits
    assert z is not None
    for n, sent in enumerate(ran.injected):
        for name, spikes in trace.spikes.items():
            assert np.array_equal(ran.spikes[name][n, :sent], spikes[n, :sent]), (n, name)
            assert not ran.spikes[name][n, sent:].any()
            if integers:
                assert np.array_equal(ran.v[name][n, :sent], trace.v[name][n, :sent]), (n, name)
        assert np.array_equal(z[n, :sent], trace.logits[n, :sent]), n
    assert set(ran.spikes) == set(trace.spikes), "sums have no spikes of their own"
    assert wrong_latencies(program, ran, full_trace=False) == 0
    expected = stops(program, trace.logits) if exits is None else exits
    assert np.array_equal(ran.exit_step, expected)
    rates = {name: spikes.mean() for name, spikes in trace.spikes.items()}
    assert all(0 < rate < 1 for rate in rates.values()), f"the neurons prove nothing: {rates}"
    assert all(values.max() > 1 for values in trace.payloads.values()), "no graded spike"
    assert len(set(expected.tolist())) >= 3, "the samples prove nothing"


def telling(program: Program, images: np.ndarray) -> Program:
    """With the confidence at which the samples stop at the most different timesteps."""
    z = oracle.run(program.graph, images, program.precision == "int8").logits
    rules = [program.with_exit(Confidence(a)) for a in (0.5, 0.7, 0.9, 0.99, 0.999, 0.99999)]
    best = max(rules, key=lambda rule: len(set(stops(rule, z).tolist())))
    assert len(set(stops(best, z).tolist())) >= 3, "the samples prove nothing"
    return best


def stops(program: Program, logits: np.ndarray) -> np.ndarray:
    rule: Any = program.exit_rule
    if program.precision == "int8":
        rule = integer.lower(rule, program.logit_scale, program.T)
    t = np.arange(1, program.T + 1)
    found = rule.stops(logits, np.broadcast_to(t, logits.shape[:2])) | (t == program.T)
    return found.argmax(axis=1) + 1


def test_a_rule_that_looks_back(tmp_path: Path) -> None:
    """On the device it sees all logits of its own sample, and none of the sample before."""
    program = made(feature_graphs.everything("direct"), "float32").with_schedule("speculative")
    images = feature_graphs.counts(program.graph, 10)
    z = oracle.run(program.graph, images, False).logits
    scores = Fusion().score(z, np.arange(1, program.T + 1))
    rules = [Fusion(float(bound)) for bound in np.quantile(scores, [0.2, 0.4, 0.6, 0.8])]
    programs = [program.with_exit(rule) for rule in rules]
    best = max(programs, key=lambda found: len(set(stops(found, z).tolist())))
    ran = on_lava(best, tmp_path, images)
    assert_equals_oracle(ran, best, images)


@pytest.mark.parametrize(
    ("coding", "schedule", "precision"),
    [
        ("direct", "speculative", "float32"),
        ("events", "speculative", "int8"),
        ("events", "gated", "float32"),
    ],
)
def test_samples_of_different_length(
    tmp_path: Path, precision: str, coding: str, schedule: Any
) -> None:
    program = made(feature_graphs.everything(coding), precision).with_schedule(schedule)
    images = feature_graphs.counts(program.graph, 10)
    program = telling(program, images)
    ran = on_lava(program, tmp_path, images)
    assert_equals_oracle(ran, program, images)


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_pipelined_behind_a_policy(tmp_path: Path, precision: str) -> None:
    graph = feature_graphs.everything("direct")
    rule = policies.convolutional(graph, tmp_path / "policy.onnx", (1, 2, 3, 5), seed=2)
    program = made(graph, precision, rule).with_schedule("pipelined")
    images = feature_graphs.counts(program.graph, 12)
    ran = on_lava(program, tmp_path / "bundle", images)
    assert_equals_oracle(ran, program, images, rule.steps(list(images)))


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_long_feedback_runs_gated(tmp_path: Path, precision: str) -> None:
    """From the last layer to the first, and to itself, in one timestep: only gated is in time."""
    program = made(feature_graphs.long_loop(), precision, Fixed())
    says = r"last -> first: feedback with a lag of 1 comes back 2 hardware steps too late on a "
    for schedule in ("speculative", "pipelined"):
        with pytest.raises(ProgramError, match=says + schedule + ".*; use --schedule gated"):
            write("lava", program.with_schedule(schedule), tmp_path)
    assert not list(tmp_path.iterdir())
    program = program.with_schedule("gated")
    images = feature_graphs.counts(program.graph, 6)
    program = telling(program, images)
    assert_equals_oracle(on_lava(program, tmp_path, images), program, images)


@pytest.mark.parametrize("schedule", ["speculative", "gated"])
def test_verified_with_weights_that_round(schedule: Any) -> None:
    program = made(feature_graphs.rough(feature_graphs.everything("events")), "float32")
    images = feature_graphs.counts(program.graph, 6)
    program = telling(program, images).with_schedule(schedule)
    report = verify(program, images, timeout=180)
    assert report.ok, report.first_differences
    assert report.wrong_logits == report.wrong_latencies == 0


@settings(max_examples=3, derandomize=True, phases=[Phase.generate])
@given(seed=st.integers(0, 99), precision=st.sampled_from(["float32", "int8"]))
def test_verified_random_graphs(seed: int, precision: str) -> None:
    graph = feature_graphs.shuffled(seed)
    program = graphs.in_time(made(graph, precision, Confidence(0.9), seed))
    report = verify(program, feature_graphs.counts(graph, 4, seed), timeout=180)
    assert report.exact, report.first_differences


def test_a_spike_that_no_past_explains_is_a_mismatch() -> None:
    """The replay looks through sums, lags and synaptic currents: a doctored device is found."""
    program = made(feature_graphs.everything("events"), "float32", Fixed())
    images = feature_graphs.counts(program.graph, 2)
    simulated = simulate(program, images, record=True, full_trace=True)
    populations = [n.name for n in program.graph.layers if isinstance(n, Population)]
    for name in populations:
        spikes = {k: s.copy() for k, s in simulated.spikes.items()}
        spikes[name][1, 3].flat[2] ^= True
        device = DeviceRun(simulated.logits, simulated.exit_step, simulated.exit_step + 4, spikes)
        report = RoundedComparison(program, images, simulated, device, True).report("lava", 0.0)
        (first,) = report.first_differences
        assert (first.sample, first.step, first.layer, first.kind) == (1, 4, name, "mismatch")
        assert not report.ok
