"""SEENN's ResNets, in which a block's shortcut joins the input current of its last LIF."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from seenn_deploy.training.models.layers import (
    PerStep,
    StepBatchNorm,
    conv3x3,
    over_time,
    scaled,
    stages,
)
from seenn_deploy.training.models.neurons import LIF

MakeNeuron = Callable[[], nn.Module]

# Channels and blocks by stage, from SEENN's table 6. ResNet-34 has the stages of He et al. 2016
# after the same 3x3 convolution.
_TABLE: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "resnet8": ((16, 32, 64), (1, 1, 1)),
    "resnet18": ((64, 128, 256, 512), (2, 2, 2, 2)),
    "resnet19": ((128, 256, 512), (3, 3, 2)),
    "resnet20": ((16, 32, 64), (2, 2, 2)),
    "resnet34": ((64, 128, 256, 512), (3, 4, 6, 3)),
    "sew-resnet34": ((64, 128, 256, 512), (3, 4, 6, 3)),
}


def resnets() -> dict[str, tuple[tuple[int, ...], tuple[int, ...]]]:
    """Return the channels and blocks by stage of every ResNet, by name."""
    return dict(_TABLE)


class BasicBlock(nn.Module):
    """SEENN's ``PreActBasicBlock``: the shortcut's spikes join the current of the second LIF.

    Where the shape changes, the shortcut is an average pool, a 1x1 convolution and a batch norm.
    """

    def __init__(self, c_in: int, c_out: int, stride: int, neuron: MakeNeuron) -> None:
        super().__init__()
        self.stride = stride
        self.conv1 = PerStep(conv3x3(c_in, c_out, stride))
        self.bn1 = StepBatchNorm(c_out)
        self.conv2 = PerStep(conv3x3(c_out, c_out))
        self.bn2 = StepBatchNorm(c_out)
        self.spike1, self.spike2 = neuron(), neuron()
        if stride != 1 or c_in != c_out:
            self.downsample = nn.Sequential(
                PerStep(nn.AvgPool2d(stride)),
                PerStep(nn.Conv2d(c_in, c_out, 1, bias=False)),
                StepBatchNorm(c_out),
            )

    def forward(self, x: Tensor) -> Tensor:
        shortcut = self.downsample(x) if hasattr(self, "downsample") else x
        x = self.bn2(self.conv2(self.spike1(self.bn1(self.conv1(x)))))
        return torch.as_tensor(self.spike2(x + shortcut))


class SEWBlock(nn.Module):
    """Spike-element-wise block: the shortcut's spikes are added to the block's (Fang et al. 2021).

    Its outputs are numbers 0, 1, 2, .., which are graded spikes: a ``Sum`` of the compiled graph.
    Its tensors have names of their own, by which the frontend tells it from a `BasicBlock`.
    """

    def __init__(self, c_in: int, c_out: int, stride: int, neuron: MakeNeuron) -> None:
        super().__init__()
        self.main = nn.Sequential(
            PerStep(conv3x3(c_in, c_out, stride), nn.BatchNorm2d(c_out)), neuron(),
            PerStep(conv3x3(c_out, c_out), nn.BatchNorm2d(c_out)), neuron(),
        )  # fmt: skip
        if stride != 1 or c_in != c_out:
            down = nn.Conv2d(c_in, c_out, 1, stride, bias=False)
            self.shortcut = nn.Sequential(PerStep(down, nn.BatchNorm2d(c_out)), neuron())

    def forward(self, x: Tensor) -> Tensor:
        shortcut = self.shortcut(x) if hasattr(self, "shortcut") else x
        return torch.as_tensor(self.main(x) + shortcut)


class ResNet(nn.Module):
    """SEENN's ResNet, with spiking neurons or, for a policy network, as an ANN.

    Parameters
    ----------
    channels, blocks : sequences of one number per stage
        Channels and number of blocks of each stage. The first convolution has as many channels as
        the first stage; every later stage halves the image.
    classes, in_channels, T : int
    neuron : callable
        Function that makes each neuron layer. ``nn.ReLU`` gives an ANN, whose `features` and `fc1`
        take (N, C, H, W).
    block : type
        Class of the residual blocks.
    """

    def __init__(
        self,
        channels: Sequence[int],
        blocks: Sequence[int],
        classes: int = 10,
        in_channels: int = 3,
        T: int = 4,
        neuron: MakeNeuron = LIF,
        block: type[BasicBlock | SEWBlock] = BasicBlock,
    ) -> None:
        super().__init__()
        self.T, self.stages = T, len(channels)
        self.conv1 = conv3x3(in_channels, channels[0])
        self.bn = StepBatchNorm(channels[0])
        self.spike = neuron()
        made = stages(channels, blocks, lambda c_in, c_out, s: block(c_in, c_out, s, neuron))
        for number, stage in enumerate(made, start=1):
            self.add_module(f"layer{number}", stage)
        self.avgpool = PerStep(nn.AdaptiveAvgPool2d(1))
        self.fc1 = PerStep(nn.Linear(channels[-1], classes))

    @classmethod
    def named(
        cls,
        name: str,
        classes: int = 10,
        in_channels: int = 3,
        width: float = 1.0,
        T: int = 4,
        **neuron: Any,
    ) -> ResNet:
        """Build a ResNet of the table; see :func:`seenn_deploy.training.models.build`."""
        channels, blocks = _TABLE[name]
        block = SEWBlock if name.startswith("sew") else BasicBlock
        row = [scaled(c, width) for c in channels]
        return cls(row, blocks, classes, in_channels, T, lambda: LIF(**neuron), block)

    @property
    def rows(self) -> list[nn.Module]:
        """The stages in order."""
        return [self.get_submodule(f"layer{stage + 1}") for stage in range(self.stages)]

    @property
    def retimed(self) -> list[nn.Module]:
        """The modules at whose input the number of timesteps may change, in order."""
        return [block for row in self.rows for block in row.children()]

    def features(self, x: Tensor) -> Tensor:
        """Return the classifier's input (N, T, F) or (N, F) for the first layer's current."""
        x = self.spike(self.bn(x))
        for stage in self.rows:
            x = stage(x)
        return torch.as_tensor(self.avgpool(x)).flatten(-3)

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, C, H, W) or frames (N, T, C, H, W) to logits per timestep (N, T, M)."""
        if x.ndim == 4:  # the image causes the same current at every timestep
            current = over_time(self.conv1(x), self.T)
        else:
            current = self.conv1(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        return torch.as_tensor(self.fc1(self.features(current)))
