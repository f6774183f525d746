"""Forecasts of memory beside the real peak of a child process, and what does not fit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import seenn_deploy as sd
from seenn_deploy.cli import main
from seenn_deploy.errors import ResourceError
from seenn_deploy.io import memory
from seenn_deploy.simulator.layout import lay_out
from seenn_deploy.simulator.memory import Extent, forecast
from tests import memory_case

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "case",
    [
        "compile float32 512 12 1",
        "compile int8 512 12 1",
        "compile float32 64 50 1",  # the pool leaves pixels out, so its synapses are listed
        "simulate float32 256 24 1",
        "simulate int8 256 24 1",
        "simulate float32 64 48 2",
    ],
)
def test_the_forecast_is_the_peak(case: str) -> None:
    words = [sys.executable, "-m", "tests.memory_case", *case.split()]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    told, real = map(int, done.stdout.split())
    assert real > 40 << 20, "too little to compare"
    assert 0.75 < told / real < 1.4


def test_every_part_grows_with_what_it_depends_on() -> None:
    program = sd.compile(memory_case.network(16, 12))
    base = forecast(program, Extent(100, 1, 2))
    assert forecast(program, Extent(100, 3, 2)).workers == 3 * base.workers
    assert forecast(program, Extent(200, 1, 2)).results == 2 * base.results
    assert forecast(program, Extent(100, 1, 2, record=True)).results > base.results
    assert forecast(program, Extent(100, 1, 2, stored=True)).results == 0
    lay_out(program)
    assert forecast(program, Extent(100, 1, 2)).network == 0  # it is there already


def test_a_run_that_does_not_fit_says_what_would(monkeypatch: pytest.MonkeyPatch) -> None:
    program = sd.compile(memory_case.network(16, 12))
    images = np.zeros((4, 3, 12, 12), np.float32)
    alone = forecast(program, Extent(4, 1, 1)).total
    monkeypatch.setattr(memory, "available", lambda: 2 * alone)
    with pytest.raises(ResourceError, match=r"simulating 4 samples .*; one thread and one slot"):
        sd.simulate(program, images, threads=900)
    sd.simulate(program, images, threads=1, slots=1)
    monkeypatch.setattr(memory, "available", lambda: 1000)
    with pytest.raises(ResourceError, match="fewer threads do not help"):
        sd.simulate(program, images, threads=900)


def test_a_network_that_does_not_fit_is_not_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = memory_case.network(16, 12, pool=5)
    monkeypatch.setattr(memory, "available", lambda: 200_000)
    with pytest.raises(ResourceError, match=r"compiling .* pools='sum' \(--pools sum\) needs"):
        sd.compile(graph)
    sd.compile(graph, pools="sum")
    monkeypatch.setattr(memory, "available", lambda: 1000)
    with pytest.raises(ResourceError, match="take a machine with more"):
        sd.compile(graph, pools="sum")


def test_the_command_ends_with_2_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    program = sd.compile(memory_case.network(16, 12))
    program.save(tmp_path / "build")
    np.save(tmp_path / "x.npy", np.zeros((4, 3, 12, 12), np.float32))
    monkeypatch.setattr(memory, "available", lambda: 100_000)
    words = ["seenn", "simulate", str(tmp_path / "build"), "--data", str(tmp_path / "x.npy")]
    monkeypatch.setattr(sys, "argv", [*words, "--threads", "9", "-o", str(tmp_path / "run")])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "run").exists()
