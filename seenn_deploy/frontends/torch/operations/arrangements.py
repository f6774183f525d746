"""Spikes in other places: channels side by side, and images of another size by repeating pixels.

No neuron and no weight: a sum node of which each place has one spike at most.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import Any, TypeAlias

import numpy as np
import torch

from seenn_deploy._typing import Array, Shape
from seenn_deploy.frontends.torch.operations.mapping import as_signal
from seenn_deploy.frontends.torch.operations.products import Factor, factor_of
from seenn_deploy.frontends.torch.operations.registry import Arranged, Graph, operation
from seenn_deploy.frontends.torch.values import (
    Atom,
    NotSupportedError,
    Signal,
    Term,
    Value,
    known,
    trailing,
)
from seenn_deploy.ir.maps import Sparse

Places: TypeAlias = tuple[Array, Array]  # features of a part, and where each goes


def side_by_side(graph: Graph, parts: Sequence[Signal], at: int) -> Signal:
    """Put images of spikes side by side along axis `at`, as channels usually are."""
    what = "a concatenation of channels"
    count = trailing(parts[0])
    signals = [known(signal, count) for signal in parts]
    lead = len(signals[0].axes) - count
    first, *others = signals
    if at < lead:
        raise NotSupportedError(
            "a concatenation of batches or timesteps", "only features may be put side by side"
        )
    for other in others:
        same = [a.sizes[i] for a in (first, other) for i in range(len(first.axes)) if i != at]
        if other.axes[:lead] != first.axes[:lead] or same[: len(same) // 2] * 2 != same:
            raise NotSupportedError(
                f"{what} of other sizes, {first.sizes} and {other.sizes}", "pad or pool one"
            )
    sizes = [signal.sizes[at] for signal in signals]
    whole = list(first.sizes[lead:])
    whole[at - lead] = sum(sizes)
    number = np.arange(prod(whole)).reshape(whole)
    cuts = np.split(number, np.cumsum(sizes)[:-1], at - lead)
    places = [(np.arange(cut.size), cut.ravel()) for cut in cuts]
    return _arranged(graph, what, signals, places, tuple(whole))


@operation("upsample_nearest2d.vec", "upsample_nearest2d.default")
def nearest(graph: Graph, x: Value, size: Any, *scales: Any) -> Signal:
    """Give an image of spikes another size: each pixel is that at the nearest place before."""
    return _resized(graph, as_signal(x), torch.ops.aten.upsample_nearest2d.vec, size, scales)


@operation("_upsample_nearest_exact2d.vec", "_upsample_nearest_exact2d.default")
def nearest_exact(graph: Graph, x: Value, size: Any, *scales: Any) -> Signal:
    """Give an image of spikes another size: each pixel is that at the nearest place."""
    exact = torch.ops.aten._upsample_nearest_exact2d.vec
    return _resized(graph, as_signal(x), exact, size, scales)


def _resized(graph: Graph, x: Signal, resize: Any, size: Any, scales: tuple[Any, ...]) -> Signal:
    signal = known(x, 3)
    inside = signal.sizes[-2:]
    image = torch.arange(prod(inside), dtype=torch.float64).reshape(1, 1, *inside)
    given = scales[0] if scales and isinstance(scales[0], list | tuple) else None
    # torch itself says which pixel it takes, as it rounds.
    found = resize(image, size, given)[0, 0].to(torch.int64).numpy()
    pixels = np.arange(signal.sizes[-3])[:, None] * prod(inside)
    source = (pixels + found.ravel()).ravel()
    places = (source, np.arange(source.size))
    sizes = (signal.sizes[-3], *found.shape)
    return _arranged(graph, "nearest interpolation", [signal], [places], sizes)


def _arranged(
    graph: Graph, what: str, signals: list[Signal], places: list[Places], sizes: Shape
) -> Signal:
    """The signal of a node in which the features of `signals` lie at other places."""
    factors = [_spikes_of(signal, what) for signal in signals]
    if len({factor.step for factor in factors}) > 1:
        raise NotSupportedError(f"{what} of several timesteps", "delay the spikes before")
    shape = _image(signals[0], sizes)
    moved = [(bytes(source), bytes(target)) for source, target in places]
    key = (what, shape, *moved, *((f.origin, bytes(f.index)) for f in factors))
    if key not in graph.arranged:
        parts = tuple(
            Term(factor.origin, (_synapses(factor, places_of_part, shape),))
            for factor, places_of_part in zip(factors, places, strict=True)
        )
        name = graph.name(f"{graph.here}.places" if graph.here else "places")
        graph.arranged[key] = name, Arranged(parts, shape)
    atoms = tuple(Atom(n, "feature") for n in sizes)
    lead = len(signals[0].axes) - len(sizes)
    axes = (*signals[0].axes[:lead], *((atom,) for atom in atoms))
    term = Term(graph.arranged[key][0], (), factors[0].step)
    return replace(signals[0], axes=axes, features=atoms, shape=shape, terms=(term,))


def _synapses(factor: Factor, places: Places, shape: Shape) -> Sparse:
    source, target = places
    weight = np.ones(len(target), np.float32)
    return Sparse.of(factor.index[source], target, weight, factor.neurons, shape)


def _spikes_of(signal: Signal, what: str) -> Factor:
    found = factor_of(signal)
    if found is None or found.bias or found.constant != 1:
        raise NotSupportedError(f"{what} of what does not spike", "let it follow spiking neurons")
    return found


def _image(signal: Signal, sizes: Shape) -> Shape:
    """The shape in the graph of features of these sizes: (C, L) is (C, 1, L) as it was before."""
    shape = signal.shape or ()
    if len(sizes) == len(shape):
        return sizes
    if len(sizes) == 2 and len(shape) == 3 and shape[1] == 1:
        return (sizes[0], 1, sizes[1])
    raise NotSupportedError(
        f"features of shape {shape} put side by side as {sizes}", "reshape them before"
    )
