"""Networks as the frameworks' tutorials write them; above all images of one channel.

An axis of size 1 fits anywhere, and batch, timesteps and channels may have the same size.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import snntorch
import torch
from spikingjelly.activation_based import functional as sj
from spikingjelly.activation_based import layer
from spikingjelly.activation_based import neuron as sjn
from torch import Tensor, nn

import seenn_deploy as sd
from tests.frontends.torch.agreement import compare, recorded
from tests.frontends.torch.networks import lively


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def agree(net: nn.Module, x: Tensor, data: np.ndarray, example: Tensor, names: list[str]) -> Any:
    """Import with `example`, compare all named layers on `x`; the graph."""
    graph = sd.import_model(net.eval(), example)
    seen = recorded(net, names, lambda: net(x))
    layers = {}
    for name, spikes in seen.items():
        shape = graph.node(name).shape  # calls and batch first, or one call with both inside
        layers[name] = np.moveaxis(spikes.reshape(graph.T, len(data), *shape), 0, 1)
    found, _ = compare(graph, data, layers)
    assert found.errors == 0 and found.silent == ()
    return graph


class Dense(nn.Module):
    """snnTorch's tutorial 5: a loop over one flat image."""

    def __init__(self, T: int, inside: bool) -> None:
        super().__init__()
        self.T, self.inside = T, inside
        self.fc1, self.fc2 = nn.Linear(64, 12), nn.Linear(12, 5)
        self.lif1, self.lif2 = snntorch.Leaky(beta=0.95), snntorch.Leaky(beta=0.95)
        lively(self)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mem1, mem2 = self.lif1.init_leaky(), self.lif2.init_leaky()
        spikes, potentials = [], []
        x = x if self.inside else x.flatten(1)
        for _ in range(self.T):
            spk1, mem1 = self.lif1(self.fc1(x.view(x.size(0), -1)), mem1)
            spk2, mem2 = self.lif2(self.fc2(spk1), mem2)
            spikes.append(spk2)
            potentials.append(mem2)
        return torch.stack(spikes, dim=0), torch.stack(potentials, dim=0)


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize(("T", "batch"), [(4, 1), (4, 2), (4, 4)])
def test_images_of_one_channel_are_flattened(T: int, batch: int, inside: bool) -> None:
    x = torch.rand(6, 1, 8, 8)
    graph = agree(Dense(T, inside), x, x.numpy(), x[:batch], ["lif1", "lif2"])
    assert (graph.T, graph.source.shape, graph.source.coding) == (T, (1, 8, 8), "direct")


class Frames(nn.Module):
    """A loop over frames, (T, N, ..) or (N, T, ..)."""

    def __init__(self, axis: int) -> None:
        super().__init__()
        self.axis = axis
        self.body = nn.Sequential(layer.Flatten(), layer.Linear(64, 5), sjn.LIFNode(tau=2.0))
        lively(self)

    def forward(self, x: Tensor) -> Tensor:
        sj.reset_net(self)
        fired: Any = 0
        for t in range(x.shape[self.axis]):
            fired += self.body(x.select(self.axis, t))
        return fired / x.shape[self.axis]


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize(("T", "batch"), [(1, 1), (1, 3), (3, 1), (3, 3)])
def test_frames_of_one_channel(T: int, batch: int, axis: int) -> None:
    streams = torch.rand(T, batch, 1, 8, 8).round()
    x, data = streams.movedim(0, axis), streams.movedim(0, 1).numpy()
    graph = agree(Frames(axis), x, data, x, ["body.2"])
    assert (graph.T, graph.source.shape, graph.source.coding) == (T, (1, 8, 8), "events")


def voting_net(step_mode: str) -> nn.Sequential:
    net = nn.Sequential(
        layer.Conv2d(1, 4, 3, padding=1, bias=False), layer.BatchNorm2d(4), sjn.IFNode(),
        layer.MaxPool2d(2, 2), layer.Dropout(0.5), layer.Flatten(), layer.Linear(64, 10),
        sjn.IFNode(v_threshold=0.1, v_reset=None), layer.VotingLayer(2),
    )  # fmt: skip
    lively(net)
    sj.set_step_mode(net, step_mode)
    return net


