"""The comparison of an integer program: everything is equal, or it is a mismatch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from seenn_deploy._typing import Array
from seenn_deploy.exits import integer
from seenn_deploy.ir.graph import Population
from seenn_deploy.ir.program import Program
from seenn_deploy.simulator.result import RunResult
from seenn_deploy.targets.base import DeviceRun
from seenn_deploy.verification.report import Difference, LayerReport, VerifyReport


@dataclass(frozen=True, eq=False)
class _Pair:
    """One quantity of one layer of one sample in both runs, (steps, ...)."""

    layer: str
    quantity: str
    simulated: Array
    device: Array

    @property
    def where(self) -> Array:
        return np.asarray(self.simulated != self.device)

    @property
    def first_step(self) -> int:
        """The first step, from 0, at which they differ."""
        return int(np.flatnonzero(self.where.reshape(len(self.where), -1).any(axis=1))[0])


class ExactComparison:
    """Two runs of one integer program on the same images; the simulated one is a full trace.

    Samples are compared up to their exit, of the two runs the earlier one, or to T.
    """

    def __init__(
        self,
        program: Program,
        images: Array,
        simulated: RunResult,
        ran: DeviceRun,
        full_trace: bool,
    ) -> None:
        self.program, self.graph = program, program.graph
        self.simulated, self.ran = simulated, ran
        self.exits, self.near_exits = self._exits()
        shared = np.minimum(self.exits, ran.exit_step)
        self.steps = np.full_like(shared, program.T) if full_trace else shared
        self.samples = len(images)

    def report(self, device: str, seconds: float) -> VerifyReport:
        """What the comparison found."""
        layers = {
            node.name: LayerReport(node.name, int(self.steps.sum()) * int(np.prod(node.shape)))
            for node in self.graph.layers
            if isinstance(node, Population)
        }
        firsts: list[Difference] = []
        wrong_logits, furthest = 0, 0.0
        for n in range(self.samples):
            pairs = [pair for pair in self._pairs(n) if pair.where.any()]
            for pair in pairs:
                if pair.quantity == "logit":
                    wrong_logits += int(pair.where.sum())
                    furthest = max(furthest, float(np.abs(pair.simulated - pair.device).max()))
                else:
                    layers[pair.layer] = _counted(layers[pair.layer], pair)
            firsts += self._first(n, pairs)
        return VerifyReport(
            device, self.samples, tuple(layers.values()), tuple(firsts),
            tuple(zip(self.exits.tolist(), self.ran.exit_step.tolist(), strict=True)),
            wrong_logits, furthest * self.program.logit_scale,
            tuple(map(int, self.ran.hardware_steps)), seconds, near_exits=self.near_exits,
        )  # fmt: skip

    def _exits(self) -> tuple[Array, int]:
        """Where the integer rule stops each sample, and how many decisions are close ones."""
        z, T = self.simulated.integer_logits, self.program.T
        assert z is not None
        if self.program.exit_rule.to_dict()["rule"] == "policy":
            return self.simulated.exit_step, 0
        rule = integer.lower(self.program.exit_rule, self.program.logit_scale, T)
        t = np.broadcast_to(np.arange(1, T + 1), z.shape[:2])
        stops = rule.stops(z, t)
        stops[:, -1] = True
        exits = np.asarray(stops.argmax(axis=1) + 1)
        asked = (t <= exits[:, None]) & (t < T)
        return exits, int((rule.near(z, t) & asked).sum())

    def _pairs(self, n: int) -> Iterator[_Pair]:
        """Every quantity of every layer of a sample, the deeper ones later."""
        end = self.steps[n]
        for node in sorted(self.graph.layers, key=lambda node: self.graph.depth[node.name]):
            if isinstance(node, Population):
                for quantity, kind in (("spike", "spikes"), ("v", "v")):
                    both = (getattr(run, kind)[node.name] for run in (self.simulated, self.ran))
                    yield _Pair(node.name, quantity, *(values[n, :end] for values in both))
        z, found = self.simulated.integer_logits, self.ran.integer_logits
        assert z is not None
        assert found is not None
        yield _Pair(self.graph.readout.name, "logit", z[n, :end], found[n, :end])

    def _first(self, n: int, pairs: list[_Pair]) -> list[Difference]:
        """The first neuron of the first layer at the first step, or the exit."""
        if pairs:
            pair = min(pairs, key=lambda pair: pair.first_step)  # of equals the shallowest
            t = pair.first_step
            at = tuple(int(i) for i in np.argwhere(pair.where[t])[0])
            values = float(pair.simulated[(t, *at)]), float(pair.device[(t, *at)])
            return [_mismatch(n, t + 1, pair.layer, at, pair.quantity, *values)]
        here, there = int(self.exits[n]), int(self.ran.exit_step[n])
        if here == there:
            return []
        name = self.graph.readout.name
        return [_mismatch(n, min(here, there), name, (), "exit step", float(here), float(there))]


def _counted(layer: LayerReport, pair: _Pair) -> LayerReport:
    wrong = int(pair.where.sum())
    if pair.quantity == "v":
        return replace(layer, potentials=layer.potentials + wrong)
    return replace(
        layer, mismatching=layer.mismatching + wrong, mismatches=layer.mismatches + wrong
    )


def _mismatch(
    n: int, step: int, layer: str, at: tuple[int, ...], quantity: str, here: float, there: float
) -> Difference:
    return Difference(n, step, layer, at, "mismatch", abs(here - there), 0.0, quantity, here, there)
