"""Training of an ANN with QCFS activations, to be converted to a spiking network.

The method is that of arXiv 2303.04347, the options are those of SEENN's ``train_ann``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from seenn_deploy.errors import DataError
from seenn_deploy.io.images.normalization import default_normalization
from seenn_deploy.training.data import Normalization, load_both
from seenn_deploy.training.loop import (
    Log,
    NetworkTask,
    Recipe,
    about,
    check_size,
    check_smoothing,
    fit,
    on_all,
)
from seenn_deploy.training.models import qcfs
from seenn_deploy.training.weights import load_weights


@dataclass(frozen=True)
class AnnArchitecture:
    """A network that `seenn_deploy.training.models.qcfs.build` makes.

    Parameters
    ----------
    model : str
    width : float
    levels : int
        L of every activation; the converted network comes closest to the ANN at T >= L.
    init : path, optional
        State_dict of the same network, to start from.
    """

    model: str = "resnet20"
    width: float = 1.0
    levels: int = 8
    init: str | None = None


class AnnTask(NetworkTask):
    """The training of an ANN with cross-entropy.

    Parameters
    ----------
    *network
        What `NetworkTask` takes.
    smoothing : float in [0, 1)
        Share of the labels' weight that is spread over all classes.
    """

    def __init__(self, *network: Any, smoothing: float = 0.0) -> None:
        super().__init__(*network)
        self.smoothing = smoothing

    def loss(self, samples: Tensor, labels: Tensor, rows: Tensor) -> Tensor:
        return functional.cross_entropy(
            self.outputs(samples), labels, label_smoothing=self.smoothing
        )

    def test(self) -> dict[str, Any]:
        """Return the accuracy of the ANN; the simulator measures that of the converted network."""
        found = on_all(self.network, self.outputs, self.held_out).argmax(dim=1)
        right = int((found == self.held_out.labels).sum())
        return {"accuracy": round(right / len(found), 6)}


def train_ann(
    data: str | Path,
    out: str | Path,
    architecture: AnnArchitecture,
    recipe: Recipe,
    *,
    test: str | Path | None = None,
    classes: int | None = None,
    label_smoothing: float = 0.0,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    limit: int | None = None,
    test_limit: int | None = None,
    resume: bool = False,
    progress: Callable[[int], None] | None = None,
    each_epoch: Callable[[Log], None] | None = None,
) -> Log:
    """Train an ANN with QCFS activations.

    Parameters
    ----------
    data, test : str or Path
        Labelled images; see :func:`seenn_deploy.training.data.load`.
    out : str or Path
        The run's folder; ``seenn convert`` takes the ``model.pth`` in it.
    architecture : AnnArchitecture
    recipe : Recipe
    classes : int, optional
        Number of classes; by default one more than the largest label.
    label_smoothing : float in [0, 1)
        Share of the labels' weight that is spread over all classes.
    mean, std : sequence of one number per channel, optional
        Normalisation of pixels; by default what ``seenn convert`` takes for this many classes.
    limit, test_limit : int, optional
        Number of samples to use; the first ones are taken.
    resume : bool
        Whether to go on with a run that was cut off.
    progress : callable, optional
        Function that is called with the number of samples that were just used.
    each_epoch : callable, optional
        Function that is called with the log after every epoch, once its files are written.

    Returns
    -------
    list of dict
        One entry per epoch, with the ``accuracy`` on `test`.

    Raises
    ------
    DataError, ModelError, ProgramError, TrainingError
        When the data, the architecture or the folder does not fit, or training diverges.
    """
    check_smoothing(label_smoothing)
    # One timestep: an ANN has no time, and T is chosen when it is converted.
    train, held_out = load_both(data, test, 1, classes, limit, test_limit)
    if train.kind.coding != "direct":
        raise DataError(f"{data}: an ANN takes images, this holds events")
    classes = classes or train.classes
    default = default_normalization(classes)
    normalization = Normalization.of(train.kind, mean, std, default)
    channels, height, _ = train.kind.shape
    # Before the network is built, so that the seed decides its weights too.
    torch.manual_seed(recipe.seed)
    net = qcfs.build(
        architecture.model, classes, channels, architecture.width, architecture.levels, height
    )
    check_size(net, architecture.model, train.kind)
    if architecture.init is not None:
        load_weights(net, architecture.init)
    more = {"label_smoothing": label_smoothing} if label_smoothing else {}
    agreed = about("ann", architecture, train, classes, normalization, **more)
    task = AnnTask(net, agreed, normalization, held_out, smoothing=label_smoothing)
    return fit(task, train, recipe, out, resume, progress, each_epoch)
