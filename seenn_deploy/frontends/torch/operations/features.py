"""Parts of the features of spikes, as the queries among the channels, and sums over features."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np

from seenn_deploy._typing import Shape
from seenn_deploy.frontends.torch.operations.mapping import affine, like
from seenn_deploy.frontends.torch.operations.products import factor_of, graph_shape
from seenn_deploy.frontends.torch.operations.registry import Graph
from seenn_deploy.frontends.torch.values import Atom, NotSupportedError, Signal, refined

# What is said of a part of an axis that has no features, by the role of the axis.
PARTS: dict[str | None, tuple[str, str]] = {
    None: ("a part of an axis", "a graph takes all of it; slice before"),
    "time": (
        "a part of the timesteps",
        "all are run, and what is added or multiplied is of one timestep; neurons remember",
    ),
    "batch": ("a part of the batch", "samples are run one by one; slice before"),
}


def part(signal: Signal, at: int, first: int, length: int) -> Signal:
    """Take `length` features from `first` on along an axis, behind neurons."""
    given = factor_of(signal)
    if given is None or given.bias or given.constant != 1:
        raise NotSupportedError(
            "a part of an axis", "take parts of spikes, right behind the neurons; or slice before"
        )
    atoms = [a for a in signal.axes[at] if a.size > 1]
    if len(atoms) > 1 and first % (rest := prod(a.size for a in atoms[1:])) == length % rest == 0:
        atom, first, length = atoms[0], first // rest, length // rest
    elif len(atoms) == 1:
        (atom,) = atoms
    else:
        raise NotSupportedError("a part of joined axes", "split them before with a reshape")
    if atom.role != "feature":
        raise NotSupportedError(*PARTS.get(atom.role, PARTS[None]))
    kept = Atom(length, "feature")
    place = signal.features.index(atom)
    sizes = [a.size for a in signal.features]
    index = given.index.reshape(sizes).take(range(first, first + length), place).ravel()
    chosen = replace(given, index=index)
    features = (*signal.features[:place], kept, *signal.features[place + 1 :])
    axes = tuple(tuple(kept if a is atom else a for a in axis) for axis in signal.axes)
    shape = _resized(signal, place, length)
    term = replace(signal.terms[0], maps=(chosen.into(np.arange(len(index)), shape),))
    return replace(signal, axes=axes, features=features, shape=shape, terms=(term,))


def _resized(signal: Signal, place: int, length: int) -> Shape:
    """The shape in the graph, with another size of one of the features."""
    shape, number = list(signal.shape or ()), 0
    for at, size in enumerate(shape):
        inside, whole = number, 1
        while whole < size:
            whole *= signal.features[number].size
            number += 1
        if inside <= place < number:
            shape[at] = size // signal.features[place].size * length
    return tuple(shape)


def without_axis(signal: Signal, at: int) -> Signal:
    """Leave out an axis of one feature."""
    axes = (*signal.axes[:at], *signal.axes[at + 1 :])
    gone = {id(a) for a in signal.axes[at]}
    features = tuple(a for a in signal.features if id(a) not in gone)
    return replace(signal, axes=axes, features=refined(features, axes))


def summed_features(
    graph: Graph, signal: Signal, places: list[int], keepdim: bool, mean: bool
) -> Signal:
    """Sum spikes over axes of features: synapses of weight 1."""
    given = factor_of(signal)
    gone = {id(a) for at in places for a in signal.axes[at]}
    if given is None or given.bias:
        raise NotSupportedError(
            "a sum or mean over features", "sum over time, or take a linear layer for it"
        )
    sizes = [a.size for a in signal.features]
    kept = [i for i, a in enumerate(signal.features) if id(a) not in gone]
    number = np.indices(sizes).reshape(len(sizes), -1)
    target = np.zeros(prod(sizes), np.int64)
    for i in kept:
        target = target * sizes[i] + number[i]
    axes = tuple(
        () if at in places else axis
        for at, axis in enumerate(signal.axes)
        if keepdim or at not in places
    )
    features = tuple(signal.features[i] for i in kept)
    shape = graph_shape(axes)
    term = replace(signal.terms[0], maps=(given.into(target, shape),))
    made = replace(signal, axes=axes, features=features, shape=shape, terms=(term,))
    count = prod(sizes) // max(1, prod(a.size for a in features))
    return affine(graph, made, like(given.constant / (count if mean else 1)), like(0.0))
