"""Spikes added to spikes."""

from __future__ import annotations

from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess


class GradedAdd(AbstractProcess):
    """A process that sends the sum of its inputs in the same step: SEW-ResNet's residual add.

    Spikes of value 1 become graded messages 0, 1, 2, ..; synapses behind it need
    ``num_message_bits`` above 0, and count as behind the populations that it adds.

    Parameters
    ----------
    shape : tuple of int
    """

    def __init__(self, *, shape: tuple[int, ...], name: str | None = None) -> None:
        super().__init__(shape=shape, name=name)
        self.s_in = InPort(shape=shape)  # of several that are connected, Lava adds the messages
        self.s_out = OutPort(shape=shape)
