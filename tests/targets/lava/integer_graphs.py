"""Integer programs for Lava: of every size of number, from spikes to saturation and wrap-around."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from seenn_deploy import ir
from seenn_deploy.compiler.passes import balance_delays
from seenn_deploy.exits import ExitRule
from seenn_deploy.exits.fixed import Fixed
from tests.targets.lava import graphs

Rng = np.random.Generator
LIMIT = 2**23 - 1


def program(
    graph: ir.SpikingGraph, rule: ExitRule | None = None, logit_scale: float = 1 / 64
) -> ir.Program:
    """Compiled as far as Lava cares."""
    graph = balance_delays.apply(graph)
    return ir.Program(
        graph, rule or Fixed(), "speculative", precision="int8", logit_scale=logit_scale
    )


def integers(graph: ir.SpikingGraph, rng: Rng, extreme: bool = False) -> ir.SpikingGraph:
    """A float graph's structure with random integers; `extreme`: as large as Lava holds."""
    into = {n.name: max(1, sum(_fan_in(e) for e in graph.into(n.name))) for n in graph.layers}
    sums = {n.name for n in graph.order if isinstance(n, ir.Sum)}
    return graph.replace(
        [_node(n, into.get(n.name, 1), rng, extreme) for n in graph.order],
        [e if e.post in sums else _edge(e, rng, extreme) for e in graph.projections],
    )


def _fan_in(edge: ir.Projection) -> int:
    weight = edge.synapses.weight
    return int(np.prod(weight.shape[1:])) if weight.ndim > 1 else 4


def _like(value: Any, rng: Rng, among: Any) -> Any:
    """Whole numbers for the whole layer, or by channel or neuron, as `value` is."""
    if isinstance(value, np.ndarray):
        return rng.choice(among, value.shape).astype(np.int64)
    return float(int(rng.choice(among)))


def _start(node: ir.Population, rng: Rng, largest: int) -> Any:
    if isinstance(node.v_init, np.ndarray):
        return rng.integers(-largest, largest + 1, node.v_init.shape)
    return float(rng.integers(-largest, largest + 1)) if rng.random() < 0.5 else 0.0


def _node(node: ir.Node, fan_in: int, rng: Rng, extreme: bool) -> ir.Node:
    if isinstance(node, ir.Sum):
        return node
    if isinstance(node, ir.Source):
        # messages up to 2^13 (2 in, times the scale): convolutions wrap at 24 bits, shifts at 24
        scale = float(rng.choice([4096.0, 1000.5])) if extreme else 100.0
        return replace(node, scale=scale, offset=float(rng.choice([0.0, 0.25])))
    if isinstance(node, ir.Readout):
        tau = 1.0 if np.all(node.tau == 1) else _like(node.tau, rng, range(4096)) / 4096
        bias = rng.integers(-100, 100, node.bias.shape).astype(np.int32)
        return replace(
            node, bias=bias, tau=tau, tau_syn=1111 / 4096 if np.any(node.tau_syn) else 0.0
        )
    exponent = int(rng.integers(0, 8)) if extreme else int(rng.integers(0, 3))
    bias = rng.integers(-(2**12), 2**12, node.bias.shape) << exponent
    largest = LIMIT if extreme else 64 * 100
    sizes = [100.0, 3000.0, 131071.0, 0.0] if extreme else [50.0, 60 * np.sqrt(fan_in)]
    if np.any(node.tau_syn):
        leaks = _like(node.tau_syn, rng, [1, 1000, 2048, 4095, 4096])
        node = replace(node, tau_syn=leaks / 4096)
    if node.reset_by is not None:
        node = replace(node, reset_by=float(int(rng.choice([*sizes, 0.0, 131071.0]))))
    return replace(
        node,
        tau=_like(node.tau, rng, [0, 1, 1000, 2048, 4095, 4096]) / 4096,
        v_threshold=_like(node.v_threshold, rng, sizes),
        v_init=_start(node, rng, largest),
        bias=(bias * (rng.random(bias.shape) < 0.5)).astype(np.int32),
    )


