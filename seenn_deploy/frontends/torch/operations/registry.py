"""The table of functions that read operators, and the graph that they add to."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from seenn_deploy._typing import Shape
from seenn_deploy.frontends.torch.maps import MapStore
from seenn_deploy.frontends.torch.values import SOURCE, Signal, Term, Value, Window


@dataclass(frozen=True)
class Relayed:
    """Largest currents that are sent on: what arrives, each with its lag in timesteps."""

    inputs: tuple[tuple[Term, int], ...]
    pool: Window
    shape: Shape


@dataclass(frozen=True)
class Multiplied:
    """A product that the graph needs: its factors as they arrive, and what inverts them."""

    factors: tuple[Term, Term]
    bias: tuple[float, float]
    shape: Shape
    subscripts: str
    left: Shape
    right: Shape


@dataclass(frozen=True)
class Arranged:
    """Spikes of one or more nodes in other places: what arrives, each at places of its own."""

    parts: tuple[Term, ...]
    shape: Shape


class Graph:
    """The things that operations add: maps, sums, products and pools of spikes, each made once."""

    def __init__(self, names: Iterable[str]) -> None:
        self.maps = MapStore()
        self.names = {SOURCE, *names}
        self.sums: dict[tuple[str, ...], str] = {}
        self.products: dict[Any, tuple[str, Multiplied]] = {}
        self.pools: dict[Any, tuple[str, Term, tuple[int, ...]]] = {}
        self.relays: dict[Any, tuple[str, Relayed]] = {}
        self.arranged: dict[Any, tuple[str, Arranged]] = {}
        self.here = ""  # path of the module that is being read

    def graded(self, name: str) -> bool:
        """Whether a node sends sums or products, and not spikes alone."""
        for node, found in self.arranged.values():
            if node == name:
                return any(self.graded(part.origin) for part in found.parts)
        return name in self.sums.values() or name in (n for n, _ in self.products.values())

    def name(self, wanted: str) -> str:
        """Return a name for a new node, with a number if the name is taken."""
        numbered = (f"{wanted}{i or ''}" for i in range(len(self.names) + 1))
        found = next(n for n in numbered if n not in self.names)
        self.names.add(found)
        return found

    def relayed(self, signal: Signal) -> Term | None:
        """The node that sends the largest currents of `signal` on; None if there is none yet."""
        key, step, _ = _largest(signal)
        found = self.relays.get(key)
        return Term(found[0], (), step, real=True) if found else None

    def relay(self, signal: Signal) -> Term:
        """A node that sends the largest currents of `signal` on, made once for all timesteps."""
        key, step, made = _largest(signal)
        if key not in self.relays:
            pools = made.pool.window != (1, 1)
            wanted = self.here or "pool" if pools else f"{self.here}.currents".lstrip(".")
            self.relays[key] = self.name(wanted), made
        return Term(self.relays[key][0], (), step, real=True)


def _largest(signal: Signal) -> tuple[Any, int | None, Relayed]:
    """What tells the largest currents of a signal from others, their timestep, and the node."""
    assert signal.pool is not None and signal.shape is not None
    step = max((t.step for t in signal.terms if t.step is not None), default=None)
    late = [0 if t.step is None or step is None else step - t.step for t in signal.terms]
    inputs = tuple(
        (replace(t, step=None), t.lag + lag) for t, lag in zip(signal.terms, late, strict=True)
    )
    key = tuple((t.origin, t.maps, lag) for t, lag in inputs), signal.pool
    return key, step, Relayed(inputs, signal.pool, signal.shape)


Operation: TypeAlias = Callable[..., Value]
OPERATIONS: dict[str, Operation] = {}


def operation(*names: str) -> Callable[[Operation], Operation]:
    """Register a function for aten operators."""

    def register(function: Operation) -> Operation:
        OPERATIONS.update(dict.fromkeys(names, function))
        return function

    return register
