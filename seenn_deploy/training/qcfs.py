"""Training an ANN with QCFS activations, to be converted (arXiv 2303.04347; SEENN's train_ann)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from seenn_deploy.errors import DataError
from seenn_deploy.io.images.normalization import default_normalization
from seenn_deploy.training.data import DataSet, Kind, Normalization, load
from seenn_deploy.training.loop import Log, Recipe, Task, as_bytes, check_size, cpu_state, fit
from seenn_deploy.training.models import qcfs

MODEL = "model.pth"


@dataclass(frozen=True)
class AnnArchitecture:
    """A network that `seenn_deploy.training.models.qcfs.build` makes.

    Parameters
    ----------
    model : str
    width : float
    levels : int
        L of every activation; the converted network equals the ANN best at T >= L.
    """

    model: str = "resnet20"
    width: float = 1.0
    levels: int = 8


class AnnTask(Task):
    """Cross-entropy of an ANN."""

    def __init__(
        self,
        net: nn.Module,
        about: dict[str, Any],
        normalization: Normalization,
        test: DataSet | None,
    ) -> None:
        self.network, self.about, self.normalization = net, about, normalization
        self.held_out = test

    def loss(self, samples: Tensor, labels: Tensor, rows: Tensor) -> Tensor:
        logits = self.network(self.normalization.apply(samples))
        return functional.cross_entropy(logits.float(), labels)

    def test(self) -> dict[str, Any]:
        """The ANN's accuracy; what the converted network has is for the simulator to say."""
        if self.held_out is None:
            return {}
        device = next(self.network.parameters()).device
        self.network.eval()
        right = 0
        with torch.no_grad():
            for rows in torch.arange(len(self.held_out)).tensor_split(
                len(self.held_out) // 256 + 1
            ):
                x = self.held_out.as_float(self.held_out.samples[rows]).to(device)
                found = self.network(self.normalization.apply(x)).argmax(dim=1).cpu()
                right += int((found == self.held_out.labels[rows]).sum())
        return {"accuracy": round(right / len(self.held_out), 6)}

    def files(self) -> dict[str, bytes]:
        return {MODEL: as_bytes(cpu_state(self.network))}


def train_ann(
    data: str | Path,
    out: str | Path,
    architecture: AnnArchitecture,
    recipe: Recipe,
    *,
    test: str | Path | None = None,
    classes: int | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    limit: int | None = None,
    test_limit: int | None = None,
    resume: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Log:
    """Train an ANN with QCFS activations.

    Parameters
    ----------
    data, test : str or Path
        Labelled images; see :func:`seenn_deploy.training.data.load`.
    out : str or Path
        The run's folder: ``model.pth`` there goes straight into ``seenn convert``.
    architecture : AnnArchitecture
    recipe : Recipe
    classes : int, optional
        By default one more than the largest label.
    mean, std : one number a channel, optional
        Normalisation of pixels; by default what ``seenn convert`` takes for this many classes.
    limit, test_limit : int, optional
        Only the first samples.
    resume : bool
    progress : callable, optional
        Called with the number of samples just used.

    Returns
    -------
    list of dict
        One an epoch; ``accuracy`` on `test`.

    Raises
    ------
    DataError, ModelError, ProgramError, TrainingError
    """
    train = load(data, 1, classes=classes, limit=limit)
    if train.kind.coding != "direct":
        raise DataError(f"{data}: an ANN takes images, this holds events")
    held_out = load(test, 1, kind=train.kind, classes=classes, limit=test_limit) if test else None
    classes = classes or train.classes
    normalization = _normalization(train.kind, classes, mean, std)
    channels, height, width = train.kind.shape
    torch.manual_seed(recipe.seed)
    net = qcfs.build(
        architecture.model, classes, channels, architecture.width, architecture.levels, height
    )
    check_size(net, architecture.model, train.kind)
    about = {
        "what": "ann", **vars(architecture), "classes": classes,
        "input_shape": [channels, height, width], "data": train.name, "mean": normalization.mean,
        "std": normalization.std,
    }  # fmt: skip
    return fit(AnnTask(net, about, normalization, held_out), train, recipe, out, resume, progress)


def _normalization(
    kind: Kind, classes: int, mean: Sequence[float] | None, std: Sequence[float] | None
) -> Normalization:
    if mean is None and std is None and kind.pixels and kind.shape[0] == 3:
        mean, std = default_normalization(classes)
    return Normalization.of(kind, mean, std)
