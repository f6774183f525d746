"""Networks for signals: their equations, their checkpoints, and training that hears no padding."""

from __future__ import annotations

from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import seenn_deploy as sd
from seenn_deploy.errors import DataError, ModelError
from seenn_deploy.training import Architecture, Recipe, models, train_snn
from seenn_deploy.training.data import find_kind, load
from seenn_deploy.training.losses.base import Batch
from seenn_deploy.training.models.neurons import LIF
from seenn_deploy.training.models.signals import RecurrentLIF
from tests import naive_losses as naive

T, CHANNELS = 5, 3
RECIPE = Recipe(epochs=3, batch_size=16, lr=0.02, optimizer="adamw")


def signals(folder: Path, behind: float = 0.0, n: int = 64, **more: Any) -> Path:
    """Two classes: the first channel rises or falls, for 2 to 5 timesteps."""
    rng = np.random.default_rng(1)
    y, length = rng.integers(0, 2, n), rng.integers(2, T + 1, n)
    x = rng.normal(size=(n, T, CHANNELS)) + 3.0
    x[:, :, 0] += (2 * y - 1)[:, None] * np.arange(T)
    x[np.arange(T) >= length[:, None]] = behind
    path = folder / f"signals{behind:g}.npz"
    np.savez(path, **{"x": x.astype(np.float32), "y": y, "length": length} | more)
    return path


def test_recurrent_neurons_by_hand() -> None:
    torch.manual_seed(0)
    layer = RecurrentLIF(2, tau=0.7, v_threshold=0.8).double()
    currents = torch.rand(4, 6, 2, dtype=torch.float64) * 1.5 - 0.2
    found = layer(currents).tolist()
    back = layer.back.weight.tolist()
    for sample, spikes in zip(currents.tolist(), found, strict=True):
        v, s = [0.0, 0.0], [0.0, 0.0]
        for a, sent in zip(sample, spikes, strict=True):
            v = [0.7 * v[i] + a[i] + back[i][0] * s[0] + back[i][1] * s[1] for i in (0, 1)]
            s = [float(x > 0.8) for x in v]
            v = [0.0 if x > 0.8 else x for x in v]
            assert sent == s


@pytest.mark.parametrize("surrogate", ["triangle", "dspike"])
def test_without_a_way_back_they_are_the_other_neurons(surrogate: Any) -> None:
    torch.manual_seed(0)
    layer, plain = RecurrentLIF(3, surrogate=surrogate).double(), LIF(surrogate=surrogate)
    torch.nn.init.zeros_(layer.back.weight)
    a, b = (torch.rand(2, 5, 3, dtype=torch.float64).mul(2) for _ in range(2))
    b.copy_(a)
    for x, neurons in ((a.requires_grad_(), layer), (b.requires_grad_(), plain)):
        (neurons(x) * torch.arange(30.0).view(2, 5, 3)).sum().backward()
    torch.testing.assert_close(a.grad, b.grad)


@pytest.mark.parametrize("name", ["mlp", "rnn"])
def test_what_is_trained_compiles_and_says_the_same(name: str, tmp_path: Path) -> None:
    data, out = signals(tmp_path), tmp_path / "run"
    log = train_snn(data, out, Architecture(name, width=0.2), RECIPE, test=data)
    assert log[-1]["loss"] < log[0]["loss"] and len(log[-1]["accuracy_by_step"]) == T
    assert log[-1]["accuracy_by_step"][-1] > 0.8
    graph = sd.import_model(out / "model.pth", T=T)
    assert graph.provenance.not_proven == "" and graph.source.coding == "events"
    run = sd.simulate(sd.compile(graph, sd.exits.Fixed()), data, full_trace=True)
    np.testing.assert_allclose(run.accuracy_by_step(), log[-1]["accuracy_by_step"], atol=1e-6)
    assert run.exit_step.max() == T and (run.exit_step == run.length).all()


