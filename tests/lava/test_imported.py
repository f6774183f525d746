"""Networks of SpikingJelly and snnTorch as int8 programs on Lava, bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import seenn_deploy as sd
from seenn_deploy.exits.confidence import Confidence
from tests.frontends.torch_agreement import train
from tests.frontends.torch_networks import CLASSES, JellyNet, LeakyNet, RecurrentNet


def program(net: Any, x: torch.Tensor) -> Any:
    """int8, of images in 0..1 where they are images."""
    pixels = {} if x.ndim == 5 else {"mean": [0.0, 0.0], "std": [1.0, 1.0]}
    return sd.compile(sd.import_model(net, x, **pixels), Confidence(0.6), precision="int8")


@pytest.mark.parametrize(
    "make",
    [
        lambda: JellyNet(0.0, T=3, channels=3),
        lambda: JellyNet(None, T=3, channels=3, multi=True),
        lambda: LeakyNet("zero", T=3, channels=3),
        lambda: LeakyNet("subtract", T=3, channels=3, events=False),
        lambda: RecurrentNet(T=3),
    ],
)
def test_an_imported_network_equals_the_simulator(make: Any) -> None:
    torch.manual_seed(0)
    net = make()
    events = isinstance(net, RecurrentNet) or getattr(net, "events", False)
    x = torch.rand(3, 8, 2, 8, 8).lt(0.4).float() if events else torch.rand(8, 2, 8, 8)
    train(net, x, CLASSES)
    data = np.moveaxis(x.numpy(), 0, 1) if events else x.numpy()
    report = sd.verify(program(net, x), data[:2], timeout=300)
    assert report.exact, report.first_differences
