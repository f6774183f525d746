"""A report's figures are the run's own, its curves the rules' own, and its advice has reasons."""

from __future__ import annotations

import json
from dataclasses import replace
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import seenn_deploy as sd
from seenn_deploy.errors import DataError, ProgramError
from seenn_deploy.evaluation.report import figures, linters
from seenn_deploy.evaluation.report.compare import compare
from seenn_deploy.simulator import result as runs


@pytest.fixture(scope="module")
def found(run: sd.RunResult) -> dict:
    return json.loads(json.dumps(figures.of_run(run)))


@pytest.mark.parametrize("model", ["paper", "memory", "lemaire", "spikingjelly"])
def test_layers_and_steps_add_up_to_the_summary(run, found, model) -> None:
    told = run.summary(model)
    assert found["summary"][model] == json.loads(json.dumps(told))
    for count in figures.SHOWN_COUNTS:
        key = f"{count}_per_sample"
        assert sum(row[key] for row in found["layers"]) == pytest.approx(told[key])
        by_step = sum(row[count] * row["running"] for row in found["steps"])
        assert by_step / len(run.exit_step) == pytest.approx(told[key])
    useful = told["useful_energy_uJ_per_sample"]
    assert sum(row["energy_uJ"][model] for row in found["layers"]) == pytest.approx(useful)
    steps = sum(row["energy_uJ"][model] * row["running"] for row in found["steps"])
    assert steps / len(run.exit_step) == pytest.approx(useful)
    spent = found["intervals"]["energy_uJ"][model][0]
    assert spent == pytest.approx(told["total_energy_uJ_per_sample"])


def test_curves_are_what_the_rules_do(program, run, found) -> None:
    curve = found["front"]["confidence"]
    for i in range(0, len(curve["threshold"]), 40):
        rule = sd.exits.Confidence(curve["threshold"][i])
        alone = sd.simulate(program.with_exit(rule), sd.example().images)
        assert curve["accuracy"][i] == pytest.approx(alone.correct.mean())
        assert curve["mean_exit_step"][i] == pytest.approx(alone.exit_step.mean())
        assert curve["energy_uJ"]["paper"][i] == pytest.approx(1e6 * alone.energy().mean())
    fixed = found["front"]["fixed"]["accuracy"]
    np.testing.assert_allclose(fixed, run.accuracy_by_step())


def test_what_a_run_does_not_have_is_left_out(program) -> None:
    bare = sd.simulate(program, sd.example().images)
    found = figures.of_run(replace(bare, labels=None))
    assert found["front"] == {} and "confidence_by_step" not in found["samples"]
    assert found["intervals"]["accuracy"] is None and "label" not in found["samples"]
    assert found["summary"]["paper"]["accuracy"] is None


@given(st.integers(1, 60), st.data())
def test_share_interval_solves_wilsons_equation(n: int, data: st.DataObject) -> None:
    right = np.arange(n) < data.draw(st.integers(0, n))
    share, low, high = figures.share_interval(right)
    assert low + 1e-12 >= 0 and low <= share + 1e-12 and share <= high + 1e-12 <= 1 + 2e-12
    for bound in (low, high):  # the shares whose own standard error reaches the one found
        distance = (share - bound) ** 2
        assert distance == pytest.approx(figures.NORMAL_95**2 * bound * (1 - bound) / n, abs=1e-9)


def test_share_interval_covers() -> None:
    n, share = 40, 0.8
    inside = 0.0
    for k in range(n + 1):
        _, low, high = figures.share_interval(np.arange(n) < k)
        inside += comb(n, k) * share**k * (1 - share) ** (n - k) * (low <= share <= high)
    assert 0.92 < inside < 0.98


# --- advice --------------------------------------------------------------------------------------


def told(found: dict) -> list[str]:
    return [f"{line['level']} {line['layer']} {line['text']}" for line in linters.advice(found)]


def changed(found: dict, **values: object) -> dict:
    return json.loads(json.dumps(found)) | values


def test_advice_of_the_run(found) -> None:
    text = "\n".join(told(found))
    assert "speculative" in text and "gated wastes none" in text
    assert "50 samples only" in text and "not proven" in text
    assert "never spikes" not in text and "firing rate" not in text


def test_every_linter_speaks_and_is_silent(found) -> None:
    quiet = changed(found, not_proven="", samples_total=1000, front={})
    quiet["summary"]["paper"]["wasted_energy_uJ_per_sample"] = 0.0
    assert [line for line in told(quiet) if "an ANN takes less" not in line] == []
    layers = quiet["layers"]
    layers[3]["rate"], layers[4]["rate"], layers[5]["saturated_per_sample"] = 0, 0.7, 2.5
    layers[6]["energy_uJ"]["paper"] = 1e6
    histogram = {str(t): 1000 if t == 4 else 0 for t in range(1, 5)}
    quiet["summary"]["paper"] |= {
        "exit_histogram": histogram, "accuracy": 0.5, "energy_uJ_per_sample": 1e6
    }  # fmt: skip
    quiet["front"], quiet["lower_bound"] = found["front"], True
    lines = told(quiet)
    for layer, words in [
        (layers[3]["layer"], "never spikes"), (layers[4]["layer"], "firing rate 70 %"),
        (layers[5]["layer"], "wrapped or were clipped"), (layers[6]["layer"], "of the energy"),
        ("", "no sample stops before T"), ("", "lose"), ("", "lower bound"),
        ("", "an ANN takes less energy under"),
    ]:  # fmt: skip
        assert any(words in line and layer in line for line in lines), (words, lines)
    assert lines[0].startswith("bad")
    histogram.update({"1": 1000, "4": 0})
    assert any("every sample stops at t = 1" in line for line in told(quiet))


