"""Makers of random QCFS checkpoints, named and shaped as SEENN's conversion code shapes them.

Batch-norm statistics are calibrated on random images, thresholds differ from layer to layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
import torch
from torch import Tensor

from tests import reference, reference_qcfs
from tests.checkpoints import State, images


def resnet(
    channels: Sequence[int] = (3, 4, 6),
    blocks: Sequence[int] = (2, 1, 1),
    in_channels: int = 3,
    classes: int = 10,
    seed: int = 0,
    *,
    size: int = 8,
    bottleneck: bool = False,
) -> State:
    """``ResNet4Cifar`` (three stages) or ``ResNet`` (four), basic or bottleneck blocks."""
    make = _Maker(seed)
    make.conv_and_norm("conv1.0", "conv1.1", (channels[0], in_channels, 3, 3))
    make.threshold("conv1.2")
    last = channels[0]
    for stage, (here, count) in enumerate(zip(channels, blocks, strict=True), start=2):
        out = 4 * here if bottleneck else here
        for name in (f"conv{stage}_x.{block}" for block in range(count)):
            strided = stage > 2 and name.endswith(".0")
            shapes = [(here, last, 3, 3), (here, here, 3, 3)]
            if bottleneck:
                shapes = [(here, last, 1, 1), (here, here, 3, 3), (out, here, 1, 1)]
            for at, shape in enumerate(shapes):
                main = f"{name}.residual_function"
                make.conv_and_norm(f"{main}.{3 * at}", f"{main}.{3 * at + 1}", shape)
                if at + 1 < len(shapes):
                    make.threshold(f"{main}.{3 * at + 2}")
            if last != out or strided:
                make.conv_and_norm(f"{name}.shortcut.0", f"{name}.shortcut.1", (out, last, 1, 1))
            make.threshold(f"{name}.relu")
            last = out
    make.weight("fc", (classes, last), bias=True)
    _calibrate(reference_qcfs.resnet, make.state, images((8, in_channels, size, size), seed))
    return make.state


def vgg(
    stages: Sequence[Sequence[int]] = ((4, 4), (6,), (8,)),
    in_channels: int = 3,
    classes: int = 10,
    hidden: int = 12,
    seed: int = 0,
    *,
    size: int = 16,
) -> State:
    """``VGG`` with batch norm; three indices of ``layerN`` and one of dropout a convolution."""
    make, last = _Maker(seed), in_channels
    for number, stage in enumerate(stages, start=1):
        for at, here in enumerate(stage):
            name, norm = f"layer{number}.{4 * at}", f"layer{number}.{4 * at + 1}"
            make.conv_and_norm(name, norm, (here, last, 3, 3), bias=True)
            make.threshold(f"layer{number}.{4 * at + 2}")
            last = here
    features = last * (size // 2 ** len(stages)) ** 2
    for at, (outs, ins) in {1: (hidden, features), 4: (hidden, hidden)}.items():
        make.weight(f"classifier.{at}", (outs, ins), bias=True)
        make.threshold(f"classifier.{at + 1}")
    make.weight("classifier.7", (classes, hidden), bias=True)
    _calibrate(reference_qcfs.vgg, make.state, images((8, in_channels, size, size), seed))
    return make.state


class _Maker:
    """A state_dict filled in the order of SEENN's modules."""

    def __init__(self, seed: int) -> None:
        self.random = torch.Generator().manual_seed(seed)
        self.state: State = {}

    def weight(self, name: str, shape: tuple[int, ...], bias: bool = False) -> None:
        scale = (2 / prod(shape[1:])) ** 0.5
        self.state[f"{name}.weight"] = torch.randn(shape, generator=self.random) * scale
        if bias:
            self.state[f"{name}.bias"] = torch.randn(shape[0], generator=self.random) * 0.1

    def conv_and_norm(
        self, name: str, norm: str, shape: tuple[int, ...], bias: bool = False
    ) -> None:
        self.weight(name, shape, bias)
        channels = shape[0]
        noise = torch.randn(2, channels, generator=self.random) * 0.1
        self.state[f"{norm}.weight"] = 1 + noise[0]
        self.state[f"{norm}.bias"] = 0.2 + noise[1]
        self.state[f"{norm}.running_mean"] = torch.zeros(channels)
        self.state[f"{norm}.running_var"] = torch.ones(channels)
        self.state[f"{norm}.num_batches_tracked"] = torch.tensor(100)

    def threshold(self, name: str) -> None:
        self.state[f"{name}.up"] = 1 + 2 * torch.rand(1, generator=self.random)


def _calibrate(step: reference_qcfs.Step, state: State, x: np.ndarray) -> None:
    """Set every batch norm's statistics to what arrives there."""

    def statistics(_: State, prefix: str, current: Tensor) -> Tensor:
        state[f"{prefix}.running_mean"].copy_(current.mean(dim=(0, 2, 3)))
        state[f"{prefix}.running_var"].copy_(current.var(dim=(0, 2, 3)) + 1e-3)
        return reference.batch_norm(state, prefix, current)

    normal, reference_qcfs.batch_norm = reference_qcfs.batch_norm, statistics  # type: ignore[assignment]
    try:
        with torch.no_grad():
            step(state, torch.as_tensor(x), reference_qcfs.Floor(state, 8))
    finally:
        reference_qcfs.batch_norm = normal
