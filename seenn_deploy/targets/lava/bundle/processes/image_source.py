"""Where samples enter the network."""

from __future__ import annotations

from typing import Any

from lava.magma.core.process.ports.ports import OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.process.variable import Var


class ImageSource(AbstractProcess):
    """Sends one sample for as long as the host lets it run, then whatever the host names next.

    When the host changes `sample`, the next step sends that sample's first frame, and the reset
    token leaves one step later, with the frame's current. Before the first sample it sends zeros.

    Parameters
    ----------
    frames : array (N, F, W, H, C) or (N, F, n)
        One frame a sample is sent again and again (direct coding); of several, one a step, then
        zeros (event coding).
    """

    def __init__(self, *, frames: Any, name: str | None = None) -> None:
        super().__init__(frames=frames, name=name)
        self.s_out = OutPort(shape=frames.shape[2:])
        self.reset_out = OutPort(shape=(1,))
        self.sample = Var(shape=(1,), init=-1)
