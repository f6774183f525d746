"""The figures of a run for a report, as JSON values: what the page shows is what stands here."""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt
from typing import Any

import numpy as np

from seenn_deploy import costs
from seenn_deploy._typing import Array
from seenn_deploy.evaluation import conventions, schedule
from seenn_deploy.evaluation.sweep.sweep import curves
from seenn_deploy.exits.base import softmax
from seenn_deploy.simulator.result import RunResult

NORMAL_95 = 1.959964  # quantile of the normal distribution for intervals of 95 %
MOST_VALUES = 40_000  # samples times timesteps whose confidence goes into a page, some 300 kB
SHOWN_COUNTS = ("spikes", "graded", "ac", "mac", "ands", "comparisons", "updates_active", "resets",
                "saturated")  # fmt: skip


def of_run(run: RunResult) -> dict[str, Any]:
    """Return all figures of a run, under every cost model of the package.

    Parameters
    ----------
    run : RunResult

    Returns
    -------
    dict
        ``costs`` as of ``conventions.matrix``; ``summary`` by cost model, as of ``run.summary``;
        ``intervals`` of 95 %; ``layers`` and ``steps`` with means per sample up to its exit;
        ``schedules`` by cost model; ``front``, the curves over thresholds, where every sample ran
        to T and has a label; ``samples``.
    """
    models = priced(run)
    return {
        "samples_total": len(run.exit_step),
        "timesteps": run.logits.shape[1],
        "classes": run.logits.shape[2],
        "full_trace": run.full_trace,
        "fixed": run.timing.known_before,
        "schedule": run.timing.schedule,
        "depth": run.timing.depth,
        "lower_bound": run.lower_bound,
        "not_proven": run.not_proven,
        "models": models,
        "costs": conventions.matrix(run).summary(),
        "summary": {model: run.summary(model) for model in models},
        "intervals": _intervals(run, models),
        "layers": by_layer(run, models),
        "steps": _steps(run, models),
        "schedules": {model: schedule.every(run, model) for model in models},
        "front": _front(run, models),
        "samples": _samples(run),
    }


def priced(*runs: RunResult) -> list[str]:
    """Return the cost models that can price all of some runs.

    Some models need to know of the layers what older folders do not say.
    """
    return [
        name for name in costs.names() if not any(costs.load(name).lacks(run.sizes) for run in runs)
    ]


def mean_interval(values: Array) -> list[float]:
    """Return the mean of N values and its 95 % interval by the normal distribution."""
    mean = float(values.mean())
    error = NORMAL_95 * float(values.std()) / sqrt(len(values))
    return [mean, mean - error, mean + error]


def share_interval(right: Array) -> list[float]:
    """Return the share of N bools that are true and its 95 % interval, after Wilson (1927).

    It stays inside [0, 1], and says something of a share of 0 or 1 as well.
    """
    n, share, z = len(right), float(right.mean()), NORMAL_95
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return [share, middle - half, middle + half]


def paired_share_interval(before: Array, after: Array) -> list[float]:
    """Return the change of a share from one N bools to others of the same samples, and its 95 %.

    It is the interval of Newcombe (Statistics in Medicine 17, 1998, 2635-2650, method 10): Wilson's
    of either share, put together by how much the two depend on each other. It is of a width above
    0 even where no sample changed, as few samples leave open whether one would.
    """
    n = len(before)
    both, neither = int((before & after).sum()), int((~before & ~after).sum())
    lost, won = int((before & ~after).sum()), int((~before & after).sum())
    was, was_low, was_high = share_interval(before)
    now, now_low, now_high = share_interval(after)
    margins = (both + lost) * (won + neither) * (both + won) * (lost + neither)
    product = float(both * neither - lost * won)
    # A correction for continuity, where the two agree more often than by chance.
    product = max(product - n / 2, 0) if product > 0 else product
    related = product / sqrt(margins) if margins else 0.0

    def arm(a: float, b: float) -> float:
        return sqrt(max(a * a - 2 * related * a * b + b * b, 0.0))

    change = now - was
    below, above = arm(now - now_low, was_high - was), arm(now_high - now, was - was_low)
    return [change, change - below, change + above]


