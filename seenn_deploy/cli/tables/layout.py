"""The look of tables, and of the shapes and figures in them."""

from __future__ import annotations

import re
from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

BESIDE = 75  # columns right of the names of a report


def shape_text(shape: Iterable[int]) -> str:
    """Write dimensions as 16x32x32."""
    return "x".join(map(str, shape))


class Name:
    """A layer's name in a table, which breaks behind / . _ - where it does not fit in one line."""

    def __init__(self, name: str) -> None:
        self.parts = re.findall(r"[^/._-]*[/._-]|[^/._-]+", name)

    def __rich_measure__(self, _: Console, options: ConsoleOptions) -> Measurement:
        lengths = [*map(len, self.parts), 0]
        return Measurement(max(lengths), sum(lengths)).with_maximum(options.max_width)

    def __rich_console__(self, _: Console, options: ConsoleOptions) -> RenderResult:
        lines = [""]
        for part in self.parts:
            if lines[-1] and len(lines[-1]) + len(part) > options.max_width:
                lines.append("")
            lines[-1] += part
        yield Text("\n".join(lines), overflow="fold")


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
    """Make a table with one name and value per line."""
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
