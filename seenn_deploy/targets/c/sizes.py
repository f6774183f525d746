"""What a program takes of a device's memory, by layer."""

from __future__ import annotations

from typing import Any

import numpy as np

from seenn_deploy.targets.c import text
from seenn_deploy.targets.c.budget import Board, kept_free
from seenn_deploy.targets.c.memory import placed
from seenn_deploy.targets.c.source import Cost, Policy, Source, Stopping


def table(source: Source, rule: Stopping) -> list[dict[str, Any]]:
    """Bytes of tables (flash), and of state and buffers (RAM), by layer and in sum.

    Buffers of layers share memory, so that their sum is less than that of the layers. Code and
    stack, and the pointers of lists of synapses, depend on the compiler and are not in it.
    """
    rows = []
    for node in source.program.graph.order:
        cost = source.costs.get(node.name, Cost())
        rows.append({"layer": node.name, **vars(cost)})
    if source.policy:
        rows.insert(0, {"layer": "policy network", **vars(_of_policy(source, source.policy))})
    logits = 4 + source.program.graph.readout.shape[0] * np.dtype(source.logits).itemsize
    rows.append({"layer": "exit rule and logits", **vars(Cost(rule.bytes, logits))})
    _, shared = placed(source.buffers)
    total = Cost(sum(row["tables"] for row in rows), sum(row["state"] for row in rows), shared)
    return [*rows, {"layer": "in sum", **vars(total)}]


def _of_policy(source: Source, policy: Policy) -> Cost:
    """Of a policy network, whose operations share their memory among themselves, too."""
    parts = [source.costs[name] for name in policy.owners if name in source.costs]
    turns = {source.number[name] for name in policy.owners}
    _, shared = placed([buffer for buffer in source.buffers if buffer.first in turns])
    return Cost(sum(part.tables for part in parts), 4 + 4 * policy.choices, shared)


def readme(source: Source, rule: Stopping, about: str) -> str:
    """README.md of the folder."""
    rows = table(source, rule)
    kinds = ("tables", "state", "buffers")
    lines = [
        f"| {text.plain(row['layer'])} | {' | '.join(f'{row[kind]:,}' for kind in kinds)} |"
        for row in rows
    ]
    total, policy = rows[-1], source.policy is not None
    enough = [name for name in Board.names() if not Board.read(name).lacks(total, policy)]
    return text.runtime(
        "README.md",
        about=about,
        rows="\n".join(lines),
        flash=f"{total['tables']:,}",
        ram=f"{total['state'] + total['buffers']:,}",
        **{f"kept_{memory}": f"{size:,}" for memory, size in kept_free(policy).items()},
        boards=", ".join(enough) or "none of those that `--board` knows",
    )
