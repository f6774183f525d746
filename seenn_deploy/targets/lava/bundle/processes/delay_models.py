"""Models of Delay."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

from processes.delay import Delay


class Waiting(PyLoihiProcessModel):
    """What both models do."""

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        shape, steps = proc_params["shape"], proc_params["steps"]
        self.waiting = deque(np.zeros(shape) for _ in range(steps))

    def run_spk(self) -> None:
        """One step: send first, as connection processes do."""
        self.s_out.send(self.waiting.popleft())
        self.waiting.append(self.s_in.recv())


@implements(proc=Delay, protocol=LoihiProtocol)
@requires(CPU)
@tag("floating_pt")
class PyDelayFloat(Waiting):
    """Delay of float64 messages."""

    s_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, float)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, float)


@implements(proc=Delay, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyDelayFixed(Waiting):
    """Delay of int32 messages."""

    s_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)
