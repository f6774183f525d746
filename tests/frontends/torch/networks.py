"""Small networks in SpikingJelly and snnTorch as their users write them."""

from __future__ import annotations

import os
from typing import Any

os.environ.setdefault("LOGURU_LEVEL", "ERROR")

import snntorch
import torch
from snntorch import surrogate
from spikingjelly.activation_based import functional as sj
from spikingjelly.activation_based import neuron as sjn
from torch import Tensor, nn
from torch.nn import functional

CLASSES = 5


def lively(net: nn.Module) -> None:
    """Weights that make most potentials pass near the threshold."""
    for part in net.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.constant_(part.weight, 2.0)
        elif isinstance(part, nn.Conv2d | nn.Linear):
            nn.init.normal_(part.weight, 0.0, 2 / part.weight[0].numel() ** 0.5)


def calibrated(net: nn.Module, x: Tensor, low: float, high: float) -> None:
    """Take batch norm's statistics from `x`; its biases lie between `low` and `high`."""
    for part in net.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.momentum = None
            part.weight.data.uniform_(1, 2)
            part.bias.data.uniform_(low, high)
    net.train()
    with torch.no_grad():
        net(x)
    net.eval()


class JellyNet(nn.Module):
    """Convolutions, batch norm, both pools, a shortcut to a current and one to spikes (SEW).

    One timestep a call of `step`, looped over in `forward`; or, with `multi`, whole streams.
    """

    def __init__(
        self, v_reset: float | None = 0.0, T: int = 4, multi: bool = False, size: int = 8,
        channels: int = 6,
    ) -> None:  # fmt: skip
        super().__init__()
        self.T, self.multi = T, multi
        mode: Any = {"v_reset": v_reset, "step_mode": "m" if multi else "s"}
        self.conv1 = nn.Conv2d(2, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.lif1 = sjn.LIFNode(tau=2.0, **mode)
        self.pool = nn.MaxPool2d(2)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(channels)
        self.lif2 = sjn.ParametricLIFNode(init_tau=1.7, decay_input=False, **mode)
        self.conv3 = nn.Conv2d(channels, channels, 3, padding=1)
        self.bn3 = nn.BatchNorm2d(channels)
        self.if3 = sjn.IFNode(**mode)
        self.fc = nn.Linear(channels * (size // 4) ** 2, CLASSES)
        self.lif4 = sjn.LIFNode(tau=1.5, v_threshold=0.4, **mode)
        lively(self)

    def step(self, x: Tensor) -> Tensor:
        x = self.pool(self.lif1(self.bn1(self.conv1(x))))
        y = self.lif2(self.bn2(self.conv2(x)) + x)
        z = self.if3(self.bn3(self.conv3(y))) + y
        return self.lif4(self.fc(functional.avg_pool2d(z, 2).flatten(1)))

    def stream(self, x: Tensor) -> Tensor:
        x = self.lif1(sj.seq_to_ann_forward(x, [self.conv1, self.bn1]))
        x = sj.seq_to_ann_forward(x, self.pool)
        y = self.lif2(sj.seq_to_ann_forward(x, [self.conv2, self.bn2]) + x)
        z = self.if3(sj.seq_to_ann_forward(y, [self.conv3, self.bn3])) + y
        z = sj.seq_to_ann_forward(z, nn.AvgPool2d(2)).flatten(2)
        return self.lif4(sj.seq_to_ann_forward(z, self.fc))

    def forward(self, x: Tensor) -> Tensor:
        sj.reset_net(self)
        if self.multi:
            return self.stream(x.unsqueeze(0).repeat(self.T, 1, 1, 1, 1)).mean(0)
        out = 0
        for _ in range(self.T):
            out += self.step(x)
        return out / self.T


class LeakyNet(nn.Module):
    """snnTorch: a loop over frames, or over one image, states handed on."""

    def __init__(
        self, reset: str = "subtract", T: int = 4, events: bool = True, size: int = 8,
        channels: int = 6,
    ) -> None:  # fmt: skip
        super().__init__()
        self.T, self.events = T, events
        grad = surrogate.fast_sigmoid()
        self.conv1 = nn.Conv2d(2, channels, 3, padding=1)
        self.lif1 = snntorch.Leaky(beta=0.8, reset_mechanism=reset, spike_grad=grad)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.bn = nn.BatchNorm2d(channels)
        self.lif2 = snntorch.Leaky(beta=0.6, reset_mechanism=reset, spike_grad=grad)
        self.fc = nn.Linear(channels * (size // 4) ** 2, CLASSES)
        self.lif3 = snntorch.Leaky(beta=0.9, reset_mechanism=reset, spike_grad=grad)
        lively(self)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mem1, mem2, mem3 = self.lif1.reset_mem(), self.lif2.reset_mem(), self.lif3.reset_mem()
        spikes, potentials = [], []
        for t in range(self.T):
            frame = x[t] if self.events else x
            spk1, mem1 = self.lif1(functional.avg_pool2d(self.conv1(frame), 2), mem1)
            spk2, mem2 = self.lif2(self.bn(self.conv2(spk1)) + spk1, mem2)
            spk3, mem3 = self.lif3(self.fc(functional.max_pool2d(spk2, 2).flatten(1)), mem3)
            spikes.append(spk3)
            potentials.append(mem3)
        return torch.stack(spikes), torch.stack(potentials)


class RecurrentNet(nn.Module):
    """snnTorch: a synaptic current, and a layer with connections to itself."""

    def __init__(self, T: int = 4) -> None:
        super().__init__()
        self.T = T
        self.fc1 = nn.Linear(2 * 8 * 8, 24)
        self.syn = snntorch.Synaptic(alpha=0.5, beta=0.7, threshold=0.3)
        self.fc2 = nn.Linear(24, CLASSES)
        self.rec = snntorch.RLeaky(beta=0.5, linear_features=CLASSES, threshold=0.3)

    def forward(self, x: Tensor) -> Tensor:
        current, mem = self.syn.reset_mem()
        back, state = self.rec.reset_mem()
        spikes = []
        for t in range(self.T):
            spk, current, mem = self.syn(self.fc1(x[t].flatten(1)), current, mem)
            back, state = self.rec(self.fc2(spk), back, state)
            spikes.append(back)
        return torch.stack(spikes)


class PotentialNet(nn.Module):
    """snnTorch: the last layer is never reset and read by its potential."""

    def __init__(self, T: int = 4) -> None:
        super().__init__()
        self.T = T
        self.fc1 = nn.Linear(2 * 8 * 8, 24)
        self.lif1 = snntorch.Leaky(beta=0.7, threshold=0.3)
        self.fc2 = nn.Linear(24, CLASSES)
        self.out = snntorch.Leaky(beta=0.9, reset_mechanism="none")

    def forward(self, x: Tensor) -> Tensor:
        mem1, mem2 = self.lif1.reset_mem(), self.out.reset_mem()
        potentials = []
        for t in range(self.T):
            spk1, mem1 = self.lif1(self.fc1(x[t].flatten(1)), mem1)
            _, mem2 = self.out(self.fc2(spk1), mem2)
            potentials.append(mem2)
        return torch.stack(potentials)


def hidden_net() -> nn.Sequential:
    """snnTorch: one timestep per call, states kept inside."""
    return nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1), nn.AvgPool2d(2),
        snntorch.Leaky(beta=0.8, init_hidden=True, threshold=0.2), nn.Flatten(),
        nn.Linear(6 * 16, CLASSES),
        snntorch.Leaky(beta=0.9, init_hidden=True, output=True, threshold=0.2),
    )  # fmt: skip
