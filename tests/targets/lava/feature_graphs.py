"""Graphs with graded sums, lags, synaptic currents, other resets and a leaky readout."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from seenn_deploy import ir
from seenn_deploy._typing import Shape
from tests.random_graphs import dense, exact_weights, sparse
from tests.targets.lava.graphs import edge

Rng = np.random.Generator
SHAPE = (3, 4, 3)
OWN = 0  # seed of constants of each neuron's own, at which every layer spikes


def everything(coding: Any = "direct", T: int = 5, seed: int = 0) -> ir.SpikingGraph:
    """All at once; every loop closes in time on any schedule."""
    rng, own = np.random.default_rng(seed), np.random.default_rng(OWN)
    nodes = [
        ir.Source("input", (2, 4, 3), coding, counts_events=coding == "events"),
        ir.Population("a", SHAPE, v_threshold=0.5, bias=exact_weights(rng, (3, 1, 1))),
        neurons("b", SHAPE, reset="soft", reset_by=0.75, tau=_each(own, SHAPE, 0.25, 0.5, 1.0)),
        ir.Sum("a+b", SHAPE),
        neurons(
            "c",
            SHAPE,
            tau_syn=_each(own, (3, 1, 1), 0.25, 0.5),
            bias=exact_weights(rng, SHAPE),
            v_threshold=_each(own, SHAPE, 0.25, 0.5, 0.75),
            v_init=_each(own, SHAPE, 0.0, 0.25),
        ),
        ir.Sum("a+b+c+a", SHAPE),
        neurons("d", SHAPE, tau_syn=0.25, reset="soft", reset_by=0.25, comparison=">="),
        neurons("e", (6,), tau_syn=1.0, tau=0.0, v_init=0.25),
        ir.Readout(
            "logits", (4,), exact_weights(rng, (4,)), tau=_each(own, (4,), 0.5, 0.75), tau_syn=0.5
        ),
    ]
    edges = [
        edge("input", "a", conv(rng, 2)),
        lagged("a", "a", conv(rng, 3), 1),
        edge("a", "b", conv(rng, 3)),
        lagged("c", "b", ir.Identity(np.float32(0.5).reshape(())), 2),
        *adds("a+b", "a", "b"),
        edge("a+b", "c", conv(rng, 3)),
        *adds("a+b+c+a", "a+b", "c", "a"),
        edge("a+b+c+a", "d", sparse(rng, SHAPE, SHAPE)),
        lagged("a+b", "d", ir.Identity(np.float32(0.25).reshape(())), 1),
        edge("a+b", "e", dense(rng, SHAPE, 6)),
        edge("d", "e", dense(rng, SHAPE, 6)),
        lagged("e", "e", dense(rng, (6,), 6), 2),
        edge("e", "logits", dense(rng, (6,), 4)),
        edge("a+b+c+a", "logits", dense(rng, SHAPE, 4)),
        lagged("a", "logits", dense(rng, SHAPE, 4), 1),
    ]
    if coding == "events":
        edges.append(lagged("input", "d", sparse(rng, (2, 4, 3), SHAPE), 2))
    return ir.SpikingGraph(nodes, edges, T)


def long_loop(T: int = 4) -> ir.SpikingGraph:
    """A loop through three layers and a sum whose spikes come back one timestep later."""
    rng = np.random.default_rng(3)
    nodes = [
        ir.Source("input", (2, 4, 3), "events", counts_events=True),
        neurons("first", SHAPE, tau_syn=0.5),
        neurons("second", SHAPE),
        neurons("last", SHAPE, v_threshold=0.25),
        ir.Sum("both", SHAPE),
        ir.Readout("logits", (4,), tau=0.5),
    ]
    edges = [
        edge("input", "first", conv(rng, 2)),
        edge("first", "second", conv(rng, 3)),
        edge("second", "last", conv(rng, 3)),
        lagged("last", "first", conv(rng, 3), 1),
        lagged("last", "last", ir.Identity(np.float32(0.25).reshape(())), 1),
        *adds("both", "second", "last"),
        edge("both", "logits", dense(rng, SHAPE, 4)),
    ]
    return ir.SpikingGraph(nodes, edges, T)


def shuffled(seed: int, T: int = 4) -> ir.SpikingGraph:
    """A random chain of layers with random sums, lags and loops among them."""
    rng = np.random.default_rng(seed)
    coding: Any = rng.choice(["direct", "events"])
    nodes: list[Any] = [ir.Source("input", (2, 4, 3), coding, counts_events=coding == "events")]
    edges: list[ir.Projection] = []
    cells: list[str] = []
    for k in range(int(rng.integers(2, 5))):
        name, before = f"p{k}", nodes[-1]
        nodes.append(_drawn(rng, name))
        edges.append(edge(before.name, name, conv(rng, before.shape[0])))
        cells.append(name)
        if rng.random() < 0.7:
            back = str(rng.choice(cells))
            edges.append(lagged(name, back, sparse(rng, SHAPE, SHAPE), int(rng.integers(1, 4))))
        if coding == "events" and rng.random() < 0.3:
            edges.append(lagged("input", name, sparse(rng, (2, 4, 3), SHAPE), 1))
        if k and rng.random() < 0.6:
            edges += adds(f"s{k}", *(n.name for n in nodes[1:] if rng.random() < 0.5), name)
            nodes.append(ir.Sum(f"s{k}", SHAPE))
    tau, tau_syn = rng.choice([1.0, 0.5]), rng.choice([0.0, 0.25])
    nodes.append(ir.Readout("logits", (4,), tau=float(tau), tau_syn=float(tau_syn)))
    edges.append(edge(nodes[-2].name, "logits", dense(rng, SHAPE, 4)))
    edges.append(lagged(str(rng.choice(cells)), "logits", dense(rng, SHAPE, 4), 1))
    return ir.SpikingGraph(nodes, edges, T)


def _drawn(rng: Rng, name: str) -> ir.Population:
    return neurons(
        name,
        SHAPE,
        tau=_each(rng, SHAPE, 0.0, 0.5, 1.0) if rng.random() < 0.5 else float(rng.choice([0, 0.5])),
        tau_syn=float(rng.choice([0.0, 0.25, 0.5])),
        reset=str(rng.choice(["hard", "soft"])),
        reset_by=[None, 0.25, 1.5][int(rng.integers(3))],
        comparison=str(rng.choice([">", ">="])),
    )


def _each(rng: Rng, shape: Shape, *among: float) -> np.ndarray:
    return np.asarray(rng.choice(among, shape))


def neurons(name: str, shape: Shape, **parameters: Any) -> ir.Population:
    return ir.Population(name, shape, **{"v_threshold": 0.5, **parameters})


def conv(rng: Rng, channels: int) -> ir.Conv2d:
    return ir.Conv2d(exact_weights(rng, (3, channels, 3, 3)), padding=(1, 1))


def lagged(pre: str, post: str, synapses: Any, lag: int) -> ir.Projection:
    return ir.Projection(pre, post, (synapses,), lag=lag)


def adds(name: str, *parts: str) -> list[ir.Projection]:
    """What goes into a sum."""
    return [edge(part, name, ir.Identity()) for part in parts]


def rough(graph: ir.SpikingGraph, seed: int = 3) -> ir.SpikingGraph:
    """With weights, and leaks of neurons that have one, that no sum of float32 is exact with."""
    rng = np.random.default_rng(seed)
    sums = {n.name for n in graph.order if isinstance(n, ir.Sum)}
    nodes = [
        replace(n, tau=0.3, tau_syn=0.7 * n.tau_syn) if isinstance(n, ir.Population) else n
        for n in graph.order
    ]
    edges = [e if e.post in sums else _rough(rng, e) for e in graph.projections]
    return graph.replace(nodes, edges)


def _rough(rng: Rng, projection: ir.Projection) -> ir.Projection:
    weight = projection.synapses.weight
    drawn = np.asarray(rng.normal(0, 0.3, weight.shape), np.float32)
    return replace(projection, maps=(replace(projection.synapses, weight=drawn),))


def counts(graph: ir.SpikingGraph, n: int, seed: int = 1) -> np.ndarray:
    """Inputs that fit a graph: of events how many there were, of images quarters."""
    rng = np.random.default_rng(seed)
    if graph.source.coding == "events":
        return rng.choice([0, 0, 0, 1, 2, 5], (n, graph.T, *graph.source.shape)).astype(np.float32)
    return rng.integers(0, 5, (n, *graph.source.shape)).astype(np.float32) / 4
