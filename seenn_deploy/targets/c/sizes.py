"""What a program takes of a device's memory, by layer."""

from __future__ import annotations

from typing import Any

import numpy as np

from seenn_deploy.targets.c import rules, text
from seenn_deploy.targets.c.memory import placed
from seenn_deploy.targets.c.source import Cost, Source


def table(source: Source, rule: rules.Stopping) -> list[dict[str, Any]]:
    """Bytes of tables (flash), and of state and buffers (RAM), by layer and in sum.

    Buffers of layers share memory, so that their sum is less than that of the layers. Code and
    stack, and the pointers of lists of synapses, depend on the compiler and are not in it.
    """
    rows = []
    for node in source.program.graph.order:
        cost = source.costs.get(node.name, Cost())
        rows.append({"layer": node.name, **vars(cost)})
    logits = 4 + source.program.graph.readout.shape[0] * np.dtype(source.logits).itemsize
    rows.append({"layer": "exit rule and logits", **vars(Cost(rule.bytes, logits))})
    _, shared = placed(source.buffers)
    total = Cost(sum(row["tables"] for row in rows), sum(row["state"] for row in rows), shared)
    return [*rows, {"layer": "in sum", **vars(total)}]


def readme(source: Source, rule: rules.Stopping, about: str) -> str:
    """README.md of the folder."""
    rows = table(source, rule)
    kinds = ("tables", "state", "buffers")
    lines = [
        f"| {text.plain(row['layer'])} | {' | '.join(f'{row[kind]:,}' for kind in kinds)} |"
        for row in rows
    ]
    total = rows[-1]
    return text.runtime(
        "README.md",
        about=about,
        rows="\n".join(lines),
        flash=f"{total['tables']:,}",
        ram=f"{total['state'] + total['buffers']:,}",
    )
