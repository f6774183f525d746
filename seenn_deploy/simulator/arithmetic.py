"""The two arithmetics of a program: float32, and the integers of Lava's ``fixed_pt`` models."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from seenn_deploy._typing import Array
from seenn_deploy.ir.fixed_point import UNITY
from seenn_deploy.ir.graph import Population, Readout, Source
from seenn_deploy.ir.program import Program
from seenn_deploy.simulator.kernels import kernels
from seenn_deploy.simulator.layout import Layer, pixels_and_channels

Stopping: TypeAlias = Callable[[Array, Array], Array]


@dataclass(frozen=True, eq=False)
class State:
    """What the neurons of a population remember, (slots, P, C_pad).

    Parameters
    ----------
    v : array
        Membrane potentials.
    u : array, optional
        Synaptic currents, of populations that have any.
    """

    v: Array
    u: Array | None = None

    def begin(self, slots: Array, v_init: float) -> None:
        """A sample begins in each of `slots`."""
        self.v[slots] = v_init
        if self.u is not None:
            self.u[slots] = 0


class Arithmetic(ABC):
    """Types of a program's values, and what they need a kernel of their own for."""

    value: Any  # of an event
    potential: Any
    logits: Any

    @abstractmethod
    def frames(self, source: Source, images: list[Array]) -> Array:
        """Input values (n, C, P) as the source sends them."""

    @abstractmethod
    def stopping(self, program: Program) -> Stopping:
        """Where the program's exit rule says stop, of logits z (n, M) and timesteps t (n,)."""

    @abstractmethod
    def fire(
        self,
        slots: Array,
        layer: Layer,
        current: Array,
        state: State,
        events: tuple[Array, Array],
        active: Array,
        saturated: Array,
    ) -> None:
        """One timestep of a population; arguments as of ``kernels.integrate_and_fire``."""

    @abstractmethod
    def add_logits(self, slots: Array, layer: Layer, current: Array, u: Array, z: Array) -> None:
        """One timestep of the readout; arguments as of ``kernels.integrate_logits``."""


class Float32(Arithmetic):
    """Design, section 2, in single precision; logits are summed in double."""

    value, potential, logits = np.float32, np.float32, np.float64

    def frames(self, source: Source, images: list[Array]) -> Array:
        """The images as they are."""
        pixels, channels = pixels_and_channels(source.shape)
        return np.stack(images).astype(np.float32, copy=False).reshape(-1, channels, pixels)

    def stopping(self, program: Program) -> Stopping:
        """The rule itself."""
        return program.exit_rule.stops

    def fire(
        self,
        slots: Array,
        layer: Layer,
        current: Array,
        state: State,
        events: tuple[Array, Array],
        active: Array,
        saturated: Array,
    ) -> None:
        """Nothing saturates."""
        node, bias = layer.node, layer.bias
        assert isinstance(node, Population)
        if state.u is not None:
            kernels.filter_current(slots, current, bias, state.u, np.float32(node.tau_syn))
            bias = np.zeros_like(bias)
        kernels.integrate_and_fire(
            slots, current, bias, state.v, pixels_and_channels(node.shape)[1],
            np.float32(node.tau), np.float32(node.v_threshold), np.float32(node.subtracted),
            node.comparison == ">=", node.reset == "soft", *events, active,
        )  # fmt: skip

    def add_logits(self, slots: Array, layer: Layer, current: Array, u: Array, z: Array) -> None:
        """In double precision."""
        node = layer.node
        assert isinstance(node, Readout)
        decays = float(node.tau_syn), float(node.tau)
        kernels.integrate_logits(slots, current, layer.bias, *decays, u, z)


class Integer(Arithmetic):
    """Design, section 6: potentials and biases at 64 times the scale of currents."""

    value, potential, logits = np.int32, np.int32, np.int64

    def frames(self, source: Source, images: list[Array]) -> Array:
        """The images centred, scaled and rounded."""
        pixels, channels = pixels_and_channels(source.shape)
        scaled = np.rint((np.stack(images).astype(np.float64) - source.offset) * source.scale)
        return scaled.astype(np.int32).reshape(-1, channels, pixels)

    def stopping(self, program: Program) -> Stopping:
        """The rule on integer logits, as an exit controller decides it."""
        return program.integer_rule().stops

    def fire(
        self,
        slots: Array,
        layer: Layer,
        current: Array,
        state: State,
        events: tuple[Array, Array],
        active: Array,
        saturated: Array,
    ) -> None:
        """Wrapped currents and saturated potentials are counted."""
        node = layer.node
        assert isinstance(node, Population)
        channels = pixels_and_channels(node.shape)[1]
        keep = round(UNITY * node.tau)
        threshold, subtracted = int(node.v_threshold) << 6, int(node.subtracted) << 6
        at_threshold, soft = node.comparison == ">=", node.reset == "soft"
        if state.u is None:
            kernels.integrate_and_fire_integer(
                slots, current, layer.bias, state.v, channels,
                np.int32(keep), np.int32(threshold), np.int32(subtracted),
                at_threshold, soft, *events, active, saturated,
            )  # fmt: skip
        else:
            kernels.filter_and_fire_integer(
                slots, current, layer.bias, state.u, state.v, channels,
                round(UNITY * node.tau_syn), keep, threshold, subtracted,
                at_threshold, soft, *events, active, saturated,
            )  # fmt: skip

    def add_logits(self, slots: Array, layer: Layer, current: Array, u: Array, z: Array) -> None:
        """A decay is rounded toward zero."""
        node = layer.node
        assert isinstance(node, Readout)
        decays = round(UNITY * node.tau_syn), round(UNITY * node.tau)
        kernels.integrate_logits_integer(slots, current, layer.bias, *decays, u, z)


def of(program: Program) -> Arithmetic:
    """The arithmetic that a program runs in."""
    return Float32() if program.precision == "float32" else Integer()
