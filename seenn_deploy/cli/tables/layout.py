"""The look of tables: plain text, no wider than what it is printed on, and nothing cut."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, TypeVar

from click import style

T = TypeVar("T")

BESIDE = 55  # columns right of the names of a report, in 80
GAP = 2  # spaces between two columns; one where figures alone would fill the line
_PARTS = r"[^/._-]*[/._-]|[^/._-]+"  # of a name that is longer than a line


class Command(str):
    """A cell with a command line, which can be pasted where it takes several lines, too."""

    __slots__ = ()

    def folded(self, width: int) -> tuple[str, ...]:
        """Break between words, and end every line but the last in a backslash."""
        words = re.findall(r"(?:'[^']*'|[^\s'])+", self)
        lines = _fill(words, " ", width if len(self) <= width else width - 2)
        return (*(f"{line} \\" for line in lines[:-1]), *lines[-1:])


class Table:
    """Rows of cells, under headings if there are any.

    A name or number is never broken: where its column cannot hold it, it takes the rest of a line,
    and its row goes on below.

    Parameters
    ----------
    form : str
        One letter per column: ``t`` for text, which folds between words; ``l`` and ``r`` for what
        stays in one piece, at the left or at the right.
    *headings : str
    spare : int, optional
        Index of the column that is left out where the others need its room.
    """

    def __init__(self, form: str, *headings: str, spare: int | None = None) -> None:
        self.form, self.spare = form, spare
        self.rows: list[tuple[tuple[str, ...], dict[str, Any]]] = []
        if headings:
            self.add(*headings, bold=True)

    def add(self, *cells: str, **look: Any) -> None:
        """Add a row; `look` is what :func:`click.style` takes, such as ``bold=True``."""
        self.rows.append((cells, {k: v for k, v in look.items() if v}))

    def render(self, width: int) -> str:
        """Return the lines of at most `width` characters."""
        if not self.rows:
            return ""
        by_column = zip(*(cells for cells, _ in self.rows), strict=True)
        columns = list(zip(self.form, by_column, strict=True))
        whole = sum(_width(cells) + GAP for _, cells in columns) - GAP
        # By the whole table: a column cannot come and go from row to row.
        if self.spare is not None and whole > width:
            del columns[self.spare]
        form, cells = zip(*columns, strict=True)
        widths, gap = _widths(form, cells, width)
        found = []
        for row, (_, look) in zip(zip(*cells, strict=True), self.rows, strict=True):
            lines = (line.rstrip() for line in _lines(form, row, widths, gap, width))
            found += [style(line, **look) if look else line for line in lines]
        return "\n".join(found)


def _width(cells: Iterable[str]) -> int:
    return max(len(line) for cell in cells for line in cell.split("\n"))


def _widths(
    form: Sequence[str], columns: Sequence[Sequence[str]], width: int
) -> tuple[list[int], int]:
    """Divide the width: what is whole gets what it needs, text shares the rest in few lines.

    The second value is the gap between columns.
    """
    widths = [*map(_width, columns)]
    texts = [i for i, kind in enumerate(form) if kind == "t"]
    room = width - sum(n for n, kind in zip(widths, form, strict=True) if kind != "t")
    gap = GAP if room >= GAP * (len(form) - 1) + len(texts) else 1
    room -= gap * (len(form) - 1)
    rows = list(zip(*(columns[i] for i in texts), strict=True))

    # Tried out, because what a word more or less of room costs depends on where lines break.
    def lines(shares: tuple[int, ...]) -> int:
        return sum(_height(row, shares) for row in rows)

    best = min(_shares([widths[i] for i in texts], room), key=lines)
    for i, share in zip(texts, best, strict=True):
        widths[i] = share
    return widths, gap


def _shares(wanted: list[int], room: int) -> Iterator[tuple[int, ...]]:
    """Yield the ways to divide room among columns, those with a wide first column first."""
    if sum(wanted) <= room or len(wanted) < 2:
        yield tuple(min(n, max(room, 1)) for n in wanted)
        return
    first, *others = wanted
    step = max(1, room // 40)  # in a wide room a few columns more or less do not matter
    for share in range(min(first, max(room - len(others), 1)), 0, -step):
        for rest in _shares(others, room - share):
            yield (share, *rest)


def _height(cells: tuple[str, ...], widths: tuple[int, ...]) -> int:
    """Count a row's lines: those that its columns share, and those of words that fit in none."""
    pieces = [_fold(cell, n) for cell, n in zip(cells, widths, strict=True)]
    long = [sum(len(p) > n for p in found) for found, n in zip(pieces, widths, strict=True)]
    return sum(long) + max((len(p) - n for p, n in zip(pieces, long, strict=True)), default=0)


