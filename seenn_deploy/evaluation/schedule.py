"""When samples follow each other: latency, throughput and wasted work (design, section 5).

On a pipeline every synapse stage delays by one hardware step, so a network of D stages gives the
logits of SNN step t at hardware step t + D, and an exit rule's decision comes D steps late.

=============  ====================================================  ==================  =========
schedule       how                                                   latency             wasted
=============  ====================================================  ==================  =========
sequential     no pipeline: one timestep passes the whole network    t* passes           nothing
               before the next begins
pipelined      T_i known before the start; a reset wave trails       T_i + D             nothing
               each sample, the next one starts after it
speculative    inject every step until the exit comes out            t* + D              steps t*+1
                                                                                         .. t*+D
gated          inject the next step only after "go on"               t* (D + 1)          nothing
staged         gated once: t* known after the first timestep, the    1 + D, or t* + 2D   nothing
               others follow each other without waiting
=============  ====================================================  ==================  =========

A speculative schedule behind a policy network, or with no early exit, knows T_i too: it pipelines.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from seenn_deploy._typing import Array
from seenn_deploy.costs import Priced
from seenn_deploy.errors import DataError
from seenn_deploy.ir.schedule import STAGED, check, injected

if TYPE_CHECKING:
    from seenn_deploy.ir.program import Program
    from seenn_deploy.simulator.result import RunResult


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


def work(program: Program, run: RunResult) -> ScheduleReport:
    """Compute latency, throughput, useful and wasted work under the program's schedule.

    Parameters
    ----------
    program : Program
        Program that ran; ``program.with_schedule(name)`` has another schedule.
    run : RunResult
        The run; for a speculative schedule one that has the timesteps behind the exits.

    Raises
    ------
    ProgramError
        When the schedule does not fit the exit rule.
    DataError
        When the run has no counts after the exits, which a speculative schedule needs.
    """
    check(program.schedule, program.exit_rule)
    run = replace(run, timing=program.timing)
    if run.lower_bound:
        raise DataError(
            "a speculative schedule's wasted work lies behind the exits; simulate with "
            "wasted=True or full_trace=True (--full-trace)"
        )
    wasted, useful = run.wasted_per_sample(), run.charged_per_sample()
    return ScheduleReport(
        program.schedule,
        program.depth,
        run.timing.latency(run.exit_step),
        run.timing.interval(run.exit_step, run.ends),
        useful["ac"],
        wasted["ac"],
        useful["mac"],
        wasted["mac"],
    )


@dataclass(frozen=True, eq=False)
class Spent:
    """Joules of a run to T, had each sample stopped at t; float64 (N, T), no policy network.

    Parameters
    ----------
    useful : of the timesteps up to t
    spent : of those that run where t is found on the way, wasted ones included
    schedule : the one that such a rule follows
    """

    useful: Array
    spent: Array
    schedule: str


def spent_by_step(program: Program, run: RunResult, cost: Priced = "paper") -> Spent:
    """Tell what every exit would cost under the program's schedule.

    Parameters
    ----------
    program : Program
        Program that ran.
    run : RunResult
        Run with ``full_trace=True``.
    cost : str, Path or Cost
        Name of a cost model, a file with one, or what a placed run of the same samples costs.
    """
    useful, T = run.energy_by_step(cost), program.T
    # What a rule that looks at the logits of every timestep would do where it cannot follow.
    name = {"pipelined": "speculative", STAGED: "gated"}.get(program.schedule, program.schedule)
    last = injected(name, np.arange(1, T + 1), program.depth, T)
    return Spent(useful, useful[:, last - 1], name)


def summary(program: Program, run: RunResult, cost: Priced = "paper") -> dict[str, Any]:
    """Return a schedule's figures for a report; wasted work is None where it is not known.

    ``schedules`` has energy and latency under every schedule, None where the exit rule does not
    allow it.
    """
    run = replace(run, timing=program.timing)
    # Wasted timesteps that did not run are unknown, which is not 0.
    known = None if run.lower_bound else work(program, run).summary()
    names = ("wasted_ac_per_sample", "wasted_mac_per_sample", "wasted_share")
    return {
        "depth": program.depth,
        **{name: known and known[name] for name in names},
        **_figures(run, cost),
        "schedules": every(run, cost),
    }


def every(run: RunResult, cost: Priced = "paper") -> dict[str, dict[str, Any] | None]:
    """Return energy and latency under each schedule, None where the exit rule does not allow it."""
    possible = run.timing.possible
    compared = run.timing.compared
    return {s: _figures(run.under(s), cost) if s in possible else None for s in compared}


def _figures(run: RunResult, cost: Priced) -> dict[str, Any]:
    """Return the figures by which schedules are compared."""
    told = run.energy_summary(cost)
    names = "total", "wasted"
    return {
        "schedule": told["schedule"],
        "latency_steps": float(run.timing.latency(run.exit_step).mean()),
        "initiation_interval_steps": float(run.timing.interval(run.exit_step, run.ends).mean()),
        **{key: told[key] for key in (f"{name}_energy_uJ_per_sample" for name in names)},
    }
