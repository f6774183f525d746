"""SEENN-II: a policy network learns from the rewards of every timestep (arXiv 2304.01230, 3.3).

An action is a number of timesteps k. Its reward is 2^-k when the network is right at k, and -beta
when it is wrong. The paper samples actions. Here the network's logits are known at every timestep,
so every action's reward is known too, and the expectation over actions and its gradient are exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from seenn_deploy.errors import ProgramError
from seenn_deploy.exits.policy_network.forward import Operation, PolicyNetwork
from seenn_deploy.ir.maps import batch_norm
from seenn_deploy.training.data import Normalization
from seenn_deploy.training.models.layers import PerStep, StepBatchNorm, scaled
from seenn_deploy.training.models.resnet import BasicBlock, ResNet, resnets


def rewards(logits: Tensor, labels: Tensor, choices: Sequence[int], beta: float) -> Tensor:
    """Return the reward of each action for each sample.

    Parameters
    ----------
    logits : Tensor (N, T, M)
        Logits accumulated over timesteps 1..t, like those of a run.
    labels : int64 Tensor (N,)
    choices : K timesteps
    beta : float
        Cost of a wrong answer.

    Returns
    -------
    float32 Tensor (N, K)
        2^-k where the prediction at k is right, -beta elsewhere.
    """
    at = torch.tensor(list(choices))
    right = logits[:, at - 1].argmax(dim=2) == labels[:, None]
    return torch.where(right, 2.0 ** -at.float(), torch.tensor(-float(beta)))


def expected_reward(scores: Tensor, worth: Tensor) -> Tensor:
    """Return the policy's mean reward, ``mean_x sum_k softmax(scores)_k R_k(x)``.

    Its gradient is what REINFORCE estimates, without the noise of sampled actions.

    Parameters
    ----------
    scores, worth : Tensors (N, K)
    """
    return (scores.softmax(dim=1) * worth).sum(dim=1).mean()


def entropy(scores: Tensor) -> Tensor:
    """Return the mean entropy of the choice in nats, which ``--entropy`` rewards.

    Maximising ``reward + weight entropy`` ends in softmax(R / weight) and not in a saturated
    softmax, which has no gradient. The action with the best score stays that of the largest reward.

    Parameters
    ----------
    scores : Tensor (N, K)
    """
    log_p = scores.log_softmax(dim=1)
    return -(log_p.exp() * log_p).sum(dim=1).mean()


def joint_loss(
    scores: Tensor,
    logits: Tensor,
    labels: Tensor,
    choices: Sequence[int],
    beta: float,
    weight: float = 1.0,
) -> Tensor:
    """Return the loss of policy and spiking network that are trained together.

    The policy maximises its expected reward. The network minimises the cross-entropy at the
    timesteps that the policy picks, ``weight sum_k p_k CE(z[k] / k, y)`` with p held fixed.

    Parameters
    ----------
    scores : Tensor (N, K)
    logits : Tensor (N, T, M)
        Logits of each timestep, not accumulated.
    labels : int64 Tensor (N,)
    choices : K timesteps
    beta, weight : float
    """
    z = logits.cumsum(dim=1)
    worth = rewards(z.detach(), labels, choices, beta).to(scores)
    at = torch.tensor(list(choices), device=logits.device)
    mean = z[:, at - 1] / at[:, None]
    entropy = functional.cross_entropy(
        mean.flatten(0, 1), labels.repeat_interleave(len(at)), reduction="none"
    ).view(len(labels), -1)
    # Held fixed: otherwise the policy would learn to pick easy timesteps instead of good ones.
    picked = scores.detach().softmax(dim=1)
    return weight * (picked * entropy).sum(dim=1).mean() - expected_reward(scores, worth)


class PolicyModel(nn.Module):
    """SEENN's policy network: ResNet-8 with ReLU, 16-32-64 channels and one score per choice.

    Parameters
    ----------
    choices : K timesteps
    in_channels : int
    normalization : Normalization
        Normalisation that is applied first, so that the policy takes the program's own input.
    channels : sequence of one number per stage, optional
        Channels of the residual stages, groups of blocks that work at one resolution.
    width : float
        Factor on the channels. The paper's policy is small beside its 128-256-512 network; beside
        a small network only a small policy saves energy.
    """

    def __init__(
        self,
        choices: Sequence[int],
        in_channels: int = 3,
        normalization: Normalization | None = None,
        channels: Sequence[int] | None = None,
        width: float = 1.0,
    ) -> None:
        super().__init__()
        if width <= 0:
            raise ProgramError(f"policy width = {width}; it must be above 0")
        if not choices or min(choices) < 1:
            raise ProgramError(f"policy choices {tuple(choices)}: give numbers of timesteps from 1")
        # The paper's policy network, of the same family as the spiking networks beside it.
        row, blocks = resnets()["resnet8"]
        self.choices = tuple(choices)
        self.normalization = normalization or Normalization()
        self.net = ResNet(
            [scaled(c, width) for c in channels or row],
            blocks,
            len(choices),
            in_channels,
            1,
            neuron=nn.ReLU,
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return the scores (N, K) of images (N, C, H, W)."""
        current = self.net.conv1(self.normalization.apply(images))
        return torch.as_tensor(self.net.fc1(self.net.features(current)))


