"""Tables for notebooks. Every cell is escaped: names come from files that others wrote."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape


def table(title: str, header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Write a table as HTML, with its title in bold above it."""
    head = _row("th", header) if header else ""
    body = "".join(_row("td", row) for row in rows)
    return f"<div><b>{escape(title)}</b><table>{head}{body}</table></div>"


def _row(tag: str, cells: Sequence[object]) -> str:
    return "<tr>" + "".join(f"<{tag}>{escape(str(cell))}</{tag}>" for cell in cells) + "</tr>"
