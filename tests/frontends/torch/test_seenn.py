"""SEENN's modules by their attributes, our own networks, and how much export has to read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import snntorch
import torch
from torch import Tensor, nn

import seenn_deploy as sd
from seenn_deploy.fidelity import FidelityReport
from seenn_deploy.frontends.torch.layers import with_opaque_layers
from seenn_deploy.frontends.torch.tracing import export
from seenn_deploy.training import models
from seenn_deploy.training.models import qcfs
from tests.frontends.torch.agreement import compare, recorded


class ZIF(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gama: float) -> Tensor:
        return (x > 0).float()


class LIFSpike(nn.Module):
    """With SEENN's attributes and arithmetic."""

    def __init__(self, thresh: float = 1.0, tau: float = 0.5, at: bool = False) -> None:
        super().__init__()
        self.thresh, self.tau, self.gama = thresh, tau, 1.0
        self.act: Any = (lambda x, _: (x >= 0).float()) if at else ZIF.apply

    def forward(self, x: Tensor) -> Tensor:
        mem, out = 0, []
        for t in range(x.shape[1]):
            mem = mem * self.tau + x[:, t, ...]
            spike = self.act(mem - self.thresh, self.gama)
            mem = (1 - spike) * mem
            out.append(spike)
        return torch.stack(out, dim=1)


class PLIF(LIFSpike):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.tau = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        own, self.__dict__["tau"] = self.tau, self.tau.sigmoid()
        try:
            return super().forward(x)
        finally:
            del self.__dict__["tau"]
            assert self.tau is own


class Seq(nn.Module):
    """As SEENN's SeqToANNContainer: batch and time as one axis, and back."""

    def __init__(self, *parts: nn.Module) -> None:
        super().__init__()
        self.module = nn.Sequential(*parts)

    def forward(self, x: Tensor) -> Tensor:
        y = self.module(x.flatten(0, 1).contiguous())
        return y.view([x.shape[0], x.shape[1], *y.shape[1:]])


class SmallVGG(nn.Module):
    def __init__(self, T: int, at: bool = False) -> None:
        super().__init__()
        self.T = T
        self.add_dim = lambda x: torch.stack([x] * self.T, dim=1)
        self.one = Seq(nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6))
        self.act1 = LIFSpike(at=at)
        self.two = Seq(nn.AvgPool2d(2), nn.Conv2d(6, 8, 3, padding=1), nn.BatchNorm2d(8))
        self.act2 = LIFSpike(0.7, 0.25)
        self.pool = Seq(nn.AdaptiveAvgPool2d((1, 1)))
        self.classifier = Seq(nn.Dropout(0.3), nn.Linear(8, 5))

    def forward(self, x: Tensor) -> Tensor:
        x = self.add_dim(x) if x.ndim == 4 else x
        x = self.act2(self.two(self.act1(self.one(x))))
        return self.classifier(torch.flatten(self.pool(x), 2))


def lively(net: nn.Module) -> nn.Module:
    torch.manual_seed(3)
    for part in net.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.weight, 1, 2)
            nn.init.uniform_(part.bias, 0, 0.8)
            nn.init.uniform_(part.running_var, 0.1, 0.5)
    return net.eval()


@pytest.mark.parametrize("at", [False, True])
@pytest.mark.parametrize("events", [False, True])
def test_modules_like_seenns(events: bool, at: bool) -> None:
    net = lively(SmallVGG(3, at))
    x = torch.rand(64, 3, 12, 12) if not events else (torch.rand(64, 3, 3, 12, 12) < 0.5).float()
    graph = sd.import_model(net, x[:2])
    assert graph.source.coding == ("events" if events else "direct")
    first = graph.node("act1")
    assert (first.comparison, first.tau, graph.node("act2").v_threshold) == (
        ">=" if at else ">",
        0.5,
        0.7,
    )
    layers = {n: s[0] for n, s in recorded(net, ["act1", "act2"], lambda: net(x)).items()}
    found, run = compare(graph, x.numpy(), layers)
    assert found.errors == 0 and found.silent == () and found.near >= 20
    with torch.no_grad():
        logits = np.cumsum(net(x).numpy(), axis=1)
    assert np.abs(run.logits - logits).max() < 1e-5 or found.ties