def _intervals(run: RunResult, models: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "accuracy": None if run.labels is None else share_interval(run.correct),
        "mean_exit_step": mean_interval(run.exit_step),
        "latency_steps": mean_interval(run.timing.latency(run.exit_step)),
    }
    found["energy_uJ"] = {model: mean_interval(1e6 * run.energy(model)) for model in models}
    return found


def by_layer(run: RunResult, models: list[str]) -> list[dict[str, Any]]:
    """Return a row for each layer: mean counts per sample, firing rate, and energy by model."""
    means = {name: values.mean(axis=0) for name, values in run.charged.by_layer().items()}
    energy = _energy(run, models, means)
    potentials = run.sizes.potentials
    steps = float(run.exit_step.mean())
    return [
        {
            "layer": name,
            **{f"{count}_per_sample": float(means[count][i]) for count in SHOWN_COUNTS},
            "rate": float(means["spikes"][i] / (potentials[i] * steps)) if potentials[i] else None,
            "energy_uJ": {model: float(energy[model][i]) for model in models},
        }
        for i, name in enumerate(run.layers)
    ]


def _steps(run: RunResult, models: list[str]) -> list[dict[str, Any]]:
    """Means over the samples that still ran at a timestep, which are fewer later."""
    T = run.logits.shape[1]
    running = (run.exit_step[:, None] >= np.arange(1, T + 1)).sum(axis=0)
    means = {
        name: values.sum(axis=0).T / np.maximum(running, 1)[:, None]
        for name, values in run.charged.items()
    }
    energy = _energy(run, models, means)
    return [
        {
            "layer": name,
            "t": t + 1,
            "running": int(running[t]),
            **{count: float(means[count][t, i]) for count in SHOWN_COUNTS},
            "energy_uJ": {model: float(energy[model][t, i]) for model in models},
        }
        for i, name in enumerate(run.layers)
        for t in range(T)
    ]


def _energy(run: RunResult, models: list[str], means: Mapping[str, Array]) -> dict[str, Array]:
    """Microjoules of counts (.., L) under each cost model."""
    return {model: 1e6 * costs.load(model).layer_energy(means, run.sizes) for model in models}


def _front(run: RunResult, models: list[str]) -> dict[str, Any]:
    if not run.full_trace or run.labels is None or run.logits.shape[1] == 1:
        return {}
    found: dict[str, Any] = {}
    for model in models:
        for curve in curves(run, cost=model):
            known = found.setdefault(curve.rule, {
                "parameter": curve.parameter,
                "threshold": [float(x) for x in curve.threshold],
                "accuracy": [float(x) for x in curve.accuracy],
                "mean_exit_step": [float(x) for x in curve.mean_exit_step],
                "energy_uJ": {},
            })  # fmt: skip
            known["energy_uJ"][model] = [float(1e6 * x) for x in curve.energy]
    return found


def _samples(run: RunResult) -> dict[str, Any]:
    """The first samples, one column for each of what they did; of a full trace by timestep too."""
    n, T = run.logits.shape[:2]
    kept = min(n, MOST_VALUES // T)
    first = run.take(np.arange(kept))
    columns = first.by_sample()
    found: dict[str, Any] = {
        "prediction": columns["prediction"].tolist(),
        "exit_step": columns["exit_step"].tolist(),
        "confidence": [float(f"{x:.6g}") for x in columns["confidence"]],
    }
    if "label" in columns:
        found["label"] = columns["label"].tolist()
    if run.full_trace and T > 1:
        highest = softmax(first.logits).max(axis=-1)
        found["confidence_by_step"] = [[float(f"{x:.4g}") for x in row] for row in highest]
        found["prediction_by_step"] = first.logits.argmax(axis=-1).tolist()
    return found
