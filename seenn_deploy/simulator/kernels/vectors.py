"""The few vector operations that the kernels' intrinsics are made of (LLVM IR by llvmlite)."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from llvmlite import ir
from numba import carray, types  # type: ignore[attr-defined]
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic as numba_intrinsic
from numba.extending import overload

from seenn_deploy._typing import Array

alloca: Any = cgutils.alloca_once
_function: Any = cgutils.get_or_insert_function
I64 = ir.IntType(64)


def intrinsic(function: Callable[..., Any]) -> Any:
    """Wrap numba's ``intrinsic``: mypy cannot know that it drops the first parameter."""
    return numba_intrinsic(function)


def integer(value: int) -> Any:
    """Return a 64-bit constant."""
    return ir.Constant(I64, value)


def counting(builder: Any, start: Any, stop: Any, step: int = 1) -> Any:
    """Open a counted loop: a context manager around its body, which gives the counter."""
    return cgutils.for_range_slice(builder, start, stop, integer(step))


def has_feature(name: str) -> bool:
    """Tell whether the processor that kernels are compiled for has an extension, by LLVM's name."""
    _, _, features = cpu_target.target_context.codegen().magic_tuple()
    return f"+{name}" in features


def array_data(context: Any, builder: Any, signature: Any, args: Any, i: int) -> Any:
    """Return the pointer to the first element of array argument `i`."""
    return context.make_array(signature.args[i])(context, builder, args[i]).data


def prefetch(builder: Any, place: Any, ahead: int = 0, close: int = 3) -> None:
    """Ask for the memory `ahead` elements after a place, which a later turn reads and writes.

    The processor does so by itself along one stretch of memory, but not beyond a page of 4 KiB.
    `close` is how near it shall come: 3 is the first-level cache, 2 the second.
    """
    byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
    kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
    fetch = _function(builder.module, kind, "llvm.prefetch.p0i8")
    later = builder.bitcast(builder.gep(place, [integer(ahead)]), byte)
    builder.call(fetch, [later, *(ir.Constant(number, n) for n in (int(close == 3), close, 1))])


def fetch(array: Array, at: int) -> None:
    """Ask for the line of the second-level cache in which an element lies; a hint, no more."""


# numba compares the signatures of function and overload, annotations included: so it has none.
@overload(fetch, jit_options={"forceinline": True})
def _fetch(array, at):  # type: ignore[no-untyped-def]
    def call(array, at):  # type: ignore[no-untyped-def]
        _fetch_line(array, at)

    return call


