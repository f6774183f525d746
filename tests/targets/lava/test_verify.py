"""Verification: agreement, proven ties and their consequences, and everything that is neither."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seenn_deploy import ir
from seenn_deploy.exits.confidence import Confidence
from seenn_deploy.io import folders
from seenn_deploy.ir.program import write
from seenn_deploy.ir.replay import potentials
from seenn_deploy.simulator.engine import simulate
from seenn_deploy.targets.base import DeviceRun
from seenn_deploy.verification.rounded import RoundedComparison
from seenn_deploy.verification.verify import VerifyReport, verify
from tests import naive
from tests.targets.lava import feature_graphs, graphs, policies


def test_equal_on_lava() -> None:
    program = graphs.program(graphs.small(), Confidence(0.8))
    images = graphs.images(program.graph, 5)
    report = verify(program, images, timeout=120)
    assert report.exact
    summary = report.summary()
    json.dumps(summary)
    steps = sum(b for _, b in report.exit_steps)
    assert summary["spikes_compared"] == steps * (48 + 8)
    assert summary["spikes_mismatching"] == 0
    assert summary["max_logit_difference"] == 0
    assert summary["exit_steps_differing"] == 0


def test_another_weight_on_lava_is_a_mismatch(tmp_path: Path) -> None:
    program = graphs.program(graphs.small(), Confidence(0.8))
    write("lava", program, tmp_path)
    with np.load(tmp_path / "weights.npz") as stored:
        arrays = dict(stored)
    key = next(k for k in arrays if "input->first/weight" in k)
    arrays[key] = arrays[key] + 1
    np.savez(tmp_path / "weights.npz", **arrays)
    spec = json.loads((tmp_path / "network.json").read_text())
    spec["sha256"] = {"weights.npz": folders.sha256(tmp_path / "weights.npz")}
    (tmp_path / "network.json").write_text(json.dumps(spec))
    report = verify(program, graphs.images(program.graph, 2), bundle=tmp_path, timeout=120)
    assert not report.ok
    first = report.first_differences[0]
    assert (first.step, first.layer, first.kind) == (1, "first", "mismatch")
    assert first.distance > first.bound


def on_the_threshold() -> ir.Program:
    """A current of 1 meets a threshold of 1 + 5e-8, which float32 takes for 1."""
    nodes = [
        ir.Source("input", (2, 1, 1)),
        ir.Population("spikes", (2,), v_threshold=0.5),
        ir.Population("tied", (1,), tau=0.0, v_threshold=1 + 5e-8, comparison=">="),
        ir.Population("after", (2,), v_threshold=0.5),
        ir.Readout("logits", (2,)),
    ]
    edges = [
        graphs.edge("input", "spikes", ir.Dense(np.eye(2, dtype=np.float32))),
        graphs.edge("spikes", "tied", ir.Dense(np.full((1, 2), 0.5, np.float32))),
        graphs.edge("tied", "after", ir.Dense(np.ones((2, 1), np.float32))),
        graphs.edge("after", "logits", ir.Dense(np.eye(2, dtype=np.float32))),
    ]
    return graphs.program(ir.SpikingGraph(nodes, edges, 2))


def test_a_tie_on_lava_is_proven_and_its_consequences_counted() -> None:
    report = verify(on_the_threshold(), np.ones((1, 2, 1, 1), np.float32), timeout=120)
    assert report.ok
    assert not report.exact
    (first,) = report.first_differences
    assert (first.sample, first.step, first.layer, first.neuron) == (0, 1, "tied", (0,))
    assert first.kind == "tie"
    assert 1e-8 < first.distance <= first.bound < 1e-5
    tied, after = report.layers[1:]
    assert (tied.ties, tied.mismatches) == (1, 0)
    assert (tied.consequences, after.consequences) == (1, 4)
    assert after.mismatching == 4


# --- the comparison alone: the simulated arrays, doctored, as a device's -------------------------


class Doctored:
    """A simulated run in the clothes of a device's."""

    def __init__(self, rule: Any = None, full_trace: bool = True) -> None:
        self.program = graphs.program(graphs.small(), rule)
        self.images = graphs.images(self.program.graph, 4)
        self.full_trace = full_trace
        self.simulated = simulate(self.program, self.images, record=True, full_trace=full_trace)
        self.device = DeviceRun(
            self.simulated.logits.astype(np.float64),
            self.simulated.exit_step.copy(),
            self.simulated.exit_step + 3,
            {name: spikes.copy() for name, spikes in self.simulated.spikes.items()},
        )

    def report(self) -> VerifyReport:
        compared = RoundedComparison(
            self.program, self.images, self.simulated, self.device, self.full_trace
        )
        return compared.report("lava", 0.0)


