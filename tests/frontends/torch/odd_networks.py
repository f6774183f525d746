"""Networks as people write them whose state or order no tracer sees; each with its own way to run.

A case gives the module, a batch, and what the module itself says at each timestep, (N, T, M); and
what its refusal says where it is to be refused, so that it is seen when that changes.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

os.environ.setdefault("LOGURU_LEVEL", "ERROR")

import torch
from spikingjelly.activation_based import functional, layer, neuron
from torch import Tensor, nn

T, CLASSES = 4, 5


@dataclass(frozen=True)
class Case:
    """A module, what it is given, and its own outputs by timestep.

    `reads` says what these are: 'steps' are summed up by the caller, a 'state' is the sum already,
    and of a 'last' there is only that of the last timestep.
    """

    module: nn.Module
    x: Tensor
    steps: Tensor
    options: dict[str, Any]
    says: str = ""
    reads: str = "steps"
    example: Tensor | None = None


CASES: dict[str, Callable[[], Case]] = {}


def calls(
    says: str = "", reads: str = "steps", steps: int = T, x: tuple[int, ...] = (6, 12),
    **options: Any,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:  # fmt: skip
    """Register a forward of `Plain` that does one timestep per call."""

    def register(forward: Callable[..., Any]) -> Callable[..., Any]:
        def case() -> Case:
            net, given = made(forward), torch.rand(x)
            own = by_calls(net, given, steps)
            return Case(net, given, own, {"T": steps, **options}, says, reads)

        CASES[forward.__name__.replace("_", " ")] = case
        return forward

    return register


def handed(says: str = "", reads: str = "steps") -> Callable[[Callable[..., Any]], Any]:
    """Register a forward that takes its states and returns them."""

    def register(forward: Callable[..., Any]) -> Callable[..., Any]:
        def case() -> Case:
            net, x = made(forward), torch.rand(6, 12)
            return Case(net, x, handing_on(net, x), {"T": T}, says, reads)

        CASES[forward.__name__.replace("_", " ")] = case
        return forward

    return register


def whole(
    says: str = "", reads: str = "steps", x: tuple[int, ...] = (6, 12), **options: Any
) -> Callable[[Callable[..., Any]], Any]:
    """Register a forward that does all timesteps in a call, and returns them first or the last."""

    def register(forward: Callable[..., Any]) -> Callable[..., Any]:
        def case() -> Case:
            net, given = made(forward), torch.rand(x)
            with torch.no_grad():
                out = copy.deepcopy(net).eval()(given.clone())
            out = out.transpose(0, 1) if reads != "last" else out[:, None]
            return Case(net, given, out, options, says, reads)

        CASES[forward.__name__.replace("_", " ")] = case
        return forward

    return register


def linear(inputs: int, outputs: int, gain: float = 3.0) -> nn.Linear:
    made = nn.Linear(inputs, outputs)
    made.weight.data.mul_(gain)
    return made


def by_calls(net: nn.Module, x: Tensor, calls: int = T) -> Tensor:
    """One timestep per call, states kept by the module."""
    own = copy.deepcopy(net).eval()
    functional.reset_net(own)
    with torch.no_grad():
        return torch.stack([first_of(own(x)).clone() for _ in range(calls)], 1)


def first_of(result: Any) -> Tensor:
    """The logits among what a module returns: of classes' number."""
    found = result.values() if isinstance(result, dict) else result
    found = [found] if isinstance(found, Tensor) else found
    return next(r for r in found if isinstance(r, Tensor) and r.shape[-1] == CLASSES)


def handing_on(net: nn.Module, x: Tensor) -> Tensor:
    """One timestep per call, the state handed from one to the next."""
    own, state, outs = copy.deepcopy(net).eval(), None, []
    for _ in range(T):
        out, state = own(x) if state is None else own(x, state)
        outs.append(out.detach())
    return torch.stack(outs, 1)