class CSNN(nn.Module):
    """SpikingJelly's tutorial: multi-step modules, a mean over time."""

    def __init__(self, T: int) -> None:
        super().__init__()
        self.T, self.body = T, voting_net("m")

    def forward(self, x: Tensor) -> Tensor:
        sj.reset_net(self)
        x = x.unsqueeze(0).repeat(self.T, 1, 1, 1, 1) if x.ndim == 4 else x
        return self.body(x).mean(0)


@pytest.mark.parametrize(("T", "batch"), [(1, 1), (1, 4), (4, 1), (4, 4)])
def test_multi_step_modules_and_votes(T: int, batch: int) -> None:
    names = ["body.2", "body.3", "body.7"]
    x = torch.rand(4, 1, 8, 8)
    graph = agree(CSNN(T), x, x.numpy(), x[:batch], names)
    assert (graph.T, graph.source.coding, graph.readout.shape) == (T, "direct", (5,))
    frames = torch.rand(T, batch, 1, 8, 8).round()
    graph = agree(CSNN(9), frames, frames.movedim(0, 1).numpy(), frames, names)
    assert (graph.T, graph.source.coding) == (T, "events")


@pytest.mark.parametrize("taken", [slice(-1, None), slice(1, None), slice(None)])
def test_timesteps_of_a_stream_are_summed_all_or_refused(taken: slice) -> None:
    class Some(CSNN):
        def forward(self, x: Tensor) -> Any:
            stream = self.body(x.unsqueeze(0).repeat(self.T, 1, 1, 1, 1))
            return sum(list(stream.unbind(0))[taken])

    net, x = Some(4).eval(), torch.rand(4, 1, 8, 8)
    if taken != slice(None):
        with pytest.raises(sd.SeennError, match=r"output at \S+: it takes timesteps \[.*\] of 4"):
            sd.import_model(net, x)
        return
    run = sd.simulate(sd.compile(sd.import_model(net, x)), x.numpy(), full_trace=True)
    with torch.no_grad():
        assert np.abs(run.logits[:, -1] - net(x).numpy()).max() < 1e-5


def test_a_layer_that_takes_one_timestep_of_a_stream() -> None:
    class First(CSNN):
        def __init__(self) -> None:
            super().__init__(4)
            self.single = sjn.IFNode()

        def forward(self, x: Tensor) -> Tensor:
            return self.single(self.body(x.unsqueeze(0).repeat(4, 1, 1, 1, 1))[0])

    with pytest.raises(sd.SeennError, match=r"it takes timesteps \[1\] of 4"):
        sd.import_model(First(), torch.rand(4, 1, 8, 8))


def test_votes_are_averaged() -> None:
    net, x = CSNN(4).eval(), torch.rand(4, 1, 8, 8)
    run = sd.simulate(sd.compile(sd.import_model(net, x)), x.numpy(), full_trace=True)
    with torch.no_grad():
        assert np.abs(run.logits[:, -1] - 4 * net(x).numpy()).max() < 1e-5


