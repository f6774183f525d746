"""A policy network in integers: the arithmetic that simulator, Lava bundle and C target share.

Every value of the network is an array of whole numbers. An operation adds up its operands x,

    conv2d, dense   a = bias + sum weight x      (the padding is 0)
    average         a = sum x over a window
    affine, add     a = x

and rescales the sums by whole factors m and a rounded shift to the range of its result y:

    y = clip(R(sum_i m_i a_i + offset, shift), low, high)
    R(p, k) = sign(p) ((|p| + 2^(k-1)) >> k),    R(p, 0) = p

so it is rounded to the nearest, halves away from zero. Weights have 8 bits, operands of conv2d and
dense too (-128..127 or 0..255), all other values 16, and the scores 32. Sums a have 32 bits and p
has 52 beside its sign: `IntegerPolicy` proves it from the ranges of the operands, for sums in any
order, when it is made. The choice is the one with the largest score, the first of equals.

It is computed in float64, where such numbers, their sums in any order, and all of them times a
power of 2 are exact. This file needs numpy alone, because the Lava bundle carries a copy of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Range = tuple[int, int]
PREFIX = "policy"
WORD = (1 << 31) - 1  # the largest sum
PRODUCT = (1 << 52) - 1  # the largest sum of products with factors
MOST_SHIFT = 52
OPERAND = 8  # bits of what weights meet
MOST = 1 << 26  # numbers of a result, and of an image with its padding
AT_ONCE = 1 << 18  # numbers of the largest result of the images that are computed together
_KEYS = {
    "conv2d": ("weight", "bias", "factor"),
    "dense": ("weight", "bias", "factor"),
    "affine": ("factor", "offset"),
    "add": ("factor",),
    "average": ("factor",),
}
_TYPES = {"weight": "int8", "bias": "int32", "factor": "int32", "offset": "int32"}


@dataclass(frozen=True, eq=False)
class IntegerOperation:
    """One operation; the module has the equation.

    ========  ======================================================  ============================
    kind      arrays                                                  options
    ========  ======================================================  ============================
    conv2d    weight int8 (C_out, C_in / groups, K_h, K_w); bias      stride, padding, groups
              and factor (C_out,)
    dense     weight int8 (M, N) over the flattened operand; bias
              and factor (M,)
    affine    factor and offset, (C,) or (1,)
    add       factor (2,)
    average   factor (1,)                                             kernel; 0 for all pixels
    ========  ======================================================  ============================

    Parameters
    ----------
    kind : str
    of : tuple of int
        The operands: 0 is the image, i the result of operation i, counted from 1.
    arrays : dict of arrays
        As the table says; int32 where no type stands.
    options : dict of int
        As the table says, and of all kinds `shift`, `low` and `high`.
    name : str
        What it was made of, for messages.
    """

    kind: str
    of: tuple[int, ...]
    arrays: Mapping[str, Array]
    options: Mapping[str, int]
    name: str = ""

    @property
    def range(self) -> Range:
        """Smallest and largest result."""
        return self.options["low"], self.options["high"]

    def __call__(self, values: Sequence[Array]) -> Array:
        """Compute the result, whole numbers in float64, from the image and all earlier results."""
        found = rounded(_PRODUCTS[self.kind](self, *(values[i] for i in self.of)))
        return np.clip(found, *self.range, out=found)

    @cached_property
    def scaled(self) -> dict[str, Array]:
        """The arrays in float64: factors and offsets times 2^-shift, and all others times those."""
        found = {key: array.astype(np.float64) for key, array in self.arrays.items()}
        for key in ("factor", "offset"):
            if key in found:
                found[key] = np.ldexp(found[key], -self.options["shift"])
        for key in ("weight", "bias"):
            if key in found:
                found[key] *= found["factor"].reshape(-1, *[1] * (found[key].ndim - 1))
        return found


def narrow(low: int, high: int) -> bool:
    """Whether weights may meet numbers from `low` to `high`: 8 bits, with a sign or without."""
    half = 1 << OPERAND - 1
    return (low >= -half and high < half) or (low >= 0 and high < 2 * half)


def rounded(x: Array) -> Array:
    """Return x = p / 2^k rounded to the nearest, halves away from zero: R(p, k) of the module."""
    size = np.floor(np.abs(x) + 0.5)
    return np.copysign(size, x, out=size)


@dataclass(frozen=True, eq=False)
class IntegerPolicy:
    """Operations whose last result holds one score per choice, (N, K).

    Parameters
    ----------
    operations : tuple of IntegerOperation
    choices : tuple of int
        The number of timesteps that each score stands for.
    shape : (C, H, W)
        Of an image.
    limits : (int, int)
        Smallest and largest value of an image, in the units of the program's source.
    unit : float
        What one unit of a score is worth in those of the float network.
    made_of : str
        SHA-256 of the float network's file.

    Raises
    ------
    ValueError
        When an operation does not fit its operands, or a sum may leave its 32 bits.
    """

    operations: tuple[IntegerOperation, ...]
    choices: tuple[int, ...]
    shape: tuple[int, ...]
    limits: Range
    unit: float
    made_of: str = ""

    def __post_init__(self) -> None:
        low, high = self.limits
        if len(self.shape) != 3 or min(self.shape) < 1 or not -WORD <= low <= high <= WORD:
            raise ValueError(f"policy of images {self.shape} with values {low}..{high}")
        if not self.choices or min(self.choices) < 1:
            raise ValueError(f"policy choices {self.choices}: give numbers of timesteps from 1")
        if self.shapes[-1] != (len(self.choices),):
            raise ValueError(f"policy scores {self.shapes[-1]} for {len(self.choices)} choices")

    @cached_property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shape of the image, and of each result, without the samples."""
        found: list[tuple[int, ...]] = [tuple(self.shape)]
        ranges = [self.limits]
        for number, operation in enumerate(self.operations, start=1):
            try:
                found.append(_checked(operation, found, ranges))
            except ValueError as error:
                what = operation.name or f"{operation.kind} (operation {number})"
                raise ValueError(f"{what}: {error}") from None
            ranges.append(operation.range)
        return tuple(found)

    def range_of(self, value: int) -> Range:
        """Smallest and largest number of the image (0) or of the result of an operation."""
        return self.operations[value - 1].range if value else self.limits

    def scores(self, images: Array) -> NDArray[np.int64]:
        """Return the scores (N, K) of images (N, C, H, W) in the units of the source."""
        if images.shape[1:] != self.shape:
            raise ValueError(f"policy of images {self.shape}, these are {images.shape[1:]}")
        size = max(1, AT_ONCE // max(map(prod, self.shapes)))
        parts = [self._scores(images[i : i + size]) for i in range(0, len(images), size)]
        return np.concatenate(parts) if parts else np.zeros((0, len(self.choices)), np.int64)

    def _scores(self, images: Array) -> NDArray[np.int64]:
        values: list[Array] = [np.asarray(images, np.float64)]
        for operation in self.operations:
            values.append(operation(values))
        return values[-1].astype(np.int64)

    def timesteps(self, scores: Array) -> NDArray[np.int64]:
        """Return the timesteps of the choices with the largest of the scores (N, K), int64 (N,)."""
        chosen: NDArray[np.int64] = np.array(self.choices, np.int64)[scores.argmax(axis=1)]
        return chosen

    def to_arrays(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """Return a description of JSON values, and the arrays that it names."""
        arrays: dict[str, Array] = {}
        operations = []
        for i, operation in enumerate(self.operations):
            names = {k: f"{PREFIX}/{i}/{k}" for k in operation.arrays}
            arrays |= {names[k]: np.ascontiguousarray(v) for k, v in operation.arrays.items()}
            operations.append(
                {"kind": operation.kind, "of": list(operation.of), "arrays": names,
                 "options": dict(operation.options), "name": operation.name}
            )  # fmt: skip
        described = {
            "operations": operations, "choices": list(self.choices), "shape": list(self.shape),
            "limits": list(self.limits), "unit": self.unit, "made_of": self.made_of,
        }  # fmt: skip
        return described, arrays

    @classmethod
    def from_arrays(cls, stored: Mapping[str, Any], arrays: Mapping[str, Array]) -> IntegerPolicy:
        """Make the network that `to_arrays` described.

        Raises
        ------
        KeyError
            When an array is missing.
        ValueError
            As the class.
        """
        operations = tuple(
            IntegerOperation(
                o["kind"],
                tuple(o["of"]),
                {name: arrays[key] for name, key in o["arrays"].items()},
                o["options"],
                o["name"],
            )
            for o in stored["operations"]
        )
        low, high = stored["limits"]
        choices, shape = (tuple(stored[k]) for k in ("choices", "shape"))
        return cls(operations, choices, shape, (low, high), stored["unit"], stored["made_of"])


# --- the sums of products, times 2^-shift --------------------------------------------------------


def _conv2d(operation: IntegerOperation, x: Array) -> Array:
    weight, bias = (operation.scaled[key] for key in ("weight", "bias"))
    groups, stride, padding = (operation.options[k] for k in ("groups", "stride", "padding"))
    c_out, _, k_h, k_w = weight.shape
    padded = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    height, width = _size(x.shape[2:], weight.shape[2:], operation.options)
    taps = weight.reshape(groups, c_out // groups, -1, k_h, k_w)
    out = np.empty((len(x), groups, c_out // groups, height * width))
    out[:] = bias.reshape(groups, -1, 1)
    for k, m in np.ndindex(k_h, k_w):
        seen = padded[:, :, k::stride, m::stride][:, :, :height, :width]
        out += taps[..., k, m] @ seen.reshape(len(x), groups, -1, height * width)
    return out.reshape(len(x), c_out, height, width)


def _dense(operation: IntegerOperation, x: Array) -> Array:
    weight, bias = (operation.scaled[key] for key in ("weight", "bias"))
    return np.asarray(x.reshape(len(x), -1) @ weight.T + bias)


def _affine(operation: IntegerOperation, x: Array) -> Array:
    factor, offset = (
        operation.scaled[key].reshape(-1, *[1] * (x.ndim - 2)) for key in ("factor", "offset")
    )
    return np.asarray(x * factor + offset)


def _add(operation: IntegerOperation, x: Array, y: Array) -> Array:
    first, second = operation.scaled["factor"]
    return np.asarray(x * first + y * second)


def _average(operation: IntegerOperation, x: Array) -> Array:
    kernels = _windows(x.shape[2:], operation.options)
    height, width = (n // k for n, k in zip(x.shape[2:], kernels, strict=True))
    kept = x[:, :, : height * kernels[0], : width * kernels[1]]
    windows = kept.reshape(*x.shape[:2], height, kernels[0], width, kernels[1])
    return np.asarray(windows.sum(axis=(3, 5)) * operation.scaled["factor"])


_PRODUCTS: dict[str, Callable[..., Array]] = {
    "conv2d": _conv2d,
    "dense": _dense,
    "affine": _affine,
    "add": _add,
    "average": _average,
}


def _size(
    pixels: Sequence[int], kernel: Sequence[int], options: Mapping[str, int]
) -> tuple[int, ...]:
    pairs = zip(pixels, kernel, strict=True)
    return tuple((n + 2 * options["padding"] - k) // options["stride"] + 1 for n, k in pairs)


def _windows(pixels: Sequence[int], options: Mapping[str, int]) -> tuple[int, ...]:
    kernel = options["kernel"]
    return (kernel, kernel) if kernel else tuple(pixels)


# --- what an operation may be --------------------------------------------------------------------


def _checked(
    operation: IntegerOperation, shapes: Sequence[tuple[int, ...]], ranges: Sequence[Range]
) -> tuple[int, ...]:
    """Return the shape of a result, once the operation fits its operands and no sum overflows."""
    kind, options = operation.kind, operation.options
    if kind not in _KEYS:
        raise ValueError(f"operation {kind!r}: there are {', '.join(_KEYS)}")
    count = 2 if kind == "add" else 1
    if len(operation.of) != count or not all(0 <= i < len(shapes) for i in operation.of):
        raise ValueError(f"takes {operation.of}; {count} earlier results are expected")
    for key in _KEYS[kind]:
        array = operation.arrays.get(key)
        if array is None or array.dtype.name != _TYPES[key] or not array.size:
            raise ValueError(f"{key} of {_TYPES[key]} is expected")
    low, high = operation.range
    if not -WORD <= low <= high <= WORD or not 0 <= options["shift"] <= MOST_SHIFT:
        raise ValueError(f"results {low}..{high} behind a shift of {options['shift']}")
    given = [shapes[i] for i in operation.of]
    shape, channels = _SHAPES[kind](operation, *given)
    for key in ("bias", "factor", "offset"):
        if key in _KEYS[kind] and operation.arrays[key].shape not in channels:
            raise ValueError(f"{key} of shape {operation.arrays[key].shape}, not {channels[0]}")
    sums = _largest_sums(operation, given, [ranges[i] for i in operation.of])
    if max(int(s.max()) for s in sums) > WORD:
        largest = max(int(s.max()) for s in sums)
        raise ValueError(f"its sums reach {largest}, which takes more than 32 bits")
    _check_products(operation, sums)
    return shape


def _check_products(operation: IntegerOperation, sums: Sequence[Array]) -> None:
    factor = np.abs(operation.arrays["factor"].astype(object))
    total = sum(map(np.multiply, np.split(factor, len(sums)), sums), start=np.zeros(1, object))
    if "offset" in _KEYS[operation.kind]:
        total = total + np.abs(operation.arrays["offset"].astype(object))
    if max(total) > PRODUCT:
        raise ValueError(f"its rescaled sums reach {max(total)}, which takes more than 53 bits")


def _largest_sums(
    operation: IntegerOperation, shapes: Sequence[tuple[int, ...]], ranges: Sequence[Range]
) -> list[Array]:
    """The largest magnitude of sums of each operand, also of parts of them, by channel."""
    most = [max(-low, high) for low, high in ranges]
    if operation.kind in ("conv2d", "dense"):
        if not narrow(*ranges[0]):
            low, high = ranges[0]
            raise ValueError(f"its operand, {low}..{high}, takes more than {OPERAND} bits")
        weight = np.abs(operation.arrays["weight"].astype(object))
        sums = weight.reshape(len(weight), -1).sum(axis=1) * most[0]
        return [np.asarray(sums + np.abs(operation.arrays["bias"].astype(object)))]
    if operation.kind == "average":
        return [np.array([most[0] * prod(_windows(shapes[0][1:], operation.options))], object)]
    return [np.array([m], object) for m in most]


Shaped = tuple[tuple[int, ...], list[tuple[int, ...]]]  # of the result, and of what a channel has


def _conv2d_shape(operation: IntegerOperation, shape: tuple[int, ...]) -> Shaped:
    weight, options = operation.arrays["weight"], operation.options
    groups = options["groups"]
    if min(options["stride"], groups, options["padding"] + 1) < 1:
        raise ValueError(f"stride, padding and groups {dict(options)}")
    if len(shape) != 3 or weight.ndim != 4 or weight.shape[1] * groups != shape[0]:
        raise ValueError(f"weights {weight.shape} in {groups} groups for an operand {shape}")
    if len(weight) % groups:
        raise ValueError(f"{groups} groups do not divide {len(weight)} channels")
    pixels = _size(shape[1:], weight.shape[2:], options)
    padded = prod(n + 2 * options["padding"] for n in shape[1:])
    if min(pixels) < 1 or max(prod(pixels) * len(weight), padded * shape[0]) > MOST:
        raise ValueError(f"makes {(len(weight), *pixels)} of {shape}")
    return (len(weight), *pixels), [(len(weight),)]


def _dense_shape(operation: IntegerOperation, shape: tuple[int, ...]) -> Shaped:
    weight = operation.arrays["weight"]
    if weight.ndim != 2 or weight.shape[1] != prod(shape):
        raise ValueError(f"weights {weight.shape} for an operand {shape}")
    return (len(weight),), [(len(weight),)]


def _affine_shape(operation: IntegerOperation, shape: tuple[int, ...]) -> Shaped:
    return shape, [(shape[0],), (1,)]


def _add_shape(
    operation: IntegerOperation, shape: tuple[int, ...], other: tuple[int, ...]
) -> Shaped:
    if shape != other:
        raise ValueError(f"operands of shapes {shape} and {other}; equal ones are expected")
    return shape, [(2,)]


def _average_shape(operation: IntegerOperation, shape: tuple[int, ...]) -> Shaped:
    kernels = _windows(shape[1:], operation.options)
    if len(shape) != 3 or min(kernels) < 1:
        raise ValueError(f"windows {kernels} of an operand {shape}")
    pixels = tuple(n // k for n, k in zip(shape[1:], kernels, strict=True))
    if min(pixels) < 1:
        raise ValueError(f"leaves nothing of {shape}")
    return (shape[0], *pixels), [(1,)]


_SHAPES: dict[str, Callable[..., Shaped]] = {
    "conv2d": _conv2d_shape,
    "dense": _dense_shape,
    "affine": _affine_shape,
    "add": _add_shape,
    "average": _average_shape,
}

__all__ = ["IntegerOperation", "IntegerPolicy", "narrow", "rounded"]
