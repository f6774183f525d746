"""A run as pictures for notebooks: its exits, and the activity of each layer over time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from seenn_deploy.ir import charts

if TYPE_CHECKING:
    from seenn_deploy.simulator.result import RunResult


def of_run(run: RunResult) -> str:
    """Return two charts as HTML; '' where the libraries that draw them are not installed."""
    T, exits = run.logits.shape[1], run.exit_step
    parts = {"all": np.ones(len(exits), np.bool_)}
    if run.labels is not None:
        parts = {"right": run.correct, "wrong": ~run.correct}
    bars = [
        {"t": t, "what": what, "samples": int((exits[part] == t).sum())}
        for t in range(1, T + 1)
        for what, part in parts.items()
    ]
    running = np.array([max(1, int((exits >= t).sum())) for t in range(1, T + 1)])
    spikes = run.charged.spikes.sum(axis=0) / running
    squares = [
        {"layer": name, "t": t + 1, "value": float(spikes[i, t])}
        for i, name in enumerate(run.layers)
        for t in range(T)
    ]
    return charts.pictures(
        ("exits", {"exits": bars}, 0), ("heat_map", {"steps": squares}, len(run.layers))
    )
