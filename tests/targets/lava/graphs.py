"""Small programs for Lava. Weights are multiples of 1/64, so sums are exact in any order."""

from typing import Any

import numpy as np

from seenn_deploy import ir
from seenn_deploy.compiler.passes import balance_delays
from seenn_deploy.exits import ExitRule
from seenn_deploy.exits.fixed import Fixed
from tests.random_graphs import exact_weights, sparse


def program(graph: ir.SpikingGraph, rule: ExitRule | None = None) -> ir.Program:
    """Compiled as far as Lava cares."""
    return ir.Program(balance_delays.apply(graph), rule or Fixed(), "speculative")


def in_time(program_: ir.Program) -> ir.Program:
    """On a schedule that its feedback keeps up with."""
    late = any(e.delay + e.lag < 0 for e in program_.graph.projections)
    return program_.with_schedule("gated") if late else program_


def edge(pre: str, post: str, synapses: Any) -> ir.Projection:
    return ir.Projection(pre, post, (synapses,))


def everything(coding: Any = "direct", T: int = 4) -> ir.SpikingGraph:
    """Every kind of synapse and neuron, shortcuts of one and more stages, odd shapes everywhere."""
    rng = np.random.default_rng(5)

    def w(*shape: int) -> np.ndarray:
        return exact_weights(rng, shape)

    wide = ir.Conv2d(w(130, 1, 1, 1), groups=130)  # more groups than Lava's Conv can count
    nodes = [
        ir.Source("input", (2, 7, 5), coding),
        ir.Population("conv", (4, 4, 6), v_threshold=0.25, bias=w(4, 4, 6)),
        ir.Population(
            "grouped", (6, 4, 6), v_threshold=0.25, reset="soft", v_init=0.25, bias=w(6, 1, 1)
        ),
        ir.Population("shortcut/of three", (4, 4, 6), tau=0.25, v_threshold=0.25, comparison=">="),
        ir.Population("listed", (130, 1, 2), tau=1.0, v_threshold=0.75, reset="soft"),
        ir.Population("wide", (130, 1, 2), v_threshold=0.125),
        ir.Population("flat", (9,), tau=0.0, v_threshold=0.25, v_init=-0.5, comparison=">="),
        ir.Readout("logits", (3,), bias=w(3)),
    ]
    edges = [
        edge("input", "conv", ir.Conv2d(w(4, 2, 3, 2), (2, 1), (1, 1), (1, 1))),
        edge("conv", "grouped", ir.Conv2d(w(6, 2, 2, 3), (1, 1), (1, 2), (2, 2), groups=2)),
        edge("grouped", "shortcut/of three", ir.Conv2d(w(4, 6, 1, 1))),
        edge("conv", "shortcut/of three", ir.Identity(np.float32(0.5).reshape(()))),
        edge("shortcut/of three", "listed", sparse(rng, (4, 4, 6), (130, 1, 2))),
        edge("conv", "listed", sparse(rng, (4, 4, 6), (130, 1, 2))),
        edge("input", "listed", sparse(rng, (2, 7, 5), (130, 1, 2))),
        edge("listed", "wide", wide),
        edge("wide", "flat", ir.Dense(w(9, 260))),
        edge("input", "flat", ir.Dense(w(9, 70))),
        edge("flat", "logits", ir.Dense(w(3, 9))),
        edge("conv", "logits", ir.Dense(w(3, 96))),
    ]
    return ir.SpikingGraph(nodes, edges, T)


def small(T: int = 4, seed: int = 0) -> ir.SpikingGraph:
    """Two layers that spike often and exit at different steps."""
    rng = np.random.default_rng(seed)
    nodes = [
        ir.Source("input", (2, 4, 4)),
        ir.Population("first", (3, 4, 4), bias=exact_weights(rng, (3, 1, 1))),
        ir.Population("second", (8,), v_threshold=0.5),
        ir.Readout("logits", (4,)),
    ]
    edges = [
        edge("input", "first", ir.Conv2d(exact_weights(rng, (3, 2, 3, 3)), padding=(1, 1))),
        edge("first", "second", ir.Dense(exact_weights(rng, (8, 48)))),
        edge("second", "logits", ir.Dense(4 * exact_weights(rng, (4, 8)))),
    ]
    return ir.SpikingGraph(nodes, edges, T)


def images(graph: ir.SpikingGraph, n: int, seed: int = 1) -> np.ndarray:
    """Multiples of 1/4 in 0..1 that fit a graph."""
    steps = (graph.T,) if graph.source.coding == "events" else ()
    rng = np.random.default_rng(seed)
    return rng.integers(0, 5, (n, *steps, *graph.source.shape)).astype(np.float32) / 4
