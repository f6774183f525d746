"""The parts that SEENN's networks share; attributes have the names in SEENN's state dicts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn


class PerStep(nn.Module):
    """A module over images, applied to every timestep of (N, T, C, H, W) or to (N, C, H, W)."""

    def __init__(self, *modules: nn.Module) -> None:
        super().__init__()
        self.module = modules[0] if len(modules) == 1 else nn.Sequential(*modules)

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim != 5:
            return torch.as_tensor(self.module(x))
        y = self.module(x.flatten(0, 1))  # timesteps become samples
        return torch.as_tensor(y.unflatten(0, x.shape[:2]))


class StepBatchNorm(nn.Module):
    """Batch norm, with statistics over samples and timesteps together.

    SEENN's tdBatchNorm registers the same module twice, so its tensors are stored twice.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(channels)
        self.seqbn = PerStep(self.bn)

    def forward(self, x: Tensor) -> Tensor:
        return torch.as_tensor(self.seqbn(x))


def conv3x3(c_in: int, c_out: int, stride: int = 1, bias: bool = False) -> nn.Conv2d:
    """Return a 3x3 convolution with padding 1."""
    return nn.Conv2d(c_in, c_out, 3, stride, padding=1, bias=bias)


def stages(
    channels: Sequence[int], blocks: Sequence[int], block: Callable[[int, int, int], nn.Module]
) -> Iterator[nn.Sequential]:
    """Yield the stages of a ResNet: each first block, but that of the first one, halves the image.

    `block` makes one of its channels before, its channels behind, and its stride.
    """
    last = channels[0]
    for number, (here, count) in enumerate(zip(channels, blocks, strict=True)):
        first = block(last, here, 2 if number else 1)
        yield nn.Sequential(first, *(block(here, here, 1) for _ in range(count - 1)))
        last = here


def over_time(x: Tensor, T: int) -> Tensor:
    """Repeat a current (N, ...) for T timesteps, (N, T, ...), without a copy."""
    return x.unsqueeze(1).expand(-1, T, *x.shape[1:])


def scaled(channels: int, width: float) -> int:
    """Scale channels by a width; the result is rounded down, as in SEENN, and at least 1."""
    return max(1, int(channels * width))
