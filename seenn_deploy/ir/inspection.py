"""The description of a program, layer by layer."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import networkx as nx

from seenn_deploy._typing import Shape, checked_types
from seenn_deploy.ir.graph import Projection, SpikingGraph
from seenn_deploy.ir.own import OwnLayer
from seenn_deploy.ir.program import Program


@dataclass(frozen=True)
class LayerInfo:
    """One layer of a program.

    Parameters
    ----------
    name, kind : str
        The kind names the synapses that feed the layer, with the timesteps that they take where
        they take any, and which of them close a loop.
    shape_in, shape_out : tuple of int
        Shape of the main input (the first one) and of the layer.
    neurons : int
        Number of neurons; 0 for the readout and for sums of spikes.
    synapses : int
        Number of synapses that exist: zero padding is not a synapse, and a sum has none.
    dense_macs : int
        Multiply-accumulates per timestep of the trained layer as an ANN, before pools were folded.
    depth : int
        Synapse stages from the source, which are the hardware steps until the first spike.
    neuron : str
        Description of the neurons.
    own_synapses : int
        Synapses of the trained layers that are counted here, where lowering has another number:
        pools are folded, and what several layers take is there several times.
    """

    name: str
    kind: str
    shape_in: Shape
    shape_out: Shape
    neurons: int
    synapses: int
    dense_macs: int
    depth: int
    neuron: str = ""
    own_synapses: int = 0


@checked_types
def inspect(program: Program) -> list[LayerInfo]:
    """Describe every layer of a program, in topological order.

    Parameters
    ----------
    program : Program

    Returns
    -------
    list of LayerInfo

    Examples
    --------
    >>> import seenn_deploy as sd
    >>> files = sd.example()
    >>> program = sd.compile(sd.import_model(files.network, T=4))
    >>> for layer in sd.inspect(program)[:2]:
    ...     print(layer.name, layer.kind, layer.neurons, layer.synapses)
    spike conv 3x3 14336 371112
    layer1.0.spike1 conv 3x3 14336 1731856
    """
    return [_describe(program.graph, node.name) for node in program.graph.layers]


def description(program: Program) -> dict[str, Any]:
    """Return what a program is as JSON values, for files and reports that lie without it.

    Returns
    -------
    dict
        ``layers`` as of `inspect`, ``edges`` as [from, to, lag], and the ``program``: its
        fingerprint, precision, T, exit rule, schedule, depth, and where it came from.
    """
    kept = ("source", "frontend", "family", "assumed", "report", "precision", "proof", "quantized")
    notes = program.provenance.to_dict()
    return {
        "program": {
            "fingerprint": program.fingerprint,
            "precision": program.precision,
            "T": program.T,
            "exit_rule": str(program.exit_rule),
            "schedule": program.schedule,
            "depth": program.depth,
            "source": {name: notes[name] for name in kept if name in notes},
            "not_proven": program.provenance.not_proven,
        },
        "input": {"name": program.graph.source.name, "shape": list(program.graph.source.shape)},
        "layers": [asdict(layer) for layer in inspect(program)],
        "edges": [[edge.pre, edge.post, edge.lag] for edge in program.graph.projections],
    }


def _describe(graph: SpikingGraph, name: str) -> LayerInfo:
    node, edges = graph.node(name), graph.into(name)
    sources = [graph.node(edge.pre).shape for edge in edges]
    # Spikes that are added pass through no synapse.
    added = not node.stages
    return LayerInfo(
        name,
        f"{node.kind} of {len(edges)}"
        if added
        else " + ".join(_edge(graph, edge) for edge in edges),
        sources[0],
        node.shape,
        node.neurons,
        0 if added else sum(map(_synapses, edges, sources)),
        sum(edge.dense_macs for edge in edges),
        graph.depth[name],
        node.text,
        0 if added else sum(map(_own_synapses, edges, sources)),
    )


def _synapses(edge: Projection, shape: Shape) -> int:
    return int(edge.synapses.fan_out(shape).sum())


def _own_synapses(edge: Projection, shape: Shape) -> int:
    if edge.own is None:
        return _synapses(edge, shape)
    return sum(layer.synapses for layer in edge.own if isinstance(layer, OwnLayer))


def _edge(graph: SpikingGraph, edge: Projection) -> str:
    """The synapses of an edge, and its lag: ``dense t-1``, or ``dense t-1 loop``."""
    kind = edge.synapses.label
    if not edge.lag:
        return kind
    # A lag may also lead forward; what closes a loop has a way back.
    loop = " loop" if nx.has_path(graph.nx, edge.post, edge.pre) else ""
    return f"{kind} t-{edge.lag}{loop}"
