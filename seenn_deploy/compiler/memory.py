"""How much memory compiling takes, told before it starts.

Weights are folded in double precision and kept in single, all layers together; quantisation adds
the integers of all layers and works on one layer at a time. Weights behind a pool are as many as
``passes.fold_pool`` makes of them.
"""

from __future__ import annotations

from math import prod
from typing import cast

import numpy as np

from seenn_deploy import ir
from seenn_deploy._typing import Shape
from seenn_deploy.compiler.passes import fold_pool
from seenn_deploy.io import memory
from seenn_deploy.ir.maps.base import weighted

FOLDED = 8 + 4  # bytes of a weight: float64 beside float32, later float32 beside int64
INTEGER = 8
LISTED = 80  # of a synapse that is listed, while the list is sorted
QUANTIZED = 6 * 8  # of a weight of the layer that is being quantised


def forecast(graph: ir.SpikingGraph, fold: bool = True, integer: bool = False) -> int:
    """Compute the bytes that compiling a graph takes, beyond the graph itself.

    Parameters
    ----------
    graph : SpikingGraph
        Before compilation.
    fold : bool
        Whether average pools become part of the layers behind them.
    integer : bool
        Whether it is also quantised.
    """
    layers = [_folded(graph, edge, fold, integer) for edge in graph.projections]
    return sum(layers) + integer * max(layers, default=0) // FOLDED * QUANTIZED


def require(graph: ir.SpikingGraph, pools: str, precision: str) -> None:
    """Refuse a network that does not fit into memory while it is compiled.

    Raises
    ------
    ResourceError
        It says how much compiling needs, how much there is, and what to do.
    """
    integer = precision != "float32"

    def remedy(there: int) -> str:
        summed = forecast(graph, False, integer)
        if pools != "sum" and summed < there:
            return f"pools='sum' (--pools sum) needs {memory.size(summed)}"
        return "take a machine with more"

    needed = forecast(graph, pools != "sum", integer)
    memory.require(needed, "compiling this network", remedy)


def _folded(graph: ir.SpikingGraph, edge: ir.Projection, fold: bool, integer: bool) -> int:
    found = weighted(edge.maps)
    if found is None:
        return 0
    (at, synapses), shape = found, graph.node(edge.pre).shape
    for step in edge.maps[:at]:
        if step.kind == "avg_pool2d" and fold:
            return _behind(synapses, cast(ir.AvgPool2d, step), shape)
        shape = step.out_shape(shape)
    # Weights that nothing is folded into stay the arrays that they are.
    alone = len(edge.maps) == 1 and synapses.weight.dtype == np.float32
    return synapses.weight.size * (INTEGER * integer if alone else FOLDED)


def _behind(synapses: ir.Synapses, pool: ir.AvgPool2d, in_shape: Shape) -> int:
    window = prod(pool.kernel)
    if not fold_pool.keeps_kind(synapses, pool, in_shape):
        return LISTED * window * int(synapses.fan_out(pool.out_shape(in_shape)).sum())
    return FOLDED * synapses.weight.size * (window if synapses.kind == "conv2d" else 1)