def test_what_lies_behind_an_end_is_never_heard(tmp_path: Path) -> None:
    runs = []
    for behind in (0.0, 1e6):
        out = tmp_path / f"run{behind:g}"
        train_snn(signals(tmp_path, behind), out, Architecture("rnn", width=0.1), RECIPE)
        runs.append(torch.load(out / "model.pth", weights_only=True))
    assert all(torch.equal(runs[0][k], runs[1][k]) for k in runs[0])
    mean, std = runs[0]["mean"].numpy(), runs[0]["std"].numpy()
    with np.load(signals(tmp_path)) as stored:
        heard = [row for x, n in zip(stored["x"], stored["length"], strict=True) for row in x[:n]]
    np.testing.assert_allclose(mean, np.mean(heard, axis=0), rtol=1e-5)
    np.testing.assert_allclose(std, np.std(heard, axis=0, ddof=1), rtol=1e-5)


@pytest.mark.parametrize("name", ["tet", "gap"])
def test_losses_hear_each_timestep_up_to_the_end(name: str) -> None:
    rng = torch.Generator().manual_seed(0)
    z = torch.randn(3, T, 4, generator=rng, dtype=torch.float64)
    y, length = torch.tensor([3, 0, 1]), torch.tensor([2, 5, 1])
    z.requires_grad_()
    batch = Batch(torch.zeros(3), y, torch.arange(3), length=length)
    found: Tensor = sd.training.losses.named(name).of_logits(z, batch)
    found.backward()
    assert z.grad is not None
    heard = torch.arange(T) < length[:, None]
    assert (z.grad[~heard] == 0).all() and (z.grad[heard] != 0).any(dim=1).all()
    if name == "tet":  # each timestep counts as a sample of one
        rows = [[row] for x, n in zip(z.tolist(), length, strict=True) for row in x[:n]]
        labels = [label for label, n in zip(y.tolist(), length, strict=True) for _ in range(n)]
        assert found.item() == pytest.approx(naive.tet(rows, labels, 1e-3, 1.0))


def test_real_values_of_frames_stay_what_they_are(tmp_path: Path) -> None:
    x = np.array([[[0.5], [200.25]], [[1.0], [2.0]]], np.float32)
    np.savez(tmp_path / "s.npz", x=x, y=[0, 1])
    data = load(tmp_path / "s.npz", 2)
    assert data.as_float(data.samples).flatten().tolist() == x.ravel().tolist()
    assert find_kind(tmp_path / "s.npz").shape == (1, 1, 1)


def test_what_does_not_fit_is_one_line(tmp_path: Path) -> None:
    data, out = signals(tmp_path), tmp_path / "run"
    with pytest.raises(ModelError, match=r"resnet8: .* holds signals \(N, T, C\): --model mlp or"):
        train_snn(data, out, Architecture("resnet8"), RECIPE)
    with pytest.raises(DataError, match="signals of 5 timesteps, T = 3; leave T out"):
        train_snn(data, out, Architecture("mlp", T=3), RECIPE)
    with pytest.raises(DataError, match="loss mixed takes samples of one length, these differ"):
        train_snn(data, out, Architecture("mlp"), RECIPE, loss="mixed")
    with pytest.raises(ModelError, match="loss rcs: recurrent layers"):
        train_snn(data, out, Architecture("rnn"), RECIPE, loss="rcs")
    with pytest.raises(DataError, match="holds signals; cutout and sizes are for images"):
        train_snn(data, out, Architecture("rnn"), Recipe(cutout=2))
    x = np.zeros((4, 8, 8, 3), np.uint8)
    np.savez(tmp_path / "images.npz", x=x, y=[0, 1, 0, 1])
    with pytest.raises(ModelError, match=r"mlp: .* holds no signals"):
        train_snn(tmp_path / "images.npz", out, Architecture("mlp"), RECIPE)
    assert not out.exists()
    torch.save(models.build("mlp", 2, 3, 0.1).state_dict(), tmp_path / "net.pth")
    with pytest.raises(ModelError, match="takes channels at every timestep; leave input_size"):
        sd.import_model(tmp_path / "net.pth", T=2, input_size=8)


def test_a_channel_that_never_changes_is_left_alone(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(8, T, 2)).astype(np.float32)
    x[:, :, 1] = 4.0
    np.savez(tmp_path / "flat.npz", x=x, y=np.arange(8) % 2)
    train_snn(tmp_path / "flat.npz", tmp_path / "run", Architecture("mlp", width=0.1), RECIPE)
    stored = torch.load(tmp_path / "run/model.pth", weights_only=True)
    assert stored["std"][1] == 1 and stored["std"][0] == pytest.approx(
        sqrt(x[:, :, 0].var(ddof=1)), rel=1e-5
    )
