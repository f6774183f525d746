"""Linear layers over the last axis of raw tokens (B, N, C): the module's logits and counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import snntorch
import torch
from spikingjelly.activation_based import functional, neuron
from torch import Tensor, nn

import seenn_deploy as sd

N, C, D, T = 5, 6, 8, 3


class Tokens(nn.Module):
    """Two layers over tokens, and a head that `how` says."""

    def __init__(self, how: str = "flat", classes: int = 3) -> None:
        super().__init__()
        self.how = how
        self.fc1, self.norm, self.if1 = nn.Linear(C, D), nn.BatchNorm1d(D), neuron.LIFNode()
        self.fc2, self.if2 = nn.Linear(D, D), neuron.LIFNode(v_threshold=0.2)
        self.head = nn.Linear(D * (N if how == "flat" else 1), classes)
        self.norm.running_mean.normal_()  # type: ignore[union-attr]

    def forward(self, x: Tensor) -> Tensor:
        current = self.fc1(2 * x - 1)
        current = self.norm(current.transpose(1, 2)).transpose(1, 2)
        spikes: Any = self.if2(self.fc2(self.if1(current)))
        if self.how == "flat":
            return torch.as_tensor(self.head(spikes.flatten(1)))
        if self.how == "mean":
            return torch.as_tensor(self.head(spikes.mean(1)))
        return torch.as_tensor(self.head(spikes).mean(1))


class Attending(nn.Module):
    """Queries, keys and values of raw tokens."""

    def __init__(self) -> None:
        super().__init__()
        for name in "qkv":
            setattr(self, name, nn.Sequential(nn.Linear(C, D), neuron.IFNode(v_threshold=0.5)))
        self.spike, self.head = neuron.IFNode(v_threshold=0.3), nn.Linear(N * D, 3)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.q(x), self.k(x), self.v(x)
        return torch.as_tensor(self.head(self.spike(0.25 * (q @ k.mT @ v)).flatten(1)))


class Shortcut(Tokens):
    """The sum of two layers of the input goes to both layers of neurons."""

    def forward(self, x: Tensor) -> Tensor:
        current = self.fc1(x) + x @ self.fc1.weight.flip(1).T
        spikes: Any = self.if2(self.fc2(self.if1(current)) + current)
        return torch.as_tensor(self.head(spikes.flatten(1)))


class Frames(nn.Module):
    """A loop over timesteps, behind one linear layer; leaks and thresholds by channel."""

    def __init__(self, tokens: int) -> None:
        super().__init__()
        self.fc, self.out = nn.Linear(C, D), nn.Linear(tokens * D, 3)
        self.lif = snntorch.Leaky(
            beta=torch.linspace(0.3, 0.9, D), threshold=torch.linspace(0.3, 1, D)
        )

    def forward(self, x: Tensor) -> Tensor:
        current, mem, logits = self.fc(x), self.lif.init_leaky(), []
        for t in range(x.shape[1]):
            spikes, mem = self.lif(current[:, t], mem)
            logits.append(self.out(spikes.flatten(1)))
        return torch.stack(logits)


CASES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "flattened": (Tokens, (4, N, C)),
    "as many samples as tokens": (Tokens, (N, N, C)),
    "a mean of tokens": (lambda: Tokens("mean"), (4, N, C)),
    "a mean of classes": (lambda: Tokens("mean of classes"), (4, N, C)),
    "a shortcut of currents": (Shortcut, (4, N, C)),
    "attention": (Attending, (4, N, C)),
    "frames of tokens": (lambda: Frames(N), (4, T, N, C)),
    "frames without tokens": (lambda: Frames(1), (4, T, C)),
}


@pytest.mark.parametrize("name", CASES)
def test_tokens_of_the_input(name: str) -> None:
    make, sizes = CASES[name]
    torch.manual_seed(0)
    net = make().eval()
    for weight in (p for p in net.parameters() if p.ndim > 1):
        weight.data.mul_(3)
    x = torch.rand(sizes)
    loop = isinstance(net, Frames)
    graph = sd.import_model(net, x, T=None if loop else T)
    functional.reset_net(net)
    with torch.no_grad():
        steps = net(x) if loop else torch.stack([net(x) for _ in range(T)])
    theirs = steps.cumsum(0).transpose(0, 1).numpy()
    run = sd.simulate(sd.compile(graph), x.numpy(), full_trace=True)
    assert graph.provenance.proof["proven"] and not graph.provenance.proof["silent"]
    assert theirs.std() > 0.1
    np.testing.assert_allclose(run.logits, theirs, atol=1e-5)
    # Each value of a token goes to every neuron of that token, by the layer's own weights alone.
    values = np.count_nonzero(x[:, 0] if loop else x)
    layers = len([edge for edge in graph.projections if edge.pre == graph.source.name])
    assert run.counts.mac[:, :layers, 0].sum() == values * D * layers


def test_tokens_on_two_axes_are_refused() -> None:
    net = nn.Sequential(nn.Linear(C, D), neuron.IFNode(), nn.Flatten(), nn.Linear(20 * D, 3))
    with pytest.raises(sd.SeennError, match="an axis of 4 of the input beside the one"):
        sd.import_model(net.eval(), torch.rand(2, 4, 5, C), T=T)


class ChannelsLast(nn.Module):
    """The features of an image, those of a pixel side by side."""

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(0, 2, 3, 1).flatten(1)


ENDS: dict[str, Callable[[], list[nn.Module]]] = {
    "classes of every pixel": lambda: [nn.Conv2d(D, 5, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()],
    "a kernel over the image": lambda: [nn.Conv2d(D, 5, 6), nn.Flatten()],
    "channels last": lambda: [ChannelsLast(), nn.Linear(36 * D, 5)],
}


@pytest.mark.parametrize("name", ENDS)
def test_other_ends_of_a_network_of_images(name: str) -> None:
    torch.manual_seed(0)
    first = nn.Conv2d(2, D, 3, padding=1)
    net = nn.Sequential(first, neuron.IFNode(), *ENDS[name]()).eval()
    x = 4 * torch.rand(3, 2, 6, 6)
    graph = sd.import_model(net, x, T=T)
    functional.reset_net(net)
    with torch.no_grad():
        theirs = sum(net(x) for _ in range(T)).numpy()
    run = sd.simulate(sd.compile(graph), x.numpy(), full_trace=True)
    assert theirs.std() > 0.1
    np.testing.assert_allclose(run.logits[:, -1], theirs, atol=1e-5)
