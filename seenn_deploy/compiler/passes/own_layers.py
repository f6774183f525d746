"""The network's own layers, noted before folding and kept where folding changes their cost.

1. A source that knows its layers says them (``Projection.own``). Otherwise every map of synapses
   in a chain is a layer, whose input is what stands before it in the chain.
2. Pools are none, so a chain with a pool alone has no layer. An identity shortcut is counted as it
   is: one addition per spike.
3. A layer whose result several projections take belongs to the first of them.
4. What costs the same after folding is not kept.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from seenn_deploy import ir
from seenn_deploy.ir.own import Applied, OwnInput, OwnLayer


def noted(graph: ir.SpikingGraph) -> ir.SpikingGraph:
    """Note the layers of every projection (rules 1 to 3)."""
    seen: set[object] = set()
    edges = []
    for edge in graph.projections:
        own = _of_chain(graph, edge) if edge.own is None else edge.own
        if own is not None:
            fresh = tuple(a for a in own if isinstance(a, Applied) and a.key not in seen)
            seen |= {a.key for a in fresh}
            own = fresh
        edges.append(replace(edge, own=own))
    return graph.replace(projections=edges)


def _of_chain(graph: ir.SpikingGraph, edge: ir.Projection) -> tuple[Applied, ...] | None:
    if not graph.stages(edge):
        return None
    found, shape, pooled = [], graph.node(edge.pre).shape, False
    for i, step in enumerate(edge.maps):
        if isinstance(step, ir.Synapses) and not isinstance(step, ir.Identity):
            found.append(Applied((OwnInput(edge.pre, edge.lag, edge.maps[:i]),), step, shape))
        pooled |= isinstance(step, ir.AvgPool2d)
        shape = step.out_shape(shape)
    return tuple(found) if found or pooled else None


def kept(graph: ir.SpikingGraph) -> ir.SpikingGraph:
    """Keep what folding has changed (rule 4), in a compiled graph."""
    return graph.replace(projections=[_kept(graph, edge) for edge in graph.projections])


def _kept(graph: ir.SpikingGraph, edge: ir.Projection) -> ir.Projection:
    if edge.own is None:
        return edge
    layers = [OwnLayer.of(a) for a in edge.own if isinstance(a, Applied)]
    shape = graph.node(edge.pre).shape
    if len(layers) == 1 and len(layers[0].inputs) == 1:
        (layer,), ((given,),) = layers, [layer.inputs for layer in layers]
        bare = (given.pre, given.lag, given.maps) == (edge.pre, edge.lag, ())
        same = bare and layer.in_shape == shape
        if same and np.array_equal(
            np.broadcast_to(layer.fan_out, shape), edge.synapses.fan_out(shape)
        ):
            return replace(edge, own=None)
    return replace(edge, own=tuple(layers))
