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


def test_faults_are_one_line(tmp_path: Path) -> None:
    PROGRAM.save(tmp_path / "build")
    for words, says in (
        (["--chip", "loihi9"], "chip 'loihi9' does not exist; there are loihi1, loihi2"),
        (["--picture", tmp_path], "is a folder"),
    ):
        done = seenn("map", tmp_path / "build", *words, code=2)
        (line,) = done.stderr.splitlines()
        assert says in line
        assert not done.stdout
