"""Leaky integrate-and-fire neurons with surrogate gradients."""

from __future__ import annotations

from math import tanh
from typing import Any, Literal

import torch
from torch import Tensor, nn

from seenn_deploy.errors import ModelError

SURROGATES = ("triangle", "dspike")


class _Steps(torch.autograd.Function):
    """All timesteps of a layer, with a gradient in closed form.

    One function, and not an autograd graph of five operations per timestep: it keeps the currents
    alone, from which the potentials are computed again, and a compiler makes one loop of it.
    Potentials are at least float32, also where currents are bfloat16.
    """

    @staticmethod
    def forward(
        ctx: Any, currents: Tensor, tau: float, v_threshold: float, surrogate: str, gamma: float
    ) -> Tensor:
        ctx.save_for_backward(currents)
        ctx.neuron = tau, v_threshold, surrogate, gamma
        over = _potentials(currents, tau, v_threshold, surrogate)
        fired = [_fires(v, surrogate).to(currents.dtype) for v in over]
        return torch.stack(fired, dim=1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None, None]:
        (currents,) = ctx.saved_tensors
        tau, v_threshold, surrogate, gamma = ctx.neuron
        over = _potentials(currents, tau, v_threshold, surrogate)
        # With v = (1 - s) v' and s a function of v':  dL/dv'[t] = dL/ds[t] s' + tau dL/dv'[t + 1]
        # (1 - s - v' s'), where s' is the surrogate's slope; and dL/da[t] = dL/dv'[t].
        found: list[Tensor] = []
        later = torch.zeros_like(over[0])
        for t in reversed(range(len(over))):
            slope, fired = _slope(over[t], surrogate, gamma), _fires(over[t], surrogate)
            through = (grad[:, t] - later * (over[t] + v_threshold)) * slope
            here = through + later.masked_fill(fired, 0)
            found.append(here.to(currents.dtype))
            later = tau * here
        return torch.stack(found[::-1], dim=1), None, None, None, None


class _Spike(torch.autograd.Function):
    """One spike, whose slope is the surrogate's."""

    @staticmethod
    def forward(ctx: Any, over: Tensor, surrogate: str, gamma: float) -> Tensor:
        ctx.save_for_backward(over)
        ctx.neuron = surrogate, gamma
        return _fires(over, surrogate).to(over.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (over,) = ctx.saved_tensors
        return grad * _slope(over, *ctx.neuron), None, None


def spike(over: Tensor, surrogate: str, gamma: float) -> Tensor:
    """Return 1 where a neuron spikes whose potential is `over` above its threshold, else 0."""
    apply: Any = _Spike.apply
    return torch.as_tensor(apply(over, surrogate, gamma))


def _potentials(currents: Tensor, tau: float, v_threshold: float, surrogate: str) -> list[Tensor]:
    """Return v' - V of each timestep, before the reset."""
    whole = torch.promote_types(currents.dtype, torch.float32)
    v = torch.zeros_like(currents[:, 0], dtype=whole)
    found = []
    for a in currents.unbind(1):
        v = tau * v + a
        found.append(v - v_threshold)
        v = v.masked_fill(_fires(found[-1], surrogate), 0)
    return found


def remaining(layer: LIF, currents: Tensor) -> Tensor:
    """Return ``max(0, v)`` of each timestep, (N, T, ...), from a layer's currents of that shape.

    v is the potential that the reset leaves. The gradient runs through the potential, and not
    through the decision to spike.
    """
    over = _potentials(currents, layer.tau, layer.v_threshold, layer.surrogate)
    left = [(o + layer.v_threshold).masked_fill(_fires(o, layer.surrogate), 0) for o in over]
    return torch.stack(left, dim=1).relu()


def _fires(over: Tensor, surrogate: str) -> Tensor:
    return over >= 0 if surrogate == "dspike" else over > 0


def _slope(over: Tensor, surrogate: str, gamma: float) -> Tensor:
    """Return the slope that stands for that of a spike, in the potential above the threshold."""
    if surrogate == "triangle":
        return (gamma - over.abs()).clamp(min=0) / gamma**2
    slope = gamma * (1 - torch.tanh(gamma * over) ** 2) / (2 * tanh(gamma**2))
    return slope.masked_fill(over.abs() > gamma, 0)


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

    def forward(self, current: Tensor) -> Tensor:
        """Return the spikes (N, T, ...) that input currents (N, T, ...) cause."""
        apply: Any = _Steps.apply
        # Neurons in the order of memory, with channels behind pixels or before them: a compiler
        # would else write timesteps of images in an order that no layer reads without a copy.
        last = current.ndim == 5 and current[:, 0].is_contiguous(memory_format=torch.channels_last)
        ordered = current.movedim(2, -1) if last else current
        flat = ordered.flatten(2) if current.ndim > 2 else current
        spikes = apply(flat, self.tau, self.v_threshold, self.surrogate, self.gamma)
        shaped = torch.as_tensor(spikes).view(ordered.shape)
        return shaped.movedim(-1, 2) if last else shaped

    def extra_repr(self) -> str:
        return f"tau={self.tau}, v_threshold={self.v_threshold}, {self.surrogate} {self.gamma}"
