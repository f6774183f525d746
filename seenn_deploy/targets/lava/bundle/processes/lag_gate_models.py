"""Models of LagGate."""

from __future__ import annotations

from typing import Any

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

from processes.lag_gate import LagGate
from processes.waves import T


class Passing(PyLoihiProcessModel):
    """What both models do."""

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self.lag = proc_params["lag"]

    def run_spk(self) -> None:
        """One step."""
        current, token = self.a_in.recv(), self.token_in.recv()
        self.a_out.send(current if token[T] > self.lag else np.zeros_like(current))


@implements(proc=LagGate, protocol=LoihiProtocol)
@requires(CPU)
@tag("floating_pt")
class PyLagGateFloat(Passing):
    """LagGate of float64 currents."""

    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, float)
    a_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, float)
    token_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32)


@implements(proc=LagGate, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyLagGateFixed(Passing):
    """LagGate of int32 currents."""

    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32)
    a_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)
    token_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32)
