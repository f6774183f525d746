from __future__ import annotations

from math import exp, log

import pytest
import torch

from seenn_deploy.training.tet import tet_loss


def test_one_sample_by_hand() -> None:
    logits = torch.tensor([[[1.0, 0.0], [0.0, 3.0]]])
    entropies = log(1 + exp(-1)), log(1 + exp(3))
    squares = (0 + 1 + 1 + 4) / 4  # around means = 1
    expected = 0.9 * sum(entropies) / 2 + 0.1 * squares
    assert tet_loss(logits, torch.tensor([0]), weight=0.1).item() == pytest.approx(expected)


def test_every_step_learns_its_own_label_and_not_the_sum() -> None:
    logits = torch.tensor([[[9.0, 0.0], [0.0, 9.0]], [[0.0, 9.0], [9.0, 0.0]]])
    assert tet_loss(logits, torch.tensor([0, 1]), weight=0).item() == pytest.approx(4.5, abs=1e-3)


@pytest.mark.parametrize("weight", [0.0, 1e-3, 0.5])
def test_gradient_equals_finite_differences(weight: float) -> None:
    torch.manual_seed(1)
    logits = torch.randn(3, 4, 5, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([4, 0, 2])
    assert torch.autograd.gradcheck(lambda z: tet_loss(z, labels, weight, 0.7), (logits,))
