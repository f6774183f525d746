"""Temporal efficient training: the logits of every timestep learn the label (arXiv 2202.11946)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from seenn_deploy.training.losses.base import Batch, Loss
from seenn_deploy.training.tet import tet_loss


@dataclass(frozen=True)
class Tet(Loss):
    """The loss of SEENN-I.

    ``(1 - weight) mean_t CE(o[t], y) + weight mean((o[t] - mean)^2)``, with o[t] the logits of
    timestep t alone. This is :func:`~seenn_deploy.training.tet.tet_loss`.

    Parameters
    ----------
    weight : float in [0, 1]
        Weight of the term that keeps logits near `mean`: ``lambda`` in SEENN's code.
    mean : float
        Value that logits are drawn to, ``means`` in SEENN's code.
    """

    weight: float = 1e-3
    mean: float = 1.0

    def __post_init__(self) -> None:
        """Take any number, as ever: SEENN's `means` may be negative."""

    def of_logits(self, logits: Tensor, batch: Batch) -> Tensor:
        if batch.length is None:
            return tet_loss(logits, batch.labels, self.weight, self.mean, batch.smoothing)
        # Every timestep that a sample has is a sample of one timestep.
        labels = batch.labels[:, None].expand(logits.shape[:2])
        heard = batch.heard(logits)[:, None]
        return tet_loss(heard, batch.heard(labels), self.weight, self.mean, batch.smoothing)
