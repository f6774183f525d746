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
from seenn_deploy.frontends.spikformer import FACTOR, HALF, HEAD
from seenn_deploy.training.models.layers import PerStep, conv3x3, over_time
from seenn_deploy.training.models.neurons import LIF

CHANNELS, BLOCKS, RATIO = 384, 2, 4


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
        spikes = [layer(x) for layer in (self.q, self.k, self.v)]
        # Sums of spikes are whole numbers, which bfloat16 would round from 256 on.
        if torch.is_autocast_enabled(x.device.type):
            with torch.autocast(x.device.type, enabled=False):
                current = self._attended(*(s.float() for s in spikes))
        else:
            current = self._attended(*spikes)
        return torch.as_tensor(self.proj(self.lif(FACTOR * current)))

    def _attended(self, *spikes: Tensor) -> Tensor:
        """Multiply queries, keys and values (N, T, C, H, W); the result has their shape."""
        size, heads = spikes[0].shape[-2:], self.heads
        if not self.training:  # the order of a graph: (N, T, heads, channels of a head, tokens)
            q, k, v = (
                torch.unflatten(s.flatten(3), 2, (heads, -1)).transpose(-1, -2) for s in spikes
            )
            mixed = (q @ k.transpose(-1, -2)) @ v
            return torch.unflatten(mixed.transpose(-1, -2).flatten(2, 3), -1, size)
        # The order of memory with channels last, in which nothing is transposed.
        q, k, v = (
            torch.unflatten(s.movedim(2, -1).flatten(2, 3), -1, (heads, -1)).transpose(2, 3)
            for s in spikes
        )
        products: Any = _Products.apply
        mixed = torch.as_tensor(products(q, k, v))
        return torch.unflatten(mixed.transpose(2, 3).flatten(-2), 2, size).movedim(-1, 2)


class _Products(torch.autograd.Function):
    """``(q k^T) v`` whose gradients all come tokens first: a compiler then transposes nothing."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        scores = q @ k.transpose(-1, -2)
        ctx.save_for_backward(q, k, v, scores)
        return scores @ v

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v, scores = ctx.saved_tensors
        of_scores = grad @ v.transpose(-1, -2)
        of_v = scores.transpose(-1, -2) @ grad
        return of_scores @ k, of_scores.transpose(-1, -2) @ q, of_v


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

    @property
    def retimed(self) -> list[nn.Module]:
        """The modules at whose input the number of timesteps may change, in order."""
        return [self.second, self.third, *self.blocks]

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, C, H, W) or frames (N, T, C, H, W) to logits per timestep (N, T, M)."""
        current = self.first.current(x)
        # An image causes the same currents at every timestep: they are computed once.
        x = self.first.lif(over_time(current, self.T) if x.ndim == 4 else current)
        x = self.third(self.second(x))
        x = self.blocks(x + self.position(x))
        return torch.as_tensor(self.head(x.flatten(3).mean(-1)))
