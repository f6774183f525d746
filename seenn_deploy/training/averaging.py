"""A running mean of the weights, which is better than the last ones where the rate is high."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


class Average:
    """The mean of a network's weights and running statistics, exponential over training steps.

    Parameters
    ----------
    network : nn.Module
    decay : float in [0, 1)
        Share of the mean that a step leaves: 0.998 averages over some 500 steps. With 0 there is
        no mean, and the weights are used as they are.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self._network = network
        self._mean: AveragedModel | None = None
        if decay:
            mean = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
            self._mean = AveragedModel(network, multi_avg_fn=mean, use_buffers=True)

    def update(self) -> None:
        """Take up the weights after a step."""
        if self._mean is not None:
            self._mean.update_parameters(self._network)

    @contextmanager
    def used(self) -> Iterator[None]:
        """Let the network have the mean within the block, and its own weights again behind it."""
        if self._mean is None:
            yield
            return
        own = {name: tensor.clone() for name, tensor in self._network.state_dict().items()}
        self._network.load_state_dict(self._mean.module.state_dict())
        try:
            yield
        finally:
            self._network.load_state_dict(own)

    def state(self) -> dict[str, Any]:
        """Return what `restore` takes, as tensors by name; nothing where there is no mean."""
        return {} if self._mean is None else dict(self._mean.state_dict())

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        if self._mean is not None:
            self._mean.load_state_dict(state)
