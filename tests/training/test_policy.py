from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor

from seenn_deploy.errors import ProgramError
from seenn_deploy.exits.policy import Policy
from seenn_deploy.exits.policy_network import forward, writing
from seenn_deploy.targets.lava.policy import lower
from seenn_deploy.training.data import Normalization
from seenn_deploy.training.policy import (
    PolicyModel,
    describe,
    entropy,
    expected_reward,
    joint_loss,
    rewards,
)

CHOICES = (1, 2, 4)


def problem(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Scores (6, 3), per-step logits (6, 4, 5) and labels."""
    random = torch.Generator().manual_seed(seed)
    scores = torch.randn(6, 3, generator=random, dtype=torch.float64)
    logits = torch.randn(6, 4, 5, generator=random, dtype=torch.float64)
    return scores, logits, torch.randint(0, 5, (6,), generator=random)


# --- reward and expectation ----------------------------------------------------------------------


def test_rewards_by_hand() -> None:
    z = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]])
    assert rewards(z, torch.tensor([0]), (1, 2, 3), 0.25).tolist() == [[0.5, -0.25, 0.125]]
    assert rewards(z, torch.tensor([1]), (2, 3), 2).tolist() == [[0.25, -2.0]]


def test_expected_reward_by_hand() -> None:
    scores = torch.tensor([[0.0, 0.0], [float(np.log(3)), 0.0]])
    worth = torch.tensor([[0.5, -1.0], [0.5, 0.25]])
    assert expected_reward(scores, worth).item() == pytest.approx((-0.25 + 0.4375) / 2)


def test_the_closed_form_gradient_equals_finite_differences() -> None:
    scores, logits, labels = problem()
    worth = rewards(logits.cumsum(1), labels, CHOICES, 0.5).double()
    assert torch.autograd.gradcheck(lambda s: expected_reward(s, worth), scores.requires_grad_())


def test_the_closed_form_gradient_is_what_sampled_actions_estimate() -> None:
    """REINFORCE: the mean of R_k grad log p_k over sampled k."""
    scores, logits, labels = problem(3)
    worth = rewards(logits.cumsum(1), labels, CHOICES, 0.5).double()
    scores.requires_grad_()
    (exact,) = torch.autograd.grad(expected_reward(scores, worth), scores)
    p, draws = scores.detach().softmax(1), 40_000
    random = torch.Generator().manual_seed(0)
    action = torch.multinomial(p, draws, replacement=True, generator=random)  # (N, draws)
    log_gradient = torch.eye(3, dtype=torch.float64)[action] - p[:, None]
    samples = worth.gather(1, action)[..., None] * log_gradient / len(scores)
    error = samples.std(dim=1) / draws**0.5
    assert ((samples.mean(dim=1) - exact).abs() <= 5 * error + 1e-12).all()
    assert exact.abs().max() > 0


def test_entropy_by_hand() -> None:
    scores = torch.tensor([[0.0, 0.0], [float(np.log(3)), 0.0], [200.0, 0.0]])
    by_hand = np.log(2) - (0.75 * np.log(0.75) + 0.25 * np.log(0.25))
    assert entropy(scores).item() == pytest.approx(by_hand / 3)


def test_with_entropy_the_best_scores_are_the_rewards_over_its_weight() -> None:
    worth = torch.tensor([[0.5, -1.0, 0.125]])
    scores = torch.zeros(1, 3, requires_grad=True)
    for _ in range(400):
        loss = -expected_reward(scores, worth) - 0.5 * entropy(scores)
        (gradient,) = torch.autograd.grad(loss, scores)
        scores = (scores - 2 * gradient).detach().requires_grad_()
    torch.testing.assert_close(scores.softmax(1), (worth / 0.5).softmax(1), atol=1e-3, rtol=0)


def test_joint_loss_by_its_definition() -> None:
    scores, logits, labels = problem(5)
    expected = 0.0
    z = logits.cumsum(1)
    for i in range(len(labels)):
        p = scores[i].softmax(0)
        for j, k in enumerate(CHOICES):
            right = int(z[i, k - 1].argmax()) == int(labels[i])
            entropy = -(z[i, k - 1] / k).log_softmax(0)[labels[i]]
            expected += float(p[j] * (2 * entropy - (2.0**-k if right else -0.5))) / len(labels)
    found = joint_loss(scores, logits, labels, CHOICES, 0.5, weight=2)
    assert found.item() == pytest.approx(expected)


def test_joint_loss_trains_both_networks_each_by_its_own_part() -> None:
    scores, logits, labels = problem(6)
    scores.requires_grad_()
    logits.requires_grad_()
    joint_loss(scores, logits, labels, CHOICES, 0.5).backward()
    worth = rewards(logits.detach().cumsum(1), labels, CHOICES, 0.5).double()
    alone = scores.detach().clone().requires_grad_()
    (-expected_reward(alone, worth)).backward()
    assert scores.grad is not None and alone.grad is not None and logits.grad is not None
    torch.testing.assert_close(scores.grad, alone.grad)
    assert logits.grad.abs().sum() > 0


# --- the network as ONNX -------------------------------------------------------------------------


def trained(normalization: Normalization | None = None, size: int = 8, **options: Any) -> Any:
    """A policy with batch norms that do something, and images for it."""
    torch.manual_seed(2)
    model = PolicyModel(CHOICES, 3, normalization, **options)
    for _ in range(3):
        model.train()(torch.rand(16, 3, size, size))
    return model.eval(), torch.rand(5, 3, size, size, generator=torch.Generator().manual_seed(7))


@pytest.mark.parametrize(
    "normalization", [Normalization(), Normalization((0.4, 0.5, 0.6), (0.2, 0.3, 0.4))]
)
def test_onnx_and_description_equal_torch(tmp_path: Path, normalization: Normalization) -> None:
    model, images = trained(normalization)
    expected = model(images).detach().numpy()
    network = describe(model)
    np.testing.assert_allclose(network.scores(images.numpy()), expected, rtol=1e-4, atol=1e-5)
    path = tmp_path / "policy.onnx"
    path.write_bytes(writing.to_onnx(network, (3, 8, 8), classes=10, T=4))
    session = onnxruntime.InferenceSession(path)
    (found,) = session.run(["scores"], {"image": images.numpy()})
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    back = lower(Policy(path))  # what the Lava bundle runs
    assert back is not None and back.choices == CHOICES
    np.testing.assert_allclose(back.scores(images.numpy()), expected, rtol=1e-4, atol=1e-5)
    assert expected.std() > 0


def test_its_macs_are_the_paper_s_share_of_resnet19() -> None:
    model = PolicyModel((1, 2, 3, 4))
    sizes = forward.layer_sizes(describe(model.eval()), (3, 32, 32))
    # the paper's ResNet-8 ends in 10 scores, this one in a score a choice: 64 x 4, not 64 x 10
    assert sum(macs for _, _, macs in sizes) == 12_501_632 - 64 * 6
    assert sizes[0] == (16 * 27, 16 * 32 * 32, 16 * 32 * 32 * 27)
    assert len(sizes) == 1 + 2 * 3 + 2 + 1


def test_a_narrow_policy_costs_about_the_square_of_its_width() -> None:
    whole, narrow = (
        sum(
            macs
            for _, _, macs in forward.layer_sizes(
                describe(PolicyModel((1, 2), width=width).eval()), (3, 32, 32)
            )
        )
        for width in (1.0, 0.25)
    )
    assert whole / 16 < narrow < whole / 12


def test_choices_are_checked() -> None:
    with pytest.raises(ProgramError, match="width = 0"):
        PolicyModel((1, 2), width=0)
    for choices in ((), (0, 1)):
        with pytest.raises(ProgramError, match="choices"):
            PolicyModel(choices)
