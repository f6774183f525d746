"""Networks from NIR files, as integers on Lava: every spike and potential equal."""

from __future__ import annotations

from pathlib import Path

import nir
import numpy as np
import pytest

from seenn_deploy.compiler.pipeline import compile
from seenn_deploy.frontends.import_model import import_model
from seenn_deploy.verification.verify import verify
from tests.frontends.nir.test_read import NMNIST, SINABS, Maker, cuba, if_, lif, write


@pytest.mark.parametrize("kind", ["if", "lif", "cuba"])
@pytest.mark.parametrize("loop", [False, True])
def test_equal_on_lava(tmp_path: Path, kind: str, loop: bool) -> None:
    made = Maker(seed=7)
    made.conv("c1", "input", 2, 3)
    made.add(
        "n1", {"if": if_((3, 6, 6)), "lif": lif((3, 6, 6)), "cuba": cuba((3, 6, 6))}[kind], "c1"
    )
    made.add("pool", nir.SumPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0])), "n1")
    made.add("flat", nir.Flatten({"input": np.array([3, 3, 3])}, 0, -1), "pool")
    made.linear("fc", "flat", 27, 8, bias=True)
    made.add("n2", {"if": if_(8), "lif": lif(8), "cuba": cuba(8)}[kind], "fc")
    if loop:
        made.linear("rec", "n2", 8, 8)
        made.edges.append(("rec", "n2"))
    made.linear("out", "n2", 8, 3)
    graph = import_model(write(made.finish("out", 3), tmp_path), T=6)
    schedule = "gated" if loop else "speculative"
    program = compile(graph, precision="int8", schedule=schedule)
    report = verify(program, made.frames(6, 2), timeout=120)
    assert report.exact, report.first_differences
    assert report.summary()["spikes_compared"] == 2 * 6 * (108 + 8)


def test_the_other_nodes_are_equal_on_lava(tmp_path: Path) -> None:
    """Conv1d, thresholds without and with an integrator, delays, a leaky readout."""
    made = Maker((3, 8), seed=4)
    made.add("c", nir.Conv1d(8, made.weight(4, 3, 3), 1, 1, 1, 1, made.weight(4)), "input")
    made.add("t", nir.Threshold(np.full((4, 8), 0.25)), "c")
    made.add("flat", nir.Flatten({"input": np.array([4, 8])}, 0, -1), "t")
    made.linear("fc", "flat", 32, 6)
    made.add("each", nir.Delay(np.array([0, 1, 2, 0, 0, 1]) * 1e-4), "fc")
    made.add("v", nir.LI(*(np.full(6, x) for x in (4e-4, 1.5, 0.125))), "each")
    made.add("above", nir.Threshold(np.arange(1, 7) / 4), "v")
    made.add("late", nir.Delay(np.full(6, 1e-4)), "above")
    made.linear("out", "late", 6, 3, bias=True)
    made.add("li", nir.LI(*(np.full(3, x) for x in (2e-4, 2.0, 0.0))), "out")
    graph = import_model(write(made.finish("li", 3), tmp_path), T=6, dt=1e-4)
    frames = made.frames(6, 2)[:, :, :, None]
    report = verify(compile(graph, precision="int8"), frames, timeout=120)
    assert report.exact, report.first_differences


@pytest.mark.skipif(not SINABS.is_file(), reason="the shared network is not there")
def test_the_network_of_the_nir_paper_on_lava() -> None:
    stored, T = np.load(NMNIST), 10
    events = slice(*stored["offsets"][:2])
    part = stored["t_us"][events] // 1000
    seen = part < T
    where = [stored[key][events][seen] for key in ("p", "y", "x")]
    frames = np.zeros((1, T, 2, 34, 34), np.float32)
    np.add.at(frames, (0, part[seen], *where), 1)
    graph = import_model(SINABS, T=T, step_us=1000.0, counts_events=True)
    assert verify(compile(graph, precision="int8"), frames, timeout=120).exact
