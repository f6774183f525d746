"""Models of ResetLIF."""

from __future__ import annotations

from typing import Any

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol
from lava.proc.lif.models import AbstractPyLifModelFixed, AbstractPyLifModelFloat

from processes.reset_lif import ResetLIF
from processes.waves import Recorder, T


class Waves:
    """What both models add to Lava's: tokens, holding, either reset, recording."""

    def set_up(self, proc_params: Any) -> None:
        """Take the parameters that are no Vars."""
        self.soft = proc_params["reset"] == "soft"
        self.inclusive = proc_params["comparison"] == ">="
        self.v_init, self.holds = proc_params["v_init"], proc_params["holds"]
        self.spikes = Recorder(proc_params["spike_file"])
        self.voltage = Recorder(proc_params["v_file"])

    def run_spk(self) -> None:
        """One step: pass the token on, reset if it says so, then Lava's LIF step."""
        self.token_out.send(self.token)
        self.token = self.token_in.recv()
        if self.token[T] == 1:
            self.v[:] = self.v_init
        if self.holds and not self.token[T]:
            self._hold()
        else:
            self.u[:] = 0  # no current memory
            super().run_spk()
        self.spikes.write(np.packbits(self.s_out_buff))
        self.voltage.write(self.v)

    def _hold(self) -> None:
        self.a_in.recv()
        self.s_out_buff = np.zeros(self.v.shape, bool)
        self.s_out.send(self.s_out_buff)

    def threshold(self) -> Any:
        """At the scale of v."""
        raise NotImplementedError

    def spiking_activation(self) -> np.ndarray:
        """Which neurons spike."""
        return self.v >= self.threshold() if self.inclusive else self.v > self.threshold()

    def reset_voltage(self, spike_vector: np.ndarray) -> None:
        """Hard or soft reset of those that spiked."""
        if self.soft:
            self.v[spike_vector] -= self.threshold()
        else:
            self.v[spike_vector] = 0


@implements(proc=ResetLIF, protocol=LoihiProtocol)
@requires(CPU)
@tag("floating_pt")
class PyResetLIFFloat(Waves, AbstractPyLifModelFloat):
    """ResetLIF in float64."""

    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, float)
    vth: float = LavaPyType(float, float)
    token_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32)
    token_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)
    token: np.ndarray = LavaPyType(np.ndarray, np.int32)

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self.set_up(proc_params)

    def threshold(self) -> Any:
        return self.vth


@implements(proc=ResetLIF, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyResetLIFFixed(Waves, AbstractPyLifModelFixed):
    """ResetLIF in Loihi's integers: v in 24 bits saturates, currents wrap once."""

    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)
    vth: int = LavaPyType(int, np.int32, precision=17)
    token_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32)
    token_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)
    token: np.ndarray = LavaPyType(np.ndarray, np.int32)

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self.set_up(proc_params)

    def scale_threshold(self) -> None:
        """Nothing: `threshold` does."""
        self.isthrscaled = True

    def threshold(self) -> Any:
        return np.left_shift(self.vth, self.vth_shift)
