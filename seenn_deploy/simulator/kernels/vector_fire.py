"""One timestep of sixteen neurons at once, with their spikes as the bits of an integer.

A loop that updates a neuron and then asks whether it spiked handles one neuron at a time. For
sixteen neurons at a time the update is a handful of vector instructions, and only those that
spiked are visited one by one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import overload

from seenn_deploy._typing import Array
from seenn_deploy.simulator.kernels.vector_masks import LANES
from seenn_deploy.simulator.kernels.vectors import (
    I64,
    Lanes,
    alloca,
    array_data,
    integer,
    intrinsic,
    prefetch,
)

AHEAD = 32  # turns of sixteen neurons, in which memory can answer
STATE_LIMIT = 1 << 23  # states are signed 24-bit integers on the chip, design section 6


def fire(
    v: Array,
    current: Array,
    at: int,
    bias: Array,
    bias_at: int,
    leak: Any,
    threshold: Any,
    subtracted: Any,
    at_threshold: bool,
    soft: bool,
) -> int:
    """Update neurons ``at:at + 16`` and clear their currents; integers do as `fire_integer`.

    ``a = current + bias;  v' = tau v + a``; a spike where v' > threshold (>= with `at_threshold`),
    then v = 0, or v' - subtracted with `soft`.

    Parameters
    ----------
    v, current : float32 arrays, flat
    at : int
    bias : float32 array, flat
    bias_at : int
    leak, threshold, subtracted : float32
        The leak is tau.

    Returns
    -------
    int
        Bit i is set where neuron ``at + i`` spiked, bit 16 + i where it had a current or a
        potential other than 0.
    """
    if v.dtype != np.float32:
        return fire_integer(
            v, current, at, bias, bias_at, leak, threshold, subtracted, at_threshold, soft
        )
    bits = 0
    for i in range(LANES):
        a = current[at + i] + bias[bias_at + i]
        old = v[at + i]
        new = leak * old + a
        spike = new >= threshold if at_threshold else new > threshold
        if spike:
            bits |= 1 << i
        if a != 0 or old != 0:
            bits |= 1 << (LANES + i)
        kept = new - subtracted if soft else new * 0  # a zero of the same type
        v[at + i] = kept if spike else new
        current[at + i] = 0
    return bits


@overload(fire, jit_options={"forceinline": True}, strict=False)
def _fire(v, *args):  # type: ignore[no-untyped-def]
    def single(v, *args):  # type: ignore[no-untyped-def]
        return _fire_lanes(v, *args)

    def whole(v, *args):  # type: ignore[no-untyped-def]
        return _fire_integer_lanes(v, *args)

    return single if isinstance(v.dtype, types.Float) else whole


@intrinsic
def _fire_lanes(
    typingctx: Any, v: Any, current: Any, at: Any, bias: Any, bias_at: Any,
    tau: Any, threshold: Any, subtracted: Any, at_threshold: Any, soft: Any,
) -> Any:  # fmt: skip
    size, flag = types.intp, types.boolean
    signature = types.int64(v, current, size, bias, size, tau, threshold, subtracted, flag, flag)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        lanes = Lanes(builder, ir.FloatType(), LANES)
        v_at, current_at, bias_at = (
            lanes.at(array_data(context, builder, signature, args, array), args[offset])
            for array, offset in ((0, 2), (1, 2), (3, 4))
        )
        limit = lanes.spread(args[6])
        prefetch(builder, v_at, AHEAD)
        a = builder.fadd(lanes.load(current_at), lanes.load(bias_at))
        old = lanes.load(v_at)
        new = builder.fadd(builder.fmul(lanes.spread(args[5]), old), a)
        over, reached = (builder.fcmp_ordered(op, new, limit) for op in (">", ">="))
        spike = builder.select(_flag(builder, args[8]), reached, over)
        rest = builder.fsub(new, lanes.spread(args[7]))
        kept = builder.select(_flag(builder, args[9]), rest, lanes.zero())
        lanes.store(builder.select(spike, kept, new), v_at)
        lanes.store(lanes.zero(), current_at)
        # "Unordered" is true of NaN as well, like Python's != above.
        busy = (builder.fcmp_unordered("!=", x, lanes.zero()) for x in (a, old))
        return builder.or_(
            _bits(builder, spike),
            builder.shl(_bits(builder, builder.or_(*busy)), integer(LANES)),
        )

    return signature, codegen


def fire_integer(
    v: Array,
    current: Array,
    at: int,
    bias: Array,
    bias_at: int,
    keep: int,
    threshold: int,
    subtracted: int,
    at_threshold: bool,
    soft: bool,
) -> int:
    """Update sixteen neurons in the arithmetic of Lava's ``fixed_pt`` LIF and clear their currents.

    The current is shifted left by 6 and wrapped once at 24 bits; the potential decays by
    ``keep / 4096``, rounded toward zero, and saturates at 24 bits (design, section 6).

    Parameters
    ----------
    v, bias : int32 arrays, flat
        At 64 times the scale of the current.
    current : int32 or int16 array, flat
    at, bias_at : int
    keep : int32
        ``4096 tau``.
    threshold, subtracted : int32
        At the scale of v.

    Returns
    -------
    int
        Bits 0..15 tell which neurons spiked, bits 16..31 which had a current or a potential other
        than 0, bits 32..47 whose current wrapped or whose potential saturated.
    """
    bits = 0
    for i in range(LANES):
        a = int(current[at + i])
        u = ((a << 6) + (1 << 31)) % (1 << 32) - (1 << 31)
        u = u - (1 << 24) if u > STATE_LIMIT else u + (1 << 24) if u <= -STATE_LIMIT else u
        old = int(v[at + i])
        decayed = (abs(old) * int(keep)) >> 12
        free = (decayed if old >= 0 else -decayed) + u + int(bias[bias_at + i])
        new = min(max(free, 1 - STATE_LIMIT), STATE_LIMIT - 1)
        spike = new >= threshold if at_threshold else new > threshold
        bits |= (1 << i) * int(spike)
        bits |= (1 << (LANES + i)) * int(u + int(bias[bias_at + i]) != 0 or old != 0)
        bits |= (1 << (2 * LANES + i)) * int(new != free or u != a << 6)
        v[at + i] = ((new - int(subtracted)) if soft else 0) if spike else new
        current[at + i] = 0
    return bits


@intrinsic
def _fire_integer_lanes(
    typingctx: Any, v: Any, current: Any, at: Any, bias: Any, bias_at: Any,
    keep: Any, threshold: Any, subtracted: Any, at_threshold: Any, soft: Any,
) -> Any:  # fmt: skip
    size, flag, word = types.intp, types.boolean, types.int32
    signature = types.int64(v, current, size, bias, size, word, word, word, flag, flag)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        lanes = Lanes(builder, ir.IntType(32), LANES)
        v_at, current_at, bias_at = (
            lanes.at(array_data(context, builder, signature, args, array), args[offset])
            for array, offset in ((0, 2), (1, 2), (3, 4))
        )
        prefetch(builder, v_at, AHEAD)
        a, old, bias = lanes.load(current_at), lanes.load(v_at), lanes.load(bias_at)
        u, wrapped = _wrapped_current(lanes, a)
        free = lanes.add(lanes.add(_decayed(lanes, old, args[5]), u), bias)
        new = lanes.clamp(free, 1 - STATE_LIMIT, STATE_LIMIT - 1)
        limit = lanes.spread(args[6])
        over, reached = (builder.icmp_signed(op, new, limit) for op in (">", ">="))
        spike = builder.select(_flag(builder, args[8]), reached, over)
        rest = builder.sub(new, lanes.spread(args[7]))
        kept = builder.select(_flag(builder, args[9]), rest, lanes.zero())
        lanes.store(builder.select(spike, kept, new), v_at)
        narrow = ir.VectorType(current_at.type.pointee.element, LANES)
        lanes.store(ir.Constant(narrow, None), current_at)
        busy = builder.or_(lanes.nonzero(lanes.add(u, bias)), lanes.nonzero(old))
        saturated = builder.or_(wrapped, builder.icmp_signed("!=", free, new))
        bits = _bits(builder, spike)
        for place, flags in enumerate((busy, saturated), start=1):
            shifted = builder.shl(_bits(builder, flags), integer(place * LANES))
            bits = builder.or_(bits, shifted)
        return bits

    return signature, codegen


def move(current: Array, at: int, values: Array, values_at: int) -> int:
    """Move sixteen values from `current`, where zeros stay, to ``values[values_at:]``.

    Parameters
    ----------
    current, values : arrays, flat
        Of the same type, or sums of int32 that become float32.
    at, values_at : int

    Returns
    -------
    int
        Bit i is set where value i is not 0, bit 16 + i where it is 1 or -1.
    """
    bits = kinds_of(current, at)
    for i in range(LANES):
        values[values_at + i], current[at + i] = current[at + i], 0
    return bits


@overload(move, jit_options={"forceinline": True})
def _move(current, at, values, values_at):  # type: ignore[no-untyped-def]
    def call(current, at, values, values_at):  # type: ignore[no-untyped-def]
        return _move_lanes(current, at, values, values_at)

    return call


@intrinsic
def _move_lanes(typingctx: Any, current: Any, at: Any, values: Any, values_at: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        source, target = (array_data(context, builder, signature, args, i) for i in (0, 2))
        lanes = Lanes(builder, source.type.pointee, LANES)
        place = lanes.at(source, args[1])
        value = lanes.load(place)
        sent = Lanes(builder, target.type.pointee, LANES)
        same = sent.element == lanes.element
        sent.store(value if same else builder.sitofp(value, sent.kind), sent.at(target, args[3]))
        lanes.store(lanes.zero(), place)
        return _kinds(lanes, value)

    return types.int64(current, types.intp, values, types.intp), codegen


def keep_larger(
    kept: Array, kept_at: int, current: Array, at: int, bias: Array, bias_at: int, begins: bool
) -> None:
    """Replace sixteen values by ``current + bias`` where that is larger, or where it `begins`.

    Parameters
    ----------
    kept, current, bias : arrays, flat
        Of the same type.
    kept_at, at, bias_at : int
    begins : bool
        Whether nothing was kept before.
    """
    for i in range(LANES):
        found = current[at + i] + bias[bias_at + i]
        if begins or found > kept[kept_at + i]:
            kept[kept_at + i] = found


@overload(keep_larger, jit_options={"forceinline": True})
def _keep_larger(kept, kept_at, current, at, bias, bias_at, begins):  # type: ignore[no-untyped-def]
    def call(kept, kept_at, current, at, bias, bias_at, begins):  # type: ignore[no-untyped-def]
        _keep_larger_lanes(kept, kept_at, current, at, bias, bias_at, begins)

    return call


@intrinsic
def _keep_larger_lanes(
    typingctx: Any, kept: Any, kept_at: Any, current: Any, at: Any, bias: Any, bias_at: Any,
    begins: Any,
) -> Any:  # fmt: skip
    size = types.intp

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kept, current, bias = (array_data(context, builder, signature, args, i) for i in (0, 2, 4))
        lanes = Lanes(builder, kept.type.pointee, LANES)
        target = lanes.at(kept, args[1])
        found = lanes.add(
            lanes.load(lanes.at(current, args[3])), lanes.load(lanes.at(bias, args[5]))
        )
        old = lanes.load(target)
        larger = builder.select(lanes.above(found, old), found, old)
        lanes.store(builder.select(_flag(builder, args[6]), found, larger), target)
        return context.get_dummy_value()

    return types.void(kept, size, current, size, bias, size, types.boolean), codegen


def kinds_of(values: Array, at: int) -> int:
    """Return what `move` does of sixteen values, which stay where they are."""
    bits = 0
    for i in range(LANES):
        value = values[at + i]
        bits |= int(value != 0) << i | int(value in (1, -1)) << (LANES + i)
    return bits


@overload(kinds_of, jit_options={"forceinline": True})
def _kinds_of(values, at):  # type: ignore[no-untyped-def]
    def call(values, at):  # type: ignore[no-untyped-def]
        return _kinds_of_lanes(values, at)

    return call


@intrinsic
def _kinds_of_lanes(typingctx: Any, values: Any, at: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = array_data(context, builder, signature, args, 0)
        lanes = Lanes(builder, data.type.pointee, LANES)
        return _kinds(lanes, lanes.load(lanes.at(data, args[1])))

    return types.int64(values, types.intp), codegen


def _kinds(lanes: Lanes, value: Any) -> Any:
    builder = lanes.builder
    units = _bits(builder, lanes.equal(lanes.size(value), lanes.constant(1)))
    sent = builder.xor(_bits(builder, lanes.equal(value, lanes.zero())), integer(0xFFFF))
    return builder.or_(sent, builder.shl(units, integer(LANES)))


def _wrapped_current(lanes: Lanes, a: Any) -> tuple[Any, Any]:
    """Return ``a << 6`` with Lava's one wrap at 24 bits, and flags where that changed it."""
    builder, limit = lanes.builder, STATE_LIMIT
    # A current beyond 2^17 no longer fits into 24 bits after the shift; hardly any ever is.
    far_up = builder.icmp_signed(">", a, lanes.constant(limit >> 6))
    far_down = builder.icmp_signed("<=", a, lanes.constant(-(limit >> 6)))
    far = builder.or_(far_up, far_down)
    shifted, found = builder.shl(a, lanes.constant(6)), alloca(builder, lanes.kind)
    builder.store(shifted, found)
    with builder.if_then(
        builder.icmp_unsigned("!=", _bits(builder, far), integer(0)), likely=False
    ):
        above = builder.icmp_signed(">", shifted, lanes.constant(limit))
        below = builder.icmp_signed("<=", shifted, lanes.constant(-limit))
        lowered = builder.sub(shifted, lanes.constant(2 * limit))
        lifted = builder.add(shifted, lanes.constant(2 * limit))
        held = builder.select(below, lifted, shifted)
        builder.store(builder.select(above, lowered, held), found)
    return builder.load(found), far


