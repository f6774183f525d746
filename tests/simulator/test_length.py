"""Signals of different lengths: each is what it would be alone, in a program of its own length."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import seenn_deploy as sd
from seenn_deploy import ir
from seenn_deploy.errors import DataError, DeviceError, ProgramError
from seenn_deploy.evaluation.schedule import work
from seenn_deploy.io.images.image_set import from_array
from seenn_deploy.targets.lava import interpreter
from seenn_deploy.verification.precision import compare_precisions
from tests.targets.c.tools import needs

T, CHANNELS, N = 6, 3, 10
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, T, CHANNELS)).astype(np.float32)
Y = RNG.integers(0, 4, N)
LENGTH = RNG.integers(1, T + 1, N)


def graph(T: int, seed: int = 0) -> ir.SpikingGraph:
    """A recurrent layer and a readout."""
    rng = np.random.default_rng(seed)
    first, back, last = (
        ir.Dense(rng.normal(size=size).astype(np.float32), np.zeros(size[0]))
        for size in ((8, CHANNELS), (8, 8), (4, 8))
    )
    nodes = [
        ir.Source("input", (CHANNELS, 1, 1), "events"), ir.Population("a", (8,), 0.5, 1.0),
        ir.Readout("out", (4,)),
    ]  # fmt: skip
    edges = [
        ir.Projection("input", "a", (first,)), ir.Projection("a", "a", (back,), lag=1),
        ir.Projection("a", "out", (last,)),
    ]  # fmt: skip
    return ir.SpikingGraph(nodes, edges, T)


def program(T: int = T, seed: int = 0, **options: Any) -> sd.Program:
    return sd.compile(graph(T, seed), sd.exits.Confidence(0.6), **options)


@pytest.fixture(scope="module")
def signals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("signals") / "signals.npz"
    behind = np.arange(T) >= LENGTH[:, None]
    # What lies behind the end is never read: NaN there would be refused.
    np.savez(path, x=np.where(behind[..., None], np.nan, X), y=Y, length=LENGTH, rate=20.0)
    return path


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 1000), full=st.booleans(), schedule=st.sampled_from(["gated", ""]))
def test_each_is_what_it_would_be_alone(seed: int, full: bool, schedule: str) -> None:
    made = program(seed=seed, schedule=schedule or "sequential")
    spec = {"shape": (CHANNELS, 1, 1), "coding": "events", "T": T}
    data = from_array(X, Y, length=LENGTH, **spec)
    run = sd.simulate(made, data, full_trace=full, slots=3)
    for n, length in enumerate(LENGTH.tolist()):
        alone = sd.simulate(program(length, seed), X[n : n + 1, :length], full_trace=full)
        np.testing.assert_array_equal(run.logits[n, :length], alone.logits[0])
        assert run.exit_step[n] == alone.exit_step[0] <= length
        for (name, ours), (_, theirs) in zip(run.counts.items(), alone.counts.items(), strict=True):
            np.testing.assert_array_equal(ours[n, :, :length], theirs[0], name)
            assert not ours[n, :, length:].any()
        if full:
            assert (run.logits[n, length:] == alone.logits[0, -1]).all()
    heard = np.mean(run.exit_step / LENGTH)
    assert run.summary()["share_heard"] == run.share_heard == heard


def test_speculation_ends_with_the_signal(signals: Path) -> None:
    run = sd.simulate(program(schedule="speculative"), signals)
    ran = (run.counts.updates_active + run.counts.updates_inactive).sum(1) > 0
    np.testing.assert_array_equal(ran.sum(1), np.minimum(run.exit_step + run.timing.depth, LENGTH))


def test_figures_stop_where_signals_do(signals: Path) -> None:
    made = program()
    found = sd.evaluate(made, signals, thresholds=[0.6, 1.0])
    by_hand = [np.minimum(t, LENGTH) for t in range(1, T + 1)]
    assert [p.mean_exit_step for p in found.fixed] == pytest.approx([k.mean() for k in by_hand])
    shares = [(k / LENGTH).mean() for k in by_hand]
    assert [p.share_heard for p in found.fixed] == pytest.approx(shares)
    assert found.seenn_1[1].mean_exit_step == LENGTH.mean() and found.rate == 20
    run = sd.simulate(made, signals)
    assert found.seenn_1[0].mean_exit_step == run.exit_step.mean()
    assert found.seenn_1[0].energy == pytest.approx(run.energy().mean())
    trace = sd.simulate(made, signals, full_trace=True)
    report = sd.sweep(trace, made, rules=["confidence"], bootstrap=10)
    last, told = report.baselines[-1], LENGTH[report.report]
    assert last.figures.mean_exit_step.value == told.mean()
    assert list(last.exit_histogram) == np.bincount(told, minlength=T + 1)[1:].tolist()


def test_a_full_pipeline_injects_nothing_behind_an_end(signals: Path) -> None:
    made = program().with_schedule("speculative")
    run = sd.simulate(made, signals, wasted=True)
    sent = np.minimum(run.exit_step + made.depth, LENGTH)
    report = work(made, run)
    np.testing.assert_array_equal(report.initiation_interval, sent)
    assert (sent < np.minimum(run.exit_step + made.depth, T)).any()


def test_a_run_folder_keeps_lengths(signals: Path, tmp_path: Path) -> None:
    run = sd.simulate(program(), signals, out=tmp_path / "run")
    loaded = sd.RunResult.load(tmp_path / "run")
    np.testing.assert_array_equal(loaded.length, LENGTH)
    assert loaded.summary() == run.summary()
    short = tmp_path / "short.npz"
    np.savez(short, x=X, y=Y, length=np.minimum(LENGTH, 2))
    with pytest.raises(ProgramError, match="is a run with images"):
        sd.simulate(program(), short, out=tmp_path / "run", resume=True)


def test_integers_and_the_c_folder_end_there_too(signals: Path) -> None:
    needs("cc")
    clean = np.where((np.arange(T) < LENGTH[:, None])[..., None], X, 0)
    integer = program(precision="int8", calibration=clean)
    for full in (False, True):
        report = sd.verify(integer, signals, "c", full_trace=full)
        assert report.ok and report.samples == N
        compared = sum(layer.compared for layer in report.layers)
        exits = np.array([a for a, _ in report.exit_steps])
        assert compared == 8 * int((LENGTH if full else exits).sum())
        assert (exits <= LENGTH).all()
    same = compare_precisions(program(), integer, sd_images(signals, program()))
    assert same.samples == N


def sd_images(path: Path, made: sd.Program) -> Any:
    return ir.inputs.for_program(made, path)


@pytest.mark.parametrize(
    ("precision", "schedule", "full"),
    [("float32", "speculative", False), ("int8", "gated", False), ("int8", "speculative", True)],
)
def test_lava_ends_there_too(signals: Path, precision: Any, schedule: Any, full: bool) -> None:
    clean = np.where((np.arange(T) < LENGTH[:, None])[..., None], X, 0)
    more = {"calibration": clean} if precision == "int8" else {}
    made = program(precision=precision, **more).with_schedule(schedule)
    report = sd.verify(made, signals, "lava", full_trace=full)
    assert report.ok and report.samples == N
    exits = np.array([a for a, _ in report.exit_steps])
    assert [a for _, a in report.exit_steps] == exits.tolist()
    assert (exits < LENGTH).any() and (exits <= LENGTH).all()
    compared = sum(layer.compared for layer in report.layers)
    assert compared == 8 * int((LENGTH if full else exits).sum())


@pytest.mark.parametrize(
    ("length", "message"),
    [
        (np.full(N - 1, 2), r"shape \(9,\), int64; give one whole number for each of 10 samples"),
        (np.ones(N), r"shape \(10,\), float64; give one whole number"),
        (np.arange(N), "timesteps from 0 to 9; the network has 1 to 6"),
    ],
)
def test_a_lava_bundle_refuses_other_lengths(tmp_path: Path, length: Any, message: str) -> None:
    program().save(tmp_path / "made", targets=["lava"])
    np.save(tmp_path / "x.npy", X[..., None, None])
    np.save(tmp_path / "length.npy", length)
    python = interpreter.find().python
    command = [python, tmp_path / "made/lava/run.py", "--data", tmp_path / "x.npy", "-o",
               tmp_path / "out", "--length", tmp_path / "length.npy"]  # fmt: skip
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 2 and re.search(message, ended.stderr)
    assert not (tmp_path / "out").exists()


def test_a_bundle_that_runs_to_T_refuses_them(signals: Path, tmp_path: Path) -> None:
    program().save(tmp_path / "made", targets=["lava"])
    network = tmp_path / "made/lava/network.json"
    network.write_text(json.dumps({**json.loads(network.read_text()), "version": 4}))
    with pytest.raises(DeviceError, match=r"runs every sample of .*lava to T, these have"):
        sd.run(tmp_path / "made", signals, device="lava")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"length": np.full(N, 0)}, r"length\[0\] is 0; it lies between 1 and T = 6"),
        ({"length": np.full(N, 7)}, r"length\[0\] is 7; it lies between"),
        ({"length": np.ones(3, int)}, r"length is int64 of shape \(3,\) for 10 samples"),
        ({"length": np.ones(N)}, r"length is float64 of shape \(10,\)"),
        ({"rate": np.array(-1.0)}, r"rate is -1.0; give timesteps a second"),
        ({"rate": np.ones(N)}, r"rate is \["),
    ],
)
def test_what_does_not_fit_is_refused(arrays: dict[str, Any], message: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "bad.npz", x=X, y=Y, **arrays)
    with pytest.raises(DataError, match=message):
        sd.simulate(program(), tmp_path / "bad.npz")


def test_images_have_no_length(tmp_path: Path) -> None:
    images = sd.example()
    still = sd.compile(sd.import_model(images.network, T=2, check=False))
    with np.load(images.images) as stored:
        np.savez(tmp_path / "images.npz", **stored, length=np.ones(len(stored["x"]), int))
    with pytest.raises(DataError, match="takes images, which have no length"):
        sd.simulate(still, tmp_path / "images.npz")
