from __future__ import annotations

from collections.abc import Callable
from math import tanh
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import seenn_deploy as sd
from seenn_deploy.errors import ModelError
from seenn_deploy.training import models
from seenn_deploy.training.models.neurons import LIF
from seenn_deploy.training.models.resnet import ResNet, resnets
from seenn_deploy.training.models.signals import SIGNALS
from tests import checkpoints, reference

Pair = tuple[Callable[[], nn.Module], Callable[[], checkpoints.State], reference.Step]
PIXELS, FRAMES = (3, 16, 16), (2, 2, 32, 32)

FAMILIES: dict[str, tuple[Pair, tuple[int, ...]]] = {
    "resnet19": (
        (
            lambda: models.build("resnet19", width=1 / 8, T=2),
            lambda: checkpoints.resnet(1, (3, 3, 2), size=16),
            reference.resnet,
        ),
        PIXELS,
    ),
    "resnet8": (
        (
            lambda: models.build("resnet8", classes=4, T=2),
            lambda: checkpoints.resnet(1, (1, 1, 1), classes=4, size=16),
            reference.resnet,
        ),
        PIXELS,
    ),
    "vgg16": (
        (
            lambda: models.build("vgg16", width=1 / 4, T=2),
            lambda: checkpoints.vgg(checkpoints.VGG_CFG["D"], 1, size=16),
            reference.vgg,
        ),
        PIXELS,
    ),
    "vggsnn": (
        (
            lambda: models.build("vggsnn", in_channels=2, width=1 / 8, T=2),
            lambda: checkpoints.vggsnn(tuple(c // 8 for c in checkpoints.VGGSNN_CHANNELS)),
            reference.vggsnn,
        ),
        FRAMES,
    ),
    "vggsnn-woap": (
        (
            lambda: models.build("vggsnn-woap", in_channels=2, width=1 / 8, T=2),
            lambda: checkpoints.vggsnn_woap(
                tuple(c // 8 for c in checkpoints.VGGSNN_CHANNELS), size=32
            ),
            reference.vggsnn_woap,
        ),
        FRAMES,
    ),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_state_dicts_interchange_with_seenn_s_both_ways(family: str) -> None:
    (build, make, _), _ = FAMILIES[family]
    ours, theirs = build(), make()
    assert {k: v.shape for k, v in ours.state_dict().items()} == {
        k: v.shape for k, v in theirs.items()
    }
    ours.load_state_dict(theirs, strict=True)


@pytest.mark.parametrize("family", FAMILIES)
def test_forward_equals_the_reference(family: str) -> None:
    (build, make, step), shape = FAMILIES[family]
    state, model = make(), build().eval()
    model.load_state_dict(state)
    x = (
        checkpoints.events((4, *shape)) if len(shape) == 4 else checkpoints.images((4, *shape))
    ) * 1.5
    with torch.no_grad():
        found = model.double()(torch.from_numpy(x).double()).cumsum(1)
    expected = reference.forward(step, state, x, 2, dtype=torch.float64)
    np.testing.assert_allclose(found.numpy(), expected.logits, rtol=1e-9, atol=1e-9)
    assert sum(s.sum() for s in expected.spikes.values()) > 0


@pytest.mark.parametrize("family", ["resnet8", "vgg16", "vggsnn-woap"])
def test_a_fresh_network_compiles_and_simulates_as_torch_says(tmp_path: Path, family: str) -> None:
    (build, make, _), shape = FAMILIES[family]
    model = build().eval()
    model.load_state_dict(make())
    torch.save(model.state_dict(), tmp_path / "model.pth")
    graph = sd.import_model(tmp_path / "model.pth", T=2, input_size=shape[-1], normalize=False)
    x = checkpoints.events((3, *shape)) if len(shape) == 4 else checkpoints.images((3, *shape))
    with torch.no_grad():
        expected = model(torch.from_numpy(x)).cumsum(1).numpy()
    run = sd.simulate(sd.compile(graph), x, full_trace=True)
    np.testing.assert_allclose(run.logits, expected, rtol=1e-3, atol=1e-3)


def test_channels_and_blocks_are_the_paper_s() -> None:
    table = resnets()
    assert table["resnet8"] == ((16, 32, 64), (1, 1, 1))
    assert table["resnet18"] == ((64, 128, 256, 512), (2, 2, 2, 2))
    assert table["resnet19"] == ((128, 256, 512), (3, 3, 2))
    assert table["resnet20"] == ((16, 32, 64), (2, 2, 2))
    assert table["resnet34"][1] == table["sew-resnet34"][1] == (3, 4, 6, 3)


@pytest.mark.parametrize("name", models.names())
def test_every_network_runs_and_every_parameter_gets_a_gradient(name: str) -> None:
    torch.manual_seed(0)
    size = 1 if name in SIGNALS else 16
    model = models.build(name, classes=3, in_channels=2, width=1 / 16, T=3, input_size=size)
    logits = model(2 * torch.rand(4, 2, size, size))
    assert logits.shape == (4, 3, 3)
    logits.square().sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_sew_blocks_send_counts() -> None:
    model = models.build("sew-resnet34", width=1 / 32, T=2)
    seen: list[Tensor] = []
    assert isinstance(model, ResNet)
    model.rows[0].register_forward_hook(lambda *args: seen.append(args[2]))
    with torch.no_grad():
        model(3 * torch.rand(8, 3, 32, 32))
    assert set(seen[0].unique().tolist()) <= {0.0, 1.0, 2.0, 3.0, 4.0}
    assert seen[0].max() > 1


# --- neurons -------------------------------------------------------------------------------------


def _spike_gradient(over: float, **options: Any) -> tuple[float, float]:
    current = torch.tensor([[1.0 + over]], dtype=torch.float64, requires_grad=True)
    spike = LIF(**options)(current)
    spike.sum().backward()
    assert current.grad is not None
    return float(spike.detach()), float(current.grad)


@pytest.mark.parametrize("over", [-1.5, -0.5, -0.1, 0.0, 0.2, 0.9, 1.1])
def test_triangle(over: float) -> None:
    spike, slope = _spike_gradient(over)
    assert spike == (over > 1e-15)
    assert slope == pytest.approx(max(0.0, 1 - abs(over)))


@pytest.mark.parametrize("over", [-3.5, -0.5, -0.1, 0.0, 0.2, 2.9, 3.1])
def test_dspike(over: float) -> None:
    spike, slope = _spike_gradient(over, surrogate="dspike")
    assert spike == (over >= 0)
    inside = 3 * (1 - tanh(3 * over) ** 2) / (2 * tanh(9))
    assert slope == pytest.approx(inside if abs(over) <= 3 else 0.0)


def test_membranes_leak_reset_and_remember() -> None:
    current = torch.tensor([[0.8, 0.8, 0.0, 0.4, 1.0]])
    # v' = 0.8, 1.2 (spike, reset), 0, 0.4, 1.2
    assert LIF()(current).tolist() == [[0, 1, 0, 0, 1]]


def test_gradient_runs_back_through_time() -> None:
    current = torch.tensor([[0.6, 0.5]], requires_grad=True)
    LIF()(current)[:, 1].sum().backward()
    # v'2 = 0.5 (1 - s1) v'1 + 0.5; ds2/da1 = g(v'2) 0.5 ((1 - s1) - v'1 g(v'1))
    first, second = 1 - abs(0.6 - 1), 1 - abs(0.8 - 1)
    assert current.grad is not None
    assert current.grad[0, 0].item() == pytest.approx(second * 0.5 * (1 - 0.6 * first))


# --- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"name": "resnet7"}, "resnet8"),
        ({"name": "resnet8", "classes": 0}, "classes = 0"),
        ({"name": "resnet8", "T": 0}, "T = 0"),
        ({"name": "resnet8", "width": 0}, "width = 0"),
        ({"name": "vggsnn", "input_size": 12}, "needs 16"),
        ({"name": "vgg16", "surrogate": "box"}, "triangle, dspike"),
    ],
)
def test_refusals(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        models.build(**options)
