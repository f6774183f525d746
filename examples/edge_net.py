"""A spiking network for a microcontroller: CIFAR-10 in less than 100 kB of flash and 64 kB of RAM.

A convolution of stride 2, then three of SEENN's residual blocks at 8x8, 4x4 and 4x4 pixels. Neurons
are what takes RAM, most of all those of the first layer, which keeps the image's current beside its
potentials: hence its stride and its few channels.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from seenn_deploy.training.models.layers import PerStep, StepBatchNorm, conv3x3, over_time
from seenn_deploy.training.models.neurons import LIF
from seenn_deploy.training.models.resnet import BasicBlock, MakeNeuron

WEIGHTS = Path(__file__).with_name("edge_cifar10.safetensors")


class EdgeNet(nn.Module):
    """Images (N, 3, 32, 32) to logits per timestep (N, T, classes)."""

    def __init__(self, T: int = 4, classes: int = 10, neuron: MakeNeuron = LIF) -> None:
        super().__init__()
        self.T = T
        self.conv1 = conv3x3(3, 12, stride=2)
        self.bn = StepBatchNorm(12)
        self.spike = neuron()
        self.layer1 = BasicBlock(12, 28, 2, neuron)
        self.layer2 = BasicBlock(28, 44, 2, neuron)
        self.layer3 = BasicBlock(44, 44, 1, neuron)
        self.avgpool = PerStep(nn.AdaptiveAvgPool2d(1))
        self.fc1 = PerStep(nn.Linear(44, classes))

    def forward(self, x: Tensor) -> Tensor:
        x = self.spike(self.bn(over_time(self.conv1(x), self.T)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return torch.as_tensor(self.fc1(self.avgpool(x).flatten(-3)))


def trained() -> EdgeNet:
    """The network with the weights beside this file, which are stored in 16 bits."""
    net = EdgeNet()
    net.load_state_dict({k: v.float() for k, v in load_file(WEIGHTS).items()}, strict=False)
    return net.eval()