def _lines(
    form: Sequence[str], cells: Sequence[str], widths: Sequence[int], gap: int, width: int
) -> Iterator[str]:
    left = [
        list(cell.folded(n) if isinstance(cell, Command) else _fold(cell, n))
        for cell, n in zip(cells, widths, strict=True)
    ]
    while any(left):
        line, came = "", False
        for i, (pieces, n) in enumerate(zip(left, widths, strict=True)):
            while pieces and len(pieces[0]) > n:
                for part in _fill(re.findall(_PARTS, pieces.pop(0)), "", width):
                    if len(line) + len(part) > width:
                        yield from [line] if line.strip() else []
                        line = " " * max(0, width - len(part))
                    yield line + part
                    line, came = " " * (sum(widths[:i]) + gap * i), True
            piece = pieces.pop(0) if pieces else ""
            line += (piece.rjust(n) if form[i] == "r" else piece.ljust(n)) + " " * gap
        if line.strip() or not came:
            yield line


# Every way to divide the room folds the same cells again.
@lru_cache(maxsize=100_000)
def _fold(cell: str, width: int) -> tuple[str, ...]:
    """Break a cell between words; a word that is wider than the column is a piece by itself."""
    lines = cell.split("\n")
    return tuple(
        part for x in lines for part in ([x] if len(x) <= width else _fill(x.split(), " ", width))
    )


def _fill(parts: list[str], gap: str, width: int) -> list[str]:
    lines = parts[:1]
    for part in parts[1:]:
        if len(lines[-1]) + len(gap) + len(part) <= width:
            lines[-1] += gap + part
        else:
            lines.append(part)
    return lines


def unproven(why: str) -> Iterator[tuple[str, str]]:
    """The line on top of every table of a program that was not compared with its source."""
    if why:
        yield "not proven", why


def numbers_table(name: str, *headings: str) -> Table:
    """Begin a table of numbers by name."""
    return Table("t" + "r" * len(headings), name, *headings)


def facts_table(rows: Iterable[tuple[str, str]]) -> Table:
    """Make a table with one name and value per line."""
    table = Table("lt")
    for row in rows:
        table.add(*row)
    return table


def shape_text(shape: Iterable[int]) -> str:
    """Write dimensions as 16x32x32."""
    return "x".join(map(str, shape))


def spread(values: Sequence[T], most: int) -> list[T]:
    """Leave `most` of many values, evenly apart, with the first and the last."""
    if len(values) <= most:
        return list(values)
    return [values[round(i * (len(values) - 1) / (most - 1))] for i in range(most)]


def _some(names: list[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (f", .. ({len(names) - most} more)" if names[most:] else "")


def _uj(energy: float) -> str:
    """Write microjoules with three decimals, less than one with three digits."""
    return f"{energy:.3f}" if energy >= 1 or not energy else f"{energy:.3g}"


def _times(ratio: float) -> str:
    """Write a ratio with one decimal, a small one with two digits: never as 0.0."""
    return f"{ratio:.1f}" if ratio >= 1 else f"{ratio:.2g}"
