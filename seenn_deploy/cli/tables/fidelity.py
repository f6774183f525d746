"""Fidelity reports as tables for a terminal: approximations one by one, the rest counted."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import accumulate

from seenn_deploy.cli.tables.layout import Table
from seenn_deploy.fidelity import FidelityReport, Finding

_NUMBER = re.compile(r"(\d+(?:\.\d+)?(?:e[+-]?\d+)?)")
_MOST = 60  # characters of places that are named where the same was done in many


def fidelity_table(report: FidelityReport) -> Table:
    """Make a table of status, place, change and size; faithful findings share one line."""
    table = Table("lttt", "status", "where", "what", "by how much")
    for row in _rows(report):
        table.add(*row)
    return table


def _rows(report: FidelityReport) -> Iterator[tuple[str, str, str, str]]:
    kept = [f for f in report.findings if f.status == "faithful"]
    if kept:
        assumed = sum(f.where == "assumed" for f in kept)
        text = "the same arithmetic" + (f"; {assumed} of them assumed" if assumed else "")
        yield "faithful", f"{len(kept)} finding" + "s" * (len(kept) > 1), text, "rounding at most"
    groups: dict[tuple[str, ...], list[Finding]] = {}
    for finding in report.findings:
        if finding.status != "faithful":
            # What differs in its numbers alone is one finding about many layers.
            words = (_NUMBER.sub("0", text) for text in (finding.what, finding.by))
            groups.setdefault((finding.status, *words), []).append(finding)
    for (status, *_), found in groups.items():
        what, by = _in_one([f.what for f in found]), _in_one([f.by for f in found])
        yield status, _places([f.where for f in found]), what, by


def _in_one(texts: list[str]) -> str:
    """Merge texts that differ only in numbers into one, with ranges for the numbers."""
    parts = zip(*map(_NUMBER.split, texts), strict=True)
    ends = ((min(p, key=float), max(p, key=float)) if len({*p}) > 1 else p[:1] for p in parts)
    return "".join(map(" to ".join, ends))


def _places(names: list[str]) -> str:
    """Return the first names that fit into one line, at least one of them."""
    lengths = accumulate(len(name) + 2 for name in names)
    shown = names[: max(1, sum(length <= _MOST for length in lengths))]
    left = len(names) - len(shown)
    return ", ".join(shown) + (f", .. ({left} more)" if left else "")
