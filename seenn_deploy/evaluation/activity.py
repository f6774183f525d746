"""Pictures of what a run did: spikes of one sample, exits, and the activity of every layer.

Each function returns a figure of matplotlib, which ``figure.savefig("activity.png")`` writes and a
notebook shows after ``%matplotlib inline``.
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from seenn_deploy import costs
from seenn_deploy._typing import Array
from seenn_deploy.errors import DataError
from seenn_deploy.io import folders
from seenn_deploy.simulator.result import RunResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

# colour-blind safe: Okabe and Ito, https://jfly.uni-koeln.de/color/
BLUE, ORANGE = "#0072b2", "#e69f00"
MOST_CELLS = 12  # timesteps up to which they are drawn apart, and each activity has its number
ROWS = 300  # of a raster; larger layers have several neurons in each
HEIGHT = 0.24  # inches per layer


def raster(run: RunResult, layer: str, sample: int = 0) -> Figure:
    """Draw which neurons of a layer spiked at which timestep, for one sample.

    Parameters
    ----------
    run : RunResult
        Of ``simulate(.., record=True)``.
    layer : str
        Name of a population; its neurons are counted channel by channel and row by row.
    sample : int
        Number of the sample, from 0.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    DataError
        When the run was not recorded, or has no such layer or sample.

    Examples
    --------
    >>> import seenn_deploy as sd
    >>> from seenn_deploy.evaluation import activity
    >>> files = sd.example()
    >>> program = sd.compile(sd.import_model(files.network, T=4), sd.exits.Confidence(0.9))
    >>> run = sd.simulate(program, files.images, record=True)
    >>> activity.raster(run, run.layers[0]).savefig("raster.png")
    """
    if not run.spikes:
        raise DataError("raster: the run holds no spikes; simulate with record=True")
    if layer not in run.spikes:
        raise DataError(f"raster: no layer {layer!r}; recorded are {', '.join(run.spikes)}")
    if not 0 <= sample < len(run.exit_step):
        raise DataError(f"raster: sample {sample} of {len(run.exit_step)}; they count from 0")
    spikes = run.spikes[layer][sample]
    T, neurons, stop = len(spikes), spikes[0].size, int(run.exit_step[sample])
    per_row = -(-neurons // ROWS)
    edges = np.arange(0, neurons, per_row)
    spiked = np.add.reduceat(spikes.reshape(T, neurons), edges, axis=1, dtype=np.float64)
    share = spiked / np.diff(edges, append=neurons)

    figure = empty_figure(7, 4.5)
    axes = figure.subplots()
    image = axes.imshow(
        share.T, cmap="Blues", vmin=0, vmax=1, aspect="auto", interpolation="nearest",
        origin="lower", extent=(0.5, T + 0.5, -0.5, neurons - 0.5),
    )  # fmt: skip
    if per_row > 1:
        figure.colorbar(image, ax=axes, label=f"spikes per neuron ({per_row} neurons per row)")
    else:
        axes.bar([0], [0], color=image.cmap(1.0), label="spike")  # for the legend alone
    if T <= MOST_CELLS:
        axes.vlines(np.arange(1, T) + 0.5, -0.5, neurons - 0.5, color="white", lw=4)
    if stop < T:
        axes.axvline(stop + 0.5, color=ORANGE, lw=2, label=f"exit after t={stop}")
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    size = "x".join(map(str, spikes.shape[1:]))
    axes.set(
        xlabel="timestep t", ylabel=f"neuron (of {size}, channel by channel)", xlim=(0.5, T + 0.5)
    )
    axes.set_title(f"{layer}, sample {sample}: {np.count_nonzero(spikes):,} spikes")
    _count_whole(axes.yaxis)
    _finish(axes, frame=True)
    return figure


def exits(run: RunResult) -> Figure:
    """Draw how many samples exited at each timestep, right and wrong ones where labels are known.

    Parameters
    ----------
    run : RunResult

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure = empty_figure(6, 4)
    _draw_exits(figure.subplots(), run)
    return figure


