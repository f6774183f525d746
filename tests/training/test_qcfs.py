"""The ANN recipe: it learns, resumes, stops where it diverges, and its file converts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import seenn_deploy as sd
from seenn_deploy.cli import seenn
from seenn_deploy.errors import DataError, ModelError, TrainingError
from seenn_deploy.io.images.normalization import CIFAR10
from seenn_deploy.metrics import accuracy_by_step
from seenn_deploy.training.loop import Recipe
from seenn_deploy.training.models import qcfs
from seenn_deploy.training.qcfs import AnnArchitecture, train_ann

SMALL = AnnArchitecture("resnet8", 0.25, levels=4)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of pixels, bright above or below."""
    rng = np.random.default_rng(0)
    y = np.arange(96) % 2
    x = rng.integers(0, 100, (96, 8, 8, 3))
    x[y == 0, :4] += 120
    x[y == 1, 4:] += 120
    path = tmp_path_factory.mktemp("data") / "train.npz"
    np.savez(path, x=x.astype(np.uint8), y=y)
    return path


def test_it_learns_and_converts(tmp_path: Path, data: Path) -> None:
    recipe = Recipe(epochs=4, batch_size=16, augment="none")
    log = train_ann(data, tmp_path / "run", SMALL, recipe, test=data)
    assert log[-1]["loss"] < log[0]["loss"]
    assert log[-1]["accuracy"] > 0.9
    program = sd.convert(tmp_path / "run" / "model.pth", T=16, input_size=8)
    assert program.input_range == (0, 1)
    with np.load(data) as stored:
        run = sd.simulate(program, str(data))
        accuracy = accuracy_by_step(run.logits, stored["y"])
    assert accuracy[-1] > 0.9


def test_the_same_seed_gives_the_same_weights_and_resuming_too(tmp_path: Path, data: Path) -> None:
    recipe = Recipe(epochs=2, batch_size=32, seed=3)
    train_ann(data, tmp_path / "a", SMALL, recipe)
    train_ann(data, tmp_path / "b", SMALL, recipe)
    a, b = (torch.load(tmp_path / n / "model.pth", weights_only=True) for n in "ab")
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert len(train_ann(data, tmp_path / "a", SMALL, recipe, resume=True)) == 2


def test_it_starts_from_weights_and_smooths_labels(tmp_path: Path, data: Path) -> None:
    """A step of almost no length leaves the weights, and the loss is that of smoothed labels."""
    train_ann(data, tmp_path / "first", SMALL, Recipe(epochs=2, batch_size=32))
    first = torch.load(tmp_path / "first/model.pth", weights_only=True)
    start = replace(SMALL, init=str(tmp_path / "first/model.pth"))
    still = Recipe(epochs=1, batch_size=96, lr=1e-30, augment="none")
    losses = [
        train_ann(data, tmp_path / f"{share}", start, still, label_smoothing=share)[0]["loss"]
        for share in (0.0, 0.5)
    ]
    after = torch.load(tmp_path / "0.5/model.pth", weights_only=True)
    assert all(torch.equal(first[k], after[k]) for k in first if k.endswith("weight"))
    # -(0.5 log p_y + 0.25 (log p_0 + log p_1)) of two classes, from the logits by hand.
    with np.load(data) as stored:
        x, y = torch.tensor(stored["x"] / 255.0).permute(0, 3, 1, 2).float(), stored["y"]
    net = qcfs.build("resnet8", 2, 3, 0.25, 4, 8)
    net.load_state_dict(first)
    per_channel = [torch.tensor(v).view(3, 1, 1) for v in CIFAR10]
    logits = net.train()((x - per_channel[0]) / per_channel[1]).detach().double().numpy()
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    right = log_p[np.arange(len(y)), y]
    assert losses == pytest.approx([-right.mean(), -(right + log_p.mean(axis=1)).mean() / 2], 1e-4)


def test_the_command_and_what_it_tells_to_do_next(tmp_path: Path, data: Path) -> None:
    args = ["train", "ann", "--model", "resnet8", "--width", "0.25", "--epochs", "1"]
    args += ["--data", str(data), "--test", str(data), "-o", str(tmp_path / "run")]
    done = CliRunner().invoke(seenn, args)
    assert done.exit_code == 0, done.output
    assert "accuracy" in done.output
    (line,) = (line for line in done.output.splitlines() if line.startswith("convert it: seenn "))
    next_args = line.removeprefix("convert it: seenn ").split()[:-1]
    done = CliRunner().invoke(seenn, [*next_args, str(tmp_path / "build")])
    assert done.exit_code == 0, done.output
    assert sd.Program.load(tmp_path / "build").graph.source.shape == (3, 8, 8)


def test_divergence_stops_the_run(tmp_path: Path, data: Path) -> None:
    with pytest.raises(TrainingError, match=r"lower the learning rate"):
        train_ann(data, tmp_path / "run", SMALL, Recipe(epochs=3, batch_size=16, lr=1e12))


def test_bad_input(tmp_path: Path, data: Path) -> None:
    with pytest.raises(ModelError, match="does not exist"):
        train_ann(data, tmp_path / "run", AnnArchitecture("resnet19"), Recipe())
    with pytest.raises(DataError, match="label_smoothing = 1; it is a share"):
        train_ann(data, tmp_path / "run", SMALL, Recipe(), label_smoothing=1)
    torch.save(qcfs.build("resnet8", 2, 3, 0.5, 4, 8).state_dict(), tmp_path / "wider.pth")
    with pytest.raises(ModelError, match=r"wider\.pth: of another architecture: conv1\.0\.weight"):
        train_ann(
            data, tmp_path / "run", replace(SMALL, init=str(tmp_path / "wider.pth")), Recipe()
        )
    events = tmp_path / "events.npz"
    np.savez(events, x=np.zeros((4, 1, 2, 8, 8), np.float32), y=np.arange(4))
    with pytest.raises(DataError, match="an ANN takes images"):
        train_ann(events, tmp_path / "run", SMALL, Recipe())
