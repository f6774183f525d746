"""A timestep of each kind of node in torch, for a batch of samples: :func:`runner` by node kind.

What a kind computes is what :mod:`seenn_deploy.simulator.nodes` says of it. Whole numbers lie in
floating-point tensors whose type holds them exactly (:mod:`.numbers`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import singledispatch
from math import prod
from typing import Protocol, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from seenn_deploy._typing import Array
from seenn_deploy.errors import ProgramError
from seenn_deploy.ir.bounds import Interval
from seenn_deploy.ir.fixed_point import SHIFT, UNITY
from seenn_deploy.ir.nodes import (
    Filter,
    Maximum,
    Node,
    Population,
    Product,
    Readout,
    Relay,
    Sum,
)
from seenn_deploy.simulator.arithmetic import Arithmetic
from seenn_deploy.simulator.kernels.vector_fire import STATE_LIMIT
from seenn_deploy.simulator.tensors.numbers import wrapped

Rows: TypeAlias = Tensor | slice
"""The slots of a batch: their numbers, or all of them."""
Counted: TypeAlias = dict[str, Tensor | int]
"""Operations by name, (n,) or the same for all samples."""


@dataclass(frozen=True)
class Place:
    """What a layer's tensors are made for.

    Parameters
    ----------
    arithmetic : Arithmetic
        In whose units constants are given.
    whole : bool
        Whether its values are whole numbers.
    kind : torch.dtype
        Of the currents.
    bound : Interval
        Of the currents, where they are whole numbers.
    device : torch.device
    slots : int
    """

    arithmetic: Arithmetic
    whole: bool
    kind: torch.dtype
    bound: Interval
    device: torch.device
    slots: int

    def units(self, values: Array) -> Array:
        """Values in the type of the other engine's currents."""
        return np.asarray(values).astype(self.arithmetic.value)

    def tensor(self, values: object, kind: torch.dtype | None = None) -> Tensor:
        """Constants as a tensor of their own shape."""
        return torch.as_tensor(np.asarray(values)).to(self.device, kind or self.kind)

    def state(self, node: Node, kind: torch.dtype | None = None) -> Tensor:
        """Zeros for each neuron of each slot."""
        return torch.zeros(self.slots, *node.shape, dtype=kind or self.kind, device=self.device)


_NO_FORM = "{node.name}: the torch engine has no form for a {node.kind} node; leave out the device"


class Runner(Protocol):
    """A layer with the state of all slots."""

    def begin(self, rows: Rows) -> None:
        """Let a sample begin in each of `rows`."""

    def step(self, rows: Rows, current: Tensor) -> tuple[Tensor, Counted]:
        """Take currents (n, *arriving); return what is sent, (n, *shape), and what it costs.

        The operations of synapses are counted elsewhere.
        """


@singledispatch
def runner(node: Node, place: Place) -> Runner:
    """Make ready what a worker keeps of `node`; a new kind registers its own.

    Raises
    ------
    ProgramError
        When the kind has not.
    """
    raise ProgramError(_NO_FORM.format(node=node))


def check(node: Node) -> None:
    """Raise ProgramError where the kind of a node has no runner."""
    if runner.dispatch(type(node)) is runner.dispatch(Node):
        raise ProgramError(_NO_FORM.format(node=node))


def number(flags: Tensor) -> Tensor:
    """How many are true of each sample, int64 (n,)."""
    return flags.flatten(1).sum(1, dtype=torch.int32).to(torch.int64)


