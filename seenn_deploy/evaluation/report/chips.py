"""A placed network in a report: the cores of its first chip, and what they do in a run."""

from __future__ import annotations

from typing import Any

from seenn_deploy.compiler.mapping.placement import Placement
from seenn_deploy.evaluation.mesh import places
from seenn_deploy.evaluation.placed.run import PlacedRun

KEPT = ("chip", "cores", "cores_per_chip", "chips", "busiest_core", "busiest_core_synapses",
        "too_large", "layers")  # fmt: skip


def figures(placed: Placement | PlacedRun) -> dict[str, Any]:
    """Return a placement's figures as JSON values, and those of a run on it.

    Returns
    -------
    dict
        ``cores_of_first_chip`` with the place of each core, the layer that has most of its neurons,
        the share of its fullest limit, and of a run ``work``: what it takes of a hardware step, in
        microseconds, or in synaptic operations where no times are published. ``run`` is the summary
        of the run, or None.
    """
    run = placed if isinstance(placed, PlacedRun) else None
    placement = placed.placement if isinstance(placed, PlacedRun) else placed
    cores: list[dict[str, Any]] = []
    for core, (row, column) in places(placement, 0):
        owner, full = placement.owners[core], placement.full(core)
        cores.append({"core": core, "layer": owner, "x": column, "y": row, "full": full})
        if run is not None:
            scale = 1e6 if run.steps.timed else 1.0
            cores[-1]["work"] = float(scale * run.steps.by_core[core])
    whole = placement.summary()
    return {
        **{name: whole[name] for name in KEPT},
        "cores_of_first_chip": cores,
        "work_unit": None if run is None else "us" if run.steps.timed else "synaptic operations",
        "run": run and run.summary(),
    }
