"""A training log as a picture; this file needs no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from seenn_deploy.io import folders
from seenn_deploy.ir import charts

Log = list[dict[str, Any]]


def draw(log: Log, path: Path) -> None:
    """Draw the loss and the held-out figures over epochs, into a PNG file.

    An SVG has the held-out figures alone, by the chart of reports.

    Parameters
    ----------
    log : list of dict
        The log that ``fit`` returns, or the lines of a run's ``log.jsonl``.
    path : Path

    Raises
    ------
    SeennError
        When the libraries that draw an SVG are not installed.
    """
    if path.suffix.lower() == ".svg":
        folders.write_file(path, charts.svg("history", {"epochs": _rows(log)}))
        return
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(10, 4), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)  # no pyplot: no window system, no global state
    left, right = figure.subplots(1, 2)
    for axes in (left, right):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    epochs = [line["epoch"] for line in log]
    left.plot(epochs, [line["loss"] for line in log], color="#0072b2")
    left.set_xlabel("epoch")
    left.set_ylabel("loss")
    for name, values in _curves(log).items():
        right.plot(epochs, values, label=name)
    right.set_xlabel("epoch")
    if _curves(log):
        right.legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png")


def _rows(log: Log) -> list[dict[str, Any]]:
    """The curves as rows of a chart; the loss where nothing was tested."""
    return [
        {"epoch": line["epoch"], "t": name, "value": value}
        for name, values in (_curves(log) or {"loss": [line["loss"] for line in log]}).items()
        for line, value in zip(log, values, strict=True)
    ]


def _curves(log: Log) -> dict[str, list[float]]:
    """Return the held-out figures by name; accuracy gets one curve per t, about eight at most."""
    curves: dict[str, list[float]] = {}
    for name, last in log[-1].items():
        if name in ("epoch", "loss", "lr", "seconds"):
            continue
        if isinstance(last, list):
            shown = range(0, len(last), -(-len(last) // 8))
            for t in {*shown, len(last) - 1}:
                curves[f"accuracy at t={t + 1}"] = [line[name][t] for line in log]
        else:
            curves[name.replace("_", " ")] = [line[name] for line in log]
    return curves
