"""Models of PolicySource."""

from __future__ import annotations

from typing import Any

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

from processes.image_source_models import Sending
from processes.policy_source import PolicySource


class Choosing(Sending):
    """Asks the policy network once a sample."""

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self.policy, self.images = proc_params["policy"], proc_params["images"]

    def choose(self, sample: int) -> int:
        return int(self.policy.timesteps(self.images[sample : sample + 1])[0])


@implements(proc=PolicySource, protocol=LoihiProtocol)
@requires(CPU)
@tag("floating_pt")
class PyPolicySourceFloat(Choosing):
    """PolicySource of float64 frames."""

    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, float)
    token_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)
    verdict_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32)


@implements(proc=PolicySource, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyPolicySourceFixed(Choosing):
    """PolicySource of int32 frames."""

    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)
    token_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)
    verdict_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32)
