"""Verification of integer programs: exact, or the first place that differs, by name."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seenn_deploy.exits.confidence import Confidence
from seenn_deploy.exits.margin import Margin
from seenn_deploy.io import folders
from seenn_deploy.ir.program import Program, write
from seenn_deploy.simulator.engine import simulate
from seenn_deploy.targets.base import DeviceRun
from seenn_deploy.verification.exact import ExactComparison
from seenn_deploy.verification.verify import VerifyReport, verify, wrong_latencies
from tests.targets.lava import graphs, integer_graphs


def program(T: int = 4) -> Program:
    return integer_graphs.program(integer_graphs.small(T), Confidence(0.8))


@pytest.mark.parametrize("schedule", ["speculative", "gated"])
def test_equal_on_lava(schedule: Any) -> None:
    program_ = program().with_schedule(schedule)
    report = verify(program_, graphs.images(program_.graph, 16), timeout=120)
    assert report.exact, report.first_differences
    summary = report.summary()
    json.dumps(summary)
    assert len({b for _, b in report.exit_steps}) >= 3
    assert summary["potentials_differing"] == summary["wrong_logits"] == 0
    assert summary["wrong_latencies"] == summary["exit_steps_differing"] == 0
    assert summary["spikes_compared"] == sum(b for _, b in report.exit_steps) * (48 + 8)


# --- a bundle that was altered after it was written ----------------------------------------------


def weight(spec: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    key = next(k for k in arrays if "first->second/weight" in k)
    arrays[key] = arrays[key].copy()
    arrays[key][3, 7] += 2


def threshold(spec: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    next(n for n in spec["nodes"] if n["name"] == "first")["v_threshold"] += 2000


def delay(spec: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    edge = next(e for e in spec["edges"] if (e["pre"], e["post"]) == ("first", "logits"))
    assert edge["delay"] == 1
    edge["delay"] = 0


def bias(spec: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    arrays["first/bias"] = arrays["first/bias"] + np.int16(1)


@pytest.mark.parametrize(
    ("corrupt", "layer", "quantity"),
    [
        (weight, "second", "v"),
        (threshold, "first", "spike"),
        (delay, "logits", "logit"),
        (bias, "first", "v"),
    ],
)
def test_an_altered_bundle_is_found(
    tmp_path: Path, corrupt: Callable[..., None], layer: str, quantity: str
) -> None:
    program_ = program()
    write("lava", program_, tmp_path)
    with np.load(tmp_path / "weights.npz") as stored:
        arrays = dict(stored)
    spec = json.loads((tmp_path / "network.json").read_text())
    corrupt(spec, arrays)
    np.savez(tmp_path / "weights.npz", **arrays)
    spec["sha256"] = {"weights.npz": folders.sha256(tmp_path / "weights.npz")}
    (tmp_path / "network.json").write_text(json.dumps(spec))
    images = graphs.images(program_.graph, 4)
    report = verify(program_, images, bundle=tmp_path, full_trace=True, timeout=120)
    assert not report.ok
    first = report.first_differences[0]
    assert (first.layer, first.quantity, first.kind) == (layer, quantity, "mismatch")
    assert first.simulated != first.device
    exact = simulate(program_, images, record=True, full_trace=True)
    kept = {"v": exact.v, "spike": exact.spikes, "logit": {"logits": exact.integer_logits}}
    place = (first.sample, first.step - 1, *first.neuron)
    assert kept[quantity][layer][place] == first.simulated
    shallower = [r for r in report.layers if program_.graph.depth[r.name] < _depth(program_, layer)]
    assert all(r.mismatching == r.potentials == 0 for r in shallower)


def _depth(program_: Program, layer: str) -> int:
    return program_.graph.depth[layer]


# --- the comparison alone ------------------------------------------------------------------------


class Doctored:
    """A simulated run in the clothes of a device's."""

    def __init__(self, full_trace: bool = True) -> None:
        self.program = program()
        self.images = graphs.images(self.program.graph, 4)
        self.full_trace = full_trace
        self.simulated = run = simulate(self.program, self.images, record=True, full_trace=True)
        assert run.integer_logits is not None
        last = np.full(4, 4) if full_trace else run.exit_step
        self.device = DeviceRun(
            run.logits.astype(np.float64), run.exit_step.copy(), last + 3,
            {name: spikes.copy() for name, spikes in run.spikes.items()},
            start=np.arange(4) * 4, injected=np.full(4, 4),
            v={name: v.copy() for name, v in run.v.items()},
            integer_logits=run.integer_logits.copy(),
        )  # fmt: skip

    def report(self) -> VerifyReport:
        compared = ExactComparison(
            self.program, self.images, self.simulated, self.device, self.full_trace
        )
        return compared.report("lava", 0.0)


def test_one_potential_off_by_one_is_a_mismatch() -> None:
    doctored = Doctored()
    assert doctored.report().exact
    doctored.device.v["second"][2, 1, 5] += 1
    doctored.device.v["first"][2, 3, 0, 0, 0] += 1  # shallower, but later
    report = doctored.report()
    assert not report.ok
    (first,) = report.first_differences
    where = (first.sample, first.step, first.layer, first.neuron, first.quantity)
    assert where == (2, 2, "second", (5,), "v")
    assert first.device == first.simulated + 1
    assert [layer.potentials for layer in report.layers] == [1, 1]


def test_close_decisions_are_those_before_the_end() -> None:
    """A lead of exactly beta at t = 1 and at T: the float rule is asked at t = 1 alone."""
    doctored = Doctored()
    assert doctored.report().near_exits == 0
    doctored.program = doctored.program.with_exit(Margin(32 * doctored.program.logit_scale))
    assert doctored.simulated.integer_logits is not None
    doctored.simulated.integer_logits[:] = 0
    doctored.simulated.integer_logits[:, [0, -1], 0] = 32
    assert doctored.report().near_exits == len(doctored.images)


def test_one_logit_off_by_one_is_a_mismatch() -> None:
    doctored = Doctored()
    assert doctored.device.integer_logits is not None
    doctored.device.integer_logits[1, 2, 3] -= 1
    report = doctored.report()
    (first,) = report.first_differences
    assert (first.sample, first.step, first.layer, first.neuron) == (1, 3, "logits", (3,))
    assert (report.ok, report.wrong_logits) == (False, 1)
    assert report.max_logit_difference == 1 / 64


def test_a_device_that_stops_elsewhere() -> None:
    doctored = Doctored(full_trace=False)
    assert doctored.report().exact
    late = int(np.flatnonzero(doctored.device.exit_step < 4)[0])
    doctored.device.exit_step[late] += 1
    report = doctored.report()
    (first,) = report.first_differences
    assert (first.sample, first.layer, first.quantity) == (late, "logits", "exit step")
    assert first.device == first.simulated + 1


def test_latencies_are_the_schedules() -> None:
    doctored = Doctored()
    ran, program_ = doctored.device, doctored.program
    assert wrong_latencies(program_, ran, True) == 0
    ran.hardware_steps[2] += 1
    assert wrong_latencies(program_, ran, True) == 1
    ran.start[1:] += 1  # one gap too long
    assert wrong_latencies(program_, ran, True) == 2
    gated = replace(program_, schedule="gated")
    assert wrong_latencies(gated, ran, True) == 4
