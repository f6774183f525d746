"""``seenn-compile nets.py:make_net``: torch modules on the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import seenn_deploy as sd
from seenn_deploy.cli import seenn
from seenn_deploy.errors import SeennError

NETS = """
    import torch
    from snntorch import Alpha
    from spikingjelly.activation_based import neuron
    from torch import nn


    def make_net():
        torch.manual_seed(0)
        conv = nn.Conv2d(2, 4, 3, padding=1)
        return nn.Sequential(conv, neuron.LIFNode(), nn.Flatten(), nn.Linear(64, 3))


    net = make_net()
    number = 3


    class Chooses(nn.Module):
        def __init__(self):
            super().__init__()
            self.lif = neuron.LIFNode()

        def forward(self, x):
            spikes = self.lif(x)
            if spikes.sum() > 2:
                spikes = 2 * spikes
            return spikes


    class Unknown(nn.Module):
        def __init__(self):
            super().__init__()
            self.lif = Alpha(alpha=0.9, beta=0.8)

        def forward(self, x):
            return self.lif(x)[0]


    def raises():
        return open("nowhere")
"""


@pytest.fixture
def nets(tmp_path: Path) -> Path:
    (tmp_path / "nets.py").write_text(dedent(NETS))
    return tmp_path / "nets.py"


def compile_(model: str, out: Path, *options: str) -> None:
    command = ["compile", model, "-o", str(out), *options]
    CliRunner().invoke(seenn, command, catch_exceptions=False)


@pytest.mark.parametrize("name", ["net", "make_net"])
def test_the_same_program_as_in_python(nets: Path, tmp_path: Path, name: str) -> None:
    compile_(f"{nets}:{name}", tmp_path / "out", "--example", "2,2,4,4", "-T", "4")
    scope: dict = {}
    exec(compile(dedent(NETS), "nets", "exec"), scope)
    graph = sd.import_model(scope["make_net"](), torch.rand(2, 2, 4, 4), T=4)
    assert sd.Program.load(tmp_path / "out").fingerprint == sd.compile(graph).fingerprint


def test_an_example_from_a_file(nets: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((2, 2, 4, 4)))
    compile_(f"{nets}:net", tmp_path / "out", "--example", str(tmp_path / "x.npy"), "-T", "4")
    assert sd.Program.load(tmp_path / "out").T == 4


@pytest.mark.parametrize(
    ("model", "example", "says"),
    [
        ("nets.py:Chooses", "2,4", r"nets\.py:25: data-dependent control flow"),
        ("nets.py:Unknown", "2,4", r"lif \(Alpha\) at .*nets\.py:36: this neuron is not supported"),
        ("nets.py:raises", "2,4", r"nets\.py:40: raises\(\) raised FileNotFoundError"),
        ("nets.py:nothing", "2,4", r"'nothing'; it defines Chooses, Unknown, make_net, net, r"),
        ("nets.py:number", "2,4", r"is int, no torch module"),
        ("nets.py:net", "2,x", r"--example 2,x: give a shape"),
        ("nets.py:net", "0,2", r"--example 0,2: give a shape"),
        ("nets.py:net", "gone.npy", r"gone\.npy: not an array"),
        ("nets.py:net", None, r"nets\.py:net: say what the module takes"),
        ("nets.py", "2,4", r"name the torch module in it"),
        ("gone.py:net", "2,4", r"gone\.py: no such file"),
        ("gone.nir", "2,4", r"--example is for torch modules"),
    ],
)
def test_what_is_wrong_is_one_line(
    nets: Path, tmp_path: Path, model: str, example: str | None, says: str
) -> None:
    options = ("-T", "4") if example is None else ("-T", "4", "--example", example)
    with pytest.raises(SeennError, match=says) as error:
        compile_(str(nets.with_name(model)), tmp_path / "out", *options)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_file_that_does_not_run(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("x = 1\ny = (\n")
    with pytest.raises(SeennError, match=r"broken\.py:2: running it raised SyntaxError"):
        compile_(f"{tmp_path}/broken.py:net", tmp_path / "out", "--example", "1,2")


def test_exit_code_and_report(nets: Path, tmp_path: Path) -> None:
    found = tmp_path / "found.json"
    run = subprocess.run(
        [sys.executable, "-m", "seenn_deploy", "compile", f"{nets}:Chooses", "--example", "2,4",
         "-T", "3", "-o", str(tmp_path / "out"), "--json", str(found)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 2 and run.stderr.count("\n") == 1
    assert "data-dependent" in json.loads(found.read_text())["refused"]
