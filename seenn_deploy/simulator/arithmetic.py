"""The two arithmetics of a program: float32, and the integers of Lava's ``fixed_pt`` models."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from seenn_deploy._typing import Array
from seenn_deploy.errors import ProgramError
from seenn_deploy.ir.fixed_point import SHIFT, UNITY
from seenn_deploy.ir.graph import Population, Readout, Source
from seenn_deploy.ir.nodes.base import Parameter
from seenn_deploy.ir.program import Program
from seenn_deploy.simulator.kernels import kernels
from seenn_deploy.simulator.layout import Layer, laid_out
from seenn_deploy.simulator.spikes import Events, Plane, aligned

Stopping: TypeAlias = Callable[[Array, Array], Array]


@dataclass(frozen=True, eq=False)
class State:
    """What the neurons of a population remember from one timestep to the next.

    Parameters
    ----------
    v : array (slots, P, C_pad)
        Membrane potentials.
    u : array (slots, P, C_pad)
        Synaptic currents; without slots where the population has no synaptic time constant.
    start : number, or array (P, C_pad) or (1, C_pad)
        Potential before the first timestep.
    constants : array (4, P, C_pad) or (4, 1, C_pad)
        tau_syn, tau, threshold and what a soft reset subtracts, as the kernels take them.
    """

    v: Array
    u: Array
    start: Any
    constants: Array

    @classmethod
    def of(cls, node: Population, layer: Layer, arithmetic: Arithmetic, slots: int) -> State:
        """Allocate the state of a population; only a synaptic time constant needs currents."""
        shape, kind = (layer.plane.pixels, layer.plane.padded), arithmetic.potential
        u = aligned((slots if np.any(node.tau_syn) else 0, *shape), kind)
        start = node.v_init
        if isinstance(start, np.ndarray):
            start = laid_out(start, layer.plane).astype(kind)
        return cls(aligned((slots, *shape), kind), u, start, arithmetic.constants(node, layer))

    def begin(self, slots: Array) -> None:
        """Set the initial state for a sample that begins in each of `slots`."""
        for b in slots:  # slot by slot is one stretch of memory, which numpy fills at once
            self.v[b] = self.start
            if len(self.u):
                self.u[b] = 0


class Fired(NamedTuple):
    """Where a timestep of a population puts what happened; see ``kernels.integrate_and_fire``.

    Parameters
    ----------
    events : Events
        What the population sends.
    active, fired, saturated : int arrays (slots,)
        Neurons with a potential or current, those that spiked, and those whose integers ended.
    """

    events: Events
    active: Array
    fired: Array
    saturated: Array


class Arithmetic(ABC):
    """The number types of a program, and the steps that need another kernel for each of them."""

    value: Any  # what an event carries
    potential: Any
    logits: Any
    integrate_logits: Callable[..., None]  # its kernel

    @abstractmethod
    def sent(self, source: Source, images: list[Array]) -> Array:
        """Return the input values (n, *shape) that the source sends for n images."""

    def frames(self, source: Source, images: list[Array]) -> Array:
        """Return the input values as the kernels take them, (n, P, C)."""
        return Plane(source.shape).to_grid(self.sent(source, images))

    @abstractmethod
    def stopping(self, program: Program) -> Stopping:
        """Return the exit rule as a function of logits (n, M) and timesteps (n,) to bool (n,)."""

    @abstractmethod
    def counted(self, share: Parameter) -> Parameter:
        """Return a leak as the kernels take it."""

    @abstractmethod
    def at_state(self, level: Parameter) -> Parameter:
        """Return a threshold at the scale of potentials."""

    @abstractmethod
    def as_current(self, bias: Array) -> Array:
        """Return biases in the units of currents."""

    def constants(self, node: Population, layer: Layer) -> Array:
        """Lay out the constants of a population; see :class:`State`."""
        leaks = self.counted(node.tau_syn), self.counted(node.tau)
        levels = self.at_state(node.v_threshold), self.at_state(node.subtracted)
        grids = [laid_out(np.asarray(x), layer.plane) for x in (*leaks, *levels)]
        return np.stack(np.broadcast_arrays(*grids)).astype(self.potential)

    @abstractmethod
    def fire(
        self, slots: Array, node: Population, layer: Layer, current: Array, state: State, out: Fired
    ) -> None:
        """Run one timestep of a population; see ``kernels.integrate_and_fire``."""

    def leaks(self, node: Readout) -> tuple[Array, Array]:
        """Return a readout's leaks, of its synaptic current and of its own, (M,) each."""
        shares = self.counted(node.tau_syn), self.counted(node.tau)
        current, own = (np.broadcast_to(x, node.shape).astype(self.logits) for x in shares)
        return current, own


