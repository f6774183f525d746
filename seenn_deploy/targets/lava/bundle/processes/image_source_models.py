"""Models of ImageSource."""

from __future__ import annotations

from typing import Any

import numpy as np
from lava.magma.core.model.py.model import PyLoihiProcessModel

from processes.image_source import ImageSource
from processes.models import models
from processes.waves import OF_SAMPLE, OF_T, SENT, STOP, Recorder


class Sending(PyLoihiProcessModel):
    """A source of samples, in either arithmetic."""

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self.frames = proc_params["frames"]
        self.length, self.full = proc_params["length"], proc_params["full_trace"]
        self.gated = proc_params["schedule"] == "gated"
        self.listens = proc_params["schedule"] != "pipelined"
        self.sent = Recorder(proc_params["file"])
        self.sample, self.t, self.last, self.stopped = -1, 0, 0, False
        self.token = np.array([0, 0, -1], np.int32)

    def run_spk(self) -> None:
        """Run one step: send the token of the step before, then a frame or zeros."""
        # Before anything is received: in a loop of processes, who receives first waits for ever.
        self.token_out.send(self.token)
        verdict = self.verdict_in.recv()
        if self.t and verdict[OF_SAMPLE] == self.sample and self.listens:
            self.stopped |= bool(verdict[STOP])
        go = self._go(int(verdict[OF_T]) if verdict[OF_SAMPLE] == self.sample else 0)
        self.token = np.array([self.t if go else 0, self.last, self.sample], np.int32)
        if go:
            step = self.time_step - 1
            self.sent.write(np.array((step, self.sample, self.t), SENT))
        # Zeros, because Lava's receivers wait for a message in every step.
        self.s_out.send(self._frame() if go else np.zeros_like(self.frames[0, 0]))

    def _go(self, judged: int) -> bool:
        """Move on to what this step sends; `judged` is the timestep that the verdict is about."""
        if self.sample == len(self.frames):
            return False
        until = self.length[self.sample] if self.full else self.last
        # The verdict on the timestep in flight is not there yet.
        waits = self.gated and self.t > 0 and judged < self.t
        if waits:
            return False
        if self.sample < 0 or self.t == until or (self.stopped and not self.full):
            return self._next_sample()
        self.t += 1
        return True

    def _next_sample(self) -> bool:
        self.sample, self.t, self.stopped = self.sample + 1, 0, False
        if self.sample == len(self.frames):
            return False
        self.last, self.t = self.choose(self.sample), 1
        return True

    def choose(self, sample: int) -> int:
        """Choose a sample's number of timesteps, before its first frame is sent."""
        return int(self.length[sample])

    def _frame(self) -> np.ndarray:
        several = self.frames.shape[1] > 1
        return self.frames[self.sample, self.t - 1 if several else 0]


PORTS = "s_out", "token_out", "verdict_in"
PyImageSourceFloat, PyImageSourceFixed = models(ImageSource, Sending, *PORTS)
