"""The few vector operations that the kernels' intrinsics are written in (LLVM IR by llvmlite)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from llvmlite import ir
from numba.core import cgutils
from numba.extending import intrinsic as numba_intrinsic

alloca: Any = cgutils.alloca_once
_function: Any = cgutils.get_or_insert_function
I64 = ir.IntType(64)


def intrinsic(function: Callable[..., Any]) -> Any:
    """The ``intrinsic`` of numba, whose functions are called without their first parameter."""
    return numba_intrinsic(function)


def integer(value: int) -> Any:
    """A 64-bit constant."""
    return ir.Constant(I64, value)


def counting(builder: Any, start: Any, stop: Any, step: int = 1) -> Any:
    """Context manager around the body of a counted loop; gives the counter."""
    return cgutils.for_range_slice(builder, start, stop, integer(step))


def array_data(context: Any, builder: Any, signature: Any, args: Any, i: int) -> Any:
    """Pointer to the first element of array argument `i`."""
    return context.make_array(signature.args[i])(context, builder, args[i]).data


@dataclass(frozen=True)
class Lanes:
    """Vectors of `width` values of one type.

    A vector is a local value, never an array: LLVM keeps it in registers, split into as many as
    the machine needs. numba has no such type, which is why the kernels need intrinsics at all.
    """

    builder: Any
    element: Any
    width: int

    @property
    def kind(self) -> Any:
        """The LLVM type."""
        return ir.VectorType(self.element, self.width)

    @property
    def is_float(self) -> bool:
        """Floating point, not integer."""
        return isinstance(self.element, ir.FloatType)

    def zero(self) -> Any:
        """All lanes 0."""
        return ir.Constant(self.kind, None)

    def at(self, pointer: Any, offset: Any) -> Any:
        """Pointer to the vector that begins `offset` elements behind `pointer`."""
        return self.builder.bitcast(
            self.builder.gep(pointer, [offset]),
            ir.VectorType(pointer.type.pointee, self.width).as_pointer(),
        )

    def load(self, pointer: Any) -> Any:
        """A vector from memory; narrower integers are widened."""
        loaded = self.builder.load(pointer)
        loaded.align = _bytes(pointer.type.pointee.element)
        return loaded if loaded.type == self.kind else self.builder.sext(loaded, self.kind)

    def store(self, value: Any, pointer: Any) -> None:
        """A vector to memory."""
        self.builder.store(value, pointer).align = _bytes(pointer.type.pointee.element)

    def spread(self, scalar: Any) -> Any:
        """One value in every lane; an integer of another size is fitted to the lanes."""
        if not self.is_float and scalar.type != self.element:
            wider = self.element.width > scalar.type.width
            fit = self.builder.sext if wider else self.builder.trunc
            scalar = fit(scalar, self.element)
        undefined = ir.Constant(self.kind, ir.Undefined)
        single = self.builder.insert_element(undefined, scalar, ir.Constant(ir.IntType(32), 0))
        lanes = ir.Constant(ir.VectorType(ir.IntType(32), self.width), None)
        return self.builder.shuffle_vector(single, undefined, lanes)

    def constant(self, value: int) -> Any:
        """One integer constant in every lane."""
        return ir.Constant(self.kind, [value] * self.width)

    def clamp(self, value: Any, low: int, high: int) -> Any:
        """Integers limited to low..high."""
        builder = self.builder
        bottom, top = self.constant(low), self.constant(high)
        value = builder.select(builder.icmp_signed("<", value, bottom), bottom, value)
        return builder.select(builder.icmp_signed(">", value, top), top, value)

    def nonzero(self, value: Any) -> Any:
        """Flags of the lanes that hold an integer other than 0."""
        return self.builder.icmp_signed("!=", value, self.zero())

    def add(self, a: Any, b: Any) -> Any:
        """Lane by lane."""
        return (self.builder.fadd if self.is_float else self.builder.add)(a, b)

    def multiply_add(self, factor: Any, value: Any, to: Any) -> Any:
        """``factor value + to``, rounded once: for factors 0 and 1 exactly what adding gives."""
        if not self.is_float:
            return self.builder.add(self.builder.mul(factor, value), to)
        kind = ir.FunctionType(self.kind, [self.kind] * 3)
        name = f"llvm.fma.v{self.width}f32"
        fused = _function(self.builder.module, kind, name)
        return self.builder.call(fused, [factor, value, to])


def _bytes(element: Any) -> int:
    """Alignment; numpy promises that of one element, not that of a vector."""
    return 4 if isinstance(element, ir.FloatType) else int(element.width) // 8
