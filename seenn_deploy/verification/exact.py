"""The comparison of an integer program, in which every difference is a mismatch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from seenn_deploy._typing import Array
from seenn_deploy.exits.integer import IntegerRule
from seenn_deploy.verification.comparison import Comparison
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
        """The first timestep, from 0, at which the runs differ."""
        return int(np.flatnonzero(self.where.reshape(len(self.where), -1).any(axis=1))[0])


class ExactComparison(Comparison):
    """Two runs of one integer program on the same images; the simulated one is a full trace."""

    def report(self, device: str, seconds: float) -> VerifyReport:
        """Compare all samples, and return the report."""
        firsts: list[Difference] = []
        wrong_logits, wrong_scores, furthest = 0, 0, 0.0
        for n in range(len(self.images)):
            pairs = [pair for pair in self._pairs(n) if pair.where.any()]
            for pair in pairs:
                if pair.quantity == "policy score":
                    wrong_scores += int(pair.where.sum())
                elif pair.quantity == "logit":
                    wrong_logits += int(pair.where.sum())
                    furthest = max(furthest, float(np.abs(pair.simulated - pair.device).max()))
                else:
                    self.layers[pair.layer] = _counted(self.layers[pair.layer], pair)
            # Integers leave no room for ties: later differences follow from the first one, so one
            # is named.
            firsts += self._first(n, pairs)
        furthest *= self.program.logit_scale
        near = self.near_exits()
        return self.found(device, seconds, firsts, wrong_logits, furthest, near, wrong_scores)

    def simulated_exits(self) -> Array:
        """Return the exits by the integer rule, unless they were known before the start."""
        if self._rule is None:
            return self.simulated.exit_step
        return self.simulated.ended(self._rule.exit_steps(self._asked[0]))

    def near_exits(self) -> int:
        """Count the decisions up to the exits that are close to the rule's threshold."""
        if self._rule is None:
            return 0
        z, t = self._asked
        # What comes behind the exit is not decided any more, and at T every sample stops anyway.
        decides = (t <= self.exits[:, None]) & (t < self.ends[:, None])
        return int((self._rule.near(z, t) & decides).sum())

    @cached_property
    def _rule(self) -> IntegerRule | None:
        return None if self.program.exit_rule.known_before else self.program.integer_rule()

    @property
    def _asked(self) -> tuple[Array, Array]:
        """The integer logits (N, T, M), and t = 1..T of each, (N, T)."""
        z = self.simulated.integer_logits
        assert z is not None
        return z, np.broadcast_to(np.arange(1, self.program.T + 1), z.shape[:2])

    def _pairs(self, n: int) -> Iterator[_Pair]:
        """Yield every quantity of every layer of a sample, deeper layers later."""
        said, told = self.simulated.policy_scores, self.ran.policy_scores
        if said is not None and told is not None:  # before the first timestep
            yield _Pair("policy network", "policy score", said[n : n + 1], told[n : n + 1])
        end = self.steps[n]
        # By depth, so that of several differences at one timestep the cause comes first.
        for node in sorted(self.populations.values(), key=lambda node: self.graph.depth[node.name]):
            for quantity, kind in (("spike", "spikes"), ("v", "v")):
                both = (getattr(run, kind)[node.name] for run in (self.simulated, self.ran))
                yield _Pair(node.name, quantity, *(values[n, :end] for values in both))
        z, found = self.simulated.integer_logits, self.ran.integer_logits
        assert z is not None
        assert found is not None
        yield _Pair(self.graph.readout.name, "logit", z[n, :end], found[n, :end])

    def _first(self, n: int, pairs: list[_Pair]) -> list[Difference]:
        """Return the first neuron of the first layer at the first timestep, or else the exit."""
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
