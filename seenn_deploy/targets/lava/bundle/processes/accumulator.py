"""The readout: logits summed over the steps of a sample."""

from __future__ import annotations

from typing import Any

from lava.magma.core.process.ports.ports import InPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.process.variable import Var


class Accumulator(AbstractProcess):
    """``z += a + bias`` at every step; a 1 on ``reset_in`` sets z to 0 before.

    The host reads `z`, which holds as many elements as there are classes.

    Parameters
    ----------
    shape : (M,)
    bias : array (M,)
    """

    def __init__(self, *, shape: tuple[int, ...], bias: Any, name: str | None = None) -> None:
        super().__init__(shape=shape, name=name)
        self.a_in = InPort(shape=shape)
        self.reset_in = InPort(shape=(1,))
        self.bias = Var(shape=shape, init=bias)
        self.z = Var(shape=shape, init=0)
