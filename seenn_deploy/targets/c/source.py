"""The C source while it is made: tables, functions, state, shared buffers, and the layers' code."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from seenn_deploy import ir
from seenn_deploy._typing import Array
from seenn_deploy.ir.bounds import Interval
from seenn_deploy.targets.c import text
from seenn_deploy.targets.c.layout import Grid
from seenn_deploy.targets.c.memory import Buffer
from seenn_deploy.targets.c.ranges import Ranges


class Owner(Protocol):
    """What tables and memory belong to: a node, or an operation of the policy network."""

    @property
    def name(self) -> str:
        """A name of its own."""


@dataclass(frozen=True)
class Sent:
    """What a node sends, as C takes it.

    Parameters
    ----------
    kind : 'spikes' or 'values'
    at : str
        Pointer to it, with the lag ``%d`` where earlier timesteps are kept.
    ctype : str
        Type of values.
    grid : Grid
    base : int
        Added to each value.
    """

    kind: str
    at: str
    ctype: str
    grid: Grid
    base: int = 0

    def pointer(self, lag: int) -> str:
        """Pointer to what was sent `lag` timesteps ago."""
        return self.at.replace("%d", str(lag))


@dataclass(frozen=True)
class Cost:
    """Bytes of a layer: constant tables, state that lives on, buffers of its turn."""

    tables: int = 0
    state: int = 0
    buffers: int = 0


@dataclass(frozen=True)
class Stopping:
    """An exit rule in C.

    Parameters
    ----------
    function : str
        The function ``net_confident``.
    declarations, tables : str
        What weights.h and weights.c have for it.
    bytes : int
        Of its tables.
    """

    function: str
    declarations: str = ""
    tables: str = ""
    bytes: int = field(default=0)


@dataclass(frozen=True)
class Policy:
    """The policy network: the names that its operations own memory by, and its choices."""

    owners: tuple[str, ...]
    choices: int


@dataclass
class Source:
    """What the folder's files are made of.

    Parameters
    ----------
    program : Program
        Of int8 precision.
    """

    program: ir.Program
    ranges: Ranges = field(init=False)
    number: dict[str, int] = field(init=False)
    labels: dict[str, str] = field(init=False)
    functions: dict[str, str] = field(default_factory=dict)
    declared: list[str] = field(default_factory=list)
    tables: list[str] = field(default_factory=list)
    members: list[str] = field(default_factory=list)
    buffers: list[Buffer] = field(default_factory=list)
    sent: dict[str, Sent] = field(default_factory=dict)
    begin: list[str] = field(default_factory=list)
    first: list[str] = field(default_factory=list)
    policy: Policy | None = None
    steps: dict[str, list[str]] = field(default_factory=dict)
    costs: dict[str, Cost] = field(default_factory=dict)
    potentials: dict[str, str] = field(default_factory=dict)
    logits: str = "int64"

    def __post_init__(self) -> None:
        self.ranges = Ranges(self.program)
        self.number = {node.name: i for i, node in enumerate(self.program.graph.order)}
        self.labels = {n: f"l{i:02d}_{text.identifier(n)}" for n, i in self.number.items()}

    def precede(self, count: int, label: str) -> list[str]:
        """Return names of owners that have turns one after the other, before the first layer's."""
        free = label
        while any(name.startswith(free) for name in self.number):  # a layer may have any name
            free += "_"
        names = [f"{free}{i:02d}" for i in range(1, count + 1)]
        self.number |= {name: i - count for i, name in enumerate(names)}
        self.labels |= {name: f"{label}{i:02d}" for i, name in enumerate(names, start=1)}
        return names

    def label(self, owner: Owner, what: str) -> str:
        """Name of something of a layer: ``l03_spike1_v``."""
        return f"{self.labels[owner.name]}_{what}"

    def use(self, file: str, **types: str) -> None:
        """Have a function of ``runtime/`` in net.c; those that it calls must be asked for first."""
        source = text.runtime(file, **types)
        self.functions.setdefault(source, source)

    def lag(self, name: str) -> int:
        """Return for how many timesteps what a node sent is still needed."""
        edges = self.program.graph.projections
        lags = [edge.lag for edge in edges if edge.pre == name]
        return max((lag for lag in lags if lag < self.program.T), default=0)

    def last_use(self, node: ir.Node) -> int:
        """Return the turn in which what a node sent is last needed in its own timestep."""
        edges = self.program.graph.projections
        posts = [self.number[edge.post] for edge in edges if edge.pre == node.name and not edge.lag]
        return max([self.number[node.name], *posts])

    def table(self, owner: Owner, what: str, ctype: str, values: Array) -> str:
        """A constant table of a layer; return its name."""
        name = f"net_{self.label(owner, what)}"
        values = values if values.size else np.zeros(1, values.dtype)  # C has no empty arrays
        self.declared.append(f"extern const {ctype}_t {name}[{values.size}];")
        self.tables.append(text.table(f"{ctype}_t", name, values))
        self._pay(owner, tables=values.size * np.dtype(ctype).itemsize)
        return name

    def record(self, owner: Owner, what: str, ctype: str, fields: dict[str, object]) -> str:
        """A constant struct of a layer; return its name."""
        name = f"net_{self.label(owner, what)}"
        self.declared.append(f"extern const {ctype} {name};")
        self.tables.append(text.record(ctype, name, fields))
        self._pay(owner, tables=4 * len(fields))
        return name

    def structs(self, owner: Owner, what: str, ctype: str, rows: Array) -> str:
        """A constant table of structs of 32-bit numbers, one a row; return its name."""
        name = f"net_{self.label(owner, what)}"
        self.declared.append(f"extern const {ctype} {name}[{len(rows)}];")
        body = ",\n    ".join("{" + ", ".join(map(str, row)) + "}" for row in rows.tolist())
        self.tables.append(f"const {ctype} {name}[{len(rows)}] = {{\n    {body}\n}};\n")
        self._pay(owner, tables=4 * rows.size)
        return name

    def member(self, node: ir.Node, what: str, ctype: str, count: int, rows: int = 1) -> str:
        """State of a layer that lives from one timestep to the next; return how C names it."""
        name = self.label(node, what)
        size = f"[{rows}][{count}]" if rows > 1 else f"[{count}]"
        self.members.append(f"    {ctype}_t {name}{size};")
        self._pay(node, state=rows * count * np.dtype(ctype).itemsize)
        return f"net->{name}"

    def buffer(self, owner: Owner, what: str, ctype: str, count: int, last: int = -1) -> str:
        """Memory from a layer's turn to that of the layer `last`, its own by default."""
        name, turn = self.label(owner, what), self.number[owner.name]
        size = np.dtype(ctype).itemsize
        self.buffers.append(Buffer(name, ctype, count, size, turn, max(turn, last)))
        self._pay(owner, buffers=count * size)
        return f"net->shared.{name}.at"

    def output(self, node: ir.Node, ctype: str, count: int) -> None:
        """Allocate memory for what a node sends."""
        lag = self.lag(node.name)
        if lag:
            kept = self.member(node, "sent", ctype, count, lag + 1)
            self._send(node, ctype, f"{kept}[(net->t + {lag + 1}u - %du) % {lag + 1}u]")
        else:
            self._send(node, ctype, self.buffer(node, "sent", ctype, count, self.last_use(node)))

    def _send(self, node: ir.Node, ctype: str, at: str) -> None:
        kind = "values" if node.graded else "spikes"
        self.sent[node.name] = Sent(kind, at, ctype, Grid(node.shape))

    def sums_type(self, arriving: Interval | None, bias: tuple[int, int] = (0, 0)) -> str:
        """The type of a layer's sums."""
        if arriving is None:
            return "int32"
        low, high = arriving.low + min(0, bias[0]), arriving.high + max(0, bias[1])
        return text.narrowest(low, high) if (low, high) != (0, 0) else "int8"

    def _pay(self, owner: Owner, tables: int = 0, state: int = 0, buffers: int = 0) -> None:
        before = self.costs.get(owner.name, Cost())
        self.costs[owner.name] = Cost(
            before.tables + tables, before.state + state, before.buffers + buffers
        )
