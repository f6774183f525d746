"""A readout's potential as the module's output: all of it, or refused; never a part as all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import norse.torch as norse
import numpy as np
import pytest
import snntorch
import torch
from norse.torch.functional.leaky_integrator import li_feed_forward_step
from spikingjelly.activation_based import functional, neuron
from torch import Tensor, nn

import seenn_deploy as sd

N, T, CLASSES = 3, 4, 5
Recorded = tuple[Any, Any]  # hidden spikes and potentials of the readout, by timestep


class Net(nn.Module):
    """A hidden layer and a readout; `out` makes the module's result of what a loop recorded."""

    def __init__(self, out: Callable[[Any, Any], Any]) -> None:
        super().__init__()
        self.out = out
        self.fc1, self.fc2 = nn.Linear(6, 20), nn.Linear(20, CLASSES, bias=False)
        self.fc1.weight.data.mul_(8)
        self.fc2.weight.data.mul_(4)

    def forward(self, x: Tensor) -> Any:
        return self.out(*self.recorded(x))

    def recorded(self, x: Tensor) -> Recorded:
        raise NotImplementedError


class SnnTorch(Net):
    def __init__(self, out: Any) -> None:
        super().__init__(out)
        self.hidden = snntorch.Leaky(beta=0.9)
        self.readout = snntorch.Leaky(beta=0.8, reset_mechanism="none")

    def recorded(self, x: Tensor) -> Recorded:
        mem1, mem2 = self.hidden.reset_mem(), self.readout.reset_mem()
        spikes, potentials = [], []
        for _ in range(T):
            spike, mem1 = self.hidden(self.fc1(x), mem1)
            _, mem2 = self.readout(self.fc2(spike), mem2)
            spikes.append(spike)
            potentials.append(mem2)
        return spikes, potentials


class NorseCells(Net):
    def __init__(self, out: Any, activation: Any = None) -> None:
        super().__init__(out)
        self.hidden, self.readout = norse.LIFCell(), norse.LICell()
        if activation is not None:
            self.readout.activation = activation

    def recorded(self, x: Tensor) -> Recorded:
        first = second = None
        spikes, potentials = [], []
        for _ in range(T):
            spike, first = self.hidden(4 * self.fc1(x), first)
            potential, second = self.readout(self.fc2(spike), second)
            spikes.append(spike)
            potentials.append(potential)
        return spikes, potentials


class NorseStreams(Net):
    def __init__(self, out: Any, activation: Any = None) -> None:
        super().__init__(out)
        self.hidden, self.readout = norse.LIF(), norse.LI()
        if activation is not None:
            self.readout.activation = activation

    def recorded(self, x: Tensor) -> Recorded:
        spikes, _ = self.hidden(4 * self.fc1(x.unsqueeze(0).repeat(T, 1, 1)))
        return spikes, self.readout(self.fc2(spikes))[0]


class ByHand(Net):
    """SpikingJelly's neurons before a leaky sum that is the module's own."""

    def __init__(self, out: Any) -> None:
        super().__init__(out)
        self.hidden = neuron.IFNode()

    def recorded(self, x: Tensor) -> Recorded:
        functional.reset_net(self.hidden)
        state: Any = 0.0
        spikes, states = [], []
        for _ in range(T):
            spikes.append(self.hidden(self.fc1(x)))
            state = 0.8 * state + self.fc2(spikes[-1])
            states.append(state)
        return spikes, states


NETS: list[Any] = [SnnTorch, NorseCells, NorseStreams, ByHand]


def stacked(values: Any) -> Tensor:
    return torch.stack(list(values))


