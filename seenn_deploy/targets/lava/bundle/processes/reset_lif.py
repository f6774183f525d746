"""Leaky integrate-and-fire neurons that a token sets back to their initial state."""

from __future__ import annotations

from typing import Any

import numpy as np
from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.variable import Var
from lava.proc.lif.process import LIF

from processes.waves import TOKEN


class ResetLIF(LIF):
    """Lava's LIF with either reset, a synaptic current, a reset token, and able to hold.

    ``u[t] = tau_syn u[t-1] + a[t] + bias``; ``v'[t] = tau v[t-1] + u[t]``; a spike where v' exceeds
    the threshold; then ``v = 0`` (hard) or ``v = v' - reset_by`` (soft) where it spiked.

    The token of a sample's first wave sets v to `v_init` and u to 0 before that step's input is
    added. Tokens leave one step later, so they travel as fast as the spikes through the synapses:
    every layer starts afresh exactly when its sample's first current arrives.

    Parameters
    ----------
    shape : tuple of int
        (W, H, C) or (N,).
    dv, vth, bias, bias_exp
        As Lava's LIF takes them: in floating point 1 - tau, the threshold, the bias and 0; in fixed
        point 4096 (1 - tau), the threshold, mantissas and an exponent. The leak, the threshold and
        the numbers below may also be arrays of `shape`, which Lava's LIF itself does not take.
    v_init : number
    tau_syn : number
        In fixed point 4096 times it. Lava's own `du` would leave the bias out of u.
    reset : 'hard' or 'soft'
    reset_by : number, optional
        What a soft reset subtracts, at the threshold's scale; the threshold by default.
    comparison : '>' or '>='
    holds : bool
        Nothing changes and nothing spikes in a step without a wave.
    spike_file, v_file : str, optional
        Where the model appends every step's spikes (``numpy.packbits``) and v after the reset
        (raw, of the model's own type). Reading a Var from the host takes 15 to 25 us per element.
    """

    def __init__(
        self,
        *,
        shape: tuple[int, ...],
        dv: Any,
        vth: Any,
        v_init: Any,
        bias: Any,
        bias_exp: int = 0,
        tau_syn: Any = 0,
        reset_by: Any = None,
        reset: str = "hard",
        comparison: str = ">",
        holds: bool = False,
        spike_file: str | None = None,
        v_file: str | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(
            shape=shape,
            # Lava's own LIF takes one number; our models read arrays from `leak`, `threshold`.
            dv=np.max(dv).item(),
            vth=np.max(vth).item(),
            v=v_init,
            bias_mant=bias,
            bias_exp=bias_exp,
            name=name,
            leak=dv,
            threshold=vth,
            v_init=v_init,
            tau_syn=tau_syn,
            reset_by=vth if reset_by is None else reset_by,
            reset=reset,
            comparison=comparison,
            holds=holds,
            spike_file=spike_file,
            v_file=v_file,
        )
        self.token_in = InPort(shape=(TOKEN,))
        self.token_out = OutPort(shape=(TOKEN,))
        # No wave, of no sample: what passes through before the first token arrives.
        self.token = Var(shape=(TOKEN,), init=[0, 0, -1])
