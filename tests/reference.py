"""SEENN's networks in torch, step by step, straight from a state_dict: nothing is folded.

Written from the equations of SEENN's modules (convolution, batch norm with running statistics,
average pool, LIF), with ``torch.nn.functional`` alone. Populations carry the frontend's names.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

State = dict[str, Tensor]

CIFAR10_MEAN = (0.4914, 0.4822, 0.4465)
CIFAR10_STD = (0.2023, 0.1994, 0.2010)


@dataclass
class Record:
    """Accumulated logits (N, T, M); by population, arrays (N, T, ...) of s and v before reset."""

    logits: np.ndarray
    spikes: dict[str, np.ndarray]
    before_reset: dict[str, np.ndarray]


@dataclass
class Neurons:
    """Membranes of all populations, kept from one step to the next.

    With `forced`, (N, T, ...) by population, neurons spike as told: v before reset is then what the
    equations give after exactly this history.
    """

    tau: float = 0.5
    threshold: float = 1.0
    comparison: str = ">"
    forced: dict[str, np.ndarray] | None = None
    membrane: dict[str, Tensor] = field(default_factory=dict)
    seen: dict[str, list[tuple[Tensor, Tensor]]] = field(default_factory=dict)

    def lif(self, name: str, current: Tensor) -> Tensor:
        before = self.membrane.get(name, torch.zeros_like(current)) * self.tau + current
        over = before - self.threshold
        spike = (over > 0 if self.comparison == ">" else over >= 0).to(current.dtype)
        seen = self.seen.setdefault(name, [])
        if self.forced is not None:
            spike = torch.as_tensor(self.forced[name][:, len(seen)]).to(current.dtype)
        self.membrane[name] = (1 - spike) * before
        seen.append((spike, before))
        return spike


def batch_norm(state: State, prefix: str, x: Tensor) -> Tensor:
    return functional.batch_norm(
        x,
        state[f"{prefix}.running_mean"],
        state[f"{prefix}.running_var"],
        state[f"{prefix}.weight"],
        state[f"{prefix}.bias"],
        training=False,
        eps=1e-5,
    )


def conv(state: State, prefix: str, x: Tensor, stride: int = 1, padding: int = 1) -> Tensor:
    return functional.conv2d(
        x, state[f"{prefix}.weight"], state.get(f"{prefix}.bias"), stride=stride, padding=padding
    )


@dataclass
class Ops:
    """What a forward step uses; checkpoints.py puts calibrating versions in place."""

    conv: Callable[..., Tensor] = conv
    batch_norm: Callable[[State, str, Tensor], Tensor] = batch_norm


def resnet(state: State, x: Tensor, neurons: Neurons, ops: Ops) -> Tensor:
    """One step of SEENN's ResNet with ``PreActBasicBlock``; returns this step's logits."""
    x = neurons.lif("spike", ops.batch_norm(state, "bn.bn", ops.conv(state, "conv1", x)))
    stage = 1
    while f"layer{stage}.0.conv1.module.weight" in state:
        block = 0
        while f"layer{stage}.{block}.conv1.module.weight" in state:
            stride = 2 if stage > 1 and block == 0 else 1
            x = _pre_act_basic_block(state, f"layer{stage}.{block}", x, stride, neurons, ops)
            block += 1
        stage += 1
    return functional.linear(
        x.mean(dim=(2, 3)), state["fc1.module.weight"], state["fc1.module.bias"]
    )


def _pre_act_basic_block(
    state: State, name: str, x: Tensor, stride: int, neurons: Neurons, ops: Ops
) -> Tensor:
    residual = x
    if f"{name}.downsample.1.module.weight" in state:
        residual = functional.avg_pool2d(x, stride)
        residual = ops.conv(state, f"{name}.downsample.1.module", residual, padding=0)
        residual = ops.batch_norm(state, f"{name}.downsample.2.bn", residual)
    out = ops.conv(state, f"{name}.conv1.module", x, stride=stride)
    out = neurons.lif(f"{name}.spike1", ops.batch_norm(state, f"{name}.bn1.bn", out))
    out = ops.batch_norm(state, f"{name}.bn2.bn", ops.conv(state, f"{name}.conv2.module", out))
    return neurons.lif(f"{name}.spike2", out + residual)


def vgg(state: State, x: Tensor, neurons: Neurons, ops: Ops) -> Tensor:
    """One step of SEENN's VGG: an index of ``features`` without tensors is a LIF or a pool."""
    convolutions = [i for i in range(200) if f"features.{i}.module.weight" in state]
    for at, i in enumerate(convolutions):
        x = ops.conv(state, f"features.{i}.module", x)
        lif = i + 1
        if f"features.{i + 1}.bn.weight" in state:
            x = ops.batch_norm(state, f"features.{i + 1}.bn", x)
            lif = i + 2
        x = neurons.lif(f"features.{lif}", x)
        if at + 1 < len(convolutions) and convolutions[at + 1] == lif + 2:
            x = functional.avg_pool2d(x, 2, 2)
    x = x.mean(dim=(2, 3))
    return functional.linear(
        x, state["classifier.0.module.weight"], state["classifier.0.module.bias"]
    )


