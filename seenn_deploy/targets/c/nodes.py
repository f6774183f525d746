"""Nodes in C: :func:`add_layer` by kind."""

from __future__ import annotations

from functools import singledispatch
from math import prod

import numpy as np

from seenn_deploy import ir
from seenn_deploy.errors import ProgramError
from seenn_deploy.ir.bounds import Interval
from seenn_deploy.ir.fixed_point import SHIFT, UNITY
from seenn_deploy.targets.c import text
from seenn_deploy.targets.c.layout import Grid, dictionary
from seenn_deploy.targets.c.neurons import add_neurons, table_of_rows, whole
from seenn_deploy.targets.c.ranges import WORD, logits
from seenn_deploy.targets.c.source import Sent, Source
from seenn_deploy.targets.c.synapses import add_projection


def add_source(source: Source) -> None:
    """The input: taken from the caller, or copied where later timesteps need it."""
    node, found = source.program.graph.source, source.ranges.input
    grid, ctype, base = Grid(node.shape), *input_type(found)
    if not source.lag(node.name):
        source.sent[node.name] = Sent("values", "frame", ctype, grid, base)
        return
    kept = "int32" if found is None else text.narrowest(found.low, found.high)
    source.output(node, kept, grid.size)
    at = source.sent[node.name].pointer(0)
    source.steps[node.name] = [
        f"for (uint32_t i = 0; i < {grid.size}u; ++i) {{",
        f"    {at}[i] = ({kept}_t)((int32_t)frame[i] + {base});",
        "}",
    ]


def input_type(found: Interval | None) -> tuple[str, int]:
    """The type of the caller's input, and what is added to it: pixels are taken as bytes."""
    if found is not None:
        for ctype in ("uint8", "uint16"):
            if found.high - found.low <= np.iinfo(ctype).max:
                return ctype, found.low
    return "int32", 0


@singledispatch
def sending(node: ir.Node, source: Source) -> tuple[str, int] | None:
    """The type and number of what a layer sends, masks of spikes by default; None of a readout.

    It is known for all layers before the first is made, because of feedback.
    """
    return "uint32", Grid(node.shape).words


@sending.register
def _(node: ir.Readout, source: Source) -> tuple[str, int] | None:
    return None


@sending.register
def _(node: ir.Sum, source: Source) -> tuple[str, int] | None:
    return source.sums_type(source.ranges.arriving(node)), Grid(node.shape).size


@sending.register
def _(node: ir.Product, source: Source) -> tuple[str, int] | None:
    made = source.ranges.sent(node)
    limited = made is not None and source.ranges.arriving(node) is not None
    ctype = text.narrowest(made.low, made.high) if made and limited else "int32"
    return ctype, Grid(node.shape).size


@singledispatch
def add_layer(node: ir.Node, source: Source) -> None:
    """Add a layer's tables, state and code; a new kind registers its own."""
    raise ProgramError(f"{node.name}: target c has no form for a {node.kind} node")


@add_layer.register
def _(node: ir.Sum, source: Source) -> None:
    sent = source.sent[node.name]
    source.steps[node.name] = _arriving(source, node, sent.pointer(0), sent.ctype)


@add_layer.register
def _(node: ir.Product, source: Source) -> None:
    bias = whole(node, "bias", node.bias)
    sent = source.sent[node.name]
    ctype = source.sums_type(source.ranges.arriving(node), (int(bias.min()), int(bias.max())))
    factors = source.buffer(node, "factors", ctype, prod(node.arriving))
    table = source.table(node, "bias", ctype, np.broadcast_to(bias, node.arriving).astype(ctype))
    left, right, at = node.as_matrices(Grid(node.shape).places)
    place = "uint16" if max(prod(node.arriving), at.size) <= 1 << 16 else "uint32"
    places = [
        source.table(node, name, place, found)
        for name, found in (("left", left), ("right", right), ("made", at))
    ]
    how = source.record(
        node, "product", "net_product_t",
        {"groups": len(left), "rows": left.shape[1], "summed": left.shape[2],
         "columns": right.shape[2]},
    )  # fmt: skip
    source.use("product.c", sum=ctype, place=place, value=sent.ctype)
    source.steps[node.name] = [
        *_arriving(source, node, factors, ctype, start=table),
        f"net_product_{ctype}_{place}_{sent.ctype}"
        f"(&{how}, {', '.join(places)}, {factors}, {sent.pointer(0)});",
    ]


@add_layer.register
def _(node: ir.Population, source: Source) -> None:
    ctype = source.sums_type(source.ranges.arriving(node))
    sums = source.buffer(node, "sums", ctype, Grid(node.shape).size)
    source.steps[node.name] = _arriving(source, node, sums, ctype)
    add_neurons(source, node, sums, ctype, node.bias)


