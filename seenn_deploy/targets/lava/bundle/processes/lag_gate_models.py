"""Models of LagGate."""

from __future__ import annotations

from typing import Any

import numpy as np
from lava.magma.core.model.py.model import PyLoihiProcessModel

from processes.lag_gate import LagGate
from processes.models import models
from processes.waves import T


class Passing(PyLoihiProcessModel):
    """A gate in either arithmetic."""

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self.lag = proc_params["lag"]

    def run_spk(self) -> None:
        """Run one hardware step: receive, compute, send."""
        current, token = self.a_in.recv(), self.token_in.recv()
        self.a_out.send(current if token[T] > self.lag else np.zeros_like(current))


PyLagGateFloat, PyLagGateFixed = models(LagGate, Passing, "a_in", "a_out", "token_in")
