"""An exit rule in one new file, in a folder of one's own: found, used, calibrated, refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import seenn_deploy as sd
from tests.targets.lava import graphs

RULE = """
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from .base import ExitRule


@dataclass(frozen=True)
class Lead(ExitRule):
    parameter: ClassVar[str] = "kappa"
    kappa: float = 1.0

    def score(self, z, t):
        return z.max(axis=-1) - z.mean(axis=-1)

    def threshold(self, t):
        return np.full(np.shape(t), self.kappa)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The rule's file, a network, its images, and what the network says of them to T."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "plugins/exits").mkdir(parents=True)
    (folder / "plugins/exits/lead.py").write_text(RULE)
    program = sd.compile(graphs.small(4))
    program.save(folder / "float", targets=["nir"])
    x = graphs.images(program.graph, 60)
    labels = np.random.default_rng(0).integers(0, program.graph.readout.shape[0], 60)
    run = sd.simulate(program, x, full_trace=True)
    right = np.random.default_rng(1).random(60) < 0.7
    y = np.where(right, run.logits[:, -1].argmax(axis=-1), labels)
    np.savez(folder / "images.npz", x=x, y=y)
    np.save(folder / "logits.npy", run.logits)
    return folder


def seenn(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"SEENN_PLUGINS": str(folder / "plugins")}
    return subprocess.run(
        [sys.executable, "-m", "seenn_deploy", *words],
        cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip


def done(folder: Path, *words: str) -> str:
    found = seenn(folder, *words)
    assert found.returncode == 0, found.stderr
    return found.stdout


def test_it_is_used_everywhere(folder: Path) -> None:
    data = ("--data", "images.npz")
    lead = ("--exit", "lead", "--set", "kappa=0.5")
    said = done(folder, "compile", "float/nir/network.nir", *lead, "-o", "build")
    assert "lead(kappa=0.5)" in said and "assumed: the network" not in said
    assert json.loads((folder / "build/program.json").read_text())["exit_rule"] == {
        "rule": "lead", "kappa": 0.5
    }  # fmt: skip

    done(folder, "simulate", "build", *data, "--json", "run.json")  # loads it
    z = np.load(folder / "logits.npy")
    score = z.max(axis=-1) - z.mean(axis=-1)
    exits = [next((t + 1 for t in range(4) if s[t] > 0.5), 4) for s in score]
    figures = json.loads((folder / "run.json").read_text())
    assert figures["mean_exit_step"] == pytest.approx(np.mean(exits))
    assert 1 < np.mean(exits) < 4

    swept = done(folder, "sweep", "build", *data, "--rules", "lead", "--json", "sweep.json")
    assert "lead " in swept
    assert "lead" in json.loads((folder / "sweep.json").read_text())["rules"]

    done(folder, "calibrate", "build", *data, "--rule", "lead", "--level", "0.6", "-o", "rule.json")
    kappa = json.loads((folder / "rule.json").read_text())["kappa"]
    y = np.load(folder / "images.npz")["y"]
    early = [n for n in range(len(z)) if (score[n, :3] > kappa).any()]
    right = [z[n, np.argmax(score[n, :3] > kappa)].argmax() == y[n] for n in early]
    assert early and np.mean(right) >= 0.6
    assert done(folder, "simulate", "build", *data, "--exit-file", "rule.json")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--exit", "lead", "--precision", "int8"), "exit rule 'lead' has no integer form"),
        (("--exit", "lead", "--set", "gamma=2"), "exit rule lead: "),
        (("--exit", "lead", "--set", "gamma"), "'gamma': give NAME=VALUE"),
        (("--exit", "lead", "--alpha", "0.5"), "--alpha belongs to exit rule confidence"),
        (("--set", "kappa=2"), "name the rule with --exit"),
        (("--exit", "hunch", "--set", "kappa=2"), "'hunch' does not exist; there are"),
    ],
)
def test_it_is_refused_in_one_line(folder: Path, words: tuple[str, ...], expected: str) -> None:
    model = "net.pth" if "int8" in words else "float/nir/network.nir"
    if "int8" in words:
        import torch

        from tests import checkpoints

        torch.save(checkpoints.resnet(blocks=(1, 1, 1), channels=(3, 4, 5), size=8), folder / model)
        words = (*words, "--input-size", "8")
    found = seenn(folder, "compile", model, *words, "-o", "refused")
    assert found.returncode == 2 and expected in found.stderr
    assert len(found.stderr.splitlines()) == 1 or "Usage:" in found.stderr
    assert not (folder / "refused").exists()