@add_layer.register
def _(node: ir.Maximum, source: Source) -> None:
    grid, before = Grid(node.shape), Grid(node.arriving)
    bias = whole(node, "bias", node.bias)
    # One that is the same within every channel may come behind the maximum; any other comes before,
    # in units of currents.
    within = bias.size == 1 or bias.shape[-2:] == (1, 1)
    ahead = np.zeros(1, np.int64) if within else bias >> SHIFT
    if np.any(ahead << SHIFT != bias) and not within:
        raise ProgramError(f"{node.name}: a bias before a max pool is no whole number of currents")
    ctype = source.sums_type(source.ranges.arriving(node), (int(ahead.min()), int(ahead.max())))
    sums = source.buffer(node, "sums", ctype, before.size)
    largest = source.buffer(node, "largest", ctype, grid.size)
    added = "NULL, NULL"
    source.use("row.c", weight=ctype, sum=ctype)
    if not within:
        table, row = dictionary(ahead[..., None], before)
        added = ", ".join(
            [source.table(node, "ahead", ctype, table), table_of_rows(source, node, row, 2)]
        )
    pool: dict[str, object] = {
        "channels": before.channels, "height": before.height, "width": before.width,
        "out_height": grid.height, "out_width": grid.width,
    } | {
        f"{name}_{axis}": getattr(node, name)[i]
        for name in ("window", "stride", "padding") for i, axis in enumerate("yx")
    }  # fmt: skip
    how = source.record(node, "pool", "net_pool_t", pool)
    source.use("largest.c", sum=ctype)
    source.steps[node.name] = [
        *_arriving(source, node, sums, ctype),
        f"net_largest_{ctype}(&{how}, {added}, {sums}, {largest});",
    ]
    add_neurons(source, node, largest, ctype, bias if within else np.zeros((), np.int64))


@add_layer.register
def _(node: ir.Readout, source: Source) -> None:
    arriving, grid = source.ranges.arriving(node), Grid(node.shape)
    ctype = source.sums_type(arriving)
    sums = source.buffer(node, "sums", ctype, grid.size)
    bias = np.broadcast_to(whole(node, "bias", node.bias), node.shape)
    biases = source.table(node, "bias", "int32", text.narrowed(bias))
    source.steps[node.name] = _arriving(source, node, sums, ctype)
    if np.all(node.tau == 1) and not np.any(node.tau_syn):
        most = logits(node.with_bias(bias), arriving, source.program.T)
        z = "int32" if most is not None and most <= WORD else "int64"
        source.use("logits.c", sum=ctype, z=z)
        call = f"net_logits_{ctype}_{z}({biases}, {sums}, net->z);"
    else:
        z = "int64"
        keeps = [
            source.table(
                node,
                name,
                "int16",
                np.broadcast_to(np.rint(UNITY * np.asarray(x)), node.shape).astype(np.int16),
            )
            for name, x in (("keep_current", node.tau_syn), ("keep", node.tau))
        ]
        u = source.member(node, "u", "int64", grid.size)
        source.use("toward_zero.c", wide="int64")
        source.use("logits_leaky.c", sum=ctype)
        call = f"net_logits_leaky_{ctype}({biases}, {', '.join(keeps)}, {sums}, {u}, net->z);"
    source.logits = z
    source.steps[node.name].append(call)


def _arriving(source: Source, node: ir.Node, sums: str, ctype: str, start: str = "") -> list[str]:
    """The code that adds up what arrives at a layer; the image's part is computed once."""
    graph, size = source.program.graph, Grid(node.arriving).size
    bytes_ = f"{size}u * sizeof({ctype}_t)"
    edges = [(f"edge{i}", e) for i, e in enumerate(graph.into(node.name))]
    image = [pair for pair in edges if graph.node(pair[1].pre).analog]
    if image:
        kept = source.member(node, "image", ctype, size)
        for place, edge in image:
            source.first += _added(source, node, edge, place, kept, ctype)
        start = kept
    code = (
        f"(void)memcpy({sums}, {start}, {bytes_});"
        if start
        else f"(void)memset({sums}, 0, {bytes_});"
    )
    lines = [code]
    for place, edge in edges:
        # What is sent later than T never arrives.
        if not graph.node(edge.pre).analog and edge.lag < source.program.T:
            lines += _added(source, node, edge, place, sums, ctype)
    return lines


def _added(
    source: Source, node: ir.Node, edge: ir.Projection, place: str, sums: str, ctype: str
) -> list[str]:
    if not source.ranges.wraps(edge):
        return [add_projection(source, edge, place, sums, ctype)]
    size = Grid(node.arriving).size
    alone = source.buffer(node, f"{place}_alone", "int32", size)
    source.use("wrap24.c")
    return [
        f"(void)memset({alone}, 0, {size}u * sizeof(int32_t));",
        add_projection(source, edge, place, alone, "int32"),
        f"net_wrap24({alone}, {size}u, {sums});",
    ]
