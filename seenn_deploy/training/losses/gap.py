"""The label's accumulated logit leads the others by a margin, as a Top-K cutoff asks for."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

from seenn_deploy.training.losses.base import Batch, Loss


@dataclass(frozen=True)
class Gap(Loss):
    """Every timestep learns the label, and accumulated logits are pushed apart.

    ``mean_t CE(o[t], y) + weight mean_t max(0, margin - (z[t, y] - max_{j != y} z[t, j]))``, with
    ``z[t] = o[1] + .. + o[t]``, which is what exit rules see.

    The Top-K cutoff of Wu et al., "Optimising Event-Driven Spiking Neural Network with
    Regularisation and Cutoff" (arXiv 2301.09522), stops a sample once the two largest accumulated
    logits differ by more than beta: the exit rule ``margin``. The hinge is ours, not the paper's
    (its own regulariser is the loss ``rcs``): it asks for that difference at every timestep. It is
    taken between the label and the best other class, so no wrong answer is pushed ahead.

    Parameters
    ----------
    weight : float
        Weight of the hinge.
    margin : float
        Lead that is enough; the default is that of the rule ``margin``.
    """

    weight: float = 0.1
    margin: float = 5.0

    def of_logits(self, logits: Tensor, batch: Batch) -> Tensor:
        missing = functional.relu(self.margin - leads(logits, batch.labels))
        return batch.entropy(logits) + self.weight * batch.heard(missing).mean()


def leads(logits: Tensor, labels: Tensor) -> Tensor:
    """Return by how much the label leads at each timestep, (N, T), in accumulated logits."""
    z = logits.cumsum(dim=1)
    at = labels[:, None, None].expand(-1, z.shape[1], 1)
    others = z.scatter(2, at, float("-inf"))
    return z.gather(2, at)[..., 0] - others.amax(dim=2)
