"""Networks as people write them whose state or order no tracer sees; each with its own way to run.

A case gives the module, a batch, and what the module itself says at each timestep, (N, T, M).
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

os.environ.setdefault("LOGURU_LEVEL", "ERROR")

import torch
from spikingjelly.activation_based import functional, layer, neuron
from torch import Tensor, nn

T, CLASSES = 4, 5


@dataclass(frozen=True)
class Case:
    """A module, what it is given, and its own outputs by timestep."""

    module: nn.Module
    x: Tensor
    steps: Tensor
    options: dict[str, Any]


def linear(inputs: int, outputs: int, gain: float = 3.0) -> nn.Linear:
    made = nn.Linear(inputs, outputs)
    made.weight.data.mul_(gain)
    return made


def by_calls(net: nn.Module, x: Tensor, calls: int = T) -> Tensor:
    """One timestep per call, states kept by the module."""
    own = copy.deepcopy(net).eval()
    functional.reset_net(own)
    with torch.no_grad():
        return torch.stack([own(x) for _ in range(calls)], 1)


def handing_on(net: nn.Module, x: Tensor) -> Tensor:
    """One timestep per call, the state handed from one to the next."""
    own, state, outs = copy.deepcopy(net).eval(), None, []
    for _ in range(T):
        out, state = own(x, state)
        outs.append(out.detach())
    return torch.stack(outs, 1)


class Plain(nn.Module):
    """A linear layer, neurons, a linear layer, and what a subclass does around them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.spike, self.last = linear(12, 16), neuron.IFNode(), linear(16, CLASSES)
        self.mem: Any = None
        self.count = 0
        self.register_buffer("kept", torch.zeros(6, CLASSES))
        self.register_buffer("current", torch.zeros(6, 16))
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


def attribute_summed(net: Any, x: Tensor) -> Tensor:
    now = net.last(net.spike(net.first(x)))
    net.mem = now if net.mem is None else net.mem + now
    return net.mem


def attribute_leaky(net: Any, x: Tensor) -> Tensor:
    net.mem = net.last(net.spike(net.first(x))) + (0 if net.mem is None else 0.9 * net.mem)
    return net.mem


def attribute_current(net: Any, x: Tensor) -> Tensor:
    net.mem = net.first(x) + (0 if net.mem is None else 0.5 * net.mem)
    return net.last(net.spike(net.mem))


def attribute_spikes(net: Any, x: Tensor) -> Tensor:
    before = 0 if net.mem is None else net.mem
    net.mem = net.spike(net.first(x))
    return net.last(net.mem + before)


def buffer_in_place(net: Any, x: Tensor) -> Tensor:
    net.kept.mul_(0.8).add_(net.last(net.spike(net.first(x))))
    return net.kept.clone()


def buffer_replaced(net: Any, x: Tensor) -> Tensor:
    net.current = 0.5 * net.current + net.first(x)
    return net.last(net.spike(net.current))


def counter_scales(net: Any, x: Tensor) -> Tensor:
    net.count += 1
    return net.last(net.spike(net.first(x))) / net.count


def counter_picks_a_norm(net: Any, x: Tensor) -> Tensor:
    net.count += 1
    return net.last(net.spike(net.norms[(net.count - 1) % T](net.first(x))))


def counter_decays(net: Any, x: Tensor) -> Tensor:
    net.count += 1
    return net.last(net.spike(net.first(x) * 0.7**net.count))


def sets_its_own_factor(net: Any, x: Tensor) -> Tensor:
    net.count += 1
    return net.last(net.spike(net.first(x) * (2.0 if net.count > 4 else 1.0)))


def list_of_states(net: Any, x: Tensor) -> Tensor:
    net.mem = [*(net.mem or []), net.spike(net.first(x))]
    return net.last(sum(net.mem))


# --- calls, writes and resets ---------------------------------------------------------------------


def warm_up_constant(net: Any, x: Tensor) -> Tensor:
    now = net.first(x)
    net.spike(torch.full_like(now, 0.4))
    return net.last(net.spike(now))


def warm_up_same(net: Any, x: Tensor) -> Tensor:
    now = net.first(x)
    net.spike(now)
    return net.last(net.spike(now))


def sets_v(net: Any, x: Tensor) -> Tensor:
    net.spike.v = 0.5
    return net.last(net.spike(net.first(x)))


def resets_every_call(net: Any, x: Tensor) -> Tensor:
    functional.reset_net(net)
    return net.last(net.spike(net.first(x)))


def changes_the_threshold(net: Any, x: Tensor) -> Tensor:
    net.spike.v_threshold *= 1.5
    return net.last(net.spike(net.first(x)))


def changes_a_weight(net: Any, x: Tensor) -> Tensor:
    out = net.last(net.spike(net.first(x)))
    net.first.weight.data.mul_(0.7)
    return out


def adds_into_spikes(net: Any, x: Tensor) -> Tensor:
    spikes = net.spike(net.first(x))
    shown = net.last(spikes)
    spikes.add_(1)
    return shown + net.last(spikes)


def called_twice(net: Any, x: Tensor) -> Tensor:
    now = net.first(x)
    return net.last(net.spike(now) + net.spike(now))


# --- arithmetic of other kinds --------------------------------------------------------------------


def bytes_wrap(net: Any, x: Tensor) -> Tensor:
    spikes = net.spike(net.first(x)).to(torch.uint8)
    return net.last((spikes * 200 + spikes * 100).float())


def logical_or(net: Any, x: Tensor) -> Tensor:
    spikes = net.spike(net.first(x)).bool()
    return net.last((spikes | spikes.roll(1, 1)).float())


def xor_by_sum(net: Any, x: Tensor) -> Tensor:
    spikes = net.spike(net.first(x))
    return net.last((spikes + spikes.flip(1)) % 2)


