"""The base of both comparisons: the two runs, how far samples are compared, the counts."""

from __future__ import annotations

import numpy as np

from seenn_deploy._typing import Array
from seenn_deploy.ir.program import Program
from seenn_deploy.simulator.result import RunResult
from seenn_deploy.targets.base import DeviceRun
from seenn_deploy.verification.report import Difference, LayerReport, VerifyReport


class Comparison:
    """Two runs of one program on the same images, side by side.

    Samples are compared up to the earlier of their two exits, or to T.

    Parameters
    ----------
    program : Program
    images : array (N, ...)
    simulated : RunResult
        A recorded run of the simulator.
    ran : DeviceRun
        A recorded run of the device.
    full_trace : bool
        Whether both ran every sample to T, and all T timesteps are compared.
    """

    def __init__(
        self,
        program: Program,
        images: Array,
        simulated: RunResult,
        ran: DeviceRun,
        full_trace: bool,
    ) -> None:
        self.program, self.graph, self.images = program, program.graph, images
        self.simulated, self.ran = simulated, ran
        self.exits = self.simulated_exits()
        # After the earlier exit one of the two runs has no spikes to compare.
        shared = np.minimum(self.exits, ran.exit_step)
        self.ends = simulated.ends
        self.steps = self.ends if full_trace else shared
        self.populations = {node.name: node for node in self.graph.populations}
        self.layers = {
            p.name: LayerReport(p.name, int(self.steps.sum()) * int(np.prod(p.shape)))
            for p in self.populations.values()
        }

    def simulated_exits(self) -> Array:
        """Return the exits of the simulated samples, int64 (N,)."""
        return self.simulated.exit_step

    def found(
        self,
        device: str,
        seconds: float,
        firsts: list[Difference],
        wrong_logits: int,
        furthest: float,
        near_exits: int = 0,
        wrong_policy_scores: int = 0,
    ) -> VerifyReport:
        """Make the report; `layers` has the counts by population."""
        said = self.ran.policy_scores
        exits = zip(self.exits.tolist(), self.ran.exit_step.tolist(), strict=True)
        return VerifyReport(
            device, len(self.images), tuple(self.layers.values()), tuple(firsts), tuple(exits),
            wrong_logits, furthest, tuple(map(int, self.ran.hardware_steps)), seconds,
            near_exits=near_exits, policy_scores=0 if said is None else said.size,
            wrong_policy_scores=wrong_policy_scores, not_proven=self.program.provenance.not_proven,
        )  # fmt: skip
