"""What a program is made of, layer by layer."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from seenn_deploy.graph import Conv2d, Dense, Identity, Population, Shape, SpikingGraph, Synapses
from seenn_deploy.program import Program


@dataclass(frozen=True)
class LayerInfo:
    """One layer of a program.

    Parameters
    ----------
    name, kind : str
        The kind names the synapses that feed the layer.
    shape_in, shape_out : tuple of int
        Of the main input (the first) and of the layer.
    neurons : int
        0 for the readout.
    synapses : int
        Existing ones; zero padding is none.
    dense_macs : int
        Of the trained layer as an ANN, a timestep, before pools were folded.
    depth : int
        Synapse stages from the source: hardware steps until its first spike.
    """

    name: str
    kind: str
    shape_in: Shape
    shape_out: Shape
    neurons: int
    synapses: int
    dense_macs: int
    depth: int


def inspect(program: Program) -> list[LayerInfo]:
    """Describe every layer of a program, in topological order."""
    return [_describe(program.graph, node.name) for node in program.graph.layers]


def _describe(graph: SpikingGraph, name: str) -> LayerInfo:
    node, edges = graph.node(name), graph.into(name)
    sources = [graph.node(edge.pre).shape for edge in edges]
    return LayerInfo(
        name,
        " + ".join(_kind(edge.synapses) for edge in edges),
        sources[0],
        node.shape,
        prod(node.shape) if isinstance(node, Population) else 0,
        sum(
            int(edge.synapses.fan_out(shape).sum())
            for edge, shape in zip(edges, sources, strict=True)
        ),
        sum(edge.dense_macs for edge in edges),
        graph.depth[name],
    )


def _kind(synapses: Synapses) -> str:
    if isinstance(synapses, Conv2d):
        k_h, k_w = synapses.weight.shape[2:]
        stride = f"/{synapses.stride[0]}" if synapses.stride != (1, 1) else ""
        groups = f" g{synapses.groups}" if synapses.groups > 1 else ""
        return f"conv {k_h}x{k_w}{stride}{groups}"
    return {Dense: "dense", Identity: "identity"}.get(type(synapses), "sparse")