class Plain(nn.Module):
    """A linear layer, neurons, a linear layer, and what a subclass does around them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.spike, self.last = linear(12, 16), neuron.IFNode(), linear(16, CLASSES)
        self.other = neuron.IFNode(v_reset=None)
        self.mem: Any = None
        self.count = 0
        self.register_buffer("kept", torch.zeros(6, CLASSES))
        self.register_buffer("one", torch.zeros(1, CLASSES))
        self.register_buffer("current", torch.zeros(1, 16))
        self.zero, self.plain, self.ones = 0.0, torch.zeros(1, CLASSES), torch.ones(1, CLASSES)
        self.back, self.conv = linear(16, 16, 0.5), nn.Conv2d(1, 4, 3, padding=1)
        self.back.bias.data.zero_()
        self.conv.weight.data.mul_(4)
        self.wide = linear(4 * 36, CLASSES, 1.0)
        self.norms = nn.ModuleList(nn.BatchNorm1d(16) for _ in range(T))
        for i, norm in enumerate(self.norms):
            norm.weight.data.fill_(1.0 + i)  # type: ignore[operator, union-attr]

    def forward(self, x: Tensor) -> Tensor:
        return torch.as_tensor(self.last(self.spike(self.first(x))))


def made(forward: Callable[..., Any]) -> nn.Module:
    """A `Plain` that does `forward`."""
    kind = type(forward.__name__.title(), (Plain,), {"forward": forward})
    module: nn.Module = kind()
    return module


# --- states that a tracer does not see ------------------------------------------------------------


@calls(reads="state")
def attribute_summed(net: Any, x: Tensor) -> Tensor:
    now = net.last(net.spike(net.first(x)))
    net.mem = now if net.mem is None else net.mem + now
    return net.mem


@calls()
def attribute_leaky(net: Any, x: Tensor) -> Tensor:
    net.mem = net.last(net.spike(net.first(x))) + (0 if net.mem is None else 0.9 * net.mem)
    return net.mem


@calls()
def attribute_current(net: Any, x: Tensor) -> Tensor:
    net.mem = net.first(x) + (0 if net.mem is None else 0.5 * net.mem)
    return net.last(net.spike(net.mem))


@calls("made in another way at timestep 2")
def attribute_spikes(net: Any, x: Tensor) -> Tensor:
    before = 0 if net.mem is None else net.mem
    net.mem = net.spike(net.first(x))
    return net.last(net.mem + before)


@calls("cannot be traced")
def buffer_in_place(net: Any, x: Tensor) -> Tensor:
    net.kept.mul_(0.8).add_(net.last(net.spike(net.first(x))))
    return net.kept.clone()


@calls()
def buffer_replaced(net: Any, x: Tensor) -> Tensor:
    net.current = 0.5 * net.current + net.first(x)
    return net.last(net.spike(net.current))


@calls("made in another way at timestep 2")
def counter_scales(net: Any, x: Tensor) -> Tensor:
    net.count += 1
    return net.last(net.spike(net.first(x))) / net.count


@calls("its input at timestep 1")
def counter_picks_a_norm(net: Any, x: Tensor) -> Tensor:
    net.count += 1
    return net.last(net.spike(net.norms[(net.count - 1) % T](net.first(x))))


@calls("its input at timestep 1")
def counter_decays(net: Any, x: Tensor) -> Tensor:
    net.count += 1
    return net.last(net.spike(net.first(x) * 0.7**net.count))


@calls("at timestep 5", steps=6)
def sets_its_own_factor(net: Any, x: Tensor) -> Tensor:
    net.count += 1
    return net.last(net.spike(net.first(x) * (2.0 if net.count > 4 else 1.0)))


@calls("a constant is added")
def list_of_states(net: Any, x: Tensor) -> Tensor:
    net.mem = [*(net.mem or []), net.spike(net.first(x))]
    return net.last(sum(net.mem))


@calls()
def attribute_from_a_number(net: Any, x: Tensor) -> Tensor:
    net.zero = 0.9 * net.zero + net.last(net.spike(net.first(x)))
    return net.zero


@calls()
def attribute_of_its_mean(net: Any, x: Tensor) -> Tensor:
    now = net.last(net.spike(net.first(x)))
    net.zero = net.zero + (now - net.zero) / 4
    return net.zero


@calls()
def tensor_in_place(net: Any, x: Tensor) -> Tensor:
    net.plain = net.plain * 0.7
    net.plain = net.plain + net.last(net.spike(net.first(x)))
    return net.plain


@calls()
def buffer_of_one_sample(net: Any, x: Tensor) -> Tensor:
    net.one = 0.8 * net.one + net.last(net.spike(net.first(x)))
    return net.one


@calls()
def made_when_it_is_missing(net: Any, x: Tensor) -> Tensor:
    now = net.last(net.spike(net.first(x)))
    net.late = 0.5 * net.late + now if hasattr(net, "late") else now
    return torch.as_tensor(net.late)


@calls()
def counter_starts_the_state(net: Any, x: Tensor) -> Tensor:
    now = net.last(net.spike(net.first(x)))
    net.mem = 0.9 * (torch.zeros_like(now) if net.count == 0 else net.mem) + now
    net.count += 1
    return torch.as_tensor(net.mem)


@calls()
def state_detached(net: Any, x: Tensor) -> Tensor:
    net.zero = (0.9 * net.zero + net.last(net.spike(net.first(x)))).detach()
    return net.zero


@calls(steps=8)
def state_over_more_timesteps(net: Any, x: Tensor) -> Tensor:
    net.zero = 0.95 * net.zero + 0.5 * net.last(net.spike(net.first(x)))
    return net.zero


@calls()
def two_terms_in_a_state(net: Any, x: Tensor) -> Tensor:
    spikes = net.spike(net.first(x))
    net.zero = 0.9 * net.zero + net.last(spikes) + net.last(net.other(net.back(spikes)))
    return net.zero


@calls()
def own_recurrence(net: Any, x: Tensor) -> Tensor:
    now = net.first(x) + (0 if net.mem is None else net.back(net.mem))
    net.mem = net.spike(now)
    return net.last(net.mem)


@calls("made in another way")
def running_mean(net: Any, x: Tensor) -> Tensor:
    net.zero, net.count = net.zero + net.last(net.spike(net.first(x))), net.count + 1
    return net.zero / net.count


@calls("does not start from 0")
def state_starts_from_ones(net: Any, x: Tensor) -> Tensor:
    net.ones = 0.9 * net.ones + net.last(net.spike(net.first(x)))
    return net.ones


@calls("made in another way")
def leak_by_class(net: Any, x: Tensor) -> Tensor:
    share = torch.linspace(0.5, 0.9, CLASSES)
    net.zero = share * net.zero + net.last(net.spike(net.first(x)))
    return net.zero


@calls("made in another way")
def state_behind_a_state(net: Any, x: Tensor) -> Tensor:
    net.zero = 0.5 * net.zero + net.last(net.spike(net.first(x)))
    net.plain = 0.9 * net.plain + net.zero
    return net.plain


@calls("a comparison")
def neuron_by_hand(net: Any, x: Tensor) -> Tensor:
    v = 0.5 * net.zero + net.first(x)
    spikes = (v > 1).float()
    net.zero = v * (1 - spikes)
    return net.last(net.spike(net.back(spikes)))


@calls("clamp")
def state_clamped(net: Any, x: Tensor) -> Tensor:
    net.zero = (0.9 * net.zero + net.last(net.spike(net.first(x)))).clamp(min=0)
    return net.zero


@calls("goes back to the first", steps=8)
def sum_of_all_spikes(net: Any, x: Tensor) -> Tensor:
    spikes = net.spike(net.first(x))
    net.mem = [*(net.mem or []), spikes]
    scaled = [s / (1 + k) for k, s in enumerate(reversed(net.mem))]
    return net.last(net.other(net.back(sum(scaled))))


# --- calls, writes and resets ---------------------------------------------------------------------


@calls("with a constant between")
def warm_up_constant(net: Any, x: Tensor) -> Tensor:
    now = net.first(x)
    net.spike(torch.full_like(now, 0.4))
    return net.last(net.spike(now))


@calls("it takes timesteps [2] of 2")
def warm_up_same(net: Any, x: Tensor) -> Tensor:
    now = net.first(x)
    net.spike(now)
    return net.last(net.spike(now))


@calls("spike.v is written")
def sets_v(net: Any, x: Tensor) -> Tensor:
    net.spike.v = 0.5
    return net.last(net.spike(net.first(x)))


@calls("spike is reset between")
def resets_every_call(net: Any, x: Tensor) -> Tensor:
    functional.reset_net(net)
    return net.last(net.spike(net.first(x)))


@calls("spike.v_threshold is read")
def changes_the_threshold(net: Any, x: Tensor) -> Tensor:
    net.spike.v_threshold *= 1.5
    return net.last(net.spike(net.first(x)))


@calls("writes into weights")
def changes_a_weight(net: Any, x: Tensor) -> Tensor:
    out = net.last(net.spike(net.first(x)))
    net.first.weight.data.mul_(0.7)
    return out


@calls()
def adds_into_spikes(net: Any, x: Tensor) -> Tensor:
    spikes = net.spike(net.first(x))
    shown = net.last(spikes)
    spikes.add_(1)
    return shown + net.last(spikes)


@calls("T: 4 asked")
def called_twice(net: Any, x: Tensor) -> Tensor:
    now = net.first(x)
    return net.last(net.spike(now) + net.spike(now))


@calls("other is reset between")
def resets_another_layer(net: Any, x: Tensor) -> Tensor:
    net.other.reset()
    return net.last(net.other(net.back(net.spike(net.first(x)))))


@calls()
def charged_once(net: Any, x: Tensor) -> Tensor:
    now = net.first(x)
    if net.count == 0:
        net.spike(torch.full_like(now, 0.5))
    net.count += 1
    return net.last(net.spike(now))


@calls()
def charged_to_a_spike(net: Any, x: Tensor) -> Tensor:
    now = net.first(x)
    if net.count == 0:
        net.spike(torch.full_like(now, 1.5))
    net.count += 1
    return net.last(net.spike(now))


@calls("with a constant before")
def charged_by_place(net: Any, x: Tensor) -> Tensor:
    now = net.first(x)
    if net.count == 0:
        net.spike(torch.zeros_like(now) + torch.linspace(0, 0.9, 16))
    net.count += 1
    return net.last(net.spike(now))


@calls("it takes timesteps [2] of 2")
def one_neuron_in_two_places(net: Any, x: Tensor) -> Tensor:
    return net.last(net.spike(net.back(net.spike(net.first(x)))))


@calls("with a constant between")
def a_call_for_nothing_later(net: Any, x: Tensor) -> Tensor:
    out = net.last(net.spike(net.first(x)))
    net.spike(net.back(torch.ones(len(x), 16)))
    return out


@calls("in place")
def doubles_its_input(net: Any, x: Tensor) -> Tensor:
    return net.last(net.spike(net.first(x.mul_(1.1))))


@calls()
def adds_into_its_current(net: Any, x: Tensor) -> Tensor:
    now = net.first(x)
    now.add_(0.25).mul_(1.5)
    return net.last(net.spike(now))


@calls()
def resized_in_place(net: Any, x: Tensor) -> Tensor:
    now = net.first(x)
    now.unsqueeze_(0).squeeze_(0).unsqueeze_(-1).squeeze_(-1)
    return net.last(net.spike(now).unsqueeze_(2).squeeze_(2))


@calls("a part of an axis")
def writes_a_part(net: Any, x: Tensor) -> Tensor:
    now = net.first(x)
    now[:, 3] = 0
    return net.last(net.spike(now))


# --- arithmetic of other kinds --------------------------------------------------------------------


@calls("products of uint8")
def bytes_wrap(net: Any, x: Tensor) -> Tensor:
    spikes = net.spike(net.first(x)).to(torch.uint8)
    return net.last((spikes * 200 + spikes * 100).float())


@calls("roll")
def logical_or(net: Any, x: Tensor) -> Tensor:
    spikes = net.spike(net.first(x)).bool()
    return net.last((spikes | spikes.roll(1, 1)).float())


@calls("flip")
def xor_by_sum(net: Any, x: Tensor) -> Tensor:
    spikes = net.spike(net.first(x))
    return net.last((spikes + spikes.flip(1)) % 2)


@calls("axes in another order")
def own_permutation(net: Any, x: Tensor) -> Tensor:
    spikes = net.spike(net.first(x))
    return net.last((spikes.view(-1, 4, 4) + spikes.view(-1, 4, 4).transpose(1, 2)).flatten(1))


@calls()
def halves_swapped(net: Any, x: Tensor) -> Tensor:
    spikes = net.spike(net.first(x))
    return net.last(torch.cat((spikes[:, 8:], spikes[:, :8]), 1))


@calls("over features")
def gated_by_the_input(net: Any, x: Tensor) -> Tensor:
    return net.last(net.spike(net.first(x)) * (x.mean(1, keepdim=True) > 0.5))


@calls("random numbers")
def noise_of_its_own(net: Any, x: Tensor) -> Tensor:
    return net.last(net.spike(net.first(x) + torch.rand(16)))


@calls()
def whole_numbers(net: Any, x: Tensor) -> Tensor:
    spikes = net.spike(net.first(x)).long()
    return net.last((spikes + spikes * 2).float())


@calls()
def truth_values(net: Any, x: Tensor) -> Tensor:
    return net.last(net.spike(net.first(x)).bool().float())


@calls()
def shares_of_bytes(net: Any, x: Tensor) -> Tensor:
    return net.last(net.spike(net.first(x)).to(torch.uint8) / 2)


@calls("sums and products of uint8")
def bytes_below_zero(net: Any, x: Tensor) -> Tensor:
    return net.last((net.spike(net.first(x)).to(torch.uint8) - 1).float())


@calls("sums and products of bool")
def truths_added(net: Any, x: Tensor) -> Tensor:
    spikes = net.spike(net.first(x))
    return net.last((spikes.bool() + net.other(net.back(spikes)).bool()).float())


@calls("as truth values")
def sums_as_truths(net: Any, x: Tensor) -> Tensor:
    spikes = net.spike(net.first(x))
    return net.last((spikes + net.other(net.back(spikes))).bool().float())


@calls("a division without remainder")
def division_without_rest(net: Any, x: Tensor) -> Tensor:
    return net.last((net.spike(net.first(x)).long() * 3 // 2).float())


@calls("currents as int32")
def currents_cut_off(net: Any, x: Tensor) -> Tensor:
    return net.last(net.spike(net.first(x).int().float()))


@calls("a comparison (>=)")
def compared(net: Any, x: Tensor) -> Tensor:
    return net.last((net.spike(net.first(x)) >= 1).float())


@calls("its axes in another order", x=(6, 1, 6, 6))
def map_and_its_transpose(net: Any, x: Tensor) -> Tensor:
    spikes = net.spike(net.conv(x))
    return net.wide((spikes + spikes.transpose(2, 3)).flatten(1))


@calls("its axes in another order", x=(6, 1, 6, 6))
def image_and_its_transpose(net: Any, x: Tensor) -> Tensor:
    return net.wide(net.spike(net.conv(x + x.transpose(2, 3))).flatten(1))


@calls("its axes in another order", x=(6, 1, 6, 6))
def current_and_its_transpose(net: Any, x: Tensor) -> Tensor:
    now = net.conv(x)
    return net.wide(net.spike(now + 0.5 * now.permute(0, 1, 3, 2)).flatten(1))


@calls(x=(6, 1, 6, 6))
def transposed_alike(net: Any, x: Tensor) -> Tensor:
    now = net.conv(x).transpose(2, 3)
    return net.wide(net.spike((now + now).transpose(2, 3)).flatten(1))


@calls()
def as_it_should_be(net: Any, x: Tensor) -> Tensor:
    return net.last(net.spike(net.first(x)))


@calls()
def in_place_reshape(net: Any, x: Tensor) -> Tensor:
    return net.last(net.spike(net.first(x)).unsqueeze_(1).squeeze_(1))


@handed()
def state_handed_on(net: Any, x: Tensor, mem: Any = None) -> Any:
    now = net.last(net.spike(net.first(x)))
    mem = now if mem is None else 0.5 * mem + now
    return mem, mem


@handed()
def current_handed_on(net: Any, x: Tensor, syn: Any = None) -> Any:
    syn = net.first(x) + (0 if syn is None else 0.5 * syn)
    return net.last(net.spike(syn)), syn


@handed()
def state_from_a_number(net: Any, x: Tensor, mem: Any = 0.0) -> Any:
    mem = 0.9 * mem + net.last(net.spike(net.first(x)))
    return mem, mem


@handed()
def spikes_handed_back(net: Any, x: Tensor, spikes: Any = None) -> Any:
    now = net.first(x) + (0 if spikes is None else net.back(spikes))
    spikes = net.spike(now)
    return net.last(spikes), spikes


# --- several outputs -----------------------------------------------------------------------------


@calls("output='0' or output='1'")
def features_and_logits(net: Any, x: Tensor) -> Any:
    spikes = net.spike(net.first(x))
    return net.back(spikes), net.last(spikes)


@calls(output=1)
def second_by_number(net: Any, x: Tensor) -> Any:
    return features_and_logits(net, x)


@calls("'logits' of (2, 5)")
def named_outputs(net: Any, x: Tensor) -> Any:
    features, logits = features_and_logits(net, x)
    return {"features": features, "logits": logits}


@calls(output="logits")
def second_by_name(net: Any, x: Tensor) -> Any:
    return named_outputs(net, x)


@calls("'scores' is not among", output="scores")
def no_such_name(net: Any, x: Tensor) -> Any:
    return named_outputs(net, x)


@calls(output="logits")
def state_by_name(net: Any, x: Tensor) -> Any:
    named = named_outputs(net, x)
    net.zero = 0.9 * net.zero + named["logits"]
    return {"features": named["features"] * (net.count + 1), "logits": net.zero}


@calls()
def logits_and_nothing(net: Any, x: Tensor) -> Any:
    return net.last(net.spike(net.first(x))), None


@calls("a part of joined axes")
def classes_in_another_order(net: Any, x: Tensor) -> Tensor:
    now = net.spike(net.first(x)).unflatten(1, (4, 4)).transpose(1, 2)
    return torch.cat((now.flatten(1)[:, :3], now.flatten(1)[:, 14:]), 1)


# --- all timesteps in a call ---------------------------------------------------------------------


@whole()
def loop_of_a_leaking_readout(net: Any, x: Tensor) -> Tensor:
    mem, outs = 0, []
    for _ in range(T):
        mem = 0.9 * mem + net.last(net.spike(net.first(x)))
        outs.append(mem)
    return torch.stack(outs)


@whole(reads="last")
def last_of_a_leaking_readout(net: Any, x: Tensor) -> Tensor:
    mem: Any = 0
    for _ in range(T):
        mem = 0.9 * mem + net.last(net.spike(net.first(x)))
    return torch.as_tensor(mem)


@whole(reads="last")
def sum_over_a_leaking_readout(net: Any, x: Tensor) -> Tensor:
    return loop_of_a_leaking_readout(net, x).sum(0)


@whole(reads="last")
def sum_over_a_loop(net: Any, x: Tensor) -> Tensor:
    return torch.as_tensor(sum(net.last(net.spike(net.first(x))) for _ in range(T)))


@whole("it takes timesteps [4] of 4", reads="last")
def last_step_of_a_loop(net: Any, x: Tensor) -> Tensor:
    for _ in range(T):
        out = net.last(net.spike(net.first(x)))
    return torch.as_tensor(out)


@whole("it takes timesteps [2, 3, 4] of 4", reads="last")
def first_step_left_out(net: Any, x: Tensor) -> Tensor:
    outs = [net.last(net.spike(net.first(x))) for _ in range(T)]
    return torch.as_tensor(sum(outs[1:]))


@whole("by other factors", reads="last")
def weighted_steps(net: Any, x: Tensor) -> Tensor:
    outs = [net.last(net.spike(net.first(x))) for _ in range(T)]
    return torch.as_tensor(sum((k + 1) * out for k, out in enumerate(outs)))


@whole()
def charged_before_a_loop(net: Any, x: Tensor) -> Tensor:
    net.spike(torch.full((len(x), 16), 0.5))
    return torch.stack([net.last(net.spike(net.first(x))) for _ in range(T)])


@whole("spike is reset between")
def reset_within_a_loop(net: Any, x: Tensor) -> Tensor:
    outs = []
    for t in range(T):
        if t == 2:
            functional.reset_net(net)
        outs.append(net.last(net.spike(net.first(x))))
    return torch.stack(outs)


@whole()
def reset_around_a_loop(net: Any, x: Tensor) -> Tensor:
    functional.reset_net(net)
    outs = [net.last(net.spike(net.first(x))) for _ in range(T)]
    functional.reset_net(net)
    return torch.stack(outs)


@whole()
def reset_by_hand_before_a_loop(net: Any, x: Tensor) -> Tensor:
    net.spike.v = 0.0
    return torch.stack([net.last(net.spike(net.first(x))) for _ in range(T)])


@whole(x=(6, T, 12))
def frames_into_a_state(net: Any, x: Tensor) -> Tensor:
    mem, syn, outs = 0, 0, []
    for t in range(x.shape[1]):
        syn = 0.5 * syn + net.first(x[:, t])
        mem = 0.9 * mem + net.last(net.spike(syn))
        outs.append(mem)
    return torch.stack(outs)


@whole(x=(6, 12))
def input_unsqueezed_in_place(net: Any, x: Tensor) -> Tensor:
    x.unsqueeze_(0)
    return torch.stack([net.last(net.spike(net.first(x[0]))) for _ in range(T)])


# --- hooks and replaced parts ---------------------------------------------------------------------


def hooked(part: str, hook: Callable[..., Any], before: bool = False) -> nn.Module:
    """A network with a hook on one of its parts; '' is the network itself."""
    net = made(as_it_should_be)
    at = getattr(net, part) if part else net
    (at.register_forward_pre_hook if before else at.register_forward_hook)(hook)
    return net


def replaced(part: str) -> nn.Module:
    """A network of which one part's forward is replaced by another function."""
    net: Any = made(as_it_should_be)
    own = net.spike.forward
    if part == "spike":
        net.spike.forward = lambda x: own(x).flip(1)
    else:
        net.forward = lambda x: net.last(net.spike(net.first(x + 1)))
    return net  # type: ignore[no-any-return]


