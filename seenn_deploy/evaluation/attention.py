"""The energy of attention: the exact count of a run beside the conventions of papers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from seenn_deploy import costs
from seenn_deploy.costs.published import Convention, conventions, products_of

if TYPE_CHECKING:
    from seenn_deploy._typing import Array
    from seenn_deploy.ir.program import Program
    from seenn_deploy.simulator.result import RunResult


def compare(
    program: Program, run: RunResult, cost: str | Path = "paper", until: Array | None = None
) -> dict[str, Convention]:
    """Price a run's attention by element and in the three ways of papers.

    Parameters
    ----------
    program : Program
        What ran.
    run : RunResult
    cost : str or Path
        Name of a cost model, or a file with one.
    until : int64 array (N,), optional
        Timestep up to which each sample is priced; by default that of its exit.

    Returns
    -------
    dict of str to Convention
        See :func:`seenn_deploy.costs.published.conventions`; empty without attention.

    Raises
    ------
    DataError
        When the cost model cannot be read.
    """
    if not products_of(program.graph):
        return {}
    until = run.exit_step if until is None else until
    model = costs.load(cost)
    counts = run.counts.between(np.zeros_like(until), until).by_layer()
    energy = model.layer_energy(counts, run.sizes).mean(axis=0)
    sent, exact = (
        dict(zip(run.layers, map(float, values), strict=True))
        for values in (counts["spikes"].mean(axis=0), energy)
    )
    return conventions(program.graph, sent, exact, float(until.mean()), model)


def summary(found: dict[str, Convention]) -> dict[str, Any]:
    """Return the figures as JSON values, energies in microjoules; nothing without attention."""
    if not found:
        return {}
    return {
        "attention": {
            name: {
                "attention_energy_uJ": 1e6 * one.attention, "rest_energy_uJ": 1e6 * one.rest,
                "total_energy_uJ": 1e6 * one.total, "source": one.source,
            }
            for name, one in found.items()
        }
    }  # fmt: skip
