"""Distillation: a spiking network learns an ANN's logits at every timestep, beside the labels.

The teacher sees each image once, before training, as it is and without augmentation; its logits
are then part of the data, and a training step costs no more than without a teacher. Or it sees, at
every step, the very samples that the network sees, cropped and mirrored: one pass of an ANN more
per step, for logits that are right for these samples (Beyer et al. 2022, arXiv 2106.05237).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from seenn_deploy.errors import ModelError
from seenn_deploy.training.models.resnet import ResNet

if TYPE_CHECKING:
    from seenn_deploy.training.data import DataSet, Normalization
    from seenn_deploy.training.loop import Recipe

TEMPERATURE = 2.0


def distillation_loss(logits: Tensor, teacher: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """Return ``k^2 mean_t KL(softmax(teacher / k) || softmax(logits[t] / k))``, k the temperature.

    Hinton et al. 2015 (arXiv 1503.02531), section 2, at each timestep.

    Parameters
    ----------
    logits : Tensor (N, T, M)
        Logits of each timestep, not accumulated.
    teacher : Tensor (N, M)
    temperature : float

    Returns
    -------
    Tensor ()
    """
    soft = functional.softmax(teacher / temperature, dim=1)
    ours = functional.log_softmax(logits.flatten(0, 1) / temperature, dim=1)
    theirs = soft.repeat_interleave(logits.shape[1], dim=0)
    return temperature**2 * functional.kl_div(ours, theirs, reduction="batchmean")


Teacher = Callable[[Tensor, Tensor], Tensor]
"""Function from a batch's samples and their rows in the data to the logits (N, M) to learn."""


def teacher_of(
    path: str | Path, data: DataSet, classes: int, normalization: Normalization, recipe: Recipe,
    views: bool = False,
) -> Teacher:  # fmt: skip
    """Return a teacher of all samples.

    Parameters
    ----------
    path : str or Path
        State_dict of SEENN's ResNet with ReLU in place of the neurons. It takes samples as the
        network does.
    data : DataSet
        Images.
    classes : int
    normalization : Normalization
    recipe : Recipe
        Its device and precision.
    views : bool
        Whether it sees a batch's samples, and not the images that they were made from.

    Raises
    ------
    ModelError
        When the file holds no such network, or one of other classes or channels.
    """
    from seenn_deploy.training.loop import on_all

    net = _relu_resnet(Path(path)).to(recipe.device)
    made, taken = len(net.state_dict()["fc1.module.bias"]), net.conv1.in_channels
    if (made, taken) != (classes, data.kind.shape[0]) or data.kind.coding != "direct":
        raise ModelError(
            f"{path}: a teacher for images of {taken} channels in {made} classes; the data has "
            f"{data.kind.shape[0]} and {classes}"
        )
    net.to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]

    @torch.no_grad()
    def outputs(samples: Tensor) -> Tensor:
        with torch.autocast(torch.device(recipe.device).type, torch.bfloat16, recipe.bf16):
            return torch.as_tensor(net(normalization.apply(samples)))[:, 0].float()

    if views:
        return lambda samples, rows: outputs(samples)
    known = on_all(net, outputs, data)
    return lambda samples, rows: known[rows].to(samples.device)


def _relu_resnet(path: Path) -> ResNet:
    from seenn_deploy.io.state_dict import read_state_dict

    found = {k: torch.from_numpy(np.array(v)).float() for k, v in read_state_dict(path).items()}
    rows = dict[int, dict[int, int]]()
    for name, weight in found.items():
        if match := re.fullmatch(r"layer(\d+)\.(\d+)\.conv1\.module\.weight", name):
            rows.setdefault(int(match[1]), {})[int(match[2])] = len(weight)
    if not rows or not {"conv1.weight", "fc1.module.weight"} <= found.keys():
        raise ModelError(f"{path}: no ResNet with the names of SEENN's; a teacher is one with ReLU")
    channels = [row[min(row)] for _, row in sorted(rows.items())]
    blocks = [len(row) for _, row in sorted(rows.items())]
    classes, in_channels = len(found["fc1.module.weight"]), found["conv1.weight"].shape[1]
    net = ResNet(channels, blocks, classes, in_channels, 1, nn.ReLU)
    try:
        missing, unexpected = net.load_state_dict(found, strict=False)
    except RuntimeError as error:
        first = " ".join(str(error).split()[:24])
        raise ModelError(f"{path}: of another architecture ({first} ..)") from None
    left = [k for k in missing if ".seqbn." not in k and not k.endswith("num_batches_tracked")]
    if left or unexpected:
        raise ModelError(f"{path}: a ResNet with ReLU has {(*left, *unexpected)[0]!r} or has not")
    return net