def remembering() -> Callable[..., Any]:
    """A hook that adds what it saw the time before."""
    seen: list[Tensor] = []

    def hook(module: Any, inputs: Any, out: Tensor) -> Tensor:
        seen.append(out.detach())
        return out + seen[-2] if len(seen) > 1 and seen[-2].shape == out.shape else out

    return hook


HOOKS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "hook on the neurons inverts": (lambda: hooked("spike", lambda m, i, o: 1 - o), ""),
    "hook on the neurons doubles": (lambda: hooked("spike", lambda m, i, o: 2 * o), ""),
    "hook on the neurons thins out": (
        lambda: hooked("spike", lambda m, i, o: o * (torch.arange(o.shape[-1]) % 2)), ""
    ),
    "hook on the neurons looks": (lambda: hooked("spike", lambda m, i, o: None), ""),
    "hook on the neurons rolls": (lambda: hooked("spike", lambda m, i, o: o.roll(1, 1)), "roll"),
    "hook on the neurons remembers": (lambda: hooked("spike", remembering()), "has a hook"),
    "hook on a linear layer": (lambda: hooked("first", lambda m, i, o: o * 0.5), ""),
    "hook on the network": (lambda: hooked("", lambda m, i, o: o * 0.5), ""),
    "hook before the neurons": (lambda: hooked("spike", lambda m, i: (i[0] - 0.3,), True), ""),
    "hook before the network": (lambda: hooked("", lambda m, i: (i[0] * 2,), True), ""),
    "forward of the neurons replaced": (lambda: replaced("spike"), "its forward was replaced"),
    "forward of the module replaced": (lambda: replaced(""), "its forward was replaced"),
}  # fmt: skip


