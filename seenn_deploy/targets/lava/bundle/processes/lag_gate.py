"""A gate that keeps one sample's lagged messages out of the next sample."""

from __future__ import annotations

from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess

from processes.waves import TOKEN


class LagGate(AbstractProcess):
    """Passes currents on, in the same step, at timesteps after `lag`; zeros otherwise.

    A connection that lags sends what arrives with the wave that many timesteps later, whatever
    sample that wave is of. Waves of one sample follow each other at equal distances, so at
    timestep t > lag the message is the same sample's; before, it is one of an earlier sample, or of
    none. The token is the one of the wave that reaches the layer behind the gate, in that step.

    Parameters
    ----------
    shape : tuple of int
    lag : int
        Timesteps, at least 1.
    """

    def __init__(self, *, shape: tuple[int, ...], lag: int, name: str | None = None) -> None:
        super().__init__(shape=shape, lag=lag, name=name)
        self.a_in = InPort(shape=shape)  # of several that are connected, Lava adds the currents
        self.a_out = OutPort(shape=shape)
        self.token_in = InPort(shape=(TOKEN,))
