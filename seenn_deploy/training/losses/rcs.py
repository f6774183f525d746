"""Regularising cosine similarity: each timestep answers as the mean does (arXiv 2301.09522)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from seenn_deploy.errors import ModelError
from seenn_deploy.training.losses.base import Batch, Loss
from seenn_deploy.training.models.neurons import LIF, remaining

EPSILON = 1e-5  # as in the authors' code, so that nothing is divided by zero


@dataclass(frozen=True)
class Rcs(Loss):
    """Every timestep learns the label, and every layer's response keeps its direction over time.

    ``mean_t CE(o[t], y) + weight mean_layers mean_n 1 / mean_t cos(r[t], m)``, with the response
    ``r[t] = s[t] + max(0, v[t])`` of a layer's spikes s and of the potentials v that the reset
    left, and ``m = mean_t r[t]``, through which no gradient runs. A timestep whose response points
    where the mean's does decides early as it would decide late.

    Wu et al., "Optimising Event-Driven Spiking Neural Network with Regularisation and Cutoff". The
    form of the response and of the penalty are taken from the authors' published code
    (github.com/Dengyu-Wu/snncutoff, snncutoff/regularizer/rcs_snn.py). A layer that is silent has
    cosine 1 here, and 0 there, where its penalty is 1e5. The weight is chosen here.

    Parameters
    ----------
    weight : float
    """

    compiles: ClassVar[bool] = False
    takes_length: ClassVar[bool] = False

    weight: float = 0.1

    def of_logits(self, logits: Tensor, batch: Batch) -> Tensor:
        return batch.entropy(logits)

    def check(self, network: nn.Module) -> None:
        if any(hasattr(layer, "back") for layer in network.modules()):
            raise ModelError("loss rcs: recurrent layers have currents that it does not see")

    def on_batch(self, forward: Callable[[Tensor], Tensor], net: nn.Module, batch: Batch) -> Tensor:
        penalties: list[Tensor] = []

        def seen(layer: Any, given: tuple[Any, ...], spikes: Tensor) -> None:
            penalties.append(penalty(spikes + remaining(layer, given[0])))

        hooks = [m.register_forward_hook(seen) for m in net.modules() if isinstance(m, LIF)]
        try:
            own = super().on_batch(forward, net, batch)
        finally:
            for hook in hooks:
                hook.remove()
        return own + self.weight * torch.stack(penalties).mean()


def penalty(response: Tensor) -> Tensor:
    """Return ``mean_n 1 / mean_t cos(r[t], mean r)`` for responses (N, T, ...), none negative."""
    r = response.flatten(2).float()
    mean = r.mean(dim=1, keepdim=True).detach()
    norms = (r.square().sum(2) + EPSILON).sqrt() * (mean.square().sum(2) + EPSILON).sqrt()
    cosine = ((r * mean).sum(2) + EPSILON) / norms
    return (1 / cosine.mean(1)).mean()
