"""A sweep as a picture: accuracy against energy, and against the mean exit step."""

from __future__ import annotations

from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from seenn_deploy.evaluation.sweep.curves import Choice, Curve, Estimate
from seenn_deploy.io import folders
from seenn_deploy.ir import charts

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from seenn_deploy.evaluation.sweep.report import SweepReport  # which draws itself here

# colour-blind safe: Okabe and Ito, https://jfly.uni-koeln.de/color/
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")
GREY = "#555555"


def plot(report: SweepReport, path: Path) -> None:
    """Draw a sweep into a file.

    A PNG has two panels: one curve per rule, fixed t, the front and the choices, over energy and
    over steps. An SVG has the chart of reports, over energy.

    Raises
    ------
    SeennError
        When the libraries that draw an SVG are not installed.
    """
    if path.suffix.lower() == ".svg":
        folders.write_file(path, charts.svg("front", report.points()))
        return
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 5), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)  # no pyplot: no window system, no global state
    panels = figure.subplots(1, 2, sharey=True)
    _panel(panels[0], report, "energy", 1e6, "front_energy")
    _panel(panels[1], report, "mean_exit_step", 1.0, "front_steps")
    panels[0].set_xlabel(
        f"energy (uJ per sample, cost model {Path(report.cost).stem}, {report.schedule} schedule)"
    )
    panels[1].set_xlabel("mean exit step")
    panels[0].set_ylabel("accuracy (%)")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=min(len(labels), 7), frameon=False
    )
    figure.suptitle(_title(report), fontsize=11)
    figure.savefig(path)


def _title(report: SweepReport) -> str:
    aim = f": {report.aim}" if report.aim else ""
    aim += f"\n{report.leader} misses this on the samples shown" if report.missed else ""
    return (
        f"Early exit on {len(report.report):,} samples, thresholds from "
        f"{len(report.calibration):,} others{aim}"
    )


def _panel(axes: Axes, report: SweepReport, name: str, factor: float, front: str) -> None:
    _draw_front(axes, report, name, factor, front)
    colours = dict(zip(report.curves, cycle(COLOURS), strict=False))
    for rule, curve in report.curves.items():
        axes.plot(getattr(curve, name) * factor, 100 * curve.accuracy, color=colours[rule], lw=1.6,
                  label=rule, zorder=3)  # fmt: skip
    for rule, choice in report.chosen.items():
        first = rule == next(iter(report.chosen))
        label = {"label": "choice per rule, 95 % interval"} if first else {}
        _draw_choice(axes, choice, name, factor, fmt="o", color=colours[rule], ms=7, **label)
    if report.best:
        _draw_choice(axes, report.best, name, factor, fmt="*", color="white", ms=17,
                     label="recommended")  # fmt: skip
    _draw_fixed(axes, report.fixed, name, factor)
    _frame(axes, report)


def _draw_front(axes: Axes, report: SweepReport, name: str, factor: float, front: str) -> None:
    """A broad pale band of steps under the curves: the best that any rule reaches."""
    curves = (report.fixed, *report.curves.values())
    x = np.concatenate([getattr(c, name)[getattr(c, front)] for c in curves]) * factor
    y = np.concatenate([100 * c.accuracy[getattr(c, front)] for c in curves])
    order = np.lexsort((y, x))
    axes.plot(x[order], y[order], drawstyle="steps-post", color="#ffd966", lw=6, alpha=0.7,
              solid_capstyle="round", label="Pareto front", zorder=1)  # fmt: skip


def _draw_fixed(axes: Axes, fixed: Curve, name: str, factor: float) -> None:
    x, y = getattr(fixed, name) * factor, 100 * fixed.accuracy
    axes.plot(x, y, "s", color="white", mec=GREY, mew=1.4, ms=6, label="fixed t", zorder=4)
    for t, at in enumerate(zip(x, y, strict=True), start=1):
        axes.annotate(f"t={t}", at, xytext=(6, -11), textcoords="offset points", color=GREY,
                      fontsize=8)  # fmt: skip


def _draw_choice(axes: Axes, choice: Choice, name: str, factor: float, **style: Any) -> None:
    """A marker with the 95 % intervals of both figures."""
    x, y = getattr(choice.figures, name), choice.figures.accuracy
    axes.errorbar(
        x.value * factor, 100 * y.value, xerr=_arms(x, factor), yerr=_arms(y, 100), capsize=2,
        mec="black", mew=0.9, ecolor=GREY, elinewidth=0.8, ls="none", zorder=6, **style,
    )  # fmt: skip


def _arms(x: Estimate, factor: float) -> list[list[float]]:
    arms = x.value - x.low, x.high - x.value
    return [[max(arm, 0.0) * factor] for arm in arms]


def _frame(axes: Axes, report: SweepReport) -> None:
    at_T = 100 * report.fixed.accuracy[-1]
    axes.axhline(at_T, color=GREY, lw=0.8, ls=":", zorder=0)
    axes.grid(color="#e8e8e8", lw=0.6)
    axes.set_axisbelow(True)
    axes.margins(x=0.05, y=0.08)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
