"""What the host does: which sample's timestep is where, and when a sample stops.

A timestep is sent at a hardware step and reaches a layer of depth d, which counts synapse stages, d
steps later. This is the part of the network that SANA-FE's units do not compute: the source with
the policy network, and the exit controller, whose token of a sample's end the chip does send.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
from exits import integer
from exits.base import make, rule_of
from exits.policy_network.integer import IntegerPolicy
from inputs import Inputs


class Wave(NamedTuple):
    """A timestep of a sample: `t` from 1."""

    sample: int
    t: int


class Verdict(NamedTuple):
    """What the exit controller says of a wave."""

    wave: Wave
    stop: bool


@dataclass
class Run:
    """The results: (N,) by sample, (N, T) by wave, (S,) by hardware step."""

    logits: np.ndarray
    exit_step: np.ndarray
    sent: np.ndarray
    seen: np.ndarray
    scores: np.ndarray
    spikes: dict[str, np.ndarray] = field(default_factory=dict)
    v: dict[str, np.ndarray] = field(default_factory=dict)
    measured: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def start(self) -> np.ndarray:
        """The hardware step that sent the first frame."""
        return self.sent[:, 0]

    @property
    def injected(self) -> np.ndarray:
        """The number of timesteps that were sent."""
        return (self.sent >= 0).sum(axis=1)

    def latency(self, last: np.ndarray) -> np.ndarray:
        """Hardware steps from a sample's first frame to the answer to its timestep `last` (N,)."""
        return self.seen[np.arange(len(last)), last - 1] - self.start + 1


class Source:
    """Says what is sent in each hardware step, as the schedule has it."""

    def __init__(
        self, spec: dict[str, Any], arrays: dict[str, np.ndarray], inputs: Inputs, full: bool
    ) -> None:
        self.T, self.full, self.inputs = spec["T"], full, inputs
        self.gated, self.listens = spec["schedule"] == "gated", spec["schedule"] != "pipelined"
        stored = spec["integer_policy"]
        self.policy = IntegerPolicy.from_arrays(stored, arrays) if stored else None
        asked = range(len(inputs)) if self.policy else ()
        self.scores = [self.policy.scores(inputs.images(n))[0] for n in asked]
        self.sample, self.t, self.stopped = -1, 0, False

    @property
    def done(self) -> bool:
        """Whether everything was sent."""
        return self.sample == len(self.inputs)

    def last(self, sample: int) -> int:
        """The last timestep that a sample can have, which a policy network chose."""
        return int(self.policy.choices[self.scores[sample].argmax()]) if self.policy else self.T

    @property
    def until(self) -> int:
        """The timestep at which the sample that is sent ends at the latest."""
        return self.T if self.full else self.last(self.sample)

    def finished(self, exits: np.ndarray) -> bool:
        """Whether no more of the sample that is sent will be."""
        return self.t == self.until or (exits[self.sample] > 0 and not self.full)

    def send(self, verdict: Verdict | None) -> Wave | None:
        """What this step sends, after the verdict of the step before."""
        if self.done:
            return None
        mine = verdict is not None and verdict.wave.sample == self.sample
        self.stopped |= bool(mine and self.listens and verdict.stop)
        judged = verdict.wave.t if mine else 0
        if self.gated and self.t > 0 and judged < self.t:
            return None  # the verdict on the timestep in flight is not there yet
        if self.sample < 0 or self.t == self.until or (self.stopped and not self.full):
            self.sample, self.t, self.stopped = self.sample + 1, 0, False
        if self.done:
            return None
        self.t += 1
        return Wave(self.sample, self.t)


