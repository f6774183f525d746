"""A picture of a chip's mesh: which layer each core has, how full it is, and its work in a run.

Each function returns a figure of matplotlib, as those of ``evaluation.activity``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from seenn_deploy._typing import Array, Pair
from seenn_deploy.compiler.mapping.placement import Placement
from seenn_deploy.errors import DataError
from seenn_deploy.evaluation.placed.run import PlacedRun

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage


def draw(placement: Placement, chip: int = 0, run: PlacedRun | None = None) -> Figure:
    """Draw the cores of a chip by layer and by the fullest of their limits, and by their work.

    Parameters
    ----------
    placement : Placement
        Of ``sd.map_to_chip``.
    chip : int
        Number of the chip, from 0, of a network that takes several.
    run : PlacedRun, optional
        Of ``sd.run_placed``: a third picture has what each core takes of a hardware step.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    DataError
        When there is no such chip.

    Examples
    --------
    >>> import seenn_deploy as sd
    >>> from seenn_deploy.evaluation import mesh
    >>> graph = sd.import_model(sd.example().network, T=4)
    >>> placement = sd.map_to_chip(sd.compile(graph, precision="int8"), "loihi1")
    >>> mesh.draw(placement).savefig("mesh.png")
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    if not 0 <= chip < placement.chips:
        raise DataError(f"chip {chip}: the network is on {placement.chips}, counted from 0")
    layers = [layer["layer"] for layer in placement.layers]
    of, full = _grids(placement, chip, {name: number for number, name in enumerate(layers)})
    panels = 2 if run is None else 3
    figure = Figure(figsize=(6 * panels, 4.5), layout="constrained")
    left, *others = figure.subplots(1, panels)
    # Colours repeat only in networks of more layers than anybody tells apart.
    colours = colormaps["tab20"].resampled(20)
    left.imshow(np.ma.masked_less(of, 0) % 20, cmap=colours, vmin=0, vmax=19)
    left.set_title(f"{placement.chip.name}, chip {chip + 1} of {placement.chips}: layers")
    seen = [i for i in range(len(layers)) if (of == i).any()]
    handles = [Patch(color=colours(i % 20), label=layers[i]) for i in seen]
    figure.legend(handles=handles, loc="outside lower center", ncols=6, fontsize=7)
    shown = others[0].imshow(np.ma.masked_less(full, 0), cmap="viridis", vmin=0, vmax=1)
    others[0].set_title("share of the fullest limit")
    figure.colorbar(shown, ax=others[0])
    if run is not None:
        figure.colorbar(_draw_work(others[1], placement, chip, run), ax=others[1])
    for axes in (left, *others):
        axes.set_xticks(np.arange(of.shape[1]) - 0.5, labels=[])
        axes.set_yticks(np.arange(of.shape[0]) - 0.5, labels=[])
        axes.grid(color="white", linewidth=0.5)
        axes.tick_params(length=0)
    return figure


def _draw_work(axes: Axes, placement: Placement, chip: int, run: PlacedRun) -> AxesImage:
    """What each core takes of a hardware step, in the mean over the steps of a sample."""
    scale, unit = (1e6, "us") if run.steps.timed else (1.0, "synaptic operations")
    work = np.full(_size(placement), -1.0)
    for core, place in places(placement, chip):
        work[place] = scale * run.steps.by_core[core]
    axes.set_title(f"work per hardware step, {unit}")
    return axes.imshow(np.ma.masked_less(work, 0), cmap="inferno", vmin=0)


def _grids(placement: Placement, chip: int, number: dict[str, int]) -> tuple[Array, Array]:
    """By place on the mesh, the layer with most neurons of each core and how full it is; or -1."""
    of, full = np.full(_size(placement), -1), np.full(_size(placement), -1.0)
    for core, place in places(placement, chip):
        of[place], full[place] = number[placement.owners[core]], placement.full(core)
    return of, full


def _tile_size(placement: Placement) -> Pair:
    """Rows and columns of cores that a tile is drawn with."""
    across = int(np.ceil(np.sqrt(placement.chip.cores_per_tile)))
    return -(-placement.chip.cores_per_tile // across), across


def _size(placement: Placement) -> Pair:
    down, across = _tile_size(placement)
    return placement.chip.rows * down, placement.chip.columns * across


def places(placement: Placement, chip: int) -> Iterator[tuple[int, Pair]]:
    """The cores in use of a chip, and where each is drawn."""
    made, (down, across) = placement.chip, _tile_size(placement)
    first = chip * made.cores
    for core in range(first, min(first + made.cores, placement.cores)):
        column, row = made.tile(core - first)
        inside = (core - first) % made.cores_per_tile
        yield core, (row * down + inside // across, column * across + inside % across)
