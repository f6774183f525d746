"""The state that a worker keeps of each layer, and its timestep: :func:`runner` by node kind."""

from __future__ import annotations

from dataclasses import dataclass
from functools import singledispatch
from math import prod
from typing import Any, Protocol

import numpy as np

from seenn_deploy._typing import Array
from seenn_deploy.errors import ProgramError
from seenn_deploy.ir.nodes import Node, Population, Readout, Sum
from seenn_deploy.simulator.arithmetic import Arithmetic, Fired, State
from seenn_deploy.simulator.kernels import kernels
from seenn_deploy.simulator.layout import Layer, padded, pixels_and_channels, to_grid


@dataclass(frozen=True, eq=False)
class Events:
    """The events that a node sent in one timestep, one row per slot, laid out as in ``kernels``."""

    ptr: Array
    idx: Array
    val: Array

    @classmethod
    def empty(cls, slots: int, node: Node, kind: Any) -> Events:
        """Allocate room for every neuron of `node`, and for values where it is graded."""
        n = prod(node.shape)
        return cls(
            np.zeros((slots, pixels_and_channels(node.shape)[0] + 1), np.int32),
            np.zeros((slots, n), np.int32),
            np.zeros((slots, n if node.graded else 0), kind),
        )

    def put(self, slots: Array, sent: Array) -> None:
        """Send values (slots, *shape), of which zeros are no event; without a kernel."""
        grid = to_grid(sent, sent.shape[1:])
        for b, values in zip(slots, grid, strict=True):
            found = np.flatnonzero(values)
            self.ptr[b] = np.searchsorted(found, np.arange(len(values) + 1) * values.shape[1])
            self.idx[b, : len(found)] = found
            if self.val.shape[1]:
                self.val[b, : len(found)] = values.ravel()[found]


class Runner(Protocol):
    """A layer of one worker, with the state of its slots."""

    def begin(self, slots: Array) -> None:
        """Let a sample begin in each of `slots`."""

    def step(self, slots: Array, current: Array, events: Events, counts: dict[str, Array]) -> None:
        """Take up `current` (all slots, P, C_pad) and set it to 0, send `events`, and count.

        `counts` has one number per slot under each name; those of synapses are counted already.
        """


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
    """A population."""

    def __init__(self, node: Population, layer: Layer, kind: Arithmetic, slots: int) -> None:
        pixels, channels = pixels_and_channels(node.shape)
        self.node, self.layer, self.arithmetic = node, layer, kind
        self.state = State.zeros(node, (slots, pixels, padded(channels)), kind.potential)

    def begin(self, slots: Array) -> None:
        """Set the potentials to their initial value."""
        self.state.begin(slots, self.node.v_init)

    def step(self, slots: Array, current: Array, events: Events, counts: dict[str, Array]) -> None:
        """Fire."""
        active = counts["updates_active"]
        out = Fired(events.ptr, events.idx, active, counts["saturated"])
        self.arithmetic.fire(slots, self.node, self.layer, current, self.state, out)
        fired = events.ptr[slots, -1]
        counts["updates_inactive"][slots] = prod(self.node.shape) - active[slots]
        counts["spikes"][slots] = fired
        counts["resets"][slots] = fired  # every spike resets its neuron, softly or not


class Adder:
    """A sum of spikes."""

    def __init__(self, node: Sum) -> None:
        self.channels = pixels_and_channels(node.shape)[1]

    def begin(self, slots: Array) -> None:
        """Begin a sample; nothing is kept from one timestep to the next."""

    def step(self, slots: Array, current: Array, events: Events, counts: dict[str, Array]) -> None:
        """Send what arrived."""
        sent = events.ptr, events.idx, events.val
        kernels.send_sums(slots, current, self.channels, *sent, counts["graded"])
        counts["spikes"][slots] = events.ptr[slots, -1]


class Logits:
    """The readout; `z` are the logits (slots, M), `flowing` its synaptic currents."""

    def __init__(self, node: Readout, layer: Layer, kind: Arithmetic, slots: int) -> None:
        self.node, self.layer, self.arithmetic = node, layer, kind
        self.z = np.zeros((slots, node.shape[0]), kind.logits)
        self.flowing = np.zeros_like(self.z)

    def begin(self, slots: Array) -> None:
        """Set both to zero."""
        self.z[slots], self.flowing[slots] = 0, 0

    def step(self, slots: Array, current: Array, events: Events, counts: dict[str, Array]) -> None:
        """Add to the logits; nothing is sent."""
        self.arithmetic.add_logits(slots, self.node, self.layer, current, self.flowing, self.z)


runner.register(Population, Neurons)


@runner.register
def _(node: Sum, layer: Layer, kind: Arithmetic, slots: int) -> Runner:
    return Adder(node)


runner.register(Readout, Logits)
