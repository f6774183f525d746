"""Small transformers in the idioms of the public repositories, with older SpikingJelly's names.

The idioms, not the code, of https://github.com/ZK-Zhou/spikformer (linear layers of tokens),
https://github.com/BICLab/Spike-Driven-Transformer (masks, membrane shortcuts) and
https://github.com/zhouchenlin2096/QKFormer (masks of tokens): time first, merged with the batch
for every layer, and neurons that ask for cupy on whatever machine.
"""

from __future__ import annotations

from typing import Any

import torch
from spikingjelly.activation_based import neuron
from torch import Tensor, nn


class MultiStepLIFNode(neuron.LIFNode):
    """A neuron under its name of SpikingJelly 0.0.0.0.12, whose cupy kernels need a GPU."""

    def __init__(self, tau: float = 2.0, v_threshold: float = 1.0, backend: str = "torch") -> None:
        super().__init__(tau=tau, v_threshold=v_threshold, detach_reset=True, step_mode="m")
        self.asked = backend

    def forward(self, x: Tensor) -> Any:
        if self.asked == "cupy" and not x.is_cuda:
            raise RuntimeError("cupy kernels take tensors of a GPU")
        return super().forward(x)

    @property
    def backend(self) -> str:
        return self.asked

    @backend.setter
    def backend(self, value: str) -> None:
        self.asked = value


MultiStepLIFNode.__module__ = "spikingjelly.clock_driven.neuron"


def spiking(threshold: float = 1.0) -> MultiStepLIFNode:
    return MultiStepLIFNode(tau=2.0, v_threshold=threshold)


def ask_for_cupy(net: nn.Module) -> None:
    """Set the backend that the repositories ask for, once statistics are taken on the CPU."""
    for part in net.modules():
        if isinstance(part, MultiStepLIFNode):
            part.backend = "cupy"


class TokenLinear(nn.Module):
    """Linear layer, batch norm of transposed tokens, neurons."""

    def __init__(self, given: int, made: int) -> None:
        super().__init__()
        self.linear, self.bn, self.lif = nn.Linear(given, made), nn.BatchNorm1d(made), spiking()

    def forward(self, x: Tensor, mixed: bool = False) -> Tensor:
        T, B, N, _ = x.shape
        normed = self.bn(self.linear(x.flatten(0, 1)).transpose(-1, -2)).transpose(-1, -2)
        # The published attention reshapes keys and values to (C, N), which moves no number.
        made = normed.shape[-1]
        return self.lif(normed.reshape(T, B, made, N) if mixed else normed.reshape(T, B, N, made))


