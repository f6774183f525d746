"""Products of spikes: masks, SEW-ResNet's AND and IAND, and the matrix products of attention."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from itertools import count as counting
from math import prod
from string import ascii_lowercase, ascii_uppercase
from typing import TypeAlias

import numpy as np

from seenn_deploy._typing import Array, Shape
from seenn_deploy.frontends.torch.operations.mapping import affine, as_signal, like
from seenn_deploy.frontends.torch.operations.registry import Graph, Multiplied, operation
from seenn_deploy.frontends.torch.values import (
    SOURCE,
    Atom,
    Axes,
    Constant,
    NotSupportedError,
    Signal,
    Term,
    Value,
    common_parts,
    refined,
    trailing,
)
from seenn_deploy.ir.maps import Affine, Sparse
from seenn_deploy.ir.maps.affine import composed

_EQUATION = re.compile(r"([a-zA-Z.]+),([a-zA-Z.]+)->([a-zA-Z.]+)")

Letters: TypeAlias = dict[int, str]  # by the identity of an atom
Lettered: TypeAlias = list[tuple[Atom, str]]  # an axis of the result


@dataclass(frozen=True, eq=False)
class Factor:
    """What a node sends, as a factor: ``constant s``, or ``1 - s`` with a bias of 1.

    `index` gives the neuron of `origin` for each feature, of `neurons` that it has.
    """

    origin: str
    index: Array
    neurons: int
    constant: float
    bias: float
    step: int | None

    def into(self, target: Array, shape: Shape, sign: float = 1.0) -> Sparse:
        """Synapses of one weight from each feature to its `target` among those of `shape`."""
        signs = np.full(len(self.index), sign, np.float32)
        return Sparse.of(self.index, target, signs, self.neurons, shape)

    def placed(self, first: int, whole: int) -> Term:
        """The factor in a vector of `whole` elements, from `first` on."""
        place = first + np.arange(len(self.index))
        return Term(self.origin, (self.into(place, (whole,), -1 if self.bias else 1),), self.step)


def factor_of(signal: Signal) -> Factor | None:
    """Read a signal as a factor; None for a current, a sum over time, a delay or an input."""
    (term, *others), neurons = signal.terms, prod(a.size for a in signal.features)
    if others or signal.summed or signal.state or signal.pool:
        return None
    if term.origin == SOURCE or term.lag or term.real:
        return None
    maps, index = term.maps, np.arange(neurons)
    if maps and isinstance(maps[0], Sparse):  # a part of the features
        chosen, maps = maps[0], maps[1:]
        index, neurons = np.zeros(len(chosen.weight), np.int64), len(chosen.indptr) - 1
        index[chosen.targets] = chosen.sources
        if (chosen.weight != 1).any() or len(index) != prod(chosen.shape_out):
            return None
    whole = composed(maps) if maps else Affine(np.ones(1), np.zeros(1))
    if whole is None or np.ptp(whole.scale) or np.ptp(whole.shift):
        return None
    constant, bias = float(whole.scale[0]), float(whole.shift[0])
    if bias and (constant, bias) != (-1, 1):
        return None
    return Factor(term.origin, index, neurons, 1.0 if bias else constant, bias, term.step)


def graph_shape(axes: Axes) -> Shape:
    """The shape in the graph of features on axes: the last axis is the pixels, if there are two."""
    found = [[a for a in axis if a.role == "feature"] for axis in axes]
    found = [axis for axis in found if axis]
    if len(found) < 2:
        return (prod(a.size for axis in found for a in axis),)
    channels = prod(a.size for axis in found[:-1] for a in axis)
    pixels = [a.size for a in found[-1]]
    return (channels, *pixels) if len(pixels) == 2 else (channels, 1, prod(pixels))


# --- two signals ----------------------------------------------------------------------------------


def multiplied(graph: Graph, a: Signal, b: Signal) -> Signal:
    """Multiply element by element; an axis of size 1 is repeated."""
    rank = max(len(a.axes), len(b.axes))
    a, b = (replace(s, axes=((),) * (rank - len(s.axes)) + s.axes) for s in (a, b))
    a, b = _alike(a, b, [(i, i) for i in range(rank)])
    left, right, name = _named(a), dict[int, str](), _unused(a)
    axes: list[Lettered] = []
    for mine, other in zip(a.axes, b.axes, strict=True):
        if _size(mine) == 1 or _size(other) == 1:
            right.update({id(x): next(name) for x in other if _is_long(x)})
            axes.append(_lettered(mine, left) if _size(other) == 1 else _lettered(other, right))
        else:
            _unify(mine, other, left, right)
            axes.append(_lettered(mine, left))
    return _product(graph, a, b, axes, left, right)


def matrix_product(graph: Graph, a: Signal, b: Signal) -> Signal:
    """Return ``a @ b``, matrices on the last two axes."""
    if min(len(a.axes), len(b.axes)) < 2 or len(a.axes) != len(b.axes):
        raise NotSupportedError(
            f"a matrix product of {a.sizes} and {b.sizes}", "give both as many axes"
        )
    lead = ascii_uppercase[: len(a.axes) - 2]
    return contracted(graph, a, b, f"{lead}ij,{lead}jk->{lead}ik")


@operation("einsum.default")
def einsum(graph: Graph, equation: str, operands: Sequence[Value], path: Value = None) -> Signal:
    """Multiply two signals along the axes that an equation names."""
    words = _EQUATION.fullmatch(equation.replace(" ", ""))
    if words is None or len(operands) != 2:
        raise NotSupportedError(
            f"einsum({equation!r})", "write two factors and the result, as in 'tbnc,tbmc->tbnm'"
        )
    if any(isinstance(value, Constant) for value in operands):
        raise NotSupportedError("einsum with weights", "write it as a linear layer")
    a, b = (as_signal(value) for value in operands)
    # The axes of three dots get letters of their own, which an equation rarely has.
    named = len(words[1].replace("...", ""))
    dots = ascii_uppercase[: len(a.axes) - named] if "..." in words[1] else ""
    spelled = words[0].replace("...", dots)
    left, right = spelled.split("->")[0].split(",")
    if (len(left), len(right)) != (len(a.axes), len(b.axes)):
        raise NotSupportedError(f"einsum({equation!r})", "name the axes of both, or write '...'")
    return contracted(graph, a, b, spelled)


def contracted(graph: Graph, a: Signal, b: Signal, equation: str) -> Signal:
    """Multiply along axes of one letter, as ``numpy.einsum``, and sum over those of both alone."""
    terms, out = equation.split("->")
    mine, other = terms.split(",")
    met = [(mine.index(x), other.index(x)) for x in mine if x in other]
    summed = [x for x in mine + other if x not in out]
    if len(set(mine)) < len(mine) or len(set(other)) < len(other) or len(set(out)) < len(out):
        raise NotSupportedError(f"einsum({equation!r})", "name every axis once")
    if any(x not in mine or x not in other for x in summed):
        raise NotSupportedError(
            f"einsum({equation!r})", "sum over axes that both factors have; others before"
        )
    a, b = _alike(a, b, met)
    left, right, name = _named(a), dict[int, str](), _unused(a)
    for i, j in met:
        _unify(a.axes[i], b.axes[j], left, right)
    alone = [axis for x, axis in zip(other, b.axes, strict=True) if x not in mine]
    _check_features([a.axes[mine.index(x)] for x in mine if x not in other or x in summed] + alone)
    right.update({id(x): next(name) for axis in alone for x in axis if _is_long(x)})
    axes = [
        _lettered(a.axes[mine.index(x)], left)
        if x in mine
        else _lettered(b.axes[other.index(x)], right)
        for x in out
    ]
    return _product(graph, a, b, axes, left, right)


def _check_features(axes: Iterable[tuple[Atom, ...]]) -> None:
    """Refuse a product whose factors are of other timesteps or samples."""
    for atom in chain(*axes):
        if atom.role in ("time", "batch") and atom.size > 1:
            of = "timesteps" if atom.role == "time" else "samples"
            raise NotSupportedError(
                f"a product of what different {of} sent",
                "both factors need to be of the same timestep and sample",
            )
        if atom.role is None:
            atom.become("feature")


def _alike(a: Signal, b: Signal, pairs: list[tuple[int, int]]) -> tuple[Signal, Signal]:
    """Split features on the axes that meet, so that both factors have the same parts there."""
    axes = list(a.axes), list(b.axes)
    for i, j in pairs:
        if _size(axes[0][i]) == _size(axes[1][j]):
            axes[0][i], axes[1][j] = common_parts(axes[0][i], axes[1][j])
    made = (tuple(found) for found in axes)
    one, two = (
        replace(s, axes=found, features=refined(s.features, found))
        for s, found in zip((a, b), made, strict=True)
    )
    return one, two


def _size(axis: tuple[Atom, ...]) -> int:
    return prod(a.size for a in axis)


def _named(signal: Signal) -> Letters:
    """A letter for each axis; one of size 1 needs none."""
    return {id(x): ascii_lowercase[i] for i, x in enumerate(signal.features) if x.size > 1}


def _lettered(axis: tuple[Atom, ...], letters: Letters) -> Lettered:
    return [(atom, letters.get(id(atom), "")) for atom in axis]


def _is_long(atom: Atom) -> bool:
    return atom.role == "feature" and atom.size > 1


def _unused(signal: Signal) -> Iterator[str]:
    return (ascii_lowercase[i] for i in counting(len(signal.features)))


def _unify(mine: tuple[Atom, ...], other: tuple[Atom, ...], left: Letters, right: Letters) -> None:
    """Give the axes of the right factor the letters of the left one that they meet."""
    if [a.size for a in mine if a.size > 1] != [a.size for a in other if a.size > 1]:
        raise NotSupportedError(
            f"a product along axes of {_size(mine)} and {_size(other)}",
            "both factors need the same tokens, heads and channels there",
        )
    pairs = zip((a for a in mine if a.size > 1), (a for a in other if a.size > 1), strict=True)
    for x, y in pairs:
        if "feature" in (x.role, y.role):
            x.become("feature")
            y.become("feature")
            right[id(y)] = left[id(x)]
        elif x.role is not None:
            y.become(x.role)


def _product(
    graph: Graph, a: Signal, b: Signal, axes: list[Lettered], left: Letters, right: Letters
) -> Signal:
    one, two = factor_of(a), factor_of(b)
    if one is None or two is None:
        raise NotSupportedError(
            "a product of two signals that are not both spikes",
            "spikes and sums of them may be multiplied, s or 1 - s; softmax and norms may not",
        )
    if one.step != two.step:
        raise NotSupportedError(
            "a product of two timesteps", "both factors need to be of the same timestep"
        )
    both = (a, left), (b, right)
    terms = ["".join(letters.get(id(x), "") for x in s.features) for s, letters in both]
    shapes = [tuple(x.size for x in s.features if id(x) in letters) for s, letters in both]
    out = "".join(letter for axis in axes for _, letter in axis)
    # Element by element, features lie as those of the factor that has all of them.
    out = next((term for term in terms if sorted(term) == sorted(out)), out)
    # Of one layer's queries and keys the result has the same axis twice: it needs its own atoms.
    made = tuple(
        tuple(Atom(x.size, "feature") if x.role == "feature" else x for x, _ in axis)
        for axis in axes
    )
    whole = sum(map(prod, shapes))
    key = (*((f.origin, f.index.tobytes(), f.bias) for f in (one, two)), *terms, out)
    # A mask leaves rows and columns as they are.
    kept = (s.shape for s, term in zip((a, b), terms, strict=True) if term == out and s.shape)
    shape = next(kept, None) or graph_shape(made)
    if key not in graph.products:
        placed = one.placed(0, whole), two.placed(prod(shapes[0]), whole)
        graph.products[key] = (
            graph.name(f"{graph.here}.mul" if graph.here else "mul"),
            Multiplied(
                placed, (one.bias, two.bias), shape, f"{terms[0]},{terms[1]}->{out}",
                shapes[0], shapes[1],
            ),
        )  # fmt: skip
    name = graph.products[key][0]
    lettered = zip(chain(*made), (letter for axis in axes for _, letter in axis), strict=True)
    features = sorted(
        ((x, letter) for x, letter in lettered if x.role == "feature"),
        key=lambda pair: out.find(pair[1]) if pair[1] else len(out),
    )
    result = Signal(made, tuple(x for x, _ in features), shape, (Term(name, (), one.step),))
    return affine(graph, result, like(one.constant * two.constant), like(0.0))


def channels_first(graph: Graph, signal: Signal) -> Signal:
    """The signal, which a linear layer takes: the last axis has the channels, others are tokens.

    A product is made with the channels first, as the graph has them; anything else stays.
    """
    count = trailing(signal)
    lead, tokens = signal.axes[: len(signal.axes) - count], signal.axes[-count:-1]
    return reordered(graph, signal, signal.axes, (*lead, signal.axes[-1], tuple(chain(*tokens))))


def reordered(graph: Graph, signal: Signal, axes: Axes, order: Axes | None = None) -> Signal:
    """The same on permuted axes; a product is made in that order, which costs nothing.

    With `order`, the features of a product lie as on those axes.
    """
    moved = replace(signal, axes=axes)
    ordered = axes if order is None else order
    term = signal.terms[0]
    found = dict(graph.products.values()).get(term.origin)
    given = factor_of(signal)
    if found is None or given is None or given.bias or len(given.index) != given.neurons:
        return moved
    long = (id(x) for x in signal.features if x.size > 1)
    letters = dict(zip(long, found.subscripts.split("->")[1], strict=True))
    features = [x for axis in ordered for x in axis if x.role == "feature"]
    terms, _ = found.subscripts.split("->")
    subscripts = f"{terms}->{''.join(letters[id(x)] for x in features if x.size > 1)}"
    shape = graph_shape(ordered)
    key = (term.origin, subscripts)
    if key not in graph.products:
        name = graph.name(f"{graph.here}.mul" if graph.here else "mul")
        graph.products[key] = (name, replace(found, shape=shape, subscripts=subscripts))
    bare = Term(graph.products[key][0], (), term.step)
    made = replace(moved, features=tuple(features), shape=shape, terms=(bare,))
    return affine(graph, made, like(given.constant), like(0.0))
