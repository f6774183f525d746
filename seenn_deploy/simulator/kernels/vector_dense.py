"""A stretch of a dense convolution, in which four output pixels share each loaded weight row.

Where many neurons spike, looking up each spike's row costs more than multiplying all rows in turn
by the 0 or 1 that the neuron sent: the rows come in order, and four pixels share each of them. The
sums are formed in the same order as in ``vector_add.add_runs``, so they are equal to the last bit.
"""

from __future__ import annotations

from typing import Any

from numba import types
from numba.extending import overload

from seenn_deploy._typing import Array
from seenn_deploy.simulator.kernels.vectors import (
    Lanes,
    alloca,
    array_data,
    counting,
    integer,
    intrinsic,
)

PIXELS = 4  # output pixels whose sums are held in registers at a time


def multiply_rows(
    width: int,
    pixels: int,
    current: Array,
    at: int,
    pixel_step: int,
    weight: Array,
    weight_at: int,
    x: Array,
    x_at: int,
    x_step: int,
    rows: int,
) -> None:
    """Add to ``current[at + j pixel_step :][:width]`` the sum over weight rows r of input x row.

    For output pixel j, row r is multiplied by ``x[x_at + j x_step + r]``.

    Parameters
    ----------
    width : int
        Number of lanes, and of values in a weight row: 64, 32 or 16.
    pixels : int
        Number of output pixels j: `PIXELS` or 1.
    current, weight, x : float32 arrays, flat
    at, weight_at, x_at : int
        Index where the stretch of each array begins.
    pixel_step, x_step : int
        Distance in `current` and in `x` from one output pixel to the next.
    rows : int
        Number of weight rows.
    """
    for j in range(pixels):
        for r in range(rows):
            value = x[x_at + j * x_step + r]
            for lane in range(width):
                product = value * weight[weight_at + r * width + lane]
                current[at + j * pixel_step + lane] += product


# numba compares the signatures of function and overload, annotations included: so it has none.
@overload(multiply_rows, jit_options={"forceinline": True})
def _multiply_rows(  # type: ignore[no-untyped-def]
    width, pixels, current, at, pixel_step, weight, weight_at, x, x_at, x_step, rows
):
    def choose(  # type: ignore[no-untyped-def]
        width, pixels, current, at, pixel_step, weight, weight_at, x, x_at, x_step, rows
    ):
        args = (current, at, pixel_step, weight, weight_at, x, x_at, x_step, rows)
        if pixels == PIXELS:
            if width == 64:
                _four_64(*args)
            elif width == 32:
                _four_32(*args)
            else:
                _four_16(*args)
        elif width == 64:
            _one_64(*args)
        elif width == 32:
            _one_32(*args)
        else:
            _one_16(*args)

    return choose


def _make(width: int, pixels: int) -> Any:
    @intrinsic
    def multiply(
        typingctx: Any, current: Any, at: Any, pixel_step: Any, weight: Any, weight_at: Any,
        x: Any, x_at: Any, x_step: Any, rows: Any,
    ) -> Any:  # fmt: skip
        size = types.intp
        signature = types.void(current, size, size, weight, size, x, size, size, size)

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            current, weight, x = (
                array_data(context, builder, signature, args, i) for i in (0, 3, 5)
            )
            lanes = Lanes(builder, current.type.pointee, width)
            numbers = [integer(j) for j in range(pixels)]
            targets = [
                lanes.at(current, builder.add(args[1], builder.mul(j, args[2]))) for j in numbers
            ]
            inputs = [
                builder.gep(x, [builder.add(args[6], builder.mul(j, args[7]))]) for j in numbers
            ]
            sums = [alloca(builder, lanes.kind) for _ in numbers]
            for total, target in zip(sums, targets, strict=True):
                builder.store(lanes.load(target), total)
            first_row = builder.gep(weight, [args[4]])
            with counting(builder, integer(0), args[8]) as (r, _):
                row = lanes.load(lanes.at(first_row, builder.mul(r, integer(width))))
                for total, values in zip(sums, inputs, strict=True):
                    value = lanes.spread(builder.load(builder.gep(values, [r])))
                    builder.store(lanes.multiply_add(value, row, builder.load(total)), total)
            for total, target in zip(sums, targets, strict=True):
                lanes.store(builder.load(total), target)
            return context.get_dummy_value()

        return signature, codegen

    return multiply


_four_64, _four_32, _four_16 = (_make(width, PIXELS) for width in (64, 32, 16))
_one_64, _one_32, _one_16 = (_make(width, 1) for width in (64, 32, 16))