def test_one_flipped_spike_is_a_mismatch() -> None:
    doctored = Doctored()
    assert doctored.report().exact
    doctored.device.spikes["second"][2, 1, 5] ^= True
    report = doctored.report()
    assert not report.ok
    (first,) = report.first_differences
    assert (first.sample, first.step, first.layer, first.neuron) == (2, 2, "second", (5,))
    assert report.layers[1].mismatches == 1
    assert report.layers[0].mismatching == 0


def test_a_mismatch_behind_a_tie_is_not_excused() -> None:
    program = on_the_threshold()
    x = np.ones((1, 2, 1, 1), np.float32)
    simulated = simulate(program, x, record=True, full_trace=True)
    spikes = {name: s.copy() for name, s in simulated.spikes.items()}
    spikes["tied"][:] = False
    spikes["after"][:] = False
    device = DeviceRun(np.zeros((1, 2, 2)), simulated.exit_step, simulated.exit_step + 4, spikes)
    assert simulated.spikes["tied"].any()
    assert RoundedComparison(program, x, simulated, device, True).report("lava", 0.0).ok
    spikes["after"][0, 1, 1] = True  # with nothing that would make it spike
    simulated.spikes["after"][0, 1, 1] = False
    report = RoundedComparison(program, x, simulated, device, True).report("lava", 0.0)
    assert not report.ok
    assert report.layers[2].mismatches == 1


def test_wrong_logits_are_found_though_all_spikes_agree() -> None:
    doctored = Doctored()
    doctored.device.logits[1, 2, 0] += 0.01
    report = doctored.report()
    assert not report.ok
    assert report.wrong_logits == 1
    assert report.max_logit_difference == pytest.approx(0.01)


def test_logits_of_samples_whose_spikes_differ_say_nothing() -> None:
    doctored = Doctored()
    doctored.device.spikes["first"][0, 1, 0, 0, 0] ^= True
    doctored.device.logits[0] += 1
    doctored.device.logits[1, 2, 0] += 0.01
    assert doctored.report().max_logit_difference == pytest.approx(0.01)


def test_a_device_stops_where_the_policy_said_before(tmp_path: Path) -> None:
    rule = policies.convolutional(graphs.small(), tmp_path / "policy.onnx", (1, 2, 3), seed=3)
    doctored = Doctored(rule)
    assert doctored.device.exit_step.max() < doctored.program.T
    assert doctored.report().exact


@pytest.mark.parametrize(("alpha", "by"), [(0.8, -1), (0.4, 1)])
def test_a_device_that_stops_elsewhere_than_its_rule_says(alpha: float, by: int) -> None:
    doctored = Doctored(Confidence(alpha))
    steps = doctored.device.exit_step + by
    early = int(np.flatnonzero((steps >= 1) & (steps <= doctored.program.T))[0])
    doctored.device.exit_step[early] += by
    report = doctored.report()
    assert not report.ok
    (first,) = report.first_differences
    assert (first.sample, first.layer, first.kind) == (early, "logits", "mismatch")
    assert report.summary()["exit_steps_differing"] == 1


def test_an_exit_on_the_rules_threshold_is_a_tie() -> None:
    doctored = Doctored(Confidence(0.8))
    n = int(np.flatnonzero(doctored.device.exit_step > 1)[0])
    rule, z = doctored.program.exit_rule, doctored.device.logits[n, 0]
    score = float(rule.score(z, np.array(1)))
    doctored.program = doctored.program.with_exit(Confidence(score))  # the simulator stays below
    z[z.argmax()] += 2e-8
    doctored.device.exit_step[:] = [
        naive.exit_step(logits, score) for logits in doctored.device.logits
    ]
    again = simulate(doctored.program, doctored.images, record=True, full_trace=True)
    doctored.simulated = again
    report = doctored.report()
    assert report.exit_steps[n][1] == 1 < report.exit_steps[n][0]
    assert report.ok
    assert [d.kind for d in report.first_differences if d.sample == n] == ["tie"]