def vggsnn(state: State, x: Tensor, neurons: Neurons, ops: Ops) -> Tensor:
    """One step of VGGSNN: an average pool after layers 1, 4, 7 and 10."""
    for i in (0, 1, 3, 4, 6, 7, 9, 10):
        x = _layer(state, i, x, 1, neurons, ops)
        if i in {1, 4, 7, 10}:
            x = functional.avg_pool2d(x, 2)
    return functional.linear(
        x.flatten(1), state["classifier.module.weight"], state["classifier.module.bias"]
    )


def vggsnn_woap(state: State, x: Tensor, neurons: Neurons, ops: Ops) -> Tensor:
    """One step of VGGSNNwoAP: strides 1, 2, 1, 2, .. and no pool."""
    for i in range(8):
        x = _layer(state, i, x, 1 + i % 2, neurons, ops)
    return functional.linear(
        x.flatten(1), state["classifier.module.weight"], state["classifier.module.bias"]
    )


def _layer(state: State, i: int, x: Tensor, stride: int, neurons: Neurons, ops: Ops) -> Tensor:
    x = ops.conv(state, f"features.{i}.fwd.module.0", x, stride=stride)
    return neurons.lif(f"features.{i}", ops.batch_norm(state, f"features.{i}.fwd.module.1", x))


Step = Callable[[State, Tensor, Neurons, Ops], Tensor]


def forward(
    step: Step,
    state: State,
    images: np.ndarray,
    T: int,
    *,
    dtype: torch.dtype = torch.float32,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    neurons: Neurons | None = None,
    ops: Ops | None = None,
) -> Record:
    """Run a network T steps.

    Parameters
    ----------
    step : `resnet`, `vgg`, `vggsnn` or `vggsnn_woap`
    images : array (N, C, H, W), the same at every step, or events (N, T, C, H, W)
    mean, std : one number per channel, optional
        Normalisation ``(x - mean) / std``.
    """
    neurons, ops = neurons or Neurons(), ops or Ops()
    state = {k: v.to(dtype) if v.is_floating_point() else v for k, v in state.items()}
    x = torch.as_tensor(np.ascontiguousarray(images)).to(dtype)
    if mean is not None and std is not None:
        x = (x - _per_channel(mean, dtype)) / _per_channel(std, dtype)
    logits = []
    with torch.no_grad():
        for t in range(T):
            frame = x if x.ndim == 4 else x[:, t]
            logits.append(step(state, frame, neurons, ops))
    z = torch.stack(logits, dim=1).cumsum(dim=1)
    spikes, before = (
        {
            name: torch.stack([pair[k] for pair in seen], dim=1).numpy()
            for name, seen in neurons.seen.items()
        }
        for k in (0, 1)
    )
    return Record(z.numpy(), spikes, before)


def _per_channel(values: tuple[float, ...], dtype: torch.dtype) -> Tensor:
    return torch.tensor(values, dtype=dtype)[:, None, None]


def load(path: str) -> State:
    """A state_dict from disk."""
    state: State = torch.load(path, map_location="cpu", weights_only=True)
    return state
