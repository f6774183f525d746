"""Models of ImageSource."""

from __future__ import annotations

from typing import Any

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

from processes.image_source import ImageSource


@implements(proc=ImageSource, protocol=LoihiProtocol)
@requires(CPU)
@tag("floating_pt")
class PyImageSourceFloat(PyLoihiProcessModel):
    """ImageSource in float64."""

    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, float)
    reset_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)
    sample: np.ndarray = LavaPyType(np.ndarray, np.int32)

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self.frames = proc_params["frames"]
        self.playing, self.step = -1, 0
        self.token = np.zeros(1, np.int32)

    def run_spk(self) -> None:
        """One step: the token of the step before, then a frame."""
        self.reset_out.send(self.token)
        starts = self.sample[0] != self.playing
        if starts:
            self.playing, self.step = int(self.sample[0]), 0
        self.token = np.array([starts], np.int32)
        self.s_out.send(self._frame())
        self.step += 1

    def _frame(self) -> np.ndarray:
        count = self.frames.shape[1]
        at = 0 if count == 1 else self.step
        if self.playing < 0 or at >= count:
            return np.zeros(self.frames.shape[2:])
        return self.frames[self.playing, at].astype(float)
