"""The gradient of the neurons, in closed form, beside that of plain autograd."""

from __future__ import annotations

from math import tanh
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from seenn_deploy.training.models.neurons import LIF


class Spike(torch.autograd.Function):
    """One timestep's spikes; autograd does the rest of the oracle."""

    @staticmethod
    def forward(ctx: Any, over: Tensor, kind: str, gamma: float) -> Tensor:
        ctx.save_for_backward(over)
        ctx.how = kind, gamma
        return (over > 0 if kind == "triangle" else over >= 0).to(over.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (x,), (kind, gamma) = ctx.saved_tensors, ctx.how
        if kind == "triangle":
            slope = torch.relu(gamma - x.abs()) / gamma**2
        else:
            inside = (x.abs() <= gamma).to(x.dtype)
            slope = inside * gamma * (1 - torch.tanh(gamma * x) ** 2) / (2 * tanh(gamma**2))
        return grad * slope, None, None


def plain(currents: Tensor, tau: float, threshold: float, kind: str, gamma: float) -> Tensor:
    v, found = torch.zeros_like(currents[:, 0]), []
    for t in range(currents.shape[1]):
        v = tau * v + currents[:, t]
        s = Spike.apply(v - threshold, kind, gamma)
        v = (1 - s) * v
        found.append(s)
    return torch.stack(found, dim=1)


@given(
    shape=st.lists(st.integers(1, 4), min_size=2, max_size=5),
    tau=st.floats(0, 1),
    threshold=st.floats(0.25, 2),
    kind=st.sampled_from(["triangle", "dspike"]),
    gamma=st.floats(0.5, 3),
    channels_last=st.booleans(),
    seed=st.integers(0, 99),
)
@settings(max_examples=60)
def test_spikes_and_gradients_are_those_of_plain_autograd(
    shape: list[int], tau: float, threshold: float, kind: Any, gamma: float, channels_last: bool,
    seed: int,
) -> None:  # fmt: skip
    torch.manual_seed(seed)
    one = 2 * torch.randn(shape, dtype=torch.float64)
    if channels_last and len(shape) == 5:
        one = one.flatten(0, 1).contiguous(memory_format=torch.channels_last).unflatten(
            0, shape[:2]
        )  # fmt: skip
    weight, two = torch.randn_like(one), one.clone()
    one.requires_grad_()
    two.requires_grad_()
    ours = LIF(tau, threshold, kind, gamma)(one)
    theirs = plain(two, tau, threshold, kind, gamma)
    assert torch.equal(ours, theirs)
    (ours * weight).sum().backward()
    (theirs * weight).sum().backward()
    assert one.grad is not None and two.grad is not None
    torch.testing.assert_close(one.grad, two.grad, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("T", [1, 6])
def test_float32_gradients_are_equal_within_rounding(T: int) -> None:
    torch.manual_seed(T)
    one = torch.randn(8, T, 4, 5, 5, requires_grad=True)
    two = one.detach().clone().requires_grad_()
    weight = torch.randn_like(one)
    (LIF()(one) * weight).sum().backward()
    (plain(two, 0.5, 1.0, "triangle", 1.0) * weight).sum().backward()
    assert one.grad is not None and two.grad is not None and one.grad.abs().max() > 0.1
    torch.testing.assert_close(one.grad, two.grad, rtol=1e-6, atol=1e-6)


def test_potentials_of_bfloat16_currents_are_float32() -> None:
    # In bfloat16, 1 + 1/256 is 1: the neuron would not spike in its second timestep.
    currents = torch.tensor([[1.0, 0.50390625]], dtype=torch.bfloat16)
    spikes = LIF(tau=0.5, v_threshold=1.0)(currents)
    assert spikes.dtype == torch.bfloat16
    assert spikes.tolist() == [[0.0, 1.0]]
