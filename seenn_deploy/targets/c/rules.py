"""Exit rules in C: :func:`stopping` by kind of integer rule."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Context, Decimal, localcontext
from functools import singledispatch

import numpy as np

from seenn_deploy._typing import Array
from seenn_deploy.errors import ProgramError
from seenn_deploy.exits import integer
from seenn_deploy.targets.c import policy, text
from seenn_deploy.targets.c.source import Source, Stopping


def lowered(source: Source) -> Stopping:
    """The exit rule of a program; a policy network has tables and memory in `source`.

    Raises
    ------
    ProgramError
        When the rule has no form in C.
    """
    program = source.program
    if program.policy is not None:
        return policy.lowered(source, program.policy)
    if program.exit_rule.name == "policy":
        raise ProgramError(
            "exit rule policy: this program was compiled before policy networks had integers; "
            "give the network again with --policy"
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
    pairs = zip(distinct, rule.tables, strict=True)
    factors = [_factored(scale * 2**rule.shift, units) for scale, units in pairs]
    found = [f for f in factors if f is not None]
    # One function looks up all of them.
    form = _products(found) if len(found) == len(factors) else _flat(rule.tables)
    declarations = (
        f"#define NET_EXIT_LIMIT UINT64_C({rule.limit})\n"
        f"#define NET_EXIT_SHIFT {rule.shift}\n"
        f"#define NET_EXIT_ROUNDING {1 << rule.shift >> 1}u\n"
        f"{form.declarations}"
        f"extern const net_exponentials_t net_exponentials[{len(distinct)}];\n"
        f"extern const uint16_t net_exponentials_at[{len(which)}];\n"
    )
    tables = form.tables + text.table("uint16_t", "net_exponentials_at", which)
    function = f"{form.function}\n{text.runtime('confidence.c')}"
    return Stopping(function, declarations, tables, form.bytes + 2 * len(which))


@dataclass(frozen=True)
class _Factors:
    """A table of exponentials as products: that of d is ``coarse[d >> bits] fine[d % 2^bits]``.

    Factors are in units of 2^-63; the upper half of their product is rounded to 2^-24.
    """

    length: int
    bits: int
    coarse: list[int]
    fine: list[int]

    @property
    def bytes(self) -> int:
        return 8 * (len(self.coarse) + len(self.fine))

    def product(self, d: int) -> int:
        """The exponential as C computes it."""
        factors = self.coarse[d >> self.bits] * self.fine[d & ((1 << self.bits) - 1)]
        return ((factors >> 64) + (1 << 37)) >> 38


def _factored(scale: float, units: Array) -> _Factors | None:
    """The factors of a table; None where they are no smaller, or a product is another number.

    Tables have an entry for each difference of two logits, which may be very fine.
    """
    bits = len(units).bit_length() // 2
    lengths = (-(-len(units) >> bits), 1 << bits)
    # In decimals, because the last bit of a float's exponential is another one on every machine.
    with localcontext(Context(prec=40)):
        coarse, fine = (
            [int((-Decimal(scale) * (i << shift)).exp() * 2**63) for i in range(n)]
            for n, shift in zip(lengths, (bits, 0), strict=True)
        )
    found = _Factors(len(units), bits, coarse, fine)
    if found.bytes >= 4 * len(units):
        return None
    same = all(found.product(d) == unit for d, unit in enumerate(units.tolist()))
    return found if same else None


def _products(factors: list[_Factors]) -> Stopping:
    declarations = (
        "typedef struct {\n    uint32_t length;\n    uint32_t fine_bits;\n"
        "    const uint64_t *coarse;\n    const uint64_t *fine;\n} net_exponentials_t;\n"
    )
    parts, rows = [], []
    for number, found in enumerate(factors):
        names = [f"net_exponentials_{number}_{kind}" for kind in ("coarse", "fine")]
        for name, values in zip(names, (found.coarse, found.fine), strict=True):
            parts.append("static " + text.wide_table(name, values))
        rows.append(f"{{{found.length}, {found.bits}, {names[0]}, {names[1]}}}")
    parts.append(_listed(rows))
    size = sum(found.bytes + 16 for found in factors)
    return Stopping(text.runtime("exponential_product.c"), declarations, "\n".join(parts), size)


def _flat(tables: tuple[Array, ...]) -> Stopping:
    declarations = (
        "typedef struct {\n    uint32_t length;\n    const uint32_t *units;\n"
        "} net_exponentials_t;\n"
    )
    parts, rows = [], []
    for number, units in enumerate(tables):
        name = f"net_exponentials_{number}"
        parts.append("static " + text.table("uint32_t", name, units))
        rows.append(f"{{{len(units)}, {name}}}")
    parts.append(_listed(rows))
    size = sum(4 * len(units) + 8 for units in tables)
    return Stopping(text.runtime("exponential_table.c"), declarations, "\n".join(parts), size)


def _listed(rows: list[str]) -> str:
    body = ",\n    ".join(rows)
    return f"const net_exponentials_t net_exponentials[{len(rows)}] = {{\n    {body}\n}};\n\n"
