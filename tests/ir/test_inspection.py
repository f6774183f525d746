"""seenn inspect: what a user sees of sums, loops, delays and synaptic currents."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import seenn_deploy as sd
from seenn_deploy import ir
from seenn_deploy.cli import seenn


def program() -> sd.Program:
    """Two populations, one recurrent and with synaptic currents, added up."""
    full = ir.Dense(np.ones((4, 4), np.float32))
    nodes = [
        ir.Source("input", (1, 2, 2), "events"),
        ir.Population("a", (4,), tau=1.0, reset="soft"),
        ir.Population("b", (4,), tau=0.5, tau_syn=0.75, reset="soft", reset_by=2.0),
        ir.Sum("both", (4,)),
        ir.Readout("out", (3,), tau=0.5),
    ]
    edges = [
        ir.Projection("input", "a", (full,)),
        ir.Projection("input", "b", (full,), lag=2),
        ir.Projection("b", "b", (full,), lag=1),
        ir.Projection("a", "both", (ir.Identity(),)),
        ir.Projection("b", "both", (ir.Identity(),)),
        ir.Projection("both", "out", (ir.Dense(np.ones((3, 4), np.float32)),)),
    ]
    return sd.compile(ir.SpikingGraph(nodes, edges, 4))


def test_every_layer_in_words() -> None:
    layers = {layer.name: layer for layer in sd.inspect(program())}
    assert layers["b"].kind == "dense t-2 + dense t-1 loop"
    assert layers["b"].neuron == "LIF, tau 0.5, synaptic current 0.75, V 1, soft reset by 2"
    assert layers["a"].neuron == "IF, V 1, soft reset"
    assert (layers["both"].kind, layers["both"].neuron) == ("sum of 2", "spikes added")
    assert (layers["both"].neurons, layers["both"].synapses) == (0, 0)
    assert layers["both"].depth == layers["a"].depth == 1
    assert layers["out"].neuron == "leaky, tau 0.5"


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    program().save("build")
    done = CliRunner().invoke(seenn, ["inspect", "build", "--json", "out.json"])
    assert done.exit_code == 0, done.output
    assert "dense t-1 loop" in done.output and "synaptic current 0.75" in done.output
    assert max(map(len, done.output.splitlines())) <= 100
    stored = json.loads(Path("out.json").read_text())["layers"]
    assert [layer["name"] for layer in stored] == ["a", "b", "both", "out"]