# --- the replay it rests on ----------------------------------------------------------------------


GRAPHS = [graphs.everything, feature_graphs.everything]


@pytest.mark.parametrize("make", GRAPHS)
@pytest.mark.parametrize("coding", ["direct", "events"])
def test_the_replay_is_the_oracles(coding: str, make: Any) -> None:
    graph = graphs.program(make(coding)).graph
    images = graphs.images(graph, 2)
    trace = naive.run(graph, images)
    for n in range(2):
        spikes = {name: s[n] > 0 for name, s in trace.outputs.items() if name != "input"}
        for node in graph.layers:
            if isinstance(node, ir.Sum):
                continue
            found = potentials(graph, node.name, images[n], spikes)
            expected = trace.before_reset.get(node.name, trace.logits)[n]
            assert np.array_equal(found.value, expected), node.name
            assert (found.bound > 0).all()
            assert found.bound.max() < 4e-4


@pytest.mark.parametrize("reset", ["soft", "hard"])
@pytest.mark.parametrize("tau_syn", [0.0, 0.5])
def test_the_bound_by_hand(tau_syn: float, reset: Any) -> None:
    """Weights 1/2, -1/4 and 1 meet an image of 1, 2 and 0: with the bias, three are summed."""
    u, spikes, threshold = 2.0**-24, [True, False, False], 0.75
    neuron = ir.Population(
        "a", (1,), 0.5, threshold, 0.25, reset, bias=np.full(1, 0.125), tau_syn=tau_syn
    )
    graph = ir.SpikingGraph(
        [ir.Source("in", (3, 1, 1)), neuron, ir.Readout("out", (1,))],
        [
            ir.Projection("in", "a", (ir.Dense(np.array([[0.5, -0.25, 1]])),)),
            ir.Projection("a", "out", (ir.Dense(np.ones((1, 1))),)),
        ],
        T=3,
    )
    image = np.array([1.0, 2.0, 0.0]).reshape(3, 1, 1)
    found = potentials(graph, "a", image, {"a": np.array(spikes)[:, None]})
    v, off, current, current_off = 0.25, 0.25 * u, 0.0, 0.0
    for t, spiked in enumerate(spikes):
        added, added_off = 0.5 - 0.5 + 0.125, (3 + 2) * u * (0.5 + 0.5 + 0.125)
        if tau_syn:
            kept, current = tau_syn * current, tau_syn * current + added
            current_off = tau_syn * current_off + added_off + 3 * u * (abs(kept) + abs(current))
        else:
            current, current_off = added, added_off
        before, v = v, 0.5 * v + current
        off = 0.5 * off + current_off + 3 * u * (abs(0.5 * before) + abs(v))
        assert found.value[t, 0] == v
        assert found.bound[t, 0] == pytest.approx(off + u * threshold, rel=1e-12)
        if spiked and reset == "soft":
            v -= threshold
            off += u * (abs(v) + threshold)
        elif spiked:
            v, off = 0.0, 0.0


@pytest.mark.parametrize("make", [graphs.small, feature_graphs.everything])
def test_float32_stays_within_the_bound(make: Any) -> None:
    graph = graphs.program(feature_graphs.rough(make())).graph
    images = np.random.default_rng(3).random((6, *graph.source.shape), np.float32)
    exact = naive.run(graph, images)
    rough = naive.run(graph, images, forced=exact.outputs, dtype=np.float32)
    for n in range(6):
        spikes = {name: s[n] > 0 for name, s in exact.outputs.items() if name != "input"}
        for name in rough.before_reset:
            bound = potentials(graph, name, images[n], spikes).bound
            off = np.abs(
                rough.before_reset[name][n].astype(np.float64) - exact.before_reset[name][n]
            )
            assert (off <= bound).all()
            assert off.max() > 0


def test_synapses_in_float64() -> None:
    graph = graphs.everything()
    rng = np.random.default_rng(4)
    for projection in graph.projections:
        x = rng.random((3, *graph.node(projection.pre).shape))
        for t, row in enumerate(projection.synapses.currents(x)):
            assert np.allclose(row, naive.chain(projection.maps, x[t]), rtol=0, atol=1e-12)
