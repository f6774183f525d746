"""Products of spikes: masks, and what SEW-ResNet's AND and IAND do."""

from __future__ import annotations

from math import prod

import numpy as np

from seenn_deploy.frontends.torch.operations.mapping import affine, like, unpooled
from seenn_deploy.frontends.torch.operations.registry import Graph, Multiplied
from seenn_deploy.frontends.torch.values import (
    SOURCE,
    NotSupportedError,
    Signal,
    Term,
    check_same_order,
)
from seenn_deploy.ir.maps import Affine, Sparse
from seenn_deploy.ir.maps.affine import composed


def multiplied(graph: Graph, a: Signal, b: Signal) -> Signal:
    """Multiply spikes, or sums of them, element by element; ``1 - s`` may be a factor.

    A constant factor is taken out and goes into the synapses behind.
    """
    (left, *more), (right, *others) = a.terms, b.terms
    parts = [_parts(term) for term in (left, right)]
    if more or others or a.summed or b.summed or a.state or b.state or None in parts:
        raise NotSupportedError(
            "a product of two signals that are not both spikes",
            "spikes and sums of them may be multiplied, s or 1 - s; softmax and norms may not",
        )
    if unpooled(a).sizes != unpooled(b).sizes or left.step != right.step:
        raise NotSupportedError(
            f"a product of signals of {a.sizes} and {b.sizes}",
            "both need the same shape, at the same timestep",
        )
    check_same_order(a, b)
    shape = a.shape or ()
    (factor, bias), (other, other_bias) = (p for p in parts if p is not None)
    key = (left.origin, bias, right.origin, other_bias)
    if key not in graph.products:
        count = prod(shape)
        signs = (-1.0 if bias else 1.0), (-1.0 if other_bias else 1.0)
        factors = (
            Term(left.origin, (_placed(count, 0, signs[0]),), macs=count),
            Term(right.origin, (_placed(count, count, signs[1]),)),
        )
        name = graph.name(f"{graph.here}.mul" if graph.here else "mul")
        graph.products[key] = (name, Multiplied(factors, (bias, other_bias), shape))
    made = Signal(a.axes, a.features, a.shape, (Term(graph.products[key][0], (), left.step),))
    return affine(graph, made, like(factor * other), like(0.0))


def _parts(term: Term) -> tuple[float, float] | None:
    """A factor as (constant, bias): ``constant s``, or ``1 - s`` with a bias of 1; None else."""
    if term.origin == SOURCE:
        return None
    whole = composed(term.maps) if term.maps else Affine(np.ones(1), np.zeros(1))
    if whole is None or np.ptp(whole.scale) or np.ptp(whole.shift):
        return None
    constant, bias = float(whole.scale[0]), float(whole.shift[0])
    if bias == 0:
        return constant, 0.0
    return (1.0, 1.0) if (constant, bias) == (-1, 1) else None


def _placed(count: int, first: int, sign: float) -> Sparse:
    """Put `count` neurons in order into the vector of a product's factors."""
    each = np.arange(count)
    return Sparse.of(each, first + each, np.full(count, sign, np.float32), count, (2 * count,))
