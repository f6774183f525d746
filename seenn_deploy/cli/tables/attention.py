"""The energy of attention as a table: exact, and as papers count it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from seenn_deploy.cli.tables.layout import Table, _uj, facts_table, numbers_table
from seenn_deploy.costs.published import Convention

_NAMES = {
    "exact": "exact, by element", "dense": "papers, dense", "rate": "papers, by rate",
    "none": "papers, without attention",
}  # fmt: skip


def attention_tables(
    found: Mapping[str, Convention], what: str = "attention, up to the exit"
) -> Iterator[Table | str]:
    """Yield the table and its sources; nothing for a network without attention."""
    if not found:
        return
    table = numbers_table(what, "attention uJ", "all else uJ", "sum uJ")
    for name, one in found.items():
        table.add(_NAMES[name], _uj(1e6 * one.attention), _uj(1e6 * one.rest), _uj(1e6 * one.total))
    yield table
    yield facts_table((name, one.source) for name, one in found.items() if one.source)
    yield ""
