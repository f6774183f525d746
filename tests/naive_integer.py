"""Slow, obvious oracle of integer programs: what Lava's ``fixed_pt`` arithmetic is, by the design.

It shares no code with the product: numpy's int64 and explicit wraps, meant to be checked by eye
against section 6 of the design. Synapses are listed by ``tests.naive``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from seenn_deploy.graph import Conv2d, Population, Readout, SpikingGraph
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
        a = np.zeros((len(images), T, *node.shape), np.int64)
        for pre, _, edge in graph.nx.in_edges(name, data="projection"):
            table = naive.synapses(edge.maps[0], nodes[pre].shape, node.shape)
            sums = _sums(table, trace.outputs[pre], node.shape)
            if isinstance(edge.maps[0], Conv2d):
                trace.wrapped += int((sums != wrap24(sums)).sum())
                sums = wrap24(sums)
            a = wrap32(a + wrap32(sums))
        trace.currents[name] = a
        if isinstance(node, Readout):
            trace.logits = np.cumsum(a + node.bias.astype(np.int64), axis=1)
        else:
            _neurons(trace, node)
    return trace


def _sums(
    table: tuple[np.ndarray, np.ndarray, np.ndarray], x: np.ndarray, shape: tuple[int, ...]
) -> np.ndarray:
    source, target, weight = table
    sums = np.zeros((*x.shape[:2], math.prod(shape)), np.int64)
    for n in range(x.shape[0]):
        for t in range(x.shape[1]):
            sent = x[n, t].ravel()[source] * weight.astype(np.int64)
            np.add.at(sums[n, t], target, sent)
    return sums.reshape(*x.shape[:2], *shape)


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


def toward_zero(x: np.ndarray, bits: int) -> np.ndarray:
    """x / 2^bits, rounded toward zero."""
    return np.where(x < 0, -(-x // 2**bits), x // 2**bits)


def _neurons(trace: Trace, node: Population) -> None:
    a = trace.currents[node.name]
    before, after, spikes = np.zeros_like(a), np.zeros_like(a), np.zeros_like(a)
    keep, threshold = round(4096 * node.tau), int(node.v_threshold) * 64
    bias = node.bias.astype(np.int64)
    for n in range(a.shape[0]):
        v = np.full(node.shape, int(node.v_init), np.int64)
        for t in range(a.shape[1]):
            u = shifted(a[n, t])
            trace.wrapped += int((u != a[n, t] * 64).sum())
            free = toward_zero(v * keep, 12) + u + bias
            v = np.minimum(np.maximum(free, -(LIMIT - 1)), LIMIT - 1)
            trace.clipped += int((v != free).sum())
            before[n, t] = v
            s = v >= threshold if node.comparison == ">=" else v > threshold
            v = np.where(s, 0, v) if node.reset == "hard" else v - threshold * s
            after[n, t], spikes[n, t] = v, s
    trace.before_reset[node.name], trace.membrane[node.name] = before, after
    trace.outputs[node.name] = spikes


def exit_step(z: np.ndarray, alpha: float, scale: float) -> int:
    """First step (from 1) at which integer logits z (T, M) of that scale are confident enough."""
    return naive.exit_step(z * scale, alpha)
