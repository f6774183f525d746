"""Another order of the products of attention: ``q (k^T v)`` in place of ``(q k^T) v``.

Products of spikes are whole numbers, so every order gives the same result, spike for spike, and the
cheapest may be taken: for N tokens and heads of d channels, (q k^T) v has 2 N^2 d multiplications
and q (k^T v) has 2 N d^2.

Rules:

1. A product whose result goes to one other product alone, as it is, is regrouped with it.
2. Of the three orders the one with the fewest accumulates is taken, counted by element on the
   spikes of a few samples, or where all neurons spike (the multiplications of a dense layer); the
   module's own, where that is no worse.
3. Factors 1 - s keep the module's order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from math import prod
from string import ascii_lowercase
from typing import Literal, TypeAlias, cast

import numpy as np

from seenn_deploy import ir
from seenn_deploy._typing import Array, Shape
from seenn_deploy.errors import ProgramError

Order: TypeAlias = Literal["module", "cheapest"]
CHOICES = ("module", "cheapest")


@dataclass(frozen=True)
class OrderCost:
    """Two products in a row, and what their orders cost.

    Parameters
    ----------
    product : str
        The second of them.
    choice : 'module' or 'cheapest'
        Order that the program has; 'module' also where no other one costs less.
    measured : bool
        Whether the counts are means over samples; else every neuron spikes.
    module, other : float
        Accumulates per timestep in the module's order, and in the better of the other two.
    """

    product: str
    choice: str
    measured: bool
    module: float
    other: float


@dataclass(frozen=True, eq=False)
class Factor:
    """Elements `index` of the `neurons` of a node, which a product takes on axes with `letters`."""

    name: str
    index: Array
    neurons: int
    letters: str = ""


def apply(
    graph: ir.SpikingGraph, order: Order, sent: Mapping[str, Array] | None = None
) -> tuple[ir.SpikingGraph, tuple[OrderCost, ...]]:
    """Regroup products where `order` says so.

    Parameters
    ----------
    graph : SpikingGraph
        Before folding.
    order : 'module' or 'cheapest'
    sent : mapping of float arrays (N, T, *shape), optional
        What each node sends on samples.

    Returns
    -------
    SpikingGraph
    tuple of OrderCost
        One per product that could be regrouped.

    Raises
    ------
    ProgramError
        For another word.
    """
    if order not in CHOICES:
        raise ProgramError(f"attention_order {order!r}: there is {', '.join(CHOICES)}")
    costs = []
    for node in graph.layers:
        if node.kind == "product" and (found := _inner(graph, node.name)):
            graph, cost = _regrouped(graph, *found, order, sent)
            costs.append(cost)
    return graph, tuple(costs)


def noted(found: Iterable[OrderCost]) -> tuple[dict[str, object], ...]:
    """The orders as the provenance holds them."""
    return tuple(map(asdict, found))


def _inner(graph: ir.SpikingGraph, name: str) -> tuple[ir.Product, ir.Product, int] | None:
    """A product that another takes, that one, and as which of its factors; None without one."""
    for place, factor in enumerate(_factors(graph, name)):
        inner = graph.node(factor.name)
        whole = np.array_equal(factor.index, np.arange(prod(inner.shape)))
        alone = whole and len(graph.nx.out_edges(inner.name)) == 1
        if alone and inner.kind == "product" and _factors(graph, inner.name):
            return cast(ir.Product, inner), cast(ir.Product, graph.node(name)), place
    return None


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


def _regrouped(
    graph: ir.SpikingGraph,
    inner: ir.Product,
    outer: ir.Product,
    place: int,
    order: Order,
    sent: Mapping[str, Array] | None,
) -> tuple[ir.SpikingGraph, OrderCost]:
    """The graph with the order of two products that `order` says, and what it costs."""
    (first, second, third), sizes, out = _lettered(graph, inner, outer, place)
    # What comes first is what the other two are multiplied with.
    orders = [(third, first, second), (first, second, third), (second, first, third)]
    own, *others = (_accumulates(*found, sizes, out, sent) for found in orders)
    best = int(np.argmin(others))
    changes = order == "cheapest" and others[best] < own
    choice = "cheapest" if changes else "module"
    cost = OrderCost(outer.name, choice, sent is not None, own, others[best])
    if not changes:
        return graph, cost
    alone, one, two = orders[1 + best]
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
    return graph.replace(nodes, edges), cost


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


def _accumulates(
    alone: Factor,
    one: Factor,
    two: Factor,
    sizes: dict[str, int],
    out: str,
    sent: Mapping[str, Array] | None,
) -> float:
    """Pairs that meet per timestep, in ``one two`` and in the product of that with `alone`."""
    kept = _between(one, two, alone, out)
    if sent is None:
        words = set(one.letters + two.letters), set(alone.letters + kept)
        return float(sum(prod(sizes[x] for x in word) for word in words))
    left, right, last = (_values(factor, sizes, sent) for factor in (one, two, alone))
    # Z stands for timesteps and samples; letters of axes are small ones.
    made = np.einsum(f"Z{one.letters},Z{two.letters}->Z{kept}", left, right, optimize=True)
    meetings = ((one.letters, left, two.letters, right), (alone.letters, last, kept, made))
    return sum(_meeting(*pair) for pair in meetings)


def _values(factor: Factor, sizes: dict[str, int], sent: Mapping[str, Array]) -> Array:
    """What a factor is, (timesteps of samples, *axes)."""
    all_sent = sent[factor.name].reshape(-1, factor.neurons)
    return all_sent[:, factor.index].reshape(-1, *(sizes[x] for x in factor.letters))


def _meeting(a: str, left: Array, b: str, right: Array) -> float:
    """Mean number of pairs of elements other than 0 that a product multiplies."""
    pairs = [(x != 0).astype(np.float64) for x in (left, right)]
    return float(np.einsum(f"Z{a},Z{b}->Z", *pairs, optimize=True).mean())


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