class Neurons:
    """A population: potentials `v` (slots, *shape), and synaptic currents `u` where they last."""

    def __init__(self, node: Population, place: Place, bias: Array | None = None) -> None:
        self.node, given = node, place.arithmetic
        leaks = [np.asarray(given.counted(x)) for x in (node.tau_syn, node.tau)]
        levels = [np.asarray(given.at_state(x)) for x in (node.v_threshold, node.subtracted)]
        self.bias = place.units(node.bias if bias is None else bias)
        kind = self._kind(place, leaks, levels)
        self.v, self.v_init = place.state(node, kind), place.tensor(node.v_init, kind)
        self.u = place.state(node, kind) if np.any(node.tau_syn) else None
        self.tau_syn, self.tau = (place.tensor(x, kind) for x in leaks)
        self.threshold, self.subtracted = (place.tensor(x, kind) for x in levels)
        self.added = place.tensor(self.bias, kind)

    def _kind(self, place: Place, leaks: list[Array], levels: list[Array]) -> torch.dtype:
        """The type of potentials."""
        return place.kind

    def begin(self, rows: Rows) -> None:
        """Set the potentials to their initial value, and let no current flow."""
        self.v[rows] = self.v_init
        if self.u is not None:
            self.u[rows] = 0

    def step(self, rows: Rows, current: Tensor) -> tuple[Tensor, Counted]:
        """Update the neurons with their currents, and send their spikes."""
        a, cut = self._arriving(rows, current)
        old = self.v[rows]  # a view, if these are all rows
        active = number((a != 0) | (old != 0))
        free = self._leaked(self.tau, old) + a
        new = self._held(free)
        spike = new >= self.threshold if self.node.comparison == ">=" else new > self.threshold
        rest = new - self.subtracted if self.node.reset == "soft" else torch.zeros_like(new)
        self.v[rows] = torch.where(spike, rest, new)
        fired = number(spike)
        counts: Counted = {
            "updates_active": active,
            "updates_inactive": prod(self.node.shape) - active,
            "spikes": fired,
            "resets": fired,  # every spike resets its neuron, softly or not
        }
        if new is not free:
            clipped = free != new
            counts["saturated"] = number(clipped if cut is None else cut | clipped)
        return spike.to(torch.float32), counts

    def _arriving(self, rows: Rows, current: Tensor) -> tuple[Tensor, Tensor | None]:
        """What meets the potentials, and where integers ended, where they can."""
        a = current + self.added
        if self.u is not None:
            a = self._leaked(self.tau_syn, self.u[rows]) + a
            self.u[rows] = a
        return a, None

    def _leaked(self, share: Tensor, state: Tensor) -> Tensor:
        """What a timestep leaves of a state."""
        return share * state

    def _held(self, free: Tensor) -> Tensor:
        """What the chip's register holds of a potential."""
        return free


class WholeNeurons(Neurons):
    """Neurons in the arithmetic of Lava's ``fixed_pt`` models, design, section 6."""

    def _kind(self, place: Place, leaks: list[Array], levels: list[Array]) -> torch.dtype:
        """float32 where nothing that is computed leaves 24 bits, else float64."""
        shares = np.concatenate([np.ravel(leak) for leak in leaks])
        halves = np.isin(shares, [0, *(1 << np.arange(13))])  # only the exponent changes
        sizes = (np.abs(x).max() for x in (*levels, self.bias, self.node.v_init))
        # A current that may wrap is larger than the register that it wraps in.
        self.wraps = place.bound.size << SHIFT > STATE_LIMIT - 1
        small = max(sizes) < STATE_LIMIT and not self.wraps
        return torch.float32 if small and bool(halves.all()) else torch.float64

    def _arriving(self, rows: Rows, current: Tensor) -> tuple[Tensor, Tensor | None]:
        shifted = current.to(self.v.dtype) * (1 << SHIFT)
        arrived = _wrapped(shifted) if self.wraps else shifted
        flowing, cut = arrived + self.added, arrived != shifted if self.wraps else None
        if self.u is None:
            return flowing, cut
        flowing = self._leaked(self.tau_syn, self.u[rows]) + flowing
        kept = self._held(flowing)
        self.u[rows] = kept
        clipped = flowing != kept
        return kept, clipped if cut is None else cut | clipped

    def _leaked(self, share: Tensor, state: Tensor) -> Tensor:
        return (state * (share / UNITY)).trunc()

    def _held(self, free: Tensor) -> Tensor:
        return free.clamp(1 - STATE_LIMIT, STATE_LIMIT - 1)


