"""The state that a worker keeps of each layer, and its timestep: :func:`runner` by node kind."""

from __future__ import annotations

from dataclasses import replace
from functools import singledispatch
from math import prod
from typing import Protocol, runtime_checkable

import numpy as np

from seenn_deploy._typing import Array
from seenn_deploy.errors import ProgramError
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
from seenn_deploy.simulator.arithmetic import Arithmetic, Fired, State
from seenn_deploy.simulator.factors import EachFactors, Factors, SmallFactors
from seenn_deploy.simulator.kernels import kernels
from seenn_deploy.simulator.kernels.vector_dense import WIDE
from seenn_deploy.simulator.kernels.vector_masks import LANES
from seenn_deploy.simulator.layout import Layer, laid_out
from seenn_deploy.simulator.spikes import Events, aligned


class Runner(Protocol):
    """A layer of one worker, with the state of its slots."""

    def begin(self, slots: Array) -> None:
        """Let a sample begin in each of `slots`."""

    def step(self, slots: Array, current: Array, events: Events, counts: dict[str, Array]) -> None:
        """Take up `current` (all slots, P, C_pad) and set it to 0, send `events`, and count.

        `counts` has one number per slot under each name; those of synapses are counted already.
        """


@runtime_checkable
class CountsLater(Protocol):
    """A layer of which some counts follow from what its step has done.

    They are counted at the end of a timestep, as compiled calls may stand in the step's place.
    """

    def count(self, slots: Array, counts: dict[str, Array]) -> None:
        """Count the rest of this timestep; `counts` are those of `Runner.step`."""


@singledispatch
def runner(node: Node, layer: Layer, kind: Arithmetic, slots: int) -> Runner:
    """Allocate what a worker keeps of `node`; a new kind registers its own.

    Raises
    ------
    ProgramError
        When the kind has not.
    """
    raise ProgramError(f"{node.name}: the simulator has no form for a {node.kind} node")


class Neurons:
    """A population of neurons: its state, and how a timestep changes it."""

    def __init__(self, node: Population, layer: Layer, kind: Arithmetic, slots: int) -> None:
        self.node, self.layer, self.arithmetic = node, layer, kind
        self.state = State.of(node, layer, kind, slots)

    def begin(self, slots: Array) -> None:
        """Set the potentials to their initial value."""
        self.state.begin(slots)

    def step(self, slots: Array, current: Array, events: Events, counts: dict[str, Array]) -> None:
        """Update the neurons with their currents, and send their spikes."""
        out = Fired(events, counts["updates_active"], counts["spikes"], counts["saturated"])
        self.arithmetic.fire(slots, self.node, self.layer, current, self.state, out)

    def count(self, slots: Array, counts: dict[str, Array]) -> None:
        """Count the neurons at rest, and a reset per spike, soft or not."""
        counts["updates_inactive"][slots] = prod(self.node.shape) - counts["updates_active"][slots]
        counts["resets"][slots] = counts["spikes"][slots]


class Largest:
    """A max pool over currents, in memory of its own."""

    def __init__(
        self, node: Maximum | Relay, layer: Layer, bias: Array, kind: Arithmetic, slots: int
    ) -> None:
        self.comparisons, self.width = node.comparisons, layer.plane.size[1]
        self.bias = kind.as_current(bias)
        self.window = (*layer.arriving.size, *node.window, *node.stride, *node.padding)
        self.values = aligned((slots, layer.plane.pixels, layer.plane.padded), kind.value)

    def of(self, slots: Array, current: Array) -> Array:
        """Take up `current`; return the largest ones, (slots, P, C_pad)."""
        kernels.largest(slots, current, self.bias, self.window, self.width, self.values)
        return self.values


class Pooled(Neurons):
    """A population behind a max pool over its currents."""

    def __init__(self, node: Maximum, layer: Layer, kind: Arithmetic, slots: int) -> None:
        # A bias that is the same within every channel may come behind the maximum, as it is; any
        # other comes before, in units of currents.
        within = np.zeros_like(layer.bias[:1]) if len(layer.bias) > 1 else layer.bias
        super().__init__(node, replace(layer, bias=within), kind, slots)
        self.largest = Largest(node, layer, layer.bias - within, kind, slots)

    def step(self, slots: Array, current: Array, events: Events, counts: dict[str, Array]) -> None:
        """Find the largest currents, and fire."""
        super().step(slots, self.largest.of(slots, current), events, counts)

    def count(self, slots: Array, counts: dict[str, Array]) -> None:
        """Count the comparisons, too."""
        super().count(slots, counts)
        counts["comparisons"][slots] = self.largest.comparisons