# --- two runs ------------------------------------------------------------------------------------


def test_comparison_is_paired(program, run) -> None:
    after = sd.simulate(program.with_exit(sd.exits.Confidence(0.4)), sd.example().images)
    found = compare(run, after)
    energy = 1e6 * (after.energy() - run.energy())
    mean, low, high = found["changes"]["energy_uJ"]["paper"]
    assert mean == pytest.approx(energy.mean())
    half = 1.959964 * energy.std() / np.sqrt(len(energy))
    assert (low, high) == pytest.approx((mean - half, mean + half))
    was, now = run.correct, after.correct
    sides = found["sides"]
    assert (sides["became_right"], sides["became_wrong"]) == (
        (~was & now).sum(),
        (was & ~now).sum(),
    )
    assert [s["sample"] for s in sides["samples"]] == np.flatnonzero(was != now).tolist()
    layers = {row["layer"]: row for row in found["layers"]}
    assert sum(row["before_uJ"]["paper"] for row in layers.values()) == pytest.approx(
        1e6 * run.useful_energy().mean()
    )
    with pytest.raises(DataError, match="50 and 10 samples"):
        compare(run, after.take(np.arange(10)))
    with pytest.raises(DataError, match="different labels"):
        compare(run, replace(after, labels=after.labels[::-1]))


# --- folders -------------------------------------------------------------------------------------


def test_an_unfinished_run_says_how_much(program, tmp_path) -> None:
    whole = sd.simulate(program, sd.example().images, full_trace=True, out=tmp_path / "run")
    assert sd.report(tmp_path / "run").summary()["banners"] == []
    finished = np.lib.format.open_memmap(tmp_path / "run" / "finished.npy", "r+")
    finished[30:] = False
    del finished
    values = sd.report(tmp_path / "run").summary()
    assert values["banners"] == [
        "run is unfinished: 30 of 50 samples (60 %); figures are of these alone"
    ]
    first = whole.take(np.arange(30))
    assert values["run"]["summary"]["paper"]["accuracy"] == first.summary()["accuracy"]
    assert values["program"]["layers"][0]["name"] == whole.layers[0]
    with pytest.raises(DataError, match="30 of 50 samples are finished"):
        sd.report(tmp_path / "run", program=program, images=sd.example().images)
    np.lib.format.open_memmap(tmp_path / "run" / "finished.npy", "r+")[:] = False
    with pytest.raises(ProgramError, match="none of 50 samples is finished"):
        sd.report(tmp_path / "run")
    with pytest.raises(ProgramError, match="neither a program nor a run"):
        sd.report(tmp_path)


def test_runs_of_other_things_are_told(program, tmp_path) -> None:
    images = sd.example().images
    other = sd.compile(sd.import_model(sd.example().network, T=2, check=False))
    sd.simulate(program, images, out=tmp_path / "a")
    sd.simulate(other, images, out=tmp_path / "b")
    values = sd.report(tmp_path / "a", tmp_path / "b").summary()
    (banner,) = values["banners"]
    assert "two different programs" in banner and other.fingerprint in banner
    changed = {
        row["name"]: (row["before"], row["after"]) for row in values["comparison"]["settings"]
    }
    assert changed["T"] == ("4", "2") and "precision" not in changed
    with pytest.raises(ProgramError, match="is a run of program"):
        sd.report(tmp_path / "a", program=other)
    x = np.random.default_rng(0).random((50, 3, 32, 32)).astype(np.float32)
    sd.simulate(program, x, out=tmp_path / "c")
    with pytest.raises(DataError, match="different images"):
        sd.report(tmp_path / "a", tmp_path / "c")
    with pytest.raises(DataError, match="not the 50 images of the run a"):
        sd.report(tmp_path / "a", program=program, images=x)
    with pytest.raises(DataError, match="--program"):
        sd.report(tmp_path / "a", images=images)
    assert runs.load_finished(tmp_path / "a")[2]["about"]["program"]["T"] == 4


def test_a_program_without_a_run_is_described(program) -> None:
    values = sd.report(program).summary()
    assert values["run"] is None and values["verdict"] == "a program that has not run yet"
    assert [layer["name"] for layer in values["program"]["layers"]][-1] == "fc1"
    assert "chart-graph" in sd.report(program).html()
