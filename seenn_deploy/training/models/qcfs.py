"""ANNs with QCFS activations, to be converted; layout and names are those of SEENN's code.

``seenn convert`` takes their state dicts as they are, and SEENN's state dicts load into them
(github.com/Intelligent-Computing-Lab-Yale/SEENN, ``SNN_conversion_QCFS``; arXiv 2303.04347).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from seenn_deploy.errors import ModelError
from seenn_deploy.training.models.layers import conv3x3, scaled, stages

RESNETS = {  # channels and blocks of each stage
    "resnet8": ((16, 32, 64), (1, 1, 1)),
    "resnet20": ((16, 32, 64), (3, 3, 2)),
    "resnet18": ((64, 128, 256, 512), (2, 2, 2, 2)),
    "resnet34": ((64, 128, 256, 512), (3, 4, 6, 3)),
}
VGG16 = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


class _QCFS(torch.autograd.Function):
    """The activation and its gradient in one function; as single operations they would be slow.

    With n = floor(L z / V + 1/2): ``y = V clip(n, 0, L) / L``. The floor has slope 1, so dy/dz is 1
    where 0 <= n <= L and 0 elsewhere, and dy/dV = (y - z dy/dz) / V.
    """

    @staticmethod
    def forward(ctx: Any, z: Tensor, up: Tensor, levels: int) -> Tensor:
        # In place from here on: these tensors are as large as the layer.
        n = (z * (levels / up)).add_(0.5).floor_()
        inside = (n >= 0) & (n <= levels)
        y = n.clamp_(0, levels).mul_(up / levels)
        ctx.save_for_backward(z, y, inside, up)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        z, y, inside, up = ctx.saved_tensors
        by_z = grad * inside
        by_up = ((grad * y).sum() - (by_z * z).sum()) / up
        return by_z, by_up, None


class QCFS(nn.Module):
    """Quantised clip-floor-shift activation with a learned threshold.

    ``y = V clip(floor(L z / V + 1/2) / L, 0, 1)``. In the gradient the floor counts as the
    identity, so dy/dz is 1 where nothing is clipped, and dy/dV is the rounding error
    (arXiv 2303.04347; SEENN's ``MyFloor``).

    Parameters
    ----------
    levels : int
        Number of levels L; in T = L timesteps the converted neuron can send exactly these levels.
    threshold : float, optional
        Initial value of the threshold V, which is the parameter ``up`` of shape (1,); by default
        half the levels. Batch norms send values of deviation 1, and a coarser step than 1/2 would
        round most of them to 0: a deep network of few levels would hardly begin to learn.
    """

    def __init__(self, levels: int = 8, threshold: float | None = None) -> None:
        super().__init__()
        threshold = levels / 2 if threshold is None else threshold
        if levels < 1 or threshold <= 0:
            raise ModelError(f"QCFS of {levels} levels and threshold {threshold:g}: both above 0")
        self.levels = levels
        self._activate: Any = _QCFS.apply
        self.up = nn.Parameter(torch.tensor([float(threshold)]))

    def forward(self, z: Tensor) -> Tensor:
        return torch.as_tensor(self._activate(z, self.up, self.levels))

    def extra_repr(self) -> str:
        return f"levels={self.levels}"


class Block(nn.Module):
    """A residual block: the shortcut joins the two convolutions before the last activation."""

    def __init__(self, c_in: int, c_out: int, stride: int, levels: int) -> None:
        super().__init__()
        self.residual_function = nn.Sequential(
            conv3x3(c_in, c_out, stride),
            nn.BatchNorm2d(c_out),
            QCFS(levels),
            conv3x3(c_out, c_out),
            nn.BatchNorm2d(c_out),
        )
        self.shortcut = nn.Sequential()
        if stride != 1 or c_in != c_out:
            project = nn.Conv2d(c_in, c_out, 1, stride, bias=False)
            self.shortcut = nn.Sequential(project, nn.BatchNorm2d(c_out))
        self.relu = QCFS(levels)

    def forward(self, x: Tensor) -> Tensor:
        return torch.as_tensor(self.relu(self.residual_function(x) + self.shortcut(x)))


class ResNet(nn.Module):
    """A ResNet for small images, from images (N, C, H, W) to logits (N, M).

    Parameters
    ----------
    channels, blocks : sequences of one number per stage
        Channels and number of blocks of each stage. The first convolution has as many channels as
        the first stage; every later stage halves the image.
    classes, in_channels : int
    levels : int
        L of every activation.
    """

    def __init__(
        self,
        channels: Sequence[int],
        blocks: Sequence[int],
        classes: int = 10,
        in_channels: int = 3,
        levels: int = 8,
    ) -> None:
        super().__init__()
        stem = conv3x3(in_channels, channels[0])
        self.conv1 = nn.Sequential(stem, nn.BatchNorm2d(channels[0]), QCFS(levels))
        # SEENN counts stages from 2.
        made = stages(channels, blocks, lambda c_in, c_out, s: Block(c_in, c_out, s, levels))
        for number, stage in enumerate(made, start=2):
            self.add_module(f"conv{number}_x", stage)
        self.stages = len(channels)
        self.fc = nn.Linear(channels[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        for stage in range(2, 2 + self.stages):
            x = self.get_submodule(f"conv{stage}_x")(x)
        return torch.as_tensor(self.fc(x.mean(dim=(2, 3))))


class VGG(nn.Module):
    """A VGG with average pools, from images (N, C, H, W) to logits (N, M); H and W divide by 32.

    Parameters
    ----------
    stages : sequence of one tuple per stage
        Channels of the convolutions.
    classes, in_channels, levels : int
        As in :class:`ResNet`.
    hidden : int
        Neurons of each of the two layers before the classifier.
    size : int
        Height and width of the images.
    """

    def __init__(
        self,
        stages: Sequence[Sequence[int]] = VGG16,
        classes: int = 10,
        in_channels: int = 3,
        levels: int = 8,
        hidden: int = 4096,
        size: int = 32,
    ) -> None:
        super().__init__()
        last, self.stages = in_channels, len(stages)
        for number, stage in enumerate(stages, start=1):
            parts: list[nn.Module] = []
            for here in stage:
                parts += [conv3x3(last, here, bias=True), nn.BatchNorm2d(here), QCFS(levels)]
                parts.append(nn.Identity())  # SEENN has a dropout here; names count on
                last = here
            self.add_module(f"layer{number}", nn.Sequential(*parts, nn.AvgPool2d(2)))
        features = last * (size // 2 ** len(stages)) ** 2
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(features, hidden),
            QCFS(levels),
            nn.Identity(),
            nn.Linear(hidden, hidden),
            QCFS(levels),
            nn.Identity(),
            nn.Linear(hidden, classes),
        )
        for layer in (self.classifier[1], self.classifier[4]):
            # No batch norm follows; torch's own initial weights would lose two thirds of the
            # variance in each, and QCFS would round what is left to 0 (He et al. 2015).
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        for number in range(1, 1 + self.stages):
            x = self.get_submodule(f"layer{number}")(x)
        return torch.as_tensor(self.classifier(x))


def build(
    name: str,
    classes: int = 10,
    in_channels: int = 3,
    width: float = 1.0,
    levels: int = 8,
    input_size: int = 32,
) -> nn.Module:
    """Build a QCFS network with fresh weights.

    Parameters
    ----------
    name : 'resnet8', 'resnet20', 'resnet18', 'resnet34' or 'vgg16'
    classes, in_channels : int
    width : float
        Factor on the channels of the table; SEENN trains ResNet-20 at 8.
    levels : int
        L of every activation.
    input_size : int
        Height and width; VGG-16's classifier depends on it.

    Raises
    ------
    ModelError
        For a name that does not exist, sizes below 1, or images that VGG-16 pools away.
    """
    for what, value in (("classes", classes), ("in_channels", in_channels), ("levels", levels)):
        if value < 1:
            raise ModelError(f"{what} = {value}; it must be at least 1")
    if width <= 0:
        raise ModelError(f"width = {width}; it must be above 0")
    if name in RESNETS:
        channels, blocks = RESNETS[name]
        row = [scaled(c, width) for c in channels]
        return ResNet(row, blocks, classes, in_channels, levels)
    if name == "vgg16":
        stages = [[scaled(c, width) for c in stage] for stage in VGG16]
        if input_size < 2 ** len(stages):
            low = 2 ** len(stages)
            raise ModelError(f"vgg16 takes images of at least {low}x{low}, not {input_size}")
        return VGG(stages, classes, in_channels, levels, scaled(4096, width), input_size)
    raise ModelError(
        f"QCFS model {name!r} does not exist; there are {', '.join(RESNETS)} and vgg16"
    )
