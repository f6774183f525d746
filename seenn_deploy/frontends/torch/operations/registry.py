"""The table of functions that read operators, and the graph that they add to."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

from seenn_deploy._typing import Shape
from seenn_deploy.frontends.torch.maps import MapStore
from seenn_deploy.frontends.torch.values import SOURCE, Term, Value


@dataclass(frozen=True)
class Multiplied:
    """A product that the graph needs: its factors as they arrive, and what inverts them."""

    factors: tuple[Term, Term]
    bias: tuple[float, float]
    shape: Shape
    subscripts: str
    left: Shape
    right: Shape


class Graph:
    """The things that operations add: maps, sums, products and pools of spikes, each made once."""

    def __init__(self, names: Iterable[str]) -> None:
        self.maps = MapStore()
        self.names = {SOURCE, *names}
        self.sums: dict[tuple[str, ...], str] = {}
        self.products: dict[Any, tuple[str, Multiplied]] = {}
        self.pools: dict[Any, tuple[str, Term, tuple[int, ...]]] = {}
        self.here = ""  # path of the module that is being read

    def graded(self, name: str) -> bool:
        """Whether a node sends sums or products, and not spikes alone."""
        return name in self.sums.values() or name in (n for n, _ in self.products.values())

    def name(self, wanted: str) -> str:
        """Return a name for a new node, with a number if the name is taken."""
        numbered = (f"{wanted}{i or ''}" for i in range(len(self.names) + 1))
        found = next(n for n in numbered if n not in self.names)
        self.names.add(found)
        return found


Operation: TypeAlias = Callable[..., Value]
OPERATIONS: dict[str, Operation] = {}


def operation(*names: str) -> Callable[[Operation], Operation]:
    """Register a function for aten operators."""

    def register(function: Operation) -> Operation:
        OPERATIONS.update(dict.fromkeys(names, function))
        return function

    return register
