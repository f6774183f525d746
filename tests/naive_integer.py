"""Slow, obvious oracle of integer programs: what Lava's ``fixed_pt`` arithmetic is, by the design.

It shares no code with the product: numpy's int64 and explicit wraps, meant to be checked by eye
against section 6 of the design. Synapses are listed by ``tests.naive``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from seenn_deploy.ir.graph import Maximum, Population, Product, Readout, SpikingGraph, Sum
from seenn_deploy.ir.maps import Conv2d
from tests import naive

LIMIT = 2**23


@dataclass
class Trace:
    """What :func:`run` saw; arrays (N, T, ...) by node, int64."""

    layers: list[str]
    outputs: dict[str, np.ndarray] = field(default_factory=dict)
    currents: dict[str, np.ndarray] = field(default_factory=dict)
    before_reset: dict[str, np.ndarray] = field(default_factory=dict)
    membrane: dict[str, np.ndarray] = field(default_factory=dict)
    logits: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    wrapped: int = 0
    """Currents that left 24 bits, in a convolution or behind the shift by 6."""
    clipped: int = 0
    """Potentials that saturated."""


def run(graph: SpikingGraph, images: np.ndarray, T: int | None = None) -> Trace:
    """Run a compiled integer graph; images (N, C, H, W), or (N, T, C, H, W) for an event source."""
    T = graph.T if T is None else T
    order = naive.layer_order(graph)
    nodes = dict(graph.nx.nodes(data="node"))
    trace = Trace(order[1:])
    source = nodes[order[0]]
    x = np.rint((np.asarray(images, np.float64) - source.offset) * source.scale).astype(np.int64)
    trace.outputs[order[0]] = (
        np.repeat(x[:, None], T, axis=1) if source.coding == "direct" else x[:, :T]
    )
    for name in trace.layers:
        node = nodes[name]
        shape = (len(images), T, *node.shape)
        arriving = (len(images), T, *naive.current_shape(node))
        trace.currents[name] = np.zeros(arriving, np.int64)
        trace.outputs[name] = np.zeros(shape, np.int64)
        if isinstance(node, Population):
            trace.before_reset[name] = np.zeros(shape, np.int64)
            trace.membrane[name] = np.zeros(shape, np.int64)
    for together in naive.loops(graph, trace.layers):
        tables = {name: _tables(graph, nodes, name) for name in together}
        states = {name: _State.of(nodes[name], len(images)) for name in together}
        for t in range(T):
            for name in together:
                a = _current(trace, tables[name], nodes[name], t)
                trace.currents[name][:, t] = a
                _update(trace, nodes[name], states[name], a, t)
    return trace


def _tables(graph: SpikingGraph, nodes: dict[str, Any], name: str) -> list[Any]:
    """(source, lag, is it a convolution, synapses) of every edge into a node."""
    return [
        (
            pre,
            edge.lag,
            isinstance(edge.maps[0], Conv2d),
            naive.synapses(edge.maps[0], nodes[pre].shape, naive.current_shape(nodes[name])),
        )
        for pre, _, edge in graph.nx.in_edges(name, data="projection")
    ]


def _current(trace: Trace, tables: list[Any], node: Any, t: int) -> np.ndarray:
    shape = naive.current_shape(node)
    a = np.zeros((len(trace.currents[node.name]), *shape), np.int64)
    for pre, lag, convolves, table in tables:
        if t - lag < 0:
            continue
        sums = _sums(table, trace.outputs[pre][:, t - lag], shape)
        if convolves:
            trace.wrapped += int((sums != wrap24(sums)).sum())
            sums = wrap24(sums)
        a = wrap32(a + wrap32(sums))
    return a


def _sums(
    table: tuple[np.ndarray, np.ndarray, np.ndarray], x: np.ndarray, shape: tuple[int, ...]
) -> np.ndarray:
    source, target, weight = table
    sums = np.zeros((len(x), math.prod(shape)), np.int64)
    for n in range(len(x)):
        np.add.at(sums[n], target, x[n].ravel()[source] * weight.astype(np.int64))
    return sums.reshape(len(x), *shape)


def wrap32(x: np.ndarray) -> np.ndarray:
    """Modulo 2^32 into [-2^31, 2^31)."""
    return (x + 2**31) % 2**32 - 2**31


def wrap24(x: np.ndarray) -> np.ndarray:
    """Modulo 2^24 into [-2^23, 2^23)."""
    return (x + 2**23) % 2**24 - 2**23


def shifted(a: np.ndarray) -> np.ndarray:
    """The input current at the scale of v: Lava's shift and its one wrap."""
    u = wrap32(a * 64)
    return np.where(u > LIMIT, u - 2 * LIMIT, np.where(u <= -LIMIT, u + 2 * LIMIT, u))


