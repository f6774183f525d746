"""Models of Accumulator."""

from __future__ import annotations

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

from processes.accumulator import Accumulator


@implements(proc=Accumulator, protocol=LoihiProtocol)
@requires(CPU)
@tag("floating_pt")
class PyAccumulatorFloat(PyLoihiProcessModel):
    """Accumulator in float64."""

    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, float)
    reset_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32)
    bias: np.ndarray = LavaPyType(np.ndarray, float)
    z: np.ndarray = LavaPyType(np.ndarray, float)

    def run_spk(self) -> None:
        """One step."""
        if self.reset_in.recv()[0]:
            self.z[:] = 0
        self.z += self.a_in.recv() + self.bias
