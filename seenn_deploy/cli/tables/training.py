"""Training logs as tables."""

from __future__ import annotations

from typing import Any

from seenn_deploy.cli.tables.layout import Table, spread
from seenn_deploy.training.plot import Log

LINE, ROW = 4, 32  # values of a list that a line and a row of a table show; log.csv has them all


def log_table(log: Log) -> Table:
    """Make a table with one row per epoch; of many timesteps, some accuracies are shown."""
    names = [name for name in log[-1] if name != "lr"]
    form = "".join("t" if isinstance(log[-1][name], list) else "r" for name in names)
    table = Table(form, *(_heading(name, log[-1][name]) for name in names))
    for line in log:
        table.add(*(_text(name, _short(line[name], ROW)) for name in names))
    return table


def epoch_line(log: Log, epochs: int) -> str:
    """Write what the last epoch reached, and how long the others will take at the mean pace.

    It begins with a return, because a bar may stand on the line.
    """
    last, left = log[-1], epochs - len(log)
    seconds = int(left * sum(line["seconds"] for line in log) / len(log))
    figures = [
        f"{name.replace('_', ' ')} {_text(name, _short(value, LINE))}"
        for name, value in last.items()
        if name == "loss" or name.startswith("accuracy")
    ]
    clock = f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d} left"
    line = ", ".join([f"epoch {last['epoch']} of {epochs}", *figures, clock])
    return "\r" + line.ljust(79)


def _heading(name: str, value: Any) -> str:
    some = isinstance(value, list) and len(value) > ROW
    return name.replace("_", " ") + (f", {ROW} of {len(value)}" if some else "")


def _short(value: Any, most: int) -> Any:
    return spread(value, most) if isinstance(value, list) else value


def _text(name: str, value: Any) -> str:
    if name.startswith("accuracy"):
        shares = value if isinstance(value, list) else [value]
        return " ".join(f"{100 * x:.2f}" for x in shares) + " %"
    if name == "seconds":
        return f"{value:.1f}"
    return f"{value:.4f}" if isinstance(value, float) else str(value)
