"""SEENN's ResNet as a plain torch module, as the counters of other tools want it.

Every convolution, batch norm, pool and neuron is a module of its own, nothing is folded; T steps
run inside ``forward``. Written from the equations in the design, section 2.
"""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

CIFAR10_MEAN = (0.4914, 0.4822, 0.4465)
CIFAR10_STD = (0.2023, 0.1994, 0.2010)


class Lif(nn.Module):
    """v' = v / 2 + current; spike where v' > 1, then v = 0."""

    v: Tensor | None = None

    def forward(self, current: Tensor) -> Tensor:
        held = torch.zeros_like(current) if self.v is None else self.v
        before = held * 0.5 + current
        fired = before > 1
        self.v = before.masked_fill(fired, 0)
        return fired.to(current.dtype)


class Block(nn.Module):
    """Two convolutions; the block's input spikes join the current of the second neurons."""

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(c_out)
        self.spike1 = Lif()
        self.conv2 = nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(c_out)
        self.spike2 = Lif()
        self.downsample = None
        if stride > 1 or c_in != c_out:
            self.downsample = nn.Sequential(
                nn.AvgPool2d(stride), nn.Conv2d(c_in, c_out, 1, bias=False), nn.BatchNorm2d(c_out)
            )

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        inner = self.spike1(self.bn1(self.conv1(x)))
        return self.spike2(self.bn2(self.conv2(inner)) + shortcut)


class ResNet19(nn.Module):
    """Images (N, 3, 32, 32), normalised, to logits (N, M) summed over T steps."""

    def __init__(self, widths: tuple[int, int, int], classes: int, T: int) -> None:
        super().__init__()
        self.T = T
        self.conv1 = nn.Conv2d(3, widths[0], 3, 1, 1, bias=False)
        self.bn = nn.BatchNorm2d(widths[0])
        self.spike = Lif()
        blocks, c_in = [], widths[0]
        for stage, (c_out, count) in enumerate(zip(widths, (3, 3, 2), strict=True)):
            for number in range(count):
                blocks.append(Block(c_in, c_out, 2 if stage and not number else 1))
                c_in = c_out
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Linear(widths[2], classes)

    def reset(self) -> None:
        """Set every membrane potential to 0."""
        for module in self.modules():
            if isinstance(module, Lif):
                module.v = None

    def forward(self, x: Tensor) -> Tensor:
        self.reset()
        z = self.step(x)
        for _ in range(self.T - 1):
            z = z + self.step(x)
        return z

    def step(self, x: Tensor) -> Tensor:
        """Logits of one timestep."""
        spikes = self.blocks(self.spike(self.bn(self.conv1(x))))
        logits: Tensor = self.fc1(self.pool(spikes).flatten(1))
        return logits


def fused(net: ResNet19) -> ResNet19:
    """Return a copy whose batch norms are folded into the convolutions before them."""
    net = copy.deepcopy(net)
    net.conv1, net.bn = fuse_conv_bn_eval(net.conv1, net.bn), nn.Identity()
    for block in net.blocks:
        for n in (1, 2):
            conv, norm = getattr(block, f"conv{n}"), getattr(block, f"bn{n}")
            setattr(block, f"conv{n}", fuse_conv_bn_eval(conv, norm))
            setattr(block, f"bn{n}", nn.Identity())
        if block.downsample is not None:
            pool, conv, norm = block.downsample
            block.downsample = nn.Sequential(pool, fuse_conv_bn_eval(conv, norm))
    return net


def load(path: Path, T: int) -> ResNet19:
    """The network of a checkpoint saved by SEENN's training script, ready to run."""
    state = torch.load(path, weights_only=True, map_location="cpu")
    widths = (
        len(state["conv1.weight"]),
        len(state["layer2.0.conv1.module.weight"]),
        len(state["layer3.0.conv1.module.weight"]),
    )
    net = ResNet19(widths, len(state["fc1.module.bias"]), T)
    net.load_state_dict({_renamed(k): v for k, v in state.items() if ".seqbn." not in k})
    return net.eval().requires_grad_(False)


def _renamed(key: str) -> str:
    """SEENN's name of a tensor to the one here: blocks in one row, wrappers gone."""
    first, *rest = key.split(".")
    rest = [part for part in rest if part not in ("module", "bn")]
    if first.startswith("layer"):
        number = {"layer1": 0, "layer2": 3, "layer3": 6}[first] + int(rest[0])
        return ".".join(["blocks", str(number), *rest[1:]])
    return ".".join([first, *rest])