class LookAlike(nn.Module):
    """The attributes of SEENN's LIFSpike, another neuron."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.thresh, self.tau, self.gama, self.how = 1.0, 0.5, 1.0, how
        self.act = lambda x, _: (x > 0).float()
        self.weight = nn.Linear(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        x = self.weight(x) if self.how == "has weights" else x
        mem, outs = torch.zeros_like(x[:, 0]), []
        for t in range(x.shape[1]):
            mem = self.tau * mem + x[:, t]
            mem = mem.round(decimals=0) if self.how == "rounds" else mem
            spike = self.act(mem - self.thresh, self.gama)
            spike = spike * (torch.arange(x.shape[2]) % 2) if self.how == "drops some" else spike
            if self.how == "reset is soft":
                mem = mem - spike * self.thresh
            elif self.how == "reset is late":
                mem = mem * (1 - (outs[-1] if outs else 0))
            elif self.how == "never resets":
                pass
            else:
                mem = (1 - spike) * mem
            outs.append(spike)
        return torch.stack(outs, 1)


class OverTime(nn.Module):
    """SEENN's way: the image at every timestep, all timesteps in a call."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.first, self.spike, self.last = linear(12, 16), LookAlike(how), linear(16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        now = self.first(x).unsqueeze(1).expand(-1, T, -1)
        return torch.as_tensor(self.last(self.spike(now)))


