"""The two arithmetics of a program: float32, and the integers of Lava's ``fixed_pt`` models."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from seenn_deploy._typing import Array
from seenn_deploy.ir.fixed_point import SHIFT, UNITY
from seenn_deploy.ir.graph import Population, Readout, Source
from seenn_deploy.ir.program import Program
from seenn_deploy.simulator.kernels import kernels
from seenn_deploy.simulator.layout import Layer
from seenn_deploy.simulator.spikes import Plane, aligned

Stopping: TypeAlias = Callable[[Array, Array], Array]


@dataclass(frozen=True, eq=False)
class State:
    """What the neurons of a population remember from one timestep to the next.

    Parameters
    ----------
    v : array (slots, P, C_pad)
        Membrane potentials.
    u : array (slots, P, C_pad), optional
        Synaptic currents, where the population has a synaptic time constant.
    """

    v: Array
    u: Array | None = None

    @classmethod
    def zeros(cls, node: Population, shape: tuple[int, ...], kind: Any) -> State:
        """Allocate the state of a population; only a synaptic time constant needs currents."""
        return cls(aligned(shape, kind), aligned(shape, kind) if node.tau_syn else None)

    def begin(self, slots: Array, v_init: float) -> None:
        """Set the initial state for a sample that begins in each of `slots`."""
        self.v[slots] = v_init
        if self.u is not None:
            self.u[slots] = 0


class Fired(NamedTuple):
    """Where a timestep of a population puts what happened; see ``kernels.integrate_and_fire``.

    Parameters
    ----------
    sent : uint16 array (slots, words, H, W)
        The spikes, as masks.
    number : int32 array (slots, P)
        Spikes of each pixel.
    active, saturated : int arrays (slots,)
        Neurons with a potential or current, and neurons whose integers ended.
    """

    sent: Array
    number: Array
    active: Array
    saturated: Array


class Arithmetic(ABC):
    """The number types of a program, and the steps that need another kernel for each of them."""

    value: Any  # what an event carries
    potential: Any
    logits: Any
    integrate_logits: Callable[..., None]  # its kernel

    @abstractmethod
    def frames(self, source: Source, images: list[Array]) -> Array:
        """Return the input values (n, P, C) that the source sends for n images."""

    @abstractmethod
    def stopping(self, program: Program) -> Stopping:
        """Return the exit rule as a function of logits (n, M) and timesteps (n,) to bool (n,)."""

    @abstractmethod
    def fire(
        self, slots: Array, node: Population, layer: Layer, current: Array, state: State, out: Fired
    ) -> None:
        """Run one timestep of a population; see ``kernels.integrate_and_fire``."""

    @abstractmethod
    def decay(self, tau: float) -> float:
        """Return a leak of the readout as the kernel takes it."""

    def add_logits(
        self, slots: Array, node: Readout, layer: Layer, current: Array, u: Array, z: Array
    ) -> None:
        """Run one timestep of the readout; see ``kernels.integrate_logits``."""
        decays = self.decay(node.tau_syn), self.decay(node.tau)
        self.integrate_logits(slots, current, layer.bias, *decays, u, z)


class Float32(Arithmetic):
    """The equations of the design, section 2, in single precision; logits are summed in double."""

    value, potential, logits = np.float32, np.float32, np.float64
    integrate_logits = staticmethod(kernels.integrate_logits)

    def frames(self, source: Source, images: list[Array]) -> Array:
        """Send the images as they are."""
        return Plane(source.shape).to_grid(np.stack(images).astype(np.float32, copy=False))

    def stopping(self, program: Program) -> Stopping:
        """Apply the rule itself."""
        return program.exit_rule.stops

    def fire(
        self, slots: Array, node: Population, layer: Layer, current: Array, state: State, out: Fired
    ) -> None:
        """Run one timestep; floating point never saturates."""
        bias = layer.bias
        if state.u is not None:
            kernels.filter_current(slots, current, bias, state.u, np.float32(node.tau_syn))
            bias = np.zeros_like(bias)  # the synaptic current has it already
        kernels.integrate_and_fire(
            slots, current, bias, state.v, node.shape[0],
            np.float32(node.tau), np.float32(node.v_threshold), np.float32(node.subtracted),
            node.comparison == ">=", node.reset == "soft", out.sent, out.number, out.active,
        )  # fmt: skip

    def decay(self, tau: float) -> float:
        """Take the leak itself: logits are summed in double precision."""
        return float(tau)


class Integer(Arithmetic):
    """The design, section 6: potentials and biases have 64 times the scale of currents."""

    value, potential, logits = np.int32, np.int32, np.int64
    integrate_logits = staticmethod(kernels.integrate_logits_integer)

    def frames(self, source: Source, images: list[Array]) -> Array:
        """Centre, scale and round the images."""
        scaled = np.rint((np.stack(images).astype(np.float64) - source.offset) * source.scale)
        return Plane(source.shape).to_grid(scaled.astype(np.int32))

    def stopping(self, program: Program) -> Stopping:
        """Apply the rule to integer logits, exactly as an exit controller on the chip decides."""
        return program.integer_rule().stops

    def fire(
        self, slots: Array, node: Population, layer: Layer, current: Array, state: State, out: Fired
    ) -> None:
        """Run one timestep, and count wrapped currents and saturated potentials."""
        channels = node.shape[0]
        keep = round(UNITY * node.tau)
        # Lava shifts the current before it meets the potential, so the threshold is too.
        threshold, subtracted = int(node.v_threshold) << SHIFT, int(node.subtracted) << SHIFT
        at_threshold, soft = node.comparison == ">=", node.reset == "soft"
        if state.u is None:
            kernels.integrate_and_fire_integer(
                slots, current, layer.bias, state.v, channels,
                np.int32(keep), np.int32(threshold), np.int32(subtracted),
                at_threshold, soft, *out,
            )  # fmt: skip
        else:
            kernels.filter_and_fire_integer(
                slots, current, layer.bias, state.u, state.v, channels,
                round(UNITY * node.tau_syn), keep, threshold, subtracted,
                at_threshold, soft, *out,
            )  # fmt: skip

    def decay(self, tau: float) -> float:
        """Count in steps of 1/4096; what decays is rounded toward zero."""
        return round(UNITY * tau)


def of(program: Program) -> Arithmetic:
    """Return the arithmetic that a program runs in."""
    return Float32() if program.precision == "float32" else Integer()
