"""Pieces of C: numbers, tables, identifiers, and the templates of ``runtime/``."""

from __future__ import annotations

import re
from importlib.resources import files
from string import Template

import numpy as np

from seenn_deploy._typing import Array
from seenn_deploy.errors import ProgramError

LINE = 98  # characters
INTEGERS = ("int8", "int16", "int32")
# With _t behind it, a type of C's headers, or of POSIX's that firmware often includes.
_TYPES = re.compile(
    r"u?int(_least|_fast)?(8|16|32|64)|u?int(max|ptr)|s?size|ptrdiff|max_align|sig_atomic"
    r"|wchar|wint|wctype|wctrans|mbstate|char(8|16|32)|fpos|off|time|clock|suseconds|pid"
    r"|(imax|l|ll)?div|float|double|fenv|fexcept|cnd|mtx|tss|thrd"
)


def narrowest(low: int, high: int) -> str:
    """The narrowest signed type that holds low..high; int32, whose sums wrap, where none does."""
    fits = (k for k in INTEGERS if np.iinfo(k).min <= low and high <= np.iinfo(k).max)
    return next(fits, "int32")


def narrowed(values: Array) -> Array:
    """Whole numbers in the narrowest signed type that holds all of them.

    Raises
    ------
    ProgramError
        When some are no whole numbers of 32 bits.
    """
    whole = np.rint(np.asarray(values, np.float64)).astype(np.int64)
    limit = np.iinfo(np.int32)
    if not np.array_equal(whole, values):
        raise ProgramError(f"{values.flat[(whole != values).argmax()]} is no whole number")
    low, high = int(whole.min(initial=0)), int(whole.max(initial=0))
    if low < limit.min or high > limit.max:
        raise ProgramError(f"{low if low < limit.min else high} takes more than 32 bits")
    return whole.astype(narrowest(low, high))


def runtime(name: str, **types: str) -> str:
    """A function of ``runtime/`` for the given types."""
    source = files(__package__).joinpath("runtime", name).read_text(encoding="utf-8")
    return Template(source).substitute(types)


def identifier(name: str) -> str:
    """A node's name with what C takes in identifiers; others become underscores."""
    return re.sub(r"[^A-Za-z0-9]+", "_", name).strip("_")[:40] or "node"


def plain(text: str) -> str:
    """Text of a program for a C comment, which it must not end."""
    return re.sub(r"[^A-Za-z0-9 _.,:;()<>=+%/|-]", "_", text).replace("*/", "_").replace("/*", "_")


def check_prefix(prefix: str) -> None:
    """Raise ProgramError for a prefix that C cannot take."""
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,30}", prefix):
        raise ProgramError(
            f"--c-prefix {prefix!r} is no C identifier of at most 31 characters: letters, digits "
            "and underscores, the first a letter"
        )
    if _TYPES.fullmatch(prefix):
        raise ProgramError(f"--c-prefix {prefix!r}: {prefix}_t is a type of C's own; take another")


def prefixed(source: str, prefix: str) -> str:
    """Source with names that begin with `prefix`, in capitals where they have capitals."""
    lower = re.sub(r"\bnet_", f"{prefix}_", source)
    return re.sub(r"\bNET_", f"{prefix.upper()}_", lower)


def table(ctype: str, name: str, values: Array) -> str:
    """A constant table."""
    flat = values.ravel().tolist()
    per_line = max(1, LINE // (2 + max(len(str(min(flat))), len(str(max(flat))))))
    rows = [flat[i : i + per_line] for i in range(0, len(flat), per_line)]
    body = ",\n    ".join(", ".join(map(str, row)) for row in rows)
    return f"const {ctype} {name}[{len(flat)}] = {{\n    {body}\n}};\n"


def wide_table(name: str, values: list[int]) -> str:
    """A constant table of unsigned numbers of 64 bits."""
    body = ",\n    ".join(f"UINT64_C({value})" for value in values)
    return f"const uint64_t {name}[{len(values)}] = {{\n    {body}\n}};\n"


def record(ctype: str, name: str, fields: dict[str, object]) -> str:
    """A constant struct, its fields in the order of its declaration."""
    body = ",\n    ".join(f"{value} /* {field} */" for field, value in fields.items())
    return f"const {ctype} {name} = {{\n    {body}\n}};\n"
