"""Rows of weights, summed into one stretch of currents that never leaves the vector registers.

An event-driven layer spends its time on ``current[:] += weight[row, :]``, for every spike and
every row of its synapses. In a plain loop the current is loaded and stored for every row, and this
traffic, not the additions, is the limit. :func:`add_rows` holds the sum in vectors of `width`
lanes, adds all rows and stores it once. LLVM keeps the vectors in registers because they are local
values and not an array.

An addition has to wait for the one before it in the same register, some four cycles, while the
processor could begin two per cycle. Rows of less than 128 weights fill too few registers to hide
that, so their events take turns among several sums, which are added up at the end (`sums_of`). The
mispredicted end of each pixel's loop costs as much as ten events: lists come in whole groups of
`EVENTS`, filled up with a row of zeros, so that most pixels take the same number of turns.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import overload

from seenn_deploy._typing import Array
from seenn_deploy.simulator.kernels.vectors import (
    I64,
    Lanes,
    alloca,
    array_data,
    counting,
    integer,
    intrinsic,
)

_FLOAT = ir.FloatType()
WIDTHS = (128, 64, 32, 16)
EVENTS = 4  # a list of events is as long as a multiple of this
_ROWS = ir.IntType(8 * EVENTS)


def sums_of(width: int) -> int:
    """Return how many sums the events of rows of so many weights take turns among."""
    return min(EVENTS, 128 // width)


def add_rows(
    width: int,
    current: Array,
    at: int,
    weight: Array,
    weight_at: int,
    rows: Array,
    values: Array,
    start: int,
    stop: int,
) -> None:
    """Add to ``current[at:at + width]`` the weight rows of some events.

    Parameters
    ----------
    width : int
        Number of lanes; one of `WIDTHS`.
    current : float32 or int32 array, flat
    at : int
        Index in `current` where the stretch begins.
    weight : array, flat
        Weight rows of `width` values each. Rows of int16 are summed in 16 bits first, where all
        values are 1: no sum of the events of one call may leave them. Rows of float32 are summed
        in it, of int32 currents too: no such sum may reach 2^24, where whole numbers get lost.
    weight_at : int
        Index in `weight` where row 0 begins.
    rows : uint8 array
        The row that each event meets.
    values : array of the currents' type
        Value of each event; of length 0 when all are 1.
    start, stop : int
        The events to add are ``start:stop``, a multiple of `EVENTS`. Event i goes to sum
        i modulo ``sums_of(width)``, of which the first begins with a float32 current.
    """
    ways = sums_of(width)
    sums = np.zeros((ways, width), weight.dtype if weight.dtype == np.float32 else current.dtype)
    if sums.dtype == current.dtype:
        sums[0], current[at : at + width] = current[at : at + width], 0
    for e in range(start, stop):
        row = weight_at + int(rows[e]) * width
        value = sums.dtype.type(values[e] if len(values) else 1)
        sums[(e - start) % ways] += weight[row : row + width] * value
    while ways > 1:
        ways //= 2
        sums[:ways] += sums[ways : 2 * ways]
    current[at : at + width] += sums[0].astype(current.dtype)


# numba compares the signatures of function and overload, annotations included: so it has none.
@overload(add_rows, jit_options={"forceinline": True})
def _add_rows(width, current, at, weight, weight_at, rows, values, start, stop):  # type: ignore[no-untyped-def]
    def choose(width, current, at, weight, weight_at, rows, values, start, stop):  # type: ignore[no-untyped-def]
        args = (current, at, weight, weight_at, rows, values, start, stop)
        if len(values):
            if width == 128:
                _graded_128(*args)
            elif width == 64:
                _graded_64(*args)
            elif width == 32:
                _graded_32(*args)
            else:
                _graded_16(*args)
        elif width == 128:
            _binary_128(*args)
        elif width == 64:
            _binary_64(*args)
        elif width == 32:
            _binary_32(*args)
        else:
            _binary_16(*args)

    return choose


def _make(width: int, graded: bool) -> Any:
    @intrinsic
    def add(
        typingctx: Any, current: Any, at: Any, weight: Any, weight_at: Any, rows: Any,
        values: Any, start: Any, stop: Any,
    ) -> Any:  # fmt: skip
        size = types.intp
        signature = types.void(current, size, weight, size, rows, values, size, size)

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            current, weight, rows, values = (
                array_data(context, builder, signature, args, i) for i in (0, 2, 4, 5)
            )
            kept, weights = Lanes(builder, current.type.pointee, width), weight.type.pointee
            # Twice as many 16-bit sums fit into a register, and floats are multiplied faster.
            narrow = weights == ir.IntType(16) and not graded
            lanes = Lanes(builder, weights, width) if narrow or weights == _FLOAT else kept
            target = kept.at(current, args[1])
            first_row = builder.gep(weight, [args[3]])
            sums = [alloca(builder, lanes.kind) for _ in range(sums_of(width))]
            for total in sums:
                builder.store(lanes.zero(), total)
            if lanes.element == kept.element:
                builder.store(lanes.load(target), sums[0])
            with counting(builder, args[6], args[7], EVENTS) as (first, _):
                # All their rows in one load: it is loads that the processor waits for.
                place = builder.bitcast(builder.gep(rows, [first]), _ROWS.as_pointer())
                loaded = builder.load(place)
                loaded.align = 1
                four = builder.zext(loaded, I64)
                for i in range(EVENTS):
                    e, total = builder.add(first, integer(i)), sums[i % len(sums)]
                    row = builder.and_(builder.lshr(four, integer(8 * i)), integer(255))
                    added = lanes.load(lanes.at(first_row, builder.mul(row, integer(width))))
                    if graded:
                        value = builder.load(builder.gep(values, [e]))
                        if lanes.is_float and not kept.is_float:
                            value = builder.sitofp(value, _FLOAT)
                        found = lanes.multiply_add(lanes.spread(value), added, builder.load(total))
                    else:
                        found = lanes.add(builder.load(total), added)
                    builder.store(found, total)
            found = _total(lanes, [builder.load(total) for total in sums])
            if lanes.element != kept.element:
                widen = builder.fptosi if lanes.is_float else builder.sext
                found = kept.add(kept.load(target), widen(found, kept.kind))
            kept.store(found, target)
            return context.get_dummy_value()

        return signature, codegen

    return add


def _total(lanes: Lanes, sums: list[Any]) -> Any:
    """Add up some sums, the second half to the first."""
    while len(sums) > 1:
        half = len(sums) // 2
        sums = [lanes.add(a, b) for a, b in zip(sums[:half], sums[half:], strict=True)]
    return sums[0]


_binary_128, _binary_64, _binary_32, _binary_16 = (_make(width, False) for width in WIDTHS)
_graded_128, _graded_64, _graded_32, _graded_16 = (_make(width, True) for width in WIDTHS)
