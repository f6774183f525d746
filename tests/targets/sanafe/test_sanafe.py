"""The SANA-FE target, run by SANA-FE itself: the simulator's spikes, and the oracle's counts."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import venv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import seenn_deploy as sd
from seenn_deploy import ir
from seenn_deploy.compiler.passes import balance_delays
from seenn_deploy.errors import DeviceError, ProgramError
from seenn_deploy.fidelity import RefusedError
from seenn_deploy.ir.program import examine, write
from seenn_deploy.targets.sanafe.device import Device
from tests import naive_integer
from tests.targets.lava import policies
from tests.targets.sanafe import networks, oracle

CONFIDENT = sd.exits.Confidence(0.8)
NEURONS = {"shortcuts": 40}  # of a core; 4 of the other networks


@pytest.mark.parametrize("name", networks.NETWORKS)
def test_spikes_potentials_logits_and_exits_are_the_simulator_s(name: str) -> None:
    graph = networks.NETWORKS[name]()
    program = networks.program(graph, CONFIDENT, "speculative")
    report = sd.verify(program, networks.samples(graph), "sanafe")
    assert report.exact, report
    as_counted(report)
    spiking = sd.simulate(program, networks.samples(graph), record=True, full_trace=True)
    for layer, spikes in spiking.spikes.items():
        assert 0 < spikes.mean() < 1, f"{layer} shows nothing"


def as_counted(report: Any) -> None:
    """Everything that SANA-FE measured is what we count from spikes, but for the tokens' time."""
    measured, counted = dict(report.measured), dict(report.counted)
    later = measured.pop("time_s") - counted.pop("time_s")
    # A token takes its receiver 16 ns, and its sender 5.1 ns for each core.
    assert -1e-12 < later < measured["tokens"] * 1e-9 * (16 + 5.1 * 128)
    assert measured == pytest.approx(counted, rel=1e-9)


@pytest.mark.parametrize(
    ("schedule", "full_trace"), [("gated", False), ("gated", True), ("pipelined", False)]
)
def test_schedules(schedule: str, full_trace: bool) -> None:
    graph = networks.shortcuts()
    rule = sd.exits.Fixed() if schedule == "pipelined" else CONFIDENT
    program = networks.program(graph, rule, schedule)
    report = sd.verify(program, networks.samples(graph), "sanafe", full_trace=full_trace)
    assert report.exact, report
    as_counted(report)


def test_events_come_at_the_time_of_each_layer_and_have_one_size() -> None:
    graph = networks.events(late=True)
    images = networks.samples(graph)
    assert sd.verify(networks.program(graph, CONFIDENT, "gated"), images, "sanafe").exact
    images[0, 0] /= 2
    twice = graph.replace([replace(graph.source, scale=2.0), *graph.layers])
    with pytest.raises(DeviceError, match="hold events of 2 sizes, and spikes carry no values on"):
        sd.verify(networks.program(twice, CONFIDENT, "speculative"), images, "sanafe")


@pytest.mark.parametrize("name", networks.NETWORKS)
def test_messages_hops_energies_and_times_are_counted_by_hand(name: str, tmp_path: Path) -> None:
    graph = networks.NETWORKS[name]()
    program = networks.program(graph, CONFIDENT, "speculative")
    images, chip = networks.samples(graph), networks.small_chip(tmp_path, NEURONS.get(name, 4))
    (tmp_path / "sanafe").mkdir()
    write("sanafe", program, tmp_path / "sanafe", chip=str(chip))
    ran = sd.run(tmp_path / "sanafe", images, device="sanafe", full_trace=True)
    placement = sd.map_to_chip(program, chip)
    assert placement.cores > 4, "no message would leave its tile"
    sent = ran.start[:, None] + np.arange(program.T)
    want = oracle.count(program, placement.summary(), chip, images, sent)
    assert want["hops"].sum() > 0
    for key, values in want.items():
        np.testing.assert_allclose(ran.measured[key], values, rtol=1e-9, err_msg=key)
    if name == "shortcuts":
        as_counted(sd.verify(program, images, "sanafe", bundle=tmp_path / "sanafe"))


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_random_networks_equal_the_oracle(tmp_path_factory, seed) -> None:
    graph = balance_delays.apply(networks.random(np.random.default_rng(seed)))
    images = networks.samples(graph, 2)
    folder = tmp_path_factory.mktemp("sanafe") / "build"
    networks.program(graph, sd.exits.Fixed(), "pipelined").save(folder, ["sanafe"])
    ran = sd.run(folder, images, device="sanafe", record=True)
    want = naive_integer.run(graph, images)
    np.testing.assert_array_equal(ran.integer_logits, want.logits)
    for node in graph.populations:
        np.testing.assert_array_equal(ran.spikes[node.name], want.outputs[node.name] != 0)
        np.testing.assert_array_equal(ran.v[node.name], want.membrane[node.name])


def test_a_policy_network_chooses_on_the_host(tmp_path: Path) -> None:
    graph = networks.converted(">")
    rule = policies.convolutional(graph, tmp_path / "policy.onnx", (1, 2, 4), 3)
    program = networks.program(graph, sd.exits.Fixed(), "pipelined").with_exit(rule)
    report = sd.verify(program, networks.samples(graph, 6), "sanafe")
    assert report.exact, report
    assert report.policy_scores == 6 * len(rule.choices)
    assert "policy network" in report.notes[1]


