"""Models of ExitController."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.type import LavaPyType

from processes.exit_controller import ExitController
from processes.leak import kept
from processes.models import FIXED, FLOAT, model
from processes.waves import LAST, SAMPLE, Recorder, T, seen


class Controlling(PyLoihiProcessModel):
    """Readout and exit rule in either arithmetic; `kind` is the type of the logits."""

    kind = "f8"
    done: np.ndarray = LavaPyType(np.ndarray, np.int32)

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self.rule, self.length = proc_params["rule"], proc_params["length"]
        self.samples = len(self.length)
        self.full, self.drain = proc_params["full_trace"], proc_params["drain"]
        self.tau, self.tau_syn = proc_params["tau"], proc_params["tau_syn"]
        self.z = np.zeros(proc_params["shape"], self.kind)
        self.u = np.zeros_like(self.z)
        self.entry = seen(self.z.size, self.kind)
        self.record = Recorder(proc_params["file"])
        self.exit = 0
        self.said: list[np.ndarray] = []  # the logits of this sample's timesteps
        self.verdict = np.array([-1, 0, 0, 0], np.int32)

    def run_spk(self) -> None:
        """Run one step: send the verdict of the step before, then reach the next one."""
        self.verdict_out.send(self.verdict)
        token = self.token_in.recv()
        t, last, sample = (int(token[i]) for i in (T, LAST, SAMPLE))
        current = self.a_in.recv()
        self.verdict = np.array([-1, 0, 0, 0], np.int32)
        if t:
            self._accumulate(t, current)
            self._judge(t, last, sample)
        if self._finished(t, last, sample) and not self.done[0]:
            self.done[0] = 1
            self._req_pause = True  # private, but Lava has no public way to end a run early

    def _accumulate(self, t: int, current: np.ndarray) -> None:
        if t == 1:
            self.u[:], self.z[:] = 0, 0
            self.exit = 0
            self.said.clear()
        self.u = self._kept(self.u, self.tau_syn) + current + self.bias
        self.z = (self.z if self.tau is None else self._kept(self.z, self.tau)) + self.u
        if self.rule.looks_back:
            self.said.append(self.z)

    def _says_stop(self, t: int) -> bool:
        """Ask the exit rule, which sees this timestep's logits or, if it looks back, all so far."""
        if self.rule.looks_back:
            return bool(self.rule.stops_after(np.stack(self.said)[None], np.array([t]))[0])
        return bool(self.rule.stops(self.z, np.array(t)))

    def _kept(self, state: np.ndarray, share: float) -> np.ndarray:
        """Return what a wave leaves of a state."""
        raise NotImplementedError

    def _judge(self, t: int, last: int, sample: int) -> None:
        if not self.exit and (t == last or self._says_stop(t)):
            self.exit = t
            # Whoever started the run counts finished samples by this line.
            line = f"sample {sample + 1} of {self.samples}: stopped at step {t}"
            print(line, file=sys.stderr, flush=True)
        best = int(self.z.argmax())
        self.verdict = np.array([sample, t, self.exit > 0, best], np.int32)
        self.record.write(np.array((self.time_step - 1, sample, t, self.exit, self.z), self.entry))

    def _finished(self, t: int, last: int, sample: int) -> bool:
        # The wave of a sample that does not exist comes behind all others.
        if self.drain:
            return sample == self.samples
        if sample != self.samples - 1:
            return False
        return self.exit > 0 and t == (self.length[sample] if self.full else self.exit)


PORTS = "a_in", "token_in", "verdict_out"


@model(ExitController, FLOAT, *PORTS)
class PyExitControllerFloat(Controlling):
    """ExitController in float64."""

    bias: np.ndarray = LavaPyType(np.ndarray, float)

    def _kept(self, state: np.ndarray, share: float) -> np.ndarray:
        return state * share


@model(ExitController, FIXED, *PORTS)
class PyExitControllerFixed(Controlling):
    """ExitController in integers."""

    kind = "i8"
    bias: np.ndarray = LavaPyType(np.ndarray, np.int32)

    def _kept(self, state: np.ndarray, share: float) -> np.ndarray:
        """Return what a wave leaves of a state, rounded as the neurons' leaks are."""
        return kept(state, share)
