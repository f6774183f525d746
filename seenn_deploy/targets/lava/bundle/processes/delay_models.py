"""Models of Delay."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
from lava.magma.core.model.py.model import PyLoihiProcessModel

from processes.delay import Delay
from processes.models import models


class Waiting(PyLoihiProcessModel):
    """A queue of messages, in either arithmetic."""

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        shape, steps = proc_params["shape"], proc_params["steps"]
        self.waiting = deque(np.zeros(shape) for _ in range(steps))

    def run_spk(self) -> None:
        """Run one step; it sends before it receives, as Lava's connection processes do."""
        self.s_out.send(self.waiting.popleft())
        self.waiting.append(self.s_in.recv())


PyDelayFloat, PyDelayFixed = models(Delay, Waiting, "s_in", "s_out")
