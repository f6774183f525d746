"""What a session at the prompt shows: names to complete, results as lines, frames and folders."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import seenn_deploy as sd
from seenn_deploy import ir
from seenn_deploy.exits.base import softmax
from seenn_deploy.targets.base import DeviceRun
from seenn_deploy.verification.report import LayerReport, VerifyReport
from tests.targets.lava.graphs import edge, images, program, small

TESTED = program(small(), sd.exits.Confidence(0.5))
X, Y = images(TESTED.graph, 40), np.arange(40) % 4
RUN = sd.simulate(TESTED, X, Y, full_trace=True)

EVIL = "<script>alert(1)</script>"


def report(name: str, mismatches: int = 0) -> VerifyReport:
    layer = LayerReport(name, 1000, mismatching=mismatches, mismatches=mismatches)
    return VerifyReport("lava", 2, (layer,), (), ((1, 1), (2, 2)), 0, 0.0, (5, 6), 1.0)


def test_a_verify_report_says_the_verdict_first() -> None:
    assert repr(report("a")) == "VerifyReport(lava: equal, 2 samples, 1,000 spikes compared)"
    assert "NOT equal" in repr(report("a", 3))
    assert "3 mismatches" in repr(report("a", 3))


def test_a_device_run_is_one_line() -> None:
    steps = np.array([1, 2])
    run = DeviceRun(np.zeros((2, 4, 3)), steps, steps + 3)
    what = "2 samples, T=4, 3 classes, mean exit step 1.500, 4.5 hardware steps per sample"
    assert repr(run) == f"DeviceRun({what})"


def test_every_repr_is_one_line_of_words() -> None:
    neurons = "2x4x4 to 4 classes, 3 layers, 56 neurons"
    how = "T=4, float32, confidence(alpha=0.5, mean=False), speculative"
    assert repr(TESTED.graph) == f"SpikingGraph({neurons}, T=4)"
    assert repr(TESTED) == f"Program({neurons}, {how})"
    first = 100 * RUN.accuracy_by_step()[0]
    found = repr(sd.evaluate(TESTED, X, Y))
    assert found.startswith(f"Evaluation(40 samples, accuracy by timestep {first:.2f} %, ")


def test_every_notebook_table_holds_the_figures() -> None:
    sweep = sd.sweep(RUN, TESTED, rules=["margin"], keep_accuracy=5.0, bootstrap=20)
    found = sd.evaluate(TESTED, X, Y)
    shown: list[tuple[Any, list[str]]] = [
        (TESTED.graph, ["first", "Population", "3x4x4"]),
        (TESTED, ["second", "8", "Readout"]),
        (RUN, [f"{RUN.charged.per_sample()['ac'].mean():,.0f}"]),
        (sweep, ["t=1", "t=4", f"{100 * sweep.baselines[-1].figures.accuracy.value:.2f}"]),
        (report("a"), ["a", "1,000"]),
        (found, ["SEENN-I", "0.999", f"{100 * found.accuracy_by_step[-1]:.2f}"]),
    ]
    for thing, cells in shown:
        html = thing._repr_html_()
        assert html.startswith("<div><b>")
        for cell in cells:
            assert f"<td>{cell}</td>" in html


def test_names_are_escaped() -> None:
    nodes = [ir.Source("input", (1, 2, 2)), ir.Population(EVIL, (2,)), ir.Readout("logits", (2,))]
    edges = [
        edge("input", EVIL, ir.Dense(np.ones((2, 4), np.float32))),
        edge(EVIL, "logits", ir.Dense(np.ones((2, 2), np.float32))),
    ]
    graph = ir.SpikingGraph(nodes, edges, 2)
    for thing in (graph, program(graph), report(EVIL)):
        assert "<script" not in thing._repr_html_()
        assert "&lt;script&gt;" in thing._repr_html_()


def test_a_run_as_a_data_frame() -> None:
    frame = sd.simulate(TESTED, X, Y).to_pandas()
    names = ["prediction", "label", "exit_step", "confidence", "energy_uJ"]
    assert list(frame.columns) == names
    run = sd.simulate(TESTED, X)
    at_exit = run.logits[np.arange(40), run.exit_step - 1]
    assert (frame.prediction == at_exit.argmax(axis=1)).all()
    assert (frame.label == Y).all()
    assert frame.confidence.to_numpy() == pytest.approx(softmax(at_exit).max(axis=1))
    assert frame.energy_uJ.mean() == pytest.approx(run.summary()["energy_uJ_per_sample"])
    assert "label" not in run.to_pandas("loihi1").columns


def test_without_pandas_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(sd.SeennError, match="to_pandas needs pandas: pip install pandas"):
        RUN.to_pandas()


def test_folders_are_loaded_as_what_they_are(tmp_path: Path) -> None:
    TESTED.save(tmp_path / "build")
    loaded = sd.load(tmp_path / "build")
    assert isinstance(loaded, sd.Program)
    assert loaded.fingerprint == TESTED.fingerprint
    run = sd.simulate(TESTED, X, Y, out=tmp_path / "run")
    again = sd.load(str(tmp_path / "run"))
    assert isinstance(again, sd.RunResult)
    assert (again.exit_step == run.exit_step).all()
    sd.sweep(RUN, TESTED, rules=["margin"], bootstrap=2).save(tmp_path / "sweep")
    for name, words in {"sweep": "is a sweep", "": "has neither", "no": "no such folder"}.items():
        with pytest.raises(sd.SeennError, match=words):
            sd.load(tmp_path / name)


def test_completion_lists_every_public_name() -> None:
    assert set(sd.__all__) <= set(dir(sd))
    for module, names in {
        sd.exits: ["Confidence", "Conformal", "Entropy", "Fixed", "Margin", "Policy"],
        sd.costs: ["load", "names", "CostModel"],
        sd.metrics: ["aet", "empirical_aet"],
    }.items():
        assert set(names) <= set(dir(module))
        assert all(getattr(module, name) is not None for name in names)


def test_listing_names_imports_no_torch() -> None:
    code = "import seenn_deploy as sd, sys; dir(sd.training), dir(sd.exits); assert 'torch' not in sys.modules"  # noqa: E501
    subprocess.run([sys.executable, "-c", code], check=True)
