"""Simulations as tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from seenn_deploy.cli.tables.layout import BESIDE, Table, _times, _uj, numbers_table, unproven

MOST_STEPS = 20  # exits are listed step by step up to here
A_ROW = 4  # of them, at most


def exit_rows(summary: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the lines that simulations and device runs have in common."""
    yield from unproven(summary.get("not_proven", ""))
    if "engine" in summary:
        yield "computed by", f"{summary['engine']}, equal up to rounding ties"
    yield "samples", f"{summary['samples']:,}"
    if summary["accuracy"] is not None:
        yield "accuracy", f"{100 * summary['accuracy']:.2f} %"
    yield "mean exit step", f"{summary['mean_exit_step']:.3f} of {len(summary['exit_histogram'])}"
    if "share_heard" in summary:
        yield "heard", f"{100 * summary['share_heard']:.1f} % of each sample, on average"
    yield "exits", histogram_text(summary["exit_histogram"])


def run_rows(summary: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the lines of a simulation's report."""
    yield from exit_rows(summary)
    yield "AC per sample", f"{summary['ac_per_sample']:,.0f}"
    yield "MAC per sample", f"{summary['mac_per_sample']:,.0f}"
    yield "spikes per sample", f"{summary['spikes_per_sample']:,.0f}"
    yield from _energy_rows(summary)
    yield from _ann_rows(summary)
    if "schedules" in summary:
        yield "latency", _latency(summary)


def _energy_rows(summary: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what the schedule spends, and the part of it that bought nothing."""
    how = f"cost model {summary['cost_model']}, {summary['schedule']} schedule"
    wasted, policy = (summary[f"{x}_energy_uJ_per_sample"] for x in ("wasted", "policy"))
    if (total := summary["total_energy_uJ_per_sample"]) is not None:
        yield "energy per sample", f"{_uj(total)} uJ ({how})"
    else:
        least = _uj(summary["energy_uJ_per_sample"] + (policy or 0.0))
        lacks = "wasted timesteps" if wasted is None else "the policy network"
        yield "energy per sample", f"at least {least} uJ without {lacks} ({how})"
    if wasted:
        share = (
            f", {100 * summary['wasted_share']:.1f} % of all operations"
            if "wasted_share" in summary
            else ""
        )
        yield "of it wasted", f"{_uj(wasted)} uJ in timesteps behind the exit{share}"


def _ann_rows(summary: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what the same network would cost as an ANN, and the policy network's share."""
    paid, bits = summary["total_energy_uJ_per_sample"], summary["quantized_ann_bits"]
    for name, key in (("dense", "dense_ann"), (f"{bits}-bit", "quantized_ann")):
        energy = summary[f"{key}_energy_uJ"]
        times = f" ({_times(energy / paid)} times as much)" if energy is not None and paid else ""
        text = "not priced by this cost model" if energy is None else f"{_uj(energy)} uJ{times}"
        yield f"the same as a {name} ANN", text
    if summary["policy_mac"]:
        energy, share = summary["policy_energy_uJ_per_sample"], summary["policy_energy_share"]
        price = "not priced" if energy is None else f"{_uj(energy)} uJ, {100 * share:.1f} % of all"
        of_dense = f"{100 * summary['policy_mac_share']:.3f} % of the ANN's MACs"
        yield "policy network", f"{summary['policy_mac']:,} MAC ({of_dense}); {price}"


def schedule_table(summary: Mapping[str, Any]) -> Table:
    """Set the schedules side by side, the program's own with a star: energy, time to the answer."""
    table = numbers_table("schedule", "energy uJ", "of it wasted", "latency", "a sample every")
    for name, figures in summary["schedules"].items():
        shown = f"{name} *" if name == summary["schedule"] else name
        if figures is None:
            table.add(shown, "-", "-", "-", "-")
            continue
        total, wasted = (figures[f"{x}_energy_uJ_per_sample"] for x in ("total", "wasted"))
        table.add(
            shown,
            "not known" if total is None else _uj(total),
            "not run" if wasted is None else _uj(wasted) if wasted else "0",
            _steps(figures, "latency_steps"),
            _steps(figures, "initiation_interval_steps"),
        )
    return table


def schedule_note(summary: Mapping[str, Any]) -> str:
    """The line below the table of schedules."""
    stages = f"all {summary['depth']} stages"
    note = f"* the program's own; a pass goes through {stages}, a step through one"
    told = [
        figures["wasted_energy_uJ_per_sample"]
        for figures in summary["schedules"].values()
        if figures
    ]
    return (
        f"{note}\nnot run: timesteps behind the exits; add --full-trace" if None in told else note
    )


def _latency(summary: Mapping[str, Any]) -> str:
    steps, how = summary["latency_steps"], summary["schedule"]
    if how == "sequential":
        return f"{steps:.2f} passes through the network (sequential)"
    return f"{steps:.2f} hardware steps ({how}, D={summary['depth']})"


def _steps(figures: Mapping[str, Any], key: str) -> str:
    """Write a number of steps; without a pipeline a step is a whole pass."""
    unit = "passes" if figures["schedule"] == "sequential" else "steps"
    return f"{figures[key]:.2f} {unit}"


def histogram_text(histogram: Mapping[str, int]) -> str:
    """Write the exits at each timestep with their share; the quartiles if there are many."""
    total = max(sum(histogram.values()), 1)
    # One exit needs no shares, and many timesteps would fill the screen.
    taken = [t for t, n in histogram.items() if n]
    if len(taken) == 1:
        return f"all at t={taken[0]}"
    if len(histogram) > MOST_STEPS:
        steps = np.repeat([int(t) for t in histogram], list(histogram.values()))
        names = ("first", "25 % by", "50 % by", "75 % by", "last")
        # Of the timesteps that samples did exit at, and none in between.
        marks = np.quantile(steps, (0, 0.25, 0.5, 0.75, 1), method="inverted_cdf")
        cells = [f"{name} t={t}" for name, t in zip(names, marks, strict=True)]
        return ",\n".join(", ".join(row) for row in _even_rows(cells, ", "))
    shares = [f"t={t}: {n} ({100 * n / total:.1f} %)" for t, n in histogram.items()]
    return "\n".join("   ".join(row) for row in _even_rows(shares, "   "))


def _even_rows(cells: list[str], gap: str) -> list[list[str]]:
    """Divide cells into as few rows as `A_ROW` and `BESIDE` allow, all about as long."""
    n = len(cells)
    for count in range(-(-n // A_ROW), n):
        a_row = -(-n // count)
        rows = [cells[i : i + a_row] for i in range(0, n, a_row)]
        if all(len(gap.join(row)) <= BESIDE for row in rows):
            return rows
    return [[cell] for cell in cells]
