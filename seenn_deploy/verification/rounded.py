"""The comparison of a float program: a difference is a rounding tie, or a mismatch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from seenn_deploy._typing import Array
from seenn_deploy.ir.replay import fires, potentials
from seenn_deploy.simulator.result import RunResult
from seenn_deploy.targets.base import DeviceRun
from seenn_deploy.verification.comparison import Comparison
from seenn_deploy.verification.report import Difference, Kind, VerifyReport


class RoundedComparison(Comparison):
    """Two runs of one float program on the same images."""

    def report(self, device: str, seconds: float) -> VerifyReport:
        """Compare all samples, and return the report."""
        firsts: list[Difference] = []
        wrong, furthest = 0, 0.0
        for n in range(len(self.images)):
            different = self._different(n)
            firsts += self._judge(n, different)
            wrong += sum(self._wrong_logits(n, result) for result in (self.simulated, self.ran))
            firsts += self._judge_exit(n, bool(different))
            if not different:
                furthest = max(furthest, self._logit_distance(n))
        return self.found(device, seconds, firsts, wrong, furthest)

    def _different(self, n: int) -> dict[str, Array]:
        """Return where the spikes of a sample differ, bool (steps, ...), by population."""
        end = self.steps[n]
        found = {
            p.name: self.simulated.spikes[p.name][n, :end] != self.ran.spikes[p.name][n, :end]
            for p in self.populations.values()
        }
        return {name: where for name, where in found.items() if where.any()}

    def _judge(self, n: int, different: dict[str, Array]) -> list[Difference]:
        """Count a sample's differences in `layers`, and return the first ones."""
        if not different:
            return []
        depth = self.graph.depth
        # The first timestep, and its shallowest layer: what comes later may follow from there.
        first = min(
            (int(np.flatnonzero(where.any(axis=tuple(range(1, where.ndim))))[0]), depth[name])
            for name, where in different.items()
        )
        firsts: list[Difference] = []
        for name, where in different.items():
            at_first = np.zeros_like(where)
            if depth[name] == first[1]:
                at_first[first[0]] = where[first[0]]
                firsts += self._first_ones(n, name, first[0], np.argwhere(where[first[0]]))
            explained = self._explained(n, name)
            later = where & ~at_first
            old = self.layers[name]
            self.layers[name] = replace(
                old,
                mismatching=old.mismatching + int(where.sum()),
                ties=old.ties + int((at_first & explained).sum()),
                consequences=old.consequences + int((later & explained).sum()),
                mismatches=old.mismatches + int((where & ~explained).sum()),
            )
        return firsts

    def _first_ones(self, n: int, name: str, t: int, neurons: Array) -> list[Difference]:
        node = self.populations[name]
        # Up to here both have the same spikes, so either run gives the same potential.
        found = potentials(self.graph, name, self.images[n], self._spikes(self.ran, n))
        distance = np.abs(found.value[t] - node.v_threshold)
        return [
            Difference(
                n, t + 1, name, at, "tie" if distance[at] <= found.bound[t][at] else "mismatch",
                float(distance[at]), float(found.bound[t][at]), "spike",
                *(float(run.spikes[name][(n, t, *at)]) for run in (self.simulated, self.ran)),
            )
            for at in (tuple(map(int, index)) for index in neurons)
        ]  # fmt: skip

    def _explained(self, n: int, name: str) -> Array:
        """Tell where both spikes follow the equations, each given its own past, (steps, ...)."""
        node = self.populations[name]
        explained = np.ones((self.graph.T, *node.shape), np.bool_)
        # Each run is replayed from its own spikes: an early tie then taints nothing that follows.
        for result in (self.simulated, self.ran):
            spikes = self._spikes(result, n)
            found = potentials(self.graph, name, self.images[n], spikes)
            near = np.abs(found.value - node.v_threshold) <= found.bound
            explained &= near | (fires(node, found.value) == spikes[name])
        return explained[: self.steps[n]]

    def _spikes(self, result: RunResult | DeviceRun, n: int) -> dict[str, Array]:
        return {name: spikes[n] for name, spikes in result.spikes.items()}

    def _wrong_logits(self, n: int, result: RunResult | DeviceRun) -> int:
        """Count the logits that float32 rounding does not explain, given the same run's spikes."""
        name, end = self.graph.readout.name, self.steps[n]
        found = potentials(self.graph, name, self.images[n], self._spikes(result, n))
        distance = np.abs(result.logits[n, :end] - found.value[:end])
        # Not `>`, because that would let NaN pass.
        return int((~(distance <= found.bound[:end])).sum())

    def _logit_distance(self, n: int) -> float:
        end = self.steps[n]
        here, there = self.simulated.logits[n, :end], self.ran.logits[n, :end]
        return float(np.abs(here.astype(np.float64) - there).max())

    def _judge_exit(self, n: int, affected: bool) -> list[Difference]:
        """Judge the device's exit: the rule must stop there, by the device's own logits.

        If it does and still stops elsewhere than the simulator, though all spikes agree, the two
        scores lie on either side of the rule's threshold within the rounding of the logits.
        """
        here, there = int(self.simulated.exit_step[n]), int(self.ran.exit_step[n])
        t = np.arange(1, there + 1)
        known = self.program.exit_rule.known_before
        last = here if known else self.graph.T  # where every sample stops, whatever its score
        stops = self.program.exit_rule.stops(self.ran.logits[n, :there], t) | (t == last)
        obeys = bool(stops[-1]) and not stops[:-1].any()
        if obeys and (here == there or affected):
            return []
        kind: Kind = "tie" if obeys else "mismatch"
        name, step = self.graph.readout.name, min(here, there)
        found = potentials(self.graph, name, self.images[n], self._spikes(self.ran, n))
        bound = float(found.bound[step - 1].max())
        distance = self._logit_distance(n)
        return [
            Difference(
                n, step, name, (), kind, distance, bound, "exit step", float(here), float(there)
            )
        ]