def activity(run: RunResult) -> Figure:
    """Draw how active every layer was at every timestep: spikes per neuron, from 0 to 1.

    A cell is the mean over the samples that had not exited before that timestep, and over all
    samples of a run with ``full_trace``. Left out are the readout, which never spikes, and sums of
    spikes, which have no neurons.

    Parameters
    ----------
    run : RunResult

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure = empty_figure(7, _height(run))
    _draw_activity(figure.subplots(), run)
    return figure


def energy(run: RunResult, cost: costs.Priced = "paper") -> Figure:
    """Draw where the energy goes: that of every layer up to the exit, the mean of the samples.

    Products and sums of spikes, which have no neurons, have a colour of their own.

    Parameters
    ----------
    run : RunResult
    cost : str, Path or Cost
        Name of a cost model, a file with one, or what a placed run costs.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    DataError
        When the cost model cannot be read.
    """
    useful = np.arange(run.logits.shape[1]) < run.exit_step[:, None]
    spent = 1e6 * (costs.of(cost).spent(run) * useful[:, :, None]).sum(axis=1).mean(axis=0)
    kept = np.flatnonzero(spent)
    bare = (run.sizes.potentials == 0)[kept]
    figure = empty_figure(7, max(3.0, 1.2 + HEIGHT * len(kept)))
    axes = figure.subplots()
    for chosen, colour, label in (
        (~bare, BLUE, "layers of neurons"), (bare, ORANGE, "products and sums of spikes")
    ):  # fmt: skip
        if chosen.any():
            axes.barh(np.flatnonzero(chosen), spent[kept][chosen], color=colour, label=label)
    for row, value in enumerate(spent[kept]):
        share = f" {100 * value / spent.sum():.1f} %"
        axes.text(value, row, share, va="center", fontsize=7)
    axes.set_yticks(range(len(kept)), [run.layers[i] for i in kept], fontsize=8)
    axes.invert_yaxis()
    axes.set(xlabel=f"uJ per sample (cost model {cost})", xlim=(0, 1.12 * spent.max(initial=0)))
    axes.set_title(f"Energy up to the exit: {spent.sum():.3g} uJ per sample")
    axes.legend(frameon=False, loc="lower right")
    _finish(axes)
    return figure


def overview(run: RunResult) -> Figure:
    """Draw `exits` and `activity` side by side, as ``seenn simulate --plot`` does.

    Parameters
    ----------
    run : RunResult

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure = empty_figure(12, _height(run))
    left, right = figure.subplots(1, 2)
    _draw_exits(left, run)
    _draw_activity(right, run)
    return figure


def write(figure: Figure, path: Path) -> None:
    """Write a figure as a PNG, whole or not at all."""
    picture = BytesIO()
    figure.savefig(picture, format="png")
    folders.write_file(path, picture.getvalue())


def rates(run: RunResult) -> tuple[list[str], Array]:
    """Names of the layers with neurons, and their spikes per neuron: float64 (layers, T).

    NaN at timesteps that no sample reached.
    """
    T = run.logits.shape[1]
    last = np.full_like(run.exit_step, T) if run.full_trace else run.exit_step
    running = (last[:, None] >= np.arange(1, T + 1)).sum(axis=0)
    neurons = run.sizes.potentials
    spikes = (run.counts if run.full_trace else run.charged).spikes.sum(axis=0)
    readout = len(neurons) - 1  # nothing comes after it but what feeds back alone
    kept = [i for i in np.flatnonzero(neurons) if i < readout or spikes[i].any()]
    with np.errstate(invalid="ignore"):  # 0 / 0
        found = spikes[kept] / running / neurons[kept, None]
    return [run.layers[i] for i in kept], found


def _draw_exits(axes: Axes, run: RunResult) -> None:
    T = run.logits.shape[1]
    steps = np.arange(1, T + 1)
    at_step = np.bincount(run.exit_step, minlength=T + 1)[1:]
    if run.labels is None:
        axes.bar(steps, at_step, color=BLUE)
        right = ""
    else:
        correct = np.bincount(run.exit_step[run.correct], minlength=T + 1)[1:]
        axes.bar(steps, correct, color=BLUE, label="right")
        axes.bar(steps, at_step - correct, bottom=correct, color=ORANGE, label="wrong")
        axes.legend(frameon=False, loc="upper center", ncols=2)
        right = f", {100 * run.correct.mean():.1f} % right"
    mean = f"mean exit step {run.exit_step.mean():.2f} of {T}"
    axes.set(xlabel="exit at timestep t", ylabel="samples", title=f"Exits: {mean}{right}")
    axes.set(xlim=(0.4, T + 0.6), ylim=(0, 1.15 * at_step.max()))
    _count_whole(axes.yaxis)
    _finish(axes)


def _draw_activity(axes: Axes, run: RunResult) -> None:
    names, rate = rates(run)
    T = rate.shape[1]
    top = max(float(np.nanmax(rate, initial=0)), 1e-9)
    image = axes.imshow(
        rate, cmap="viridis", vmin=0, vmax=top, aspect="auto", interpolation="nearest",
        extent=(0.5, T + 0.5, len(names) - 0.5, -0.5),
    )  # fmt: skip
    axes.set_facecolor("#dddddd")  # where no sample ran
    if T <= MOST_CELLS:
        for (row, step), value in np.ndenumerate(rate):
            text = "-" if np.isnan(value) else f"{value:.2f}"
            dark = value < 0.6 * top
            axes.text(step + 1, row, text, ha="center", va="center", fontsize=7,
                      color="white" if dark else "black")  # fmt: skip
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set(xlabel="timestep t", title="Activity: mean over the samples still running")
    axes.figure.colorbar(image, ax=axes, label="spikes per neuron")
    _finish(axes, frame=True)


def empty_figure(width: float, height: float) -> Figure:
    """An empty figure without pyplot: it needs no window system and changes no global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _height(run: RunResult) -> float:
    return max(4.0, 1.2 + HEIGHT * len(run.layers))


def _finish(axes: Axes, frame: bool = False) -> None:
    _count_whole(axes.xaxis)
    axes.title.set_fontsize(10)
    for side in ("top", "right"):
        axes.spines[side].set_visible(frame)


def _count_whole(axis: Axis) -> None:
    """Put ticks at whole numbers alone: of timesteps, samples, neurons."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(integer=True))
