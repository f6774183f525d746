"""More odd networks: states in places of their own, what depends on the batch, bits and truths.

They are registered beside those of ``odd_networks``, and run by the same test.
"""

from __future__ import annotations

from typing import Any

import torch
from spikingjelly.activation_based import functional
from torch import Tensor
from torch.nn import functional as fn

from tests.frontends.torch.odd_networks import CLASSES, T, calls, handed, whole

seen = {"calls": 0}  # what a module of the user's may count in


class Box:
    """A place to keep a state that is no module."""

    v: Any = 0.0


# --- states in places of their own ----------------------------------------------------------------


@calls("does what its trace does not show")
def counts_in_the_file(net: Any, x: Tensor) -> Tensor:
    seen["calls"] += 1
    return net.last(net.spike(net.first(x) * (1.5 if seen["calls"] % 2 else 0.5)))


@calls("does what its trace does not show")
def counts_in_its_class(net: Any, x: Tensor) -> Tensor:
    kind = type(net)
    kind.calls = getattr(kind, "calls", 0) + 1
    return net.last(net.spike(net.first(x) + 0.2 * kind.calls))


@calls()
def state_in_a_dict(net: Any, x: Tensor) -> Tensor:
    net.mem = net.mem or {}
    net.mem["v"] = 0.7 * net.mem.get("v", 0.0) + net.last(net.spike(net.first(x)))
    return torch.as_tensor(net.mem["v"])


@calls()
def state_in_an_object(net: Any, x: Tensor) -> Tensor:
    net.mem = net.mem or Box()
    net.mem.v = 0.7 * net.mem.v + net.last(net.spike(net.first(x)))
    return torch.as_tensor(net.mem.v)


@calls("what it returns is made in another way")
def spikes_of_two_before(net: Any, x: Tensor) -> Tensor:
    spikes = net.spike(net.first(x))
    net.mem = [*(net.mem or [torch.zeros_like(spikes)] * 2), spikes][-3:]
    return net.last(net.mem[0])


@calls(steps=7)
def trace_of_spikes(net: Any, x: Tensor) -> Tensor:
    net.zero = 0.8 * net.zero + net.spike(net.first(x))
    return net.last(net.other(net.back(net.zero)))


@calls(steps=7)
def fed_back_from_afar(net: Any, x: Tensor) -> Tensor:
    before = 0 if net.mem is None else net.back(net.mem)
    net.mem = net.other(net.back(net.spike(net.first(x) + before)) + 0.2)
    return net.last(net.mem)


@calls(steps=7)
def fed_back_with_a_bias(net: Any, x: Tensor) -> Tensor:
    # The bias is missing in the first timestep alone.
    before = 0 if net.mem is None else net.back(net.mem) + torch.linspace(-0.5, 0.5, 16)
    net.mem = net.spike(net.first(x) + before)
    return net.last(net.mem)


@calls("a constant in its input (a bias, a norm's shift) is another one at timestep 2", steps=7)
def fed_back_two_later_with_a_bias(net: Any, x: Tensor) -> Tensor:
    earlier = net.mem or []
    before = net.back(earlier[-2]) + 0.3 if len(earlier) > 1 else 0
    net.mem = [*earlier, net.spike(net.first(x) + before)]
    return net.last(net.mem[-1])


@calls("goes back to the first", steps=7)
def a_threshold_that_adapts(net: Any, x: Tensor) -> Tensor:
    spikes = net.spike(net.first(x) - net.zero)
    net.zero = 0.9 * net.zero + 0.3 * spikes
    return net.last(spikes)


@calls("a product of two signals", steps=7)
def refractory_by_hand(net: Any, x: Tensor) -> Tensor:
    now = net.first(x)
    net.mem = net.spike(now if net.mem is None else now * (1 - net.mem))
    return net.last(net.mem)


@calls("at timestep 5", steps=6)
def a_bias_that_ends(net: Any, x: Tensor) -> Tensor:
    net.count += 1
    return net.last(net.spike(net.first(x))) + (1.0 if net.count < 5 else 0.0)


