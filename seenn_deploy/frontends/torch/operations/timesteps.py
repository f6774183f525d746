"""Operators along time: timesteps of a stream, streams of timesteps, sums over them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import Any

from seenn_deploy.frontends.torch.operations.arrangements import side_by_side
from seenn_deploy.frontends.torch.operations.axes import part_of_potential, unsqueeze, view
from seenn_deploy.frontends.torch.operations.features import (
    PARTS,
    part,
    summed_features,
    without_axis,
)
from seenn_deploy.frontends.torch.operations.mapping import as_signal, places_of, unpooled
from seenn_deploy.frontends.torch.operations.pools import adaptive_avg_pool2d
from seenn_deploy.frontends.torch.operations.registry import Graph, operation
from seenn_deploy.frontends.torch.recurrences import leak_of
from seenn_deploy.frontends.torch.values import (
    SOURCE,
    Atom,
    Constant,
    Joined,
    NotSupportedError,
    Potential,
    Signal,
    State,
    Summed,
    Term,
    Value,
    check_same_order,
    has_tokens,
    in_order,
    trailing,
)


@operation("select.int")
def select(graph: Graph, x: Value, dim: int, index: int) -> Value:
    """Take one timestep of a stream."""
    signal = x.layout if isinstance(x, Potential) else as_signal(x)
    at = dim % len(signal.axes)
    return _step(x, at, index % signal.sizes[at])


@operation("unbind.int")
def unbind(graph: Graph, x: Value, dim: int = 0) -> Value:
    """Take all timesteps of a stream apart."""
    signal = x.layout if isinstance(x, Potential) else as_signal(x)
    at = dim % len(signal.axes)
    return tuple(_step(x, at, k) for k in range(signal.sizes[at]))


def _step(x: Value, at: int, k: int) -> Value:
    if isinstance(x, Potential):
        return _potential_at(x, at, k)
    signal = as_signal(x)
    axes = (*signal.axes[:at], *signal.axes[at + 1 :])
    # An axis that was unsqueezed, whose only index gives the value itself.
    if not signal.axes[at]:
        return replace(signal, axes=axes)
    if len(signal.axes[at]) != 1 or signal.summed is not None:
        raise NotSupportedError("an index into an axis that is not time alone", "index time")
    (atom,) = signal.axes[at]
    if atom.role == "feature":
        return without_axis(part(signal, at, k, 1), at)
    if atom.role == "batch":
        raise NotSupportedError(*PARTS["batch"])
    atom.become("time")
    if signal.state is not None:  # nothing is computed with it, so that it is what was stacked
        return replace(signal, axes=axes, terms=signal.state.steps[k].terms, state=None)
    terms = tuple(
        # An image that was repeated over time is the same at every timestep; frames are not.
        replace(t, step=k) if t.origin != SOURCE or atom.of_input else t
        for t in signal.terms
    )
    return replace(signal, axes=axes, terms=terms)


def _potential_at(x: Potential, at: int, k: int) -> Potential:
    """Take a potential's timestep, or its only index along an axis that was unsqueezed."""
    layout = x.layout
    left = replace(layout, axes=(*layout.axes[:at], *layout.axes[at + 1 :]))
    if not layout.axes[at]:
        return replace(x, layout=left)
    if x.step is not None or [atom.role for atom in layout.axes[at]] != ["time"]:
        raise part_of_potential(x, at)
    return replace(x, step=k, layout=left)


