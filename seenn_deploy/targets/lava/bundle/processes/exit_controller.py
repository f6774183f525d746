"""The readout and the exit rule, inside the network."""

from __future__ import annotations

from typing import Any

from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.process.variable import Var

from processes.waves import TOKEN, VERDICT


class ExitController(AbstractProcess):
    """``u = tau_syn u + a + bias``, ``z = tau z + u`` at every wave; then the exit rule.

    Both are 0 before a sample's first wave.

    One step later the verdict leaves through ``verdict_out``: the sample, its timestep, whether it
    has stopped, and the class with the largest logit. A sample stops where the rule says so, or
    with its last timestep. When all have, the controller asks Lava to pause and sets `done`.

    Parameters
    ----------
    shape : (M,)
    bias : array (M,)
    rule : object with ``stops(z, t)``
        In fixed point an ``exits.integer.IntegerRule``.
    length : int array (N,)
        Largest number of timesteps of each sample.
    tau : number
        Share of the logits that a wave leaves, 1 by default; in fixed point 4096 times it.
    tau_syn : number
        The same of the synaptic current, 0 by default.
    full_trace : bool
        All timesteps of a sample come, also after the exit.
    drain : bool
        Pause only behind the last wave of all.
    file : str, optional
        Where the model appends a ``waves.seen`` for each wave.
    """

    def __init__(
        self,
        *,
        shape: tuple[int, ...],
        bias: Any,
        rule: Any,
        length: Any,
        tau: float | None = None,
        tau_syn: float = 0,
        full_trace: bool = False,
        drain: bool = False,
        file: str | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(
            shape=shape,
            rule=rule,
            length=length,
            tau=tau,
            tau_syn=tau_syn,
            full_trace=full_trace,
            drain=drain,
            file=file,
            name=name,
        )
        self.a_in = InPort(shape=shape)
        self.token_in = InPort(shape=(TOKEN,))
        self.verdict_out = OutPort(shape=(VERDICT,))
        self.bias = Var(shape=shape, init=bias)
        # The host goes on until it is 1: a pause alone does not say that all answers are there.
        self.done = Var(shape=(1,), init=0)
