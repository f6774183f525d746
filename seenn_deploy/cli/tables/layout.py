"""How tables look, and how shapes and figures are written in them."""

from __future__ import annotations

from collections.abc import Iterable

from rich.table import Table

BESIDE = 75  # columns right of the names of a report


def shape_text(shape: Iterable[int]) -> str:
    """Dimensions as 16x32x32."""
    return "x".join(map(str, shape))


def _numbers(name: str, *headings: str) -> Table:
    """A table of numbers by name; a long name takes several lines, no number is cut."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column(name, overflow="fold")
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _some(names: list[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (f", .. ({len(names) - most} more)" if names[most:] else "")


def facts_table(rows: Iterable[tuple[str, str]]) -> Table:
    """Name and value, one a line."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, value)
    return table


def _uj(energy: float) -> str:
    """Three decimals, and three digits of small networks."""
    return f"{energy:.3f}" if energy >= 1 or not energy else f"{energy:.3g}"


def _times(ratio: float) -> str:
    """One decimal, and two digits of a small one: never 0.0."""
    return f"{ratio:.1f}" if ratio >= 1 else f"{ratio:.2g}"
