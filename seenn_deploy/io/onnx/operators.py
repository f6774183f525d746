"""Every operator that is read: what its attributes and constant inputs may be, in one table.

onnx's own checker looks neither at the length of a list nor at the shape of a constant.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from seenn_deploy._typing import Array

OLDEST_OPSET = 7  # before it, constants were broadcast along an axis of their own
MOST = 1 << 22  # values of an input: an image of 1024x1024, or some at once
_LONGEST = 1 << 16  # steps of a window, a padding or a dilation


@dataclass(frozen=True)
class Whole:
    """An attribute that is a whole number, or a list of them.

    Parameters
    ----------
    default : int, list or None
        Its value where a file leaves it out; ``...`` where it must be there.
    length : int or None
        Numbers in the list; 0 for a single number, None for any length.
    low, high : int
        The smallest and the largest number that it may hold.
    """

    default: Any
    length: int | None = 0
    low: int = 0
    high: int = _LONGEST

    def check(self, value: Any) -> None:
        """Raise ValueError where the value is another kind of thing, or out of range."""
        single = self.length == 0
        numbers = [value] if single else value
        if not isinstance(numbers, list) or not all(type(n) is int for n in numbers):
            raise ValueError(f"is {value}; {'a number is' if single else 'numbers are'} expected")
        if not single and self.length is not None and len(numbers) != self.length:
            raise ValueError(f"is {value}; {self.length} numbers are expected")
        if any(not self.low <= n <= self.high for n in numbers):
            raise ValueError(f"is {value}; {self.low} to {self.high} is allowed")


@dataclass(frozen=True)
class Real:
    """An attribute that is a finite number, not below `low`."""

    default: float | None
    low: float = -np.inf

    def check(self, value: Any) -> None:
        """Raise ValueError where the value is another kind of thing, or out of range."""
        if not isinstance(value, int | float) or not np.isfinite(value) or value < self.low:
            least = f" of at least {self.low:g}" if np.isfinite(self.low) else ""
            raise ValueError(f"is {value}; a finite number{least} is expected")


@dataclass(frozen=True)
class OneOf:
    """An attribute that is one of some words, the first of which stands where it is left out."""

    words: tuple[str, ...]

    @property
    def default(self) -> str:
        """The first word."""
        return self.words[0]

    def check(self, value: Any) -> None:
        """Raise ValueError where the value is no such word."""
        if value not in self.words:
            raise ValueError(f"is {value!r}; {', '.join(self.words)} are allowed")


Attribute: TypeAlias = Whole | Real | OneOf


@dataclass(frozen=True)
class Constant:
    """A constant input: real numbers, or those of another kind (numpy's letters).

    Parameters
    ----------
    sizes : str or None
        Names of its sizes, '' for a single number, None for any shape. Names that come twice in an
        operator stand for the same number, and a digit is that number.
    kinds : str
    """

    sizes: str | None
    kinds: str = "f"


@dataclass(frozen=True)
class Operator:
    """The least and the largest number of inputs, the constants among them and the attributes."""

    inputs: tuple[int, int]
    constants: Mapping[int, Constant] = field(default_factory=dict)
    attributes: Mapping[str, Attribute] = field(default_factory=dict)


_FLAG, _OFF = Whole(1, high=1), Whole(0, high=1)
_AUTO_PAD = OneOf(("NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"))
_PAIR = Whole([1, 1], length=2, low=1)
_PADS = Whole([0, 0, 0, 0], length=4)
_AXES = Whole(None, length=None, low=-4, high=3)
_WINDOW: dict[str, Attribute] = {
    "auto_pad": _AUTO_PAD,
    "dilations": _PAIR,
    "pads": _PADS,
    "strides": _PAIR,
}
_WITH_CONSTANT = Operator((2, 2), {0: Constant(None), 1: Constant(None)})
_LIST = Constant("N", "i")

OPERATORS: dict[str, Operator] = {
    **dict.fromkeys(("Add", "Div", "Mul", "Sub"), _WITH_CONSTANT),
    **dict.fromkeys(("GlobalAveragePool", "Identity", "Relu"), Operator((1, 1))),
    "AveragePool": Operator(
        (1, 1),
        attributes=_WINDOW
        | {"ceil_mode": _OFF, "count_include_pad": _OFF, "kernel_shape": Whole(..., 2, low=1)},
    ),
    "BatchNormalization": Operator(
        (5, 5),
        dict.fromkeys((1, 2, 3, 4), Constant("C")),
        {"epsilon": Real(1e-5, low=0), "momentum": Real(0.9), "spatial": Whole(1, low=1, high=1),
         "training_mode": _OFF},
    ),
    "Clip": Operator(
        (1, 3), {1: Constant(""), 2: Constant("")}, {"max": Real(None), "min": Real(None)}
    ),
    "Conv": Operator(
        (2, 3),
        {1: Constant("M C H W"), 2: Constant("M")},
        _WINDOW | {"group": Whole(1, low=1), "kernel_shape": Whole(None, 2, low=1)},
    ),
    "Dropout": Operator(
        (1, 3),
        {1: Constant(""), 2: Constant("", "b")},
        {"ratio": Real(0.5), "seed": Whole(0, low=-(1 << 63), high=1 << 63)},
    ),
    "Flatten": Operator((1, 1), attributes={"axis": Whole(1, low=-4, high=4)}),
    "Gemm": Operator(
        (2, 3),
        {1: Constant("K N"), 2: Constant(None)},
        {"alpha": Real(1.0), "beta": Real(1.0), "transA": _OFF, "transB": _OFF},
    ),
    "MatMul": Operator((2, 2), {1: Constant("K N")}),
    "ReduceMean": Operator(
        (1, 2), {1: _LIST}, {"axes": _AXES, "keepdims": _FLAG, "noop_with_empty_axes": _OFF}
    ),
    "Reshape": Operator((2, 2), {1: _LIST}, {"allowzero": _OFF}),
    "Squeeze": Operator((1, 2), {1: _LIST}, {"axes": _AXES}),
}  # fmt: skip


def checked(
    op: str, inputs: Sequence[str], attributes: Mapping[str, Any], constants: Mapping[str, Array]
) -> dict[str, Any]:
    """Return all attributes of a node, those that were left out with their defaults.

    The nodes of operators that are not in the table are for others to refuse.

    Raises
    ------
    ValueError
        When an attribute or a constant input is not what the table says.
    """
    known = OPERATORS.get(op)
    if known is None:
        return dict(attributes)
    least, most = known.inputs
    if not least <= len(inputs) <= most or not all(inputs[:least]):
        raise ValueError(f"has inputs {list(inputs)}; {least} to {most} are expected")
    found = {name: _attribute(name, kind, attributes) for name, kind in known.attributes.items()}
    for name in attributes.keys() - found.keys():
        raise ValueError(f"attribute {name!r} is not known")
    _check_constants(known, inputs, constants)
    weight, addend = (constants.get(name) for name in (*inputs, "", "")[1:3])
    if op == "Conv" and weight is not None:
        _check_weight(weight.shape, found)
    if op == "BatchNormalization" and np.any(constants.get(inputs[4], np.zeros(())) < 0):
        raise ValueError("its variance is negative")
    if op == "BatchNormalization" and np.any(constants.get(inputs[4], 1.0) + found["epsilon"] == 0):
        raise ValueError("divides by a variance of 0, with an epsilon of 0")
    if found.get("auto_pad", "NOTSET") != "NOTSET" and any(attributes.get("pads", ())):
        raise ValueError(f"has pads {attributes['pads']} beside auto_pad {found['auto_pad']}")
    if op == "Gemm" and weight is not None and addend is not None:
        _check_addend(addend.shape, weight.shape[0 if found["transB"] else 1])
    return found


def _attribute(name: str, kind: Attribute, given: Mapping[str, Any]) -> Any:
    if name not in given:
        if kind.default is ...:
            raise ValueError(f"has no attribute {name!r}")
        return kind.default
    try:
        kind.check(given[name])
    except ValueError as error:
        raise ValueError(f"{name} {error}") from None
    return given[name]


def _check_constants(
    known: Operator, inputs: Sequence[str], constants: Mapping[str, Array]
) -> None:
    sizes: dict[str, int] = {}
    for at, kind in known.constants.items():
        name = inputs[at] if at < len(inputs) else ""
        if name not in constants:
            continue
        array = constants[name]
        if array.dtype.kind not in kind.kinds:
            raise ValueError(f"constant {name!r} is {array.dtype}, another kind is expected")
        if not np.all(np.isfinite(array)):
            raise ValueError(f"constant {name!r} holds NaN or infinity")
        names = None if kind.sizes is None else kind.sizes.split()
        if names is None:
            continue
        wanted = [sizes.get(key, key) for key in names]
        fits = len(names) == array.ndim and all(
            sizes.setdefault(key, n) == n for key, n in zip(names, array.shape, strict=True)
        )
        if not fits:
            shape = ", ".join(map(str, wanted))
            raise ValueError(f"constant {name!r} has shape {array.shape}, expected ({shape})")


def _check_weight(shape: tuple[int, ...], attributes: Mapping[str, Any]) -> None:
    """Check what lies between the weights of a convolution and its attributes."""
    kernel, groups = attributes["kernel_shape"], attributes["group"]
    if kernel is not None and tuple(kernel) != shape[2:]:
        raise ValueError(f"kernel_shape is {kernel}, the weights have {list(shape[2:])}")
    if shape[0] % groups:
        raise ValueError(f"group is {groups}, which does not divide {shape[0]} channels")


def _check_addend(shape: tuple[int, ...], outputs: int) -> None:
    """Check that what Gemm adds is the same for every sample."""
    if shape not in ((), (1,), (1, 1), (outputs,), (1, outputs)):
        raise ValueError(f"adds shape {shape}; {outputs} numbers are expected")