def in_4096ths(share: Any) -> np.ndarray:
    """A leak as a whole number; one per layer, channel or neuron."""
    return np.rint(4096 * np.asarray(share)).astype(np.int64)


def toward_zero(x: np.ndarray, bits: int) -> np.ndarray:
    """x / 2^bits, rounded toward zero."""
    return np.where(x < 0, -(-x // 2**bits), x // 2**bits)


@dataclass
class _State:
    """Of one layer, (N, *shape)."""

    v: np.ndarray
    u: np.ndarray

    @classmethod
    def of(cls, node: Any, n: int) -> _State:
        v = np.asarray(node.v_init, np.int64) if isinstance(node, Population) else 0
        return cls(np.full((n, *node.shape), v, np.int64), np.zeros((n, *node.shape), np.int64))


def _update(trace: Trace, node: Any, state: _State, a: np.ndarray, t: int) -> None:
    if isinstance(node, Readout):
        kept = toward_zero(state.v * in_4096ths(node.tau), 12)
        flowing = toward_zero(state.u * in_4096ths(node.tau_syn), 12)
        state.u = flowing + a + node.bias.astype(np.int64)
        state.v = kept + state.u
        if not trace.logits.size:
            trace.logits = np.zeros_like(trace.currents[node.name])
        trace.logits[:, t] = state.v
    elif isinstance(node, Sum):
        trace.outputs[node.name][:, t] = a
    elif isinstance(node, Product):
        for n in range(len(a)):
            factors = a[n] + node.bias.astype(np.int64)
            trace.outputs[node.name][n, t], _ = naive.multiplied(node, factors)
    else:
        _neurons(trace, node, state, a, t)


def _neurons(trace: Trace, node: Population, state: _State, a: np.ndarray, t: int) -> None:
    if isinstance(node, Maximum):
        # The largest of 64 a + bias; where biases differ within a channel they are whole currents.
        bias = np.broadcast_to(node.bias.astype(np.int64), naive.current_shape(node))
        within = (bias == bias[:, :1, :1]).all()
        assert within or not (bias % 64).any()
        a, bias = (a, bias[:, :1, :1]) if within else (a + bias // 64, np.int64(0))
        a, _ = naive.largest(node, a)
    else:
        bias = node.bias.astype(np.int64)
    arrived = shifted(a)
    trace.wrapped += int((arrived != a * 64).sum())
    u = arrived + bias
    if np.any(node.tau_syn):
        free = toward_zero(state.u * in_4096ths(node.tau_syn), 12) + u
        u = state.u = saturated(free)
        trace.clipped += int((u != free).sum())
    free = toward_zero(state.v * in_4096ths(node.tau), 12) + u
    v = saturated(free)
    trace.clipped += int((v != free).sum())
    threshold = np.asarray(node.v_threshold, np.int64) * 64
    taken = threshold if node.reset_by is None else np.asarray(node.reset_by, np.int64) * 64
    s = v >= threshold if node.comparison == ">=" else v > threshold
    state.v = np.where(s, 0, v) if node.reset == "hard" else v - taken * s
    trace.before_reset[node.name][:, t] = v
    trace.membrane[node.name][:, t] = state.v
    trace.outputs[node.name][:, t] = s


def saturated(x: np.ndarray) -> np.ndarray:
    """Clipped to 24 bits."""
    return np.minimum(np.maximum(x, -(LIMIT - 1)), LIMIT - 1)


def exit_step(z: np.ndarray, alpha: float, scale: float) -> int:
    """First step (from 1) at which integer logits z (T, M) of that scale are confident enough."""
    return naive.exit_step(z * scale, alpha)