@calls("maximum")
def largest_so_far(net: Any, x: Tensor) -> Tensor:
    now = net.last(net.spike(net.first(x)))
    net.mem = now if net.mem is None else torch.maximum(net.mem, now)
    return torch.as_tensor(net.mem)


@calls("the module runs it 2 times")
def swaps_its_neurons(net: Any, x: Tensor) -> Tensor:
    net.spike, net.other = net.other, net.spike
    return net.last(net.spike(net.first(x)))


@handed()
def two_states_handed_on(net: Any, x: Tensor, states: Any = None) -> Any:
    current, mem = (0, 0) if states is None else states
    current = 0.5 * current + net.first(x)
    mem = 0.9 * mem + net.last(net.spike(current))
    return mem, (current, mem)


# --- the batch, and where it runs -----------------------------------------------------------------


@calls("with 3 samples in a batch")
def scaled_by_the_batch(net: Any, x: Tensor) -> Tensor:
    return net.last(net.spike(net.first(x) * (0.8 + 0.1 * len(x))))


@calls("(or the batch) meets")
def without_the_batch_s_mean(net: Any, x: Tensor) -> Tensor:
    now = net.first(x)
    return net.last(net.spike(now - now.mean(0, keepdim=True)))


@calls("a product of what different samples sent")
def samples_multiplied(net: Any, x: Tensor) -> Tensor:
    spikes = net.spike(net.first(x))
    return net.last(spikes @ (spikes.T @ spikes))


@calls("roll")
def another_sample_s_input(net: Any, x: Tensor) -> Tensor:
    return net.last(net.spike(net.first(x.roll(1, 0))))


@calls("does what its trace does not show")
def otherwise_while_exported(net: Any, x: Tensor) -> Tensor:
    alone = torch.compiler.is_compiling() or torch.compiler.is_exporting()
    return net.last(net.spike(net.first(x) * (1.0 if alone else 1.5)))


@calls()
def otherwise_in_training(net: Any, x: Tensor) -> Tensor:
    return net.last(net.spike(net.first(x) * (1.0 if net.training else 1.5)))


@calls("batch norm in training mode")
def a_norm_that_trains(net: Any, x: Tensor) -> Tensor:
    net.norms[0].train()
    return net.last(net.spike(net.norms[0](net.first(x))))


@calls("log_softmax is not supported; at the end")
def softmax_at_the_end(net: Any, x: Tensor) -> Tensor:
    return net.last(net.spike(net.first(x))).log_softmax(1)


# --- bits, truths and halves ----------------------------------------------------------------------


@calls("sums and products of float16")
def shares_in_half(net: Any, x: Tensor) -> Tensor:
    return net.last((net.spike(net.first(x)).half() * 0.1).float())


@calls("a shift of bits")
def bits_shifted(net: Any, x: Tensor) -> Tensor:
    return net.last((net.spike(net.first(x)).int() << 2).float())


@calls("a logical not (~)")
def truths_turned_round(net: Any, x: Tensor) -> Tensor:
    return net.last((~net.spike(net.first(x)).bool()).float())


@calls()
def truths_times_numbers(net: Any, x: Tensor) -> Tensor:
    return net.last(net.spike(net.first(x)).bool() * 2.5)


@calls()
def whole_numbers_divided(net: Any, x: Tensor) -> Tensor:
    return net.last(net.spike(net.first(x)).int() / 4)


# --- weights and places ---------------------------------------------------------------------------


@calls("weights on the left")
def weights_on_the_left(net: Any, x: Tensor) -> Tensor:
    return net.last((net.back.weight @ net.spike(net.first(x)).T).T)


@calls()
def weights_made_of_weights(net: Any, x: Tensor) -> Tensor:
    current = fn.linear(x, net.first.weight * 2 - 0.5, net.first.bias.exp())
    return fn.linear(net.spike(current), net.last.weight / 2)


@calls()
def the_same_half_twice(net: Any, x: Tensor) -> Tensor:
    spikes = net.spike(net.first(x))
    return net.last(torch.cat((spikes[:, :8], spikes[:, :8]), 1))


