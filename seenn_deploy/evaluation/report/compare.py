"""Two runs on the same samples side by side: what changed, by how much, and for which samples."""

from __future__ import annotations

from typing import Any

import numpy as np

from seenn_deploy.errors import DataError
from seenn_deploy.evaluation.report.figures import (
    by_layer,
    mean_interval,
    paired_share_interval,
    priced,
)
from seenn_deploy.simulator.result import RunResult

MOST_SIDES = 200  # samples that changed side which a page lists


def compare(before: RunResult, after: RunResult) -> dict[str, Any]:
    """Compare two runs on the same samples, in the same order.

    Parameters
    ----------
    before, after : RunResult
        Their networks may differ; then layers of the same name are set side by side.

    Returns
    -------
    dict
        ``changes`` with the mean of ``after - before`` and its paired 95 % interval, ``layers``
        with the energy of each in both, and ``sides``: samples that became right or wrong.

    Raises
    ------
    DataError
        When the numbers of samples, or the labels, differ.
    """
    n, m = len(before.exit_step), len(after.exit_step)
    if n != m:
        raise DataError(f"the runs have {n} and {m} samples; compare runs on the same images")
    labels = before.labels if before.labels is not None else after.labels
    both = before.labels is not None and after.labels is not None
    if both and not np.array_equal(before.needed_labels, after.needed_labels):
        raise DataError("the runs have different labels; compare runs on the same images")
    models = priced(before, after)
    right = None if labels is None else [run.prediction == labels for run in (before, after)]
    return {
        "changes": {
            "accuracy": right and paired_share_interval(*right),
            "mean_exit_step": mean_interval(after.exit_step - before.exit_step),
            "latency_steps": mean_interval(
                after.timing.latency(after.exit_step) - before.timing.latency(before.exit_step)
            ),
            "energy_uJ": {
                model: mean_interval(1e6 * (after.energy(model) - before.energy(model)))
                for model in models
            },
        },
        "predictions_changed": int((before.prediction != after.prediction).sum()),
        "exits_changed": int((before.exit_step != after.exit_step).sum()),
        "layers": _layers(before, after, models),
        "sides": right and _sides(before, after, labels.tolist()),  # type: ignore[union-attr]
    }


def _layers(before: RunResult, after: RunResult, models: list[str]) -> list[dict[str, Any]]:
    energy = [
        {row["layer"]: row["energy_uJ"] for row in by_layer(run, models)} for run in (before, after)
    ]
    names = dict.fromkeys([*before.layers, *after.layers])
    return [
        {"layer": name, "before_uJ": energy[0].get(name), "after_uJ": energy[1].get(name)}
        for name in names
    ]


def _sides(before: RunResult, after: RunResult, labels: list[int]) -> dict[str, Any]:
    was, now = ((run.prediction == np.array(labels)) for run in (before, after))
    changed = np.flatnonzero(was != now)
    return {
        "became_right": int((~was & now).sum()),
        "became_wrong": int((was & ~now).sum()),
        "samples": [
            {
                "sample": int(i),
                "label": labels[i],
                "before": int(before.prediction[i]),
                "after": int(after.prediction[i]),
                "exit_before": int(before.exit_step[i]),
                "exit_after": int(after.exit_step[i]),
            }
            for i in changed[:MOST_SIDES]
        ],
    }
