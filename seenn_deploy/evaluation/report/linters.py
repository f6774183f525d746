"""What a report points at: one function per advice, from the figures alone.

Each takes the figures of :func:`seenn_deploy.evaluation.report.figures.of_run` and the program's
description where there is one, and yields a line for the page.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

Figures = dict[str, Any]
MODEL = "paper"  # shares of energy are told under the cost model of SEENN's paper
LARGE_SHARE = 0.5
BUSY = 0.5  # spikes per neuron and timestep
WASTE = 0.1
FEW = 100
LOSS = 0.01


@dataclass(frozen=True)
class Advice:
    """A line of advice.

    Parameters
    ----------
    level : 'bad', 'warn' or 'note'
        Whether figures mislead, something should be changed, or is worth knowing.
    text : str
    layer : str
        The layer that it is about; '' for the whole run.
    """

    level: Literal["bad", "warn", "note"]
    text: str
    layer: str = ""


def advice(figures: Figures) -> list[dict[str, Any]]:
    """Return the advice of every linter, the gravest first, as JSON values."""
    found = [line for linter in LINTERS for line in linter(figures)]
    order = ("bad", "warn", "note")
    return [asdict(line) for line in sorted(found, key=lambda line: order.index(line.level))]


def not_proven(figures: Figures) -> Iterator[Advice]:
    """The program was not compared with the network that it came from."""
    if figures["not_proven"]:
        yield Advice(
            "bad",
            f"not proven: {figures['not_proven']}; the program was not compared with its source",
        )


def lower_bound(figures: Figures) -> Iterator[Advice]:
    """Timesteps that the schedule wastes were not run."""
    if figures["lower_bound"]:
        yield Advice(
            "bad",
            "energies are a lower bound: the timesteps that a speculative schedule wastes did not "
            "run; simulate without --skip-wasted",
        )


def silent(figures: Figures) -> Iterator[Advice]:
    """A layer of neurons never spiked; the readout never does."""
    for row in figures["layers"][:-1]:
        if row["rate"] == 0:
            yield Advice("warn", "never spikes: what comes behind it sees nothing", row["layer"])


def busy(figures: Figures) -> Iterator[Advice]:
    """Neurons spike in most timesteps, so events save nothing."""
    for row in figures["layers"][:-1]:
        if row["rate"] is not None and row["rate"] > BUSY:
            yield Advice(
                "warn",
                f"firing rate {100 * row['rate']:.0f} %, above 50 %: an ANN would be cheaper",
                row["layer"],
            )


def hot(figures: Figures) -> Iterator[Advice]:
    """One layer takes most of the energy."""
    energies = {row["layer"]: row["energy_uJ"][MODEL] for row in figures["layers"]}
    whole = sum(energies.values())
    for layer, spent in energies.items():
        if whole and len(energies) > 2 and spent > LARGE_SHARE * whole:
            share = f"{100 * spent / whole:.0f} % of the energy is spent here"
            yield Advice("note", f"{share} (cost model {MODEL})", layer)


def dearer_than_an_ann(figures: Figures) -> Iterator[Advice]:
    """Under some cost models the same network as an ANN would take less."""
    dearer = [
        model
        for model, told in figures["summary"].items()
        if told["dense_ann_energy_uJ"] is not None
        and told["energy_uJ_per_sample"] > told["dense_ann_energy_uJ"]
    ]
    if dearer:
        yield Advice(
            "warn",
            f"the same network as an ANN takes less energy under {', '.join(dearer)}",
        )


def wasted(figures: Figures) -> Iterator[Advice]:
    """The schedule runs timesteps behind the exit."""
    told = figures["summary"][MODEL]
    lost = told["wasted_energy_uJ_per_sample"]
    if lost and lost > WASTE * told["energy_uJ_per_sample"]:
        share = f"{100 * lost / told['energy_uJ_per_sample']:.0f} %"
        yield Advice(
            "warn",
            f"{share} of the energy goes into timesteps behind the exit, which a "
            f"{figures['schedule']} schedule starts before the exit is known; gated wastes none",
        )


def saturated(figures: Figures) -> Iterator[Advice]:
    """Integers wrapped or were clipped."""
    for row in figures["layers"]:
        if row["saturated_per_sample"]:
            yield Advice(
                "warn",
                f"{row['saturated_per_sample']:.3g} neurons per sample wrapped or were clipped: "
                "compile with --calibration",
                row["layer"],
            )


def few_samples(figures: Figures) -> Iterator[Advice]:
    """Intervals of so few samples are wide."""
    n = figures["samples_total"]
    if n < FEW:
        yield Advice("note", f"{n} samples only: read the intervals, not the figures")


def idle_rule(figures: Figures) -> Iterator[Advice]:
    """The exit rule's threshold lies where it decides nothing."""
    histogram, T = figures["summary"][MODEL]["exit_histogram"], figures["timesteps"]
    n = figures["samples_total"]
    if T == 1 or figures["fixed"]:
        return
    if histogram["1"] == n:
        yield Advice("note", "every sample stops at t = 1: with fewer timesteps compiled, the "
                             "figures are the same")  # fmt: skip
    if histogram[str(T)] == n:
        yield Advice("warn", "no sample stops before T: the exit rule's threshold lies beyond what "
                             "this network reaches; seenn sweep finds one")  # fmt: skip


def lost_accuracy(figures: Figures) -> Iterator[Advice]:
    """Early exits cost accuracy."""
    fixed = figures["front"].get("fixed")
    found = figures["summary"][MODEL]["accuracy"]
    if fixed and found is not None and fixed["accuracy"][-1] - found > LOSS:
        points = 100 * (fixed["accuracy"][-1] - found)
        yield Advice("warn", f"early exits lose {points:.1f} points of accuracy against t = "
                             f"{figures['timesteps']}; seenn sweep --keep-accuracy 0.5 finds a "
                             "threshold that does not")  # fmt: skip


LINTERS = (not_proven, lower_bound, silent, busy, dearer_than_an_ann, wasted, saturated, idle_rule,
           lost_accuracy, hot, few_samples)  # fmt: skip