def _edge(edge: ir.Projection, rng: Rng, extreme: bool) -> ir.Projection:
    synapses: Any = edge.synapses
    shape = synapses.weight.shape
    if isinstance(synapses, ir.Conv2d):
        weight = rng.integers(-128, 128, shape).astype(np.int8)
    elif isinstance(synapses, ir.Sparse):
        synapses = _without_doubles(synapses)
        weight = _signed(rng, synapses.weight.shape)
    elif isinstance(synapses, ir.Identity):
        weight = np.asarray(rng.choice([-255, -64, 1, 64, 255]), np.int16)
    else:
        weight = _signed(rng, shape)
    return replace(edge, maps=(replace(synapses, weight=weight),))


def _without_doubles(synapses: ir.Sparse) -> ir.Sparse:
    """Several synapses of one pair of neurons add up, and could leave the range."""
    indptr, targets = [0], []
    for i in range(len(synapses.indptr) - 1):
        mine = sorted(set(synapses.targets[synapses.indptr[i] : synapses.indptr[i + 1]].tolist()))
        targets += mine
        indptr.append(len(targets))
    weight = np.zeros(len(targets), np.int16)
    return ir.Sparse(np.array(indptr), np.array(targets, np.int32), weight, synapses.shape_out)


def _signed(rng: Rng, shape: tuple[int, ...]) -> np.ndarray:
    """Even weights of both signs, or weights of one."""
    kind = rng.integers(4)
    if kind == 0:
        return rng.integers(0, 256, shape).astype(np.int16)
    if kind == 1:
        return rng.integers(-255, 1, shape).astype(np.int16)
    return (2 * rng.integers(-128, 128, shape)).astype(np.int16)


def small(T: int = 4, seed: int = 2) -> ir.SpikingGraph:
    """Two layers that spike often and exit at different steps, a shortcut among them."""
    rng = np.random.default_rng(seed)
    nodes = [
        ir.Source("input", (2, 4, 4), scale=200.0),
        ir.Population(
            "first", (3, 4, 4), v_threshold=20000.0, bias=np.full((3, 1, 1), 640, np.int32)
        ),
        ir.Population("second", (8,), v_threshold=250.0, tau=1.0, v_init=8000.0, reset="soft"),
        ir.Readout("logits", (4,), bias=np.array([1, -2, 0, 3], np.int32)),
    ]
    edges = [
        graphs.edge("input", "first", ir.Conv2d(
            rng.integers(-128, 128, (3, 2, 3, 3)).astype(np.int8), padding=(1, 1)
        )),
        graphs.edge("first", "second", ir.Dense(_even(rng, (8, 48), 60))),
        graphs.edge("second", "logits", ir.Dense(_even(rng, (4, 8), 100))),
        graphs.edge("first", "logits", ir.Dense(_even(rng, (4, 48), 10))),
    ]  # fmt: skip
    return ir.SpikingGraph(nodes, edges, T)


def _even(rng: Rng, shape: tuple[int, ...], largest: int) -> np.ndarray:
    return (2 * rng.integers(-largest // 2, largest // 2 + 1, shape)).astype(np.int16)


def grouped(T: int = 2) -> ir.SpikingGraph:
    """More groups than Lava's Conv can count, so a list of odd weights of both signs."""
    rng = np.random.default_rng(8)
    nodes = [
        ir.Source("input", (130, 2, 1), "events", scale=64.0),
        ir.Population("wide", (130, 2, 1), v_threshold=3000.0, comparison=">="),
        ir.Readout("logits", (2,)),
    ]
    weight = rng.integers(-128, 128, (130, 1, 1, 1)).astype(np.int8)
    edges = [
        graphs.edge("input", "wide", ir.Conv2d(weight, groups=130)),
        graphs.edge("wide", "logits", ir.Dense(_even(rng, (2, 260), 200))),
    ]
    return ir.SpikingGraph(nodes, edges, T)
