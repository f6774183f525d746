"""Simulations as tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from seenn_deploy.cli.tables.layout import BESIDE, _times, _uj, unproven

MOST_STEPS = 20  # exits are listed step by step up to here
A_ROW = 4  # of them, at most


def run_rows(summary: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the lines of a simulation's report."""
    yield from unproven(summary.get("not_proven", ""))
    yield "samples", f"{summary['samples']:,}"
    if summary["accuracy"] is not None:
        yield "accuracy", f"{100 * summary['accuracy']:.2f} %"
    yield "mean exit step", f"{summary['mean_exit_step']:.3f} of {len(summary['exit_histogram'])}"
    yield "exits", histogram_text(summary["exit_histogram"])
    yield "AC per sample", f"{summary['ac_per_sample']:,.0f}"
    yield "MAC per sample", f"{summary['mac_per_sample']:,.0f}"
    yield "spikes per sample", f"{summary['spikes_per_sample']:,.0f}"
    yield (
        "energy per sample",
        (f"{_uj(summary['energy_uJ_per_sample'])} uJ (cost model {summary['cost_model']})"),
    )
    yield from _ann_rows(summary)
    if "schedule" in summary:
        yield from _schedule_rows(summary)


def _ann_rows(summary: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The policy network's share, and what all of it is beside the same network as an ANN."""
    paid, bits = summary["total_energy_uJ_per_sample"], summary["quantized_ann_bits"]
    if summary["policy_mac"] and paid is not None:
        yield "with the policy network", f"{_uj(paid)} uJ"
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


def _schedule_rows(summary: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Hardware steps under the schedule, and what it wastes."""
    steps, interval = summary["latency_steps"], summary["initiation_interval_steps"]
    how = f"{summary['schedule']}, D={summary['depth']}"
    yield "latency", f"{steps:.2f} hardware steps, a sample every {interval:.2f} ({how})"
    share, energy = summary["wasted_share"], summary["wasted_energy_uJ_per_sample"]
    if share is None:
        yield "wasted work", "steps behind the exit did not run: add --full-trace"
    else:
        more = f"{_uj(energy)} uJ more per sample"
        yield "wasted work", f"{100 * share:.1f} % of all operations, {more}"


def histogram_text(histogram: Mapping[str, int]) -> str:
    """Write the exits at each timestep with their share; the quartiles if there are many."""
    total = max(sum(histogram.values()), 1)
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
    """As few rows as `A_ROW` and `BESIDE` allow, about as long as each other."""
    n = len(cells)
    for count in range(-(-n // A_ROW), n):
        a_row = -(-n // count)
        rows = [cells[i : i + a_row] for i in range(0, n, a_row)]
        if all(len(gap.join(row)) <= BESIDE for row in rows):
            return rows
    return [[cell] for cell in cells]
