"""What we count of a run on a chip, beside what a device measured that simulates the chip."""

from __future__ import annotations

import numpy as np

from seenn_deploy._typing import Array
from seenn_deploy.compiler.mapping.chip import load
from seenn_deploy.compiler.mapping.place import map_to_chip
from seenn_deploy.evaluation.placed.run import PlacedRun, run_placed, tokens
from seenn_deploy.exits.fixed import Fixed
from seenn_deploy.ir.program import Program

TOKEN = 1  # hardware step behind the last timestep, in which its sample's token is sent


def counted(program: Program, chip: str, images: Array, full_trace: bool) -> dict[str, float]:
    """Sums over all hardware steps, named as in ``DeviceRun.measured`` (docs/chips.md).

    Parameters
    ----------
    program : Program
        Under the schedule that the device followed.
    chip : str
        Name or file of the chip that the device simulates.
    images : float32 array (N, ...)
    full_trace : bool
        Whether every sample ran to T.
    """
    if full_trace:  # then no exit ends anything
        program = program.with_exit(Fixed())
    placed = run_placed(program, map_to_chip(program, load(chip)), images, progress=False)
    schedule = program.followed_schedule
    steps = hardware_steps(placed, schedule)
    kept = np.arange(placed.T) < placed.injected(schedule)[:, None]
    counts = {name: float((x * kept[:, None]).sum()) for name, x in placed.counts.items()}
    samples = len(images)
    ends, (across, along) = tokens(placed.placement)
    energy = {name: float(x.sum()) for name, x in placed.energy(schedule).items()}
    access = 1e-12 * placed.placement.chip.energy["access"] * placed.neurons * steps
    return {
        "hardware_steps": float(steps),
        "messages": counts["messages"] + samples * ends,
        "tokens": float(samples),
        "hops": counts["hops_east_west"] + counts["hops_north_south"] + samples * (across + along),
        "synapse_events": sum(counts[f"synapses_{kind}"] for kind in ("conv", "sparse", "dense")),
        "updates": counts["updates"],
        "spikes": counts["spikes"],
        "synapse_J": energy["synapse"],
        "neuron_J": access + energy["update"] + energy["spike"],
        "network_J": energy["message"] + energy["hop"] + energy["token"],
        "time_s": float(placed.paces[schedule].steps[:steps].sum()),
    }


def hardware_steps(placed: PlacedRun, schedule: str) -> int:
    """Steps from the first timestep that is sent to the last sample's token."""
    under_way = placed.timing.depth if placed.steps_of(schedule)[1] == 1 else 0
    return int(placed.interval_steps(schedule).sum()) + under_way + TOKEN
