"""Rows of weights, summed into one stretch of currents that never leaves the vector registers.

An event-driven layer spends its time on ``current[:] += weight[row, :]``, for every spike and
every row of its synapses. In a plain loop the current is loaded and stored for every row, and this
traffic, not the additions, is the limit. :func:`add_runs` loads the current once per output pixel,
as one vector of `width` lanes, adds all rows and stores it once. LLVM keeps the vector in registers
because it is a local value and not an array.
"""

from __future__ import annotations

from typing import Any

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

WIDTHS = (64, 32, 16)


def add_runs(
    width: int,
    current: Array,
    at: int,
    weight: Array,
    weight_at: int,
    idx: Array,
    val: Array,
    ptr: Array,
    first: Array,
    last: Array,
    base: Array,
    run_from: int,
    run_to: int,
) -> None:
    """Add to ``current[at:at + width]`` the weight rows of all events in some runs of pixels.

    Parameters
    ----------
    width : int
        Number of lanes; one of `WIDTHS`.
    current : float32 or int32 array, flat
    at : int
        Index in `current` where the stretch begins.
    weight : array, flat
        Weight rows of `width` values each.
    weight_at : int
        Index in `weight` where row 0 begins.
    idx : int32 array
        Flat index of the neuron of each event, ascending.
    val : float32 array
        Value of each event; of length 0 when all are 1.
    ptr : int32 array (pixels + 1,)
        Events of pixel q are ``idx[ptr[q]:ptr[q + 1]]``.
    first, last, base : int32 arrays (runs,)
        Run k covers pixels ``first[k]:last[k]``; its event e meets row ``idx[e] + base[k]``.
    run_from, run_to : int
        The runs to add.
    """
    for k in range(run_from, run_to):
        for e in range(ptr[first[k]], ptr[last[k]]):
            row = weight_at + (idx[e] + base[k]) * width
            for lane in range(width):
                value = weight[row + lane]
                current[at + lane] += value * val[e] if len(val) else value


# numba compares the signatures of function and overload, annotations included: so it has none.
@overload(add_runs, jit_options={"forceinline": True})
def _add_runs(  # type: ignore[no-untyped-def]
    width, current, at, weight, weight_at, idx, val, ptr, first, last, base, run_from, run_to
):
    def choose(  # type: ignore[no-untyped-def]
        width, current, at, weight, weight_at, idx, val, ptr, first, last, base, run_from, run_to
    ):
        args = (current, at, weight, weight_at, idx, val, ptr, first, last, base, run_from, run_to)
        if len(val):
            if width == 64:
                _graded_64(*args)
            elif width == 32:
                _graded_32(*args)
            else:
                _graded_16(*args)
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
        typingctx: Any, current: Any, at: Any, weight: Any, weight_at: Any, idx: Any, val: Any,
        ptr: Any, first: Any, last: Any, base: Any, run_from: Any, run_to: Any,
    ) -> Any:  # fmt: skip
        size = types.intp
        signature = types.void(
            current, size, weight, size, idx, val, ptr, first, last, base, size, size
        )

        def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            arrays = (0, 2, 4, 5, 6, 7, 8, 9)
            data = {i: array_data(context, builder, signature, args, i) for i in arrays}
            _AddRuns(builder, data, args, width, graded).emit()
            return context.get_dummy_value()

        return signature, codegen

    return add


class _AddRuns:
    """The writer of one intrinsic: it emits the loops of `add_runs` as LLVM instructions."""

    def __init__(self, builder: Any, data: Any, args: Any, width: int, graded: bool) -> None:
        self.builder, self.graded = builder, graded
        self.lanes = Lanes(builder, data[0].type.pointee, width)
        self.target = self.lanes.at(data[0], args[1])
        self.weight = builder.gep(data[2], [args[3]])
        self.idx, self.val, self.ptr = data[4], data[5], data[6]
        self.first, self.last, self.base = data[7], data[8], data[9]
        self.runs = args[10], args[11]
        self.sum = alloca(builder, self.lanes.kind)

    def emit(self) -> None:
        self.builder.store(self.lanes.load(self.target), self.sum)
        with counting(self.builder, *self.runs) as (k, _):
            base = self._at(self.base, k)
            start = self._at(self.ptr, self._at(self.first, k))
            stop = self._at(self.ptr, self._at(self.last, k))
            with counting(self.builder, start, stop) as (e, _):
                self._add_row(e, base)
        self.lanes.store(self.builder.load(self.sum), self.target)

    def _add_row(self, e: Any, base: Any) -> None:
        builder, lanes = self.builder, self.lanes
        row = builder.add(self._at(self.idx, e), base)
        weights = lanes.load(lanes.at(self.weight, builder.mul(row, integer(lanes.width))))
        total = builder.load(self.sum)
        if self.graded:
            value = lanes.spread(builder.load(builder.gep(self.val, [e])))
            builder.store(lanes.multiply_add(value, weights, total), self.sum)
        else:
            builder.store(lanes.add(total, weights), self.sum)

    def _at(self, array: Any, i: Any) -> Any:
        return self.builder.sext(self.builder.load(self.builder.gep(array, [i])), I64)


_binary_64, _binary_32, _binary_16 = (_make(width, False) for width in (64, 32, 16))
_graded_64, _graded_32, _graded_16 = (_make(width, True) for width in (64, 32, 16))
