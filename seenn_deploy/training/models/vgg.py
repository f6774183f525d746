"""SEENN's VGG, and its VGGSNN for event data (the network of TET, arXiv 2202.11946)."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import Any

import torch
from torch import Tensor, nn

from seenn_deploy.errors import ModelError
from seenn_deploy.training.models.layers import PerStep, StepBatchNorm, conv3x3, over_time, scaled
from seenn_deploy.training.models.neurons import LIF

# Output channels of each convolution; 0 stands for an average pool, a negative number for stride 2.
VGG16 = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512)
_VGGSNN = (64, 128, 0, 256, 256, 0, 512, 512, 0, 512, 512, 0)
_STRIDED = (64, -128, 256, -256, 512, -512, 512, -512)


class VGG(nn.Module):
    """SEENN's VGG-16: 13 convolutions with batch norm and LIF, average pools, a linear classifier.

    Parameters
    ----------
    classes, in_channels, T : int
    width : float
        Factor on the 64 to 512 channels.
    table : sequence of int
        Output channels of each convolution; 0 stands for an average pool.
    norm : bool
        Whether a batch norm follows each convolution.
    **neuron
        Parameters of LIF.
    """

    def __init__(
        self,
        classes: int = 10,
        in_channels: int = 3,
        width: float = 1.0,
        T: int = 4,
        table: Sequence[int] = VGG16,
        norm: bool = True,
        **neuron: Any,
    ) -> None:
        super().__init__()
        self.T = T
        layers: list[nn.Module] = []
        last = in_channels
        for channels in table:
            if not channels:
                layers.append(PerStep(nn.AvgPool2d(2)))
                continue
            here = scaled(channels, width)
            layers.append(PerStep(conv3x3(last, here, bias=True)))
            layers += [StepBatchNorm(here)] if norm else []
            layers.append(LIF(**neuron))
            last = here
        self.features = nn.Sequential(*layers)
        self.avgpool = PerStep(nn.AdaptiveAvgPool2d(1))
        self.classifier = nn.Sequential(PerStep(nn.Linear(last, classes)))
        _initialise(self)

    @property
    def retimed(self) -> list[nn.Module]:
        """The modules at whose input the number of timesteps may change, in order."""
        found = (m for m in self.features if isinstance(getattr(m, "module", None), nn.Conv2d))
        return list(found)[1:]

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, C, H, W) or frames (N, T, C, H, W) to logits per timestep (N, T, M)."""
        x = over_time(x, self.T) if x.ndim == 4 else x
        x = self.avgpool(self.features(x)).flatten(2)
        return torch.as_tensor(self.classifier(x))


class Layer(nn.Module):
    """A convolution with bias, then batch norm, then LIF."""

    def __init__(self, c_in: int, c_out: int, stride: int, **neuron: Any) -> None:
        super().__init__()
        self.fwd = PerStep(conv3x3(c_in, c_out, stride, bias=True), nn.BatchNorm2d(c_out))
        self.act = LIF(**neuron)

    def forward(self, x: Tensor) -> Tensor:
        return torch.as_tensor(self.act(self.fwd(x)))


class VGGSNN(nn.Module):
    """SEENN's VGGSNN: eight layers, an average pool after every second one, a linear classifier.

    Parameters
    ----------
    classes, in_channels, T : int
    width : float
        Factor on the 64 to 512 channels.
    input_size : int
        Height and width of a frame, at least 16; a pool drops an odd last row or column.
    **neuron
        Parameters of LIF.
    """

    table: tuple[int, ...] = _VGGSNN

    def __init__(
        self,
        classes: int = 10,
        in_channels: int = 2,
        width: float = 1.0,
        T: int = 10,
        input_size: int = 32,
        **neuron: Any,
    ) -> None:
        super().__init__()
        if input_size < 16:
            raise ModelError(f"input size {input_size}: this network halves it 4 times, needs 16")
        self.T = T
        self.features, channels, size = self._layers(in_channels, width, input_size, neuron)
        self.classifier = PerStep(nn.Linear(channels * size * size, classes))
        _initialise(self)

    def _layers(
        self, last: int, width: float, size: int, neuron: dict[str, Any]
    ) -> tuple[nn.Sequential, int, int]:
        layers: list[nn.Module] = []
        for channels in self.table:
            if channels:
                here, stride = scaled(abs(channels), width), 2 if channels < 0 else 1
                layers.append(Layer(last, here, stride, **neuron))
                last, size = here, -(-size // stride)  # a stride rounds up
            else:
                layers.append(PerStep(nn.AvgPool2d(2)))
                size //= 2
        return nn.Sequential(*layers), last, size

    @property
    def retimed(self) -> Sequence[nn.Module]:
        """The modules at whose input the number of timesteps may change, in order."""
        return [m for m in self.features if isinstance(m, Layer)][1:]

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, C, H, W) or frames (N, T, C, H, W) to logits per timestep (N, T, M)."""
        x = over_time(x, self.T) if x.ndim == 4 else x
        return torch.as_tensor(self.classifier(self.features(x).flatten(2)))


class VGGSNNwoAP(VGGSNN):
    """VGGSNN without average pools: every second convolution has stride 2."""

    table = _STRIDED


def _initialise(model: nn.Module) -> None:
    """Initialise convolutions as He et al. 2015: deviation sqrt(2 / fan-out), bias 0."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            spread = sqrt(2 / (module.out_channels * module.kernel_size[0] * module.kernel_size[1]))
            nn.init.normal_(module.weight, 0.0, spread)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
