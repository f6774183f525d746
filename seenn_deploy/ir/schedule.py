"""Schedule arithmetic: how many steps an answer takes, and which timesteps run (design, section 5).

A sequential schedule passes one timestep through the whole network before the next begins, and its
steps are such passes. On the others every synapse stage delays by one hardware step.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from seenn_deploy._typing import Array
from seenn_deploy.errors import ProgramError
from seenn_deploy.exits import ExitRule

Schedule = Literal["sequential", "pipelined", "speculative", "gated", "staged"]
SCHEDULES = ("sequential", "pipelined", "speculative", "gated")
# Gated once: for rules that know a sample's timesteps after the first one, and for no others.
STAGED = "staged"


@dataclass(frozen=True)
class Timing:
    """How the timesteps of a sample follow each other.

    Parameters
    ----------
    schedule : 'sequential', 'pipelined', 'speculative', 'gated' or 'staged'
    depth : int
        Number of synapse stages D.
    known_before : bool
        Whether a sample's number of timesteps is known before it starts.
    known_after_first : bool
        Whether it is known when the first timestep is through the network.
    """

    schedule: str = "sequential"
    depth: int = 0
    known_before: bool = False
    known_after_first: bool = False

    def __post_init__(self) -> None:
        check_name(self.schedule)
        if type(self.depth) is not int or self.depth < 0:
            raise ProgramError(f"depth = {self.depth!r}: give a number of stages, at least 0")
        for name in ("known_before", "known_after_first"):
            if type(value := getattr(self, name)) is not bool:
                raise ProgramError(f"{name} = {value!r}: give True or False")

    @property
    def followed(self) -> str:
        """The schedule as it runs: with timesteps known before the start nothing is speculative."""
        known = self.known_before and self.schedule == "speculative"
        return "pipelined" if known else self.schedule

    @property
    def possible(self) -> tuple[str, ...]:
        """The schedules that the exit rule allows: a pipeline must know the timesteps before."""
        known = tuple(s for s in SCHEDULES if s != "pipelined" or self.known_before)
        return (*known, STAGED) if self.known_after_first else known

    @property
    def compared(self) -> tuple[str, ...]:
        """The schedules that tables set side by side; those that are not `possible` included."""
        return (*SCHEDULES, STAGED) if self.known_after_first else SCHEDULES

    def under(self, schedule: str) -> Timing:
        """Return the same network and exit rule under another schedule.

        Raises
        ------
        ProgramError
            When there is no such schedule, or it must know the timesteps before and cannot.
        """
        found = replace(self, schedule=schedule)
        if schedule not in self.possible:
            when = "after its first one" if schedule == STAGED else "before it starts"
            raise ProgramError(f"a {schedule} schedule must know a sample's timesteps {when}")
        return found

    def latency(self, exit_step: Array) -> Array:
        """Return the hardware steps from a sample's first timestep to its answer; see `latency`."""
        return latency(self.followed, exit_step, self.depth)

    def interval(self, exit_step: Array, T: Array | int) -> Array:
        """Return the steps from one sample's start to the next one's."""
        return initiation_interval(self.followed, exit_step, self.depth, T)

    def injected(self, exit_step: Array, T: Array | int) -> Array:
        """Return how many timesteps of each sample run; those after its exit are wasted."""
        return injected(self.followed, exit_step, self.depth, T)


def check(schedule: str, rule: ExitRule) -> None:
    """Raise ProgramError for a schedule that does not exist or cannot work with the exit rule."""
    check_name(schedule)
    if schedule == "pipelined" and not rule.known_before:
        raise ProgramError(
            f"a pipelined schedule must know a sample's timesteps before it starts, exit rule "
            f"{rule.name!r} finds them on the way; use fixed or policy, "
            "or a sequential, speculative or gated schedule"
        )
    if schedule == STAGED and not rule.known_after_first:
        raise ProgramError(
            f"a staged schedule must know a sample's timesteps after its first one, exit rule "
            f"{rule.name!r} does not; use lookahead, or a sequential, speculative or gated schedule"
        )


def check_name(schedule: str) -> None:
    """Raise ProgramError for a schedule that does not exist."""
    if schedule not in (*SCHEDULES, STAGED):
        raise ProgramError(
            f"schedule {schedule!r} does not exist; there are {', '.join((*SCHEDULES, STAGED))}"
        )


def latency(schedule: str, exit_step: Array, depth: int) -> Array:
    """Return the hardware steps, or passes, from a sample's first timestep to its answer.

    Parameters
    ----------
    schedule : 'sequential', 'pipelined', 'speculative', 'gated' or 'staged'
    exit_step : int array (N,)
        Timestep of each exit, counted from 1.
    depth : int
        Number of synapse stages D.

    Returns
    -------
    int64 array (N,)
        Hardware steps, of a sequential schedule passes through the whole network.

    Raises
    ------
    ProgramError
        When there is no such schedule.
    """
    check_name(schedule)
    t = np.asarray(exit_step, np.int64)
    if schedule == "sequential":
        return t
    # Gated: each timestep waits for the verdict on the last, D steps through the network, 1 back.
    if schedule == "gated":
        return t * (depth + 1)
    # Staged: the second one waits for the verdict on the first, the others follow at once.
    return t + depth + np.where(t > 1, depth, 0) if schedule == STAGED else t + depth


def injected(schedule: str, exit_step: Array, depth: int, T: Array | int) -> Array:
    """Return how many timesteps of each sample run, int64 (N,); see `latency`.

    A speculative schedule goes on injecting timesteps until the exit is known, D steps late, but
    never past T: one number, or one of each sample. No other schedule runs a timestep behind the
    exit.
    """
    t = np.asarray(exit_step, np.int64)
    return np.minimum(t + depth, T) if schedule == "speculative" else t


def initiation_interval(schedule: str, exit_step: Array, depth: int, T: Array | int) -> Array:
    """Return the steps from one sample's start to the next one's; see `latency`."""
    # A pipeline takes one timestep per step, so the next sample follows the last that was injected.
    if schedule in ("pipelined", "speculative"):
        return injected(schedule, exit_step, depth, T)
    # Staged, it follows the last timestep, or the verdict that there is no other.
    if schedule == STAGED:
        return np.asarray(exit_step, np.int64) + depth
    return latency(schedule, exit_step, depth)


def followed(schedule: str, rule: ExitRule) -> str:
    """Return the schedule that is followed: timesteps that are known before need no speculation."""
    return Timing(schedule, known_before=rule.known_before).followed
