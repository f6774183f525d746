"""The spiking graph: a source, populations of neurons and a readout, joined by synapses.

Nodes and edges are frozen dataclasses; a :class:`SpikingGraph` checks shapes when it is built and
is never changed afterwards: a compiler pass returns a new one. Arrays are channels first, as in
torch. An edge carries a *chain* of linear maps. Frontends write what the source says
(``AvgPool2d``, ``Conv2d``, ``Affine``); after compilation every chain is one synapse map.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import Any, TypeAlias, TypeVar

import networkx as nx

from seenn_deploy._typing import Shape
from seenn_deploy.errors import ModelError
from seenn_deploy.exits import ExitRule
from seenn_deploy.ir import html
from seenn_deploy.ir.maps import LinearMap, Synapses
from seenn_deploy.ir.nodes import (
    Filter,
    Maximum,
    Node,
    Population,
    Product,
    Readout,
    Relay,
    Source,
    Sum,
)
from seenn_deploy.ir.own import Applied, OwnLayer
from seenn_deploy.ir.provenance import Provenance

End = TypeVar("End", Source, Readout)
Target: TypeAlias = Node  # what a projection may end in: every node but the source
MOST_TIMESTEPS = 1 << 20  # more is a mistake in units, and no machine holds their logits


@dataclass(frozen=True, eq=False)
class Projection:
    """An edge of the graph: the linear maps between two nodes.

    Parameters
    ----------
    pre, post : str
    maps : tuple of linear maps
        Linear maps in order; exactly one map of synapses after compilation.
    delay : int
        Extra steps on hardware, so that all paths meet (``balance_delays``); the simulator needs
        none. It is negative only where a lag makes up for it.
    own : tuple of OwnLayer, optional
        The trained layers that are counted here, where they cost something else than the synapses
        do (:mod:`seenn_deploy.ir.own`). Before compilation those that the source applies.
    lag : int
        Timesteps that spikes take to arrive: at t, `post` receives what `pre` sent at t - lag,
        nothing before t = lag + 1. A recurrent connection has 1; in a loop at least one is needed.
    dense_macs : int, optional
        Multiply-accumulates of the trained layer, before pools were folded into it; the graph
        computes them.
    """

    pre: str
    post: str
    maps: tuple[LinearMap, ...]
    delay: int = 0
    dense_macs: int = -1
    lag: int = 0
    own: tuple[Applied | OwnLayer, ...] | None = None

    @property
    def synapses(self) -> Synapses:
        """The synapses of a compiled edge, its only map."""
        (only,) = self.maps
        if not isinstance(only, Synapses):
            raise ModelError(f"{self.pre} -> {self.post}: {type(only).__name__} was not folded")
        return only


class SpikingGraph:
    """Nodes, projections, and T. Immutable; checks shapes, names and cycles when it is built.

    Parameters
    ----------
    nodes : iterable of Node
        Exactly one source and one readout.
    projections : iterable of Projection
    T : int
        Number of timesteps that the network was trained for.
    provenance : Provenance, or mapping with the same names
        Where the network came from and what was assumed; nothing is computed from it.
    exit_rule : ExitRule, optional
        The exit rule that the network came with.

    Examples
    --------
    >>> import seenn_deploy as sd
    >>> files = sd.example()
    >>> graph = sd.import_model(files.network, T=4)
    >>> graph.source.shape, graph.readout.shape, len(graph.layers)
    ((3, 32, 32), (10,), 14)
    >>> graph.populations[0].name, graph.populations[0].tau
    ('spike', 0.5)
    """

    def __init__(
        self,
        nodes: Iterable[Node],
        projections: Iterable[Projection],
        T: int,
        provenance: Mapping[str, Any] | None = None,
        exit_rule: ExitRule | None = None,
    ) -> None:
        if not (isinstance(T, int) and 1 <= T <= MOST_TIMESTEPS):
            raise ModelError(
                f"T must be a whole number of timesteps, 1 to {MOST_TIMESTEPS:,}; found {T!r}"
            )
        self.T = T
        self.provenance = Provenance.of(provenance or {})
        self.exit_rule = exit_rule
        self.nx = nx.MultiDiGraph()
        for node in nodes:
            if node.name in self.nx:
                raise ModelError(f"two nodes are named {node.name!r}; names must be unique")
            self.nx.add_node(node.name, node=node)
        for edge in projections:
            for end in (edge.pre, edge.post):
                if end not in self.nx:
                    raise ModelError(f"projection {edge.pre} -> {edge.post}: no node {end!r}")
            self.nx.add_edge(edge.pre, edge.post, projection=self._checked(edge))
        self._check_structure()

    def __repr__(self) -> str:
        return f"SpikingGraph({self.text}, T={self.T})"

    def _repr_html_(self) -> str:
        rows = [(n.name, type(n).__name__, _text(n.shape), self.depth[n.name]) for n in self.order]
        return html.table(repr(self), ("node", "kind", "shape", "depth"), rows)

    @property
    def text(self) -> str:
        """Sum up the input, the output and the size of what lies between."""
        neurons = sum(prod(n.shape) for n in self.populations)
        ends = f"{_text(self.source.shape)} to {self.readout.shape[0]} classes"
        return f"{ends}, {len(self.layers)} layers, {neurons:,} neurons"

    def node(self, name: str) -> Node:
        found: Node = self.nx.nodes[name]["node"]
        return found

    @cached_property
    def order(self) -> tuple[Node, ...]:
        """All nodes, each after those that feed it, without feedback; else in the order added."""
        position = {name: i for i, name in enumerate(self.nx)}
        names = nx.lexicographical_topological_sort(self._forward, key=position.__getitem__)
        return tuple(self.node(name) for name in names)

    @property
    def source(self) -> Source:
        return self._only(Source)

    @property
    def readout(self) -> Readout:
        return self._only(Readout)

    def _only(self, kind: type[End]) -> End:
        return next(n for n in self.order if isinstance(n, kind))

    @property
    def layers(self) -> tuple[Target, ...]:
        """Populations, sums and the readout in topological order; each has counts of its own."""
        source = self.source
        return tuple(n for n in self.order if n is not source)

    @cached_property
    def populations(self) -> tuple[Population, ...]:
        """The populations in topological order."""
        return tuple(n for n in self.order if isinstance(n, Population))

    def into(self, name: str) -> list[Projection]:
        """List the projections that end in `name`."""
        return [data["projection"] for _, _, data in self.nx.in_edges(name, data=True)]

    @property
    def projections(self) -> Iterator[Projection]:
        for node in self.order:
            yield from self.into(node.name)

    @cached_property
    def _forward(self) -> Any:
        """All projections but feedback: those that lag and lie on a loop."""
        forward = nx.MultiDiGraph()
        forward.add_nodes_from(self.nx)
        # Only within a strongly connected component can an edge close a loop.
        part = {
            n: i for i, found in enumerate(nx.strongly_connected_components(self.nx)) for n in found
        }
        for pre, post, edge in self.nx.edges(data="projection"):
            if not edge.lag or part[pre] != part[post]:
                forward.add_edge(pre, post, projection=edge)
        return forward

    @cached_property
    def depth(self) -> dict[str, int]:
        """Synapse stages on the longest path from the source to each node, by name."""
        depth: dict[str, int] = {}
        for node in self.order:
            before = self._forward.in_edges(node.name, data="projection")
            depth[node.name] = max((depth[pre] + self.stages(e) for pre, _, e in before), default=0)
        return depth

    def stages(self, edge: Projection) -> int:
        """Synapse stages of a projection: 1, or 0 into a sum."""
        return self.node(edge.post).stages

    @cached_property
    def lag(self) -> dict[str, int]:
        """For each node, the number of timesteps for which its spikes are still needed."""
        lag = dict.fromkeys(self.nx, 0)
        for edge in self.projections:
            lag[edge.pre] = max(lag[edge.pre], edge.lag)
        return lag

    def noted(self, provenance: Mapping[str, Any]) -> SpikingGraph:
        """The same graph with another provenance."""
        # A copy shares what was computed: notes change neither order nor depth.
        same = copy(self)
        same.provenance = Provenance.of(provenance)
        return same

    def replace(
        self,
        nodes: Iterable[Node] | None = None,
        projections: Iterable[Projection] | None = None,
        T: int | None = None,
    ) -> SpikingGraph:
        """A new graph with other nodes, projections or T and everything else kept."""
        return SpikingGraph(
            self.order if nodes is None else nodes,
            self.projections if projections is None else projections,
            self.T if T is None else T,
            self.provenance,
            self.exit_rule,
        )

    def _checked(self, edge: Projection) -> Projection:
        pre, post = self.node(edge.pre), self.node(edge.post)
        _check_lag(edge, pre)
        shape, macs = pre.shape, 0
        try:
            post.check_input(pre, edge.maps, edge.lag)
            for step in edge.maps:
                macs += step.dense_macs(shape)
                shape = step.out_shape(shape)
        except ModelError as error:
            raise ModelError(f"{edge.pre} -> {edge.post}: {error}") from None
        if shape != post.arriving:
            raise ModelError(
                f"{edge.pre} -> {edge.post}: the synapses give shape {shape}, "
                f"{edge.post} has {post.arriving}"
            )
        # Counted once, as trained: passes that fold pools and norms hand the number on.
        return edge if edge.dense_macs >= 0 else replace(edge, dense_macs=macs)

    def _check_structure(self) -> None:
        for kind in (Source, Readout):
            found = [n.name for n in self._nodes() if isinstance(n, kind)]
            if len(found) != 1:
                raise ModelError(f"a graph needs exactly one {kind.__name__}; found {found}")
        # Within a timestep nothing may wait for itself; a lag on the loop breaks it.
        at_once = nx.MultiDiGraph(e[:2] for e in self.nx.edges(data="projection") if not e[2].lag)
        if not nx.is_directed_acyclic_graph(at_once):
            cycle = [u for u, *_ in nx.find_cycle(at_once)]
            raise ModelError(f"cycle without delay: {' -> '.join(cycle)}")
        if not nx.is_directed_acyclic_graph(self._forward):
            cycle = [u for u, *_ in nx.find_cycle(self._forward)]
            raise ModelError(f"cycle without delay: {' -> '.join(cycle)}")
        source, readout = self.source, self.readout
        for node in self._nodes():
            if node is not source:
                if not self._forward.in_degree(node.name):
                    raise ModelError(f"{node.name} has no input")
                node.check()
            if node is not readout and not self.nx.out_degree(node.name):
                raise ModelError(f"{node.name} feeds nothing")

    def _nodes(self) -> Iterator[Node]:
        return (self.node(name) for name in self.nx)


def _check_lag(edge: Projection, pre: Node) -> None:
    name = f"{edge.pre} -> {edge.post}"
    if edge.lag < 0:
        raise ModelError(f"{name}: a lag of {edge.lag} timesteps; it must be at least 0")
    if edge.lag and pre.analog:
        raise ModelError(f"{name}: a lag of {edge.lag} on an image, which is there from t = 1 on")


def _text(shape: Shape) -> str:
    return "x".join(map(str, shape))


__all__ = [
    "MOST_TIMESTEPS",
    "Filter",
    "Maximum",
    "Node",
    "Population",
    "Product",
    "Projection",
    "Readout",
    "Relay",
    "Source",
    "SpikingGraph",
    "Sum",
    "Target",
]
