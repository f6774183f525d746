"""Models of GradedAdd."""

from __future__ import annotations

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

from processes.graded_add import GradedAdd

PAYLOAD = 2**23 - 1  # of a message of 24 bits


class Adding(PyLoihiProcessModel):
    """What both models do."""

    def run_spk(self) -> None:
        """One step."""
        self.s_out.send(self.s_in.recv())


@implements(proc=GradedAdd, protocol=LoihiProtocol)
@requires(CPU)
@tag("floating_pt")
class PyGradedAddFloat(Adding):
    """GradedAdd of float64 messages."""

    s_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, float)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, float)


@implements(proc=GradedAdd, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyGradedAddFixed(Adding):
    """GradedAdd of integer messages; saturates at 24 bits."""

    s_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)

    def run_spk(self) -> None:
        """One step."""
        self.s_out.send(np.clip(self.s_in.recv(), -PAYLOAD, PAYLOAD))
