"""A picture of a chip's mesh: which layer each core has, and how full it is.

Each function returns a figure of matplotlib, as those of ``evaluation.activity``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from seenn_deploy._typing import Array
from seenn_deploy.compiler.mapping.placement import RESOURCES, Placement
from seenn_deploy.errors import DataError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw(placement: Placement, chip: int = 0) -> Figure:
    """Draw the cores of a chip twice: coloured by layer, and by the fullest of their limits.

    Parameters
    ----------
    placement : Placement
        Of ``sd.map_to_chip``.
    chip : int
        Number of the chip, from 0, of a network that takes several.

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
    figure = Figure(figsize=(12, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    # Colours repeat only in networks of more layers than anybody tells apart.
    colours = colormaps["tab20"].resampled(20)
    left.imshow(np.ma.masked_less(of, 0) % 20, cmap=colours, vmin=0, vmax=19)
    left.set_title(f"{placement.chip.name}, chip {chip + 1} of {placement.chips}: layers")
    seen = [i for i in range(len(layers)) if (of == i).any()]
    handles = [Patch(color=colours(i % 20), label=layers[i]) for i in seen]
    figure.legend(handles=handles, loc="outside lower center", ncols=6, fontsize=7)
    shown = right.imshow(np.ma.masked_less(full, 0), cmap="viridis", vmin=0, vmax=1)
    right.set_title("share of the fullest limit")
    figure.colorbar(shown, ax=right)
    for axes in (left, right):
        axes.set_xticks(np.arange(of.shape[1]) - 0.5, labels=[])
        axes.set_yticks(np.arange(of.shape[0]) - 0.5, labels=[])
        axes.grid(color="white", linewidth=0.5)
        axes.tick_params(length=0)
    return figure


def _grids(placement: Placement, chip: int, number: dict[str, int]) -> tuple[Array, Array]:
    """By place on the mesh, the layer with most neurons of each core and how full it is; or -1."""
    made = placement.chip
    across = int(np.ceil(np.sqrt(made.cores_per_tile)))
    down = -(-made.cores_per_tile // across)
    of = np.full((made.rows * down, made.columns * across), -1)
    full = np.full(of.shape, -1.0)
    first = chip * made.cores
    most: dict[int, tuple[int, int]] = {}
    for tile in placement.tiles:
        known = most.get(tile.core, (0, -1))
        most[tile.core] = max(known, (tile.neurons, number[tile.layer]))
    for core in range(first, min(first + made.cores, placement.cores)):
        column, row = made.tile(core - first)
        inside = (core - first) % made.cores_per_tile
        place = row * down + inside // across, column * across + inside % across
        load = placement.loads[core]
        of[place] = most[core][1]
        full[place] = max(load[r] / made.limits[r] for r in RESOURCES if r in made.limits)
    return of, full
