"""A copy of a module in which every spiking layer is one operator that torch cannot look into."""

from __future__ import annotations

import copy
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.fx.node
from torch import Tensor, nn

from seenn_deploy.fidelity import FidelityReport
from seenn_deploy.frontends.torch.adapters.base import (
    Delay,
    Neuron,
    UnsupportedError,
    adapter_of,
    delay_of,
)


@torch.library.custom_op("seenn_deploy::spiking", mutates_args=())
def spiking(x: Tensor, states: Sequence[Tensor], layer: int) -> Tensor:
    """Stand for the spikes of layer number `layer`; this is traced and never run."""
    return torch.zeros_like(x)


@torch.library.custom_op("seenn_deploy::state", mutates_args=())
def state(spikes: Tensor, layer: int) -> Tensor:
    """Stand for a layer's state after these spikes; this is traced and never run."""
    return torch.zeros_like(spikes)


@spiking.register_fake
def _(x: Tensor, states: Sequence[Tensor], layer: int) -> Tensor:
    return torch.empty_like(x)


@state.register_fake
def _(spikes: Tensor, layer: int) -> Tensor:
    return torch.empty_like(spikes)


@torch.library.custom_op("seenn_deploy::timestep", mutates_args=())
def timestep(x: Tensor, k: int) -> Tensor:
    """Stand for the input of call number `k` of a module; this is traced and never run."""
    return x.clone()


@timestep.register_fake
def _(x: Tensor, k: int) -> Tensor:
    return torch.empty_like(x)


@torch.library.custom_op("seenn_deploy::delay", mutates_args=())
def delay(x: Tensor, steps: int, stream: bool) -> Tensor:
    """Stand for `x` of some timesteps before; this is traced and never run."""
    return x.clone()


@delay.register_fake
def _(x: Tensor, steps: int, stream: bool) -> Tensor:
    return torch.empty_like(x)


# A call charges the neurons, also where nobody uses its spikes.
torch.fx.node.has_side_effect(torch.ops.seenn_deploy.spiking.default)


@dataclass(frozen=True)
class Layer:
    """A spiking layer of the user's module.

    Parameters
    ----------
    name : str
        Path in the module.
    kind : str
        Name of the layer's class.
    neuron : Neuron, optional
        The neuron that it is; None where it is not supported.
    states : int
        Number of states that the layer returns after its spikes.
    refusal, what : str
        Reason why the layer is not supported, and whether it is a neuron or another layer.
    delay : Delay, optional
        For a layer without neurons, which only holds its input back.
    """

    name: str
    kind: str
    neuron: Neuron | None
    states: int = 0
    refusal: str = ""
    delay: Delay | None = None
    what: str = "neuron"


_INPUTS = ("x", "x_seq", "input_", "input_tensor")  # the frameworks' names of a layer's input


class Calls:
    """The place where a layer was called, and what it sent: export would set attributes back."""

    frames: traceback.StackSummary | None = None
    sent: Tensor | None = None


class UseError(AttributeError):
    """The module does something else with a spiking layer than to call it."""


_HOOKS = (
    "_forward_hooks", "_forward_hooks_with_kwargs", "_forward_hooks_always_called",
    "_forward_pre_hooks", "_forward_pre_hooks_with_kwargs",
)  # fmt: skip


@dataclass
class Seen:
    """What a trace saw being done to a layer; torch.export traces a copy, which shares it."""

    was_reset: bool = False

    def __deepcopy__(self, memo: Any) -> Seen:
        return self


