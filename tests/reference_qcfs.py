"""SEENN's QCFS networks in torch, as ANNs and converted, straight from a state_dict.

Written from the equations, in SEENN's own form: currents are divided by the layer's threshold,
membranes start at 1/2, spikes are compared with 1 and carry the threshold. Nothing is folded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from tests.reference import State, batch_norm, conv

Activation = Callable[[str, Tensor], Tensor]


@dataclass
class ScaledIF:
    """IF neurons of all layers; v before reset is kept in units of the current.

    With `forced`, (N, T, ...) by population, neurons spike as told.
    """

    state: State
    forced: dict[str, np.ndarray] | None = None
    membrane: dict[str, Tensor] = field(default_factory=dict)
    seen: dict[str, list[tuple[Tensor, Tensor]]] = field(default_factory=dict)

    def __call__(self, name: str, current: Tensor) -> Tensor:
        up = self.state[f"{name}.up"]
        before = self.membrane.get(name, torch.full_like(current, 0.5)) + current / up
        spike = (before > 1).to(current.dtype)
        seen = self.seen.setdefault(name, [])
        if self.forced is not None:
            spike = torch.as_tensor(self.forced[name][:, len(seen)]).to(current.dtype)
        self.membrane[name] = before - spike
        seen.append((spike, before * up))
        return spike * up


@dataclass
class Floor:
    """QCFS: ``up clip(floor(L z / up + 1/2) / L, 0, 1)``; z and the result are kept."""

    state: State
    levels: int
    sums: dict[str, Tensor] = field(default_factory=dict)
    seen: dict[str, Tensor] = field(default_factory=dict)

    def __call__(self, name: str, z: Tensor) -> Tensor:
        up = self.state[f"{name}.up"]
        level = torch.floor(z / up * self.levels + 0.5) / self.levels
        self.sums[name], self.seen[name] = z, level.clamp(0, 1) * up
        return self.seen[name]


def resnet(state: State, x: Tensor, act: Activation) -> Tensor:
    """``ResNet4Cifar`` and, with more stages, ``ResNet``; basic blocks."""
    x = act("conv1.2", batch_norm(state, "conv1.1", conv(state, "conv1.0", x)))
    stage = 2
    while f"conv{stage}_x.0.relu.up" in state:
        block = 0
        while f"conv{stage}_x.{block}.relu.up" in state:
            stride = 2 if stage > 2 and block == 0 else 1
            x = _block(state, f"conv{stage}_x.{block}", x, stride, act)
            block += 1
        stage += 1
    return functional.linear(x.mean(dim=(2, 3)), state["fc.weight"], state["fc.bias"])


def _block(state: State, name: str, x: Tensor, stride: int, act: Activation) -> Tensor:
    main = f"{name}.residual_function"
    shortcut = x
    if f"{name}.shortcut.0.weight" in state:
        shortcut = conv(state, f"{name}.shortcut.0", x, stride=stride, padding=0)
        shortcut = batch_norm(state, f"{name}.shortcut.1", shortcut)
    if f"{main}.6.weight" in state:  # bottleneck
        y = batch_norm(state, f"{main}.1", conv(state, f"{main}.0", x, padding=0))
        y = conv(state, f"{main}.3", act(f"{main}.2", y), stride=stride)
        y = act(f"{main}.5", batch_norm(state, f"{main}.4", y))
        y = batch_norm(state, f"{main}.7", conv(state, f"{main}.6", y, padding=0))
    else:
        y = batch_norm(state, f"{main}.1", conv(state, f"{main}.0", x, stride=stride))
        y = conv(state, f"{main}.3", act(f"{main}.2", y))
        y = batch_norm(state, f"{main}.4", y)
    return act(f"{name}.relu", y + shortcut)


def vgg(state: State, x: Tensor, act: Activation) -> Tensor:
    """VGG, its max pools replaced by average pools as SEENN replaces them."""
    stage = 1
    while f"layer{stage}.0.weight" in state:
        index = 0
        while f"layer{stage}.{index}.weight" in state:
            z = conv(state, f"layer{stage}.{index}", x)
            x = act(f"layer{stage}.{index + 2}", batch_norm(state, f"layer{stage}.{index + 1}", z))
            index += 4
        x = functional.avg_pool2d(x, 2)
        stage += 1
    x = x.flatten(1)
    for at in (1, 4):
        z = functional.linear(x, state[f"classifier.{at}.weight"], state[f"classifier.{at}.bias"])
        x = act(f"classifier.{at + 1}", z)
    return functional.linear(x, state["classifier.7.weight"], state["classifier.7.bias"])


Step = Callable[[State, Tensor, Activation], Tensor]


@dataclass
class Record:
    """Accumulated logits (N, T, M); by population (N, T, ...) spikes and v before the reset."""

    logits: np.ndarray
    spikes: dict[str, np.ndarray]
    before_reset: dict[str, np.ndarray]


def ann(
    step: Step,
    state: State,
    images: np.ndarray,
    levels: int,
    *,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
) -> tuple[np.ndarray, Floor]:
    """Logits (N, M) of the ANN in float64, and all its activations."""
    state, x = _ready(state, images, torch.float64, mean, std)
    act = Floor(state, levels)
    with torch.no_grad():
        return step(state, x, act).numpy(), act


def snn(
    step: Step,
    state: State,
    images: np.ndarray,
    T: int,
    *,
    dtype: torch.dtype = torch.float64,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    forced: dict[str, np.ndarray] | None = None,
) -> Record:
    """The converted network, T steps of the same image."""
    state, x = _ready(state, images, dtype, mean, std)
    neurons = ScaledIF(state, forced)
    with torch.no_grad():
        z = torch.stack([step(state, x, neurons) for _ in range(T)], dim=1).cumsum(dim=1)
    spikes, before = (
        {
            name: torch.stack([pair[k] for pair in seen], dim=1).numpy()
            for name, seen in neurons.seen.items()
        }
        for k in (0, 1)
    )
    return Record(z.numpy(), spikes, before)


def _ready(
    state: State,
    images: np.ndarray,
    dtype: torch.dtype,
    mean: tuple[float, ...] | None,
    std: tuple[float, ...] | None,
) -> tuple[State, Tensor]:
    state = {k: v.to(dtype) if v.is_floating_point() else v for k, v in state.items()}
    x = torch.as_tensor(np.ascontiguousarray(images)).to(dtype)
    if mean is not None and std is not None:
        m, s = (torch.tensor(v, dtype=dtype)[:, None, None] for v in (mean, std))
        x = (x - m) / s
    return state, x
