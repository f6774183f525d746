"""``seenn map``: the table, the JSON, the picture, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import seenn_deploy as sd
from seenn_deploy.errors import DataError
from seenn_deploy.evaluation import mesh
from tests.targets.c.test_c import PROGRAM, seenn


def test_a_table_a_picture_and_json(tmp_path: Path) -> None:
    PROGRAM.save(tmp_path / "build")
    done = seenn("map", tmp_path / "build", "--picture", tmp_path / "mesh.png",
                 "--json", tmp_path / "map.json")  # fmt: skip
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "1,024 neurons, 4,096 input axons" in " ".join(done.stdout.split())
    assert (tmp_path / "mesh.png").read_bytes().startswith(b"\x89PNG")
    told = json.loads((tmp_path / "map.json").read_text())
    placement = sd.map_to_chip(PROGRAM, "loihi1")
    assert told["cores"] == placement.cores == 2
    assert [layer["layer"] for layer in told["layers"]] == [n.name for n in PROGRAM.graph.layers]
    neurons = {n.name: int(np.prod(n.shape)) for n in PROGRAM.graph.layers}
    assert {row["layer"]: row["neurons"] for row in told["layers"]} == neurons
    with pytest.raises(DataError, match="chip 1: the network is on 1"):
        mesh.draw(placement, chip=1)


def images(folder: Path, number: int = 3) -> Path:
    rng = np.random.default_rng(0)
    path = folder / "x.npz"
    shape = PROGRAM.graph.source.shape
    np.savez(path, x=rng.random((number, *shape)).astype(np.float32), y=np.zeros(number, int))
    return path


def test_a_run_on_the_cores(tmp_path: Path) -> None:
    PROGRAM.save(tmp_path / "build")
    data = images(tmp_path)
    words = "map", tmp_path / "build", "--data", data, "--exit", "confidence", "--alpha", "0.6"
    done = seenn(*words, "--picture", tmp_path / "mesh.png", "--json", tmp_path / "map.json")
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert (tmp_path / "mesh.png").read_bytes().startswith(b"\x89PNG")
    program = PROGRAM.with_exit(sd.exits.Confidence(0.6))
    found = sd.run_placed(program, sd.map_to_chip(program), data)
    told = json.loads((tmp_path / "map.json").read_text())["run"]
    assert told == json.loads(json.dumps(found.summary()))
    assert told["schedules"]["pipelined"] is None
    speculative = f"{told['schedules']['speculative']['total_energy_uJ_per_sample']:.3g}"
    assert speculative[:4] in done.stdout
    gated = seenn(*words, "--chip", "loihi2", "--schedule", "gated").stdout
    assert max(map(len, gated.splitlines())) <= 80
    assert "nobody has published what an operation costs on loihi2" in " ".join(gated.split())


def test_a_run_s_folder_says_which_images_ran_and_where_they_left(tmp_path: Path) -> None:
    PROGRAM.save(tmp_path / "build")
    data, run = images(tmp_path), tmp_path / "run"
    rule = "--exit", "confidence", "--alpha", "0.6"
    seenn("simulate", tmp_path / "build", "--data", data, *rule, "--schedule", "gated",
          "--out", run)  # fmt: skip
    seenn("map", tmp_path / "build", "--run", run, "--json", tmp_path / "told.json")
    told = json.loads((tmp_path / "told.json").read_text())["run"]
    program = PROGRAM.with_exit(sd.exits.Confidence(0.6)).with_schedule("gated")
    placement = sd.map_to_chip(program)
    assert told == json.loads(json.dumps(sd.run_placed(program, placement, data).summary()))
    # A schedule asked for is that of the table; the exits stay.
    seenn("map", tmp_path / "build", "--run", run, "--schedule", "speculative",
          "--json", tmp_path / "told.json")  # fmt: skip
    other = json.loads((tmp_path / "told.json").read_text())["run"]
    assert other["schedule"] == "speculative" and other["schedules"] == told["schedules"]

    moved = data.rename(tmp_path / "moved.npz")
    seenn("map", tmp_path / "build", "--run", run, "--data", moved)
    np.savez(tmp_path / "else.npz", x=np.zeros((3, *PROGRAM.graph.source.shape), np.float32))
    for words, says in (
        ([], "its images are no longer at "),
        (["--data", tmp_path / "else.npz"], "not the 3 images of the run"),
        ([*rule, "--data", moved], "leave out --exit"),
        (["--schedule", "pipelined", "--data", moved], "pipelined"),
    ):
        done = seenn("map", tmp_path / "build", "--run", run, *words, code=2)
        (line,) = done.stderr.splitlines()
        assert says in line


def test_faults_are_one_line(tmp_path: Path) -> None:
    PROGRAM.save(tmp_path / "build")
    sd.compile(sd.import_model(sd.example().network, T=1)).save(tmp_path / "float")
    for words, says in (
        (["--chip", "loihi9"], "chip 'loihi9' does not exist; there are loihi1, loihi2"),
        (["--picture", tmp_path], "is a folder"),
        (["--data", tmp_path / "none.npz"], "none.npz"),
        (["--exit", "fixed"], "add --data"),
        (["--limit", "3"], "add --data"),
        (["--schedule", "sequential"], "cannot follow a sequential schedule"),
        (
            ["--schedule", "pipelined", "--data", images(tmp_path), "--exit", "confidence"],
            "pipelined",
        ),
    ):
        done = seenn("map", tmp_path / "build", *words, code=2)
        (line,) = done.stderr.splitlines()
        assert says in line
        assert not done.stdout
    done = seenn("map", tmp_path / "float", code=2)
    assert len(done.stderr.splitlines()) == 1 and "--precision int8" in done.stderr
