"""The spiking graph: a source, populations of neurons and a readout, joined by synapses.

Nodes and edges are frozen dataclasses; a :class:`SpikingGraph` checks shapes when it is built and
is never changed afterwards: a compiler pass returns a new one. Arrays are channels first, as in
torch. An edge carries a *chain* of linear maps. Frontends write what the source says
(``AvgPool2d``, ``Conv2d``, ``Affine``); after compilation every chain is one synapse map.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from copy import copy
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, TypeAlias

import networkx as nx
import numpy as np

from seenn_deploy._typing import Array, Shape
from seenn_deploy.errors import ModelError
from seenn_deploy.exits import ExitRule
from seenn_deploy.io.images.normalization import Normalization
from seenn_deploy.io.images.spec import ANY_VALUE, Range
from seenn_deploy.ir.maps import Identity, LinearMap, Synapses
from seenn_deploy.ir.provenance import Provenance

MOST_TIMESTEPS = 1 << 20  # more is a mistake in units, and no machine holds their logits


@dataclass(frozen=True, eq=False)
class Source:
    """Where the input enters.

    ``direct``: one analog image, an input current that is the same at every timestep (direct
    coding). ``events``: a frame a timestep, shape (T, C, H, W) a sample.

    Parameters
    ----------
    scale, offset : float
        Of integer programs alone: the network sees ``rint(scale * (x - offset))``, taken in
        float64, as int32.
    step_us : float
        Of event recordings: microseconds a timestep; 0 cuts each recording into T equal parts.
    counts_events : bool
        Of event recordings: a value is the number of events in a timestep; else 1 where there
        was any.
    input_range : (float, float)
        What an input value may be: pixels 0..1 where the normalisation is part of the network.
    normalization : (mean, std), optional
        Per channel, where it is part of the network: what else sees the image needs it too.
    """

    name: str
    shape: Shape
    coding: Literal["direct", "events"] = "direct"
    scale: float = 1.0
    offset: float = 0.0
    step_us: float = 0.0
    counts_events: bool = False
    input_range: Range = ANY_VALUE
    normalization: Normalization | None = None


@dataclass(frozen=True, eq=False)
class Population:
    """Leaky integrate-and-fire neurons with common parameters (design, section 2).

    ``u[t] = tau_syn u[t-1] + a[t] + bias`` with ``u[0] = 0``; ``v'[t] = tau v[t-1] + u[t]``;
    ``s[t] = v'[t] > v_threshold``; ``v[t] = 0`` where it spiked (hard reset) or
    ``v' - reset_by s`` (soft reset).

    Parameters
    ----------
    shape : (C, H, W) or (N,)
    tau : float
        Share of the membrane potential that a timestep leaves.
    reset_by : float, optional
        What a soft reset subtracts; the threshold by default. A reset that comes after the next
        leak, as snnTorch's, subtracts ``v_threshold / tau``.
    bias : array of `shape`, of shape (C, 1, 1), or ()
        Added to the input current at every timestep.
    comparison : '>' or '>='
    tau_syn : float
        Share of the synaptic current that a timestep leaves; 0: currents last one timestep.
    """

    name: str
    shape: Shape
    tau: float = 0.5
    v_threshold: float = 1.0
    v_init: float = 0.0
    reset: Literal["hard", "soft"] = "hard"
    comparison: Literal[">", ">="] = ">"
    bias: Array = field(default_factory=lambda: np.zeros((), np.float32))
    tau_syn: float = 0.0
    reset_by: float | None = None

    @property
    def subtracted(self) -> float:
        """What a soft reset takes away."""
        return self.v_threshold if self.reset_by is None else self.reset_by


@dataclass(frozen=True, eq=False)
class Sum:
    """Spikes added to spikes within the timestep, as in SEW-ResNet: graded spikes 0, 1, 2, ..

    No neuron and no weight: every projection into it is an identity of weight 1 without lag, from
    a population or another sum, and costs no synapse stage on hardware.
    """

    name: str
    shape: Shape


@dataclass(frozen=True, eq=False)
class Readout:
    """Logits, without threshold.

    ``u[t] = tau_syn u[t-1] + W s[t] + bias`` with ``u[0] = 0``; ``z[t] = tau z[t-1] + u[t]``.

    Parameters
    ----------
    tau : float
        1 sums over timesteps (design, section 2); below 1 it is a leaky integrator.
    tau_syn : float
        Share of the synaptic current that a timestep leaves; 0: currents last one timestep.
    """

    name: str
    shape: Shape
    bias: Array = field(default_factory=lambda: np.zeros((), np.float32))
    tau: float = 1.0
    tau_syn: float = 0.0


Node: TypeAlias = Source | Population | Sum | Readout
Target: TypeAlias = Population | Sum | Readout


@dataclass(frozen=True, eq=False)
class Projection:
    """An edge of the graph: the linear maps between two nodes.

    Parameters
    ----------
    pre, post : str
    maps : tuple of linear maps
        Exactly one synapse map after compilation.
    delay : int
        Extra steps on hardware so that all paths meet (``balance_delays``); none in simulation.
        Negative only where a lag makes up for it.
    lag : int
        Timesteps that spikes take to arrive: at t, `post` receives what `pre` sent at t - lag,
        nothing before t = lag + 1. A recurrent connection has 1; in a loop at least one is needed.
    dense_macs : int, optional
        Of the layer as it was trained, before pools were folded into it; filled in by the graph.
    """

    pre: str
    post: str
    maps: tuple[LinearMap, ...]
    delay: int = 0
    dense_macs: int = -1
    lag: int = 0

    @property
    def synapses(self) -> Synapses:
        """The one map of a compiled edge."""
        (only,) = self.maps
        if not isinstance(only, Synapses):
            raise ModelError(f"{self.pre} -> {self.post}: {type(only).__name__} was not folded")
        return only


class SpikingGraph:
    """Nodes, projections, and T. Immutable; checks shapes, names and cycles when it is built.

    Parameters
    ----------
    nodes : iterable of Source, Population, Sum, Readout
        Exactly one source and one readout.
    projections : iterable of Projection
    T : int
        Timesteps of the network as trained.
    provenance : Provenance, or mapping with the same names
        Where the network came from and what was assumed; nothing is computed from it.
    exit_rule : ExitRule, optional
        The exit rule that the network came with.
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
        return f"SpikingGraph({len(self.nx)} nodes, {self.nx.number_of_edges()} edges, T={self.T})"

    def node(self, name: str) -> Node:
        found: Node = self.nx.nodes[name]["node"]
        return found

    @cached_property
    def order(self) -> tuple[Node, ...]:
        """All nodes, each after those that feed it, feedback left out; ties as they were added."""
        position = {name: i for i, name in enumerate(self.nx)}
        names = nx.lexicographical_topological_sort(self._forward, key=position.__getitem__)
        return tuple(self.node(name) for name in names)

    @property
    def source(self) -> Source:
        return next(n for n in self.order if isinstance(n, Source))

    @property
    def readout(self) -> Readout:
        return next(n for n in self.order if isinstance(n, Readout))

    @property
    def layers(self) -> tuple[Target, ...]:
        """Populations, sums and the readout in topological order: what counts are kept for."""
        return tuple(n for n in self.order if not isinstance(n, Source))

    def into(self, name: str) -> list[Projection]:
        """The projections that end in `name`."""
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
        return 0 if isinstance(self.node(edge.post), Sum) else 1

    @cached_property
    def lag(self) -> dict[str, int]:
        """By name, how many timesteps back a node's spikes are still needed."""
        lag = dict.fromkeys(self.nx, 0)
        for edge in self.projections:
            lag[edge.pre] = max(lag[edge.pre], edge.lag)
        return lag

    def noted(self, provenance: Mapping[str, Any]) -> SpikingGraph:
        """The same graph with another provenance."""
        same = copy(self)
        same.provenance = Provenance.of(provenance)
        return same

    def replace(
        self, nodes: Iterable[Node] | None = None, projections: Iterable[Projection] | None = None
    ) -> SpikingGraph:
        """A new graph with other nodes or projections and everything else kept."""
        return SpikingGraph(
            self.order if nodes is None else nodes,
            self.projections if projections is None else projections,
            self.T,
            self.provenance,
            self.exit_rule,
        )

    def _checked(self, edge: Projection) -> Projection:
        _check_lag(edge, self.node(edge.pre))
        if isinstance(self.node(edge.post), Sum):
            _check_summand(edge, self.node(edge.pre))
        shape, macs = self.node(edge.pre).shape, 0
        for step in edge.maps:
            try:
                macs += step.dense_macs(shape)
                shape = step.out_shape(shape)
            except ModelError as error:
                raise ModelError(f"{edge.pre} -> {edge.post}: {error}") from None
        post = self.node(edge.post)
        if shape != post.shape:
            raise ModelError(
                f"{edge.pre} -> {edge.post}: the synapses give shape {shape}, "
                f"{edge.post} has {post.shape}"
            )
        return edge if edge.dense_macs >= 0 else replace(edge, dense_macs=macs)

    def _check_structure(self) -> None:
        for kind in (Source, Readout):
            found = [n.name for n in self._nodes() if isinstance(n, kind)]
            if len(found) != 1:
                raise ModelError(f"a graph needs exactly one {kind.__name__}; found {found}")
        at_once = nx.MultiDiGraph(e[:2] for e in self.nx.edges(data="projection") if not e[2].lag)
        if not nx.is_directed_acyclic_graph(at_once):
            cycle = [u for u, *_ in nx.find_cycle(at_once)]
            raise ModelError(f"cycle without delay: {' -> '.join(cycle)}")
        if not nx.is_directed_acyclic_graph(self._forward):
            cycle = [u for u, *_ in nx.find_cycle(self._forward)]
            raise ModelError(f"cycle without delay: {' -> '.join(cycle)}")
        for node in self._nodes():
            if not isinstance(node, Source):
                if not self._forward.in_degree(node.name):
                    raise ModelError(f"{node.name} has no input")
                _check_parameters(node)
            if not isinstance(node, Readout) and not self.nx.out_degree(node.name):
                raise ModelError(f"{node.name} feeds nothing")

    def _nodes(self) -> Iterator[Node]:
        return (self.node(name) for name in self.nx)


