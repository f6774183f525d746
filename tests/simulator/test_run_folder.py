"""A run that is cut off loses nothing that was finished, and goes on to the same result."""

from __future__ import annotations

import errno
import io
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path

import fsspec
import numpy as np
import pytest

import seenn_deploy as sd
from seenn_deploy import ir
from seenn_deploy.errors import DataError, ProgramError, SeennError
from seenn_deploy.evaluation import schedule
from seenn_deploy.simulator import result, run_folder
from seenn_deploy.simulator.result import Counts, RunResult


@pytest.fixture(scope="module")
def program() -> sd.Program:
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(6, 2, 3, 3)).astype(np.float32)
    graph = ir.SpikingGraph(
        [ir.Source("in", (2, 6, 6)), ir.Population("a", (6, 6, 6)), ir.Readout("out", (3,))],
        [
            ir.Projection("in", "a", (ir.Conv2d(weight, padding=(1, 1)),)),
            ir.Projection(
                "a", "out", (ir.Dense(rng.normal(size=(3, 216)).astype(np.float32) / 9),)
            ),
        ],
        T=4,
    )
    return sd.compile(graph, sd.exits.Confidence(0.6))


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(40, 2, 6, 6)).astype(np.float32)


def test_figures_in_parts_are_those_of_the_whole(program, images, tmp_path, monkeypatch) -> None:
    """And what is written meanwhile may leave the memory at any time."""
    monkeypatch.setattr(run_folder, "_KEPT", 1)
    speculative = program.with_schedule("speculative")
    whole = sd.simulate(speculative, images, np.arange(40) % 3)
    stored = sd.simulate(speculative, images, np.arange(40) % 3, out=tmp_path / "run", slots=3)
    assert_same(stored, whole)
    told = schedule.work(speculative, whole).summary() | whole.summary("lemaire")
    monkeypatch.setattr(result, "PART", 7)
    assert schedule.work(speculative, stored).summary() | stored.summary("lemaire") == told
    assert whole.charged_per_sample()["ac"].tolist() == whole.charged.ac.sum((1, 2)).tolist()
    assert whole.wasted_per_sample()["ac"].tolist() == whole.wasted.ac.sum((1, 2)).tolist()


class CutOffError(Exception):
    """Raised from the progress callback."""


def cut_off_after(samples: int):
    seen = 0

    def progress(finished: int) -> None:
        nonlocal seen
        seen += finished
        if seen >= samples:
            raise CutOffError

    return progress


def assert_same(a: RunResult, b: RunResult) -> None:
    np.testing.assert_array_equal(a.logits, b.logits)
    np.testing.assert_array_equal(a.exit_step, b.exit_step)
    for field in fields(Counts):
        np.testing.assert_array_equal(getattr(a.counts, field.name), getattr(b.counts, field.name))


@pytest.mark.parametrize("full_trace", [False, True])
def test_a_run_goes_on_where_it_was_cut_off(program, images, tmp_path, full_trace) -> None:
    labels = np.arange(40) % 3
    whole = sd.simulate(program, images, labels, full_trace=full_trace)
    options = {"full_trace": full_trace, "out": tmp_path / "run", "slots": 3}
    with pytest.raises(CutOffError):
        sd.simulate(program, images, labels, progress=cut_off_after(15), **options)
    with pytest.raises(ProgramError, match=r"of 40 samples are finished"):
        RunResult.load(tmp_path / "run")
    with pytest.raises(ProgramError, match="add --resume"):
        sd.simulate(program, images, labels, **options)
    steps = []
    resumed = sd.simulate(program, images, labels, resume=True, progress=steps.append, **options)
    assert 15 <= steps[0] < 40  # what was finished is not run again
    assert sum(steps) == 40
    assert_same(resumed, whole)
    loaded = RunResult.load(tmp_path / "run")
    assert_same(loaded, whole)
    assert loaded.summary() == whole.summary()