def own_permutation(net: Any, x: Tensor) -> Tensor:
    spikes = net.spike(net.first(x))
    return net.last((spikes.view(-1, 4, 4) + spikes.view(-1, 4, 4).transpose(1, 2)).flatten(1))


def halves_swapped(net: Any, x: Tensor) -> Tensor:
    spikes = net.spike(net.first(x))
    return net.last(torch.cat((spikes[:, 8:], spikes[:, :8]), 1))


def gated_by_the_input(net: Any, x: Tensor) -> Tensor:
    return net.last(net.spike(net.first(x)) * (x.mean(1, keepdim=True) > 0.5))


def noise_of_its_own(net: Any, x: Tensor) -> Tensor:
    return net.last(net.spike(net.first(x) + torch.rand(16)))


def as_it_should_be(net: Any, x: Tensor) -> Tensor:
    return net.last(net.spike(net.first(x)))


def in_place_reshape(net: Any, x: Tensor) -> Tensor:
    return net.last(net.spike(net.first(x)).unsqueeze_(1).squeeze_(1))


BY_CALLS = (
    attribute_summed, attribute_leaky, attribute_current, attribute_spikes, buffer_in_place,
    buffer_replaced, counter_scales, counter_picks_a_norm, counter_decays, list_of_states,
    sets_its_own_factor,
    warm_up_constant, warm_up_same, sets_v, resets_every_call, changes_the_threshold,
    changes_a_weight, adds_into_spikes, called_twice, bytes_wrap, logical_or, xor_by_sum,
    own_permutation, halves_swapped, gated_by_the_input, noise_of_its_own, as_it_should_be,
    in_place_reshape,
)  # fmt: skip


def state_handed_on(net: Any, x: Tensor, mem: Any = None) -> Any:
    now = net.last(net.spike(net.first(x)))
    mem = now if mem is None else 0.5 * mem + now
    return mem, mem


def current_handed_on(net: Any, x: Tensor, syn: Any = None) -> Any:
    syn = net.first(x) + (0 if syn is None else 0.5 * syn)
    return net.last(net.spike(syn)), syn


# --- hooks and replaced parts ---------------------------------------------------------------------


def hooks() -> Iterator[tuple[str, nn.Module]]:
    for name, hook in {
        "inverts": lambda m, i, o: 1 - o,
        "doubles": lambda m, i, o: 2 * o,
        "thins out": lambda m, i, o: o * (torch.arange(o.shape[-1]) % 2),
    }.items():
        net = made(as_it_should_be)
        net.spike.register_forward_hook(hook)  # type: ignore[operator, union-attr]
        yield f"hook on the neurons {name}", net
    net = made(as_it_should_be)
    net.first.register_forward_hook(lambda m, i, o: o * 0.5)  # type: ignore[operator, union-attr]
    yield "hook on a linear layer", net
    net = made(as_it_should_be)
    net.spike.register_forward_pre_hook(  # type: ignore[operator, union-attr]
        lambda m, i: (i[0] - 0.3,)
    )
    yield "hook before the neurons", net
    net = made(as_it_should_be)
    own = net.spike.forward  # type: ignore[union-attr]
    net.spike.forward = lambda x: own(x).flip(1)  # type: ignore[union-attr, operator]
    yield "forward of the neurons replaced", net
    net = made(as_it_should_be)
    net.forward = lambda x: net.last(net.spike(net.first(x + 1)))  # type: ignore[assignment, operator]
    yield "forward of the module replaced", net


class LookAlike(nn.Module):
    """The attributes of SEENN's LIFSpike, another neuron."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.thresh, self.tau, self.gama, self.how = 1.0, 0.5, 1.0, how
        self.act = lambda x, _: (x > 0).float()

    def forward(self, x: Tensor) -> Tensor:
        mem, outs = torch.zeros_like(x[:, 0]), []
        for t in range(x.shape[1]):
            mem = self.tau * mem + x[:, t]
            mem = mem.round(decimals=0) if self.how == "rounds" else mem
            spike = self.act(mem - self.thresh, self.gama)
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


def cases() -> Iterator[tuple[str, Callable[[], Case]]]:
    """Every case by its name; made when it is run."""

    def calls(
        make: Callable[[], nn.Module], image: bool = False, steps: int = T
    ) -> Callable[[], Case]:
        def case() -> Case:
            torch.manual_seed(0)
            x = torch.rand(6, 1, 8, 8) if image else torch.rand(6, 12)
            net = make()
            net(x)  # lazy layers find their sizes
            functional.reset_net(net)
            net = make() if not image else net
            return Case(net, x, by_calls(net, x, steps), {"T": steps})

        return case

    for function in BY_CALLS:
        late = 6 if function is sets_its_own_factor else T
        yield function.__name__.replace("_", " "), calls(lambda f=function: made(f), steps=late)
    for function in (state_handed_on, current_handed_on):

        def handed(f: Callable[..., Any] = function) -> Case:
            torch.manual_seed(0)
            net, x = made(f), torch.rand(6, 12)
            return Case(net, x, handing_on(net, x), {"T": T})

        yield function.__name__.replace("_", " "), handed
    for name in [name for name, _ in hooks()]:
        yield name, calls(lambda name=name: dict(hooks())[name])
    for how in ("is the same", "reset is soft", "reset is late", "never resets", "rounds"):

        def stream(how: str = how) -> Case:
            torch.manual_seed(0)
            net, x = OverTime(how), torch.rand(6, 12)
            return Case(net, x, net(x).detach(), {})

        yield f"a look-alike: {how}", stream
    for name in pools():
        yield name, calls(lambda name=name: pools()[name], image=True)
    for name, make in jelly().items():
        yield name, calls(make)
