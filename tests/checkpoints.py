"""Makers of random checkpoints, named and shaped as SEENN's classes name and shape them.

Batch-norm statistics are calibrated on random inputs, so that every layer spikes a little.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import prod

import numpy as np
import torch
from torch import Tensor

from tests import reference

State = dict[str, Tensor]

VGG_CFG = {
    "A": (64, "M", 128, "M", 256, 256, "M", 512, 512, 512, 512),
    "B": (64, 64, "M", 128, 128, "M", 256, 256, "M", 512, 512, 512, 512),
    "D": (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512),
}


def images(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Random pixels in 0..1 with some structure: smooth blobs under a little noise."""
    rng = np.random.default_rng(seed)
    *lead, height, width = shape
    coarse = rng.random((*lead, -(-height // 4), -(-width // 4)))
    smooth = coarse.repeat(4, axis=-2).repeat(4, axis=-1)[..., :height, :width]
    return (0.7 * smooth + 0.3 * rng.random(shape)).astype(np.float32)


def events(shape: tuple[int, ...], seed: int = 0, rate: float = 0.2) -> np.ndarray:
    """Random binary frames."""
    return (np.random.default_rng(seed).random(shape) < rate).astype(np.float32)


# --- makers ------------------------------------------------------------------------------------


def resnet(
    width: int = 1,
    blocks: Sequence[int] = (3, 3, 2),
    in_channels: int = 3,
    classes: int = 10,
    seed: int = 0,
    *,
    size: int = 32,
    channels: Sequence[int] | None = None,
    calibrated: bool = True,
) -> State:
    """SEENN's ResNet: 16-32-64 channels times `width`, or `channels`.

    ``resnet(1, (1, 1, 1))`` is the policy network ResNet-8.
    """
    make = _Maker(seed)
    planes = tuple(channels or (16 * width, 32 * width, 64 * width))
    make.weight("conv1", (planes[0], in_channels, 3, 3))
    make.td_batch_norm("bn", planes[0])
    last = planes[0]
    for stage, (here, count) in enumerate(zip(planes, blocks, strict=True), start=1):
        for block in range(count):
            name = f"layer{stage}.{block}"
            make.weight(f"{name}.conv1.module", (here, last, 3, 3))
            make.td_batch_norm(f"{name}.bn1", here)
            make.weight(f"{name}.conv2.module", (here, here, 3, 3))
            make.td_batch_norm(f"{name}.bn2", here, beta=-0.15)
            if last != here or (stage > 1 and block == 0):
                make.weight(f"{name}.downsample.1.module", (here, last, 1, 1))
                make.td_batch_norm(f"{name}.downsample.2", here, gamma=0.7)
            last = here
    make.weight("fc1.module", (classes, last), bias=True)
    if calibrated:
        _calibrate(reference.resnet, make.state, images((8, in_channels, size, size), seed))
    return make.state


def vgg(
    cfg: Sequence[int | str] = VGG_CFG["A"],
    width: float = 1,
    batch_norm: bool = True,
    *,
    in_channels: int = 3,
    classes: int = 10,
    seed: int = 0,
    size: int = 32,
) -> State:
    """SEENN's VGG; channels are ``int(v * width / 4)`` as there."""
    make, index, last = _Maker(seed), 0, in_channels
    for item in cfg:
        if item == "M":
            index += 1
            continue
        out = int(int(item) * width / 4)
        make.weight(f"features.{index}.module", (out, last, 3, 3), bias=True)
        if batch_norm:
            make.td_batch_norm(f"features.{index + 1}", out)
        index += 3 if batch_norm else 2
        last = out
    make.weight("classifier.0.module", (classes, last), bias=True)
    _calibrate(
        reference.vgg,
        make.state,
        images((8, in_channels, size, size), seed),
        rescale=not batch_norm,
    )
    return make.state


VGGSNN_CHANNELS = (64, 128, 256, 256, 512, 512, 512, 512)


def vggsnn(
    channels: Sequence[int] = VGGSNN_CHANNELS,
    in_channels: int = 2,
    classes: int = 10,
    seed: int = 0,
    *,
    size: int = 32,
) -> State:
    """SEENN's VGGSNN, with average pools; `size` as its ``in_res``."""
    return _vggsnn((0, 1, 3, 4, 6, 7, 9, 10), channels, in_channels, classes, seed, size)


def vggsnn_woap(
    channels: Sequence[int] = VGGSNN_CHANNELS,
    in_channels: int = 2,
    classes: int = 10,
    seed: int = 0,
    *,
    size: int = 48,
) -> State:
    """SEENN's VGGSNNwoAP, with strided convolutions; `size` as its ``in_res``."""
    return _vggsnn(tuple(range(8)), channels, in_channels, classes, seed, size)


def _vggsnn(
    indices: Sequence[int],
    channels: Sequence[int],
    in_channels: int,
    classes: int,
    seed: int,
    size: int,
) -> State:
    make, last = _Maker(seed), in_channels
    for index, out in zip(indices, channels, strict=True):
        make.weight(f"features.{index}.fwd.module.0", (out, last, 3, 3), bias=True)
        make.batch_norm(f"features.{index}.fwd.module.1", out)
        last = out
    width = size // 16
    make.weight("classifier.module", (classes, last * width * width), bias=True)
    step = reference.vggsnn if indices[-1] == 10 else reference.vggsnn_woap
    _calibrate(step, make.state, events((8, in_channels, size, size), seed))
    return make.state


@dataclass
class _Maker:
    """A state_dict filled in the order of SEENN's modules."""

    seed: int
    state: State = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.random = torch.Generator().manual_seed(self.seed)

    def weight(self, name: str, shape: tuple[int, ...], bias: bool = False) -> None:
        scale = (2 / prod(shape[1:])) ** 0.5
        self.state[f"{name}.weight"] = torch.randn(shape, generator=self.random) * scale
        if bias:
            self.state[f"{name}.bias"] = torch.randn(shape[0], generator=self.random) * 0.1

    def batch_norm(self, name: str, channels: int, gamma: float = 0.8, beta: float = -0.1) -> None:
        noise = torch.randn(2, channels, generator=self.random) * 0.1
        self.state[f"{name}.weight"] = gamma + noise[0]
        self.state[f"{name}.bias"] = beta + noise[1]
        self.state[f"{name}.running_mean"] = torch.zeros(channels)
        self.state[f"{name}.running_var"] = torch.ones(channels)
        self.state[f"{name}.num_batches_tracked"] = torch.tensor(100)

    def td_batch_norm(
        self, name: str, channels: int, gamma: float = 0.8, beta: float = -0.1
    ) -> None:
        """``tdBatchNorm`` registers one BatchNorm2d twice, so it is saved twice."""
        self.batch_norm(f"{name}.bn", channels, gamma, beta)
        for part in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
            self.state[f"{name}.seqbn.module.{part}"] = self.state[f"{name}.bn.{part}"]


def _calibrate(step: reference.Step, state: State, x: np.ndarray, rescale: bool = False) -> None:
    """Run one step and set every batch norm's statistics to what arrives there.

    With `rescale`, for networks without batch norm: scale every convolution to a spread of 0.8.
    """

    def norm(_: State, prefix: str, current: Tensor) -> Tensor:
        state[f"{prefix}.running_mean"].copy_(current.mean(dim=(0, 2, 3)))
        state[f"{prefix}.running_var"].copy_(current.var(dim=(0, 2, 3)) + 1e-3)
        return reference.batch_norm(state, prefix, current)

    def scaled(_: State, prefix: str, current: Tensor, **options: int) -> Tensor:
        out = reference.conv(state, prefix, current, **options)
        factor = 0.8 / float(out.std())
        state[f"{prefix}.weight"].mul_(factor)
        state[f"{prefix}.bias"].mul_(factor).sub_(float(out.mean()) * factor)
        return reference.conv(state, prefix, current, **options)

    conv: Callable[..., Tensor] = scaled if rescale else reference.conv
    mean = (reference.CIFAR10_MEAN, reference.CIFAR10_STD) if x.shape[1] == 3 else (None, None)
    ops = reference.Ops(conv, norm)
    reference.forward(step, state, x, 1, mean=mean[0], std=mean[1], ops=ops)