def _decayed(lanes: Lanes, v: Any, keep: Any) -> Any:
    """Return ``v keep / 4096`` rounded toward zero; `keep` is a scalar of 32 bits."""
    builder, found = lanes.builder, alloca(lanes.builder, lanes.kind)
    one, zero = (ir.Constant(lanes.element, n) for n in (1, 0))
    single = builder.icmp_unsigned("==", builder.and_(keep, builder.sub(keep, one)), zero)
    with builder.if_else(builder.and_(single, builder.icmp_unsigned("!=", keep, zero))) as (
        by_shift,
        by_product,
    ):
        with by_shift:  # a power of two
            places = builder.sub(
                ir.Constant(lanes.element, 12), builder.cttz(keep, ir.Constant(ir.IntType(1), 1))
            )
            below_one = builder.sub(builder.shl(one, places), one)
            # Of negative v a shift alone would round down.
            up = builder.and_(builder.ashr(v, lanes.constant(31)), lanes.spread(below_one))
            builder.store(builder.ashr(builder.add(v, up), lanes.spread(places)), found)
        with by_product:  # in two halves, so that 32 bits suffice
            share = lanes.spread(keep)
            high = builder.mul(builder.ashr(v, lanes.constant(12)), share)
            # Masked to 13 bits, LLVM multiplies in 16, which is fast.
            few = builder.and_(share, lanes.constant(0x1FFF))
            low = builder.mul(builder.and_(v, lanes.constant(4095)), few)
            up = builder.and_(builder.ashr(v, lanes.constant(31)), lanes.constant(4095))
            rest = builder.lshr(builder.add(low, up), lanes.constant(12))
            builder.store(builder.add(high, rest), found)
    return builder.load(found)


def _flag(builder: Any, value: Any) -> Any:
    """Turn a boolean argument into the one bit that a select takes."""
    truth: Any = cgutils.as_bool_bit
    return truth(builder, value)


def _bits(builder: Any, flags: Any) -> Any:
    """Turn a vector of flags into an integer, with lane i in bit i."""
    return builder.zext(builder.bitcast(flags, ir.IntType(LANES)), I64)
