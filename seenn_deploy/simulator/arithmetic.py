"""The two arithmetics of a program: float32, and the integers of Lava's ``fixed_pt`` models."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from seenn_deploy.graph import Array, Population, Source
from seenn_deploy.program import Program
from seenn_deploy.simulator import kernels
from seenn_deploy.simulator.layout import Layer, pixels_and_channels

Stopping: TypeAlias = Callable[[Array, Array], Array]


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
        v: Array,
        events: tuple[Array, Array],
        active: Array,
        saturated: Array,
    ) -> None:
        """One timestep of a population; arguments as of ``kernels.integrate_and_fire``."""


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
        v: Array,
        events: tuple[Array, Array],
        active: Array,
        saturated: Array,
    ) -> None:
        """Nothing saturates."""
        node = layer.node
        assert isinstance(node, Population)
        kernels.integrate_and_fire(
            slots, current, layer.bias, v, pixels_and_channels(node.shape)[1],
            np.float32(node.tau), np.float32(node.v_threshold),
            node.comparison == ">=", node.reset == "soft", *events, active,
        )  # fmt: skip


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
        v: Array,
        events: tuple[Array, Array],
        active: Array,
        saturated: Array,
    ) -> None:
        """Wrapped currents and saturated potentials are counted."""
        node = layer.node
        assert isinstance(node, Population)
        kernels.integrate_and_fire_integer(
            slots, current, layer.bias, v, pixels_and_channels(node.shape)[1],
            np.int32(round(4096 * node.tau)), np.int32(int(node.v_threshold) << 6),
            node.comparison == ">=", node.reset == "soft", *events, active, saturated,
        )  # fmt: skip


def of(program: Program) -> Arithmetic:
    """The arithmetic that a program runs in."""
    return Float32() if program.precision == "float32" else Integer()