def refused(**changes: Any) -> str:
    graph = networks.converted(">")
    nodes = [replace(n, **changes) if n.name == "second" else n for n in graph.order]
    program = networks.program(graph.replace(nodes), CONFIDENT, "speculative")
    with pytest.raises(RefusedError) as error:
        examine("sanafe", program)
    return str(error.value)


def test_what_its_units_cannot_compute_is_refused_by_name() -> None:
    assert re.search("second: a synaptic current that leaks", refused(tau_syn=0.5))
    assert re.search("second: a soft reset by 32, SANA-FE's", refused(reset_by=32.0))
    assert re.search(
        "second: a soft reset at v >= V with a leak", refused(comparison=">=", tau=0.5)
    )
    assert re.search("second: states may leave the 24 bits", refused(v_init=float(2**23 - 1)))
    recurrent = networks.converted(">")
    loop = ir.Projection("second", "second", (ir.Identity(np.asarray(8, np.int16)),), lag=1)
    recurrent = recurrent.replace(projections=[*recurrent.projections, loop])
    with pytest.raises(RefusedError, match=r"second -> second: a lag of 1, .* take target lava"):
        examine("sanafe", networks.program(recurrent, CONFIDENT, "speculative"))


def test_chips_that_it_cannot_simulate_are_one_line(tmp_path: Path) -> None:
    program = networks.program(networks.dense(), CONFIDENT, "speculative")
    with pytest.raises(ProgramError, match="chip loihi2 has no energies and times"):
        write("sanafe", program, tmp_path, chip="loihi2")
    with pytest.raises(ProgramError, match="2,000 neurons a core, SANA-FE's soma unit 1,024"):
        write("sanafe", program, tmp_path, chip=str(networks.small_chip(tmp_path, 2000)))
    assert [path.name for path in tmp_path.iterdir()] == ["small.json"]


def test_the_command_takes_a_chip(tmp_path: Path) -> None:
    program = networks.program(networks.dense(), CONFIDENT, "speculative")
    program.save(tmp_path / "a")
    chip = networks.small_chip(tmp_path, 4)

    def seenn(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "seenn_deploy", *words]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    refused = seenn("compile", "a", "-o", "b", "--chip", "small.json", "--target", "nir")
    assert refused.returncode == 2 and "error: --chip is what --target sanafe" in refused.stderr
    lacking = seenn("compile", "a", "-o", "b", "--chip", "loihi2", "--target", "sanafe")
    assert lacking.returncode == 2 and "chip loihi2 has no energies" in lacking.stderr
    assert not (tmp_path / "b").exists()
    program.save(tmp_path / "b", ["sanafe"], options={"sanafe": {"chip": str(chip)}})
    assert Device(tmp_path / "b" / "sanafe").chip.endswith("chip.json")


def test_inputs_beyond_what_was_proven_are_refused(tmp_path: Path) -> None:
    graph = networks.dense()
    program = networks.program(graph, CONFIDENT, "speculative")
    wide = replace(program, input_range=(-np.inf, np.inf))
    wide.save(tmp_path / "build", ["sanafe"])
    images = -1e4 * networks.samples(graph)
    with pytest.raises(DeviceError, match=r"sample 0: a current of .* give values nearer to 0"):
        sd.run(tmp_path / "build", images, device="sanafe")


def test_what_stands_in_the_way_of_a_run_is_one_line(tmp_path: Path) -> None:
    program = networks.program(networks.dense(), CONFIDENT, "speculative")
    program.save(tmp_path / "build", ["sanafe"])
    folder = tmp_path / "build" / "sanafe"
    with pytest.raises(ProgramError, match="no SANA-FE folder here; make one with seenn compile"):
        Device(tmp_path)
    with pytest.raises(DeviceError, match="timing 'fast'; there are simple and detailed"):
        Device(folder, timing="fast")  # type: ignore[arg-type]
    with pytest.raises(DeviceError, match="no Python there"):
        Device(folder, python=tmp_path / "python")
    bare = tmp_path / "bare"
    venv.create(bare, with_pip=False)
    with pytest.raises(DeviceError, match=r"not installed for .*; pip install 'seenn-deploy\[sana"):
        Device(folder, python=bare / "bin" / "python")
    spec = json.loads((folder / "network.json").read_text())
    (folder / "network.json").write_text(json.dumps(spec | {"synapses": 10**9}))
    with pytest.raises(DeviceError, match="1,000,000,000 synapses take SANA-FE about 3725 GiB"):
        sd.run(folder, networks.samples(networks.dense()), device="sanafe")


def test_the_tables_tell_what_it_measured(tmp_path: Path) -> None:
    program = networks.program(networks.dense(), CONFIDENT, "speculative")
    program.save(tmp_path / "build", ["sanafe"])
    np.save(tmp_path / "x.npy", networks.samples(networks.dense()))
    words = ["verify", "build", "--device", "sanafe", "--data", "x.npy", "--json", "found.json"]
    done = subprocess.run(
        [sys.executable, "-m", "seenn_deploy", *words], cwd=tmp_path, text=True, check=True,
        capture_output=True,
    )  # fmt: skip
    assert re.search(r"chip +loihi1, simulated by SANA-FE 2.2.9", done.stdout)
    assert re.search(r"energy of neurons, uJ +([\d.]+) +\1 +0\n", done.stdout)
    measured = json.loads((tmp_path / "found.json").read_text())["measured"]
    assert measured["messages"] > measured["tokens"] == 3
    detailed = sd.run(
        tmp_path / "build", networks.samples(networks.dense()), device="sanafe", timing="detailed"
    )
    assert detailed.measured["messages"].sum() == measured["messages"]
    assert detailed.measured["time_s"].sum() > 0
