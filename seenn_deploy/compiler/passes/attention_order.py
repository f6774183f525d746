"""Another order of the products of attention: ``q (k^T v)`` in place of ``(q k^T) v``.

Products of spikes are whole numbers, so every order gives the same result, spike for spike, and the
cheapest may be taken: for N tokens and heads of d channels, (q k^T) v has 2 N^2 d multiplications
and q (k^T v) has 2 N d^2.

Rules:

1. A product whose result goes to one other product alone, as it is, is regrouped with it.
2. Of the three orders the one with the fewest multiplications of a dense layer is taken; the
   module's own, where that is no worse. How many spikes meet depends on the samples: simulate both
   programs to compare counts by element.
3. Factors 1 - s keep the module's order.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from string import ascii_lowercase
from typing import Literal, TypeAlias, cast

import numpy as np

from seenn_deploy import ir
from seenn_deploy._typing import Array, Shape
from seenn_deploy.errors import ProgramError

Order: TypeAlias = Literal["module", "cheapest"]
CHOICES = ("module", "cheapest")


@dataclass(frozen=True, eq=False)
class Factor:
    """Elements `index` of the `neurons` of a node, which a product takes on axes with `letters`."""

    name: str
    index: Array
    neurons: int
    letters: str = ""


def apply(graph: ir.SpikingGraph, order: Order) -> ir.SpikingGraph:
    """Regroup products where `order` says so.

    Parameters
    ----------
    graph : SpikingGraph
        Before folding.
    order : 'module' or 'cheapest'

    Raises
    ------
    ProgramError
        For another word.
    """
    if order not in CHOICES:
        raise ProgramError(f"attention_order {order!r}: there is {', '.join(CHOICES)}")
    for node in graph.layers if order == "cheapest" else ():
        if node.kind == "product":
            graph = _regrouped(graph, node.name)
    return graph


def _regrouped(graph: ir.SpikingGraph, name: str) -> ir.SpikingGraph:
    """The graph with the cheapest order of a product and the one that it takes, if it does."""
    for place, factor in enumerate(_factors(graph, name)):
        inner = graph.node(factor.name)
        whole = np.array_equal(factor.index, np.arange(prod(inner.shape)))
        alone = whole and len(graph.nx.out_edges(inner.name)) == 1
        if alone and inner.kind == "product" and _factors(graph, inner.name):
            outer = cast(ir.Product, graph.node(name))
            return _cheapest(graph, cast(ir.Product, inner), outer, place)
    return graph


def _factors(graph: ir.SpikingGraph, name: str) -> list[Factor]:
    """The two factors of a product, left and right; none where one is 1 - s.

    Both may come from one node: a product of it with itself, or of two parts of it.
    """
    node, first, found = cast(ir.Product, graph.node(name)), 0, list[Factor]()
    listed = [(e.pre, cast(ir.Sparse, e.maps[0])) for e in graph.into(name) if len(e.maps) == 1]
    if len(listed) != 2 or node.bias.any():
        return []
    listed.sort(key=lambda pair: int(pair[1].targets.min(initial=0)))
    for (pre, synapses), sizes in zip(listed, (node.left, node.right), strict=True):
        index = np.full(prod(sizes), -1)
        index[synapses.targets - first] = synapses.sources
        found.append(Factor(pre, index, prod(graph.node(pre).shape)))
        first += len(index)
    return found


def _cheapest(
    graph: ir.SpikingGraph, inner: ir.Product, outer: ir.Product, place: int
) -> ir.SpikingGraph:
    (first, second, third), sizes, out = _lettered(graph, inner, outer, place)
    orders = [(first, second, third), (second, first, third)]
    found = [(_multiplications(*order, sizes, out), order) for order in orders]
    least, (alone, one, two) = min(found, key=lambda pair: pair[0])
    if least >= inner.multiplications + outer.multiplications:
        return graph
    kept = _between(one, two, alone, out)
    made = _product(inner.name, one.letters, two.letters, kept, sizes)
    final = _product(outer.name, alone.letters, kept, out, sizes, outer.shape)
    whole = prod(made.shape)
    both = Factor(made.name, np.arange(whole), whole, kept)
    edges = [e for e in graph.projections if e.post not in (made.name, final.name)]
    for node, factors in ((made, (one, two)), (final, (alone, both))):
        at = 0
        for factor in factors:
            edges.append(_placed(factor, node, at))
            at += len(factor.index)
    nodes = [{made.name: made, final.name: final}.get(n.name, n) for n in graph.order]
    return graph.replace(nodes, edges)


def _lettered(
    graph: ir.SpikingGraph, inner: ir.Product, outer: ir.Product, place: int
) -> tuple[list[Factor], dict[str, int], str]:
    """The factors of both in common letters, with sizes, and the letters of the result."""
    left, right, made = inner.letters
    # What the outer product calls the axes of the inner one, and new letters for all others.
    names = dict(zip(outer.letters[place], made, strict=True))
    free = (x for x in ascii_lowercase if x not in left + right)
    names |= {x: next(free) for x in dict.fromkeys("".join(outer.letters)) if x not in names}
    sizes = inner.sizes | {names[x]: size for x, size in outer.sizes.items()}
    third = "".join(names[x] for x in outer.letters[1 - place])
    factors = [*_factors(graph, inner.name), _factors(graph, outer.name)[1 - place]]
    spelled = zip(factors, (left, right, third), strict=True)
    return (
        [replace(f, letters=x) for f, x in spelled],
        sizes,
        "".join(names[x] for x in outer.letters[2]),
    )


def _between(one: Factor, two: Factor, alone: Factor, out: str) -> str:
    """Letters that the product of two factors keeps: those that the third or the result needs."""
    both = dict.fromkeys(one.letters + two.letters)
    return "".join(x for x in both if x in alone.letters or x in out)


def _multiplications(
    alone: Factor, one: Factor, two: Factor, sizes: dict[str, int], out: str
) -> int:
    kept = _between(one, two, alone, out)
    words = set(one.letters + two.letters), set(alone.letters + kept)
    return sum(prod(sizes[x] for x in word) for word in words)


def _product(
    name: str, left: str, right: str, out: str, sizes: dict[str, int], shape: Shape | None = None
) -> ir.Product:
    shapes = [tuple(sizes[x] for x in word) for word in (left, right, out)]
    whole = shape or (prod(shapes[2][:-1]), 1, shapes[2][-1])
    return ir.Product(name, whole, f"{left},{right}->{out}", shapes[0], shapes[1])


def _placed(factor: Factor, node: ir.Product, first: int) -> ir.Projection:
    place, ones = first + np.arange(len(factor.index)), np.ones(len(factor.index), np.float32)
    synapses = ir.Sparse.of(factor.index, place, ones, factor.neurons, node.arriving)
    return ir.Projection(factor.name, node.name, (synapses,))
