"""Schedule arithmetic: how many hardware steps an answer takes (design, section 5)."""

from __future__ import annotations

import numpy as np

from seenn_deploy._typing import Array
from seenn_deploy.errors import ProgramError
from seenn_deploy.exits import ExitRule

SCHEDULES = ("pipelined", "speculative", "gated")


def check(schedule: str, rule: ExitRule) -> None:
    """Raise ProgramError for a schedule that does not exist or cannot work with the exit rule."""
    if schedule not in SCHEDULES:
        raise ProgramError(
            f"schedule {schedule!r} does not exist; there are {', '.join(SCHEDULES)}"
        )
    if schedule == "pipelined" and not rule.known_before:
        raise ProgramError(
            f"a pipelined schedule must know a sample's timesteps before it starts, exit rule "
            f"{rule.name!r} finds them on the way; use fixed or policy, "
            "or a speculative or gated schedule"
        )


def latency(schedule: str, exit_step: Array, depth: int) -> Array:
    """Return the hardware steps from a sample's first step to its answer.

    Parameters
    ----------
    schedule : 'pipelined', 'speculative' or 'gated'
    exit_step : int array (N,)
        Timestep of each exit, counted from 1.
    depth : int
        Number of synapse stages D.

    Returns
    -------
    int64 array (N,)

    Raises
    ------
    ProgramError
        When there is no such schedule.
    """
    t = np.asarray(exit_step, np.int64)
    # Gated: each timestep waits for the verdict on the last, D steps through the network, 1 back.
    found = {"pipelined": t + depth, "speculative": t + depth, "gated": t * (depth + 1)}
    if schedule not in found:
        raise ProgramError(
            f"schedule {schedule!r} does not exist; there are {', '.join(SCHEDULES)}"
        )
    return found[schedule]


def initiation_interval(schedule: str, exit_step: Array, depth: int, T: int) -> Array:
    """Return the hardware steps from one sample's start to the next one's; see `latency`.

    A speculative schedule goes on injecting timesteps until the exit is known, but never past T.
    """
    if schedule == "pipelined":
        return np.asarray(exit_step, np.int64)
    steps = latency(schedule, exit_step, depth)
    return np.minimum(steps, T) if schedule == "speculative" else steps


def followed(schedule: str, rule: ExitRule) -> str:
    """Return the schedule that is followed: timesteps that are known before need no speculation."""
    return "pipelined" if rule.known_before and schedule == "speculative" else schedule
