"""Models of GradedAdd."""

from __future__ import annotations

import numpy as np
from lava.magma.core.model.py.model import PyLoihiProcessModel

from processes.graded_add import GradedAdd
from processes.models import models

PAYLOAD = 2**23 - 1  # a message holds a signed integer of 24 bits


class Adding(PyLoihiProcessModel):
    """A sum in either arithmetic; integers saturate at 24 bits."""

    def run_spk(self) -> None:
        """Run one hardware step: receive, compute, send."""
        total = self.s_in.recv()
        whole = total.dtype.kind == "i"
        self.s_out.send(np.clip(total, -PAYLOAD, PAYLOAD) if whole else total)


PyGradedAddFloat, PyGradedAddFixed = models(GradedAdd, Adding, "s_in", "s_out")