class Normalised(nn.Module):
    """As SEENN's TensorNormalization in front, and a classifier behind the mean over time."""

    def __init__(self, T: int) -> None:
        super().__init__()
        self.net = SmallVGG(T)
        self.mean, self.std = torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.2, 0.2, 0.3])

    def forward(self, x: Tensor) -> Tensor:
        net = self.net
        x = x.sub(self.mean[None, :, None, None]).div(self.std[None, :, None, None])
        x = net.act2(net.two(net.act1(net.one(net.add_dim(x)))))
        return net.classifier.module(net.pool(x).flatten(2).mean(1))


@pytest.mark.parametrize("T", [1, 3])
def test_normalisation_before_and_a_classifier_behind_the_mean(T: int) -> None:
    net, x = lively(Normalised(T)), torch.rand(6, 3, 12, 12)
    run = sd.simulate(sd.compile(sd.import_model(net, x[:1])), x.numpy(), full_trace=True)
    with torch.no_grad():
        assert np.abs(T * net(x).numpy() - run.logits[:, -1]).max() < 1e-4


class Constants(nn.Module):
    """Sums, differences and quotients with constants on either side, with and without a factor."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.act, self.fc = nn.Conv2d(3, 6, 3), LIFSpike(0.3), nn.Linear(6 * 16, 5)
        self.c = torch.tensor([0.5, 0.4, 0.3])[:, None, None]

    def forward(self, x: Tensor) -> Tensor:
        x = torch.add(1 - x, self.c, alpha=3)
        x = torch.sub(self.c, -x, alpha=2)
        x = self.conv(torch.sub(x, 0.25, alpha=2) / self.c)
        return self.fc(self.act(torch.stack([x] * 3, dim=1)).flatten(2))


class NormOfSum(nn.Module):
    """A batch norm behind the sum of two convolutions: its shift is added once."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.act1, self.act2 = nn.Conv2d(3, 6, 3), LIFSpike(0.3), LIFSpike(0.3)
        self.left, self.right = nn.Conv2d(6, 4, 3), nn.Conv2d(6, 4, 3)
        self.bn, self.fc = nn.BatchNorm2d(4), nn.Linear(16, 5)
        assert self.bn.running_mean is not None
        nn.init.uniform_(self.bn.running_mean, -0.8, 0)

    def forward(self, x: Tensor) -> Tensor:
        s = self.act1(torch.stack([self.stem(x)] * 3, dim=1)).flatten(0, 1)
        y = self.bn(self.left(s) + self.right(s)).view(-1, 3, 4, 2, 2)
        return self.fc(self.act2(y).flatten(2))


@pytest.mark.parametrize("make", [Constants, NormOfSum])
def test_constants_are_added_once(make: Any) -> None:
    torch.manual_seed(1)
    net, x = lively(make()), torch.rand(6, 3, 6, 6)
    run = sd.simulate(sd.compile(sd.import_model(net, x[:1])), x.numpy(), full_trace=True)
    assert run.counts.spikes.sum(axis=(0, 2))[:-1].all()
    with torch.no_grad():
        expected = np.cumsum(net(x).numpy(), axis=1)
    np.testing.assert_allclose(run.logits, expected, atol=1e-4)


def test_one_dimension() -> None:
    torch.manual_seed(0)
    lif = snntorch.Leaky(beta=0.5, init_hidden=True, threshold=0.2)
    net = nn.Sequential(
        nn.Conv1d(2, 4, 3, padding="same"), nn.BatchNorm1d(4), lif, nn.Flatten(), nn.Linear(40, 3)
    ).eval()
    x = torch.rand(5, 2, 10)
    graph = sd.import_model(net, x, T=3)
    assert [n.shape for n in graph.order] == [(2, 1, 10), (4, 1, 10), (3,)]
    run = sd.simulate(sd.compile(graph), x.numpy()[:, :, None], full_trace=True)
    lif.reset_mem()
    with torch.no_grad():
        logits = np.cumsum([net(x).numpy() for _ in range(3)], axis=0)
    assert np.abs(np.moveaxis(logits, 0, 1) - run.logits).max() < 1e-5