def _send(
    slots: Array, values: Array, channels: int, events: Events, counts: dict[str, Array],
    real: bool = False,
) -> None:  # fmt: skip
    """Send `values` but 0, set them to 0, and count; all `real` ones are payloads, else but +-1."""
    kernels.send_values(
        slots, values.reshape(-1), channels, events.plane.lies, events.masks, events.flat_values,
        events.number, events.units, counts["spikes"], counts["graded"],
    )  # fmt: skip
    if real:
        counts["graded"][slots] = counts["spikes"][slots]


class Adder:
    """A sum node, which adds the spikes that arrive."""

    def __init__(self, node: Sum) -> None:
        self.channels = node.shape[0]

    def begin(self, slots: Array) -> None:
        """Begin a sample; nothing is kept from one timestep to the next."""

    def step(self, slots: Array, current: Array, events: Events, counts: dict[str, Array]) -> None:
        """Send the sum of the spikes that arrived."""
        _send(slots, current, self.channels, events, counts)


class Multiplier:
    """A product, as many small matrix products: axes that both factors have, and those of one."""

    def __init__(self, node: Product, layer: Layer, kind: Arithmetic, slots: int) -> None:
        self.sums, self.channels = bool(node.summed), layer.plane.channels
        self.multiply: Multiply = multiplying(layer.factors, layer, kind, slots)

    def begin(self, slots: Array) -> None:
        """Begin a sample; nothing is kept from one timestep to the next."""

    def step(self, slots: Array, current: Array, events: Events, counts: dict[str, Array]) -> None:
        """Multiply, and send what is not 0."""
        products = self.multiply(slots, current.reshape(len(current), -1))
        _send(slots, products, self.channels, events, counts)

    def count(self, slots: Array, counts: dict[str, Array]) -> None:
        """Count the pairs that met."""
        # Of two spikes a product is an AND; summed up, or of a payload, it is an addition.
        both, payloads, multiplied = self.multiply.met[slots].T
        counts["ands"][slots] = 0 if self.sums else both
        counts["payloads"][slots] = payloads
        for name in ("ac", "ac_effective", "own_ac"):
            counts[name][slots] += payloads + (both if self.sums else 0)
        for name in ("mac", "mac_effective", "own_mac"):
            counts[name][slots] += multiplied


class Multiply(Protocol):
    """How a product is made of factors that lie one way or another."""

    met: Array
    """int64 (slots, 3): pairs of two spikes, a spike and a payload, two payloads."""

    def __call__(self, slots: Array, current: Array) -> Array:
        """Take up both factors, (slots, currents); return the products of all slots, flat."""


@singledispatch
def multiplying(factors: object, layer: Layer, kind: Arithmetic, slots: int) -> Multiply:
    """Make what multiplies factors that lie like this."""
    raise TypeError(f"no kernel multiplies {factors!r}")


def _bias(layer: Layer, kind: Arithmetic) -> Array:
    """Return what is added to the factors; nothing where it is 0."""
    bias: Array = layer.bias[0].astype(kind.value)
    return bias if np.any(bias) else bias[:0]


