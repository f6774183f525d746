"""What a training loss is: a function of a batch's logits at every timestep, and of its labels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, fields
from math import isfinite
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from seenn_deploy.errors import DataError, ModelError
from seenn_deploy.training.distillation import distillation_loss


@dataclass(frozen=True, eq=False)
class Batch:
    """A batch's samples, and what they should become.

    Parameters
    ----------
    samples : Tensor (N, ...)
    labels : int64 Tensor (N,)
    rows : int64 Tensor (N,)
        The samples' numbers in the data set.
    teacher : Tensor (N, M), optional
        Logits of an ANN, which the network learns beside the labels.
    share : float in [0, 1]
        Weight of the teacher's logits; the loss itself has the rest.
    smoothing : float in [0, 1)
        Share of the labels' weight that is spread over all classes (Szegedy et al. 2016, arXiv
        1512.00567).
    length : int64 Tensor (N,), optional
        Timesteps of each sample, where they differ.
    """

    samples: Tensor
    labels: Tensor
    rows: Tensor
    teacher: Tensor | None = None
    share: float = 0.0
    smoothing: float = 0.0
    length: Tensor | None = None

    def entropy(self, logits: Tensor) -> Tensor:
        """Return the mean cross-entropy of logits (N, M) or, per timestep, (N, T, M)."""
        labels = self.labels
        if logits.ndim == 3:  # each timestep is a sample of its own
            labels = labels.repeat_interleave(logits.shape[1])
            labels, logits = self.heard(labels.view(logits.shape[:2])), self.heard(logits)
        return functional.cross_entropy(logits, labels, label_smoothing=self.smoothing)

    def heard(self, by_step: Tensor) -> Tensor:
        """Return the values (N, T, ..) of timesteps up to each sample's end, as (K, ..)."""
        if self.length is None:
            return by_step.flatten(0, 1)
        steps = torch.arange(by_step.shape[1], device=by_step.device)
        return by_step[steps < self.length.to(by_step.device)[:, None]]


@dataclass(frozen=True)
class Loss(ABC):
    """A training loss. Its fields are its parameters, numbers of 0 or above with defaults."""

    compiles: ClassVar[bool] = True
    """Whether a network that ``torch.compile`` made can be trained with it."""

    takes_length: ClassVar[bool] = True
    """Whether samples may differ in length."""

    needs: ClassVar[str] = ""
    """Name of an attribute that a network needs for it."""

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            if not (isfinite(value) and value >= 0):
                raise DataError(f"{f.name} = {value}; it must be 0 or above")

    @abstractmethod
    def of_logits(self, logits: Tensor, batch: Batch) -> Tensor:
        """Return the loss of logits (N, T, M) of each timestep, not accumulated."""

    def taught(self, logits: Tensor, batch: Batch) -> Tensor:
        """Return the loss, and beside it the teacher's where there is one."""
        own = self.of_logits(logits, batch)
        if batch.teacher is None:
            return own
        return (1 - batch.share) * own + batch.share * distillation_loss(logits, batch.teacher)

    def check_data(self, length: Tensor | None) -> None:
        """Raise a DataError where samples differ in length, and the loss takes no such."""
        if length is not None and not self.takes_length:
            name = type(self).__name__.lower()
            raise DataError(f"loss {name} takes samples of one length, these differ: tet or gap")

    def check(self, network: nn.Module) -> None:
        """Raise a ModelError where a network lacks what this loss looks into."""
        if self.needs and not getattr(network, self.needs, None):
            name = type(self).__name__.lower()
            raise ModelError(f"loss {name}: the network has no {self.needs!r}; choose another")

    def on_batch(self, forward: Callable[[Tensor], Tensor], net: nn.Module, batch: Batch) -> Tensor:
        """Return the loss of a batch.

        Parameters
        ----------
        forward : callable
            Function from samples to logits (N, T, M); it normalises the samples, and calls `net`.
        net : nn.Module
            The network, for a loss that looks into it.
        batch : Batch
        """
        return self.taught(forward(batch.samples), batch)
