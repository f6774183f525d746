"""Models of ResetLIF."""

from __future__ import annotations

from typing import Any

import numpy as np
from lava.magma.core.model.py.type import LavaPyType
from lava.proc.lif.models import AbstractPyLifModelFixed, AbstractPyLifModelFloat

from processes.leak import kept
from processes.models import FIXED, FLOAT, model
from processes.reset_lif import ResetLIF
from processes.waves import Recorder, T


class Waves:
    """The additions to both of Lava's LIF models: tokens, holding, either reset, recording.

    Without `tau_syn`, and with one leak for all, Lava's own equations run, with their current
    emptied before each step.
    """

    token: np.ndarray = LavaPyType(np.ndarray, np.int32)

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self.soft, self.reset_by = proc_params["reset"] == "soft", proc_params["reset_by"]
        self.tau_syn, self.leak = proc_params["tau_syn"], proc_params["leak"]
        self.threshold = proc_params["threshold"]
        self.inclusive = proc_params["comparison"] == ">="
        self.v_init, self.holds = proc_params["v_init"], proc_params["holds"]
        self.spikes = Recorder(proc_params["spike_file"])
        self.voltage = Recorder(proc_params["v_file"])

    def run_spk(self) -> None:
        """Run one step: pass the token on, reset if it says so, then take Lava's LIF step."""
        self.token_out.send(self.token)
        self.token = self.token_in.recv()
        if self.token[T] == 1:
            self.v[:] = self.v_init
            self.u[:] = 0
        if self.holds and not self.token[T]:
            self._hold()
        else:
            super().run_spk()
        # One bit per spike: the files of a long run would be eight times as large.
        self.spikes.write(np.packbits(self.s_out_buff))
        self.voltage.write(self.v)

    def _hold(self) -> None:
        self.a_in.recv()
        self.s_out_buff = np.zeros(self.v.shape, bool)
        self.s_out.send(self.s_out_buff)

    def subthr_dynamics(self, activation_in: np.ndarray) -> None:
        """Compute currents and potentials before the reset."""
        if np.any(self.tau_syn):
            self.integrate(activation_in)
        elif isinstance(self.leak, np.ndarray):
            self.leak_each(activation_in)
        else:
            self.u[:] = 0
            super().subthr_dynamics(activation_in)

    def integrate(self, activation_in: np.ndarray) -> None:
        """Do what `subthr_dynamics` does with a synaptic current."""
        raise NotImplementedError

    def leak_each(self, activation_in: np.ndarray) -> None:
        """Do what `subthr_dynamics` does where leaks differ between neurons."""
        raise NotImplementedError

    def scaled(self, value: Any) -> Any:
        """Bring a value from the threshold's scale to that of v."""
        raise NotImplementedError

    def spiking_activation(self) -> np.ndarray:
        """Tell which neurons spike."""
        threshold = self.scaled(self.threshold)
        return self.v >= threshold if self.inclusive else self.v > threshold

    def reset_voltage(self, spike_vector: np.ndarray) -> None:
        """Reset the neurons that spiked, hard or soft."""
        if self.soft:
            self.v -= np.where(spike_vector, self.scaled(self.reset_by), 0).astype(self.v.dtype)
        else:
            self.v[spike_vector] = 0


PORTS = "a_in", "s_out", "token_in", "token_out"


@model(ResetLIF, FLOAT, *PORTS)
class PyResetLIFFloat(Waves, AbstractPyLifModelFloat):
    """ResetLIF in float64."""

    vth: float = LavaPyType(float, float)

    def scaled(self, value: Any) -> Any:
        return value

    def integrate(self, activation_in: np.ndarray) -> None:
        self.u[:] = self.tau_syn * self.u + activation_in + self.bias_mant
        self.v[:] = self.v * (1 - self.leak) + self.u

    def leak_each(self, activation_in: np.ndarray) -> None:
        self.v[:] = self.v * (1 - self.leak) + activation_in + self.bias_mant


@model(ResetLIF, FIXED, *PORTS)
class PyResetLIFFixed(Waves, AbstractPyLifModelFixed):
    """ResetLIF in Loihi's integers: u and v in 24 bits saturate, currents wrap once."""

    vth: int = LavaPyType(int, np.int32, precision=17)

    def scale_threshold(self) -> None:
        """Leave the threshold as it is, because `scaled` scales it."""
        self.isthrscaled = True

    def scaled(self, value: Any) -> Any:
        return np.left_shift(value, self.vth_shift)

    def integrate(self, activation_in: np.ndarray) -> None:
        limit = self.max_uv_val - 1
        u = kept(self.u, self.tau_syn) + self._wrapped(activation_in) + self.effective_bias
        self.u[:] = np.clip(u, -limit, limit)
        v = kept(self.v, self.decay_unity - self.leak) + self.u
        self.v[:] = np.clip(v, -limit, limit)

    def leak_each(self, activation_in: np.ndarray) -> None:
        limit = self.max_uv_val - 1
        free = kept(self.v, self.decay_unity - self.leak) + self.effective_bias
        self.v[:] = np.clip(free + self._wrapped(activation_in), -limit, limit)

    def _wrapped(self, activation_in: np.ndarray) -> np.ndarray:
        """Bring input to the scale of v, and wrap it once into 24 bits as Lava's LIF does."""
        current, span = np.left_shift(activation_in, self.act_shift), 2 * self.max_uv_val
        over, under = current > self.max_uv_val, current <= -self.max_uv_val
        return np.where(over, current - span, np.where(under, current + span, current))
