"""Networks for signals: real-valued channels at every timestep, layers of LIF neurons, recurrent.

``mlp`` has two layers of neurons, and ``rnn`` the same with recurrent connections in each: what a
layer sends at t - 1 is a part of its current at t. A linear layer reads out at every timestep.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from seenn_deploy.training.models.layers import over_time, scaled
from seenn_deploy.training.models.neurons import LIF, spike

SIGNALS = ("mlp", "rnn")
HIDDEN = (128, 128)  # neurons of each layer, at width 1


class RecurrentLIF(LIF):
    """LIF neurons whose spikes come back one timestep later, through a dense matrix.

    ``v'[t] = tau v[t - 1] + a[t] + R s[t - 1]``, and the rest as in `LIF`.

    Parameters
    ----------
    neurons : int
    **neuron
        Parameters of `LIF`.
    """

    def __init__(self, neurons: int, **neuron: Any) -> None:
        super().__init__(**neuron)
        self.back = nn.Linear(neurons, neurons, bias=False)

    def forward(self, current: Tensor) -> Tensor:
        """Return the spikes (N, T, neurons) that input currents of that shape cause."""
        v = s = torch.zeros_like(current[:, 0])
        sent = []
        for a in current.unbind(1):
            v = self.tau * v + a + self.back(s)
            s = spike(v - self.v_threshold, self.surrogate, self.gamma)
            v = (1 - s) * v
            sent.append(s)
        return torch.stack(sent, dim=1)


class Layer(nn.Module):
    """A linear layer, then neurons."""

    def __init__(self, given: int, neurons: int, recurrent: bool, neuron: dict[str, Any]) -> None:
        super().__init__()
        self.linear = nn.Linear(given, neurons)
        self.act = RecurrentLIF(neurons, **neuron) if recurrent else LIF(**neuron)

    def forward(self, x: Tensor) -> Tensor:
        return torch.as_tensor(self.act(self.linear(x)))


class SignalNet(nn.Module):
    """Layers of LIF neurons over signals.

    Parameters
    ----------
    channels, classes, T : int
    hidden : sequence of int
        Neurons of each layer.
    recurrent : bool
        Whether each layer's spikes come back to it.
    **neuron
        Parameters of :class:`~seenn_deploy.training.models.neurons.LIF`.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        channels: int,
        classes: int,
        T: int,
        hidden: Sequence[int] = HIDDEN,
        recurrent: bool = False,
        **neuron: Any,
    ) -> None:
        super().__init__()
        self.T = T
        # Of the training signals; the compiler folds them into the first layer.
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("std", torch.ones(channels))
        sizes = zip([channels, *hidden], hidden, strict=False)
        self.layers = nn.Sequential(*(Layer(a, b, recurrent, neuron) for a, b in sizes))
        self.head = nn.Linear(hidden[-1], classes)

    @classmethod
    def named(
        cls, name: str, classes: int, channels: int, width: float, T: int, **neuron: Any
    ) -> SignalNet:
        """Build ``mlp`` or ``rnn``, of `width` times 128 neurons a layer."""
        hidden = [scaled(n, width) for n in HIDDEN]
        return cls(channels, classes, T, hidden, name == "rnn", **neuron)

    @property
    def retimed(self) -> list[nn.Module]:
        """The modules at whose input the number of timesteps may change, in order."""
        return list(self.layers)[1:]

    def standardize(self, samples: Tensor, length: Tensor | None) -> None:
        """Take mean and deviation of every channel from samples (N, T, C, ..) up to their ends."""
        x = samples.float().flatten(2)
        if length is not None:
            x = x[torch.arange(x.shape[1]) < length[:, None]]
        flat = x.reshape(-1, x.shape[-1])
        self.mean.copy_(flat.mean(0))
        # A channel that never changes carries nothing; it is left as it is.
        deviation = flat.std(0)
        self.std.copy_(torch.where(deviation > 0, deviation, torch.ones(())))

    def forward(self, x: Tensor) -> Tensor:
        """Map signals (N, T, C, ..), or one frame (N, C, 1, 1) shown T times, to (N, T, M)."""
        x = over_time(x, self.T) if x.ndim == 4 else x
        return torch.as_tensor(self.head(self.layers((x.flatten(2) - self.mean) / self.std)))
