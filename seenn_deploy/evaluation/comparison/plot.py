"""A comparison as a picture: one panel per figure, one row per program."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seenn_deploy.evaluation.activity import empty_figure
from seenn_deploy.evaluation.comparison.compare import Comparison, Interval
from seenn_deploy.evaluation.sweep.plot import COLOURS, GREY

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PANELS = (
    ("accuracy", "accuracy (%)", 100.0),
    ("mean_exit_step", "mean exit step", 1.0),
    ("energy_uJ", "energy (uJ per sample)", 1.0),
    ("latency_steps", "latency (steps)", 1.0),
)
_HEIGHT = 0.35  # inches per program


def overview(found: Comparison) -> Figure:
    """Draw every figure of every program.

    A bar is the paired 95 % interval of the difference to the first program, laid at the first
    one's value, which is the dotted line: a bar beside the line is a difference that is more than
    chance. The first program has no bar.

    Returns
    -------
    matplotlib.figure.Figure
    """
    panels = [p for p in _PANELS if p[0] in found.programs[0].figures]
    rows = range(len(found.programs))
    figure = empty_figure(2.6 * len(panels) + 1.5, 1.6 + _HEIGHT * len(rows))
    drawn = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, (name, label, factor) in zip(drawn, panels, strict=True):
        base = found.programs[0].figures[name].value
        axes.axvline(factor * base, color=GREY, lw=0.8, ls=":")
        for row, program in enumerate(found.programs):
            change = program.changes.get(name, Interval(0.0, 0.0, 0.0))
            arms = [[factor * (change.value - change.low)], [factor * (change.high - change.value)]]
            axes.errorbar(
                factor * program.figures[name].value, row, xerr=arms if program.changes else None,
                fmt="o", color=COLOURS[row % len(COLOURS)], ecolor=GREY, capsize=2, ms=6,
            )  # fmt: skip
        axes.set_xlabel(label)
        axes.grid(axis="x", color="#e8e8e8", lw=0.6)
        axes.set_axisbelow(True)
        axes.margins(x=0.12)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    drawn[0].set_yticks(rows, [p.name for p in found.programs])
    drawn[0].set_ylim(len(rows) - 0.5, -0.5)
    figure.suptitle(
        f"{found.samples:,} samples, cost model {found.cost}; bars: paired 95 % interval of the "
        f"difference to {found.programs[0].name}", fontsize=9,
    )  # fmt: skip
    return figure
