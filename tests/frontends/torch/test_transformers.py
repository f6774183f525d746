"""Spiking attention and whole transformers: equal to SpikingJelly's own, counted by element."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from spikingjelly.activation_based import functional, neuron
from spikingjelly.activation_based.layer import attention
from spikingjelly.activation_based.model import (
    maxformer,
    qkformer,
    spike_driven_transformer,
    spikformer,
)
from torch import Tensor, nn

import seenn_deploy as sd
from seenn_deploy import ir
from seenn_deploy.fidelity import RefusedError
from tests import naive
from tests.frontends.torch import public_transformers as public
from tests.frontends.torch.networks import calibrated

T, CLASSES = 3, 5


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def awake(net: nn.Module, x: Tensor) -> nn.Module:
    """Calibrate batch norm on `x`, with constants that let every layer spike."""
    functional.set_step_mode(net, "m")
    calibrated(net, x, 1, 2)
    functional.reset_net(net)
    return net


class Attending(nn.Module):
    """Tokens of spikes, an attention, and a linear layer."""

    def __init__(self, kind: type[nn.Module]) -> None:
        super().__init__()
        self.embed, self.spike = nn.Conv1d(4, 16, 1), neuron.LIFNode(step_mode="m")
        self.attention, self.head = kind(16, 4), nn.Linear(16 * 6, CLASSES)
        self.embed.weight.data *= 5

    def forward(self, x: Tensor) -> Tensor:
        spikes = self.spike(self.embed(x)[None].repeat(T, 1, 1, 1))
        return self.head(self.attention(spikes).flatten(2))


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "spiking self-attention": (lambda: Attending(attention.SpikingSelfAttention), (2, 4, 6)),
    "masks of tokens": (lambda: Attending(attention.TokenQKAttention), (2, 4, 6)),
    "masks of channels": (lambda: Attending(attention.ChannelQKAttention), (2, 4, 6)),
    "Spikformer": (
        lambda: spikformer.Spikformer(
            T=T, img_size_h=8, img_size_w=8, patch_size=4, num_classes=CLASSES, embed_dims=32,
            num_heads=4, depths=1,
        ),
        (2, 3, 8, 8),
    ),
    "QKFormer": (
        lambda: qkformer.QKFormer(
            T=T, num_classes=CLASSES, embed_dims=32, num_heads=(2, 4, 4), depths=(1, 1, 1)
        ),
        (2, 3, 32, 32),
    ),
    "Spike-driven Transformer": (
        lambda: spike_driven_transformer.SpikeDrivenTransformer(
            T=T, num_classes=CLASSES, embed_dims=32, num_heads=4, depths=1
        ),
        (2, 3, 32, 32),
    ),
    "Max-Former": (
        lambda: maxformer.MaxFormer(
            T=T, num_classes=CLASSES, embed_dims=32, depths=(1, 1, 1), cifar=True
        ),
        (2, 3, 16, 16),
    ),
    "linear layers of tokens": (
        lambda: public.LinearSpikformer(T, CLASSES, mixed=False), (2, 3, 8, 8)
    ),
    "keys reshaped in between": (lambda: public.LinearSpikformer(T, CLASSES), (2, 3, 8, 8)),
    "shortcuts of currents": (lambda: public.MembraneTransformer(T, CLASSES), (2, 3, 8, 8)),
    "masks of older SpikingJelly": (lambda: public.TokenQKFormer(T, CLASSES), (2, 3, 8, 8)),
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_logits_and_counts_are_those_of_the_module_and_of_an_oracle(name: str) -> None:
    make, shape = NETWORKS[name]
    x = torch.rand(shape)
    net = awake(make(), x)
    with torch.no_grad():
        own = net(x)
    functional.reset_net(net)
    public.ask_for_cupy(net)
    program = sd.compile(sd.import_model(net, x, T=T))
    run = sd.simulate(program, x.numpy(), full_trace=True, record=True)
    assert [n for n, spikes in run.spikes.items() if not spikes.any()] == []
    want = own.transpose(0, 1).cumsum(1).numpy() if own.ndim == 3 else T * own[:, None].numpy()
    found = run.logits[:, -want.shape[1] :]
    np.testing.assert_allclose(found, want, rtol=1e-5, atol=1e-5 * np.abs(want).max())
    _check_counts(program.graph, run)


def _check_counts(graph: ir.SpikingGraph, run: Any) -> None:
    """Count products anew, in one loop over all their elements, from the recorded spikes."""
    sent: dict[str, np.ndarray] = {n: s[0, -1].astype(np.float64) for n, s in run.spikes.items()}
    products = [n for n in graph.layers if isinstance(n, ir.Product)]
    assert products
    for node in graph.layers:
        if node.stages:
            continue
        arriving = np.zeros(naive.current_shape(node))
        for edge in graph.into(node.name):
            arriving += edge.synapses.response(sent[edge.pre])
        if not isinstance(node, ir.Product):
            sent[node.name] = arriving
            continue
        sent[node.name], counts = naive.multiplied(node, arriving + node.bias)
        at = run.layers.index(node.name)
        for name, count in counts.items():
            assert getattr(run.counts, name)[0, at, -1] == count, (node.name, name)


def test_both_orders_of_attention_give_the_same() -> None:
    class Ordered(nn.Module):
        def __init__(self, first: str) -> None:
            super().__init__()
            torch.manual_seed(1)
            self.first, self.qkv = first, nn.Conv1d(4, 48, 1)
            self.spike, self.attend = (neuron.LIFNode(step_mode="m", tau=1.5) for _ in range(2))
            self.head = nn.Linear(16 * 6, CLASSES)
            self.qkv.weight.data *= 6

        def forward(self, x: Tensor) -> Tensor:
            spikes = self.spike(self.qkv(x)[None].repeat(T, 1, 1, 1))
            q, k, v = spikes.reshape(T, -1, 3, 2, 8, 6).transpose(-1, -2).unbind(2)
            if self.first == "kv":
                out = q @ (k.transpose(-1, -2) @ v)
            else:
                out = (q @ k.transpose(-1, -2)) @ v
            tokens = (0.25 * out).transpose(-1, -2).reshape(T, -1, 16, 6)
            return self.head(self.attend(tokens).flatten(2))

    x = torch.rand(2, 4, 6)
    runs = []
    for first in ("kv", "qk"):
        program = sd.compile(sd.import_model(Ordered(first).eval(), x, T=T), precision="int8",
                             calibration=x.numpy())  # fmt: skip
        runs.append(sd.simulate(program, x.numpy(), full_trace=True))
    np.testing.assert_array_equal(runs[0].logits, runs[1].logits)
    assert runs[0].counts.ac.sum() != runs[1].counts.ac.sum()


@pytest.mark.parametrize(
    ("multiply", "says"),
    [
        (lambda s: (s @ s.transpose(-1, -2)).softmax(-1) @ s, "softmax is not supported"),
        (lambda s: s[0] * s[1], "a product of two timesteps"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(multiply: Any, says: str) -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.spike = nn.Conv1d(4, 16, 1), neuron.LIFNode(step_mode="m")

        def forward(self, x: Tensor) -> Tensor:
            return multiply(self.spike(self.embed(x)[None].repeat(T, 1, 1, 1))).flatten(2)

    with pytest.raises(RefusedError, match=says):
        sd.import_model(Odd().eval(), torch.rand(2, 4, 6), T=T)
