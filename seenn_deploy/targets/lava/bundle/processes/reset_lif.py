"""Leaky integrate-and-fire neurons that a token sets back to their initial state."""

from __future__ import annotations

from typing import Any

from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.variable import Var
from lava.proc.lif.process import LIF

from processes.waves import TOKEN


class ResetLIF(LIF):
    """Lava's LIF without current memory, with either reset, a reset token, and able to hold.

    ``v'[t] = tau v[t-1] + a[t] + bias``; a spike where v' exceeds the threshold; then
    ``v = 0`` (hard) or ``v = v' - threshold`` (soft) where it spiked.

    The token of a sample's first wave sets v to `v_init` before that step's input is added. Tokens
    leave one step later, so they travel as fast as the spikes through the synapses: every layer
    starts afresh exactly when its sample's first current arrives.

    Parameters
    ----------
    shape : tuple of int
        (W, H, C) or (N,).
    dv, vth, bias, bias_exp
        As Lava's LIF takes them: in floating point 1 - tau, the threshold, the bias and 0; in fixed
        point 4096 (1 - tau), the threshold, mantissas and an exponent.
    v_init : number
    reset : 'hard' or 'soft'
    comparison : '>' or '>='
    holds : bool
        Nothing changes and nothing spikes in a step without a wave.
    spike_file, v_file : str, optional
        Where the model appends every step's spikes (``numpy.packbits``) and v after the reset
        (raw, of the model's own type). Reading a Var from the host takes 15 to 25 us an element.
    """

    def __init__(
        self,
        *,
        shape: tuple[int, ...],
        dv: float,
        vth: float,
        v_init: float,
        bias: Any,
        bias_exp: int = 0,
        reset: str = "hard",
        comparison: str = ">",
        holds: bool = False,
        spike_file: str | None = None,
        v_file: str | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(
            shape=shape,
            dv=dv,
            vth=vth,
            v=v_init,
            bias_mant=bias,
            bias_exp=bias_exp,
            name=name,
            v_init=v_init,
            reset=reset,
            comparison=comparison,
            holds=holds,
            spike_file=spike_file,
            v_file=v_file,
        )
        self.token_in = InPort(shape=(TOKEN,))
        self.token_out = OutPort(shape=(TOKEN,))
        self.token = Var(shape=(TOKEN,), init=[0, 0, -1])