class OpaqueLayer(nn.Module):
    """The replacement of a spiking layer, with the same arguments, number of results and hooks.

    Attributes
    ----------
    called, begins_anew : bool
        Whether the module called it while it was traced, and reset it after that.
    seen : Seen
        Whether the module reset it at all.
    """

    def __init__(self, number: int, layer: Layer, hooks: nn.Module | None = None) -> None:
        super().__init__()
        self.number, self.layer = number, layer
        self.states, self.calls = layer.states, Calls()
        # Copies, because the user's own must not be cast to float32.
        neuron = layer.neuron
        self.weights: nn.Module | None = copy.deepcopy(neuron.weights) if neuron else None
        self.recurrent: nn.Module | None = copy.deepcopy(neuron.recurrent) if neuron else None
        self.called = self.begins_anew = False
        self.seen = Seen()
        for name in _HOOKS if hooks is not None else ():
            getattr(self, name).update(getattr(hooks, name))
        self.complete = True

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if self.__dict__["layer"].refusal and not name.startswith("_"):
                self.__dict__["calls"].frames = traceback.extract_stack()
            told = f"{self.__dict__['layer'].name}.{name} is read; only a layer's results can be"
            raise UseError(told) from None

    def __setattr__(self, name: str, value: Any) -> None:
        own = self.__dict__
        if name in own or name == "training" or "complete" not in own:
            super().__setattr__(name, value)
        elif name == "v" and self._is_start(value):
            self.reset()
        else:
            raise UseError(f"{own['layer'].name}.{name} is written while the module runs")

    def _is_start(self, v: Any) -> bool:
        """Tell whether `v` is the potential to start from, as after a reset."""
        neuron = self.layer.neuron
        return isinstance(v, int | float) and neuron is not None and neuron.starts_at(v)

    def forward(self, *args: Any, **named: Any) -> Any:
        held = self.layer.delay
        if self.layer.neuron is None and held is None:
            self.calls.frames = self.calls.frames or traceback.extract_stack()
        if self.begins_anew:
            raise UseError(f"{self.layer.name} is reset between two of its timesteps")
        self.called = True
        ordered = [named[name] for name in sorted(named, key=lambda name: name not in _INPUTS)]
        x, *given = [a for a in (*args, *ordered) if isinstance(a, Tensor)]
        if held is not None:
            return torch.ops.seenn_deploy.delay(x, held.steps, held.stream)
        if self.weights is not None:
            x = self.weights(x)
        if self.recurrent is not None:
            x = x + self.recurrent(self._spikes_before(x, given))
        spikes = torch.ops.seenn_deploy.spiking(x, given, self.number)
        self.calls.sent = spikes
        if not self.states:
            return spikes
        return (spikes, *[torch.ops.seenn_deploy.state(spikes, self.number)] * self.states)

    def _spikes_before(self, x: Tensor, given: list[Tensor]) -> Tensor:
        """The layer's own spikes of the timestep before, of the shape of `x`."""
        assert self.layer.neuron is not None
        if self.layer.neuron.keeps_spikes:
            return self.calls.sent if given and self.calls.sent is not None else torch.zeros_like(x)
        own = given.pop(0) if given else torch.zeros(0)
        return own if own.numel() else torch.zeros_like(x)

    def reset(self) -> None:
        """Begin a sample as SpikingJelly does; in the middle of one, a call after it is refused."""
        self.seen.was_reset, self.begins_anew = True, self.called

    def reset_mem(self) -> Any:
        """Return snnTorch's states before the first timestep."""
        self.reset()
        count = self.states + (self.recurrent is not None)
        # Empty, because their shape is not known before the first call.
        empty = tuple(torch.zeros(0) for _ in range(max(count, 1)))
        return empty[0] if len(empty) == 1 else empty

    init_leaky = init_rleaky = init_synaptic = init_rsynaptic = init_lapicque = reset_mem
    init_alpha = init_slstm = init_sconv2dlstm = reset_mem
    reset_hidden = detach_hidden = reset


def with_opaque_layers(module: nn.Module, report: FidelityReport) -> tuple[nn.Module, list[Layer]]:
    """Copy a module with opaque layers, in evaluation mode and float32; list those layers.

    Raises
    ------
    RefusedError
        When the module cannot be copied.
    """
    layers, stand_ins = list[Layer](), dict[int, Any]()
    for name, part in module.named_modules():
        inside = any(name.startswith(f"{layer.name}.") for layer in layers)
        if (held := delay_of(part)) is not None:
            waiting = Layer(name, type(part).__name__, None, delay=held)
            stand_ins[id(part)] = OpaqueLayer(-1, waiting, part)
        elif adapter_of(part) is not None and not inside:
            layers.append(_described(name or type(part).__name__, part))
            stand_ins[id(part)] = OpaqueLayer(len(layers) - 1, layers[-1], part)
    other = {t.dtype for t in _numbers(module)} - {torch.float32}
    if other:
        names = " and ".join(sorted(str(t).removeprefix("torch.") for t in other))
        report.approximated("module", f"{names} as float32", "sums are rounded in another way")
    try:
        return copy.deepcopy(module, stand_ins).eval().float(), layers
    except Exception as error:  # whatever the user's attributes raise
        report.refuse(
            "module",
            f"cannot be copied ({type(error).__name__}: {str(error).splitlines()[0]})",
            "detach tensors that it keeps besides its parameters, and reset its layers",
        )


def _numbers(module: nn.Module) -> list[Tensor]:
    """List the parameters and buffers that are floating point, and so no counters."""
    return [t for t in (*module.parameters(), *module.buffers()) if t.is_floating_point()]


def likely_batch(example_input: Tensor, layers: list[Layer]) -> int:
    """Guess which axis of the example is the batch."""
    if example_input.ndim != 5:
        return 0
    streams = [x.neuron.batch_axis for x in layers if x.neuron and x.neuron.time_axis is not None]
    if streams:
        return streams[0]
    return 1 if example_input.shape[0] > 1 else 0  # the module loops over frames, with time first


def several_samples(example_input: Tensor, batch: int) -> Tensor:
    """Double an example of one sample, so that its batch is not mistaken for another axis of 1."""
    if example_input.ndim < 2 or example_input.shape[batch] != 1:
        return example_input
    return torch.cat((example_input, example_input), dim=batch)


def _described(name: str, part: Any) -> Layer:
    kind, adapter = type(part).__name__, adapter_of(part)
    assert adapter is not None
    states = adapter.states(part) if hasattr(adapter, "states") else 0
    if "forward" in vars(part):
        return Layer(name, kind, None, states, "its forward was replaced by another function")
    try:
        return Layer(name, kind, adapter.describe(part), states)
    except UnsupportedError as error:
        return Layer(name, kind, None, states, str(error), what=error.what)
