"""Mixed time-step training: a network that is good at every number of timesteps (2503.17394)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from seenn_deploy.errors import DataError
from seenn_deploy.training.losses.base import Batch, Loss


@dataclass(frozen=True)
class Mixed(Loss):
    """A batch runs several times, and each part of the network for its own number of timesteps.

    ``sum_j CE(mean_t o_j[t], y) / samples`` over j = 1..`samples`, with o_j the logits of the
    network whose parts run for timesteps T_1..T_G. In the first pass these are T everywhere, as
    the network is deployed; in the others each is drawn evenly from 1..T. Between two parts of
    different T, spikes are repeated (to more timesteps) or added up (to fewer): timestep i of the
    fewer belongs to those of the more between ``round(i more / fewer)`` and
    ``round((i + 1) more / fewer)``, halves rounded down.

    Du et al., "Temporal Flexibility in Spiking Neural Networks: Towards Generalization Across Time
    Steps and Deployment Friendliness", ICLR 2025 (arXiv 2503.17394). Parts are residual blocks or
    layers, loss and the assignment of timesteps as in the authors' published code
    (github.com/brain-intelligence-lab/temporal_flexibility_in_SNN, train-time-stepped), whose runs
    have 3 passes. The paper draws T in all of them, and calibrates batch norm after training; here
    the pass at T everywhere is the only one that moves running statistics.

    A pass of drawn timesteps costs about (T + 1) / 2T of one at T.

    Parameters
    ----------
    samples : whole number of 2 or more
        Passes of each batch.
    """

    compiles: ClassVar[bool] = False
    takes_length: ClassVar[bool] = False
    needs: ClassVar[str] = "retimed"

    samples: float = 3

    def __post_init__(self) -> None:
        if self.samples != int(self.samples) or self.samples < 2:
            raise DataError(f"samples = {self.samples}; it is a number of passes, 2 or more")

    def of_logits(self, logits: Tensor, batch: Batch) -> Tensor:
        return batch.entropy(logits.mean(dim=1))

    def on_batch(self, forward: Callable[[Tensor], Tensor], net: Any, batch: Batch) -> Tensor:
        total = super().on_batch(forward, net, batch)
        drawn = _generator(batch.rows)
        for _ in range(int(self.samples) - 1):
            steps = torch.randint(1, net.T + 1, (len(net.retimed) + 1,), generator=drawn)
            with as_parts(net, steps.tolist()):
                total = total + super().on_batch(forward, net, batch)
        return total / self.samples


def _generator(rows: Tensor) -> torch.Generator:
    # From the batch itself, whose order follows from seed and epoch: a run that was cut off and
    # goes on draws what it would have drawn.
    seed = int((rows.cpu() * torch.arange(1, len(rows) + 1)).sum())
    return torch.Generator().manual_seed(seed)


@contextmanager
def as_parts(net: Any, steps: Sequence[int]) -> Iterator[None]:
    """Let the parts of a network run for `steps` timesteps each, within the block.

    The first number is that of what comes before ``net.retimed``, where the input is an image that
    is shown again and again; of frames, each is taken. Running statistics stay as they are.
    """
    whole, norms = net.T, [m for m in net.modules() if isinstance(m, _BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    pairs = zip(net.retimed, steps[1:], strict=True)
    hooks = [part.register_forward_pre_hook(partial(_retime, T)) for part, T in pairs]
    try:
        net.T = steps[0]
        for norm in norms:
            norm.momentum = 0.0
        yield
    finally:
        net.T = whole
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        for hook in hooks:
            hook.remove()


def _retime(T: int, part: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return retimed(given[0], T), *given[1:]


def retimed(x: Tensor, T: int) -> Tensor:
    """Give spikes (N, T', ...) another number of timesteps, as the class describes."""
    before = x.shape[1]
    if before == T:
        return x
    fewer, more = sorted((before, T))
    # To the nearest, and halves down.
    edges = [0, *(-(-(2 * i * more - fewer) // (2 * fewer)) for i in range(1, fewer + 1))]
    counts = [b - a for a, b in pairwise(edges)]
    if before < T:
        return x.repeat_interleave(torch.tensor(counts, device=x.device), dim=1)
    return torch.stack([part.sum(dim=1) for part in torch.split(x, counts, dim=1)], dim=1)
