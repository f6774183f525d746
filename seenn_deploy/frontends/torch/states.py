"""What a module keeps besides its parameters: attributes, buffers, counters, states handed on.

A tracer of one call does not see that the next call goes on from there. So a module that keeps
anything is traced over several calls, in which its states are ordinary values.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from seenn_deploy.frontends.torch.adapters.base import adapter_of, delay_of
from seenn_deploy.frontends.torch.layers import Layer, OpaqueLayer

Starts: TypeAlias = list[tuple[nn.Module, dict[str, Any]]]
CALLS = 4  # timesteps that are traced where states are kept: a leak shows in three of them


class Timesteps(nn.Module):
    """A module as whoever runs it does: called once per timestep, its states handed on.

    Parameters
    ----------
    module : torch module
    calls : int
    """

    def __init__(self, module: nn.Module, calls: int) -> None:
        super().__init__()
        self.module, self.calls = module, calls

    def forward(self, x: Tensor) -> list[Any]:
        """Return the results of all calls."""
        results: list[Any] = []
        with _put_back(self.module):
            for k in range(self.calls):
                # Each call has an input of its own, so that one which writes into it is traced.
                given = torch.ops.seenn_deploy.timestep(x, k)
                states = handed_on(self.module, results[-1]) if results else []
                results.append(self.module(given, *states))
        return results


@contextmanager
def _put_back(module: nn.Module) -> Iterator[None]:
    """Let a module start from copies of its states, and give it the states themselves back."""
    parts = [
        part
        for part in module.modules()
        if not (isinstance(part, OpaqueLayer) or type(part).__module__.startswith("torch.nn"))
    ]
    kept = [(part, dict(vars(part)), dict(part._buffers)) for part in parts]
    for part, attributes, buffers in kept:
        part._buffers.update({k: _copied(v) for k, v in buffers.items()})
        for name, value in attributes.items():
            if isinstance(value, Tensor | list) and not name.startswith("_"):
                vars(part)[name] = copied(value)
        if "_memories" in attributes:
            vars(part)["_memories"] = copied(attributes["_memories"])
    try:
        yield
    finally:
        for part, attributes, buffers in kept:
            vars(part).clear()
            vars(part).update(attributes)
            part._buffers.clear()
            part._buffers.update(buffers)


def handed_on(module: nn.Module, result: Any) -> list[Any]:
    """States for the next call: what is returned behind the first result, where it is taken.

    An argument takes a state if it is None or a number by default.
    """
    taken = list(inspect.signature(module.forward).parameters.values())[1:]
    states = [p for p in taken if p.default is None or type(p.default) in (int, float)]
    if not states or not isinstance(result, tuple) or len(result) < 2:
        return []
    return list(result[1 : 1 + len(states)])


def own_copy(module: nn.Module) -> nn.Module:
    """A copy in evaluation mode and float32, without the gradients that states may still carry.

    It runs on the CPU, whatever kernels its neurons were asked to use.
    """
    # deepcopy refuses tensors with a gradient, which states of a trained network have.
    loose = {
        id(value): value.detach().clone()
        for part in module.modules()
        for value in values(part).values()
        if isinstance(value, Tensor) and not value.is_leaf
    }
    made = copy.deepcopy(module, loose).eval().float()
    for part in made.modules():
        adapter = adapter_of(part)
        if adapter is not None and hasattr(adapter, "without_gpu"):
            adapter.without_gpu(part)
    return made


def values(part: nn.Module) -> dict[str, Any]:
    """Return what a module keeps besides its parameters and parts."""
    public = {k: v for k, v in vars(part).items() if not k.startswith("_") and k != "training"}
    memories: dict[str, Any] = getattr(part, "_memories", {})  # SpikingJelly's own place for states
    return {**public, **part._buffers, **memories}


def copied(value: Any) -> Any:
    """A value as it is now: modules may write into their states later."""
    return tree_map(_copied, value)


def _copied(value: Any) -> Any:
    return value.detach().clone() if isinstance(value, Tensor) else value


def reset(parts: Iterable[nn.Module]) -> None:
    """Reset every state that has a way to be reset, as the frameworks' users do between samples."""
    for part in parts:
        for name in ("reset", "reset_mem"):
            method = getattr(part, name, None)
            if callable(method):
                with suppress(TypeError):  # a method with arguments is no reset as we know it
                    method()


def starts_of(module: nn.Module, layers: list[Layer]) -> Starts:
    """States before the first timestep.

    What an earlier run left is reset; a number that the user set in a spiking layer, as a potential
    to start from, is kept.
    """
    spiking = [part for layer in layers for part in part_of(module, layer).modules()]
    set_by_hand = [(part, part.v) for part in spiking if isinstance(values(part).get("v"), float)]
    reset(module.modules())
    for part, v in set_by_hand:
        part.v = v
    return [(part, copied(values(part))) for part in module.modules()]


def begin(module: nn.Module, starts: Starts) -> None:
    """A new sample: what can be reset is, and every state is as it was at first."""
    reset(module.modules())
    for part, kept in starts:
        for name in set(values(part)) - set(kept):
            delattr(part, name)
        for name, value in copied(kept).items():
            setattr(part, name, value)


def kept_by(module: nn.Module, layers: list[Layer]) -> dict[str, Any]:
    """Attributes and buffers of all parts but spiking layers and delays, as they are now."""
    spiking = {id(part) for layer in layers for part in part_of(module, layer).modules()}
    found: dict[str, Any] = {}
    for path, part in module.named_modules():
        if id(part) in spiking or delay_of(part) is not None:
            continue
        for name, value in values(part).items():
            found[".".join(filter(None, (path, name)))] = copied(value)
    return found


def changed(after: dict[str, Any], before: dict[str, Any]) -> list[str]:
    """Name the states that differ from what they were before."""
    return [name for name in after if not _same(after[name], before.get(name))]


def part_of(module: nn.Module, layer: Layer) -> nn.Module:
    """The module that a layer stands for; a module that is one spiking layer is its own."""
    parts: dict[str, nn.Module] = dict(module.named_modules())
    return parts.get(layer.name, module)


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.shape == b.shape and bool(torch.equal(a, b))
    if isinstance(a, Tensor) or isinstance(b, Tensor):
        return False
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    try:
        return a is b or bool(a == b)
    except Exception:  # objects of the user's own, which need not compare
        return True
