"""Products of what nodes send: masks, and the matrix products of attention."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from math import prod
from typing import ClassVar

import numpy as np

from seenn_deploy._typing import Array, Shape
from seenn_deploy.errors import ModelError
from seenn_deploy.ir.maps import LinearMap
from seenn_deploy.ir.nodes.base import Node

_SUBSCRIPTS = re.compile(r"([a-z]*),([a-z]*)->([a-z]*)")


@dataclass(frozen=True, eq=False)
class Product(Node):
    """Two factors multiplied within the timestep, and summed over the axes that only they have.

    What arrives is one vector: the left factor's elements in C order, then the right one's. The
    projections into the node place what other nodes sent in it; with `bias` a factor may be
    ``1 - s``. Factors are spikes or whole numbers, so that sums are exact in any order and in
    float32 as in integers. There is no neuron and no weight, and no synapse stage on hardware.

    Parameters
    ----------
    subscripts : str
        As of ``numpy.einsum``, one letter per axis: ``"hnd,hmd->hnm"`` is q k^T by head,
        ``"cn,n->cn"`` a mask of tokens. An axis that is in one factor alone is not summed.
    left, right : tuple of int
        Shapes of the factors, by their letters.
    bias : array (left + right elements,), or ()
    """

    graded: ClassVar[bool] = True
    stages: ClassVar[int] = 0
    adds: ClassVar[bool] = False

    name: str
    shape: Shape
    subscripts: str
    left: Shape
    right: Shape
    bias: Array = field(default_factory=lambda: np.zeros((), np.float32))

    @property
    def arriving(self) -> Shape:
        """Shape of the vector of both factors."""
        return (prod(self.left) + prod(self.right),)

    @property
    def text(self) -> str:
        """For example: product hnd,hmd->hnm."""
        return f"product {self.subscripts}"

    @property
    def neurons(self) -> int:
        """None: products are sent as they are."""
        return 0

    @property
    def letters(self) -> tuple[str, str, str]:
        """Letters of the left factor, the right one, and the result."""
        found = _SUBSCRIPTS.fullmatch(self.subscripts)
        if found is None:
            raise ModelError(f"{self.name}: subscripts {self.subscripts!r}; write ab,bc->ac")
        left, right, out = found.groups()
        return left, right, out

    @property
    def summed(self) -> str:
        """Letters of the axes that are summed over."""
        left, right, out = self.letters
        return "".join(letter for letter in left if letter in right and letter not in out)

    @property
    def sizes(self) -> dict[str, int]:
        """Size of each axis by its letter."""
        left, right, _ = self.letters
        return dict(zip(right + left, self.right + self.left, strict=True))

    @property
    def multiplications(self) -> int:
        """Products of elements per timestep, as a dense layer would compute them."""
        return prod(self.sizes.values())

    def as_matrices(self, made: Array) -> tuple[Array, Array, Array]:
        """Where the elements of left (B, N, K), right (B, K, M) and product (B, N, M) lie.

        B counts the elements of the axes that all three have, K of those that are summed over.

        Parameters
        ----------
        made : integer array, one element per element of the product
            Places of the products, in C order; factors lie in the vector that arrives.
        """
        left, right, out = self.letters
        shared = [letter for letter in out if letter in left and letter in right]
        rows = [letter for letter in out if letter not in right]
        columns = [letter for letter in out if letter not in left]
        first, summed = prod(self.left), list(self.summed)
        factors = np.arange(prod(self.arriving), dtype=np.int64)
        products = made.reshape([self.sizes[letter] for letter in out])
        return (
            _ordered(factors[:first].reshape(self.left), left, shared, rows, summed),
            _ordered(factors[first:].reshape(self.right), right, shared, summed, columns),
            _ordered(products, out, shared, rows, columns),
        )

    def taken(self, currents: Array) -> Array:
        """The products of factors (..., elements): (..., *shape)."""
        first, lead = prod(self.left), currents.shape[:-1]
        left = currents[..., :first].reshape(*lead, *self.left)
        right = currents[..., first:].reshape(*lead, *self.right)
        a, b, out = self.letters
        found: Array = np.einsum(f"...{a},...{b}->...{out}", left, right)
        return found.reshape(*lead, *self.shape)

    def taken_between(self, low: Array, high: Array) -> tuple[Array, Array]:
        """Bound the products of factors between `low` and `high`, both (elements,)."""
        most = self.taken(np.maximum(np.abs(low), np.abs(high)))
        return (np.zeros_like(most) if low.min() >= 0 else -most), most

    def check(self) -> None:
        """Raise ModelError where subscripts and shapes contradict each other, too."""
        super().check()
        left, right, out = self.letters
        plain = all(len(set(part)) == len(part) for part in (left, right, out))
        if not plain or len(left) != len(self.left) or len(right) != len(self.right):
            raise ModelError(f"{self.name}: {self.subscripts} of {self.left} and {self.right}")
        differs = [n for n, size in zip(right, self.right, strict=True) if self.sizes[n] != size]
        alone = (set(left) ^ set(right)) - set(out)
        if differs or alone or not set(out) <= set(left) | set(right):
            raise ModelError(f"{self.name}: {self.subscripts} of {self.left} and {self.right}")
        if prod(self.sizes[letter] for letter in out) != prod(self.shape):
            raise ModelError(f"{self.name}: {self.subscripts} does not give {self.shape}")

    def check_input(self, pre: Node, maps: tuple[LinearMap, ...], lag: int) -> None:
        """Take what was sent in this timestep: a product of two timesteps is none."""
        if lag or not pre.spikes:
            raise ModelError("a product takes what nodes send within its timestep, without lag")


def _ordered(places: Array, letters: str, *groups: list[str]) -> Array:
    """Put the axes of an array into the order of groups, and join those of each group."""
    order = [letters.index(letter) for group in groups for letter in group]
    sizes = [prod(places.shape[letters.index(letter)] for letter in group) for group in groups]
    return np.ascontiguousarray(places.transpose(order).reshape(sizes))