@intrinsic
def _fetch_line(typingctx: Any, array: Any, at: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = array_data(context, builder, signature, args, 0)
        prefetch(builder, builder.gep(data, [args[1]]), close=2)
        return context.get_dummy_value()

    return types.void(array, types.intp), codegen


def pointed(kind: Any, address: int, shape: tuple[int, ...]) -> Array:
    """Return the array of numbers of a type that begins at an address.

    Whoever wrote the address down keeps the array itself alive.
    """
    size = int(prod(shape)) * np.dtype(kind).itemsize
    held: Any = (ctypes.c_char * size).from_address(int(address))
    return np.asarray(np.frombuffer(held, kind).reshape(shape))


# numba compares the signatures of function and overload, annotations included: so it has none.
@overload(pointed, jit_options={"forceinline": True})
def _pointed(kind, address, shape):  # type: ignore[no-untyped-def]
    def call(kind, address, shape):  # type: ignore[no-untyped-def]
        return carray(_pointer(kind, address), shape)

    return call


@intrinsic
def _pointer(typingctx: Any, kind: Any, address: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.inttoptr(args[1], context.get_value_type(signature.return_type))

    pointer: Any = types.CPointer
    return pointer(kind.dtype)(kind, types.int64), codegen


@dataclass(frozen=True)
class Lanes:
    """The operations on vectors of `width` values of one type.

    A vector is a local value, never an array: LLVM keeps it in registers, split into as many as
    the machine needs. numba has no such type, which is why the kernels need intrinsics at all.
    """

    builder: Any
    element: Any
    width: int

    @property
    def kind(self) -> Any:
        """The LLVM type of the vectors."""
        return ir.VectorType(self.element, self.width)

    @property
    def flags(self) -> Any:
        """The LLVM type of one flag per lane."""
        return ir.VectorType(ir.IntType(1), self.width)

    @property
    def is_float(self) -> bool:
        """Whether the values are floating point and not integer."""
        return isinstance(self.element, ir.FloatType)

    def zero(self) -> Any:
        """Return a vector of zeros."""
        return ir.Constant(self.kind, None)

    def at(self, pointer: Any, offset: Any) -> Any:
        """Return the pointer to the vector that begins `offset` elements after `pointer`."""
        return self.builder.bitcast(
            self.builder.gep(pointer, [offset]),
            ir.VectorType(pointer.type.pointee, self.width).as_pointer(),
        )

    def load(self, pointer: Any) -> Any:
        """Load a vector from memory; narrower integers are widened."""
        loaded = self.builder.load(pointer)
        loaded.align = _bytes(pointer.type.pointee.element)
        return loaded if loaded.type == self.kind else self.builder.sext(loaded, self.kind)

    def store(self, value: Any, pointer: Any) -> None:
        """Store a vector to memory."""
        self.builder.store(value, pointer).align = _bytes(pointer.type.pointee.element)

    def spread(self, scalar: Any) -> Any:
        """Put one value into every lane; an integer of another size is widened or cut."""
        if not self.is_float and scalar.type != self.element:
            wider = self.element.width > scalar.type.width
            fit = self.builder.sext if wider else self.builder.trunc
            scalar = fit(scalar, self.element)
        # LLVM's idiom for a broadcast, which it turns into one instruction.
        undefined = ir.Constant(self.kind, ir.Undefined)
        single = self.builder.insert_element(undefined, scalar, ir.Constant(ir.IntType(32), 0))
        lanes = ir.Constant(ir.VectorType(ir.IntType(32), self.width), None)
        return self.builder.shuffle_vector(single, undefined, lanes)

    def constant(self, value: int) -> Any:
        """Return a vector with one whole number in every lane."""
        return ir.Constant(self.kind, [float(value) if self.is_float else value] * self.width)

    def clamp(self, value: Any, low: int, high: int) -> Any:
        """Limit integers to low..high."""
        builder = self.builder
        bottom, top = self.constant(low), self.constant(high)
        value = builder.select(builder.icmp_signed("<", value, bottom), bottom, value)
        return builder.select(builder.icmp_signed(">", value, top), top, value)

    def nonzero(self, value: Any) -> Any:
        """Flag the lanes that hold an integer other than 0."""
        return self.builder.icmp_signed("!=", value, self.zero())

    def size(self, value: Any) -> Any:
        """Return absolute values."""
        builder = self.builder
        compare, minus = (
            (builder.fcmp_ordered, builder.fsub) if self.is_float
            else (builder.icmp_signed, builder.sub)
        )  # fmt: skip
        return builder.select(compare("<", value, self.zero()), minus(self.zero(), value), value)

    def equal(self, a: Any, b: Any) -> Any:
        """Flag the lanes in which two vectors are equal."""
        return (self.builder.fcmp_ordered if self.is_float else self.builder.icmp_signed)(
            "==", a, b
        )

    def above(self, a: Any, b: Any) -> Any:
        """Flag the lanes in which the first of two vectors is larger."""
        compare = self.builder.fcmp_ordered if self.is_float else self.builder.icmp_signed
        return compare(">", a, b)

    def add(self, a: Any, b: Any) -> Any:
        """Add lane by lane."""
        return (self.builder.fadd if self.is_float else self.builder.add)(a, b)

    def multiply_add(self, factor: Any, value: Any, to: Any) -> Any:
        """Return ``factor value + to``, rounded once: for factors 0 and 1 exactly the sum."""
        if not self.is_float:
            return self.builder.add(self.builder.mul(factor, value), to)
        kind = ir.FunctionType(self.kind, [self.kind] * 3)
        name = f"llvm.fma.v{self.width}f32"
        fused = _function(self.builder.module, kind, name)
        return self.builder.call(fused, [factor, value, to])

    def multiply_bytes(self, values: Any, weights: Any, to: Any) -> Any:
        """Add to each of 16 int32 the products of its four unsigned and its four signed bytes."""
        kind = ir.FunctionType(self.kind, [self.kind] * 3)
        summed = _function(self.builder.module, kind, "llvm.x86.avx512.vpdpbusd.512")
        return self.builder.call(summed, [to, values, weights])


def _bytes(element: Any) -> int:
    """Return the alignment of an array in bytes: numpy aligns to one element, not to a vector."""
    return 4 if isinstance(element, ir.FloatType) else int(element.width) // 8
