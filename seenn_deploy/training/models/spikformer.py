"""Spikformer: attention of spikes without softmax (arXiv 2209.15425), of a size for small images.

What differs from the published network: a max pool lies between a convolution's norm and its
neurons, over currents, so that no neuron works at the full size of the image; two convolutions
lead to tokens of 4x4 pixels and a third to their channels; and logits are read at every timestep.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from seenn_deploy.errors import ModelError
from seenn_deploy.training.models.layers import PerStep, conv3x3, over_time
from seenn_deploy.training.models.neurons import LIF

# Of Spikformer-4-384: 384 channels in heads of 32, and the factor behind q k^T v, whose neurons
# have half the threshold of all others.
CHANNELS, HEAD, FACTOR, HALF = 384, 32, 0.125, 0.5
BLOCKS, RATIO = 2, 4


class Layer(nn.Module):
    """A convolution without bias, batch norm, perhaps a 2x2 max pool over currents, neurons."""

    def __init__(self, conv: nn.Conv2d, neuron: dict[str, Any], pool: bool = False) -> None:
        super().__init__()
        parts = conv, nn.BatchNorm2d(conv.out_channels), *([nn.MaxPool2d(2)] if pool else [])
        self.current, self.lif = PerStep(*parts), LIF(**neuron)

    def forward(self, x: Tensor) -> Tensor:
        return torch.as_tensor(self.lif(self.current(x)))


class Attention(nn.Module):
    """Spiking self-attention: ``(q k^T) v`` of spikes, a factor, neurons, and a layer behind them.

    Parameters
    ----------
    channels, heads : int
        Each head has ``channels / heads`` channels of queries, keys and values.
    neuron : dict
        Parameters of :class:`~seenn_deploy.training.models.neurons.LIF`.
    """

    def __init__(self, channels: int, heads: int, neuron: dict[str, Any]) -> None:
        super().__init__()
        if channels % heads:
            raise ModelError(f"{heads} heads do not divide {channels} channels")
        self.heads = heads
        self.q, self.k, self.v, self.proj = (_tokenwise(channels, channels, neuron) for _ in "qkvp")
        self.lif = LIF(**{**neuron, "v_threshold": HALF * neuron.get("v_threshold", 1.0)})

    def forward(self, x: Tensor) -> Tensor:
        # (N, T, heads, tokens, channels of a head)
        q, k, v = (
            layer(x).flatten(3).unflatten(2, (self.heads, -1)).transpose(-1, -2)
            for layer in (self.q, self.k, self.v)
        )
        attended = FACTOR * ((q @ k.transpose(-1, -2)) @ v)
        current = attended.transpose(-1, -2).flatten(2, 3).unflatten(-1, x.shape[-2:])
        return torch.as_tensor(self.proj(self.lif(current)))


class Block(nn.Module):
    """Attention, and two layers of each token; both add their spikes to what they were given."""

    def __init__(self, channels: int, heads: int, neuron: dict[str, Any]) -> None:
        super().__init__()
        self.attention = Attention(channels, heads, neuron)
        self.up = _tokenwise(channels, RATIO * channels, neuron)
        self.down = _tokenwise(RATIO * channels, channels, neuron)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(x)
        return torch.as_tensor(x + self.down(self.up(x)))


def _tokenwise(c_in: int, c_out: int, neuron: dict[str, Any]) -> Layer:
    return Layer(nn.Conv2d(c_in, c_out, 1, bias=False), neuron)


class Spikformer(nn.Module):
    """A Spikformer whose tokens are 4x4 pixels.

    Parameters
    ----------
    classes, in_channels, T : int
    channels, heads, blocks : int
        Channels of each token, which the heads share; blocks of attention.
    **neuron
        Parameters of :class:`~seenn_deploy.training.models.neurons.LIF`.

    Raises
    ------
    ModelError
        When the heads do not divide the channels.
    """

    def __init__(
        self,
        classes: int = 10,
        in_channels: int = 3,
        T: int = 4,
        channels: int = CHANNELS,
        heads: int = CHANNELS // HEAD,
        blocks: int = BLOCKS,
        **neuron: Any,
    ) -> None:
        super().__init__()
        self.T, (quarter, half) = T, (max(1, channels // 4), max(1, channels // 2))
        self.first = Layer(conv3x3(in_channels, quarter), neuron, pool=True)
        self.second = Layer(conv3x3(quarter, half), neuron, pool=True)
        self.third = Layer(conv3x3(half, channels), neuron)
        self.position = Layer(conv3x3(channels, channels), neuron)
        self.blocks = nn.Sequential(*(Block(channels, heads, neuron) for _ in range(blocks)))
        self.head = PerStep(nn.Linear(channels, classes))

    @classmethod
    def named(
        cls, classes: int, in_channels: int, width: float, T: int, **neuron: Any
    ) -> Spikformer:
        """Build a Spikformer of `width` times 384 channels, rounded to whole heads of 32."""
        heads = max(1, round(width * CHANNELS / HEAD))
        return cls(classes, in_channels, T, HEAD * heads, heads, **neuron)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, C, H, W) or frames (N, T, C, H, W) to logits per timestep (N, T, M)."""
        current = self.first.current(x)
        # An image causes the same currents at every timestep: they are computed once.
        x = self.first.lif(over_time(current, self.T) if x.ndim == 4 else current)
        x = self.third(self.second(x))
        x = self.blocks(x + self.position(x))
        return torch.as_tensor(self.head(x.flatten(3).mean(-1)))
