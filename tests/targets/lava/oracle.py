"""Slow, obvious oracle of everything a graph can hold, step by step, in float64 or in integers.

It shares no code with the product: the equations are those of ``graph.py``'s docstrings and of
design section 6, meant to be checked by eye. Synapses are listed by ``tests.naive``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from seenn_deploy import ir
from tests import naive

LIMIT = 2**23 - 1


@dataclass
class Trace:
    """(N, T, ...): spikes and v of populations, payloads of sums, logits."""

    spikes: dict[str, np.ndarray] = field(default_factory=dict)
    v: dict[str, np.ndarray] = field(default_factory=dict)
    payloads: dict[str, np.ndarray] = field(default_factory=dict)
    logits: np.ndarray = field(default_factory=lambda: np.zeros(0))


def run(graph: ir.SpikingGraph, images: np.ndarray, integers: bool = False) -> Trace:
    """Every sample for T timesteps."""
    one = _Sample(graph, integers)
    found = [one.run(image) for image in images]
    trace = Trace(logits=np.stack([f.logits for f in found]))
    for kind in ("spikes", "v", "payloads"):
        values = [getattr(f, kind) for f in found]
        setattr(trace, kind, {k: np.stack([v[k] for v in values]) for k in values[0]})
    return trace


class _Sample:
    """The network, ready to run one sample after the other."""

    def __init__(self, graph: ir.SpikingGraph, integers: bool) -> None:
        self.integers, self.T = integers, graph.T
        self.kind: Any = np.int64 if integers else np.float64
        self.nodes = dict(graph.nx.nodes(data="node"))
        self.edges = [edge for *_, edge in graph.nx.edges(data="projection")]
        self.order = self._order()
        self.matrices = {id(e): self._matrix(e) for e in self.edges}

    def _order(self) -> list[Any]:
        """Every node after those whose messages it gets in the same timestep."""
        waiting, done = list(self.nodes), []
        while waiting:
            needed = {n: [e.pre for e in self.edges if e.post == n and not e.lag] for n in waiting}
            ready = next(n for n in waiting if all(p in done for p in needed[n]))
            done.append(ready)
            waiting.remove(ready)
        return [self.nodes[name] for name in done]

    def _matrix(self, edge: Any) -> np.ndarray:
        shapes = [self.nodes[end].shape for end in (edge.pre, edge.post)]
        source, target, weight = naive.synapses(edge.maps[0], *shapes)
        matrix = np.zeros((math.prod(shapes[1]), math.prod(shapes[0])), self.kind)
        np.add.at(matrix, (target, source), weight.astype(self.kind))
        return matrix

    def run(self, image: np.ndarray) -> Trace:
        trace, T = Trace(), self.T
        sent = {n.name: np.zeros((T, *n.shape), self.kind) for n in self.order}
        state: dict[str, Any] = {}
        v = {n.name: sent[n.name].copy() for n in self.order if isinstance(n, ir.Population)}
        for t in range(T):
            for node in self.order:
                if isinstance(node, ir.Source):
                    sent[node.name][t] = self._frame(node, image, t)
                    continue
                a = self._current(node, sent, t)
                step = {ir.Population: self._neurons, ir.Readout: self._readout, ir.Sum: self._sum}
                state[node.name], sent[node.name][t] = step[type(node)](
                    node, a, state.get(node.name)
                )
                if isinstance(node, ir.Population):
                    v[node.name][t] = state[node.name][1]
        for node in self.order:
            if isinstance(node, ir.Readout):
                trace.logits = sent[node.name]
            elif isinstance(node, ir.Population):
                trace.spikes[node.name], trace.v[node.name] = sent[node.name] > 0, v[node.name]
            elif isinstance(node, ir.Sum):
                trace.payloads[node.name] = sent[node.name]
        return trace

    def _frame(self, source: ir.Source, image: np.ndarray, t: int) -> np.ndarray:
        x = (image if source.coding == "direct" else image[t]).astype(np.float64)
        return np.rint((x - source.offset) * source.scale) if self.integers else x

    def _current(self, node: Any, sent: dict[str, np.ndarray], t: int) -> np.ndarray:
        """What arrives at timestep t (from 0) over all connections."""
        a = np.zeros(math.prod(node.shape), self.kind)
        for edge in self.edges:
            if edge.post == node.name and t >= edge.lag:
                got = self.matrices[id(edge)] @ sent[edge.pre][t - edge.lag].ravel()
                if self.integers and isinstance(edge.maps[0], ir.Conv2d):
                    got = (got + 2**23) % 2**24 - 2**23
                a += got
        if self.integers:
            a = (a + 2**31) % 2**32 - 2**31
        return a.reshape(node.shape)

    def _sum(self, node: ir.Sum, a: np.ndarray, _: Any) -> Any:
        return None, a

    def _readout(self, node: ir.Readout, a: np.ndarray, state: Any) -> Any:
        u, z = state or (np.zeros(node.shape, self.kind), np.zeros(node.shape, self.kind))
        u = self._kept(u, node.tau_syn) + a + node.bias.astype(self.kind)
        z = self._kept(z, node.tau) + u
        return (u, z), z

    def _neurons(self, node: ir.Population, a: np.ndarray, state: Any) -> Any:
        if state is None:
            state = np.zeros(node.shape, self.kind), np.full(node.shape, node.v_init, self.kind)
        u, v = state
        bias = np.broadcast_to(node.bias, node.shape).astype(self.kind)
        if self.integers and np.any(node.tau_syn):
            u = _clip(self._kept(u, node.tau_syn) + _wrap_once(a) + bias)
        elif self.integers:
            u = _wrap_once(a) + bias
        else:
            u = node.tau_syn * u + a + bias
        v = self._kept(v, node.tau) + u
        v = _clip(v) if self.integers else v
        unit = 64 if self.integers else 1
        over = node.v_threshold * unit
        s = v >= over if node.comparison == ">=" else v > over
        subtracted = node.v_threshold if node.reset_by is None else node.reset_by
        taken = np.asarray(subtracted * unit, self.kind)
        v = np.where(s, 0, v) if node.reset == "hard" else v - taken * s
        return (u, v), s

    def _kept(self, x: np.ndarray, tau: Any) -> np.ndarray:
        if not self.integers:
            return tau * x
        product = x * np.rint(4096 * np.asarray(tau)).astype(np.int64)
        return np.where(product < 0, -(-product // 4096), product // 4096)


def _wrap_once(a: np.ndarray) -> np.ndarray:
    u = (a * 64 + 2**31) % 2**32 - 2**31
    return np.where(u > 2**23, u - 2**24, np.where(u <= -(2**23), u + 2**24, u))


def _clip(x: np.ndarray) -> np.ndarray:
    return np.minimum(np.maximum(x, -LIMIT), LIMIT)
