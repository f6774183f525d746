"""Training an ANN with QCFS activations, to be converted (arXiv 2303.04347, SEENN's train_ann)."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from seenn_deploy.errors import ModelError
from seenn_deploy.folders import write_file, write_json
from seenn_deploy.models import qcfs
from seenn_deploy.training.data import DataSet, Normalization, batches


@dataclass(frozen=True)
class Recipe:
    """What decides a training run, beside its data.

    Parameters
    ----------
    model : str
        Of :func:`seenn_deploy.models.qcfs.build`.
    width : float
    levels : int
        L of every activation.
    epochs, batch, seed : int
    lr, momentum, weight_decay : float
        Of SGD; the rate falls to 0 along a cosine, step by step.
    augment : 'crop-flip', 'crop' or 'none'
    """

    model: str = "resnet20"
    width: float = 1.0
    levels: int = 8
    epochs: int = 10
    batch: int = 128
    seed: int = 0
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    augment: Literal["crop-flip", "crop", "none"] = "crop-flip"


@dataclass(frozen=True)
class Epoch:
    """One line of the log: mean training loss, accuracy on the test set, seconds."""

    epoch: int
    loss: float
    accuracy: float
    seconds: float


def train(
    recipe: Recipe,
    train_set: DataSet,
    test_set: DataSet,
    out: Path,
    progress: Callable[[Epoch], None] | None = None,
) -> list[Epoch]:
    """Train an ANN and write it after every epoch, for ``seenn convert``.

    Parameters
    ----------
    recipe : Recipe
    train_set, test_set : DataSet
        Images of :func:`seenn_deploy.training.data.load`.
    out : Path
        The state_dict; the log and the recipe go beside it, as ``.json``.
    progress : callable, optional
        Called with each line of the log.

    Raises
    ------
    ModelError
        When the loss is NaN or infinite; `out` then holds the last good epoch.
    """
    torch.manual_seed(recipe.seed)
    generator = torch.Generator().manual_seed(recipe.seed)
    classes = int(train_set.labels.max()) + 1
    channels, height, _ = train_set.kind.shape
    model = qcfs.build(recipe.model, classes, channels, recipe.width, recipe.levels, height)
    normal = Normalization.of(train_set.kind)
    optimizer, schedule = _optimizer(recipe, model, len(train_set))
    log: list[Epoch] = []
    for number in range(1, recipe.epochs + 1):
        start, losses = time.perf_counter(), []
        model.train()
        for x, labels, _ in batches(train_set, recipe.batch, generator, recipe.augment, None):
            losses.append(_step(model, normal.apply(x), labels, optimizer))
            schedule.step()
            if not torch.isfinite(losses[-1]):
                raise ModelError(_diverged(out, number, len(losses), log))
        loss = float(torch.stack(losses).mean())
        right = accuracy(model, test_set, normal)
        log.append(Epoch(number, loss, right, time.perf_counter() - start))
        _save(out, model, recipe, log)
        if progress:
            progress(log[-1])
    return log


def accuracy(model: nn.Module, data: DataSet, normal: Normalization, size: int = 500) -> float:
    """Share of samples that the ANN has right."""
    model.eval()
    right = 0
    with torch.no_grad():
        for rows in torch.arange(len(data)).split(size):
            logits = model(normal.apply(data.as_float(data.samples[rows])))
            right += int((logits.argmax(dim=1) == data.labels[rows]).sum())
    return right / len(data)


def _optimizer(recipe: Recipe, model: nn.Module, samples: int) -> tuple[Any, Any]:
    optimizer = torch.optim.SGD(
        model.parameters(), recipe.lr, recipe.momentum, weight_decay=recipe.weight_decay
    )
    steps = recipe.epochs * -(-samples // recipe.batch)
    return optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)


def _step(model: nn.Module, x: Tensor, labels: Tensor, optimizer: Any) -> Tensor:
    """One batch; its loss before the step."""
    loss = functional.cross_entropy(model(x), labels)
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return loss.detach()


def _diverged(out: Path, epoch: int, step: int, log: list[Epoch]) -> str:
    kept = f"{out} holds epoch {len(log)}" if log else "nothing was written"
    return f"the loss is not finite at step {step} of epoch {epoch}; {kept}; lower the rate (lr)"


def _save(out: Path, model: nn.Module, recipe: Recipe, log: list[Epoch]) -> None:
    content = BytesIO()
    torch.save(model.state_dict(), content)
    write_file(out, content.getvalue())
    lines = [asdict(line) for line in log]
    write_json(out.with_suffix(".json"), {"recipe": asdict(recipe), "log": lines})
