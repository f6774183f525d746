"""An imported graph beside the module it came from: every layer's spikes, timestep by timestep.

What the module does is recorded by forward hooks. Where a spike differs, a replay of the graph in
float64 with exactly the simulator's history says how far from the threshold the potential was: a
rounding tie, or an error. The replay is written from the equations, with torch's own convolutions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

import seenn_deploy as sd
from seenn_deploy import ir

NEAR, TIE = 1e-3, 1e-5  # of the threshold


@dataclass
class Agreement:
    """Neuron-steps in all, near the threshold, and samples that a rounding tie makes differ."""

    steps: int = 0
    near: int = 0
    ties: int = 0
    errors: int = 0
    silent: tuple[str, ...] = ()


def train(module: nn.Module, x: Tensor, classes: int, steps: int = 6) -> nn.Module:
    """A moment of training on random labels; batch norm's statistics come with it."""
    torch.manual_seed(1)
    labels = torch.randint(classes, (x.shape[-4],))
    adam = torch.optim.Adam(module.parameters(), 5e-3)
    for _ in range(steps):
        out = module.train()(x)
        logits = out[0] if isinstance(out, tuple) else out
        logits = logits.sum(0) if logits.ndim == 3 else logits
        adam.zero_grad()
        functional.cross_entropy(logits, labels).backward()
        adam.step()
    return module.eval()


def recorded(module: nn.Module, names: list[str], run: Any) -> dict[str, np.ndarray]:
    """Each named layer's outputs while `run()` runs, (calls, ...)."""
    seen: dict[str, list[np.ndarray]] = {name: [] for name in names}

    def hook(name: str) -> Any:
        def keep(_: nn.Module, __: Any, out: Any) -> None:
            spikes = out[0] if isinstance(out, tuple) else out
            seen[name].append(spikes.detach().clone().numpy())

        return keep

    modules = dict(module.named_modules())
    handles = [modules[n].register_forward_hook(hook(n)) for n in names]
    with torch.no_grad():
        run()
    for handle in handles:
        handle.remove()
    return {name: np.stack(calls) for name, calls in seen.items()}


def compare(
    graph: ir.SpikingGraph, images: np.ndarray, layers: dict[str, np.ndarray]
) -> tuple[Agreement, Any]:
    """Simulated spikes against the module's, (N, T, ...) by layer; and the run."""
    program = sd.compile(graph)
    run = sd.simulate(program, images, record=True, full_trace=True)
    before = replayed(graph, images, run.spikes)
    found = Agreement(silent=tuple(n for n, s in layers.items() if not s.any()))
    first = dict[int, tuple[int, int, float]]()
    for at, node in enumerate(n for n in graph.layers if isinstance(n, ir.Population)):
        over = np.abs(before[node.name] - node.v_threshold) / node.v_threshold
        found.steps += over.size
        found.near += int((over < NEAR).sum())
        if node.name not in layers:
            continue
        theirs = layers[node.name].reshape(run.spikes[node.name].shape) > 0.5
        for n, t, *place in np.argwhere(theirs != run.spikes[node.name]):
            where = (int(t), at, float(over[(n, t, *place)]))
            if n not in first or where[:2] < first[n][:2]:
                first[int(n)] = where
            elif where[:2] == first[n][:2]:
                first[int(n)] = (*where[:2], max(where[2], first[n][2]))
    found.ties = sum(w[2] < TIE for w in first.values())
    found.errors = len(first) - found.ties
    return found, run


def replayed(
    graph: ir.SpikingGraph, images: np.ndarray, spikes: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Potentials before the reset in float64, (N, T, ...), with spikes as they were simulated."""
    before: dict[str, list[Tensor]] = {}
    state: dict[str, tuple[Tensor, Tensor]] = {}
    sent: dict[tuple[str, int], Tensor] = {}
    for t in range(graph.T):
        frame = images if graph.source.coding == "direct" else images[:, t]
        sent[graph.source.name, t] = torch.as_tensor(frame, dtype=torch.float64)
        for node in graph.order:
            if isinstance(node, ir.Sum):
                sent[node.name, t] = sum(sent[e.pre, t] for e in graph.into(node.name))
            if not isinstance(node, ir.Population):
                continue
            s = torch.as_tensor(spikes[node.name][:, t], dtype=torch.float64)
            current = torch.as_tensor(node.bias, dtype=torch.float64).expand(s.shape)
            for edge in graph.into(node.name):
                earlier = sent.get((edge.pre, t - edge.lag))
                if earlier is None:
                    earlier = torch.zeros_like(sent[edge.pre, 0]) if t else torch.zeros_like(s)
                current = current + through(edge.maps, earlier).reshape(s.shape)
            v, u = state.get(node.name, (torch.full_like(s, node.v_init), torch.zeros_like(s)))
            u = node.tau_syn * u + current
            v = node.tau * v + u
            before.setdefault(node.name, []).append(v)
            after = v * (1 - s) if node.reset == "hard" else v - node.subtracted * s
            state[node.name], sent[node.name, t] = (after, u), s
    return {name: torch.stack(v, 1).numpy() for name, v in before.items()}


def through(maps: Any, x: Tensor) -> Tensor:
    """A batch through linear maps, in float64."""
    for step in maps:
        if isinstance(step, ir.Identity):
            x = x * float(step.weight)
        elif isinstance(step, ir.Affine):
            ones = [1] * (x.ndim - 2)
            x = x * _double(step.scale).reshape(-1, *ones) + _double(step.shift).reshape(-1, *ones)
        elif isinstance(step, ir.AvgPool2d):
            x = functional.avg_pool2d(x, step.kernel)
        elif isinstance(step, ir.Dense):
            x = functional.linear(x.flatten(1), _double(step.weight), _bias(step))
        else:
            assert isinstance(step, ir.Conv2d)
            x = functional.conv2d(
                x, _double(step.weight), _bias(step), step.stride, step.padding, step.dilation,
                step.groups,
            )  # fmt: skip
    return x


def _double(values: np.ndarray) -> Tensor:
    return torch.as_tensor(values, dtype=torch.float64)


def _bias(step: Any) -> Tensor | None:
    return None if step.bias is None else _double(step.bias)
