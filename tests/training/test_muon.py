"""Muon, beside an oracle in float64 and beside AdamW."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from seenn_deploy.training.muon import Muon

LR, DECAY = 0.01, 0.1


def net() -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 6, 3, bias=False), nn.Flatten(),
        nn.Linear(6, 3),
    )  # fmt: skip


def gradients(model: nn.Module, seed: int) -> None:
    numbers = torch.Generator().manual_seed(seed)
    for p in model.parameters():
        p.grad = torch.randn(p.shape, generator=numbers)


def orthogonal(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Five iterations of x <- 3.4445 x - 4.775 (x x') x + 2.0315 (x x')^2 x, from Jordan's page."""
    x = matrix / np.linalg.norm(matrix)
    for _ in range(5):
        square = x @ x.T
        x = 3.4445 * x - 4.7750 * square @ x + 2.0315 * square @ square @ x
    return x


def test_two_steps_are_those_of_an_oracle() -> None:
    model = net()
    weight = model[2].weight.detach().numpy().astype(float).reshape(6, 36)
    momentum = np.zeros((6, 36))
    optimizer = Muon(model.parameters(), LR, DECAY)
    for seed in range(2):
        gradients(model, seed)
        assert model[2].weight.grad is not None
        g = model[2].weight.grad.numpy().astype(float).reshape(6, 36)
        momentum = 0.95 * momentum + 0.05 * g
        step = orthogonal(0.05 * g + 0.95 * momentum)
        optimizer.step()
        weight = weight * (1 - LR * DECAY) - LR * 0.2 * np.sqrt(36) * step
        # torch iterates in bfloat16, which keeps some 3 digits of a step.
        found = model[2].weight.detach().numpy().reshape(6, 36)
        np.testing.assert_allclose(found, weight, atol=0.02 * LR)


def test_all_else_takes_the_steps_of_adamw() -> None:
    ours, theirs = net(), net()
    optimizers = Muon(ours.parameters(), LR, DECAY), torch.optim.AdamW(
        theirs.parameters(), LR, weight_decay=DECAY
    )  # fmt: skip
    for model, optimizer in zip((ours, theirs), optimizers, strict=True):
        gradients(model, 5)
        optimizer.step()
        optimizer.zero_grad()
        assert all(p.grad is None for p in model.parameters())
    same = {
        name: bool((p == theirs.get_parameter(name)).all()) for name, p in ours.named_parameters()
    }
    assert [name for name, equal in same.items() if not equal] == ["2.weight"]


def test_channels_may_be_last_in_memory() -> None:
    plain, last = net(), net().to(memory_format=torch.channels_last)
    for model in (plain, last):
        optimizer = Muon(model.parameters(), LR, DECAY)
        gradients(model, 7)
        optimizer.step()
    assert last[2].weight.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(last[2].weight, plain[2].weight, atol=0.02 * LR, rtol=0)


def test_a_network_without_inner_layers_has_adamw_alone() -> None:
    model = nn.Linear(4, 2)
    optimizer = Muon(model.parameters(), LR, DECAY)
    gradients(model, 1)
    before = model.weight.clone()
    optimizer.step()
    assert len(optimizer.param_groups) == 1
    assert not torch.equal(model.weight, before)
