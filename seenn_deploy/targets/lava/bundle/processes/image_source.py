"""The source, through which samples enter the network."""

from __future__ import annotations

from typing import Any

from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess

from processes.waves import TOKEN, VERDICT


class ImageSource(AbstractProcess):
    """Sends the waves of all samples, one after the other, as the schedule says.

    - pipelined: a frame per step for as many timesteps as the sample has, then the next sample;
    - speculative: the same, or until the verdict comes that the sample stopped;
    - gated: a frame only when the verdict on the one before says go on; zeros between.

    A wave's token leaves one step after its frame, with the frame's current.

    Parameters
    ----------
    frames : array (N, F, W, H, C) or (N, F, n)
        One frame per sample is sent again and again (direct coding); of several, one per timestep
        (event coding).
    length : int array (N,)
        Largest number of timesteps of each sample.
    schedule : 'pipelined', 'speculative' or 'gated'
    full_trace : bool
        Whether to send all timesteps of every sample, wherever it stopped.
    file : str, optional
        Where the model appends a ``waves.SENT`` for each wave.
    """

    def __init__(
        self,
        *,
        frames: Any,
        length: Any,
        schedule: str,
        full_trace: bool = False,
        file: str | None = None,
        name: str | None = None,
        **more: Any,
    ) -> None:
        super().__init__(
            frames=frames,
            length=length,
            schedule=schedule,
            full_trace=full_trace,
            file=file,
            name=name,
            **more,
        )
        self.s_out = OutPort(shape=frames.shape[2:])
        self.token_out = OutPort(shape=(TOKEN,))
        self.verdict_in = InPort(shape=(VERDICT,))
