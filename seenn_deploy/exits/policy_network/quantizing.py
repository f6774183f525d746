"""The integer form of a policy network: which operations, and in which units.

1. *Fused.* An affine map behind a convolution or linear layer goes into its weights, one behind
   another into that one, and ReLU and clip become the limits of the result before them, where
   nothing else reads that. An affine map of the image takes the source's units, too.
2. *Units.* A result spans what it was on calibration images (twice that where it has 16 bits, which
   have room to spare). Without images it spans twice what it was on images that are made up: random
   blocks of 1, 2, 4, .. pixels over the stated range of values. It never spans more than what is
   proven from that range, which alone is no guide, as it grows with every layer: the policy of
   examples/ would give every image of CIFAR-10 the same choice. Weights have one unit for each
   output channel.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import floor, inf, log2
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seenn_deploy.errors import ModelError
from seenn_deploy.exits.policy_network.forward import Operation, PolicyNetwork
from seenn_deploy.exits.policy_network.integer import (
    MOST_SHIFT,
    OPERAND,
    WORD,
    IntegerOperation,
    IntegerPolicy,
    narrow,
)

Array = NDArray[Any]
Span = tuple[float, float]
WEIGHT = 127
VALUE = 16  # bits of a result that no weights meet
SPARE = 2.0  # how much further than on the samples such a result may go
BLOCKS = 4  # made-up images with blocks of a size
FACTOR = 1 << 20  # factors stay below it, so that products with sums have 52 bits
OFFSET = 1 << 30
FINEST = 1 << 16  # how much finer than its sums a result may be
BIAS = 1 << 24  # a larger bias makes the weights of its channel coarser
_LINEAR = ("conv2d", "dense")
_IMAGE = -1  # the image itself, rescaled for operations that do not take the source's units


@dataclass(frozen=True)
class Pixels:
    """The image as an integer program's source sends it: ``q = rint(scale (x - offset))``.

    Parameters
    ----------
    shape : (C, H, W)
    limits : (int, int)
        Smallest and largest q.
    scale, offset : float
    """

    shape: tuple[int, ...]
    limits: tuple[int, int]
    scale: float
    offset: float


def to_integers(
    network: PolicyNetwork,
    pixels: Pixels,
    samples: Iterable[Array] | None = None,
    made_of: str = "",
) -> IntegerPolicy:
    """Make the integer form of a policy network.

    Parameters
    ----------
    network : PolicyNetwork
    pixels : Pixels
    samples : iterable of float arrays (n, C, H, W), optional
        Calibration images, as the program takes them; without them some are made up.
    made_of : str
        SHA-256 of the network's file.

    Raises
    ------
    ModelError
        When an operation has no integer form, or a sum takes more than 32 bits.
    """
    blank = network.values(np.zeros((1, *pixels.shape)))
    steps = _fused(network, [value.shape[1:] for value in blank])
    steps = _with_image(steps, pixels)
    proven = _proven(steps, pixels)
    seen = _seen(network, [made_up(pixels)] if samples is None else samples)
    made = _Made(steps, pixels)
    for number, step in enumerate(steps):
        wide = samples is None or made.bits(step) != OPERAND
        made.add(number, _span(proven[step.result], seen.get(step.result), SPARE if wide else 1.0))
    try:
        return IntegerPolicy(
            tuple(made.operations), network.choices, pixels.shape, pixels.limits,
            made.unit[steps[-1].result], made_of,
        )  # fmt: skip
    except ValueError as error:
        raise ModelError(str(error)) from None


# --- fusing --------------------------------------------------------------------------------------


@dataclass
class _Step:
    """An operation of the integer network, still in real numbers.

    Parameters
    ----------
    kind, name : str
    of : list of int
        Values of the float network: 0 is the image, i the result of operation i.
    result : int
        The value that it computes.
    shape : tuple of int
        Of the result, without the samples.
    arrays : dict of float64 arrays
        weight and bias, or scale and shift (C,).
    low, high : float
        Limits of the result.
    """

    kind: str
    name: str
    of: list[int]
    result: int
    shape: tuple[int, ...]
    arrays: dict[str, Array] = field(default_factory=dict)
    options: dict[str, int] = field(default_factory=dict)
    low: float = -inf
    high: float = inf

    @property
    def unlimited(self) -> bool:
        """Whether nothing limits the result."""
        return self.low == -inf and self.high == inf

    def limit(self, low: float, high: float) -> None:
        """Limit the result, behind the limits that it has."""
        # numpy's clip takes the upper limit where the two are crossed, as this does.
        self.low, self.high = (min(max(x, low), high) for x in (self.low, self.high))


def _fused(network: PolicyNetwork, shapes: Sequence[tuple[int, ...]]) -> list[_Step]:
    """The operations that the scores need, with what can be a part of another one in that one."""
    readers = _readers(network)
    steps: dict[int, _Step] = {}
    for number, operation in enumerate(network.operations, start=1):
        if not readers[number]:
            continue
        before = steps.get(operation.of[0])
        alone = before if before is not None and readers[before.result] == 1 else None
        step = alone if alone is not None and _absorbed(alone, operation) else None
        if step is None:
            step = _step(operation, number, shapes)
        else:
            del steps[step.result]
            step.result, step.shape = number, shapes[number]
        steps[number] = step
    return list(steps.values())


def _readers(network: PolicyNetwork) -> list[int]:
    """How many operations that the scores need read each value; 1 for the scores themselves."""
    readers = [0] * (len(network.operations) + 1)
    readers[-1] = 1
    for number in range(len(network.operations), 0, -1):
        for operand in network.operations[number - 1].of if readers[number] else ():
            readers[operand] += 1
    return readers


def _absorbed(step: _Step, operation: Operation) -> bool:
    """Make an operation a part of the step that alone it reads, if that is possible."""
    if operation.kind in ("relu", "clip"):
        step.limit(*_limits(operation))
        return True
    if operation.kind != "affine" or step.kind not in (*_LINEAR, "affine") or not step.unlimited:
        return False
    scale, shift = _by_channel(operation, step.shape)
    if step.kind == "affine":
        old = step.arrays["scale"], step.arrays["shift"]
        step.arrays = {"scale": old[0] * scale, "shift": old[1] * scale + shift}
    else:
        weight, bias = step.arrays["weight"], step.arrays["bias"]
        by_channel = scale.reshape(-1, *[1] * (weight.ndim - 1))
        step.arrays = {"weight": weight * by_channel, "bias": bias * scale + shift}
    return True


def _limits(operation: Operation) -> Span:
    if operation.kind == "relu":
        return 0.0, inf
    return float(operation.arrays["low"]), float(operation.arrays["high"])


def _by_channel(operation: Operation, shape: tuple[int, ...]) -> tuple[Array, Array]:
    """Scale and shift (C,) of an affine map of values of a shape.

    Raises
    ------
    ModelError
        When they differ between the pixels of a channel.
    """
    found = []
    for key in ("scale", "shift"):
        values = np.asarray(operation.arrays[key], np.float64)
        try:
            full = np.broadcast_to(values, (1, *shape)).reshape(shape[0], -1)
        except ValueError:
            full = np.arange(2.0)[None]  # it changes the shape, which is refused just the same
        if np.any(full != full[:, :1]) or not np.all(np.isfinite(full)):
            raise ModelError(
                f"{_named(operation)}: its constants {values.shape} are no number for each channel "
                f"of {shape}; there is no integer form of that"
            )
        found.append(full[:, 0])
    return found[0], found[1]


def _named(operation: Operation) -> str:
    return operation.name or f"operation {operation.kind}"


def _step(operation: Operation, number: int, shapes: Sequence[tuple[int, ...]]) -> _Step:
    shape = shapes[number]
    step = _Step(operation.kind, _named(operation), list(operation.of), number, shape)
    if operation.kind in _LINEAR:
        weight = np.asarray(operation.arrays["weight"], np.float64)
        bias = operation.arrays.get("bias", np.zeros(len(weight)))
        bias = np.asarray(bias, np.float64).reshape(-1)
        step.arrays = {"weight": weight, "bias": bias}
        if operation.kind == "conv2d":
            step.options = {"stride": 1, "padding": 0, "groups": 1, **operation.options}
    elif operation.kind in ("affine", "relu", "clip"):
        step.kind, channels = "affine", shape[0]
        step.arrays = {"scale": np.ones(channels), "shift": np.zeros(channels)}
        if operation.kind == "affine":
            step.arrays = dict(zip(("scale", "shift"), _by_channel(operation, shape), strict=True))
        else:
            step.limit(*_limits(operation))
    elif operation.kind == "add":
        given = [shapes[i] for i in operation.of]
        if len(given) != 2 or given[0] != given[1]:
            raise ModelError(
                f"{step.name}: adds results of shapes {given}; the integer form adds two of one "
                "shape"
            )
    elif operation.kind == "average":
        step.options = {"kernel": operation.options.get("kernel", 0)}
    else:
        raise ModelError(f"{step.name}: there is no integer form of it")
    return step


def _with_image(steps: list[_Step], pixels: Pixels) -> list[_Step]:
    """Put an affine map in front of operations that cannot take the source's units."""
    direct = [s for s in steps if 0 in s.of and s.kind != "affine"]
    fit = narrow(*pixels.limits) or all(s.kind not in _LINEAR for s in direct)
    if not direct or (fit and pixels.offset == 0):
        return steps
    channels = pixels.shape[0]
    same = {"scale": np.ones(channels), "shift": np.zeros(channels)}
    for step in direct:
        step.of = [_IMAGE if i == 0 else i for i in step.of]
    return [_Step("affine", "the image", [0], _IMAGE, pixels.shape, same), *steps]


