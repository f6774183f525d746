"""``evaluate --shift`` as tables; by kind of shift, the rules are in --json."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from seenn_deploy.cli.tables.layout import Table, facts_table, numbers_table, spread, unproven
from seenn_deploy.evaluation.shift.corruptions import STRENGTHS
from seenn_deploy.evaluation.shift.reliability import Reliability
from seenn_deploy.evaluation.shift.report import ShiftReport
from seenn_deploy.exits import ExitRule

MOST = 4  # timesteps that a table shows; --json has all


def shift_tables(found: ShiftReport) -> Iterator[Table]:
    """Reliability of clean images, then every shift, then every rule by strength."""
    yield facts_table(_facts(found))
    yield _reliability_table(found.clean.reliability)
    yield _condition_table(found)
    yield _rule_table(found)


def _facts(found: ShiftReport) -> Iterator[tuple[str, str]]:
    shifted = found.at(STRENGTHS[-1])
    per_shift = f", {shifted[0].samples:,} of them per shift" if shifted else ""
    yield from unproven(found.not_proven)
    yield "calibrated on", f"{found.calibrated_on:,} clean images, for level {found.level:g}"
    yield "told on", f"{found.clean.samples:,} others{per_shift}"
    yield "seed", str(found.seed)
    yield "energy", f"cost model {found.cost}, {found.schedule} schedule"


def _reliability_table(by_step: tuple[Reliability, ...]) -> Table:
    """Accuracy of the samples of each confidence, with their share of all samples."""
    steps = spread(range(len(by_step)), MOST)
    table = numbers_table("confidence", *(f"t={t + 1}: % (of all)" for t in steps))
    bins = len(by_step[0].count)
    for b in range(bins):
        cells = [_bin(by_step[t], b) for t in steps]
        if any(cells):
            table.add(f"{b / bins:.2f} to {(b + 1) / bins:.2f}", *(c or "-" for c in cells))
    totals = ("right", "mean_accuracy"), ("confidence", "mean_confidence"), ("ECE", "ece")
    for name, value in totals:
        table.add(name, *(f"{100 * getattr(by_step[t], value):.2f} %" for t in steps))
    return table


def _bin(found: Reliability, b: int) -> str:
    if not found.count[b]:
        return ""
    share = 100 * found.count[b] / found.count.sum()
    return f"{100 * found.accuracy[b]:.1f} ({share:.1f})"


def _condition_table(found: ShiftReport) -> Table:
    T = len(found.clean.reliability)
    steps = list(dict.fromkeys((1, T)))
    table = numbers_table(
        "images", *(f"t={t}: right" for t in steps), *(f"t={t}: ECE" for t in steps)
    )
    for condition in found.conditions:
        at = [condition.reliability[t - 1] for t in steps]
        right = (f"{100 * r.mean_accuracy:.2f} %" for r in at)
        table.add(condition.name, *right, *(f"{100 * r.ece:.2f} %" for r in at))
    return table


def _name(rule: ExitRule) -> str:
    """Name a rule with its number, if it has one number."""
    value = getattr(rule, rule.parameter) if rule.parameter else None
    return f"{rule.name} {rule.parameter}={value:.6g}" if isinstance(value, float) else rule.name


def _rule_table(found: ShiftReport) -> Table:
    table = numbers_table(
        "rule, mean of the shifts", "right", "steps", "uJ", "early", "and wrong", "covered"
    )
    names = ["clean", *(f"strength {s}" for s in STRENGTHS)]
    for rule, calibrated in found.rules.items():
        table.add(_name(calibrated), *[""] * 6)
        for name, x in zip(names, found.rule_by_strength(rule), strict=False):
            covered = "-" if np.isnan(x.covered) else f"{100 * x.covered:.2f} %"
            shares = (f"{100 * x.early:.1f} %", f"{100 * x.early_wrong:.2f} %", covered)
            steps, energy = f"{x.mean_exit_step:.3f}", f"{1e6 * x.energy:.2f}"
            table.add(f"  {name}", f"{100 * x.accuracy:.2f} %", steps, energy, *shares)
    return table