class Pools(nn.Module):
    """Pools and convolutions in a row, one timestep per call."""

    def __init__(self, *parts: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1), neuron.IFNode(), *parts, neuron.IFNode(), nn.Flatten(),
            nn.LazyLinear(CLASSES),
        )  # fmt: skip
        self.body[0].weight.data.mul_(4)

    def forward(self, x: Tensor) -> Tensor:
        return torch.as_tensor(self.body(x))


def conv() -> nn.Conv2d:
    made = nn.Conv2d(4, 4, 3, padding=1)
    made.weight.data.mul_(3)
    return made


def pools() -> dict[str, Pools]:
    return {
        "pool, convolution": Pools(nn.AvgPool2d(2), conv()),
        "convolution, pool": Pools(conv(), nn.AvgPool2d(2)),
        "pool, convolution, pool": Pools(nn.AvgPool2d(2), conv(), nn.AvgPool2d(2)),
        "pool, pool": Pools(nn.AvgPool2d(2), nn.AvgPool2d(2)),
        "convolution, norm, pool": Pools(conv(), nn.BatchNorm2d(4), nn.AvgPool2d(4)),
        "pool, convolution, norm, pool": Pools(
            nn.AvgPool2d(2), conv(), nn.BatchNorm2d(4), nn.AvgPool2d(2)
        ),
        "maximum, pool": Pools(nn.MaxPool2d(2), nn.AvgPool2d(2), conv()),
        "overlapping pools": Pools(nn.AvgPool2d(3, 1), conv()),
        "pool, 1x1, pool": Pools(nn.AvgPool2d(2), nn.Conv2d(4, 4, 1), nn.AvgPool2d(2)),
        "strided, pool": Pools(nn.Conv2d(4, 4, 3, 2, 1), nn.AvgPool2d(2)),
        "pool, strided, pool": Pools(nn.AvgPool2d(2), nn.Conv2d(4, 4, 3, 2, 1), nn.AvgPool2d(2)),
        "pool, convolution, two pools": Pools(
            nn.AvgPool2d(2), conv(), nn.AvgPool2d(2), nn.AvgPool2d(2)
        ),
        "padding left out": Pools(nn.AvgPool2d(3, 2, 1, count_include_pad=False), conv()),
        "partial windows": Pools(nn.AvgPool2d(3, 2, ceil_mode=True), conv()),
        "partial padded windows": Pools(conv(), nn.AvgPool2d(3, 2, 1, ceil_mode=True)),
        "partial windows, divided by 3": Pools(
            nn.AvgPool2d(3, 3, ceil_mode=True, divisor_override=3), conv()
        ),
        "maximum of partial windows": Pools(nn.MaxPool2d(3, 2, ceil_mode=True), conv()),
        "dilated, pool": Pools(nn.Conv2d(4, 4, 3, padding=2, dilation=2), nn.AvgPool2d(2)),
    }