class Looped(nn.Module):
    """A loop over timesteps that adds up what a linear layer with a bias makes of spikes."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.sn, self.fc2 = nn.Linear(16, 12), sjn.IFNode(), nn.Linear(12, 5)

    def forward(self, x: Tensor) -> Tensor:
        sj.reset_net(self)
        out: Tensor | int = 0
        for _ in range(3):
            out = out + self.fc2(self.sn(self.fc1(x.flatten(1))))
        assert isinstance(out, Tensor)
        return out


def test_a_bias_is_added_once_a_timestep() -> None:
    torch.manual_seed(2)
    net, x = Looped().eval(), torch.rand(8, 1, 4, 4)
    graph = sd.import_model(net, x[:2])
    run = sd.simulate(sd.compile(graph), x.numpy().reshape(8, *graph.source.shape), full_trace=True)
    with torch.no_grad():
        np.testing.assert_allclose(run.logits[:, -1], net(x).numpy(), atol=1e-5)


class Downsampling(nn.Module):
    """A residual block that halves its maps: a strided 1x1 convolution beside two others."""

    def __init__(self, T: int, v_reset: float | None, spikes_meet: bool) -> None:
        super().__init__()
        self.T, self.spikes_meet = T, spikes_meet
        self.conv1, self.bn1 = layer.Conv2d(1, 4, 3, padding=1, bias=False), layer.BatchNorm2d(4)
        self.conv2, self.bn2 = layer.Conv2d(4, 6, 3, 2, 1, bias=False), layer.BatchNorm2d(6)
        self.conv3, self.bn3 = layer.Conv2d(6, 6, 3, padding=1, bias=False), layer.BatchNorm2d(6)
        self.down = nn.Sequential(layer.Conv2d(4, 6, 1, 2, bias=False), layer.BatchNorm2d(6))
        self.sn1, self.sn2, self.sn3, self.sn4 = (sjn.LIFNode(v_reset=v_reset) for _ in range(4))
        self.pool, self.fc = layer.AdaptiveAvgPool2d((1, 1)), layer.Linear(6, 5)
        lively(self)
        sj.set_step_mode(self, "m")

    def forward(self, x: Tensor) -> Tensor:
        sj.reset_net(self)
        x = self.sn1(self.bn1(self.conv1(x.unsqueeze(0).repeat(self.T, 1, 1, 1, 1))))
        out = self.bn3(self.conv3(self.sn2(self.bn2(self.conv2(x)))))
        if self.spikes_meet:
            out = self.sn3(out) + self.sn4(self.down(x))
        else:
            out = self.sn3(out + self.down(x))
        return self.fc(torch.flatten(self.pool(out), 2)).mean(0)


@pytest.mark.parametrize("spikes_meet", [False, True])
@pytest.mark.parametrize("v_reset", [0.0, None, -0.25])
def test_a_shortcut_through_a_strided_convolution(v_reset: float | None, spikes_meet: bool) -> None:
    names = ["sn1", "sn2", "sn3"] + ["sn4"] * spikes_meet
    x = torch.rand(32, 1, 8, 8)
    graph = agree(Downsampling(4, v_reset, spikes_meet), x, x.numpy(), x[:1], names)
    assert len(graph.into("sn3")) == 1 + (not spikes_meet)


class Membranes(nn.Module):
    """A shortcut of currents (MS-ResNet), halved by a 1x1 convolution; two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.bn1 = layer.Conv2d(1, 4, 3, padding=1), layer.BatchNorm2d(4)
        self.sn1, self.sn2 = sjn.LIFNode(), sjn.LIFNode(v_reset=None)
        self.conv, self.bn2 = layer.Conv2d(4, 6, 3, 2, 1, bias=False), layer.BatchNorm2d(6)
        self.down, self.bn3 = layer.Conv2d(4, 6, 1, 2), layer.BatchNorm2d(6)
        self.head = nn.Sequential(
            layer.Flatten(), layer.Linear(96, 12), layer.Linear(12, 10), layer.VotingLayer(2)
        )
        lively(self)
        for bn in (self.bn1, self.bn2, self.bn3):
            nn.init.uniform_(bn.bias, 0, 0.5)
        sj.set_step_mode(self, "m")

    def forward(self, x: Tensor) -> Tensor:
        sj.reset_net(self)
        x = self.bn1(self.stem(x.unsqueeze(0).repeat(4, 1, 1, 1, 1)))
        x = self.bn2(self.conv(self.sn1(x))) + self.bn3(self.down(x))
        return self.head(self.sn2(x)).sum(0)


def test_layers_with_weights_behind_each_other() -> None:
    net, x = Membranes().eval(), torch.rand(32, 1, 8, 8)
    graph = agree(net, x, x.numpy(), x[:2], ["sn1", "sn2"])
    assert [e.pre for e in graph.into("sn2")] == ["sn1", "input"]
    run = sd.simulate(sd.compile(graph), x.numpy(), full_trace=True)
    with torch.no_grad():
        assert np.abs(run.logits[:, -1] - net(x).numpy()).max() < 1e-4
