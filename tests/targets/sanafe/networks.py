"""Integer networks that SANA-FE runs, one for each thing that may differ."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

import seenn_deploy as sd
from seenn_deploy import ir
from seenn_deploy.compiler.mapping import chip as chips
from seenn_deploy.compiler.passes import balance_delays
from tests.targets.lava.graphs import edge

T = 4
CHIPS = Path(chips.__file__).parent / "chips"


def dense() -> ir.SpikingGraph:
    """Two dense layers, neurons that each have their own leak and threshold."""
    rng = np.random.default_rng(0)
    nodes = [
        ir.Source("input", (6, 1, 1), scale=100.0),
        ir.Population("first", (20,), tau=rng.choice([0, 2048, 4096, 1000], 20) / 4096,
                      v_threshold=rng.integers(500, 2000, 20), bias=_biases(rng, (20,))),
        ir.Population("second", (12,), v_threshold=60.0, bias=_biases(rng, (12,))),
        ir.Readout("logits", (4,), bias=_biases(rng, (4,)), tau=0.5),
    ]  # fmt: skip
    edges = [
        edge("input", "first", _dense(rng, 20, 6)),
        edge("first", "second", _dense(rng, 12, 20, 30)),
        edge("second", "logits", _dense(rng, 4, 12)),
    ]
    return ir.SpikingGraph(nodes, edges, T)


def shortcuts() -> ir.SpikingGraph:
    """A residual block: an identity and a strided convolution beside the main path."""
    rng = np.random.default_rng(1)
    nodes = [
        ir.Source("input", (2, 6, 6), scale=60.0),
        ir.Population("stem", (4, 6, 6), v_threshold=2500.0, bias=_biases(rng, (4, 1, 1))),
        ir.Population("a", (4, 6, 6), v_threshold=120.0, bias=_biases(rng, (4, 1, 1))),
        ir.Population("b", (4, 6, 6), v_threshold=150.0),
        ir.Population("c", (6, 3, 3), v_threshold=150.0, bias=_biases(rng, (6, 1, 1))),
        ir.Population("d", (6, 3, 3), v_threshold=100.0),
        ir.Readout("logits", (4,)),
    ]
    same, half = {"padding": (1, 1)}, {"padding": (1, 1), "stride": (2, 2)}
    edges = [
        edge("input", "stem", _conv(rng, (4, 2, 3, 3), **same)),
        edge("stem", "a", _conv(rng, (4, 4, 3, 3), **same)),
        edge("a", "b", _conv(rng, (4, 4, 3, 3), **same)),
        edge("stem", "b", ir.Identity(np.asarray(90, np.int16))),
        edge("b", "c", _conv(rng, (6, 4, 3, 3), **half)),
        edge("c", "d", _conv(rng, (6, 6, 3, 3), **same)),
        edge("b", "d", _conv(rng, (6, 4, 1, 1), stride=(2, 2))),
        edge("d", "logits", _dense(rng, 4, 54)),
    ]
    return ir.SpikingGraph(nodes, edges, T)


def pooled() -> ir.SpikingGraph:
    """A convolution, a pool that a dense layer has folded into it, and a list of synapses."""
    rng = np.random.default_rng(2)
    pool = ir.PooledDense(2 * rng.integers(-60, 60, (8, 12)).astype(np.int16), (2, 2))
    nodes = [
        ir.Source("input", (2, 4, 4), scale=60.0),
        ir.Population("first", (3, 4, 4), v_threshold=1500.0, comparison=">="),
        ir.Population("second", (8,), v_threshold=100.0, comparison=">=", bias=_biases(rng, (8,))),
        ir.Readout("logits", (4,)),
    ]
    list_ = ir.Sparse.listing(_dense(rng, 4, 8), (8,))
    edges = [
        edge("input", "first", _conv(rng, (3, 2, 3, 3), padding=(1, 1))),
        edge("first", "second", pool),
        edge("second", "logits", list_),
    ]
    return ir.SpikingGraph(nodes, edges, T)


def converted(comparison: Any = ">=") -> ir.SpikingGraph:
    """Neurons as QCFS leaves them: no leak, half a threshold to begin with, a soft reset."""
    rng = np.random.default_rng(3)
    neuron: dict[str, Any] = {"tau": 1.0, "reset": "soft", "comparison": comparison}
    nodes = [
        ir.Source("input", (2, 4, 4), scale=60.0),
        ir.Population("first", (3, 4, 4), v_threshold=6000.0, v_init=32 * 6000, **neuron),
        ir.Population("second", (8,), v_threshold=64.0, v_init=32 * 64, **neuron),
        ir.Readout("logits", (4,)),
    ]
    edges = [
        edge("input", "first", _conv(rng, (3, 2, 3, 3), padding=(1, 1))),
        edge("first", "second", _dense(rng, 8, 48, 16)),
        edge("second", "logits", _dense(rng, 4, 8)),
    ]
    return ir.SpikingGraph(nodes, edges, T)


def events(late: bool = False) -> ir.SpikingGraph:
    """Frames of an event stream; `late`: a second layer gets them a timestep later."""
    rng = np.random.default_rng(4)
    nodes = [
        ir.Source("input", (2, 4, 4), "events"),
        ir.Population("first", (3, 4, 4), v_threshold=60.0),
        ir.Population("second", (8,), v_threshold=120.0, bias=_biases(rng, (8,))),
        ir.Readout("logits", (4,)),
    ]
    edges = [
        edge("input", "first", _conv(rng, (3, 2, 3, 3), padding=(1, 1))),
        edge("first", "second", _dense(rng, 8, 48, 30)),
        edge("second", "logits", _dense(rng, 4, 8)),
    ]
    if late:
        edges.append(ir.Projection("input", "second", (_dense(rng, 8, 32, 30),), lag=1))
    return ir.SpikingGraph(nodes, edges, T)


def random(rng: np.random.Generator) -> ir.SpikingGraph:
    """Layers of any geometry that skip to any later one, with neurons of any kind."""
    nodes: list[ir.Node] = [ir.Source("input", (2, 5, 5), scale=float(rng.choice([1, 7, 15])))]
    edges = []
    for number in range(int(rng.integers(1, 4))):
        before, synapses = nodes[-1], _dense(rng, 9, int(np.prod(nodes[-1].shape)), 40)
        if len(before.shape) == 3 and rng.random() < 0.7:
            size = int(rng.integers(1, 4))
            by = {"stride": (int(rng.integers(1, 3)), 1), "padding": (1, size // 2)}
            synapses = _conv(rng, (int(rng.integers(2, 5)), before.shape[0], size, size), **by)
        name = f"p{number}"
        nodes.append(_neurons(rng, name, synapses.out_shape(before.shape)))
        edges.append(edge(before.name, name, synapses))
    for node in nodes[1:]:
        edges.append(edge(node.name, "logits", _dense(rng, 3, int(np.prod(node.shape)))))
    for pre, post in combinations(nodes[1:], 2):
        if rng.random() < 0.3:
            dense = _dense(rng, int(np.prod(post.shape)), int(np.prod(pre.shape)), 8)
            list_ = ir.Sparse.listing(dense, pre.shape)
            edges.append(edge(pre.name, post.name, replace(list_, shape_out=post.shape)))
    return ir.SpikingGraph([*nodes, ir.Readout("logits", (3,), tau=rng.choice([1, 0.5]))], edges, T)


def _neurons(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> ir.Population:
    tau, comparison = rng.choice([0, 1000, 2048, 4096]) / 4096, str(rng.choice([">", ">="]))
    soft = rng.random() < 0.5 and (tau == 1 or comparison == ">")
    by_channel = (shape[0],) + (1,) * (len(shape) - 1)
    return ir.Population(
        name, shape, tau=tau, v_threshold=rng.integers(1, 500, by_channel),
        v_init=float(rng.integers(-9999, 9999)), reset="soft" if soft else "hard",
        comparison=comparison, bias=_biases(rng, by_channel),
    )  # type: ignore[arg-type]  # fmt: skip


NETWORKS = {f.__name__: f for f in (dense, shortcuts, pooled, converted, events)}


def program(graph: ir.SpikingGraph, rule: sd.exits.ExitRule, schedule: Any) -> sd.Program:
    limits = {"input_range": (0.0, 1.0)}
    return sd.Program(
        balance_delays.apply(graph), rule, schedule, "int8", logit_scale=1 / 64, **limits
    )


def samples(graph: ir.SpikingGraph, number: int = 3) -> np.ndarray:
    rng, source = np.random.default_rng(9), graph.source
    if source.coding == "events":
        return (rng.random((number, T, *source.shape)) < 0.4).astype(np.float32)
    return rng.random((number, *source.shape)).astype(np.float32)


def small_chip(folder: Path, neurons: int, **limits: int) -> Path:
    """loihi1 with so few neurons a core that small networks cross its mesh."""
    of = json.loads((CHIPS / "loihi1.json").read_text())
    for name, value in {"neurons": neurons, **limits}.items():
        of["limits"][name]["value"] = value
    path = folder / "small.json"
    path.write_text(json.dumps(of))
    return path


def _biases(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.integers(-2000, 4000, shape).astype(np.int32)


def _dense(rng: np.random.Generator, outs: int, ins: int, largest: int = 100) -> ir.Dense:
    return ir.Dense((2 * rng.integers(-largest // 2, largest // 2, (outs, ins))).astype(np.int16))


def _conv(rng: np.random.Generator, shape: tuple[int, ...], **geometry: Any) -> ir.Conv2d:
    return ir.Conv2d(rng.integers(-100, 120, shape).astype(np.int8), **geometry)
