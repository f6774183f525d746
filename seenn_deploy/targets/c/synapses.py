"""Synapses in C: :func:`lowered` by kind."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import singledispatch

import numpy as np

from seenn_deploy import ir
from seenn_deploy._typing import Array, Shape
from seenn_deploy.targets.c import text
from seenn_deploy.targets.c.layout import Grid
from seenn_deploy.targets.c.source import Source


@dataclass(frozen=True)
class Lowered:
    """Synapses as the runtime takes them.

    Parameters
    ----------
    kind : str
        The function's file in ``runtime/``.
    weight : array
        In the order of that function.
    fields : dict
        Fields of its struct, in order.
    arrays : dict of arrays
        Tables that the struct points to, before the other fields.
    """

    kind: str
    weight: Array
    fields: dict[str, object]
    arrays: dict[str, Array] = field(default_factory=dict)


def add_projection(source: Source, edge: ir.Projection, place: str, sums: str, ctype: str) -> str:
    """Return the C call that adds what arrives by a projection to `sums`.

    Parameters
    ----------
    source : Source
    edge : Projection
    place : str
        Name of the projection among those of its target.
    sums, ctype : str
        Pointer to the sums, and their type.
    """
    graph = source.program.graph
    post, sent = graph.node(edge.post), source.sent[edge.pre]
    found = lowered(edge.synapses, graph.node(edge.pre).shape)
    weight = text.narrowed(found.weight)
    tables = {
        name: source.table(post, f"{place}_{name}", values.dtype.name, values)
        for name, values in found.arrays.items()
    }
    described = source.record(
        post, f"{place}_{found.kind}", f"net_{found.kind}_t", tables | found.fields
    )
    weights = source.table(post, f"{place}_weight", weight.dtype.name, weight)
    types = {"weight": weight.dtype.name, "sum": ctype}
    source.use("row.c", **types)
    source.use(f"{found.kind}.c", **types)
    if sent.kind == "spikes":
        source.use("spikes.c", kind=found.kind, **types)
        name = f"net_{found.kind}_spikes_{types['weight']}_{ctype}"
        how = f"{sent.pointer(edge.lag)}, {sent.grid.words}u"
    else:
        source.use("values.c", kind=found.kind, value=sent.ctype, **types)
        name = f"net_{found.kind}_values_{types['weight']}_{sent.ctype}_{ctype}"
        how = f"{sent.pointer(edge.lag)}, {sent.grid.size}u, {sent.base}"
    return f"{name}(&{described}, {weights}, {how}, {sums});"


@singledispatch
def lowered(synapses: ir.Synapses, in_shape: Shape) -> Lowered:
    """Synapses of a kind as the runtime takes them; by list where the kind registers nothing."""
    return lowered(ir.Sparse.listing(synapses, in_shape), in_shape)


@lowered.register
def _(conv: ir.Conv2d, in_shape: Shape) -> Lowered:
    c_out, height, width = conv.out_shape(in_shape)
    group_outs, (k_y, k_x) = c_out // conv.groups, conv.weight.shape[2:]
    split = conv.weight.reshape(conv.groups, group_outs, *conv.weight.shape[1:])
    weight = split.transpose(0, 2, 3, 4, 1)  # group, channel, taps, outs: an event reads rows
    fields: dict[str, object] = {
        "channels": in_shape[0], "width": in_shape[2], "group_channels": conv.weight.shape[1],
        "group_outs": group_outs, "out_channels": c_out, "out_height": height, "out_width": width,
        "kernel_y": k_y, "kernel_x": k_x, "stride_y": conv.stride[0], "stride_x": conv.stride[1],
        "padding_y": conv.padding[0], "padding_x": conv.padding[1],
        "dilation_y": conv.dilation[0], "dilation_x": conv.dilation[1],
    }  # fmt: skip
    return Lowered("conv", weight, fields)


@lowered.register
def _(dense: ir.Dense, in_shape: Shape) -> Lowered:
    rows = np.empty_like(dense.weight.T)
    rows[Grid(in_shape).places] = dense.weight.T
    return Lowered("dense", rows, {"outs": len(dense.weight)})


@lowered.register
def _(pooled: ir.PooledDense, in_shape: Shape) -> Lowered:
    channels, height, width = in_shape
    k_y, k_x = pooled.kernel
    weight = pooled.weight.reshape(-1, channels, height // k_y, width // k_x)
    fields: dict[str, object] = {
        "channels": channels, "width": width, "window_y": k_y, "window_x": k_x,
        "outs": len(pooled.weight),
    }  # fmt: skip
    return Lowered("pooled", weight.transpose(2, 3, 1, 0), fields)


@lowered.register
def _(sparse: ir.Sparse, in_shape: Shape) -> Lowered:
    before, after = Grid(in_shape), Grid(sparse.shape_out)
    source = np.empty(before.size, np.int64)
    source[before.places] = np.arange(before.size)
    length = np.diff(sparse.indptr)[source]
    first = np.concatenate(([0], np.cumsum(length)))
    take = np.repeat(sparse.indptr[:-1][source] - first[:-1], length) + np.arange(first[-1])
    target = after.places[sparse.targets[take]]
    bits = 16 if after.size <= 1 << 16 else 32
    arrays = {"first": first.astype(np.uint32), "target": target.astype(f"uint{bits}")}
    return Lowered(f"list{bits}", sparse.weight[take], {}, arrays)


@lowered.register
def _(identity: ir.Identity, in_shape: Shape) -> Lowered:
    return Lowered("identity", identity.weight.reshape(1), {"neurons": Grid(in_shape).size})
