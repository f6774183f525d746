"""One timestep of sixteen neurons at once, their spikes as the bits of an integer.

A loop that updates a neuron and then asks whether it spiked does one neuron at a time. Sixteen at
a time the update is a handful of vector instructions, and only the few spikes are visited one by
one. numba has no type for a vector of flags, hence the intrinsic.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload

from seenn_deploy.graph import Array

LANES = 16
_intrinsic: Any = intrinsic  # its calls lack the first parameter, which confuses a type checker


def fire(
    v: Array,
    current: Array,
    at: int,
    bias: Array,
    bias_at: int,
    tau: Any,
    threshold: Any,
    at_threshold: bool,
    soft: bool,
) -> int:
    """Update neurons ``at:at + 16`` and clear their currents.

    ``a = current + bias;  v' = tau v + a``; a spike where v' > threshold (>= with `at_threshold`),
    then v = 0, or v' - threshold with `soft`.

    Parameters
    ----------
    v, current : float32 arrays, flat
    at : int
    bias : float32 array, flat
    bias_at : int
    tau, threshold : float32

    Returns
    -------
    int
        Bit i: neuron ``at + i`` spiked. Bit 16 + i: it had a current or a potential other than 0.
    """
    bits = 0
    for i in range(LANES):
        a = current[at + i] + bias[bias_at + i]
        old = v[at + i]
        new = tau * old + a
        spike = new >= threshold if at_threshold else new > threshold
        if spike:
            bits |= 1 << i
        if a != 0 or old != 0:
            bits |= 1 << (LANES + i)
        kept = new - threshold if soft else new * 0
        v[at + i] = kept if spike else new
        current[at + i] = 0
    return bits


# numba compares the two signatures, annotations included, so these have none
@overload(fire)
def _fire(v, current, at, bias, bias_at, tau, threshold, at_threshold, soft):  # type: ignore[no-untyped-def]
    def call(v, current, at, bias, bias_at, tau, threshold, at_threshold, soft):  # type: ignore[no-untyped-def]
        return _fire_lanes(v, current, at, bias, bias_at, tau, threshold, at_threshold, soft)

    return call


@_intrinsic
def _fire_lanes(
    typingctx: Any, v: Any, current: Any, at: Any, bias: Any, bias_at: Any,
    tau: Any, threshold: Any, at_threshold: Any, soft: Any,
) -> Any:  # fmt: skip
    size, flag = types.intp, types.boolean
    signature = types.int64(v, current, size, bias, size, tau, threshold, flag, flag)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        def pointer(array: int, offset: int) -> Any:
            data = context.make_array(signature.args[array])(context, builder, args[array]).data
            return builder.bitcast(builder.gep(data, [args[offset]]), vector.as_pointer())

        def load(pointer: Any) -> Any:
            loaded = builder.load(pointer)
            loaded.align = 4  # of one float32; numpy promises no more
            return loaded

        vector = ir.VectorType(ir.FloatType(), LANES)
        zero = ir.Constant(vector, [0.0] * LANES)
        v_at, current_at = pointer(0, 2), pointer(1, 2)
        limit = _spread(builder, args[6])
        a = builder.fadd(load(current_at), load(pointer(3, 4)))
        old = load(v_at)
        new = builder.fadd(builder.fmul(_spread(builder, args[5]), old), a)
        over, reached = (builder.fcmp_ordered(op, new, limit) for op in (">", ">="))
        spike = builder.select(_flag(builder, args[7]), reached, over)
        kept = builder.select(_flag(builder, args[8]), builder.fsub(new, limit), zero)
        builder.store(builder.select(spike, kept, new), v_at).align = 4
        builder.store(zero, current_at).align = 4
        busy = (builder.fcmp_unordered("!=", x, zero) for x in (a, old))
        return builder.or_(
            _bits(builder, spike),
            builder.shl(_bits(builder, builder.or_(*busy)), ir.Constant(ir.IntType(64), LANES)),
        )

    return signature, codegen


def _spread(builder: Any, scalar: Any) -> Any:
    """A vector with `scalar` in every lane."""
    undefined = ir.Constant(ir.VectorType(scalar.type, LANES), ir.Undefined)
    single = builder.insert_element(undefined, scalar, ir.Constant(ir.IntType(32), 0))
    lanes = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    return builder.shuffle_vector(single, undefined, lanes)


def _flag(builder: Any, value: Any) -> Any:
    """A boolean argument as the one bit that a select takes."""
    truth: Any = cgutils.as_bool_bit
    return truth(builder, value)


def _bits(builder: Any, flags: Any) -> Any:
    """A vector of flags as an integer, lane i in bit i."""
    return builder.zext(builder.bitcast(flags, ir.IntType(LANES)), ir.IntType(64))


def count_bits(bits: int) -> int:
    """Number of bits set in an integer of at least 0."""
    return bin(bits).count("1")


def lowest_bit(bits: int) -> int:
    """Position of the lowest bit set in an integer above 0."""
    return (bits & -bits).bit_length() - 1


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


@_intrinsic
def _population_count(typingctx: Any, bits: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.ctpop(args[0])

    return types.int64(types.int64), codegen


@_intrinsic
def _trailing_zeros(typingctx: Any, bits: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.int64), codegen
