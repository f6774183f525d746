"""How the factors of a product lie among its currents: as its kernel takes them, one by one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import prod

import numpy as np

from seenn_deploy._typing import Array
from seenn_deploy.ir.nodes import Product
from seenn_deploy.simulator.kernels.vector_add import WIDTHS
from seenn_deploy.simulator.kernels.vector_masks import LANES
from seenn_deploy.simulator.spikes import Plane


@dataclass(frozen=True, eq=False)
class Factors:
    """The factors as many matrices: left (B, N, K), right (B, K, M), product (B, N, M).

    Parameters
    ----------
    sizes : (int, int, int, int)
        B, N, K and M.
    width : int
        Columns of the right factor that are summed at a time, as ``add_rows`` can.
    place : int64 array (elements,)
        Where each element that arrives lies: a row of the left factor takes whole words of 16, and
        a matrix of the right one is cut into blocks of `width` columns, row by row.
    size : int
        Currents of both factors.
    made : int64 array (B, N, M)
        Where the products lie in their own grid.
    in_rows : bool
        Whether those of a row lie side by side there, and fill whole blocks.
    """

    sizes: tuple[int, int, int, int]
    width: int
    place: Array
    size: int
    made: Array
    in_rows: bool

    @classmethod
    @lru_cache(maxsize=64)  # the forecast of memory, the layout and every worker ask for them
    def of(cls, node: Product, plane: Plane) -> Factors:
        """Lay out the factors of `node`, whose products lie on `plane`."""
        grid = plane.to_grid(np.arange(prod(node.shape)).reshape(node.shape)).ravel()
        pixel, channel = np.divmod(np.argsort(grid), plane.channels)
        left, right, made = node.as_matrices(pixel * plane.padded + channel)
        (matrices, rows, inner), columns = left.shape, right.shape[2]
        long, wide = (-(-n // LANES) * LANES for n in (inner, columns))
        width = next(width for width in WIDTHS[1:] if wide % width == 0)
        g, n, k = np.ogrid[:matrices, :rows, :inner]
        place = np.empty(left.size + right.size, np.int64)
        place[left] = (g * rows + n) * long + k
        g, k, m = np.ogrid[:matrices, :inner, :columns]
        block = g * (wide // width) + m // width
        place[right] = matrices * rows * long + (block * inner + k) * width + m % width
        size = matrices * (rows * long + inner * wide)
        side_by_side = bool(np.all(np.diff(made, axis=2) == 1)) and columns == wide
        return cls((matrices, rows, inner, columns), width, place, size, made, side_by_side)
