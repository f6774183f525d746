"""Bundles on Lava against the slow replay of the naive oracle: equal, spike for spike."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import Phase, given, settings

from seenn_deploy import exits
from seenn_deploy.errors import ProgramError
from seenn_deploy.exits.confidence import Confidence
from seenn_deploy.ir.graph import Population, SpikingGraph
from seenn_deploy.ir.program import Program, write
from seenn_deploy.targets.base import DeviceRun
from seenn_deploy.targets.devices import run
from tests import naive, random_graphs
from tests.targets.lava import graphs


def on_lava(program: Program, folder: Path, images: np.ndarray, full_trace: bool) -> DeviceRun:
    folder.mkdir(exist_ok=True)
    write("lava", program, folder)
    return run(folder, images, record=True, full_trace=full_trace, timeout=120)


def assert_equals_oracle(ran: DeviceRun, graph: SpikingGraph, images: np.ndarray) -> naive.Trace:
    trace = naive.run(graph, images)
    for node in graph.layers:
        if isinstance(node, Population):
            assert np.array_equal(ran.spikes[node.name], trace.outputs[node.name] > 0), node.name
    assert np.array_equal(ran.logits, trace.logits)
    return trace


@pytest.mark.parametrize("coding", ["direct", "events"])
def test_every_kind_of_synapse_and_neuron(tmp_path: Path, coding: str) -> None:
    program = graphs.program(graphs.everything(coding))
    images = graphs.images(program.graph, 3)
    ran = on_lava(program, tmp_path, images, full_trace=True)
    trace = assert_equals_oracle(ran, program.graph, images)
    for name, spikes in ran.spikes.items():
        assert 0 < spikes.mean() < 1, f"{name} proves nothing"
    assert len(np.unique(trace.logits[:, -1], axis=0)) == 3
    depth = program.graph.depth["logits"]
    assert depth == 7
    assert (ran.hardware_steps == 4 + depth).all()


@settings(max_examples=4, derandomize=True, phases=[Phase.generate])
@given(example=random_graphs.examples(largest=5, plain=True))
def test_random_graphs(
    tmp_path_factory: pytest.TempPathFactory, example: random_graphs.Example
) -> None:
    program = graphs.in_time(graphs.program(example.graph))
    ran = on_lava(program, tmp_path_factory.mktemp("bundle"), example.images, full_trace=True)
    assert_equals_oracle(ran, program.graph, example.images)


def test_samples_of_different_length_follow_each_other(tmp_path: Path) -> None:
    program = graphs.program(graphs.small(), Confidence(0.8))
    images = graphs.images(program.graph, 8)
    twice = np.concatenate([images, images[::-1]])  # everyone after another neighbour
    ran = on_lava(program, tmp_path, twice, full_trace=False)
    trace = naive.run(program.graph, twice)
    expected = [naive.exit_step(z, 0.8) for z in trace.logits]
    assert ran.exit_step.tolist() == expected
    assert len(set(expected)) >= 3, "the samples prove nothing"
    assert np.array_equal(ran.hardware_steps, ran.exit_step + 3)
    assert np.array_equal(ran.logits[:8], ran.logits[8:][::-1], equal_nan=True)
    for n, end in enumerate(expected):
        assert np.array_equal(ran.logits[n, :end], trace.logits[n, :end])
        assert np.isnan(ran.logits[n, end:]).all()
        for name, spikes in ran.spikes.items():
            assert np.array_equal(spikes[n, :end], trace.outputs[name][n, :end] > 0)
            assert not spikes[n, end:].any()


def test_a_full_trace_says_where_the_rule_stopped(tmp_path: Path) -> None:
    program = graphs.program(graphs.small(), Confidence(0.8))
    images = graphs.images(program.graph, 6)
    ran = on_lava(program, tmp_path, images, full_trace=True)
    trace = assert_equals_oracle(ran, program.graph, images)
    assert ran.exit_step.tolist() == [naive.exit_step(z, 0.8) for z in trace.logits]
    assert (ran.hardware_steps == 4 + 3).all()


# --- what the bundle is --------------------------------------------------------------------------


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    folder.mkdir()
    write("lava", graphs.program(graphs.small(), Confidence(0.8)), folder)
    return folder


def drive(
    lava: Path, bundle: Path, x: np.ndarray, *more: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    np.save(bundle.parent / "x.npy", x)
    command = [lava, bundle / "run.py", "--data", bundle.parent / "x.npy"]
    return subprocess.run(
        [*map(str, command), "-o", str(bundle.parent / "out"), *more],
        capture_output=True, text=True, timeout=120, cwd=bundle.parent, check=False,
        env={**os.environ, **variables},
    )  # fmt: skip


def test_a_bundle_stands_on_its_own(bundle: Path) -> None:
    spec = json.loads((bundle / "network.json").read_text())
    assert (spec["T"], spec["depth"], spec["tag"]) == (4, 3, "floating_pt")
    assert spec["exit_rule"] == {"rule": "confidence", "alpha": 0.8, "mean": False}
    assert list(spec["sha256"]) == ["weights.npz"]
    assert [n["depth"] for n in spec["nodes"]] == [0, 1, 2, 3]
    for name in ("base", "integer", *exits.names()):
        path = Path(exits.__file__).parent / f"{name}.py"
        assert (bundle / "exits" / path.name).read_text() == path.read_text()
    for path in bundle.rglob("*.py"):
        assert "import seenn_deploy" not in path.read_text()
        assert "from seenn_deploy" not in path.read_text()


def test_what_lava_cannot_run_is_refused(tmp_path: Path) -> None:
    program = graphs.program(graphs.small())
    with pytest.raises(ProgramError, match="precision 'int4': the Lava target runs float32, int8"):
        write("lava", replace(program, precision="int4"), tmp_path)


def test_a_python_without_lava_is_one_line(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "lava.py").write_text("raise ImportError('no lava here')")
    done = drive(
        Path(sys.executable), bundle, graphs.images(graphs.small(), 1), PYTHONPATH=str(tmp_path)
    )
    assert done.returncode == 2
    assert "cannot run Lava: no lava here" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_voltages_are_recorded_too(lava: Path, bundle: Path) -> None:
    graph = graphs.small()
    images = graphs.images(graph, 2)
    done = drive(lava, bundle, images, "--record-v", "--full-trace")
    assert done.returncode == 0, done.stderr
    trace = naive.run(graph, images)
    for name in ("first", "second"):
        v = np.load(bundle.parent / "out" / "v" / f"{name}.npy")
        assert np.array_equal(v, trace.membrane[name])
    assert not (bundle.parent / "out" / "spikes").exists()
    assert json.loads((bundle.parent / "out" / "run.json").read_text())["samples"] == 2


def test_altered_weights_are_refused(lava: Path, bundle: Path) -> None:
    weights = bytearray((bundle / "weights.npz").read_bytes())
    weights[len(weights) // 2] ^= 1
    (bundle / "weights.npz").write_bytes(weights)
    done = drive(lava, bundle, graphs.images(graphs.small(), 1))
    assert done.returncode == 2
    assert "weights.npz: the checksum differs" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (bundle.parent / "out").exists()


@pytest.mark.parametrize(
    ("x", "says"),
    [
        (np.zeros((1, 2, 4, 5), np.float32), "shape (1, 2, 4, 5), the network takes (N, 2, 4, 4)"),
        (np.zeros((0, 2, 4, 4), np.float32), "shape (0, 2, 4, 4)"),
        (np.zeros((2, 4, 4), np.float32), "shape (2, 4, 4)"),
        (np.zeros((1, 2, 4, 4), np.uint8), "uint8 values, the network takes float32"),
        (np.full((1, 2, 4, 4), np.nan, np.float32), "holds NaN or infinity"),
        (np.array(None), "no array there"),
    ],
)
def test_bad_data_is_one_line(lava: Path, bundle: Path, x: np.ndarray, says: str) -> None:
    done = drive(lava, bundle, x)
    assert done.returncode == 2
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (bundle.parent / "out").exists()


def test_foreign_folders_are_left_alone(lava: Path, bundle: Path) -> None:
    (bundle.parent / "out").mkdir()
    (bundle.parent / "out" / "thesis.txt").write_text("mine")
    done = drive(lava, bundle, graphs.images(graphs.small(), 1))
    assert done.returncode == 2
    assert "name another folder" in done.stderr
    assert (bundle.parent / "out" / "thesis.txt").read_text() == "mine"