def test_killed_process_loses_nothing(program, images, tmp_path) -> None:
    program.save(tmp_path / "build")
    np.savez(tmp_path / "x.npz", x=np.repeat(images, 500, axis=0))
    command = [sys.executable, "-m", "seenn_deploy", "simulate", str(tmp_path / "build")]
    command += ["--data", str(tmp_path / "x.npz"), "--out", str(tmp_path / "run")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    finished = tmp_path / "run" / "finished.npy"
    deadline = time.monotonic() + 120
    while not finished.exists() or np.count_nonzero(np.load(finished)) < 200:
        assert time.monotonic() < deadline
        assert process.poll() is None, "the run ended before it could be killed"
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = np.count_nonzero(np.load(finished))
    assert 200 <= done < 20_000
    subprocess.run([*command, "--resume"], check=True, stdout=subprocess.DEVNULL)
    assert_same(
        RunResult.load(tmp_path / "run"), sd.simulate(program, np.repeat(images, 500, axis=0))
    )


def test_a_run_folder_belongs_to_one_run(program, images, tmp_path) -> None:
    out = tmp_path / "run"
    sd.simulate(program, images, out=out)
    with pytest.raises(ProgramError, match="is a run with samples 40, not 39"):
        sd.simulate(program, images[:39], out=out, resume=True)
    with pytest.raises(ProgramError, match="is a run with exit_rule"):
        sd.simulate(program.with_exit(sd.exits.Confidence(0.7)), images, out=out, resume=True)
    with pytest.raises(ProgramError, match="is a run with images"):
        sd.simulate(program, images[::-1], out=out, resume=True)
    with pytest.raises(ProgramError, match="is a run with images"):
        others = np.concatenate([images[:1], images[1:-1] / 2, images[-1:]])
        sd.simulate(program, others, out=out, resume=True)
    with pytest.raises(SeennError, match="record keeps spikes in memory"):
        sd.simulate(program, images, out=tmp_path / "other", record=True)


def test_a_folder_of_somebody_else_is_left_alone(program, images, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    for resume in (False, True):
        with pytest.raises(ProgramError, match="holds no run"):
            sd.simulate(program, images, out=tmp_path, resume=resume)
    assert (tmp_path / "mine.txt").read_text() == "keep"
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_one_process_writes_at_a_time(program, images, tmp_path: Path) -> None:
    out = tmp_path / "run"

    def another(_: int) -> None:
        for options in ({"resume": True}, {"force": True}):
            with pytest.raises(ProgramError, match="another process writes to this run"):
                sd.simulate(program, images, out=out, **options)

    first = sd.simulate(program, images, out=out, progress=another)
    assert_same(first, sd.simulate(program, images))
    assert_same(sd.simulate(program, images, out=out, resume=True), first)


@pytest.mark.parametrize("full_trace", [False, True])
def test_what_a_kill_left_of_a_sample_is_computed_again(
    program, images, tmp_path: Path, full_trace: bool
) -> None:
    out = tmp_path / "run"
    whole = sd.simulate(program, images, out=out, full_trace=full_trace)
    kept = RunResult(*[np.array(x) if isinstance(x, np.ndarray) else x for x in (
        whole.logits, whole.exit_step, whole.layers)], whole.counts, whole.sizes)  # fmt: skip
    counts = {name: np.array(values) for name, values in whole.counts.items()}
    finished = np.lib.format.open_memmap(out / "finished.npy", "r+")
    finished[:3] = False  # their exits and counts are stored, the last mark is not
    stale = np.lib.format.open_memmap(out / "ac.npy", "r+")
    stale[1] += 5
    del finished, stale
    again = sd.simulate(program, images, out=out, full_trace=full_trace, resume=True)
    assert (again.exit_step == kept.exit_step).all()
    for name, values in again.counts.items():
        np.testing.assert_array_equal(values, counts[name])


DAMAGE = {
    "another length": ("exit_step.npy", np.zeros(7, np.int64), "int64 \\(7,\\), the run has"),
    "another type": ("ac.npy", np.zeros((40, 2, 4)), "float64 .40, 2, 4., the run has int64"),
    "no logits": ("logits.npy", np.zeros(40), "the run has float64"),
    "cut short": ("mac.npy", b"\\x93NUMPY", "delete the folder and run again"),
    "empty": ("spikes.npy", b"", "delete the folder and run again"),
    "run is a list": ("run.json", {"run": []}, "damaged"),
    "a layer is missing": ("run.json", {"layers": ["a"]}, "the run has"),
    "an edited manifest": ("run.json", {"layers": ["a"], "checksum": "0"}, "was changed after it"),
    "nested": ("run.json", b"[" * 200_000, "holds no run"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_folder_is_one_line(program, images, tmp_path: Path, name: str) -> None:
    file, content, said = DAMAGE[name]
    out = tmp_path / "run"
    sd.simulate(program, images, out=out)
    if isinstance(content, np.ndarray):
        np.save(out / file, content)
    elif isinstance(content, dict):
        stored = json.loads((out / file).read_text())
        del stored["checksum"]  # folders of earlier versions have none
        (out / file).write_text(json.dumps(stored | content))
    else:
        (out / file).write_bytes(content)
    for read in (
        lambda: RunResult.load(out),
        lambda: sd.simulate(program, images, out=out, resume=True),
    ):
        with pytest.raises(ProgramError, match=said) as caught:
            read()
        assert "\n" not in str(caught.value)


def test_a_full_disk_is_one_line(program, images, tmp_path: Path, monkeypatch) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(ProgramError, match=r"no space for a run's logits, 3,840 bytes .No space"):
        sd.simulate(program, images, out=tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_space_is_reserved_without_a_call_for_it(
    program: sd.Program, images: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on macOS: the file is written through, and what stands in it stays."""
    monkeypatch.delattr(os, "posix_fallocate")
    many = np.concatenate([images] * 1000)
    with pytest.raises(CutOffError):
        sd.simulate(program, many, out=tmp_path / "run", progress=cut_off_after(1))
    file = tmp_path / "run/logits.npy"
    assert file.stat().st_blocks * 512 >= file.stat().st_size > 2 << 20
    run = sd.simulate(program, images, out=tmp_path / "other")
    np.testing.assert_array_equal(run.logits, sd.simulate(program, images).logits)


def test_threads_are_a_number_that_a_machine_has(program, images) -> None:
    for threads in (-1, 10**9):
        with pytest.raises(SeennError, match=r"threads = -?\d+ lies outside 1..1024"):
            sd.simulate(program, images, threads=threads)


def test_runs_that_are_killed_at_random_moments_go_on_to_the_same_bits() -> None:
    """A few of the kills of benchmarks/kills.py, in a process that forks before it has threads."""
    script = Path(__file__).parents[2] / "benchmarks" / "kills.py"
    command = [sys.executable, str(script), "--kills", "5", "--images", "100"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 kills" in done.stdout and "ended in the same bits" in done.stdout


def test_images_of_a_run_are_opened_again_at_their_address(
    program: sd.Program, tmp_path: Path
) -> None:
    x = np.random.default_rng(1).random((3, 2, 6, 6)).astype(np.float32)
    content = io.BytesIO()
    np.savez(content, x=x)
    memory = fsspec.filesystem("memory")
    memory.pipe("/again/x.npz", content.getvalue())
    sd.simulate(program, "memory://again/x.npz", out=tmp_path / "run")
    again = run_folder.images_of(tmp_path / "run", program)
    np.testing.assert_array_equal(again.take(0, 3), x)
    memory.rm("/again/x.npz")
    with pytest.raises(DataError, match=r"no longer at memory://again/x\.npz .*--data"):
        run_folder.images_of(tmp_path / "run", program)
