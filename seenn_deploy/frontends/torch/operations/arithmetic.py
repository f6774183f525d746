"""Sums of signals, and sums and products of a signal and a constant."""

from __future__ import annotations

from math import prod
from typing import Any

import torch

from seenn_deploy.frontends.torch.operations.mapping import affine, as_signal, like, unpooled
from seenn_deploy.frontends.torch.operations.products import multiplied
from seenn_deploy.frontends.torch.operations.registry import Graph, operation
from seenn_deploy.frontends.torch.operations.tokens import with_tokens
from seenn_deploy.frontends.torch.values import (
    Constant,
    NotSupportedError,
    Signal,
    Term,
    Value,
    check_same_order,
    known,
    trailing,
)


@operation("add.Tensor", "add.Scalar")
def add(graph: Graph, a: Value, b: Value, alpha: float = 1) -> Value:
    """Add currents; spikes plus spikes become a sum node of graded spikes."""
    # alpha belongs to the second summand alone, so only a plain sum can be turned round.
    a, b = (b, a) if not isinstance(a, Signal) and alpha == 1 else (a, b)
    if isinstance(a, Signal) and isinstance(b, Signal):
        other = b if alpha == 1 else affine(graph, b, like(alpha), like(0.0))
        return _added(graph, a, other)
    if not isinstance(a, Signal) and isinstance(b, Signal):
        return affine(graph, b, like(alpha), like(a))
    return affine(graph, as_signal(a), like(1.0), like(b, alpha))


@operation("sub.Tensor", "sub.Scalar")
def sub(graph: Graph, a: Value, b: Value, alpha: float = 1) -> Value:
    """Subtract, as a sum with a factor of -1."""
    if not isinstance(a, Signal):
        return affine(graph, as_signal(b), like(-alpha), like(a))
    return add(graph, a, b, alpha=-alpha)


@operation("rsub.Scalar")
def rsub(graph: Graph, a: Value, b: Value, alpha: float = 1) -> Value:
    """Return ``b - a``."""
    return sub(graph, b, a, alpha)


@operation("neg.default")
def neg(graph: Graph, x: Value) -> Value:
    """Multiply by -1."""
    return affine(graph, as_signal(x), like(-1.0), like(0.0))


@operation("mul.Tensor", "mul.Scalar")
def mul(graph: Graph, a: Value, b: Value) -> Value:
    """Multiply by a constant, which may be one factor per channel, or spikes by spikes."""
    if isinstance(a, Signal) and isinstance(b, Signal):
        return multiplied(graph, a, b)
    a, b = (b, a) if isinstance(b, Signal) else (a, b)
    signal, factor = as_signal(a), like(b)
    # What is multiplied by 0, as a connection that a search left out, is no input any more.
    if not bool(factor.any()):
        return Constant(torch.zeros(signal.sizes) * factor.to(torch.float32))
    return affine(graph, signal, factor, like(0.0))


@operation("div.Tensor", "div.Scalar")
def div(graph: Graph, a: Value, b: Value) -> Value:
    """Divide by a constant, which may be one divisor per channel."""
    if isinstance(b, Signal):
        raise NotSupportedError("a division by a signal", "divide by constants alone")
    return affine(graph, as_signal(a), 1 / like(b), like(0.0))


def _added(graph: Graph, a: Signal, b: Signal) -> Signal:
    a, b = _both_known(a, b)
    if len(a.axes) == len(b.axes):
        count = max(trailing(a), trailing(b))
        a, b = with_tokens(graph, a, count), with_tokens(graph, b, count)
    a, b = unpooled(graph, a), unpooled(graph, b)
    if a.summed != b.summed or a.state or b.state:
        raise NotSupportedError(
            "a sum or mean over time (or the batch) meets what is not summed",
            "add before summing over time; samples of a batch have nothing to do with each other",
        )
    if a.shape is not None and b.shape is not None and prod(a.shape) != prod(b.shape):
        raise NotSupportedError(
            f"a sum of shapes {a.sizes} and {b.sizes}", "add what has the same features"
        )
    check_same_order(a, b)
    lead = a if len(a.axes) >= len(b.axes) else b
    axes = _met(a, b) if len(a.axes) == len(b.axes) else lead.axes
    terms = (*a.terms, *b.terms)
    # They meet before any weight, so what follows gets graded spikes (as in SEW-ResNet).
    if a.spikes and b.spikes and a.terms[0].step == b.terms[0].step:
        terms = (_sum_of_spikes(graph, a.terms[0], b.terms[0]),)
    return Signal(axes, lead.features, lead.shape, terms, a.summed, seen=a.seen or b.seen)


def _both_known(a: Signal, b: Signal) -> tuple[Signal, Signal]:
    """Give the bare input the feature axes of the signal that it is added to."""
    if a.shape is None and b.shape is not None:
        return known(a, trailing(b)), b
    if b.shape is None and a.shape is not None:
        return a, known(b, trailing(a))
    return a, b


def _met(a: Signal, b: Signal) -> Any:
    axes = []
    for mine, other in zip(a.axes, b.axes, strict=True):
        sizes = prod(x.size for x in mine), prod(x.size for x in other)
        if sizes[0] != sizes[1] and 1 not in sizes:
            raise NotSupportedError(f"a sum of axes {sizes}", "add what has the same shape")
        # The wider axis of the two; of equals the one that has atoms, which know their role.
        axes.append(mine if sizes[0] >= sizes[1] and mine else other)
    return tuple(axes)


def _sum_of_spikes(graph: Graph, a: Term, b: Term) -> Term:
    summands = (a.origin, b.origin)
    if summands not in graph.sums:
        graph.sums[summands] = graph.name(f"{graph.here}.add" if graph.here else "add")
    return Term(graph.sums[summands], (), a.step)
