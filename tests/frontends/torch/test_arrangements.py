"""Channels side by side, images of another size and other views of the input: the module's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from spikingjelly.activation_based import functional, neuron
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, max_pool2d

import seenn_deploy as sd

T = 3
How = Callable[[Any, Tensor, Tensor], Tensor]


class Net(nn.Module):
    """Two layers of spikes, which `how` gives to a third one."""

    def __init__(self, how: How, example: Tensor) -> None:
        super().__init__()
        self.how = how
        self.conv1, self.if1 = nn.Conv2d(2, 4, 3, padding=1), neuron.IFNode()
        self.conv2, self.if2 = nn.Conv2d(2, 3, 3, padding=1), neuron.IFNode()
        self.conv3: nn.Module = nn.LazyConv2d(6, 3, padding=1)
        self.if3, self.fc = neuron.IFNode(v_threshold=0.3), nn.LazyLinear(5)
        for conv in (self.conv1, self.conv2):
            conv.weight.data.mul_(4)
        self(example)  # gives the lazy layers their sizes
        if isinstance(self.conv3.weight, nn.UninitializedParameter):
            self.conv3 = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        functional.reset_net(self)
        logits: Any = 0
        for _ in range(T):
            a, b = self.if1(self.conv1(x)), self.if2(self.conv2(x))
            logits = logits + self.fc(self.if3(self.how(self, a, b)).flatten(1))
        return logits


ARRANGED: dict[str, How] = {
    "channels": lambda net, a, b: net.conv3(torch.cat([a, b], 1)),
    "channels, for neurons": lambda _, a, b: torch.cat([a, b], 1),
    "channels of channels": lambda net, a, b: net.conv3(torch.cat([torch.cat([a, b], 1), a], 1)),
    "channels before a pool": lambda net, a, b: net.conv3(avg_pool2d(torch.cat([a, b], 1), 2)),
    "channels before a max pool": lambda net, a, b: net.conv3(max_pool2d(torch.cat([a, b], 1), 2)),
    "channels of graded spikes": lambda net, a, b: net.conv3(torch.cat([a + a, b], 1)),
    "channels as a shortcut": lambda _, a, b: torch.cat([a, b], 1) + torch.cat([b, a], 1),
    "rows": lambda net, a, _: net.conv3(torch.cat([a, a], 2)),
    "columns": lambda net, a, _: net.conv3(torch.cat([a, a], 3)),
    "twice the size": lambda net, a, _: net.conv3(interpolate(a, scale_factor=2)),
    "half the size": lambda net, a, _: net.conv3(interpolate(a, (3, 3))),
    "another size": lambda net, a, _: net.conv3(interpolate(a, (9, 4))),
    "a size by a factor": lambda net, a, _: net.conv3(interpolate(a, scale_factor=1.7)),
    "the nearest in truth": lambda net, a, _: net.conv3(
        interpolate(a, scale_factor=1.7, mode="nearest-exact")
    ),
    "of another size, for neurons": lambda _, a, __: interpolate(a, (3, 3)),
    "both": lambda net, a, b: net.conv3(
        torch.cat([interpolate(a, (3, 3)), interpolate(b, (3, 3))], 1)
    ),
}
REFUSED: dict[str, tuple[How, str]] = {
    "currents": (
        lambda net, a, b: net.conv3(torch.cat([net.conv1(a[:, :2]), b], 1)),
        "a concatenation of channels of what does not spike",
    ),
    "scaled": (
        lambda net, a, b: net.conv3(torch.cat([a, 0.5 * b], 1)),
        "a concatenation of channels of what does not spike",
    ),
    "a mean of neighbours": (
        lambda net, a, _: net.conv3(interpolate(a, scale_factor=2, mode="bilinear")),
        "upsample_bilinear2d is not supported",
    ),
    "resized currents": (
        lambda net, a, _: net.conv3(interpolate(net.conv1(a[:, :2]), (3, 3))),
        "nearest interpolation of what does not spike",
    ),
}


def made(how: How) -> tuple[Net, Tensor]:
    torch.manual_seed(0)
    x = torch.rand(4, 2, 6, 6)
    return Net(how, x).eval(), x


@pytest.mark.filterwarnings("ignore:Lazy modules")
@pytest.mark.parametrize("name", ARRANGED)
def test_spikes_in_other_places(name: str) -> None:
    net, x = made(ARRANGED[name])
    with torch.no_grad():
        theirs = net(x).numpy()
    run = sd.simulate(sd.compile(sd.import_model(net, x)), x.numpy(), record=True, full_trace=True)
    assert all(spikes.any() for spikes in run.spikes.values()) and theirs.std() > 0.01
    np.testing.assert_allclose(run.logits[:, -1], theirs, atol=1e-5)


@pytest.mark.filterwarnings("ignore:Lazy modules")
@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_spike_stays_where_it_is(name: str) -> None:
    how, says = REFUSED[name]
    net, x = made(how)
    with pytest.raises(sd.SeennError, match=rf"test_arrangements\.py:\d+: {says}"):
        sd.import_model(net, x)


@pytest.mark.filterwarnings("ignore:Lazy modules")
def test_devices_put_spikes_elsewhere_too(tmp_path: Any) -> None:
    net, x = made(ARRANGED["both"])
    graph = sd.import_model(net, x)
    program = sd.compile(graph, precision="int8")
    for device in ("lava", "c"):
        assert sd.verify(program, x.numpy()[:1], device=device).ok
    with pytest.raises(sd.SeennError, match="spikes put elsewhere; NIR has no node for it"):
        sd.compile(graph).save(tmp_path / "program", targets=["nir"])


@pytest.mark.filterwarnings("ignore:Lazy modules")
def test_layers_without_values_are_refused_by_name() -> None:
    net = nn.Sequential(nn.LazyLinear(4), neuron.IFNode(), nn.Linear(4, 2))
    with pytest.raises(sd.SeennError, match=r"0\.weight: has no values yet"):
        sd.import_model(net, torch.rand(2, 3), T=2)


# --- the input as the module sees it -------------------------------------------------------------


class Viewed(nn.Module):
    """A first layer that takes what `view` makes of the input."""

    def __init__(self, view: Callable[[Tensor], Tensor], first: nn.Module, hidden: int) -> None:
        super().__init__()
        self.view, self.first = view, first
        self.spike, self.fc = neuron.IFNode(), nn.Linear(hidden, 5)
        first.weight.data.mul_(4)

    def forward(self, x: Tensor) -> Tensor:
        functional.reset_net(self)
        logits: Any = 0
        for _ in range(T):
            logits = logits + self.fc(self.spike(self.first(self.view(x))).flatten(1))
        return logits


VIEWS: dict[str, tuple[Callable[[Tensor], Tensor], tuple[int, ...]]] = {
    "a vector": (lambda x: x.view(-1, 1, 6, 6), (4, 36)),
    "as many samples as pixels": (lambda x: x.view(-1, 1, 6, 6), (36, 36)),
    "a vector, unflattened": (lambda x: x.unflatten(1, (1, 6, 6)), (4, 36)),
    "without channels": (lambda x: x.unsqueeze(1), (4, 6, 6)),
    "without channels, indexed": (lambda x: x[:, None], (4, 6, 6)),
    "without channels, viewed": (lambda x: x.view(len(x), 1, 6, 6), (4, 6, 6)),
}


@pytest.mark.parametrize("name", VIEWS)
def test_an_input_that_is_viewed_as_an_image(name: str) -> None:
    view, sizes = VIEWS[name]
    torch.manual_seed(0)
    net, x = Viewed(view, nn.Conv2d(1, 4, 3, padding=1), 144).eval(), torch.rand(sizes)
    with torch.no_grad():
        theirs = net(x).numpy()
    graph = sd.import_model(net, x)
    assert graph.source.shape == (1, 6, 6)
    run = sd.simulate(sd.compile(graph), x.reshape(-1, 6, 6).numpy(), full_trace=True)
    assert theirs.std() > 0.01
    np.testing.assert_allclose(run.logits[:, -1], theirs, atol=1e-5)


def test_two_images_of_one_vector_are_refused() -> None:
    class Two(Viewed):
        def forward(self, x: Tensor) -> Tensor:
            other = self.first(x.view(-1, 1, 4, 9)).flatten(1)
            return torch.as_tensor(self.fc(self.spike(self.first(self.view(x)).flatten(1) + other)))

    net = Two(lambda x: x.view(-1, 1, 6, 6), nn.Conv2d(1, 4, 3, padding=1), 144).eval()
    with pytest.raises(sd.SeennError, match=r"seen as|cuts through"):
        sd.import_model(net, torch.rand(4, 36), T=T)
