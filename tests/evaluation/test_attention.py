"""Attention by element beside the conventions of papers, each recomputed here by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import seenn_deploy as sd
from seenn_deploy.cli import seenn
from seenn_deploy.evaluation import attention
from seenn_deploy.training.models.spikformer import Spikformer

T, PJ = 3, 1e-12
# Multiply-accumulates of the layers of the network below, from their sizes, with their inputs.
IMAGE = 3 * 9 * 16 * 256
LAYERS = [
    (16 * 9 * 32 * 64, "first.lif"), (32 * 9 * 64 * 16, "second.lif"),
    (64 * 9 * 64 * 16, "third.lif"), (3 * 64 * 64 * 16, "add"),
    (64 * 64 * 16, "blocks.0.attention.lif"), (64 * 256 * 16, "blocks.0.add"),
    (256 * 64 * 16, "blocks.0.up.lif"), (64 * 5, "blocks.0.add1"),
]  # fmt: skip
SUMS = {
    "add": ["third.lif", "position.lif"], "blocks.0.add": ["add", "blocks.0.attention.proj.lif"],
    "blocks.0.add1": ["blocks.0.add", "blocks.0.down.lif"],
}  # fmt: skip
PRODUCT = 2 * 16 * 16 * 32  # heads, tokens, tokens, channels of a head


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> sd.Program:
    torch.manual_seed(0)
    net = Spikformer(5, 3, T, channels=64, heads=2, blocks=1)
    with torch.no_grad():
        for name, value in net.named_parameters():
            if name.endswith("module.1.bias"):
                value.add_(0.5)
        for _ in range(20):
            net(torch.randn(8, 3, 16, 16))
    path = tmp_path_factory.mktemp("net") / "model.pth"
    torch.save(net.state_dict(), path)
    graph = sd.import_model(path, T=T, input_size=16, normalize=False)
    return sd.compile(graph, sd.exits.Confidence(0.35))


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(1).standard_normal((6, 3, 16, 16)).astype(np.float32)


def test_conventions_are_those_of_the_papers(program: sd.Program, images: np.ndarray) -> None:
    run = sd.simulate(program, images, record=True)
    found = attention.compare(program, run)
    steps = run.exit_step.mean()
    assert 1 < steps < T
    spikes = {name: s.astype(np.int64) for name, s in run.spikes.items()}
    for name, parts in SUMS.items():
        spikes[name] = sum(spikes[part] for part in parts)
    rates = {name: (s != 0).sum(axis=1).mean() for name, s in spikes.items()}  # x timesteps
    rest = 4.6 * IMAGE * steps + 0.9 * sum(macs * rates[pre] for macs, pre in LAYERS)
    q, k, v = (rates[f"blocks.0.attention.{part}.lif"] for part in "qkv")
    for name, operations in (
        ("dense", 2 * PRODUCT * steps), ("rate", PRODUCT * (min(q, k) + v)), ("none", 0.0)
    ):  # fmt: skip
        assert found[name].rest == pytest.approx(rest * PJ, rel=1e-9)
        assert found[name].attention == pytest.approx(0.9 * operations * PJ, rel=1e-9), name
    assert found["exact"].total == pytest.approx(run.useful_energy().mean(), rel=1e-9)
    at = [run.layers.index(f"blocks.0.attention.{name}") for name in ("mul", "mul2")]
    assert found["exact"].attention == pytest.approx(
        0.9 * PJ * run.charged.ac[:, at].sum(axis=(1, 2)).mean(), rel=1e-9
    )
    assert 0 < found["exact"].attention < found["rate"].attention < found["dense"].attention


def test_networks_without_attention_have_none() -> None:
    files = sd.example()
    program = sd.compile(sd.import_model(files.network, T=4))
    run = sd.simulate(program, files.images)
    assert attention.summary(attention.compare(program, run)) == {}


def test_spikingformer_s_published_figure_is_found_again() -> None:
    """The by-hand example of docs/costs.md, to all digits that its authors printed."""
    # https://github.com/zhouchenlin2096/Spikingformer, energy_consumption_calculation/README.md
    rates = [  # q, k, v of each block
        (0.17230188630104062, 0.03626344770312309, 0.06957707978010177),
        (0.11627475060462952, 0.040295450145006184, 0.07173207724809647),
        (0.10669307922124864, 0.044414592387676234, 0.07524623577594756),
        (0.08188644799470902, 0.05000199048876763, 0.0768778057050705),
        (0.06365273276925086, 0.04325467040181161, 0.07054187965631485),
        (0.07711239219903945, 0.0311313860142231, 0.07321582739830017),
        (0.07023756886482238, 0.024202287513613703, 0.07348622434139251),
        (0.09727698216676713, 0.02812242347121239, 0.07954712931871415),
    ]
    product = 4 * 8 * 14**2 * 64 * 64  # timesteps, heads, tokens, channels of a head twice
    by_rate = sum(product * (min(k, v) + q) for q, k, v in rates)
    assert by_rate / 1e9 == pytest.approx(0.027826, abs=1e-6)
    mac, ac = 0.347329512, 6.51754094076244
    assert 4.6 * mac + 0.9 * ac == pytest.approx(7.463502601886196, rel=1e-12)
    assert 0.9 * by_rate / 1e9 / 7.463502601886196 == pytest.approx(0.00336, abs=1e-5)


@pytest.mark.parametrize("command", ["simulate", "sweep"])
def test_the_commands_show_it_in_eighty_columns(
    program: sd.Program, images: np.ndarray, tmp_path: Path, command: str
) -> None:
    program.save(tmp_path / "build")
    np.savez(tmp_path / "data.npz", x=images, y=np.arange(6) % 5)
    arguments = [command, tmp_path / "build", "--data", tmp_path / "data.npz", "--json",
                 tmp_path / "found.json"]  # fmt: skip
    found = CliRunner().invoke(seenn, [str(a) for a in arguments], catch_exceptions=False)
    assert found.exit_code == 0, found.output
    assert "papers, by rate" in found.output and "2307.01694" in found.output
    assert max(map(len, found.output.splitlines())) <= 80
    told = json.loads((tmp_path / "found.json").read_text())["attention"]
    assert list(told) == ["exact", "dense", "rate", "none"]
    assert told["none"]["attention_energy_uJ"] == 0
