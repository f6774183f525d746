"""A delay line, so that a short path meets a long one."""

from __future__ import annotations

from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess


class Delay(AbstractProcess):
    """A process that sends what it received `steps` steps ago, and zeros before.

    Parameters
    ----------
    shape : tuple of int
    steps : int
        At least 1.
    """

    def __init__(self, *, shape: tuple[int, ...], steps: int, name: str | None = None) -> None:
        super().__init__(shape=shape, steps=steps, name=name)
        self.s_in = InPort(shape=shape)
        self.s_out = OutPort(shape=shape)