def _wrapped(u: Tensor) -> Tensor:
    """The wrap of a 32-bit register, then Lava's own single wrap at 24 bits."""
    u = wrapped(u, 1 << 31)
    down = torch.where(u > STATE_LIMIT, u - 2 * STATE_LIMIT, u)
    return torch.where(u <= -STATE_LIMIT, u + 2 * STATE_LIMIT, down)


class Largest:
    """A max pool over currents."""

    def __init__(self, node: Maximum | Relay, place: Place, bias: Array) -> None:
        self.comparisons = node.comparisons
        self.window = node.window, node.stride, node.padding
        self.bias = place.tensor(place.arithmetic.as_current(place.units(bias)))

    def of(self, current: Tensor) -> Tensor:
        """Return the largest current of each window, bias included."""
        return functional.max_pool2d(current + self.bias, *self.window)


class Pooled:
    """A population behind a max pool over its currents."""

    def __init__(self, node: Maximum, place: Place) -> None:
        # A bias that is the same within every channel may come behind the maximum, as it is; any
        # other comes before, in units of currents.
        alike = node.bias.size == 1 or node.bias.shape[-2:] == (1, 1)
        none = np.zeros_like(node.bias.ravel()[:1].reshape(()))
        before, behind = (none, node.bias) if alike else (node.bias, none)
        self.largest = Largest(node, place, before)
        self.neurons = (WholeNeurons if place.whole else Neurons)(node, place, behind)

    @property
    def v(self) -> Tensor:
        """Potentials (slots, *shape)."""
        return self.neurons.v

    def begin(self, rows: Rows) -> None:
        """Set the potentials to their initial value."""
        self.neurons.begin(rows)

    def step(self, rows: Rows, current: Tensor) -> tuple[Tensor, Counted]:
        """Find the largest currents, and fire."""
        sent, counts = self.neurons.step(rows, self.largest.of(current))
        return sent, counts | {"comparisons": self.largest.comparisons}


class Stateless:
    """A node that keeps nothing from one timestep to the next."""

    def begin(self, rows: Rows) -> None:
        """Begin a sample."""


def _payloads(values: Tensor) -> Counted:
    """What sending values costs: +-1 is a spike, any other is graded."""
    sent = number(values != 0)
    return {"spikes": sent, "graded": sent - number(values.abs() == 1)}


def _reals(values: Tensor) -> Counted:
    """What sending real values costs, of which none is a mere spike."""
    sent = number(values != 0)
    return {"spikes": sent, "graded": sent}


class Adder(Stateless):
    """A sum node, which adds the spikes that arrive."""

    def step(self, rows: Rows, current: Tensor) -> tuple[Tensor, Counted]:
        """Send the sum of the spikes that arrived."""
        return current, _payloads(current)


class Multiplier(Stateless):
    """A product, as many small matrix products: axes that both factors have, and those of one."""

    def __init__(self, node: Product, place: Place) -> None:
        self.sums, self.shape = bool(node.summed), node.shape
        self.bias = place.tensor(place.units(node.bias))
        left, right, made = node.as_matrices(np.arange(prod(node.shape)))
        self.left, self.right = place.tensor(left, torch.int64), place.tensor(right, torch.int64)
        self.order = place.tensor(np.argsort(made.ravel()), torch.int64)

    def step(self, rows: Rows, current: Tensor) -> tuple[Tensor, Counted]:
        """Multiply, count, and send."""
        factors = current + self.bias
        left, right = factors[:, self.left], factors[:, self.right]
        products = (left @ right).flatten(1)[:, self.order].reshape(-1, *self.shape)
        # Each element of a column of the left factor meets each of a row of the right one.
        ones, others = (kind.sum(2) for kind in _spikes_and_payloads(left))
        ones_too, others_too = (kind.sum(3) for kind in _spikes_and_payloads(right))
        both = number(ones * ones_too)
        payloads = number(ones * others_too) + number(others * ones_too)
        multiplied = number(others * others_too)
        # Of two spikes a product is an AND; summed up, or of a payload, it is an addition.
        added = payloads + both if self.sums else payloads
        met = {
            "ands": torch.zeros_like(both) if self.sums else both,
            "payloads": payloads,
            **dict.fromkeys(("ac", "ac_effective", "own_ac"), added),
            **dict.fromkeys(("mac", "mac_effective", "own_mac"), multiplied),
        }
        return products, _payloads(products) | met