def _check_lag(edge: Projection, pre: Node) -> None:
    name = f"{edge.pre} -> {edge.post}"
    if edge.lag < 0:
        raise ModelError(f"{name}: a lag of {edge.lag} timesteps; it must be at least 0")
    if edge.lag and isinstance(pre, Source) and pre.coding == "direct":
        raise ModelError(f"{name}: a lag of {edge.lag} on an image, which is there from t = 1 on")


def _check_summand(edge: Projection, pre: Node) -> None:
    name = f"{edge.pre} -> {edge.post}"
    plain = all(isinstance(m, Identity) and m.weight == 1 for m in edge.maps)
    if not plain or edge.lag or not isinstance(pre, Population | Sum):
        raise ModelError(f"{name}: a sum takes spikes as they are, without weight or lag")


def _check_parameters(node: Target) -> None:
    if isinstance(node, Sum):
        return
    for name in ("tau", "tau_syn"):
        value = getattr(node, name, 0.0)
        if not 0 <= value <= 1:
            raise ModelError(f"{node.name}: {name} = {value} lies outside [0, 1]")
    _check_bias(node)


def _check_bias(node: Population | Readout) -> None:
    try:
        fits = np.broadcast_shapes(node.bias.shape, node.shape) == node.shape
    except ValueError:
        fits = False
    if not fits:
        raise ModelError(
            f"{node.name}: a bias of shape {node.bias.shape} does not fit {node.shape}"
        )
    if not np.all(np.isfinite(node.bias)):
        raise ModelError(f"{node.name}: the bias holds NaN or infinity")
