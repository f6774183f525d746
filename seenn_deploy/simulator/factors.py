"""How the factors of a product lie among its currents: as its kernels take them."""

from __future__ import annotations

from dataclasses import dataclass
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

    So ``kernels.multiply`` takes them, which adds a row of the right one for every event of the
    left one, whatever its value.

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
    def of(cls, node: Product, plane: Plane) -> Factors:
        """Lay out the factors of `node`, whose products lie on `plane`."""
        left, right, made = node.as_matrices(_in_grid(node, plane))
        if made.shape[2] == 1 or not _side_by_side(made):  # as below: rows shall be long
            left, right, made = (part.swapaxes(1, 2) for part in (right, left, made))
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
        in_rows = _side_by_side(made) and columns == wide
        return cls((matrices, rows, inner, columns), width, place, size, made, in_rows)


@dataclass(frozen=True, eq=False)
class SmallFactors:
    """Factors of small whole numbers, as bytes.

    ``kernels.multiply_bytes`` takes them, or ``kernels.multiply_bits`` where both are of spikes.

    Both are matrices of inner and outer elements: what is summed over, and the left one's rows or
    the right one's columns. Inner and outer elements fill whole words of 16, with zeros. Whichever
    of the two are a pixel's channels lie side by side, so that whole words are placed at once.

    Parameters
    ----------
    sizes : (int, int, int, int)
        Number of matrices, rows, inner elements and columns.
    by_inner : (bool, bool)
        Of the left and the right factor, whether the outer elements lie side by side: inner element
        by inner element. Else they lie outer element by outer element.
    place : int64 array (elements,)
        Where each element that arrives lies. Each left matrix is followed by its right one.
    size : int
        Bytes of both factors.
    made : int64 array (matrices,)
        Where each product begins in its own grid; a row's elements lie side by side there.
    step : int
        From one row to the next.
    of_spikes : bool
        Whether all elements are 0 or 1.
    """

    sizes: tuple[int, int, int, int]
    by_inner: tuple[bool, bool]
    place: Array
    size: int
    made: Array
    step: int
    of_spikes: bool

    @property
    def padded(self) -> tuple[int, int, int]:
        """Rows, inner elements and columns in whole words."""
        return _padded(*self.sizes[1:])

    @classmethod
    def of(cls, node: Product, plane: Plane, of_spikes: bool) -> SmallFactors | None:
        """Lay out the factors of `node`; None where its products do not lie in rows."""
        left, right, made = node.as_matrices(_in_grid(node, plane))
        right = right.swapaxes(1, 2)  # both are (matrices, outer, inner) now
        if not _side_by_side(made):  # the transposed product is that of the transposed factors
            left, right, made = right, left, made.swapaxes(1, 2)
        (matrices, rows, inner), columns = left.shape, right.shape[1]
        if min(rows, inner, columns) < LANES or not _side_by_side(made):
            return None
        step = np.diff(made[:, :, 0], axis=1)
        if np.any(step != step[0, 0]) or step[0, 0] < LANES:
            return None
        by_inner = _by_inner(left), _by_inner(right)
        tall, long, wide = _padded(rows, inner, columns)
        place = np.empty(left.size + right.size, np.int64)
        g, k = np.arange(matrices)[:, None, None], np.arange(inner)
        for factor, outer, turned, begin in (
            (left, tall, by_inner[0], 0),
            (right, wide, by_inner[1], tall * long),
        ):
            o = np.arange(factor.shape[1])[:, None]
            within = k * outer + o if turned else o * long + k
            place[factor] = g * long * (tall + wide) + begin + within
        sizes = matrices, rows, inner, columns
        size = matrices * long * (tall + wide)
        begins = np.ascontiguousarray(made[:, 0, 0])
        return cls(sizes, by_inner, place, size, begins, int(step[0, 0]), of_spikes)


@dataclass(frozen=True, eq=False)
class EachFactors:
    """Factors that are multiplied element by element, which ``kernels.multiply_each`` takes.

    Parameters
    ----------
    place : int64 array (elements,)
        Each element lies as its product does in its grid, those of the right factor behind all of
        the left one.
    size : int
        Currents of both factors.
    """

    place: Array
    size: int

    @classmethod
    def of(cls, node: Product, plane: Plane) -> EachFactors | None:
        """Lay out the factors of `node`; None where elements are summed or met by several."""
        left, right, made = node.as_matrices(_in_grid(node, plane))
        if not left[0].size == right[0].size == 1:
            return None
        size = plane.pixels * plane.padded
        place = np.empty(2 * made.size, np.int64)
        place[left], place[right] = made, size + made
        return cls(place, 2 * size)


def _in_grid(node: Product, plane: Plane) -> Array:
    """Return where each product lies in the padded grid, in C order of the product."""
    grid = plane.to_grid(np.arange(prod(node.shape)).reshape(node.shape)).ravel()
    pixel, channel = np.divmod(np.argsort(grid), plane.channels)
    return np.asarray(pixel * plane.padded + channel)


def _padded(rows: int, inner: int, columns: int) -> tuple[int, int, int]:
    tall, long, wide = (-(-n // LANES) * LANES for n in (rows, inner, columns))
    return tall, long, wide


def _by_inner(factor: Array) -> bool:
    """Whether the outer elements of a factor (matrices, outer, inner) are a pixel's channels.

    What arrives comes channels first, so channels are what is further apart there.
    """
    return bool(factor[0, 1, 0] - factor[0, 0, 0] > factor[0, 0, 1] - factor[0, 0, 0])


def _side_by_side(made: Array) -> bool:
    return bool(np.all(np.diff(made, axis=2) == 1))
