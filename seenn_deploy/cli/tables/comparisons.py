"""Several programs on the same images as a table."""

from __future__ import annotations

from collections.abc import Iterator
from math import floor, log10

from seenn_deploy.cli.tables.layout import Table, facts_table
from seenn_deploy.evaluation.comparison.compare import FIGURES, Comparison, Interval

_HEADINGS = {"accuracy": "accuracy %", "mean_exit_step": "mean exit", "energy_uJ": "energy uJ",
             "latency_steps": "latency"}  # fmt: skip


def comparison_tables(found: Comparison) -> Iterator[Table]:
    """How the programs ran, then each figure with its change and the interval of that below it."""
    first = found.programs[0]
    yield facts_table([
        *(("not proven", f"{p.name}: {p.not_proven}") for p in found.programs if p.not_proven),
        ("samples", f"{found.samples:,}"),
        ("cost model", found.cost),
        *((p.name, f"{p.rule}, {p.schedule}, {p.precision}") for p in found.programs),
    ])  # fmt: skip
    shown = [name for name in FIGURES if name in first.figures]
    table = Table("l" + "r" * len(shown), "program", *(_HEADINGS[name] for name in shown))
    for program in found.programs:
        cells = []
        for name in shown:
            value, change = program.figures[name], program.changes.get(name)
            cells.append(_cell(value, change, 100.0 if name == "accuracy" else 1.0))
        table.add(program.name, *cells)
    yield table
    rows = [
        ("below a figure", f"its difference to {first.name} and the 95 % interval of that, paired "
         "by sample"),
    ]  # fmt: skip
    if "accuracy" in shown:
        rows += [
            (p.name, f"right where {first.name} is wrong: {p.became_right:,}; wrong where it is "
             f"right: {p.became_wrong:,}")
            for p in found.programs[1:]
        ]  # fmt: skip
    if len({p.schedule for p in found.programs}) > 1:
        rows.append(("latency", "in steps of each program's own schedule, which differ"))
    yield facts_table(rows)


def _cell(value: Interval, change: Interval | None, factor: float) -> str:
    digits = 2 if factor != 1 else _digits(value.value)
    shown = f"{factor * value.value:.{digits}f}"
    if change is None:
        return shown
    digits = 2 if factor != 1 else max(digits, _digits(max(abs(change.low), abs(change.high))))
    middle, low, high = (
        f"{factor * x:+.{digits}f}" for x in (change.value, change.low, change.high)
    )
    return f"{shown}\n{middle}\n[{low}, {high}]"


def _digits(value: float) -> int:
    """Decimals with which a figure has about four digits, three at most."""
    return min(3, max(0, 3 - floor(log10(abs(value))))) if value else 0
