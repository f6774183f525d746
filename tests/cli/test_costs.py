"""``seenn costs``, and one run under all models: the tables say what the files and the run say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

import seenn_deploy as sd
from seenn_deploy import costs
from seenn_deploy.cli import seenn
from seenn_deploy.errors import DataError

MODELS = Path(costs.__file__).parent


def printed(*words: str) -> str:
    done = CliRunner().invoke(seenn, words)
    assert done.exit_code == 0, (done.output, done.exception)
    return done.stdout


def test_every_model_is_listed_with_its_prices() -> None:
    rows = {line.split()[0]: line.split() for line in printed("costs").splitlines() if line}
    listed = json.loads(printed("costs", "--json", "-"))["cost_models"]
    assert [model["name"] for model in listed] == costs.names()
    for model in listed:
        stored = json.loads((MODELS / f"{model['name']}.json").read_text())
        assert rows[model["name"]][1:3] == [f"{stored['prices'][c]['pJ']:g}" for c in ("ac", "mac")]
        for part in ("prices", "addressing", "not_applied"):
            assert model[part] == stored.get(part, {})
        assert bool(model["memory"]) == ("memory" in stored) == ("memory" in str(model["includes"]))


@pytest.mark.parametrize("name", costs.names())
def test_one_model_is_shown_with_every_source(name: str) -> None:
    text = " ".join(printed("costs", name).split())
    stored = json.loads((MODELS / f"{name}.json").read_text())
    assert " ".join(stored["about"].split()[:4]) in text
    for part in ("prices", "addressing", "not_applied"):
        for count, price in stored.get(part, {}).items():
            assert f"{count} {price['pJ']:g}" in text
            assert price["source"].split()[0] in text
    for level in stored.get("memory", {}).get("levels", []):
        assert f"{level['pJ']:g} pJ up to {level['bytes']:,} bytes" in text


def test_no_such_model_is_one_line() -> None:
    done = CliRunner().invoke(seenn, ["costs", "loihi3"])
    assert isinstance(done.exception, DataError)
    assert "'loihi3': no such file; there are horowitz45-fp16," in str(done.exception)


def test_one_run_under_all_models_and_one_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    files = sd.example()
    sd.compile(sd.import_model(files.network, T=4), sd.exits.Confidence(0.9)).save("build")
    mine = json.loads((MODELS / "paper.json").read_text()) | {"name": "mine"}
    mine["prices"]["ac"]["pJ"] = 9.0
    Path("mine.json").write_text(json.dumps(mine))
    words = ["simulate", "build", "--data", str(files.images), "--limit", "4"]
    words += ["--all-costs", "--cost", "mine.json"]
    text = printed(*words, "--json", "found.json")
    found = json.loads(Path("found.json").read_text())
    rows = {row["name"]: row for row in found["conventions"]["cost_models"]}
    assert [*rows] == [*costs.names(), "mine"]
    total = rows["mine"]["total_energy_uJ_per_sample"]
    assert total == pytest.approx(found["total_energy_uJ_per_sample"])
    assert total == pytest.approx(found["ac_per_sample"] * 9e-6 + found["mac_per_sample"] * 4.6e-6)
    (line,) = [line for line in text.splitlines() if line.startswith("mine ")]
    assert line.split()[1] == f"{total:.3f}"
    assert "no multiply-accumulate array" in text