def jelly() -> dict[str, Callable[[], nn.Module]]:
    """Layers of SpikingJelly with a memory, one timestep per call."""

    def net(*between: nn.Module) -> nn.Module:
        return nn.Sequential(linear(12, 16), neuron.IFNode(), *between, linear(16, CLASSES))

    return {
        "SynapseFilter": lambda: net(layer.SynapseFilter(tau=3.0)),
        "SynapseFilter, learned": lambda: net(layer.SynapseFilter(tau=3.0, learnable=True)),
        "Delay": lambda: net(layer.Delay(2)),
        "ElementWiseRecurrentContainer": lambda: nn.Sequential(
            linear(12, 16),
            layer.ElementWiseRecurrentContainer(neuron.IFNode(), lambda x, y: x + 0.5 * y),
            linear(16, CLASSES),
        ),
        "LinearRecurrentContainer": lambda: nn.Sequential(
            linear(12, 16),
            layer.LinearRecurrentContainer(neuron.IFNode(), 16, 16),
            linear(16, CLASSES),
        ),
        "Dropout": lambda: net(layer.Dropout(0.5)),
        "two neurons": lambda: net(linear(16, 16), neuron.LIFNode(v_reset=None)),
    }


def _add(make: Callable[[], nn.Module], x: tuple[int, ...], says: str, name: str) -> None:
    """Register a network that does one timestep per call."""

    def case() -> Case:
        given, net = torch.rand(x), make()
        net(given)  # lazy layers find their sizes
        functional.reset_net(net)
        return Case(net, given, by_calls(net, given), {"T": T}, says)

    CASES[name] = case


