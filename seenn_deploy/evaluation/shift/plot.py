"""Pictures of ``evaluate_shift``: reliability diagrams, and each rule under growing shift."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from seenn_deploy.evaluation.shift.corruptions import STRENGTHS
from seenn_deploy.evaluation.shift.report import Condition, ShiftReport

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

# colour-blind safe: Okabe and Ito, https://jfly.uni-koeln.de/color/
BLUE, ORANGE, GREY = "#0072b2", "#e69f00", "#555555"
COLOURS = ("#555555", "#0072b2", "#56b4e9", "#009e73", "#d55e00", "#cc79a7", "#e69f00", "#000000")
MARKS = "os^vDPX*"
MOST = 4  # timesteps whose reliability is drawn


def overview(report: ShiftReport) -> Figure:
    """Draw both pictures above each other, as ``seenn evaluate --shift --plot`` does."""
    figure = _figure(11, 7.5)
    parts = np.asarray(figure.subfigures(2, 1))
    _draw_reliability(parts[0], report)
    _draw_rules(parts[1], report)
    return figure


def reliability(report: ShiftReport) -> Figure:
    """Draw accuracy by confidence at up to four timesteps, clean and at the largest strength.

    Parameters
    ----------
    report : ShiftReport

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure = _figure(11, 3.6)
    _draw_reliability(figure, report)
    return figure


def rules(report: ShiftReport) -> Figure:
    """Draw accuracy, mean steps and early wrong answers of each rule by strength of the shift.

    A point is the mean over all kinds of shift.
    """
    figure = _figure(11, 4.0)
    _draw_rules(figure, report)
    return figure


def _draw_reliability(figure: Figure | SubFigure, report: ShiftReport) -> None:
    T = len(report.clean.reliability)
    steps = sorted({round(t) for t in np.linspace(1, T, min(T, MOST))})
    panels = np.atleast_1d(figure.subplots(1, len(steps), sharey=True))
    worst = report.at(STRENGTHS[-1])
    for axes, t in zip(panels, steps, strict=True):
        _reliability(axes, [report.clean], t, BLUE, "clean")
        if worst:
            _reliability(axes, worst, t, ORANGE, f"shifted, strength {STRENGTHS[-1]}")
        axes.plot([0, 1], [0, 1], ":", color=GREY, lw=1)
        ece = report.clean.reliability[t - 1].ece
        axes.set(title=f"t = {t}: ECE {100 * ece:.1f} % clean", xlabel="confidence")
        axes.set(xlim=(0, 1), ylim=(0, 1.02))
        _finish(axes)
    panels[0].set_ylabel("share right")
    panels[0].legend(frameon=False, loc="upper left", fontsize=8)


def _reliability(axes: Axes, of: list[Condition], t: int, colour: str, label: str) -> None:
    """Several conditions count as one: their bins are joined. A mark's size is a bin's share."""
    found = [c.reliability[t - 1] for c in of]
    counts = np.array([r.count for r in found])
    count = counts.sum(axis=0)
    full = count > 0
    x, y = (
        (np.nan_to_num([getattr(r, name) for r in found]) * counts).sum(axis=0)[full] / count[full]
        for name in ("confidence", "accuracy")
    )
    axes.plot(x, y, "-", color=colour, lw=1.2)
    axes.scatter(x, y, s=8 + 120 * count[full] / count.sum(), color=colour, label=label, zorder=3)


def _draw_rules(figure: Figure | SubFigure, report: ShiftReport) -> None:
    figures = {name: report.rule_by_strength(name) for name in report.rules}
    panels = figure.subplots(1, 3)
    shown = (
        ("accuracy", "accuracy (%)", 100.0),
        ("mean_exit_step", "mean exit step", 1.0),
        ("early_wrong", "stopped early and wrong (% of all)", 100.0),
    )
    for axes, (name, text, factor) in zip(panels, shown, strict=True):
        for number, (rule, points) in enumerate(figures.items()):
            values = [factor * getattr(p, name) for p in points]
            style = {"color": COLOURS[number % 8], "marker": MARKS[number % 8], "ms": 4.5}
            axes.plot(range(len(values)), values, lw=1.4, label=rule, **style)
        axes.set(ylabel=text, xlabel="strength of the shift")
        axes.set_xticks(range(len(STRENGTHS) + 1), ["clean", *map(str, STRENGTHS)])
        _finish(axes)
    panels[2].axhline(100 * (1 - report.level), color=GREY, ls=":", lw=1)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=8, frameon=False)


def _figure(width: float, height: float) -> Figure:
    """An empty figure without pyplot: it needs no window system and changes no global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _finish(axes: Axes) -> None:
    axes.title.set_fontsize(10)
    axes.grid(color="#e8e8e8", lw=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