# What the module returns, and where batch, timesteps and classes lie in it.
TAKEN: dict[str, tuple[Callable[[Any, Any], Any], str]] = {
    "the last": (lambda _, v: v[-1], "nm"),
    "the last of a stack": (lambda _, v: stacked(v)[-1], "nm"),
    "the last, taken apart": (lambda _, v: stacked(v).unbind(0)[-1], "nm"),
    "classes first": (lambda _, v: v[-1].t(), "mn"),
    "with an axis of 1": (lambda _, v: v[-1].unsqueeze(1), "n1m"),
    "and without it again": (lambda _, v: v[-1].unsqueeze(1)[:, 0], "nm"),
    "a stack": (lambda _, v: stacked(v), "tnm"),
    "a stack behind the batch": (lambda _, v: torch.stack(list(v), 1), "ntm"),
    "a stack, permuted": (lambda _, v: stacked(v).permute(2, 0, 1), "mtn"),
    "put side by side": (lambda _, v: torch.cat([p.unsqueeze(1) for p in v], 1), "ntm"),
}
REFUSED: dict[str, Callable[[Any, Any], Any]] = {
    "the first": lambda _, v: v[0],
    "the first of a stack": lambda _, v: stacked(v)[0],
    "the first, behind an axis of 1": lambda _, v: stacked(v).unsqueeze(0)[:, 0],
    "the first, taken apart": lambda _, v: stacked(v).unbind(0)[0],
    "the first half": lambda _, v: stacked(list(v)[: T // 2]),
    "all but the last": lambda _, v: stacked(v)[:-1],
    "all but the first": lambda _, v: stacked(v)[1:],
    "backwards": lambda _, v: stacked(v).flip(0),
    "the first over and over": lambda _, v: torch.stack([v[0]] * T),
    "a sample": lambda _, v: v[-1][0],
    "a sample of a stack": lambda _, v: stacked(v)[:, 0],
    "some samples": lambda _, v: v[-1][:1],
    "a class": lambda _, v: v[-1][:, 0],
    "a class of a stack": lambda _, v: stacked(v)[..., 0],
    "some classes": lambda _, v: v[-1][:, :3],
    "timesteps on the batch's axis": lambda _, v: torch.cat(list(v)),
    "timesteps on the classes' axis": lambda _, v: torch.cat(list(v), 1),
    "twice": lambda _, v: v[-1].unsqueeze(0).expand(2, -1, -1),
    "rounded": lambda _, v: v[-1].half(),
    "cut to whole numbers": lambda _, v: v[-1].int(),
    "beside hidden spikes": lambda s, v: (stacked(s), v[-1]),
    "before hidden spikes": lambda s, v: (v[-1], stacked(s)),
    "in a dict": lambda s, v: {"spikes": stacked(s), "logits": stacked(v)},
    "the first and the last": lambda _, v: (v[0], v[-1]),
}


def made(kind: Any, *given: Any) -> tuple[Any, Tensor]:
    torch.manual_seed(0)
    return kind(*given).eval(), torch.rand(N, 6)


def logits_of(net: Any, x: Tensor, **options: Any) -> np.ndarray:
    graph = sd.import_model(net, x, **options)
    images = x.numpy().reshape(N, 6, 1, 1)
    return np.asarray(sd.simulate(sd.compile(graph), images, full_trace=True).logits)


@pytest.mark.parametrize("kind", NETS)
@pytest.mark.parametrize("name", TAKEN)
def test_a_potential_is_read_along_its_axes(name: str, kind: Any) -> None:
    out, axes = TAKEN[name]
    net, x = made(kind, out)
    with torch.no_grad():
        theirs = net(x).numpy()
    ours = logits_of(net, x)
    where = [axes.replace("1", "").index(a) for a in "ntm" if a in axes]
    theirs = theirs.squeeze().transpose(where)
    if "t" not in axes:
        ours = ours[:, -1]
    elif kind is ByHand:  # a stack of currents is summed over time
        theirs = theirs.cumsum(1)
    assert np.abs(theirs).max() > 0.1
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("kind", NETS)
@pytest.mark.parametrize("name", REFUSED)
def test_a_part_of_a_potential_is_refused(name: str, kind: Any) -> None:
    net, x = made(kind, REFUSED[name])
    with pytest.raises(sd.SeennError) as caught:
        sd.import_model(net, x)
    said = str(caught.value)
    assert ("\n" not in said and ".py:" in said) or "say which one holds the logits" in said
    assert "of the module and" not in said, "found by the check, not by the reading"


@pytest.mark.parametrize("kind", NETS)
def test_the_output_that_was_asked_for(kind: Any) -> None:
    net, x = made(kind, lambda s, v: {"spikes": stacked(s), "logits": v[-1]})
    with torch.no_grad():
        theirs = net(x)
    np.testing.assert_allclose(
        logits_of(net, x, output="logits")[:, -1], theirs["logits"], atol=1e-5
    )
    spikes = logits_of(net, x, output="spikes")
    np.testing.assert_allclose(spikes[:, -1], theirs["spikes"].sum(0), atol=1e-5)


def test_all_and_the_last_of_one_potential_are_one_readout() -> None:
    net, x = made(NorseCells, lambda _, v: (stacked(v), v[-1]))
    with torch.no_grad():
        theirs = net(x)[0]
    np.testing.assert_allclose(logits_of(net, x), theirs.transpose(0, 1), atol=1e-5)


# --- the check compares potentials, too ----------------------------------------------------------


def halved(*args: Any, **named: Any) -> Any:
    """Norse's own readout, of half the current."""
    current, *rest = args
    return li_feed_forward_step(0.5 * current, *rest, **named)


@pytest.mark.parametrize("kind", [NorseCells, NorseStreams])
@pytest.mark.parametrize("out", [lambda _, v: v[-1], lambda _, v: stacked(v)])
def test_a_readout_that_computes_something_else_is_found(kind: Any, out: Any) -> None:
    net, x = made(kind, out, halved)
    with pytest.raises(sd.SeennError, match=r"readout at test_potentials\.py.*logit \d at timest"):
        sd.import_model(net, x)


def test_a_state_beside_a_readout_s_potential_is_not_read() -> None:
    class States(NorseCells):
        def forward(self, x: Tensor) -> Any:
            state = None
            spike, _ = self.hidden(4 * self.fc1(x))
            _, state = self.readout(self.fc2(spike), state)
            return state

    net, x = made(States, None)
    with pytest.raises(sd.SeennError, match="output: "):
        sd.import_model(net, x, T=1)


def test_a_state_handed_on_with_other_axes_is_refused() -> None:
    class Turned(SnnTorch):
        def recorded(self, x: Tensor) -> Recorded:
            mem1, mem2 = self.hidden.reset_mem(), self.readout.reset_mem()
            potentials = []
            for _ in range(T):
                spike, mem1 = self.hidden(self.fc1(x), mem1)
                _, mem2 = self.readout(self.fc2(spike), mem2)
                potentials.append(mem2)
                mem2 = mem2.t()
            return [], potentials

    torch.manual_seed(0)
    net, x = Turned(lambda _, v: v[-1]).eval(), torch.rand(CLASSES, 6)
    with pytest.raises(sd.SeennError, match="axes in another order"):
        sd.import_model(net, x)