@operation("stack.default")
def stack(graph: Graph, parts: Sequence[Value], dim: int = 0) -> Value:
    """Join timesteps to a stream."""
    if all(isinstance(p, Potential) for p in parts):
        return _recorded([p for p in parts if isinstance(p, Potential)], dim)
    if len({isinstance(p, Constant) for p in parts}) > 1:
        other = next(k for k, p in enumerate(parts) if type(p) is not type(parts[0]))
        raise _made_otherwise(other)
    signals = [as_signal(p) for p in parts]
    first = signals[0]
    at = dim % (len(first.axes) + 1)
    axes = (*first.axes[:at], (Atom(len(parts), "time"),), *first.axes[at:])
    # A state is told by its leak; what the first timestep adds to it is added at all.
    tau = None if first.pool else leak_of(signals, graph.maps)
    if tau is not None:
        terms = tuple(replace(t, step=None) for t in first.terms)
        return replace(first, axes=axes, terms=terms, state=State(tau, tuple(signals)))
    return replace(first, axes=axes, terms=_stream_of(signals))


@operation("cat.default")
def cat(graph: Graph, parts: Sequence[Value], dim: int = 0) -> Value:
    """Join timesteps to a stream, where each has a time axis of size 1; or vectors of features."""
    if _are_features(parts, dim):
        return Joined(tuple(parts))
    if all(isinstance(p, Potential) for p in parts):
        at = dim % len(parts[0].layout.axes)
        if any(p.layout.axes[at] for p in parts):
            raise NotSupportedError(
                "potentials side by side on an axis of neurons or samples", "stack them"
            )
        return _recorded([_potential_at(p, at, 0) for p in parts], at)
    signals = [as_signal(p) for p in parts]
    at = dim % len(signals[0].axes)
    if any(prod(a.size for a in s.axes[at]) != 1 for s in signals):
        return side_by_side(graph, signals, at)
    squeezed = [replace(s, axes=(*s.axes[:at], *s.axes[at + 1 :])) for s in signals]
    return stack(graph, squeezed, at)


def _are_features(parts: Sequence[Value], dim: int) -> bool:
    """Tell whether what is put side by side are the features of a sample."""
    if any(isinstance(p, Potential) for p in parts):
        return False
    shapes = [p.tensor.shape if isinstance(p, Constant) else as_signal(p).sizes for p in parts]
    last = {len(shape) - 1 for shape in shapes} == {dim % len(shapes[0])}
    images = any(isinstance(p, Signal) and trailing(p) > 1 for p in parts)
    return last and not images and any(shape[-1] > 1 for shape in shapes)


def _recorded(parts: list[Potential], dim: int) -> Potential:
    if len({p.layer for p in parts}) > 1:
        raise NotSupportedError("potentials of several layers side by side", "leave them out")
    if [p.step for p in parts] != list(range(len(parts))):
        raise NotSupportedError(
            "a stack of potentials that are not those of all timesteps in order",
            "stack each timestep's once, from the first to the last",
        )
    first = parts[0].layout
    for potential in parts[1:]:
        check_same_order(first, potential.layout)
    at = dim % (len(first.axes) + 1)
    axes = (*first.axes[:at], (Atom(len(parts), "time"),), *first.axes[at:])
    beside = any(p.beside for p in parts)
    return Potential(parts[0].layer, None, replace(first, axes=axes), beside)


def _made_otherwise(k: int) -> NotSupportedError:
    return NotSupportedError(
        f"what is stacked is made in another way at timestep {k + 1} than at 1",
        "a graph does the same at every timestep; a leak or a sum may go on from 0",
    )


def _stream_of(signals: list[Signal]) -> tuple[Term, ...]:
    """Return the terms of a stream whose timesteps are `signals`, which must agree."""
    first = signals[0].terms
    for k, signal in enumerate(signals):
        check_same_order(signals[0], signal)
        expected = [
            (t.origin, t.maps, t.lag, None if t.step is None else t.step + k) for t in first
        ]
        alike = [(t.origin, t.maps, t.lag, t.step) for t in signal.terms] == expected
        if not alike or signal.pool != signals[0].pool:
            raise _made_otherwise(k)
    if any(t.step not in (None, 0) for t in first):
        raise NotSupportedError("a stack that leaves out timesteps", "stack all of them")
    return tuple(replace(t, step=None) for t in first)


