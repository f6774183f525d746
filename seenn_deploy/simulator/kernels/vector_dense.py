"""Weight rows times values, for pixels of which most values are not 0.

Where nearly every value is an event, a list of events saves few additions, and each of them loads
its row of weights anew. :func:`add_all` takes the values of some pixels as they are, zeros among
them: a row is loaded once for all these pixels, and the processor multiplies as fast as it can.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import overload

from seenn_deploy._typing import Array
from seenn_deploy.simulator.kernels.vectors import (
    Lanes,
    alloca,
    array_data,
    counting,
    has_feature,
    integer,
    intrinsic,
)

PIXELS = (
    6  # 6 pixels with 64 lanes each leave registers for the weights, if those are 512 bits wide
)
WIDE = 64  # lanes of a block


def add_all(
    current: Array,
    at: int,
    step: int,
    weight: Array,
    weight_at: int,
    values: Array,
    value_at: int,
    rows: int,
    pixels: int,
) -> None:
    """Add to a block of `WIDE` currents of some pixels the weight rows times the pixels' values.

    Parameters
    ----------
    current : float32 or int32 array, flat
    at, step : int
        Index in `current` where the first pixel's block begins, and how far the next one is.
    weight : float32 array, flat
        Weight rows of `WIDE` values each.
    weight_at : int
        Index in `weight` where row 0 begins.
    values : float32 array, flat
        The values of the pixels, `rows` for each of them.
    value_at : int
        Index in `values` where those of the first pixel begin.
    rows : int
    pixels : int
        1 to `PIXELS`. Each row's product is added to a pixel's sum in turn, rounded once. The sum
        begins with a float32 current; to an int32 one it is added at the end, where it must have
        stayed below 2^24.
    """
    for pixel in range(pixels):
        block = slice(at + pixel * step, at + pixel * step + WIDE)
        total = np.zeros(WIDE, np.float32)
        if current.dtype == np.float32:
            total, current[block] = current[block].copy(), 0
        for row in range(rows):
            begin = weight_at + row * WIDE
            total += weight[begin : begin + WIDE] * values[value_at + pixel * rows + row]
        current[block] += total.astype(current.dtype)


def in_floats(weight: Array) -> bool:
    """Tell whether weight rows are float32, as `add_all` needs them."""
    return weight.dtype == np.float32


def as_floats(scratch: Array, weight: Array) -> Array:
    """Return scratch for float32 values, if the weights are `in_floats`; else it is never used."""
    return scratch.view(np.float32) if in_floats(weight) else scratch


# numba compares the signatures of function and overload, annotations included: so it has none.
@overload(add_all, jit_options={"forceinline": True})
def _add_all(current, at, step, weight, weight_at, values, value_at, rows, pixels):  # type: ignore[no-untyped-def]
    def call(current, at, step, weight, weight_at, values, value_at, rows, pixels):  # type: ignore[no-untyped-def]
        _multiply(current, at, step, weight, weight_at, values, value_at, rows, pixels)

    def none(current, at, step, weight, weight_at, values, value_at, rows, pixels):  # type: ignore[no-untyped-def]
        pass

    return call if weight.dtype == types.float32 else none


@overload(in_floats, jit_options={"forceinline": True})
def _in_floats(weight):  # type: ignore[no-untyped-def]
    are = weight.dtype == types.float32
    return lambda weight: are


@overload(as_floats, jit_options={"forceinline": True})
def _as_floats(scratch, weight):  # type: ignore[no-untyped-def]
    if weight.dtype == types.float32:
        return lambda scratch, weight: scratch.view(np.float32)
    return lambda scratch, weight: scratch


@intrinsic
def _multiply(
    typingctx: Any, current: Any, at: Any, step: Any, weight: Any, weight_at: Any,
    values: Any, value_at: Any, rows: Any, pixels: Any,
) -> Any:  # fmt: skip
    size = types.intp
    signature = types.void(current, size, size, weight, size, values, size, size, size)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        current, weight, values = (
            array_data(context, builder, signature, args, i) for i in (0, 3, 5)
        )
        _, at, step, _, weight_at, _, value_at, rows, pixels = args
        # Fewer lanes at a time where registers are fewer and narrower, or sums would leave them.
        lanes = Lanes(builder, ir.FloatType(), WIDE if has_feature("avx512f") else 16)
        kept = Lanes(builder, current.type.pointee, lanes.width)
        last = builder.sub(pixels, integer(1))
        # Where there are fewer pixels, the last one is computed again: to the same result.
        number = [_least(builder, integer(i), last) for i in range(PIXELS)]
        firsts = [builder.gep(values, [_at(builder, value_at, n, rows)]) for n in number]
        sums = [alloca(builder, lanes.kind) for _ in number]
        for lane in range(0, WIDE, lanes.width):
            begin = builder.add(at, integer(lane))
            targets = [kept.at(current, _at(builder, begin, n, step)) for n in number]
            held = [kept.load(target) for target in targets]
            for total, old in zip(sums, held, strict=True):
                builder.store(old if kept.is_float else lanes.zero(), total)
            block = builder.gep(weight, [builder.add(weight_at, integer(lane))])
            with counting(builder, integer(0), rows) as (row, _):
                added = lanes.load(lanes.at(block, builder.mul(row, integer(WIDE))))
                for first, total in zip(firsts, sums, strict=True):
                    value = lanes.spread(builder.load(builder.gep(first, [row])))
                    found = lanes.multiply_add(value, added, builder.load(total))
                    builder.store(found, total)
            for target, old, total in zip(targets, held, sums, strict=True):
                found = builder.load(total)
                if not kept.is_float:
                    found = kept.add(old, builder.fptosi(found, kept.kind))
                kept.store(found, target)
        return context.get_dummy_value()

    return signature, codegen


def _least(builder: Any, a: Any, b: Any) -> Any:
    return builder.select(builder.icmp_signed("<", a, b), a, b)


def _at(builder: Any, first: Any, number: Any, step: Any) -> Any:
    return builder.add(first, builder.mul(number, step))
