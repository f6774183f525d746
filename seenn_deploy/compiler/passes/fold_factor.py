"""A constant factor behind a product goes into the neurons: ``c a > V`` is ``a > V / c``.

Rules:

1. Where nothing but a power of two c, as Spikformer's 1/8, lies between a product and neurons
   without other input, the factor goes, and the neurons' threshold, reset, start and bias are
   divided by c. Their potentials are those of the network over c, and spikes the same to the bit.
2. Every other factor stays in the synapses, as any scale does: products are whole numbers, which
   often meet a threshold exactly, and a rounded one would decide those otherwise.
"""

from __future__ import annotations

from dataclasses import replace
from math import frexp, prod
from typing import cast

import numpy as np

from seenn_deploy import ir


def apply(graph: ir.SpikingGraph) -> ir.SpikingGraph:
    """Move factors into neurons; affine maps must still be there."""
    neurons, edges = {}, {}
    for node in graph.populations:
        into = graph.into(node.name)
        if len(into) == 1 and graph.node(into[0].pre).kind == "product" and (c := _factor(into[0])):
            neurons[node.name] = _divided(node, c)
            edges[node.name] = replace(into[0], maps=())
    return graph.replace(
        [neurons.get(node.name, node) for node in graph.order],
        [edges.get(edge.post, edge) for edge in graph.projections],
    )


def _factor(edge: ir.Projection) -> float | None:
    """The power of two that an edge is; None where it is something else."""
    factors = [m.factor for m in edge.maps]
    if not factors or None in factors:
        return None
    product = prod(cast(list[float], factors))
    return product if frexp(product)[0] == 0.5 else None


def _divided(node: ir.Population, c: float) -> ir.Population:
    """Neurons that spike as before, of currents without the factor c."""
    reset_by = None if node.reset_by is None else node.reset_by / c
    levels = node.v_threshold / c, node.v_init / c
    bias = node.bias.astype(np.float64) / c
    return replace(node, v_threshold=levels[0], v_init=levels[1], reset_by=reset_by, bias=bias)
