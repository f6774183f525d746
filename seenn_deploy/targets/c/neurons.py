"""Neurons in C: their constants, and the call that lets them fire."""

from __future__ import annotations

from typing import Any

import numpy as np

from seenn_deploy import ir
from seenn_deploy._typing import Array
from seenn_deploy.errors import ProgramError
from seenn_deploy.ir.fixed_point import SHIFT, STATE, UNITY
from seenn_deploy.targets.c import text
from seenn_deploy.targets.c.layout import Grid, dictionary
from seenn_deploy.targets.c.ranges import WORD, potentials
from seenn_deploy.targets.c.source import Source

BIAS = 1 << 24  # a larger one could leave 32 bits with the current that it joins


def add_neurons(source: Source, node: ir.Population, sums: str, ctype: str, bias: Array) -> None:
    """Add the neurons themselves, behind their currents."""
    bias = whole(node, "bias", bias)
    values = [*_constants(node), bias]
    alike = all(np.ndim(v) == 0 for v in values[:-1]) and not np.any(node.tau_syn)
    source.use("arriving.c")
    sent = source.sent[node.name].pointer(0)
    add = _add_alike if alike and np.abs(bias).max() < BIAS else _add_each
    call = add(source, node, sums, ctype, sent, bias)
    seen = f"NET_SEEN({source.number[node.name]}, {sent});"
    source.steps[node.name] += [call, seen]


def _add_alike(
    source: Source, node: ir.Population, sums: str, ctype: str, sent: str, bias: Array
) -> str:
    """Add neurons that differ in their bias alone; return the call of a timestep."""
    grid, T = Grid(node.shape), source.program.T
    found = potentials(node.with_bias(bias), source.ranges.arriving(node), T)
    keep, threshold, taken = (int(v) for v in _constants(node)[1:4])
    bits = 12
    while keep and keep % 2 == 0 and bits:
        keep, bits = keep // 2, bits - 1
    # What is added is 32 bits at most where it may wrap, and 24 else.
    narrow = found is not None and max(found.size, STATE) + found.size * max(keep, 1) <= WORD
    wide = "int32" if narrow else "int64"
    v = "int32" if found is None else text.narrowest(found.low, found.high)
    for file in ("toward_zero.c", "clipped.c"):
        source.use(file, wide=wide)
    table, row, unit = _bias(bias, grid)
    source.use("fire.c", bias=table.dtype.name, sum=ctype, v=v, wide=wide)
    state = source.member(node, "v", v, grid.size)
    source.potentials[node.name] = v
    if node.v_init:
        source.begin += [
            f"for (uint32_t i = 0; i < {grid.size}u; ++i) {{",
            f"    {state}[i] = {int(node.v_init)};",
            "}",
        ]
    how = source.record(
        node, "fire", "net_fire_t",
        {"pixels": grid.pixels, "channels": grid.channels, "keep": keep, "keep_bits": bits,
         "threshold": threshold, "subtracted": taken, "soft": int(node.reset == "soft"),
         "bias_unit": unit},
    )  # fmt: skip
    biases = source.table(node, "bias", table.dtype.name, table)
    rows = table_of_rows(source, node, row)
    name = f"net_fire_{table.dtype.name}_{ctype}_{v}_{wide}"
    return f"{name}(&{how}, {biases}, {rows}, {sums}, {state}, {sent});"


def _add_each(
    source: Source, node: ir.Population, sums: str, ctype: str, sent: str, bias: Array
) -> str:
    """Add neurons with constants of their own, or synaptic currents; return a timestep's call."""
    grid = Grid(node.shape)
    keep_current, keep, threshold, taken, start = (
        np.broadcast_to(v, grid.shape) for v in _constants(node)
    )
    columns = [np.broadcast_to(bias, grid.shape), keep_current, keep, threshold, taken, start]
    table, row = dictionary(
        np.stack([text.narrowed(c).astype(np.int32) for c in columns], -1), grid
    )
    name = source.structs(node, "neuron", "net_neuron_t", table.reshape(-1, len(columns)))
    for file in ("toward_zero.c", "clipped.c"):
        source.use(file, wide="int64")
    source.use("start_each.c")
    source.use("fire_each.c", sum=ctype)
    v = source.member(node, "v", "int32", grid.size)
    source.potentials[node.name] = "int32"
    u = source.member(node, "u", "int32", grid.size) if np.any(node.tau_syn) else "NULL"
    rows = table_of_rows(source, node, row)
    how = source.record(
        node, "fire", "net_fire_each_t",
        {"pixels": grid.pixels, "channels": grid.channels, "soft": int(node.reset == "soft")},
    )  # fmt: skip
    source.begin.append(f"net_start_each(&{how}, {name}, {rows}, {v});")
    return f"net_fire_each_{ctype}(&{how}, {name}, {rows}, {sums}, {u}, {v}, {sent});"


def _constants(node: ir.Population) -> list[Array]:
    """Leaks in 4096ths, threshold and what a soft reset subtracts at the scale of v, the start."""
    keep_current, keep = (np.rint(UNITY * np.asarray(x)) for x in (node.tau_syn, node.tau))
    levels = (node.v_threshold, node.subtracted)
    threshold, taken = (np.asarray(x).astype(np.int64) << SHIFT for x in levels)
    # Of whole numbers v >= V is v > V - 1, so that one comparison is enough.
    threshold = threshold - (node.comparison == ">=")
    return [keep_current, keep, threshold, taken, whole(node, "v_init", node.v_init)]


def _bias(bias: Array, grid: Grid) -> tuple[Array, Array | None, int]:
    """Biases as narrow mantissas by distinct pixel, the pixels' rows, and the mantissas' unit."""
    unit = 1
    while np.any(bias) and not np.any(bias % (2 * unit)):
        unit *= 2
    table, row = dictionary(text.narrowed(bias // unit)[..., None], grid)
    return table, row, unit


def table_of_rows(source: Source, node: ir.Node, row: Array | None, number: int = 1) -> str:
    """The table that says which row of constants each pixel takes; none where all take one."""
    return "NULL" if row is None else source.table(node, f"row{number}", "uint16", row)


def whole(node: ir.Node, what: str, values: Any) -> Array:
    """Values of a node as int64.

    Raises
    ------
    ProgramError
        When one is no whole number; `what` names them there.
    """
    rounded = np.asarray(values).astype(np.int64)
    if not np.array_equal(rounded, values):
        raise ProgramError(f"{node.name}: {what} is no whole number")
    return rounded