class LinearAttention(nn.Module):
    """q k^T v with heads of the channels of (T, B, N, C)."""

    def __init__(self, dim: int, heads: int, mixed: bool) -> None:
        super().__init__()
        self.heads, self.mixed, self.scale = heads, mixed, 0.125
        self.q, self.k, self.v = (TokenLinear(dim, dim) for _ in range(3))
        self.lif, self.proj = spiking(0.5), TokenLinear(dim, dim)

    def apart(self, x: Tensor, sizes: tuple[int, ...]) -> Tensor:
        T, B, N, C = sizes
        return x.reshape(T, B, N, self.heads, C // self.heads).permute(0, 1, 3, 2, 4).contiguous()

    def forward(self, x: Tensor) -> Tensor:
        T, B, N, C = x.shape
        q = self.apart(self.q(x), (T, B, N, C))
        k, v = (self.apart(f(x, self.mixed), (T, B, N, C)) for f in (self.k, self.v))
        attention = (q @ k.transpose(-2, -1)) * self.scale
        out = (attention @ v).transpose(2, 3).reshape(T, B, N, C).contiguous()
        return self.proj(self.lif(out))


class Embedding(nn.Module):
    """Convolutions with neurons and a max pool, of images repeated over time."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, channels // 2, 3, padding=1, bias=False)
        self.bn1, self.lif1 = nn.BatchNorm2d(channels // 2), spiking()
        self.conv2 = nn.Conv2d(channels // 2, channels, 3, padding=1, bias=False)
        self.bn2, self.lif2, self.pool = nn.BatchNorm2d(channels), spiking(), nn.MaxPool2d(3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        T, B, _, H, W = x.shape
        x = self.bn1(self.conv1(x.flatten(0, 1))).reshape(T, B, -1, H, W).contiguous()
        x = self.conv2(self.lif1(x).flatten(0, 1).contiguous())
        x = self.lif2(self.bn2(x).reshape(T, B, -1, H, W).contiguous())
        return self.pool(x.flatten(0, 1)).reshape(T, B, -1, H // 2, W // 2).contiguous()


class LinearSpikformer(nn.Module):
    """Spikformer of CIFAR-10: tokens before channels, linear layers on them."""

    def __init__(self, T: int, classes: int, mixed: bool = True, dim: int = 32) -> None:
        super().__init__()
        self.T, self.embed = T, Embedding(dim)
        self.attention = LinearAttention(dim, 4, mixed)
        self.up, self.down = TokenLinear(dim, 2 * dim), TokenLinear(2 * dim, dim)
        self.head = nn.Linear(dim, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x.unsqueeze(0).repeat(self.T, 1, 1, 1, 1))
        x = x.flatten(-2).transpose(-1, -2)
        x = x + self.attention(x)
        x = x + self.down(self.up(x))
        return self.head(x.mean(2).mean(0))


class PixelLayer(nn.Module):
    """A 1x1 convolution of maps, batch norm, neurons."""

    def __init__(self, given: int, made: int, threshold: float = 1.0, bias: bool = True) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(given, made, 1, bias=bias), nn.BatchNorm2d(made)
        self.lif = spiking(threshold)

    def current(self, x: Tensor) -> Tensor:
        T, B, _, H, W = x.shape
        return self.bn(self.conv(x.flatten(0, 1))).reshape(T, B, -1, H, W).contiguous()

    def forward(self, x: Tensor) -> Tensor:
        return self.lif(self.current(x))


class MaskedBlock(nn.Module):
    """Spike-driven self-attention: a mask of channels, k v summed over tokens, and q behind it."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads, self.first, self.mask = heads, spiking(), spiking(0.5)
        self.q, self.k, self.v = (PixelLayer(dim, dim, bias=False) for _ in range(3))
        self.proj = PixelLayer(dim, dim)
        self.up, self.down = PixelLayer(dim, 2 * dim), PixelLayer(2 * dim, dim)

    def apart(self, x: Tensor) -> Tensor:
        T, B, C, H, W = x.shape
        tokens = x.flatten(3).transpose(-1, -2).reshape(T, B, H * W, self.heads, C // self.heads)
        return tokens.permute(0, 1, 3, 2, 4).contiguous()

    def forward(self, x: Tensor) -> Tensor:
        T, B, C, H, W = x.shape
        identity, spikes = x, self.first(x)
        q, k, v = (self.apart(f(spikes)) for f in (self.q, self.k, self.v))
        mask = self.mask(k.mul(v).sum(dim=-2, keepdim=True))
        out = q.mul(mask).transpose(3, 4).reshape(T, B, C, H, W).contiguous()
        x = self.proj.current(out) + identity
        return self.down.current(self.down.lif(self.up.current(self.proj.lif(x)))) + x


class MembraneTransformer(nn.Module):
    """Spike-driven Transformer v1 without a max pool over currents: shortcuts of currents."""

    def __init__(self, T: int, classes: int, dim: int = 16) -> None:
        super().__init__()
        self.T, self.embed, self.position = T, Embedding(dim), PixelLayer(dim, dim)
        self.block, self.last, self.head = MaskedBlock(dim, 4), spiking(), nn.Linear(dim, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.position.current(self.embed(x.unsqueeze(0).repeat(self.T, 1, 1, 1, 1)))
        x = self.block(x)
        return self.head(self.last(x.flatten(3).mean(3)).mean(0))


class TokenMask(nn.Module):
    """QKFormer's attention: a head's queries are summed, and their neurons mask tokens."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_conv, self.q_bn, self.q_lif = nn.Conv1d(dim, dim, 1), nn.BatchNorm1d(dim), spiking()
        self.k_conv, self.k_bn, self.k_lif = nn.Conv1d(dim, dim, 1), nn.BatchNorm1d(dim), spiking()
        self.mask, self.proj = spiking(0.5), PixelLayer(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        T, B, C, H, W = x.shape
        flat, heads = x.flatten(3).flatten(0, 1), (T, B, self.heads, C // self.heads, H * W)
        q = self.q_lif(self.q_bn(self.q_conv(flat)).reshape(T, B, C, H * W))
        k = self.k_lif(self.k_bn(self.k_conv(flat)).reshape(T, B, C, H * W))
        mask = self.mask(torch.sum(q.unsqueeze(2).reshape(heads), dim=3, keepdim=True))
        out = torch.mul(mask, k.unsqueeze(2).reshape(heads)).flatten(2, 3)
        return self.proj(out.reshape(T, B, C, H, W))


class TokenQKFormer(nn.Module):
    """A stage of QKFormer: the mask, two layers of pixels, shortcuts of spikes."""

    def __init__(self, T: int, classes: int, dim: int = 16) -> None:
        super().__init__()
        self.T, self.embed, self.attention = T, Embedding(dim), TokenMask(dim, 4)
        self.up, self.down = PixelLayer(dim, 2 * dim), PixelLayer(2 * dim, dim)
        self.head = nn.Linear(dim, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x.unsqueeze(0).repeat(self.T, 1, 1, 1, 1))
        x = x + self.attention(x)
        x = x + self.down(self.up(x))
        return self.head(x.flatten(3).mean(3).mean(0))
