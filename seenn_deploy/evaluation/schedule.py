"""When samples follow each other on hardware: latency, throughput and wasted work (section 5).

Every synapse stage delays by one hardware step, so a network of D stages gives the logits of SNN
step t at hardware step t + D, and an exit rule's decision comes D steps late.

=============  ====================================================  ==================  =========
schedule       how                                                   latency             wasted
=============  ====================================================  ==================  =========
pipelined      T_i known before the start; a reset wave trails       T_i + D             nothing
               each sample, the next one starts after it
speculative    inject every step until the exit comes out            t* + D              steps t*+1
                                                                                         .. t*+D
gated          inject the next step only after "go on"               t* (D + 1)          nothing
=============  ====================================================  ==================  =========

A speculative schedule behind a policy network, or with no early exit, knows T_i too: it pipelines.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seenn_deploy import costs
from seenn_deploy._typing import Array
from seenn_deploy.errors import DataError
from seenn_deploy.ir.schedule import check, initiation_interval, latency

if TYPE_CHECKING:
    from seenn_deploy.ir.program import Program
    from seenn_deploy.simulator.result import Counts, RunResult


@dataclass(frozen=True, eq=False)
class ScheduleReport:
    """Latency, throughput and work of a run over N samples under a schedule; int64 arrays (N,).

    Parameters
    ----------
    schedule : str
    depth : int
        Number of synapse stages D.
    latency : hardware steps from a sample's first step to its answer
    initiation_interval : hardware steps until the next sample can start
    useful_ac, useful_mac : operations up to the exit
    wasted_ac, wasted_mac : operations of steps injected before the exit was known
    """

    schedule: str
    depth: int
    latency: Array
    initiation_interval: Array
    useful_ac: Array
    wasted_ac: Array
    useful_mac: Array
    wasted_mac: Array

    def __repr__(self) -> str:
        return f"ScheduleReport({self.schedule}, D={self.depth}, {len(self.latency)} samples)"

    @property
    def wasted_share(self) -> float:
        """The share of wasted operations, ACs and MACs alike, in all operations."""
        wasted = int(self.wasted_ac.sum() + self.wasted_mac.sum())
        total = wasted + int(self.useful_ac.sum() + self.useful_mac.sum())
        return wasted / total if total else 0.0

    def summary(self) -> dict[str, Any]:
        """Return means over samples, as JSON values."""
        per_sample = ("useful_ac", "wasted_ac", "useful_mac", "wasted_mac")
        return {
            "schedule": self.schedule,
            "depth": self.depth,
            "latency_steps": float(self.latency.mean()),
            "initiation_interval_steps": float(self.initiation_interval.mean()),
            **{f"{name}_per_sample": float(getattr(self, name).mean()) for name in per_sample},
            "wasted_share": self.wasted_share,
        }


def wasted_counts(program: Program, run: RunResult) -> Counts:
    """Return the counts (N, L, T) of timesteps that were injected before the exit was known.

    These timesteps run through the whole pipeline, because the next sample's reset follows them.

    Raises
    ------
    DataError
        When the schedule is speculative and the run stopped at the exits.
    """
    if program.followed_schedule != "speculative":
        return run.counts.between(run.exit_step, run.exit_step)
    if not run.full_trace:
        raise DataError(
            "a speculative schedule's wasted work lies behind the exits; simulate with "
            "full_trace=True (--full-trace)"
        )
    # One timestep per hardware step until the exit is known, D steps late, but not past T.
    injected = initiation_interval("speculative", run.exit_step, program.depth, program.T)
    return run.counts.between(run.exit_step, injected)


def work(program: Program, run: RunResult) -> ScheduleReport:
    """Compute latency, throughput, useful and wasted work under the program's schedule.

    Parameters
    ----------
    program : Program
        Program that ran; ``program.with_schedule(name)`` has another schedule.
    run : RunResult
        The run, with ``full_trace=True`` if the schedule is speculative.

    Raises
    ------
    ProgramError
        When the schedule does not fit the exit rule.
    DataError
        When the run has no counts after the exits, which a speculative schedule needs.
    """
    check(program.schedule, program.exit_rule)
    stages, schedule = program.depth, program.followed_schedule
    wasted, useful = wasted_counts(program, run), run.charged
    return ScheduleReport(
        program.schedule,
        stages,
        latency(schedule, run.exit_step, stages),
        initiation_interval(schedule, run.exit_step, stages, program.T),
        useful.ac.sum(axis=(1, 2)),
        wasted.ac.sum(axis=(1, 2)),
        useful.mac.sum(axis=(1, 2)),
        wasted.mac.sum(axis=(1, 2)),
    )


def summary(program: Program, run: RunResult, cost: str | Path = "paper") -> dict[str, Any]:
    """Return a schedule's figures for a report; wasted work is None where it is not known."""
    stages, schedule = program.depth, program.followed_schedule
    interval = initiation_interval(schedule, run.exit_step, stages, program.T)
    found = {
        "schedule": program.schedule,
        "depth": stages,
        "latency_steps": float(latency(schedule, run.exit_step, stages).mean()),
        "initiation_interval_steps": float(interval.mean()),
        "wasted_ac_per_sample": None,
        "wasted_mac_per_sample": None,
        "wasted_share": None,
        "wasted_energy_uJ_per_sample": None,
    }
    if schedule == "speculative" and not run.full_trace:
        return found
    wasted = wasted_counts(program, run).by_layer()
    energy = costs.load(cost).energy(wasted, run.sizes)
    known = work(program, run).summary() | {
        "wasted_energy_uJ_per_sample": float(energy.mean() * 1e6)
    }
    return found | {key: known[key] for key in found}