class Float32(Arithmetic):
    """The equations of the design, section 2, in single precision; logits are summed in double."""

    value, potential, logits = np.float32, np.float32, np.float64
    integrate_logits = staticmethod(kernels.integrate_logits)

    def sent(self, source: Source, images: list[Array]) -> Array:
        """Send the images as they are."""
        return np.stack(images).astype(np.float32, copy=False)

    def stopping(self, program: Program) -> Stopping:
        """Apply the exit rule itself, since logits are floats."""
        return program.exit_rule.stops

    def fire(
        self, slots: Array, node: Population, layer: Layer, current: Array, state: State, out: Fired
    ) -> None:
        """Run one timestep; floating point never saturates."""
        bias = layer.bias
        if len(state.u):
            kernels.filter_current(slots, current, bias, state.u, state.constants[0])
            bias = np.zeros_like(bias)  # the synaptic current has it already
        how, events = (node.comparison == ">=", node.reset == "soft"), out.events
        if node.each_its_own:
            kernels.integrate_and_fire_each(
                slots, current, bias, state.v, node.shape[0], state.constants, *how,
                events.sent, events.number, out.active,
            )  # fmt: skip
            out.fired[slots] = events.number[slots].sum(axis=1)
        else:
            tau, threshold, subtracted = state.constants[1:, 0, 0]
            kernels.integrate_and_fire(
                slots, current.reshape(-1), bias.reshape(-1), state.v.reshape(-1), node.shape[0],
                tau, threshold, subtracted, *how, events.plane.lies, events.masks, events.number,
                out.active, out.fired, out.saturated,
            )  # fmt: skip

    def as_current(self, bias: Array) -> Array:
        """Take the bias itself."""
        return bias

    def counted(self, share: Parameter) -> Parameter:
        """Take the leak itself: logits are summed in double precision."""
        return share

    def at_state(self, level: Parameter) -> Parameter:
        """Take the threshold itself."""
        return level


class Integer(Arithmetic):
    """The design, section 6: potentials and biases have 64 times the scale of currents."""

    value, potential, logits = np.int32, np.int32, np.int64
    integrate_logits = staticmethod(kernels.integrate_logits_integer)

    def sent(self, source: Source, images: list[Array]) -> Array:
        """Centre, scale and round the images."""
        return source.integers(np.stack(images))

    def stopping(self, program: Program) -> Stopping:
        """Apply the rule to integer logits, exactly as an exit controller on the chip decides."""
        return program.integer_rule().stops

    def fire(
        self, slots: Array, node: Population, layer: Layer, current: Array, state: State, out: Fired
    ) -> None:
        """Run one timestep, and count wrapped currents and saturated potentials."""
        how, events = (node.comparison == ">=", node.reset == "soft"), out.events
        if len(state.u) or node.each_its_own:
            kernels.integrate_and_fire_each_integer(
                slots, current, layer.bias, state.u, state.v, node.shape[0], state.constants, *how,
                events.sent, events.number, out.active, out.saturated,
            )  # fmt: skip
            out.fired[slots] = events.number[slots].sum(axis=1)
        else:
            keep, threshold, subtracted = state.constants[1:, 0, 0]
            kernels.integrate_and_fire(
                slots, current.reshape(-1), layer.bias.reshape(-1), state.v.reshape(-1),
                node.shape[0], keep, threshold, subtracted, *how, events.plane.lies, events.masks,
                events.number, out.active, out.fired, out.saturated,
            )  # fmt: skip

    def as_current(self, bias: Array) -> Array:
        """Undo the shift of biases; in front of a maximum they must be whole without it."""
        whole = bias >> SHIFT
        if np.any(whole << SHIFT != bias):
            raise ProgramError("a bias in front of a max pool is no whole number of currents")
        return whole

    def counted(self, share: Parameter) -> Parameter:
        """Count in steps of 1/4096; what decays is rounded toward zero."""
        return np.asarray(np.rint(UNITY * np.asarray(share)))

    def at_state(self, level: Parameter) -> Parameter:
        """Shift it, because Lava shifts the current before it meets the potential."""
        return np.asarray(level).astype(np.int64) << SHIFT


def of(program: Program) -> Arithmetic:
    """Return the arithmetic that a program runs in."""
    return Float32() if program.precision == "float32" else Integer()
