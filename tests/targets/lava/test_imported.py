"""Networks of SpikingJelly, snnTorch and Norse as int8 programs on Lava, bit for bit."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

import seenn_deploy as sd
from seenn_deploy.exits.confidence import Confidence
from tests.frontends.torch.agreement import train
from tests.frontends.torch.networks import CLASSES, JellyNet, LeakyNet, RecurrentNet
from tests.frontends.torch.test_norse import Cells, LeakyReadout, Streams, frames
from tests.frontends.torch.test_tutorials import CSNN, Downsampling


def program(net: Any, x: torch.Tensor) -> Any:
    """int8, of images in 0..1 where they are images."""
    pixels = {} if x.ndim != 4 else {"mean": [0.0] * x.shape[1], "std": [1.0] * x.shape[1]}
    return sd.compile(sd.import_model(net, x, **pixels), Confidence(0.6), precision="int8")


def verified(net: Any, x: torch.Tensor) -> None:
    """Two samples on Lava; frames come with time first."""
    data = x.numpy() if x.ndim == 4 else np.moveaxis(x.numpy(), 0, 1)
    data = data if x.ndim != 3 else data[..., None, None]
    report = sd.verify(program(net, x), data[:2], timeout=300)
    assert report.exact, report.first_differences


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
    verified(net, x)


@pytest.mark.parametrize(
    "make",
    [
        lambda: CSNN(T=2),
        lambda: Downsampling(T=2, v_reset=-0.25, spikes_meet=False),
        lambda: Downsampling(T=2, v_reset=None, spikes_meet=True),
    ],
)
def test_a_network_of_one_channel(make: Any) -> None:
    torch.manual_seed(0)
    verified(make().eval(), torch.rand(8, 1, 8, 8))


@pytest.mark.parametrize("make", [Streams, Cells, partial(LeakyReadout, cells=True)])
def test_norse(make: Any) -> None:
    torch.manual_seed(0)
    verified(make(), frames(n=8, T=4))
