"""One timestep of sixteen neurons at once, their spikes as the bits of an integer.

A loop that updates a neuron and then asks whether it spiked does one neuron at a time. Sixteen at
a time the update is a handful of vector instructions, and only the few spikes are visited one by
one.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import overload

from seenn_deploy.graph import Array
from seenn_deploy.simulator.vectors import I64, Lanes, array_data, integer, intrinsic

LANES = 16


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
@overload(fire, jit_options={"forceinline": True})
def _fire(v, current, at, bias, bias_at, tau, threshold, at_threshold, soft):  # type: ignore[no-untyped-def]
    def call(v, current, at, bias, bias_at, tau, threshold, at_threshold, soft):  # type: ignore[no-untyped-def]
        return _fire_lanes(v, current, at, bias, bias_at, tau, threshold, at_threshold, soft)

    return call


@intrinsic
def _fire_lanes(
    typingctx: Any, v: Any, current: Any, at: Any, bias: Any, bias_at: Any,
    tau: Any, threshold: Any, at_threshold: Any, soft: Any,
) -> Any:  # fmt: skip
    size, flag = types.intp, types.boolean
    signature = types.int64(v, current, size, bias, size, tau, threshold, flag, flag)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        lanes = Lanes(builder, ir.FloatType(), LANES)
        v_at, current_at, bias_at = (
            lanes.at(array_data(context, builder, signature, args, array), args[offset])
            for array, offset in ((0, 2), (1, 2), (3, 4))
        )
        limit = lanes.spread(args[6])
        a = builder.fadd(lanes.load(current_at), lanes.load(bias_at))
        old = lanes.load(v_at)
        new = builder.fadd(builder.fmul(lanes.spread(args[5]), old), a)
        over, reached = (builder.fcmp_ordered(op, new, limit) for op in (">", ">="))
        spike = builder.select(_flag(builder, args[7]), reached, over)
        kept = builder.select(_flag(builder, args[8]), builder.fsub(new, limit), lanes.zero())
        lanes.store(builder.select(spike, kept, new), v_at)
        lanes.store(lanes.zero(), current_at)
        busy = (builder.fcmp_unordered("!=", x, lanes.zero()) for x in (a, old))
        return builder.or_(
            _bits(builder, spike),
            builder.shl(_bits(builder, builder.or_(*busy)), integer(LANES)),
        )

    return signature, codegen


def _flag(builder: Any, value: Any) -> Any:
    """A boolean argument as the one bit that a select takes."""
    truth: Any = cgutils.as_bool_bit
    return truth(builder, value)


def _bits(builder: Any, flags: Any) -> Any:
    """A vector of flags as an integer, lane i in bit i."""
    return builder.zext(builder.bitcast(flags, ir.IntType(LANES)), I64)


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