def test_the_mean_over_time_is_reported() -> None:
    class Mean(SmallVGG):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).mean(1)

    net = lively(Mean(3))
    findings = sd.import_model(net, torch.rand(2, 3, 12, 12)).provenance["report"]["findings"]
    assert any("mean over time" in f["what"] for f in findings)


def test_a_leak_for_each_channel_is_taken() -> None:
    net = SmallVGG(3)
    net.act1 = PLIF(6)
    assert sd.import_model(net, torch.rand(2, 3, 12, 12)).node("act1").tau == 0.5
    with torch.no_grad():
        net.act1.tau[0] = 1.0
    graph = sd.import_model(net, torch.rand(2, 3, 12, 12))  # which compares every spike
    np.testing.assert_array_equal(
        np.ravel(graph.node("act1").tau), torch.sigmoid(net.act1.tau.detach()).ravel()
    )


# --- our own networks ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["resnet19", "vgg16", "sew-resnet34"])
def test_own_networks(name: str, tmp_path: Path) -> None:
    net = lively(models.build(name, width=0.04, T=2))
    x = torch.rand(2, 3, 32, 32)
    graph = sd.import_model(net, x)
    names = [n for n, m in net.named_modules() if type(m).__name__ == "LIF"]
    layers = {n: s[0] for n, s in recorded(net, names, lambda: net(x)).items()}
    found, run = compare(graph, x.numpy(), layers)
    assert found.errors == 0 and set(names) <= set(run.spikes)
    if name.startswith("sew"):
        return
    torch.save(net.state_dict(), tmp_path / "net.pth")
    same = sd.import_model(tmp_path / "net.pth", T=2, normalize=False)
    other = sd.simulate(sd.compile(same), x.numpy(), record=True, full_trace=True)
    assert all((other.spikes[n] == run.spikes[n]).all() for n in names)
    assert (other.logits == run.logits).all()
    assert (other.counts.ac == run.counts.ac).all() and (other.counts.mac == run.counts.mac).all()
    assert [e.dense_macs for e in same.projections] == [e.dense_macs for e in graph.projections]


class IFNeuron(nn.Module):
    """As in SEENN's conversion code."""

    def __init__(self) -> None:
        super().__init__()
        self.mem: Any = 0.5
        self.t = 0

    def forward(self, x: Tensor) -> Tensor:
        self.mem = self.mem + x
        y = ((self.mem - 1) > 0).float()
        self.mem = self.mem - y
        return y


class ScaledNeuron(nn.Module):
    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale, self.neuron = scale, IFNeuron()

    def forward(self, x: Tensor) -> Tensor:
        return self.neuron(x / self.scale) * self.scale


def test_a_converted_network() -> None:
    net = lively(qcfs.build("resnet8", in_channels=3, levels=4))
    swap_activations(net)
    x = torch.rand(8, 3, 16, 16)
    names = [n for n, m in net.named_modules() if isinstance(m, IFNeuron)]
    graph = sd.import_model(net, x[:2], T=4)
    assert {graph.node(n).reset for n in names} == {"soft"}
    layers = recorded(net, names, lambda: [net(x) for _ in range(4)])
    layers = {n: np.moveaxis(s, 0, 1) for n, s in layers.items()}
    found, _ = compare(graph, x.numpy(), layers)
    assert found.errors == 0 and found.silent == ()


def swap_activations(net: nn.Module) -> None:
    for name, child in net.named_children():
        if isinstance(child, qcfs.QCFS):
            setattr(net, name, ScaledNeuron(1.5))
        else:
            swap_activations(child)


# --- how much there is to read -------------------------------------------------------------------


def test_the_time_loop_is_not_unrolled() -> None:
    """Nodes of ResNet-19 at T = 4, with layers as operators and as they are."""
    net, x = models.build("resnet19", width=0.02, T=4).eval(), torch.rand(2, 3, 32, 32)
    report = FidelityReport("ResNet")
    opaque = export(with_opaque_layers(net, report)[0], x, report)
    unrolled = export(net, x, report)
    counts = [len(program.graph.nodes) for program, _ in (opaque, unrolled)]
    assert counts[0] < 500 and counts[1] > 2 * counts[0]
