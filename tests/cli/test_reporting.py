"""``seenn report``: one command from a program and images to a page, and refusals in a line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

import seenn_deploy as sd
from seenn_deploy.cli import seenn
from seenn_deploy.errors import SeennError


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    graph = sd.import_model(sd.example().network, T=4, check=False)
    folder = tmp_path_factory.mktemp("report") / "build"
    sd.compile(graph, sd.exits.Confidence(0.9), precision="int8").save(folder)
    return folder


def called(*words: object) -> str:
    result = CliRunner().invoke(seenn, ["report", *map(str, words)], catch_exceptions=True)
    if result.exception:
        raise result.exception
    return result.output


def test_one_command_makes_the_page(build: Path, tmp_path: Path) -> None:
    out, data = tmp_path / "report.html", sd.example().images
    text = called(build, "--data", data, "--limit", 20, "--chip", "loihi2", "-o", out,
                  "--json", tmp_path / "report.json")  # fmt: skip
    assert "% right" in text and "20 samples only" in text and f"{out.name}" in text
    values = json.loads((tmp_path / "report.json").read_text())
    assert values["run"]["samples_total"] == 20 and values["chip"]["chip"] == "loihi2"
    assert values["made"]["command"] and len(values["thumbnails"]) > 5
    assert out.read_text().startswith("<!doctype html>")


def test_a_verified_device_is_on_the_page(build: Path, tmp_path: Path) -> None:
    report = {"device": "c", "samples": 2, "ok": True, "exact": True, "spikes_compared": 10,
              "spikes_ties": 0, "spikes_mismatches": 0, "wrong_logits": 0}  # fmt: skip
    (tmp_path / "verify.json").write_text(json.dumps(report))
    called(build, "--verified", tmp_path / "verify.json", "-o", tmp_path / "a.html")
    assert 'id="devices"' in (tmp_path / "a.html").read_text()
    (tmp_path / "other.json").write_text("[1]")
    for path, words in (("other.json", "no device's figures"), ("none.json", "not what")):
        with pytest.raises(SeennError, match=words):
            called(build, "--verified", tmp_path / path, "-o", tmp_path / "b.html")
    assert not (tmp_path / "b.html").exists()


def test_refusals_are_a_line_and_leave_nothing(build: Path, tmp_path: Path) -> None:
    run, out = tmp_path / "run", tmp_path / "page.html"
    sd.simulate(sd.load(build), sd.example().images, out=run)
    for words, told in (
        ([tmp_path], "neither a program nor a run"),
        ([run, "--chip", "loihi1"], "name it with --program"),
        ([run, "--data", sd.example().images], "--program BUILD"),
        ([run, "--program", build, "--data", sd.example().images, "--limit", 10], "not the 50"),
        ([build, build], "neither a program nor a run"),
    ):
        with pytest.raises(SeennError, match=told):
            called(*words, "-o", out)
    assert not out.exists()
