"""Leaky integrate-and-fire neurons that a token sets back to their initial state."""

from __future__ import annotations

from typing import Any

from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.variable import Var
from lava.proc.lif.process import LIF


class ResetLIF(LIF):
    """Lava's LIF without current memory, with either reset, and with a reset token.

    ``v'[t] = tau v[t-1] + a[t] + bias``; a spike where v' exceeds the threshold; then
    ``v = 0`` (hard) or ``v = v' - v_threshold`` (soft) where it spiked.

    A 1 on ``reset_in`` sets v to `v_init` before that step's input is added. It leaves through
    ``reset_out`` one step later, so it travels as fast as the spikes through the synapses: every
    layer starts afresh exactly when its sample's first current arrives.

    Parameters
    ----------
    shape : tuple of int
        (W, H, C) or (N,).
    bias : array of `shape`
    reset : 'hard' or 'soft'
    comparison : '>' or '>='
    spike_file, v_file : str, optional
        Where the model appends every step's spikes (``numpy.packbits``) and v after the reset
        (raw, of the model's own type). Reading a Var from the host takes 15 to 25 us an element.
    """

    def __init__(
        self,
        *,
        shape: tuple[int, ...],
        tau: float,
        v_threshold: float,
        v_init: float,
        bias: Any,
        reset: str = "hard",
        comparison: str = ">",
        spike_file: str | None = None,
        v_file: str | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(
            shape=shape,
            du=1,
            dv=1 - tau,
            vth=v_threshold,
            v=v_init,
            bias_mant=bias,
            name=name,
            v_init=v_init,
            reset=reset,
            comparison=comparison,
            spike_file=spike_file,
            v_file=v_file,
        )
        self.reset_in = InPort(shape=(1,))
        self.reset_out = OutPort(shape=(1,))
        self.token = Var(shape=(1,), init=0)