def delayed(graph: Graph, x: Value, steps: int, stream: bool) -> Signal:
    """Hold a signal back for some timesteps."""
    signal = as_signal(x)
    if signal.summed is not None or signal.state is not None:
        raise NotSupportedError("a delay of a sum over time", "put it before the sum")
    if stream:
        for atom in signal.axes[0]:
            atom.become("time")
    if bool(signal.times) != stream or (stream and any(t.step is not None for t in signal.terms)):
        raise NotSupportedError(
            f"a delay is not given {'whole streams' if stream else 'one timestep per call'}",
            "set its step_mode to that of its input",
        )
    if steps and any(
        graph.maps.without_constants(m) is not m for t in signal.terms for m in t.maps
    ):
        raise NotSupportedError(
            "a delay of a bias or of batch norm's shift, which then begins later than the network",
            "put the delay before the layer that has it",
        )
    later = {
        call: replace(call, inputs=tuple(replace(t, lag=t.lag + steps) for t in call.inputs))
        for term in signal.terms
        for call in term.calls
    }
    terms = (
        replace(t, lag=t.lag + steps, calls=tuple(later[call] for call in t.calls))
        for t in signal.terms
    )
    return replace(signal, terms=tuple(terms))


@operation("sum.dim_IntList", "sum.default")
def total(graph: Graph, x: Value, dims: Any = None, keepdim: bool = False, **_: Any) -> Value:
    """Sum over time."""
    return _over_time(graph, as_signal(x), dims, keepdim, mean=False)


@operation("mean.dim", "mean.default")
def mean(graph: Graph, x: Value, dims: Any = None, keepdim: bool = False, **_: Any) -> Value:
    """Take the mean over time, or over height and width."""
    signal = as_signal(x)
    places = places_of(signal, dims)
    rank = len(signal.axes)
    # Over height and width it is a pool, whatever the size.
    if places == [rank - 2, rank - 1] and rank > 2:
        flat = adaptive_avg_pool2d(graph, signal, (1, 1))
        return flat if keepdim else view(graph, flat, flat.sizes[:-2])
    pixels = (signal.shape or ())[1:]
    if places == [rank - 2] and has_tokens(signal) and not in_order(signal):
        # Tokens before their channels.
        turned = replace(signal, axes=(*signal.axes[:-2], signal.axes[-1], signal.axes[-2]))
        if in_order(turned):
            flat = mean(graph, turned, rank - 1, keepdim)
            return unsqueeze(graph, view(graph, flat, flat.sizes[:-1]), -2) if keepdim else flat
    if places == [rank - 1] and len(pixels) == 2 and signal.sizes[-1] == prod(pixels) > 1:
        tokens = view(graph, signal, (*signal.sizes[:-1], *pixels))  # the pixels of a map
        flat = adaptive_avg_pool2d(graph, tokens, (1, 1))
        return view(graph, flat, (*signal.sizes[:-1], *([1] if keepdim else [])))
    return _over_time(graph, signal, dims, keepdim, mean=True)


def _over_time(graph: Graph, signal: Signal, dims: Any, keepdim: bool, mean: bool) -> Signal:
    places = places_of(signal := unpooled(graph, signal), dims)
    atoms = [a for p in places for a in signal.axes[p]]
    if atoms and all(a.role == "feature" for a in atoms):
        return summed_features(graph, signal, places, keepdim, mean)
    if len(places) != 1 or len(signal.axes[places[0]]) != 1 or signal.summed is not None:
        raise NotSupportedError(
            f"a sum or mean over axes {places}", "over time, or a mean over height and width"
        )
    ((atom,),) = (signal.axes[p] for p in places)
    atom.become("time")
    if any(t.step is not None for t in signal.terms):
        raise NotSupportedError("a sum over time of single timesteps", "sum the stack of all")
    (at,) = places
    axes = (*signal.axes[:at], *([()] if keepdim else []), *signal.axes[at + 1 :])
    return replace(signal, axes=axes, summed=Summed(1 / atom.size if mean else 1.0, atom.size))