def _spikes_and_payloads(factor: Tensor) -> tuple[Tensor, Tensor]:
    spikes = factor.abs() == 1
    return spikes, (factor != 0) & ~spikes


class Relayed(Stateless):
    """The largest currents of windows, which are sent on."""

    def __init__(self, node: Relay, place: Place) -> None:
        self.largest = Largest(node, place, node.bias)

    def step(self, rows: Rows, current: Tensor) -> tuple[Tensor, Counted]:
        """Find the largest currents, and send what is not 0."""
        found = self.largest.of(current)
        return found, _reals(found) | {"comparisons": self.largest.comparisons}


class Filtering:
    """A synapse filter with its currents, (slots, *shape)."""

    def __init__(self, node: Filter, place: Place) -> None:
        self.node, self.kept, self.bias = node, place.state(node), place.tensor(node.bias)
        self.leak = 1 - place.tensor(node.tau)

    def begin(self, rows: Rows) -> None:
        """Let no current flow."""
        self.kept[rows] = 0

    def step(self, rows: Rows, current: Tensor) -> tuple[Tensor, Counted]:
        """Let the currents leak and grow, and send what is not 0."""
        x, before = current + self.bias, self.kept[rows]
        leaking = number(before != 0)
        flowing = before - (1 - x) * (self.leak * before) + x
        self.kept[rows] = flowing
        updates = {
            "updates_active": leaking,
            "updates_inactive": prod(self.node.shape) - leaking,
        }
        return flowing, _reals(flowing) | updates


class Logits:
    """The readout; `z` are the logits (slots, M), `flowing` its synaptic currents."""

    def __init__(self, node: Readout, place: Place) -> None:
        self.kind = torch.int64 if place.whole else torch.float64
        self.whole, self.first = place.whole, torch.int64 if place.whole else place.kind
        self.bias = place.tensor(place.units(node.bias), self.first)
        self.tau_syn, self.tau = (
            place.tensor(place.arithmetic.counted(x), self.kind) for x in (node.tau_syn, node.tau)
        )
        self.z, self.flowing = (place.state(node, self.kind) for _ in range(2))

    def begin(self, rows: Rows) -> None:
        """Set logits and synaptic currents to zero."""
        self.z[rows] = 0
        self.flowing[rows] = 0

    def step(self, rows: Rows, current: Tensor) -> tuple[Tensor, Counted]:
        """Add to the logits; what is sent goes nowhere."""
        arrived = (current.to(self.first) + self.bias).to(self.kind)
        self.flowing[rows] = self._leaked(self.tau_syn, self.flowing[rows]) + arrived
        self.z[rows] = self._leaked(self.tau, self.z[rows]) + self.flowing[rows]
        return current, {}

    def _leaked(self, share: Tensor, state: Tensor) -> Tensor:
        left = share * state
        return torch.div(left, UNITY, rounding_mode="trunc") if self.whole else left


@runner.register
def _(node: Population, place: Place) -> Runner:
    return (WholeNeurons if place.whole else Neurons)(node, place)


runner.register(Maximum, Pooled)


@runner.register
def _(node: Sum, place: Place) -> Runner:
    return Adder()


runner.register(Product, Multiplier)
runner.register(Relay, Relayed)
runner.register(Filter, Filtering)
runner.register(Readout, Logits)
