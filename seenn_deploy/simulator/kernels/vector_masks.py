"""Spikes as bit masks: sixteen neurons of one pixel are one word, with neuron i in bit i."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import overload

from seenn_deploy._typing import Array
from seenn_deploy.simulator.kernels.vectors import I64, Lanes, array_data, has_feature, intrinsic

LANES = 16
AT_ONCE = 4  # words that one 64-bit load fetches
_function: Any = cgutils.get_or_insert_function
_BYTES = ir.VectorType(ir.IntType(8), 64)


def list_rows(rows: Array, n: int, masks: Array, at: int, keep: int, base: int) -> int:
    """Write ``base + i`` to ``rows[n:]`` for every bit i set in four words, in ascending order.

    Parameters
    ----------
    rows : uint8 array
        With 64 elements of room behind what is written.
    n : int
        Where to begin.
    masks : uint16 array, flat
    at : int
        Index of the first of the four words.
    keep : int
        The bits of the 64 that count.
    base : int

    Returns
    -------
    int
        ``n`` plus the number of bits set.
    """
    word = sum(int(masks[at + i]) << i * LANES for i in range(AT_ONCE))
    return list_bits(rows, n, word & int(keep), base)


# numba compares the signatures of function and overload, annotations included: so it has none.
@overload(list_rows, jit_options={"forceinline": True})
def _list_rows(rows, n, masks, at, keep, base):  # type: ignore[no-untyped-def]
    def call(rows, n, masks, at, keep, base):  # type: ignore[no-untyped-def]
        return list_bits(rows, n, _four_words(masks, at) & keep, base)

    return call


def list_bits(rows: Array, n: int, bits: int, base: int) -> int:
    """Do what `list_rows` does for an integer of 64 bits."""
    for i in range(4 * LANES):
        if bits >> i & 1:
            rows[n] = base + i
            n += 1
    return n


@overload(list_bits, jit_options={"forceinline": True})
def _list_bits(rows, n, bits, base):  # type: ignore[no-untyped-def]
    def compress(rows, n, bits, base):  # type: ignore[no-untyped-def]
        return n + _compress_rows(rows, n, bits, base)

    def walk(rows, n, bits, base):  # type: ignore[no-untyped-def]
        while bits:
            rows[n] = base + lowest_bit(bits)
            n += 1
            bits &= bits - 1  # clears the lowest bit
        return n

    # One instruction packs the bytes that a mask selects, where the processor has it.
    return compress if has_feature("avx512vbmi2") else walk


@intrinsic
def _four_words(typingctx: Any, masks: Any, at: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = array_data(context, builder, signature, args, 0)
        loaded = builder.load(builder.bitcast(builder.gep(data, [args[1]]), I64.as_pointer()))
        loaded.align = 2
        return loaded

    return types.int64(masks, types.intp), codegen


@intrinsic
def _compress_rows(typingctx: Any, rows: Any, n: Any, word: Any, base: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = array_data(context, builder, signature, args, 0)
        lanes = Lanes(builder, ir.IntType(8), 64)
        numbers = builder.add(ir.Constant(_BYTES, list(range(64))), lanes.spread(args[3]))
        flags = builder.bitcast(args[2], ir.VectorType(ir.IntType(1), 64))
        kind = ir.FunctionType(_BYTES, [_BYTES, flags.type, _BYTES])
        name = "llvm.experimental.vector.compress.v64i8"
        packed = _function(builder.module, kind, name)
        undefined = ir.Constant(_BYTES, ir.Undefined)
        lanes.store(builder.call(packed, [numbers, flags, undefined]), lanes.at(data, args[1]))
        return builder.ctpop(args[2])

    signature = types.int64(rows, types.intp, types.int64, types.int64)
    return signature, codegen


def add_chosen(total: Array, at: int, bits: int, table: Array, table_at: int) -> None:
    """Add ``table[table_at + i]`` to ``total[at + i]`` for every bit i of 16 that is set.

    Parameters
    ----------
    total : array, flat
    at : int
    bits : int
    table : array, flat
        Of the type of `total`, or a narrower integer.
    table_at : int
    """
    for i in range(LANES):
        if bits >> i & 1:
            total[at + i] += table[table_at + i]


@overload(add_chosen)
def _add_chosen(total, at, bits, table, table_at):  # type: ignore[no-untyped-def]
    def call(total, at, bits, table, table_at):  # type: ignore[no-untyped-def]
        _add_chosen_lanes(total, at, bits, table, table_at)

    return call


@intrinsic
def _add_chosen_lanes(
    typingctx: Any, total: Any, at: Any, bits: Any, table: Any, table_at: Any
) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = array_data(context, builder, signature, args, 0)
        lanes = Lanes(builder, data.type.pointee, LANES)
        target = lanes.at(data, args[1])
        added = lanes.at(array_data(context, builder, signature, args, 3), args[4])
        flags = builder.bitcast(builder.trunc(args[2], ir.IntType(LANES)), lanes.flags)
        held = lanes.load(target)
        lanes.store(builder.select(flags, lanes.add(held, lanes.load(added)), held), target)
        return context.get_dummy_value()

    return types.void(total, types.intp, types.int64, table, types.intp), codegen


def add_scaled(total: Array, at: int, values: Array, values_at: int, weight: Any) -> None:
    """Add ``weight * values[values_at + i]`` to ``total[at + i]`` for i of 0 to 15.

    All are of one type; a product of floats is rounded before it is added.
    """
    for i in range(LANES):
        total[at + i] += weight * values[values_at + i]


@overload(add_scaled)
def _add_scaled(total, at, values, values_at, weight):  # type: ignore[no-untyped-def]
    def call(total, at, values, values_at, weight):  # type: ignore[no-untyped-def]
        _add_scaled_lanes(total, at, values, values_at, weight)

    return call


@intrinsic
def _add_scaled_lanes(
    typingctx: Any, total: Any, at: Any, values: Any, values_at: Any, weight: Any
) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data, added = (array_data(context, builder, signature, args, i) for i in (0, 2))
        lanes = Lanes(builder, data.type.pointee, LANES)
        target, value = lanes.at(data, args[1]), lanes.load(lanes.at(added, args[3]))
        product = (builder.fmul if lanes.is_float else builder.mul)(lanes.spread(args[4]), value)
        lanes.store(lanes.add(lanes.load(target), product), target)
        return context.get_dummy_value()

    return types.void(total, types.intp, values, types.intp, total.dtype), codegen


def count_bits(bits: int) -> int:
    """Return the number of bits set in an integer of at least 0."""
    return bin(bits).count("1")


def lowest_bit(bits: int) -> int:
    """Return the position of the lowest bit set in an integer above 0."""
    return int(bits & -bits).bit_length() - 1


@overload(count_bits)
def _count_bits(bits):  # type: ignore[no-untyped-def]
    def count(bits):  # type: ignore[no-untyped-def]
        return _population_count(bits)

    return count


@overload(lowest_bit)
def _lowest_bit(bits):  # type: ignore[no-untyped-def]
    def position(bits):  # type: ignore[no-untyped-def]
        return _trailing_zeros(bits)

    return position


@intrinsic
def _population_count(typingctx: Any, bits: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.ctpop(args[0])

    return types.int64(types.int64), codegen


@intrinsic
def _trailing_zeros(typingctx: Any, bits: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.int64), codegen
