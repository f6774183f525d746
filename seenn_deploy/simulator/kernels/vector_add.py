"""Rows of weights, summed into one stretch of currents that never leaves the vector registers.

An event-driven layer spends its time on ``current[:] += weight[row, :]``, for every spike and
every row of its synapses. In a plain loop the current is loaded and stored for every row, and this
traffic, not the additions, is the limit. :func:`add_rows` holds the sum in one vector of `width`
lanes, adds all rows and stores it once. LLVM keeps the vector in registers because it is a local
value and not an array.
"""

from __future__ import annotations

from typing import Any

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

WIDTHS = (128, 64, 32, 16)


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
        Weight rows of `width` values each. Rows of int8 are summed in 16 bits first: at most 256
        of them may be asked for at a time, so that no sum overflows.
    weight_at : int
        Index in `weight` where row 0 begins.
    rows : uint8 array
        The row that each event meets.
    values : array of the currents' type
        Value of each event; of length 0 when all are 1.
    start, stop : int
        The events to add are ``start:stop``, in this order.
    """
    for e in range(start, stop):
        row = weight_at + int(rows[e]) * width
        for lane in range(width):
            value = weight[row + lane]
            current[at + lane] += value * values[e] if len(values) else value


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
            kept = Lanes(builder, current.type.pointee, width)
            # Twice as many 16-bit sums fit into a register.
            narrow = weight.type.pointee == ir.IntType(8) and not graded
            lanes = Lanes(builder, ir.IntType(16), width) if narrow else kept
            target = kept.at(current, args[1])
            first_row = builder.gep(weight, [args[3]])
            total = alloca(builder, lanes.kind)
            builder.store(lanes.zero() if narrow else lanes.load(target), total)
            with counting(builder, args[6], args[7]) as (e, _):
                row = builder.zext(builder.load(builder.gep(rows, [e])), I64)
                weights = lanes.load(lanes.at(first_row, builder.mul(row, integer(width))))
                if graded:
                    value = lanes.spread(builder.load(builder.gep(values, [e])))
                    builder.store(lanes.multiply_add(value, weights, builder.load(total)), total)
                else:
                    builder.store(lanes.add(builder.load(total), weights), total)
            found = builder.load(total)
            if narrow:
                found = kept.add(kept.load(target), builder.sext(found, kept.kind))
            kept.store(found, target)
            return context.get_dummy_value()

        return signature, codegen

    return add


_binary_128, _binary_64, _binary_32, _binary_16 = (_make(width, False) for width in WIDTHS)
_graded_128, _graded_64, _graded_32, _graded_16 = (_make(width, True) for width in WIDTHS)