@calls(x=(6, 1, 6, 6))
def largest_of_what_does_not_spike(net: Any, x: Tensor) -> Tensor:
    spikes = 1 - net.spike(net.conv(x))
    return net.wide(fn.max_pool2d(spikes, 3, 1, 1).flatten(1))


@calls(x=(6, 1, 6, 6))
def smallest_of_currents(net: Any, x: Tensor) -> Tensor:
    return net.wide(net.spike(-fn.max_pool2d(-net.conv(x), 3, 1, 1)).flatten(1))


@calls(x=(6, 1, 6, 6))
def largest_of_scaled_spikes(net: Any, x: Tensor) -> Tensor:
    scale = torch.tensor([1.0, 2.0, -1.0, 0.5]).view(1, 4, 1, 1)
    return net.wide(fn.max_pool2d(net.spike(net.conv(x)) * scale, 3, 1, 1).flatten(1))


@calls("pad", x=(6, 1, 6, 6))
def padded_by_ones(net: Any, x: Tensor) -> Tensor:
    now = fn.conv2d(fn.pad(x, (1, 1, 1, 1), value=1.0), net.conv.weight)
    return net.wide(net.spike(now).flatten(1))


# --- all timesteps in a call ----------------------------------------------------------------------


@whole("at timestep 1 is made in another way", reads="last")
def steps_backwards(net: Any, x: Tensor) -> Tensor:
    spikes = [net.spike(net.first(x)) for _ in range(T)]
    return torch.as_tensor(sum(net.last(net.other(net.back(s))) for s in spikes[::-1]))


@whole(reads="last")
def layer_after_layer(net: Any, x: Tensor) -> Tensor:
    spikes = [net.spike(net.first(x)) for _ in range(T)]
    return torch.as_tensor(net.last(sum(net.other(net.back(s)) for s in spikes)))


@whole("at timestep 1 is made in another way", reads="last")
def a_rate_for_the_next_layer(net: Any, x: Tensor) -> Tensor:
    rate = sum(net.spike(net.first(x)) for _ in range(T)) / T
    return torch.as_tensor(sum(net.last(net.other(net.back(rate))) for _ in range(T)))


@whole()
def timesteps_in_the_batch(net: Any, x: Tensor) -> Tensor:
    spikes = torch.stack([net.spike(net.first(x)) for _ in range(T)])
    return net.last(spikes.flatten(0, 1)).view(T, len(x), CLASSES)


@whole("cuts through an axis")
def timesteps_in_the_batch_mixed(net: Any, x: Tensor) -> Tensor:
    spikes = torch.stack([net.spike(net.first(x)) for _ in range(T)])
    return net.last(spikes.flatten(0, 1)).view(len(x), T, CLASSES).transpose(0, 1)


@whole(x=(6, T, 12))
def frames_less_those_before(net: Any, x: Tensor) -> Tensor:
    outs = []
    for t in range(T):
        now = x[:, t] - (x[:, t - 1] if t else 0)
        outs.append(net.last(net.spike(net.first(now))))
    return torch.stack(outs)


@whole("flip", x=(6, T, 12))
def frames_backwards(net: Any, x: Tensor) -> Tensor:
    functional.reset_net(net)
    return torch.stack([net.last(net.spike(net.first(frame))) for frame in x.flip(1).unbind(1)])


# --- leaks that no graph has, and states beside each other ----------------------------------------


@calls("a state of which 1.1 is left")
def a_readout_that_grows(net: Any, x: Tensor) -> Tensor:
    net.zero = 1.1 * net.zero + net.last(net.spike(net.first(x)))
    return torch.as_tensor(net.zero)


@calls("a state of which -0.5 is left")
def a_current_that_swings(net: Any, x: Tensor) -> Tensor:
    net.zero = -0.5 * net.zero + net.first(x)
    return net.last(net.spike(net.zero))