class Controller:
    """The exit rule in integers, on the readout's potentials."""

    def __init__(self, spec: dict[str, Any], source: Source) -> None:
        stored = spec["exit_rule"]
        rule = make(rule_of(import_module(f"exits.{stored['rule']}")), stored)
        self.rule = integer.lower(rule, spec["logit_scale"], spec["T"])
        self.source = source

    def judge(self, wave: Wave, z: np.ndarray, exits: np.ndarray) -> Verdict:
        """Say of a wave whether its sample stops, and keep the exit."""
        ends = wave.t == self.source.last(wave.sample)
        if not exits[wave.sample] and (ends or self.rule.stops(z, np.array(wave.t))):
            exits[wave.sample] = wave.t
            # Whoever started the run counts finished samples by this line.
            line = f"sample {wave.sample + 1} of {len(exits)}: stopped at step {wave.t}"
            print(line, file=sys.stderr, flush=True)
        return Verdict(wave, exits[wave.sample] > 0)


class Waves:
    """All samples, one hardware step after the other."""

    def __init__(
        self,
        spec: dict[str, Any],
        arrays: dict[str, np.ndarray],
        inputs: Inputs,
        options: argparse.Namespace,
    ) -> None:
        self.spec, self.inputs, self.options = spec, inputs, options
        self.source = Source(spec, arrays, inputs, options.full_trace)
        self.controller = Controller(spec, self.source)
        self.in_flight: dict[int, Wave] = {}
        self.ran = self._empty()

    def _empty(self) -> Run:
        N, T = len(self.inputs), self.spec["T"]
        units = [u for u in self.spec["units"] if u["kind"] == "population"] * self.options.record
        (readout,) = (u for u in self.spec["units"] if u["kind"] == "readout")
        return Run(
            np.zeros((N, T, *readout["shape"]), np.int64),
            np.zeros(N, np.int64),
            np.full((N, T), -1),
            np.full((N, T), -1),
            np.array(self.source.scores, np.int64),
            {u["name"]: np.zeros((N, T, *u["shape"]), bool) for u in units},
            {u["name"]: np.zeros((N, T, *u["shape"]), np.int32) for u in units},
        )

    def run(self, chip: Any) -> Run:
        """Run until the last wave has left the network and its sample's token was sent."""
        step, verdict, ends = 0, None, False
        found: list[dict[str, float]] = []
        while not self.source.done or self.in_flight or ends:
            wave = self.source.send(verdict)
            if wave:
                self.in_flight[step] = wave
                self.ran.sent[wave.sample, wave.t - 1] = step
            if not self.in_flight and not ends:
                break
            chip.arrange(lambda depth, at=step: self.in_flight.get(at - depth), self.inputs, ends)
            found.append(chip.step())
            verdict = self._seen(chip, step)
            ends = verdict is not None and self._last(verdict.wave)
            self._record(chip, step)
            self.in_flight.pop(step - self.spec["depth"], None)
            step += 1
        self.ran.measured = {name: np.array([s[name] for s in found]) for name in found[0]}
        return self.ran

    def _seen(self, chip: Any, step: int) -> Verdict | None:
        """The verdict on the wave that has reached the readout."""
        wave = self.in_flight.get(step - self.spec["depth"])
        if wave is None:
            return None
        at = wave.sample, wave.t - 1
        self.ran.seen[at] = step
        self.ran.logits[at] = chip.logits().reshape(self.ran.logits.shape[2:])
        return self.controller.judge(wave, self.ran.logits[at], self.ran.exit_step)

    def _last(self, wave: Wave) -> bool:
        """Whether nothing more of a sample comes behind a wave that was seen."""
        later = (w for w in self.in_flight.values() if w.sample == wave.sample and w.t > wave.t)
        if any(later):
            return False
        return self.source.sample != wave.sample or self.source.finished(self.ran.exit_step)

    def _record(self, chip: Any, step: int) -> None:
        for unit in self.spec["units"]:
            wave = self.in_flight.get(step - unit["depth"])
            if wave and unit["name"] in self.ran.spikes:
                at = wave.sample, wave.t - 1
                self.ran.spikes[unit["name"]][at] = chip.spikes(unit).reshape(unit["shape"])
                self.ran.v[unit["name"]][at] = chip.potentials(unit).reshape(unit["shape"])
