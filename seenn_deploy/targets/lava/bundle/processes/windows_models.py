"""Models of Windows."""

from __future__ import annotations

from typing import Any

from lava.magma.core.model.py.model import PyLoihiProcessModel

from processes.models import models
from processes.windows import Windows


class Gathering(PyLoihiProcessModel):
    """A product of a matrix with the spikes, in either arithmetic."""

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self.shape, self.synapses = proc_params["shape"], proc_params["synapses"]

    def run_spk(self) -> None:
        """Run one hardware step: receive, compute, send."""
        spikes = self.s_in.recv()
        sums = self.synapses @ spikes.reshape(-1)
        self.s_out.send(sums.reshape(self.shape).astype(spikes.dtype))


PyWindowsFloat, PyWindowsFixed = models(Windows, Gathering, "s_in", "s_out")
