"""Models of ResetLIF."""

from __future__ import annotations

from typing import Any

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol
from lava.proc.lif.models import AbstractPyLifModelFloat

from processes.reset_lif import ResetLIF


class Recorder:
    """Appends arrays to a file; one system call a step, so the host can read at any pause."""

    def __init__(self, path: str | None) -> None:
        self.path = path
        self.file: Any = None

    def write(self, values: np.ndarray) -> None:
        """Append the bytes of `values`."""
        if self.file is None:  # opened here, in the process that writes
            self.file = open(self.path, "ab", buffering=0)  # noqa: SIM115
        self.file.write(np.ascontiguousarray(values).tobytes())


@implements(proc=ResetLIF, protocol=LoihiProtocol)
@requires(CPU)
@tag("floating_pt")
class PyResetLIFFloat(AbstractPyLifModelFloat):
    """ResetLIF in float64."""

    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, float)
    vth: float = LavaPyType(float, float)
    reset_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32)
    reset_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)
    token: np.ndarray = LavaPyType(np.ndarray, np.int32)

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self.soft = proc_params["reset"] == "soft"
        self.inclusive = proc_params["comparison"] == ">="
        self.v_init = proc_params["v_init"]
        self.spikes = Recorder(proc_params["spike_file"])
        self.voltage = Recorder(proc_params["v_file"])

    def run_spk(self) -> None:
        """One step: pass the token on, reset if it came, then Lava's LIF step."""
        self.reset_out.send(self.token)
        self.token = self.reset_in.recv()
        if self.token[0]:
            self.u[:] = 0
            self.v[:] = self.v_init
        super().run_spk()
        if self.spikes.path:
            self.spikes.write(np.packbits(self.s_out_buff))
        if self.voltage.path:
            self.voltage.write(self.v)

    def spiking_activation(self) -> np.ndarray:
        """Which neurons spike."""
        return self.v >= self.vth if self.inclusive else self.v > self.vth

    def reset_voltage(self, spike_vector: np.ndarray) -> None:
        """Hard or soft reset of those that spiked."""
        if self.soft:
            self.v[spike_vector] -= self.vth
        else:
            self.v[spike_vector] = 0
