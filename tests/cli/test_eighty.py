"""What every command prints, in 80 columns: no line is longer, no name of a layer is broken."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from seenn_deploy import targets
from seenn_deploy.cli import seenn
from tests.frontends.test_onnx import Maker
from tests.targets.test_devices import DEVICE

STAGES = [f"feature_extractor_of_this_network.activation_of_stage_{i}" for i in (1, 2)]
NETWORK = """
import torch
from torch import nn
from spikingjelly.activation_based.neuron import LIFNode

def make():
    torch.manual_seed(0)
    net = nn.Sequential()
    stages = nn.Sequential()
    for i in (1, 2):
        stages.add_module(f"weights_{i}", nn.Conv2d(3 if i == 1 else 6, 6, 3, padding=1))
        stages.add_module(f"activation_of_stage_{i}", LIFNode())
    net.add_module("feature_extractor_of_this_network", stages)
    net.add_module("flat", nn.Flatten())
    net.add_module("classifier", nn.Linear(6 * 64, 5))
    return net.eval()
"""
DATA = ["--data", "data.npz"]
COMPILE = ["compile", "net.py:make", "--example", "1,3,8,8", "-T", "3", "--alpha", "0.5",
           "--mean", "0.5,0.5,0.5", "--std", "0.2,0.2,0.2"]  # fmt: skip
COMMANDS = {
    "check": ["check", *COMPILE[1:6], "--mean", "0.5,0.5,0.5", "--std", "0.2,0.2,0.2"],
    "check build": ["check", "build"],
    "compile": [*COMPILE, "-o", "new", "--target", "nir"],
    "compile int8": [*COMPILE, "-o", "new8", "--precision", "int8", "--calibration", "data.npz",
                     "--target", "lava"],
    "compile build": ["compile", "build", "-o", "other", "--exit", "fixed"],
    "convert": ["convert", "ann.onnx", "-T", "4", "--calibration", "data.npz", "-o", "converted"],
    "inspect": ["inspect", "build"],
    "map": ["map", "integers"],
    "map run": ["map", "integers", *DATA, "--limit", "2"],
    "report": ["report", "build", *DATA, "-o", "report.html"],
    "simulate": ["simulate", "build", *DATA, "--full-trace"],
    "simulate under all": ["simulate", "build", *DATA, "--all-costs"],
    "costs": ["costs"],
    "costs lemaire": ["costs", "lemaire"],
    "costs loihi1": ["costs", "loihi1"],
    "compare": ["compare", "build", "integers", *DATA],
    "sweep": ["sweep", "build", *DATA],
    "evaluate": ["evaluate", "build", *DATA],
    "evaluate shift": ["evaluate", "build", *DATA, "--shift", "--per-shift", "5"],
    "calibrate": ["calibrate", "build", *DATA, "--rule", "margin", "-o", "rule.json"],
    "run": ["run", "build", *DATA, "--device", "mock"],
    "verify": ["verify", "build", *DATA, "--device", "mock", "--report", "report.txt"],
    "example": ["example", "there"],
    "train": ["train", "snn", *DATA, "-o", "run", "--model", "resnet8", "--width", "0.05",
              "-T", "8", "--epochs", "1", "--test", "data.npz"],
}  # fmt: skip


def ann(folder: Path) -> Path:
    """An ONNX network whose nodes have names longer than half a line."""
    m = Maker()
    x = m.op("Relu", [m.conv("image", 3, 4)])
    x = m.op("ReduceMean", [m.op("Relu", [m.conv(x, 4, 6)])], axes=[2, 3], keepdims=0)
    for node in m.nodes:
        node.name = f"/feature_extractor_of_this_network/stage_of_it{node.name}"
    return m.save(folder, m.gemm(x, 6, 5, transB=1))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A program, its data and a device, in a folder where every command can run."""
    place = tmp_path_factory.mktemp("eighty")
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(place)
        patched.delenv("COLUMNS", raising=False)
        patched.setenv("SEENN_PLUGINS", str(place / "plugins"))
        (place / "plugins/targets").mkdir(parents=True)
        (place / "plugins/targets/mock.py").write_text(DEVICE)
        (place / "net.py").write_text(NETWORK)
        ann(place).rename(place / "ann.onnx")
        rng = np.random.default_rng(0)
        x = rng.integers(0, 256, (40, 8, 8, 3), np.uint8)
        np.savez(place / "data.npz", x=x, y=rng.integers(0, 5, 40))
        known = list(targets.__path__)
        printed([*COMPILE, "-o", "build", "--target", "mock"])
        printed([*COMPILE, "-o", "integers", "--precision", "int8"])
        yield place
        targets.__path__[:] = known  # type: ignore[index]
        sys.modules.pop("seenn_deploy.targets.mock", None)


def printed(words: list[str]) -> str:
    done = CliRunner().invoke(seenn, words)
    assert done.exit_code == 0, (done.output, done.exception)
    return done.stdout


def test_no_command_is_left_out() -> None:
    tested = {words[0] for words in COMMANDS.values()}
    assert tested == {*seenn.commands} - {"setup-lava"}  # which prints one line


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_fits_80_columns(folder: Path, name: str) -> None:
    text = printed(COMMANDS[name])
    tables = text.split("compile it: ")[0]  # a command that is to be pasted stays one line
    assert tables.strip() and "…" not in text
    assert max(map(len, tables.splitlines())) <= 80, tables
    if name in ("compile int8", "inspect", "map", "verify", "check"):
        for stage in STAGES:
            assert re.search(rf"^\S*{re.escape(stage)}", text, re.M), text
    if name == "verify":
        assert (folder / "report.txt").read_text() == text
