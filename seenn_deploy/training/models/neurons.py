"""Leaky integrate-and-fire neurons with surrogate gradients."""

from __future__ import annotations

from math import tanh
from typing import Any, Literal

import torch
from torch import Tensor, nn

from seenn_deploy.errors import ModelError

SURROGATES = ("triangle", "dspike")


class _Triangle(torch.autograd.Function):
    """A spike above 0, whose gradient is a triangle of area 1 and half-width gamma around 0."""

    @staticmethod
    def forward(ctx: Any, over: Tensor, gamma: float) -> Tensor:
        ctx.save_for_backward(over)
        ctx.gamma = gamma
        return (over > 0).to(over.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (over,) = ctx.saved_tensors
        slope = (ctx.gamma - over.abs()).clamp(min=0) / ctx.gamma**2
        return grad * slope, None


class _Dspike(torch.autograd.Function):
    """A spike from 0 on, whose gradient is that of a tanh scaled to run from 0 to 1."""

    @staticmethod
    def forward(ctx: Any, over: Tensor, gamma: float) -> Tensor:
        ctx.save_for_backward(over)
        ctx.gamma = gamma
        return (over >= 0).to(over.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (over,), gamma = ctx.saved_tensors, ctx.gamma
        slope = gamma * (1 - torch.tanh(gamma * over) ** 2) / (2 * tanh(gamma**2))
        return grad * torch.where(over.abs() <= gamma, slope, torch.zeros_like(slope)), None


class LIF(nn.Module):
    """Leaky integrate-and-fire neurons with hard reset (design, section 2).

    ``v' = tau v + a;  s = v' > V;  v = (1 - s) v'``. The gradient also runs through the reset, as
    in SEENN.

    Parameters
    ----------
    tau, v_threshold : float
    surrogate : 'triangle' or 'dspike'
        Slope of s in x = v' - V. 'triangle': ``max(0, gamma - |x|) / gamma^2`` (SEENN's ZIF, from
        TET, arXiv 2202.11946). 'dspike': ``gamma (1 - tanh(gamma x)^2) / (2 tanh(gamma^2))`` for
        \\|x\\| <= gamma (Li et al., NeurIPS 2021); these neurons spike at ``v' >= V``.
    gamma : float
        Half-width of the triangle, or temperature and range of dspike. SEENN takes 1 and 3.
    """

    def __init__(
        self,
        tau: float = 0.5,
        v_threshold: float = 1.0,
        surrogate: Literal["triangle", "dspike"] = "triangle",
        gamma: float | None = None,
    ) -> None:
        super().__init__()
        if surrogate not in SURROGATES:
            raise ModelError(f"surrogate {surrogate!r}; there are {', '.join(SURROGATES)}")
        self.tau, self.v_threshold, self.surrogate = tau, v_threshold, surrogate
        self.gamma = gamma if gamma is not None else (3.0 if surrogate == "dspike" else 1.0)
        self._spike: Any = _Dspike.apply if surrogate == "dspike" else _Triangle.apply

    def forward(self, current: Tensor) -> Tensor:
        """Return the spikes (N, T, ...) that input currents (N, T, ...) cause."""
        v = torch.zeros_like(current[:, 0])
        spikes = []
        for a in current.unbind(1):
            v = self.tau * v + a
            s = self._spike(v - self.v_threshold, self.gamma)
            v = (1 - s) * v  # not detached: SEENN's gradient runs through the reset
            spikes.append(s)
        return torch.stack(spikes, dim=1)

    def extra_repr(self) -> str:
        return f"tau={self.tau}, v_threshold={self.v_threshold}, {self.surrogate} {self.gamma}"
