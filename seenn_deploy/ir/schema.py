"""What ``program.json`` may hold, checked by msgspec before anything is made of it.

The kinds of nodes, synapses and exit rules are dataclasses, and their types are their schema: a new
kind needs no other. Ranges are the business of the classes themselves.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import MISSING, Field, fields
from functools import cache
from math import isinf, isnan
from types import GenericAlias, NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
import numpy as np
from msgspec import Meta, Struct

from seenn_deploy.errors import ProgramError

Digest = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
Bound = float | None  # None stands for infinity
Means = Annotated[list[float], Meta(min_length=1)]
Lag = Annotated[int, Meta(ge=0, le=1 << 20)]  # timesteps; no network has more
Deviations = Annotated[list[Annotated[float, Meta(gt=0)]], Meta(min_length=1)]


class Edge(Struct):
    """What every projection has; the rest belongs to its kind of synapses."""

    pre: str
    post: str
    key: str
    kind: str
    delay: Annotated[int, Meta(ge=-(1 << 31), le=1 << 31)]
    dense_macs: Annotated[int, Meta(ge=0, le=1 << 62)]
    lag: Lag = 0


class OwnInput(Struct, forbid_unknown_fields=True):
    """A signal of a layer as it was trained; its maps are checked by their kinds."""

    pre: str
    lag: Lag
    maps: list[dict[str, Any]]


class OwnLayer(Struct, forbid_unknown_fields=True):
    """A layer as it was trained, which a projection counts."""

    key: str
    in_shape: Annotated[list[Annotated[int, Meta(ge=1)]], Meta(min_length=1)]
    inputs: Annotated[list[OwnInput], Meta(min_length=1)]


class PolicyOperation(Struct, forbid_unknown_fields=True):
    """An operation of an integer policy network, which checks what lies between its values."""

    kind: str
    of: list[int]
    arrays: dict[str, str]
    options: dict[str, int]
    name: str


class PolicyForm(Struct, forbid_unknown_fields=True):
    """An integer policy network, whose arrays lie in a file of their own."""

    operations: Annotated[list[PolicyOperation], Meta(min_length=1)]
    choices: Annotated[list[int], Meta(min_length=1)]
    shape: tuple[int, int, int]
    limits: tuple[int, int]
    unit: Annotated[float, Meta(gt=0)]
    made_of: Digest


class Prepared(Struct, forbid_unknown_fields=True):
    """How image files are resized and cropped."""

    crop: tuple[Annotated[int, Meta(ge=1)], Annotated[int, Meta(ge=1)]]
    resize: Annotated[int, Meta(ge=0)]


class Manifest(Struct, forbid_unknown_fields=True):
    """A whole ``program.json``; what has a value here was missing in earlier versions."""

    format: str
    version: int
    T: Annotated[int, Meta(ge=1)]
    exit_rule: dict[str, Any]
    schedule: str
    precision: str
    input_range: tuple[Bound, Bound]
    provenance: dict[str, Any]
    nodes: Annotated[list[dict[str, Any]], Meta(min_length=2)]
    projections: Annotated[list[Edge], Meta(min_length=1)]
    logit_scale: Annotated[float, Meta(gt=0)]
    sha256: dict[str, Digest]
    exit_rule_assumed: str = ""
    normalization: tuple[Means, Deviations] | None = None
    preparation: Prepared | None = None
    written: list[str] = []
    own: list[list[OwnLayer] | None] = []
    policy: PolicyForm | None = None
    checksum: Digest = ""


def check(manifest: dict[str, Any]) -> None:
    """Check the kinds of all values of a manifest.

    Raises
    ------
    ProgramError
        When one is missing, of another kind, or no finite number; the message says which.
    """
    _convert(manifest, Manifest, "")


def check_values(
    cls: Any,
    values: dict[str, Any],
    where: str,
    without: frozenset[str] = frozenset(),
    null: bool = False,
) -> None:
    """Check values by the types of the dataclass that they shall make.

    Parameters
    ----------
    cls : type
        A kind of node, synapses or exit rule.
    values : dict
        JSON values by field.
    where : str
        Their place in the manifest.
    without : frozenset of str
        Fields that are stored elsewhere, as arrays.
    null : bool
        Whether null stands for an infinite number.
    """
    _convert(values, _struct(cls, without, null), where)


def _convert(values: Any, kind: type[Struct], where: str) -> None:
    try:
        msgspec.convert(values, kind)
    except msgspec.ValidationError as error:
        text, _, place = str(error).partition(" - at `$")
        raise ProgramError(f"{where}{place.rstrip('`')}: {text}".lstrip(".")) from None
    for name in kind.__struct_fields__:
        _check_finite(f"{where}.{name}".lstrip("."), values.get(name))


def _check_finite(where: str, value: Any) -> None:
    """Refuse what JSON has no number for, but Python writes and reads."""
    # The threshold of neurons that never spike is infinite.
    odd = isinstance(value, float) and (isnan(value) or isinf(value) > where.endswith("threshold"))
    if odd or (isinstance(value, int) and abs(value) >= 1 << 63):
        raise ProgramError(f"{where}: {value}; a finite number is expected")
    for i, item in enumerate(value if isinstance(value, list | tuple) else ()):
        _check_finite(f"{where}[{i}]", item)


@cache
def _struct(cls: Hashable, without: frozenset[str], null: bool) -> type[Struct]:
    made: Any = cls
    hints = get_type_hints(made)
    kept = [f for f in fields(made) if f.init and f.name not in without]
    listed = [(f.name, _of_json(hints[f.name], null), *_default(f)) for f in kept]
    # Fields without a default have to come first.
    listed.sort(key=len)
    return msgspec.defstruct(made.__name__, listed, forbid_unknown_fields=True)


def _default(field: Field[Any]) -> tuple[Any, ...]:
    """A tuple of a default that nothing looks at, empty where there is none."""
    return () if field.default is field.default_factory is MISSING else (None,)


def _of_json(hint: Any, null: bool) -> Any:
    """The type of JSON values that stand for a field; Any for what JSON has no values for."""
    kind, parts = get_origin(hint), get_args(hint)
    if kind in (Union, UnionType):
        known = [_of_json(p, null) for p in parts if get_origin(p) is not np.ndarray]
        return Any if Any in known else Union[tuple(known)]  # noqa: UP007 - made at run time
    if kind is tuple:
        items = tuple(p if p is ... else _of_json(p, null) for p in parts)
        return GenericAlias(tuple, items)
    if hint is float and null:
        return Bound
    return hint if kind is Literal or hint in (bool, int, float, str, NoneType) else Any
