"""Sweeps and calibrations as tables."""

from __future__ import annotations

from collections.abc import Iterator

from seenn_deploy.cli.options import NUMBERS
from seenn_deploy.cli.tables.layout import Command, Table, _uj, unproven
from seenn_deploy.evaluation.sweep.curves import Estimate, Figures
from seenn_deploy.evaluation.sweep.report import SweepReport
from seenn_deploy.exits import ExitRule
from seenn_deploy.simulator.result import RunResult


def sweep_rows(report: SweepReport) -> Iterator[tuple[str, str]]:
    """Lines above a sweep's table."""
    yield from unproven(report.not_proven)
    yield (
        "samples",
        f"{len(report.calibration):,} to choose on, {len(report.report):,} others reported",
    )
    yield "AET", f"{report.aet:.4f}, empirical {report.empirical_aet:.4f}"
    yield "cost model", report.cost
    yield "schedule", f"{report.schedule}, D={report.depth} synapse stages"
    if report.aim:
        yield "chosen", report.aim


def sweep_table(report: SweepReport, width: int = 80) -> Table:
    """Fixed timesteps and the chosen thresholds, 95 % intervals in brackets.

    Below 110 columns the brackets stand below their figures.
    """
    gap = " " if width >= 110 else "\n"
    headings = ("exit", "accuracy %", "points to t=T", "mean exit", "energy uJ", "latency")
    table = Table("lrrrrr", *headings)
    for t, fixed in enumerate(report.baselines, start=1):
        table.add(f"t={t}", *_figure_cells(fixed.figures, gap))
    for name, choice in report.chosen.items():
        value = choice.rule.to_dict()[report.curves[name].parameter]
        cells = (f"{name} {value:.6g}", *_figure_cells(choice.figures, gap))
        table.add(*cells, bold=name == report.leader)
    return table


def _figure_cells(figures: Figures, gap: str) -> Iterator[str]:
    yield _interval(figures.accuracy, 100, 1, gap)
    yield _interval(figures.accuracy_change, 100, 2, gap)
    yield f"{figures.mean_exit_step.value:.3f}"
    uj = figures.energy.value * 1e6
    digits = sum(uj < border for border in (1000, 100, 1, 1))
    yield _interval(figures.energy, 1e6, digits, gap)
    yield f"{figures.latency_steps.value:.2f}"


def _interval(x: Estimate, factor: float, digits: int, gap: str) -> str:
    value, low, high = (f"{factor * n:.{digits}f}" for n in (x.value, x.low, x.high))
    # Four decimals leave no column to spare: the table is 80 wide.
    comma = "," if digits > 3 else ", "
    return f"{value}{gap}[{low}{comma}{high}]"


def sweep_notes(
    report: SweepReport, command: str, rule_file: str, simulate: str = ""
) -> Iterator[tuple[str, str]]:
    """Lines below a sweep's table: what to use, what it wastes, the commands to use next.

    `command` compiles the program, `simulate` runs it on the same images.
    """
    choice = report.best
    if choice is None:
        return
    leader = report.chosen[report.leader]
    yield "use", str(choice)
    if report.missed:
        yield "missed", report.missed
        if choice is not leader:
            yield "", f"so not {leader.rule}, the best to choose on"
    if report.warning:
        yield "few images", report.warning
    figures = leader.figures
    if figures.wasted_energy.value > 0:
        wasted, spent = (_uj(1e6 * x.value) for x in (figures.wasted_energy, figures.energy))
        yield (
            "wasted",
            f"{wasted} of {spent} uJ per sample: injected before the exit is known "
            f"(speculative{'' if choice is leader else ', ' + report.leader})",
        )
    fixed, t = choice.rule.name == "fixed", choice.longest
    options = "--exit fixed" if fixed else _exit_options(choice.rule, rule_file)
    if not options:
        again = "sweep again with -o FOLDER, which keeps this rule as rule.json, for --exit-file"
        yield "next", again
        return
    # A fixed rule has no number: a program that stops at t runs t timesteps.
    shorter = f" -T {t}" if fixed and t < len(choice.exit_histogram) else ""
    if simulate and not shorter:
        yield "try", Command(f"{simulate} {options}")
    yield "next", Command(f"{command}{shorter} {options} -o NEW_FOLDER")


def _exit_options(rule: ExitRule, rule_file: str) -> str:
    """Return the options that name a rule; '' for one that needs a file where there is none."""
    if rule.parameter in NUMBERS:
        return f"--exit {rule.name} --{rule.parameter} {rule.to_dict()[rule.parameter]}"
    return f"--exit-file {rule_file}" if rule_file else ""


def calibration_rows(rule: ExitRule, run: RunResult) -> Iterator[tuple[str, str]]:
    """Lines of a calibration; `run` is the split under the calibrated rule."""
    T = run.logits.shape[1]
    early = run.exit_step < T
    yield "exit rule", str(rule)
    yield "program", rule.program
    yield "samples", f"{len(early):,}"
    yield "exit before T", f"{100 * early.mean():.2f} %"
    if not early.any():
        yield "note", "no threshold reaches the level here, so every sample runs to T"
    else:
        yield "of these right", f"{100 * run.correct[early].mean():.2f} % (on the split itself)"
    yield "mean exit step", f"{run.exit_step.mean():.3f} of {T}"
