"""Distillation over the full range of t (arXiv 2501.15925)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from seenn_deploy.training.distillation import distillation_loss
from seenn_deploy.training.losses.base import Batch, Loss


@dataclass(frozen=True)
class Distill(Loss):
    """Every timestep learns the label, and the mean logits of the timesteps that are right.

    ``mean_t CE(o[t], y) + weight k^2 mean_t KL(softmax(e / k) || softmax(o[t] / k))``, where
    ``e = sum_t r[t] o[t] / max(1, sum_t r[t])`` and r[t] is 1 where the largest of o[t] is the
    label's, else 0. No gradient runs through e. The third term of the paper, the same divergence
    from an ANN's logits, is what ``--teacher`` adds; without it the network teaches itself alone.

    Yu et al., "Efficient Logit-based Knowledge Distillation of Deep Spiking Neural Networks for
    Full-Range Timestep Deployment", ICML 2025. The abstract names the "final ensemble" as the
    teacher; that it is the mean over right timesteps, and 0 (a uniform distribution) where none is
    right, and that k is 3, is taken from the authors' published code
    (github.com/Intelli-Chip-Lab/snn_temporal_decoupling_distillation, model/layer.py and
    experiment/cifar/main.py). Their code has both weights 0 by default, so 0.5 is chosen here.

    Parameters
    ----------
    weight : float
        Weight of the divergence from the network's own mean logits.
    temperature : float above 0
        k above.
    """

    takes_length: ClassVar[bool] = False

    weight: float = 0.5
    temperature: float = 3.0

    def of_logits(self, logits: Tensor, batch: Batch) -> Tensor:
        own = ensemble(logits.detach(), batch.labels)
        return batch.entropy(logits) + self.weight * distillation_loss(
            logits, own, self.temperature
        )


def ensemble(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean (N, M) of logits (N, T, M) over timesteps that are right; 0 without one."""
    right = (logits.argmax(dim=2) == labels[:, None]).to(logits.dtype)
    return torch.einsum("nt,ntm->nm", right, logits) / right.sum(dim=1).clamp(min=1)[:, None]
