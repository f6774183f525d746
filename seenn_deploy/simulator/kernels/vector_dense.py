"""Weight rows times values, for pixels of which many values are not 0.

Where most values are events, a list of events saves few additions, and each of them loads its row
of weights anew. :func:`add_all` takes the values of some pixels as they are, zeros among them: a
row is loaded once for all these pixels, and the processor multiplies as fast as it can. Bytes it
multiplies four times as fast as floats, where it has the instruction.
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

WIDE = 64  # lanes of a block
PIXELS = 6  # their sums leave room for the weights in 32 registers of 512 bits
GROUP = 4  # rows of bytes that one instruction multiplies and sums
_LANES = 16


def multiplies_bytes() -> bool:
    """Tell whether the processor multiplies bytes and sums them up with one instruction."""
    return has_feature("avx512vnni")


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
    weight : float32 or int8 array, flat
        Weight rows of `WIDE` values each; of bytes, `GROUP` rows side by side, weight by weight.
        Bytes need `multiplies_bytes` and int32 currents.
    weight_at : int
        Index in `weight` where row 0 begins.
    values : float32 or uint8 array, flat
        The values of the pixels, `rows` for each of them.
    value_at : int
        Index in `values` where those of the first pixel begin.
    rows : int
        Of bytes, a multiple of `GROUP`.
    pixels : int
        1 to `PIXELS`. Each row's product is added to a pixel's sum in turn, of floats rounded once.
        The sum begins with the current, but that of floats for an int32 current is added to it
        at the end, where it must have stayed below 2^24.
    """
    as_bytes = weight.dtype == np.int8
    group = GROUP if as_bytes else 1
    for pixel in range(pixels):
        block = slice(at + pixel * step, at + pixel * step + WIDE)
        total = np.zeros(WIDE, np.int32 if as_bytes else np.float32)
        if total.dtype == current.dtype:
            total, current[block] = current[block].copy(), 0
        for row in range(rows):
            begin = weight_at + row // group * group * WIDE + row % group
            value = values[value_at + pixel * rows + row].astype(total.dtype)
            total += weight[begin : begin + group * WIDE : group] * value
        current[block] += total.astype(current.dtype)


def as_values(scratch: Array, weight: Array) -> Array:
    """Return scratch for the values that `add_all` multiplies with weights of this type."""
    return scratch.view(np.uint8 if weight.dtype == np.int8 else np.float32)


# numba compares the signatures of function and overload, annotations included: so it has none.
@overload(add_all, jit_options={"forceinline": True})
def _add_all(current, at, step, weight, weight_at, values, value_at, rows, pixels):  # type: ignore[no-untyped-def]
    def call(current, at, step, weight, weight_at, values, value_at, rows, pixels):  # type: ignore[no-untyped-def]
        _multiply(current, at, step, weight, weight_at, values, value_at, rows, pixels)

    return call


@overload(as_values, jit_options={"forceinline": True})
def _as_values(scratch, weight):  # type: ignore[no-untyped-def]
    kind = np.uint8 if weight.dtype == types.int8 else np.float32
    return lambda scratch, weight: scratch.view(kind)


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
        as_bytes = weight.type.pointee == ir.IntType(8)
        group = GROUP if as_bytes else 1
        kept = Lanes(builder, current.type.pointee, _LANES)
        lanes = kept if as_bytes else Lanes(builder, ir.FloatType(), _LANES)
        combine = lanes.multiply_bytes if as_bytes else lanes.multiply_add
        # Fewer vectors at a time where registers are fewer and narrower, or sums would leave them.
        tile = WIDE if has_feature("avx512f") else _LANES
        last = builder.sub(pixels, integer(1))
        # Where there are fewer pixels, the last one is computed again: to the same result.
        number = [_least(builder, integer(i), last) for i in range(PIXELS)]
        firsts = [builder.gep(values, [_at(builder, value_at, n, rows)]) for n in number]
        for lane in range(0, WIDE, tile):
            places = [
                kept.at(current, builder.add(_at(builder, at, n, step), integer(lane + i)))
                for n in number
                for i in range(0, tile, _LANES)
            ]
            held = [kept.load(place) for place in places]
            sums = [alloca(builder, lanes.kind) for _ in places]
            for total, old in zip(sums, held, strict=True):
                builder.store(old if lanes.element == kept.element else lanes.zero(), total)
            block = builder.gep(weight, [builder.add(weight_at, integer(lane * group))])
            with counting(builder, integer(0), rows, group) as (row, _):
                begin = builder.gep(block, [builder.mul(row, integer(WIDE))])
                added = [
                    _loaded(builder, builder.gep(begin, [integer(i * group)]), lanes.kind)
                    for i in range(0, tile, _LANES)
                ]
                for n, first in enumerate(firsts):
                    one = _loaded(builder, builder.gep(first, [row]), lanes.element)
                    value = lanes.spread(one)
                    for i, weights in enumerate(added):
                        total = sums[n * len(added) + i]
                        builder.store(combine(value, weights, builder.load(total)), total)
            for place, old, total in zip(places, held, sums, strict=True):
                found = builder.load(total)
                if lanes.element != kept.element:
                    found = kept.add(old, builder.fptosi(found, kept.kind))
                kept.store(found, place)
        return context.get_dummy_value()

    return signature, codegen


def _loaded(builder: Any, pointer: Any, kind: Any) -> Any:
    """Load lanes, or one value for all of them; groups of bytes lie in their place."""
    found = builder.load(builder.bitcast(pointer, kind.as_pointer()))
    found.align = 1
    return found


def _least(builder: Any, a: Any, b: Any) -> Any:
    return builder.select(builder.icmp_signed("<", a, b), a, b)


def _at(builder: Any, first: Any, number: Any, step: Any) -> Any:
    return builder.add(first, builder.mul(number, step))
