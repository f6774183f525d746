"""Rows of weights summed into one stretch of currents that never leaves the vector registers.

The time of an event-driven layer is the time of ``current[:] += weight[row, :]`` for every spike
and synapse row. Written as a plain loop the current is loaded and stored for every row, and that
traffic, not the additions, is the limit. :func:`add_runs` loads it once an output pixel, as one
vector of `width` lanes, adds all rows and stores it once. LLVM keeps the vector in registers
because it is a local value and no array; numba has no such type, hence the intrinsic.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload

from seenn_deploy.graph import Array

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
    """``current[at:at + width] += sum of weight rows`` over the events of some runs of pixels.

    Parameters
    ----------
    width : int
        Lanes; one of `WIDTHS`.
    current : float32 or int32 array, flat
    at : int
        Where the stretch begins.
    weight : array, flat
        Rows of `width` values.
    weight_at : int
        Where row 0 begins.
    idx : int32 array
        Flat index of every event's neuron, ascending.
    val : float32 array
        Every event's value; of length 0 when all are 1.
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


# numba compares the two signatures, annotations included, so these have none
@overload(add_runs)
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


def _make(width: int, chains: int, graded: bool) -> Any:
    """The intrinsic for one width; `chains` partial sums hide the latency of short vectors."""

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
            def array(i: int) -> Any:
                return context.make_array(signature.args[i])(context, builder, args[i]).data

            emit = _Emitter(builder, array, args, width, graded)
            emit.all_runs(chains)
            return context.get_dummy_value()

        return signature, codegen

    return add


class _Emitter:
    """Writes the loop nest of one intrinsic as LLVM IR."""

    def __init__(self, builder: Any, array: Any, args: Any, width: int, graded: bool) -> None:
        self.builder, self.width, self.graded = builder, width, graded
        current, weight = array(0), array(2)
        self.vector = ir.VectorType(current.type.pointee, width)
        self.stored = ir.VectorType(weight.type.pointee, width)
        self.is_float = isinstance(current.type.pointee, ir.FloatType)
        self.target = builder.bitcast(builder.gep(current, [args[1]]), self.vector.as_pointer())
        self.weight = builder.gep(weight, [args[3]])
        self.idx, self.val, self.ptr = array(4), array(5), array(6)
        self.first, self.last, self.base = array(7), array(8), array(9)
        self.runs = args[10], args[11]

    def all_runs(self, chains: int) -> None:
        builder = self.builder
        sums = [_alloca(builder, self.vector) for _ in range(chains)]
        builder.store(self._load(self.target, self.vector), sums[0])
        for part in sums[1:]:
            builder.store(ir.Constant(self.vector, None), part)
        one = ir.Constant(ir.IntType(64), 1)
        with cgutils.for_range_slice(builder, *self.runs, one) as (k, _):
            self._one_run(k, sums)
        total = builder.load(sums[0])
        for part in sums[1:]:
            total = self._add(total, builder.load(part))
        builder.store(total, self.target).align = _alignment(self.vector)

    def _one_run(self, k: Any, sums: list[Any]) -> None:
        builder, i64 = self.builder, ir.IntType(64)
        base = self._at(self.base, k)
        start = self._at(self.ptr, self._at(self.first, k))
        stop = self._at(self.ptr, self._at(self.last, k))
        chains = ir.Constant(i64, len(sums))
        whole = builder.sub(stop, builder.srem(builder.sub(stop, start), chains))
        with cgutils.for_range_slice(builder, start, whole, chains) as (e, _):
            for j, part in enumerate(sums):
                self._add_row(builder.add(e, ir.Constant(i64, j)), base, part)
        if len(sums) > 1:
            with cgutils.for_range_slice(builder, whole, stop, ir.Constant(i64, 1)) as (e, _):
                self._add_row(e, base, sums[0])

    def _add_row(self, e: Any, base: Any, part: Any) -> None:
        builder = self.builder
        row = builder.add(self._at(self.idx, e), base)
        offset = builder.mul(row, ir.Constant(row.type, self.width))
        pointer = builder.bitcast(builder.gep(self.weight, [offset]), self.stored.as_pointer())
        value = self._load(pointer, self.stored)
        if self.stored != self.vector:
            value = builder.sext(value, self.vector)
        if self.graded:
            value = self._times(value, builder.load(builder.gep(self.val, [e])))
        builder.store(self._add(builder.load(part), value), part)

    def _times(self, vector: Any, scalar: Any) -> Any:
        undefined = ir.Constant(self.vector, ir.Undefined)
        zero = ir.Constant(ir.IntType(32), 0)
        lanes = ir.Constant(ir.VectorType(ir.IntType(32), self.width), None)
        single = self.builder.insert_element(undefined, scalar, zero)
        spread = self.builder.shuffle_vector(single, undefined, lanes)
        return (self.builder.fmul if self.is_float else self.builder.mul)(vector, spread)

    def _add(self, a: Any, b: Any) -> Any:
        return (self.builder.fadd if self.is_float else self.builder.add)(a, b)

    def _at(self, array: Any, i: Any) -> Any:
        return self.builder.sext(self.builder.load(self.builder.gep(array, [i])), ir.IntType(64))

    def _load(self, pointer: Any, kind: Any) -> Any:
        loaded = self.builder.load(pointer)
        loaded.align = _alignment(kind)
        return loaded


_alloca: Any = cgutils.alloca_once


def _alignment(vector: Any) -> int:
    """Bytes; numpy promises the alignment of one element, not that of a vector."""
    return 4 if isinstance(vector.element, ir.FloatType) else int(vector.element.width) // 8


_binary_64, _graded_64 = _make(64, 1, False), _make(64, 1, True)
_binary_32, _graded_32 = _make(32, 1, False), _make(32, 1, True)
_binary_16, _graded_16 = _make(16, 4, False), _make(16, 4, True)
