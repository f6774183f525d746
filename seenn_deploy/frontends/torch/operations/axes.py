"""Operators that keep the values and change the axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import wraps
from math import prod
from typing import Any

from seenn_deploy.frontends.torch.operations.features import part
from seenn_deploy.frontends.torch.operations.mapping import as_signal, places_of
from seenn_deploy.frontends.torch.operations.products import reordered
from seenn_deploy.frontends.torch.operations.registry import Graph, Operation, operation
from seenn_deploy.frontends.torch.values import (
    Atom,
    NotSupportedError,
    Potential,
    Value,
    refined,
    regrouped,
)


def axes_alone(change: Operation) -> Operation:
    """Let what moves the axes of a signal move those of a potential, too."""

    @wraps(change)
    def moved(graph: Graph, x: Value, *args: Any, **named: Any) -> Value:
        if isinstance(x, Potential):
            return replace(x, layout=change(graph, x.layout, *args, **named))
        return change(graph, x, *args, **named)

    return moved


@operation("view.default", "reshape.default", "_unsafe_view.default")
@axes_alone
def view(graph: Graph, x: Value, sizes: Sequence[int]) -> Value:
    """Put the same values on other axes, in C order."""
    signal = as_signal(x)
    count = prod(signal.sizes)
    given = prod(s for s in sizes if s >= 0)
    found = tuple(count // given if s == -1 else s for s in sizes)
    axes = regrouped(signal.axes, found)
    return replace(signal, axes=axes, features=refined(signal.features, axes))


@operation("flatten.using_ints")
@axes_alone
def flatten(graph: Graph, x: Value, start: int = 0, end: int = -1) -> Value:
    """Merge the axes from `start` to `end` into one."""
    sizes = as_signal(x).sizes
    a, b = start % len(sizes), end % len(sizes)
    return view(graph, x, (*sizes[:a], prod(sizes[a : b + 1]), *sizes[b + 1 :]))


@operation("unflatten.int")
@axes_alone
def unflatten(graph: Graph, x: Value, dim: int, sizes: Sequence[int]) -> Value:
    """Undo `flatten`."""
    before = as_signal(x).sizes
    at = dim % len(before)
    rest = prod(s for s in sizes if s >= 0)
    split = tuple(before[at] // rest if s == -1 else s for s in sizes)
    return view(graph, x, (*before[:at], *split, *before[at + 1 :]))


@operation("unsqueeze.default")
@axes_alone
def unsqueeze(graph: Graph, x: Value, dim: int) -> Value:
    """Insert an axis of size 1."""
    signal = as_signal(x)
    at = dim % (len(signal.axes) + 1)
    return replace(signal, axes=(*signal.axes[:at], (), *signal.axes[at:]))


@operation("squeeze.dim", "squeeze.dims", "squeeze.default")
@axes_alone
def squeeze(graph: Graph, x: Value, dims: Any = None) -> Value:
    """Remove axes of size 1; their atoms go to the axis before."""
    signal = as_signal(x)
    places = [p for p in places_of(signal, dims) if signal.sizes[p] == 1]
    return view(graph, x, tuple(s for i, s in enumerate(signal.sizes) if i not in places))


@operation("permute.default")
@axes_alone
def permute(graph: Graph, x: Value, order: Sequence[int]) -> Value:
    """Put the axes into another order."""
    signal = as_signal(x)
    return reordered(graph, signal, tuple(signal.axes[d] for d in order))


@operation("transpose.int")
@axes_alone
def transpose(graph: Graph, x: Value, a: int, b: int) -> Value:
    """Swap two axes."""
    order = list(range(len(as_signal(x).axes)))
    order[a], order[b] = order[b], order[a]
    return permute(graph, x, order)


@operation("t.default")
@axes_alone
def turned(graph: Graph, x: Value) -> Value:
    """Swap the two axes of a matrix; a vector stays as it is."""
    return transpose(graph, x, 0, 1) if len(as_signal(x).axes) == 2 else x


@operation("expand.default")
def expand(graph: Graph, x: Value, sizes: Sequence[int], **_: Any) -> Value:
    """Repeat an axis of size 1, which makes timesteps that are all alike."""
    signal = as_signal(x)
    axes = ((),) * (len(sizes) - len(signal.axes)) + signal.axes
    return replace(signal, axes=tuple(_widened(a, n) for a, n in zip(axes, sizes, strict=True)))


def _widened(axis: tuple[Atom, ...], size: int) -> tuple[Atom, ...]:
    if size == -1 or prod(a.size for a in axis) == size:
        return axis
    if axis:
        raise NotSupportedError("an axis that is widened", "only time may be expanded")
    # Without a role: that it is time shows where it is used.
    return (Atom(size),)


@operation("repeat.default")
def repeat(graph: Graph, x: Value, counts: Sequence[int]) -> Value:
    """Copy along an axis, which puts a new time axis before its atoms."""
    signal = as_signal(x)
    axes = ((),) * (len(counts) - len(signal.axes)) + signal.axes
    return replace(signal, axes=tuple(_repeated(a, n) for a, n in zip(axes, counts, strict=True)))


def _repeated(axis: tuple[Atom, ...], count: int) -> tuple[Atom, ...]:
    if count == 1:
        return axis
    if any(a.role == "feature" for a in axis):
        raise NotSupportedError("features that are repeated", "only time may be repeated")
    return (Atom(count), *axis)


@operation("clone.default", "contiguous.default", "detach.default", "detach_.default")
@operation("alias.default", "lift_fresh_copy.default", "dropout.default", "feature_dropout.default")
@operation("to.dtype", "to.device", "to.dtype_layout", "_to_copy.default", "type_as.default")
def unchanged(graph: Graph, x: Value, *_: Any, **__: Any) -> Value:
    """Return the values as they are."""
    return x


@operation("slice.Tensor")
def slice_(
    graph: Graph, x: Value, dim: int = 0, start: Any = None, end: Any = None, step: int = 1
) -> Value:
    """Accept a slice that is a whole axis, and refuse any other."""
    signal = x.layout if isinstance(x, Potential) else as_signal(x)
    size = signal.sizes[dim]
    first, last = (start or 0) % size, size if end is None or end >= size else end % size
    if step == 1 and (first, last) == (0, size):
        return x
    if step != 1:
        raise NotSupportedError("a part of an axis", "a graph takes all of it; slice before")
    if isinstance(x, Potential):
        raise part_of_potential(x, dim % len(signal.axes))
    return part(signal, dim % len(signal.axes), first, last - first)


def part_of_potential(x: Potential, at: int) -> NotSupportedError:
    """Say that a part of a potential is taken, along which axis."""
    roles = {atom.role for atom in x.layout.axes[at]}
    of = "timesteps" if "time" in roles else "samples" if "batch" in roles else "neurons"
    return NotSupportedError(
        f"a potential of some {of} alone",
        "read the potential of all neurons, at the last timestep or at all of them",
    )


@operation("split.Tensor")
def split(graph: Graph, x: Value, size: int, dim: int = 0) -> Value:
    """Cut the features on an axis into parts of one size."""
    whole = as_signal(x).sizes[dim]
    cuts = range(0, whole, size)
    return tuple(part(x, dim % len(x.axes), k, min(size, whole - k)) for k in cuts)


@operation("chunk.default")
def chunk(graph: Graph, x: Value, count: int, dim: int = 0) -> Value:
    """Cut the features on an axis into so many parts."""
    return split(graph, x, -(-as_signal(x).sizes[dim] // count), dim)
