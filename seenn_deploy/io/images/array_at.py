"""An ``.npy`` at an address, of which only the rows that are asked for are fetched."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import numpy as np

from seenn_deploy._typing import Array, Shape
from seenn_deploy.errors import DataError
from seenn_deploy.io.images.remote import Place, reached
from seenn_deploy.io.images.sources import DAMAGED_ARRAY, npy_header


@dataclass(frozen=True, eq=False)
class ArrayAt:
    """The array of an ``.npy``, which is streamed.

    Parameters
    ----------
    path : Path or Remote
    shape, dtype
        Shape and type of the array, from its header.
    start : int
        Length of the header in bytes.
    """

    path: Place
    shape: Shape
    dtype: np.dtype[np.generic]
    start: int

    @classmethod
    def open(cls, path: Place) -> ArrayAt:
        """Read the header.

        Raises
        ------
        DataError
            When it is no ``.npy`` file, holds Python objects or is in Fortran order.
        """
        with reached(path), path.open("rb") as file:
            try:
                shape, fortran, dtype = npy_header(file)
            except DAMAGED_ARRAY as error:
                raise DataError(
                    f"{path}: not a readable .npy file ({error}); save it anew"
                ) from None
            found = cls(path, shape, dtype, file.tell())
        if dtype.hasobject or (fortran and len(shape) > 1):
            what = "Python objects" if dtype.hasobject else "Fortran order, which is not streamed"
            raise DataError(f"{path}: holds {what}; save np.ascontiguousarray(x) of numbers")
        return found

    @property
    def name(self) -> str:
        return str(self.path)

    def where(self, i: int) -> str:
        return f"{self.path}[{i}]"

    def blocks(self, start: int, stop: int, size: int) -> Iterator[Array]:
        """Yield rows `start` to `stop`, at most `size` at a time."""
        row = prod(self.shape[1:]) * self.dtype.itemsize
        with reached(self.path), self.path.open("rb") as file:
            file.seek(self.start + start * row)
            for i in range(start, stop, size):
                count = min(size, stop - i)
                data = file.read(count * row)
                if len(data) != count * row:
                    raise DataError(f"{self.where(i)}: the file ends early; save it anew")
                yield np.frombuffer(data, self.dtype).reshape(count, *self.shape[1:])