# --- what results can be -------------------------------------------------------------------------


def _proven(steps: list[_Step], pixels: Pixels) -> dict[int, Span]:
    """Smallest and largest real result of each step, for any image in range."""
    ends = [q / pixels.scale + pixels.offset for q in pixels.limits]
    by_channel = {0: tuple(np.full(pixels.shape[0], end) for end in ends)}
    for step in steps:
        low, high = _interval(step, [by_channel[i] for i in step.of])
        by_channel[step.result] = tuple(np.clip(x, step.low, step.high) for x in (low, high))
    return {v: (float(low.min()), float(high.max())) for v, (low, high) in by_channel.items()}


def _interval(step: _Step, given: list[tuple[Array, ...]]) -> tuple[Array, Array]:
    low, high = given[0]
    if step.kind == "add":
        return low + given[1][0], high + given[1][1]
    if step.kind == "average":
        return low, high
    if step.kind == "affine":
        ends = [x * step.arrays["scale"] + step.arrays["shift"] for x in (low, high)]
        return np.minimum(*ends), np.maximum(*ends)
    weight, groups = step.arrays["weight"], step.options.get("groups", 1)
    if step.options.get("padding"):
        low, high = np.minimum(low, 0), np.maximum(high, 0)
    if step.kind == "dense":  # the pixels of a channel lie side by side
        low, high = (np.repeat(x, weight.shape[1] // len(x)) for x in (low, high))
    # (outs, ins of the group, taps), and the limits of each out's own ins
    taps = weight.reshape(len(weight), weight.shape[1], -1)
    own = np.repeat(np.arange(groups), len(weight) // groups)
    least, most = (x.reshape(groups, -1)[own] for x in (low, high))
    positive, negative = np.maximum(taps, 0).sum(axis=2), np.minimum(taps, 0).sum(axis=2)
    bias = step.arrays["bias"]
    return (
        bias + (positive * least + negative * most).sum(axis=1),
        bias + (positive * most + negative * least).sum(axis=1),
    )


def made_up(pixels: Pixels) -> Array:
    """Images (n, C, H, W) of random blocks of 1, 2, 4, .. pixels over the whole range of values."""
    rng = np.random.default_rng(0)
    channels, height, width = pixels.shape
    low, high = (q / pixels.scale + pixels.offset for q in pixels.limits)
    found = []
    for power in range(max(height, width).bit_length()):
        size = 1 << power
        blocks = rng.random((BLOCKS, channels, -(-height // size), -(-width // size)))
        full = blocks.repeat(size, axis=2).repeat(size, axis=3)[:, :, :height, :width]
        found.append(low + (high - low) * full)
    return np.concatenate(found)


def _seen(network: PolicyNetwork, samples: Iterable[Array]) -> dict[int, Span]:
    """Smallest and largest number of each value of the network, on samples."""
    found: dict[int, Span] = {}
    # One image at a time: all results of a batch of large ones would take gigabytes.
    for image in (image for batch in samples for image in batch):
        for i, value in enumerate(network.values(image[None])):
            low, high = found.get(i, (inf, -inf))
            found[i] = min(low, float(value.min())), max(high, float(value.max()))
    return found


def _span(proven: Span, seen: Span | None, spare: float) -> Span:
    """What the numbers of a result have to hold: `spare` times what was seen, if anything was."""
    if seen is None:
        return proven
    low, high = seen
    low, high = max(min(low, spare * low), proven[0]), min(max(high, spare * high), proven[1])
    # Where nothing negative can come, negative numbers would be of no use.
    return (min(low, 0.0) if proven[0] < 0 else 0.0), high


# --- integers ------------------------------------------------------------------------------------


class _Made:
    """The operations that are made so far; `unit` is what 1 is worth in each value."""

    def __init__(self, steps: list[_Step], pixels: Pixels) -> None:
        self.steps, self.pixels = steps, pixels
        self.operations: list[IntegerOperation] = []
        self.unit: dict[int, float] = {0: 1 / pixels.scale}
        self.place = {0: 0}  # of values among the results of the integer network

    def bits(self, step: _Step) -> int:
        """Bits of a step's result."""
        if step is self.steps[-1]:
            return 32
        weighted = any(step.result in s.of for s in self.steps if s.kind in _LINEAR)
        return OPERAND if weighted else VALUE

    def add(self, number: int, span: Span) -> None:
        """Add the operation of a step whose result spans `span`."""
        step = self.steps[number]
        arrays, worth = self._summed(step)
        bits, offset = self.bits(step), self._offset(step)
        unit, low, high = _units(bits, span, worth, step.kind in _LINEAR)
        unit = max(unit, float(np.abs(offset).max()) / OFFSET)
        factor, moved, shift = _factors(worth / unit, offset / unit)
        arrays["factor"] = factor
        if step.kind == "affine":
            arrays["offset"] = moved
        limits = (_whole(x / unit, low, high) for x in (step.low, step.high))
        options = step.options | {"shift": shift} | dict(zip(("low", "high"), limits, strict=True))
        of = tuple(self.place[i] for i in step.of)
        self.operations.append(IntegerOperation(step.kind, of, arrays, options, step.name))
        self.unit[step.result], self.place[step.result] = unit, number + 1

    def _summed(self, step: _Step) -> tuple[dict[str, Array], Array]:
        """Whole weights and biases of a step, and what 1 is worth in its sums."""
        units = np.array([self.unit[i] for i in step.of])
        if step.kind == "affine":
            return {}, units * step.arrays["scale"]
        if step.kind == "add":
            return {}, units
        if step.kind == "average":
            before = self.pixels.shape if step.of[0] == 0 else self._shape(step.of[0])
            kernel = step.options["kernel"]
            return {}, units / (kernel * kernel if kernel else before[1] * before[2])
        weight, bias = step.arrays["weight"], step.arrays["bias"]
        largest = np.abs(weight).reshape(len(weight), -1).max(axis=1)
        worth = np.maximum(largest / WEIGHT * units, np.abs(bias) / BIAS)
        known = np.where(worth > 0, worth, 1.0)
        by_channel = (known / units).reshape(-1, *[1] * (weight.ndim - 1))
        whole = {
            "weight": np.rint(weight / by_channel).astype(np.int8),
            "bias": np.rint(bias / known).astype(np.int32),
        }
        return whole, worth

    def _shape(self, value: int) -> tuple[int, ...]:
        return next(s.shape for s in self.steps if s.result == value)

    def _offset(self, step: _Step) -> Array:
        """What an affine map adds, in real numbers."""
        if step.kind != "affine":
            return np.zeros(1)
        begins = self.pixels.offset if step.of == [0] else 0.0
        return np.asarray(step.arrays["scale"] * begins + step.arrays["shift"])


def _units(bits: int, span: Span, worth: Array, linear: bool) -> tuple[float, int, int]:
    """What 1 is worth in a result of so many bits, and the smallest and largest one."""
    low, high = span
    coarsest = float(np.abs(worth).max())
    if bits == 32:
        # As fine as the sums, and finer where these are of few bits.
        found = max(coarsest if linear else coarsest / (1 << 14), max(-low, high) / (1 << 30))
        return found or 1.0, -WORD, WORD
    signed = low < 0
    top = (1 << bits - 1) - 1 if signed or bits != OPERAND else (1 << bits) - 1
    unit = max(max(-low, high) / top, coarsest / FINEST)
    return unit or 1.0, -top if signed else 0, top


def _factors(ratio: Array, offset: Array) -> tuple[Array, Array, int]:
    """Whole factors and offsets, both times 2^shift, and the shift: as fine as 32 bits hold."""
    rooms = [(np.abs(ratio).max(), FACTOR), (np.abs(offset).max(), OFFSET)]
    shift = min([floor(log2(room / x)) for x, room in rooms if x > 0] + [MOST_SHIFT])
    shift = max(shift, 0)
    factor, moved = (np.rint(np.ldexp(x, shift)).astype(np.int32) for x in (ratio, offset))
    return factor, moved, shift


def _whole(x: float, low: int, high: int) -> int:
    return int(np.rint(min(max(x, low), high)))


__all__ = ["Pixels", "to_integers"]
