"""Spikes gathered from windows, in front of a sum."""

from __future__ import annotations

from typing import Any

from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess


class Windows(AbstractProcess):
    """A process that sends in the same step what its synapses make of the spikes that arrive.

    It stands between spikes and a `GradedAdd`, as an average pool does. Lava's own connection
    processes take a step, and a sum has no step of its own.

    Parameters
    ----------
    shape_in, shape : tuple of int
        Shapes of what arrives and of what is sent.
    synapses : scipy.sparse matrix (neurons sent, neurons arriving)
    """

    def __init__(
        self,
        *,
        shape_in: tuple[int, ...],
        shape: tuple[int, ...],
        synapses: Any,
        name: str | None = None,
    ) -> None:
        super().__init__(shape=shape, synapses=synapses, name=name)
        self.s_in = InPort(shape=shape_in)
        self.s_out = OutPort(shape=shape)
