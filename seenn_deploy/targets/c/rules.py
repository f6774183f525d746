"""Exit rules in C: :func:`stopping` by kind of integer rule."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import singledispatch

import numpy as np

from seenn_deploy import ir
from seenn_deploy.errors import ProgramError
from seenn_deploy.exits import integer
from seenn_deploy.targets.c import text


@dataclass(frozen=True)
class Stopping:
    """An exit rule in C.

    Parameters
    ----------
    function : str
        The function ``net_confident``.
    declarations, tables : str
        What weights.h and weights.c have for it.
    bytes : int
        Of its tables.
    """

    function: str
    declarations: str = ""
    tables: str = ""
    bytes: int = field(default=0)


def lowered(program: ir.Program) -> Stopping:
    """The exit rule of a program.

    Raises
    ------
    ProgramError
        When a network decides, or the rule has no form in C.
    """
    rule = program.exit_rule
    if rule.name == "policy":
        raise ProgramError(
            "exit rule policy: target c has no form for its network yet; use confidence, margin or "
            "fixed"
        )
    return stopping(program.integer_rule())


@singledispatch
def stopping(rule: integer.IntegerRule) -> Stopping:
    """An integer rule in C; a rule of a plugin registers its own."""
    raise ProgramError(f"exit rule {type(rule).__name__}: target c has no form for it")


@stopping.register
def _(rule: integer.Never) -> Stopping:
    return Stopping(text.runtime("never.c"))


@stopping.register
def _(rule: integer.ByMargin) -> Stopping:
    limits = rule.limits
    declarations = (
        f"#define NET_ONE_CLASS_LEAD INT64_C({integer.LARGEST})\n"
        f"extern const int64_t net_margins[{len(limits)}];\n"
    )
    tables = text.table("int64_t", "net_margins", limits)
    return Stopping(text.runtime("margin.c"), declarations, tables, 8 * len(limits))


@stopping.register
def _(rule: integer.ByTable) -> Stopping:
    distinct = sorted(set(rule.scales))
    which = np.array([distinct.index(scale) for scale in rule.scales])
    declarations = (
        f"#define NET_EXIT_LIMIT UINT64_C({rule.limit})\n"
        f"#define NET_EXIT_SHIFT {rule.shift}\n"
        f"#define NET_EXIT_ROUNDING {1 << rule.shift >> 1}u\n"
        "typedef struct {\n    uint32_t length;\n    const uint32_t *units;\n"
        "} net_exponentials_t;\n"
        f"extern const net_exponentials_t net_exponentials[{len(distinct)}];\n"
        f"extern const uint16_t net_exponentials_at[{len(which)}];\n"
    )
    parts, rows, size = [], [], 2 * len(which)
    for number, units in enumerate(rule.tables):
        parts.append("static " + text.table("uint32_t", f"net_exponentials_{number}", units))
        rows.append(f"    {{{len(units)}, net_exponentials_{number}}}")
        size += 4 * len(units) + 8
    listed = ",\n".join(rows)
    parts.append(
        f"const net_exponentials_t net_exponentials[{len(distinct)}] = {{\n{listed}\n}};\n"
    )
    parts.append(text.table("uint16_t", "net_exponentials_at", which))
    return Stopping(text.runtime("confidence.c"), declarations, "\n".join(parts), size)