def describe(model: PolicyModel) -> PolicyNetwork:
    """Return the network as plain arrays, with batch norms folded in float64, for ONNX and Lava."""
    net, found = model.net, _Description()
    last = 0
    if model.normalization.mean is not None and model.normalization.std is not None:
        both = (model.normalization.mean, model.normalization.std)
        mean, std = (np.asarray(v, np.float64)[:, None, None] for v in both)
        last = found.add("affine", (0,), {"scale": 1 / std, "shift": -mean / std})
    last = found.relu(found.conv(last, net.conv1, net.bn))
    for stage in net.rows:
        for block in cast(nn.Sequential, stage):
            last = _describe_block(found, last, cast(BasicBlock, block))
    last = found.add("average", (last,), {})
    linear = cast(nn.Linear, net.fc1.module)
    found.add("dense", (last,), {"weight": _array(linear.weight), "bias": _array(linear.bias)})
    return PolicyNetwork(tuple(found.operations), model.choices)


def _describe_block(found: _Description, x: int, block: BasicBlock) -> int:
    inner = found.relu(found.conv(x, _conv(block.conv1), block.bn1))
    main, shortcut = found.conv(inner, _conv(block.conv2), block.bn2), x
    if hasattr(block, "downsample"):
        _, conv, norm = block.downsample
        if block.stride > 1:
            shortcut = found.add("average", (x,), {}, {"kernel": block.stride})
        shortcut = found.conv(shortcut, _conv(cast(PerStep, conv)), cast(StepBatchNorm, norm))
    return found.relu(found.add("add", (main, shortcut), {}))


class _Description:
    """A growing list of operations; every method appends some and returns the result's number."""

    def __init__(self) -> None:
        self.operations: list[Operation] = []

    def add(
        self,
        kind: str,
        of: tuple[int, ...],
        arrays: dict[str, NDArray[np.float64]],
        options: dict[str, int] | None = None,
    ) -> int:
        self.operations.append(Operation(kind, of, arrays, options or {}))
        return len(self.operations)  # results count from 1, because 0 is the image

    def relu(self, x: int) -> int:
        return self.add("relu", (x,), {})

    def conv(self, x: int, conv: nn.Conv2d, norm: StepBatchNorm) -> int:
        bn = norm.bn
        if bn.running_mean is None or bn.running_var is None:
            raise ProgramError("a batch norm without running statistics cannot be folded")
        parts = (bn.weight, bn.bias, bn.running_mean, bn.running_var)
        gamma, beta, mean, var = (_array(part) for part in parts)
        # In float64, so that the ONNX file and Lava's source differ from torch by one rounding
        # alone.
        affine = batch_norm(gamma, beta, mean, var, bn.eps)
        weight = _array(conv.weight) * affine.scale[:, None, None, None]
        options = {"stride": int(conv.stride[0]), "padding": int(conv.padding[0])}
        return self.add("conv2d", (x,), {"weight": weight, "bias": affine.shift}, options)


def _conv(step: PerStep) -> nn.Conv2d:
    return cast(nn.Conv2d, step.module)


def _array(tensor: Tensor) -> NDArray[np.float64]:
    return np.asarray(tensor.detach().double().cpu().numpy(), np.float64)