def _look_alike(how: str, says: str) -> Case:
    net, x = OverTime(how), torch.rand(6, 12)
    return Case(net, x, net(x).detach(), {}, says)


for _how, _says in {
    "is the same": "", "reset is soft": "neuron (", "reset is late": "neuron (",
    "never resets": "neuron (", "rounds": "neuron (", "drops some": "neuron (",
    "has weights": "neuron (",
}.items():  # fmt: skip
    CASES[f"a look-alike: {_how}"] = partial(_look_alike, _how, _says)
for _name, (_make, _says) in HOOKS.items():
    _add(_make, (6, 12), _says, _name)
for _name in pools():
    _add(partial(lambda name: pools()[name], _name), (6, 1, 8, 8), "", _name)
for _name, _made in jelly().items():
    _add(_made, (6, 12), "", _name)


class OneSample(nn.Module):
    """A batch of one, written into the module in one of several ways."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.first, self.spike, self.last = linear(12, 16), neuron.IFNode(), linear(16, CLASSES)
        self.how, self.mem = how, torch.zeros(1, CLASSES)
        self.register_buffer("kept", torch.zeros(1, CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        x = x.reshape(1, 12) if self.how == "reshape" else x.view(1, -1)
        spikes = self.spike(self.first(x))
        out = self.last(spikes.view(1, 16) if self.how == "view of spikes" else spikes)
        if self.how == "buffer in place":
            self.kept.mul_(0.9).add_(out)
            return self.kept.clone()
        if self.how == "attribute in place":
            self.mem.mul_(0.9).add_(out)
            return self.mem.clone()
        return torch.as_tensor(out)


def _one_sample(how: str) -> Case:
    net, x = OneSample(how), torch.rand(6, 12)
    steps = torch.cat([by_calls(net, one[None]) for one in x])
    return Case(net, x, steps, {"T": T}, "", "steps", x[:1])


for _how in ("view", "reshape", "view of spikes", "buffer in place", "attribute in place"):
    CASES[f"one sample alone: {_how}"] = partial(_one_sample, _how)


def _longer(says: str, cut: bool) -> Case:
    """Frames, of which the example has fewer than T."""

    def forward(net: Any, x: Tensor) -> Tensor:
        held: list[Tensor] = []
        mem, outs = 0, []
        for t in range(x.shape[1]):
            held.append(x[:, t] @ net.first.weight.T)
            now = sum(h / (1 + len(held) - k) for k, h in enumerate(held)) if cut else held[-1]
            mem = 0.9 * mem + net.last(net.spike(now))
            outs.append(mem)
        return torch.stack(outs)

    net, x = made(forward), torch.rand(6, 7, 12)
    with torch.no_grad():
        steps = copy.deepcopy(net)(x).transpose(0, 1)
    return Case(net, x, steps, {"T": 7}, says, "steps", x[:2, :4])


CASES["more frames than the example: a leak"] = partial(_longer, "", False)
CASES["more frames than the example: cut"] = partial(_longer, "goes back to the first", True)
