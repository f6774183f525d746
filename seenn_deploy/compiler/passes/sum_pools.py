"""Average pools as summing nodes of their own, where that is asked for or costs less.

An average pool is part of the layer behind it (``fold_pool``), where every spike pays the fan-out
behind the pool: today's hardware has nothing else. Or it is a node that sums the spikes of each
window, one addition per spike, and sends the sum as one graded payload; the layer behind has the
same weights, divided by the window's size, as a part of the window's rows.

Rules:

1. Only pools of spikes, at the beginning of a chain or behind constant factors, which an average
   does not mind.
2. Projections with the same pool of the same node share one sum.
3. ``auto`` takes for each pool what costs less by the prices of ``costs/paper.json`` (0.9 pJ per
   accumulate, 4.6 pJ per multiply-accumulate): on the spikes of a few images, or where every
   neuron spikes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from math import prod
from typing import Literal, TypeAlias, cast

import numpy as np

from seenn_deploy import ir
from seenn_deploy._typing import Array, Pair
from seenn_deploy.compiler.passes.rewrite import with_factor
from seenn_deploy.errors import ProgramError
from seenn_deploy.ir.maps import Affine, AvgPool2d
from seenn_deploy.ir.maps.affine import composed
from seenn_deploy.ir.maps.base import weighted

Pools: TypeAlias = Literal["fold", "sum", "auto"]
CHOICES = ("fold", "sum", "auto")
_AC, _MAC = 0.9, 4.6  # picojoules; Horowitz, ISSCC 2014, as in costs/paper.json


@dataclass(frozen=True)
class PoolCost:
    """A pool, and the operations per timestep of either way to deploy it.

    Parameters
    ----------
    pre : str
        Node whose spikes are pooled.
    kernel : (int, int)
    choice : 'fold' or 'sum'
    measured : bool
        Whether the counts are means over images; else every neuron spikes.
    fold_ac : float
        Accumulates of the layers behind, where the pool is a part of them.
    sum_ac, payloads, behind : float
        Accumulates into the sums, sums other than 0, and the synapses that these meet.
    """

    pre: str
    kernel: Pair
    choice: str
    measured: bool
    fold_ac: float
    sum_ac: float
    payloads: float
    behind: float


def apply(
    graph: ir.SpikingGraph, pools: Pools, sent: Mapping[str, Array] | None = None
) -> tuple[ir.SpikingGraph, tuple[PoolCost, ...]]:
    """Give pools nodes of their own where `pools` says so; the others stay for ``fold_pool``.

    Parameters
    ----------
    graph : SpikingGraph
        Before folding.
    pools : 'fold', 'sum' or 'auto'
    sent : mapping of float arrays (N, T, *shape), optional
        What each node sends on calibration samples.

    Returns
    -------
    SpikingGraph
    tuple of PoolCost
        One per pool that could be summed.

    Raises
    ------
    ProgramError
        For another word.
    """
    if pools not in CHOICES:
        raise ProgramError(f"pools = {pools!r}; there is {', '.join(CHOICES)}")
    groups: dict[tuple[str, Pair], list[ir.Projection]] = {}
    for edge in graph.projections:
        if (pool := _pool_of(graph, edge)) is not None:
            groups.setdefault((edge.pre, pool.kernel), []).append(edge)
    found = tuple(
        _cost(graph, pre, kernel, edges, pools, sent) for (pre, kernel), edges in groups.items()
    )
    nodes, edges = list(graph.order), list(graph.projections)
    for cost in (c for c in found if c.choice == "sum"):
        node, moved = _summed(graph, cost, groups[cost.pre, cost.kernel])
        at = next(i for i, n in enumerate(nodes) if n.name == cost.pre)
        nodes.insert(at + 1, node)
        edges = [moved.get(id(e), e) for e in edges]
        ones = _windows(cost.kernel, node.shape[0])
        edges.append(ir.Projection(cost.pre, node.name, (ones,), dense_macs=0, own=()))
    return graph.replace(nodes, edges), found


def noted(found: Iterable[PoolCost]) -> tuple[dict[str, object], ...]:
    """The pools as the provenance holds them."""
    return tuple(asdict(cost) | {"kernel": list(cost.kernel)} for cost in found)


def _pool_of(graph: ir.SpikingGraph, edge: ir.Projection) -> AvgPool2d | None:
    """The pool of a projection by rule 1."""
    if not graph.node(edge.pre).spikes or not graph.node(edge.post).stages:
        return None
    first = next((m for m in edge.maps if m.kind != "affine"), None)
    return cast(AvgPool2d, first) if first is not None and first.kind == "avg_pool2d" else None


def _summed(
    graph: ir.SpikingGraph, cost: PoolCost, edges: list[ir.Projection]
) -> tuple[ir.Sum, dict[int, ir.Projection]]:
    pool, shape = AvgPool2d(cost.kernel), graph.node(cost.pre).shape
    name = f"{cost.pre}.pool{'x'.join(map(str, cost.kernel))}"
    if any(n.name == name for n in graph.order):
        raise ProgramError(f"{name}: a node has the name of the pool's sum; call it otherwise")
    node = ir.Sum(name, pool.out_shape(shape))
    moved = {id(e): replace(e, pre=name, maps=_behind(e, cost.kernel, shape[0])) for e in edges}
    return node, moved


def _windows(kernel: Pair, channels: int) -> ir.Conv2d:
    """The windows of a pool, with weights of 1."""
    pool = AvgPool2d(kernel).depthwise(channels)
    return pool.with_weight(np.ones_like(pool.weight, np.float32))


def _behind(edge: ir.Projection, kernel: Pair, channels: int) -> tuple[ir.LinearMap, ...]:
    """What follows the sum in place of the average: the factors before it, over its size."""
    at = next(i for i, m in enumerate(edge.maps) if m.kind == "avg_pool2d")
    size, rest = prod(kernel), edge.maps[at + 1 :]
    before = composed(edge.maps[:at])
    if before is None:
        return with_factor(rest, 1 / size, channels)
    return Affine(before.scale / size, before.shift), *rest


# --- what costs less ------------------------------------------------------------------------------


def _cost(
    graph: ir.SpikingGraph,
    pre: str,
    kernel: Pair,
    edges: list[ir.Projection],
    pools: Pools,
    sent: Mapping[str, Array] | None,
) -> PoolCost:
    pool, shape = AvgPool2d(kernel), graph.node(pre).shape
    spikes = np.ones((1, *shape)) if sent is None else np.concatenate(list(sent[pre]))
    windows = _windows(kernel, shape[0]).currents((spikes != 0).astype(np.float64))
    fan_out = sum(_fan_out(edge, pool, shape) for edge in edges)
    inside = windows.sum() / len(spikes)
    payloads = np.count_nonzero(windows) / len(spikes)
    behind = float(((windows != 0) * fan_out).sum() / len(spikes))
    units = float(((windows == 1) * fan_out).sum() / len(spikes))
    folded = float((windows * fan_out).sum() / len(spikes))
    summed_pj = _AC * (inside + units) + _MAC * (behind - units)
    cheaper = "sum" if summed_pj < _AC * folded else "fold"
    choice = cheaper if pools == "auto" else pools
    return PoolCost(
        pre, kernel, choice, sent is not None, folded, float(inside), float(payloads), behind
    )


def _fan_out(edge: ir.Projection, pool: AvgPool2d, shape: tuple[int, ...]) -> Array:
    """Synapses behind each pooled neuron."""
    pooled, found = pool.out_shape(shape), weighted(edge.maps)
    return np.ones(pooled, np.int64) if found is None else found[1].fan_out(pooled)