@handed("a state of which -0.5 is left")
def handed_on_with_another_sign(net: Any, x: Tensor, mem: Any = None) -> Any:
    now = net.last(net.spike(net.first(x)))
    mem = now if mem is None else 0.5 * mem + now
    return mem, -mem


@handed()
def handed_on_by_half(net: Any, x: Tensor, mem: Any = None) -> Any:
    now = net.last(net.spike(net.first(x)))
    mem = now if mem is None else 0.5 * mem + now
    return mem, 0.5 * mem


@handed()
def spikes_and_a_state_handed_on(net: Any, x: Tensor, states: Any = None) -> Any:
    before = 0 if states is None else net.back(states[0])
    spikes = net.spike(net.first(x) + before)
    mem = (0 if states is None else 0.8 * states[1]) + net.last(spikes)
    return mem, (spikes, mem)


@calls("what it returns is made in another way", steps=6)
def the_difference_of_two_leaks(net: Any, x: Tensor) -> Tensor:
    now = net.last(net.spike(net.first(x)))
    net.zero, net.plain = 0.9 * net.zero + now, 0.5 * net.plain + now
    return net.zero - net.plain


@calls(steps=6)
def a_current_with_and_without_a_leak(net: Any, x: Tensor) -> Tensor:
    net.zero = 0.5 * net.zero + net.first(x)
    return net.last(net.spike(net.zero) + net.other(net.first(x)))


# --- writes into what others see ------------------------------------------------------------------


@calls("filling a tensor with zeros")
def a_view_emptied_later(net: Any, x: Tensor) -> Tensor:
    now = net.first(x)
    view = now.view(-1, 4, 4)
    spikes = net.spike(now)
    view.zero_()
    return net.last(spikes) + net.last(net.other(net.back(spikes) + now))


@calls()
def a_current_halved_later(net: Any, x: Tensor) -> Tensor:
    now = net.first(x)
    spikes = net.spike(now)
    now.mul_(0.5)
    return net.last(spikes) + net.last(net.other(now))


@calls("in another way", steps=5)
def kept_spikes_halved(net: Any, x: Tensor) -> Tensor:
    spikes = net.spike(net.first(x))
    out = net.last(spikes if net.mem is None else spikes + net.mem)
    net.mem = spikes
    net.mem.mul_(0.5)
    return out


@calls()
def written_where_it_is_told(net: Any, x: Tensor) -> Tensor:
    out = torch.empty(len(x), CLASSES)
    torch.mm(net.spike(net.first(x)), net.last.weight.T, out=out)
    return out


@calls("a concatenation of features")
def spikes_times_their_neighbours(net: Any, x: Tensor) -> Tensor:
    spikes = net.spike(net.first(x))
    return net.last(spikes * torch.cat((spikes[:, 1:], spikes[:, :1]), 1))


@calls("a product of two timesteps")
def spikes_times_those_before(net: Any, x: Tensor) -> Tensor:
    spikes, before = net.spike(net.first(x)), net.mem
    net.mem = spikes
    return net.last(spikes if before is None else spikes * before)


@calls()
def either_layer(net: Any, x: Tensor) -> Tensor:
    one = net.spike(net.first(x))
    two = net.other(net.back(one))
    return net.last(one + two - one * two)


@calls("over axes [0, 1]")
def less_the_mean_of_all(net: Any, x: Tensor) -> Tensor:
    return net.last(net.spike(net.first(x - x.mean())))


@whole("einsum with weights", x=(6, T, 12))
def frames_mixed_over_time(net: Any, x: Tensor) -> Tensor:
    mixed = torch.einsum("ntf,ts->nsf", x, 2 * torch.eye(T))
    return torch.stack([net.last(net.spike(net.first(mixed[:, t]))) for t in range(T)])


@whole()
def two_layers_of_two_timesteps(net: Any, x: Tensor) -> Tensor:
    first = [net.spike(net.first(x)) for _ in range(T)]
    before = [torch.zeros_like(first[0]), *first[:-1]]
    return torch.stack(
        [net.last(net.other(net.back(a) + b)) for a, b in zip(first, before, strict=True)]
    )
