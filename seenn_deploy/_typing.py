"""Types that every room shares, and the check of what a user passes to a public function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, wraps
from inspect import Parameter, signature
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Any, Literal, ParamSpec, TypeAlias, TypeVar, Union, get_args, get_origin
from typing import get_type_hints as type_hints

import numpy as np
from numpy.typing import NDArray

from seenn_deploy.errors import ArgumentError

Array: TypeAlias = NDArray[Any]
Shape: TypeAlias = tuple[int, ...]
Pair: TypeAlias = tuple[int, int]

P = ParamSpec("P")
R = TypeVar("R")

_UNSAID = ("self", "options")
_NUMBERS = {float: Real, int: Integral}
# (wanted, found): what to do
_REMEDIES = {
    ("Program", "SpikingGraph"): "compile it first: sd.compile(graph)",
    ("Program", "str"): "load it first: sd.load(folder)",
    ("Program", "PosixPath"): "load it first: sd.load(folder)",
    ("SpikingGraph", "str"): "import it first: sd.import_model(file, T=4)",
    ("SpikingGraph", "PosixPath"): "import it first: sd.import_model(file, T=4)",
    ("SpikingGraph", "Program"): "it is compiled already; program.with_exit(rule) changes the rule",
    ("ExitRule", "float"): "name the rule that the number belongs to: sd.exits.Confidence(0.9)",
    ("ExitRule", "str"): "make the rule: sd.exits.Confidence(0.9)",
    ("ExitRule", "Choice"): "give the rule of this choice: report.best.rule",
    ("RunResult", "Program"): "simulate it: sd.simulate(program, images, labels, full_trace=True)",
}


def checked_types(function: Callable[P, R]) -> Callable[P, R]:
    """Refuse arguments of a public function whose type is not the annotated one, in one line.

    Arrays are left to the function, which knows their shapes too, and a literal's value as well.
    """

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        called = signature(function)
        for name, value in called.bind(*args, **kwargs).arguments.items():
            parameter = called.parameters[name]
            hint = _hints(function).get(name, Any)
            if parameter.kind is not Parameter.VAR_KEYWORD and not _fits(value, hint):
                raise ArgumentError(_message(function, name, hint, value))
        return function(*args, **kwargs)

    return call


@cache
def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    return type_hints(function)


def _fits(value: Any, hint: Any) -> bool:
    kind, parts = get_origin(hint) or hint, get_args(hint)
    if kind in (Union, UnionType):
        return any(_fits(value, part) for part in parts)
    if kind is Any or kind is np.ndarray or kind.__module__.startswith("numpy"):
        return True
    if kind is Literal:
        return isinstance(value, type(parts[0]))
    if kind in _NUMBERS:
        return isinstance(value, _NUMBERS[kind]) and not isinstance(value, bool)
    if kind is Sequence:
        return isinstance(value, Sequence | np.ndarray) and not isinstance(value, str)
    return isinstance(value, kind)


def _message(function: Callable[..., Any], name: str, hint: Any, value: Any) -> str:
    found, kinds = type(value).__name__, _names(hint)
    order = [p.name for p in signature(function).parameters.values() if p.default is p.empty]
    usage = f"{function.__name__}({', '.join(n for n in order if n not in _UNSAID)}, ..)"
    remedies = [_REMEDIES[kind, found] for kind in kinds if (kind, found) in _REMEDIES]
    what = "; ".join([f"{name} is a {found}, give {' or '.join(kinds)}", *remedies])
    return f"{usage}: {what}"


def _names(hint: Any) -> list[str]:
    """The types of an annotation, as one would say them."""
    kind, parts = get_origin(hint) or hint, get_args(hint)
    if kind in (Union, UnionType):
        return [name for part in parts if part is not NoneType for name in _names(part)]
    if kind is Literal:
        return [repr(part) for part in parts]
    words = {Sequence: "a sequence", Callable: "a function"}
    return [words.get(kind, kind.__name__)]