class Multiplies:
    """Multiplies by a list of events, whatever the values."""

    def __init__(self, factors: Factors, layer: Layer, kind: Arithmetic, slots: int) -> None:
        self.factors = factors
        self.bias = _bias(layer, kind)
        self.row = aligned((-(-factors.sizes[3] // LANES) * LANES,), kind.value)
        self.products = aligned((slots, layer.plane.pixels * layer.plane.padded), kind.value)
        self.met = np.zeros((slots, 3), np.int64)

    def __call__(self, slots: Array, current: Array) -> Array:
        """Do as `Multiply` does."""
        how = self.factors
        kernels.multiply(
            slots, current, self.bias, how.sizes, how.width, how.made, how.in_rows, self.row,
            self.products, self.met,
        )  # fmt: skip
        return self.products.reshape(-1)


class MultipliesSmall:
    """Multiplies bytes as they are, or bits of spikes."""

    def __init__(self, factors: SmallFactors, layer: Layer, kind: Arithmetic, slots: int) -> None:
        self.factors, self.size = factors, layer.plane.pixels * layer.plane.padded
        tall, long, wide = factors.padded
        self.left, self.right = aligned((tall * long,), np.uint8), aligned((long * WIDE,), np.int8)
        if factors.of_spikes:
            words = -(-long // kernels.BITS)
            self.left, self.right = (aligned((words * n,), np.int64) for n in (tall, wide))
        self.products = aligned((slots * self.size + WIDE,), np.int32)
        self.met = np.zeros((slots, 3), np.int64)

    def __call__(self, slots: Array, current: Array) -> Array:
        """Do as `Multiply` does, of bytes."""
        how = self.factors
        multiply = kernels.multiply_bits if how.of_spikes else kernels.multiply_bytes
        multiply(
            slots, current, how.sizes, how.by_inner, how.made, how.step, self.left, self.right,
            self.products, self.size, self.met,
        )  # fmt: skip
        return self.products


class MultipliesEach:
    """Multiplies element by element."""

    def __init__(self, factors: EachFactors, layer: Layer, kind: Arithmetic, slots: int) -> None:
        self.bias = _bias(layer, kind)
        self.products = aligned((slots, factors.size // 2), kind.value)
        self.met = np.zeros((slots, 3), np.int64)

    def __call__(self, slots: Array, current: Array) -> Array:
        """Do as `Multiply` does."""
        kernels.multiply_each(slots, current, self.bias, self.products, self.met)
        return self.products.reshape(-1)


multiplying.register(Factors, Multiplies)
multiplying.register(SmallFactors, MultipliesSmall)
multiplying.register(EachFactors, MultipliesEach)


class Relayed:
    """The largest currents of windows, which are sent on."""

    def __init__(self, node: Relay, layer: Layer, kind: Arithmetic, slots: int) -> None:
        self.channels = node.shape[0]
        self.largest = Largest(node, layer, layer.bias, kind, slots)

    def begin(self, slots: Array) -> None:
        """Begin a sample; nothing is kept from one timestep to the next."""

    def step(self, slots: Array, current: Array, events: Events, counts: dict[str, Array]) -> None:
        """Find the largest currents, and send what is not 0."""
        found = self.largest.of(slots, current)
        _send(slots, found, self.channels, events, counts, real=True)

    def count(self, slots: Array, counts: dict[str, Array]) -> None:
        """Count the comparisons."""
        counts["comparisons"][slots] = self.largest.comparisons


class Filtering:
    """A synapse filter with its currents, (slots, P, C_pad)."""

    def __init__(self, node: Filter, layer: Layer, kind: Arithmetic, slots: int) -> None:
        self.node, self.bias, self.channels = node, layer.bias, node.shape[0]
        tau = laid_out(np.asarray(node.tau, kind.value), layer.plane)
        self.filtered = replace(node, tau=tau)
        self.kept = aligned((slots, layer.plane.pixels, layer.plane.padded), kind.value)

    def begin(self, slots: Array) -> None:
        """Let no current flow."""
        self.kept[slots] = 0

    def step(self, slots: Array, current: Array, events: Events, counts: dict[str, Array]) -> None:
        """Let the currents leak and grow, and send what is not 0."""
        leaking = np.count_nonzero(self.kept[slots], axis=(1, 2))
        flowing = self.filtered.after(self.kept[slots], current[slots] + self.bias)
        self.kept[slots] = flowing
        current[slots] = flowing
        _send(slots, current, self.channels, events, counts, real=True)
        counts["updates_active"][slots] = leaking
        counts["updates_inactive"][slots] = prod(self.node.shape) - leaking


class Logits:
    """The readout; `z` are the logits (slots, M), `flowing` its synaptic currents."""

    def __init__(self, node: Readout, layer: Layer, kind: Arithmetic, slots: int) -> None:
        self.layer, self.integrate, self.leaks = layer, kind.integrate_logits, kind.leaks(node)
        self.z = np.zeros((slots, node.shape[0]), kind.logits)
        self.flowing = np.zeros_like(self.z)

    def begin(self, slots: Array) -> None:
        """Set logits and synaptic currents to zero."""
        self.z[slots], self.flowing[slots] = 0, 0

    def step(self, slots: Array, current: Array, events: Events, counts: dict[str, Array]) -> None:
        """Add to the logits; nothing is sent."""
        self.integrate(slots, current, self.layer.bias, *self.leaks, self.flowing, self.z)


runner.register(Population, Neurons)
runner.register(Maximum, Pooled)


@runner.register
def _(node: Sum, layer: Layer, kind: Arithmetic, slots: int) -> Runner:
    return Adder(node)


runner.register(Product, Multiplier)
runner.register(Relay, Relayed)
runner.register(Filter, Filtering)
runner.register(Readout, Logits)
