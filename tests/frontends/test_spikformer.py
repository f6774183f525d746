"""Checkpoints of the Spikformer that ``seenn train`` makes: the same as the module, proven."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import seenn_deploy as sd
from seenn_deploy.errors import ModelError
from seenn_deploy.training.models.spikformer import Attention, Spikformer

T = 3


@pytest.fixture(scope="module")
def net() -> Spikformer:
    """A small network in which every layer spikes."""
    torch.manual_seed(0)
    made = Spikformer(5, 3, T, channels=64, heads=2, blocks=1)
    with torch.no_grad():
        for name, value in made.named_parameters():
            if name.endswith("module.1.bias"):
                value.add_(0.5)
            if "attention.proj" in name and name.endswith("module.0.weight"):
                value.mul_(4)
        for _ in range(20):
            made(torch.randn(8, 3, 16, 16))
    return made.eval()


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(1).standard_normal((4, 3, 16, 16)).astype(np.float32)


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_a_checkpoint_is_the_network(
    tmp_path: Path, net: Spikformer, images: np.ndarray, suffix: str
) -> None:
    from safetensors.torch import save_file

    path = tmp_path / f"weights.{suffix}"
    (torch.save if suffix == "pth" else save_file)(net.state_dict(), path)
    graph = sd.import_model(path, T=T, input_size=16, normalize=False)
    assert graph.provenance.proof["proven"] and graph.provenance.proof["silent"] == []
    run = sd.simulate(sd.compile(graph), images, full_trace=True)
    with torch.no_grad():
        want = net(torch.from_numpy(images)).cumsum(1).numpy()
    np.testing.assert_allclose(run.logits, want, rtol=1e-4, atol=1e-4)


def test_the_live_module_gives_the_same_counts(
    tmp_path: Path, net: Spikformer, images: np.ndarray
) -> None:
    torch.save(net.state_dict(), tmp_path / "model.pth")
    file = sd.import_model(tmp_path / "model.pth", T=T, input_size=16, normalize=False)
    live = sd.import_model(net, torch.from_numpy(images[:1]))
    runs = [sd.simulate(sd.compile(graph), images, full_trace=True) for graph in (file, live)]
    for name in ("ac", "mac", "ands", "payloads", "comparisons", "spikes"):
        counts = [
            dict(zip(run.layers, getattr(run.counts, name).sum(axis=(0, 2)), strict=True))
            for run in runs
        ]
        assert counts[0] == counts[1], name
    assert counts[0]["blocks.0.attention.proj.lif"] > 0


def test_training_attends_as_a_graph_does() -> None:
    torch.manual_seed(0)
    spikes = [(torch.rand(2, T, 64, 3, 4) < 0.3).double().requires_grad_() for _ in "qkv"]
    net, weight = Attention(64, 2, {}), torch.randn(2, T, 64, 3, 4).double()
    found = []
    for training in (True, False):
        made = net.train(training)._attended(*spikes)
        found.append((made, *torch.autograd.grad((made * weight).sum(), spikes)))
    for fast, plain in zip(*found, strict=True):
        assert plain.abs().max() > 1
        torch.testing.assert_close(fast, plain, rtol=1e-12, atol=1e-12)


def test_heads_that_do_not_divide_the_channels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="3 heads do not divide 64 channels"):
        Spikformer(channels=64, heads=3)
    torch.save(Spikformer(5, 3, T, channels=48, heads=1).state_dict(), tmp_path / "model.pth")
    with pytest.raises(ModelError, match="48 channels, which heads of 32 do not divide"):
        sd.import_model(tmp_path / "model.pth", T=T, input_size=16)
