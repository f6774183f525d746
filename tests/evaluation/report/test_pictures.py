"""The same charts as pictures: in notebooks, of sweeps and of trainings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

import seenn_deploy as sd
from seenn_deploy.errors import SeennError
from seenn_deploy.evaluation.sweep.plot import plot
from seenn_deploy.ir import charts
from seenn_deploy.training.plot import draw
from seenn_deploy.verification.report import LayerReport, VerifyReport

SVG = "{http://www.w3.org/2000/svg}svg"
EVIL = "<script>alert(1)</script>"


def svgs(html: str) -> list[ElementTree.Element]:
    parts = ["<svg" + part.split("</svg>")[0] + "</svg>" for part in html.split("<svg")[1:]]
    return [ElementTree.fromstring(part) for part in parts]


@pytest.fixture(scope="module")
def sweep(program: sd.Program, run: sd.RunResult):
    return sd.sweep(run, program, rules=["margin"], keep_accuracy=5.0, bootstrap=20)


def test_results_show_their_charts_in_a_notebook(run, sweep) -> None:
    layer = LayerReport(EVIL, 1000, mismatching=3, mismatches=3)
    verified = VerifyReport("lava", 2, (layer,), (), ((1, 1),), 0, 0.0, (5, 6), 1.0)
    shown = run._repr_html_(), sweep._repr_html_(), verified._repr_html_()
    assert [len(svgs(html)) for html in shown] == [2, 1, 1]
    assert all("<table" in html and "<script" not in html for html in shown)
    (exits, activity), (front,), (spikes,) = (svgs(html) for html in shown)
    assert "exit at timestep t" in "".join(exits.itertext())
    assert run.layers[3] in "".join(activity.itertext())
    assert "margin" in "".join(front.itertext())
    assert EVIL in "".join(spikes.itertext())


def test_without_the_libraries_there_is_a_table_and_no_page(run, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(charts, "find_spec", lambda name: None)
    assert "<table" in run._repr_html_() and "<svg" not in run._repr_html_()
    for made in (lambda: sd.report(run).save(tmp_path / "a.html"), lambda: charts.svg("exits", {})):
        with pytest.raises(SeennError, match=r"seenn-deploy\[report\]"):
            made()
    assert not list(tmp_path.iterdir())


def test_a_sweep_and_a_training_draw_an_svg(sweep, tmp_path: Path) -> None:
    log = [
        {"epoch": e, "loss": 2 / e, "lr": 0.1, "seconds": 1, "accuracy": [10.0 * e, 11.0 * e]}
        for e in range(1, 4)
    ]
    plot(sweep, tmp_path / "sweep.svg")
    draw(log, tmp_path / "log.svg")
    draw([{k: v for k, v in line.items() if k != "accuracy"} for line in log], tmp_path / "b.svg")
    for name, word in (("sweep", "recommended"), ("log", "accuracy at t=2"), ("b", "loss")):
        root = ElementTree.parse(tmp_path / f"{name}.svg").getroot()
        assert root.tag == SVG
        assert name == "sweep" or word in "".join(root.itertext())
    rows = sweep.points()
    assert rows["here"][0]["accuracy"] == 100 * sweep.best.figures.accuracy.value
    assert len(rows["points"]) == sum(
        len(c.threshold) for c in (sweep.fixed, *sweep.curves.values())
    )


def test_a_run_without_labels_has_bars_of_one_kind(run) -> None:
    exits, _ = svgs(replace(run, labels=None)._repr_html_())
    assert "wrong" not in "".join(exits.itertext())
