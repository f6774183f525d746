"""Slow, obvious oracles. They share no code with the product: numpy and plain loops alone.

Attributes of the graph's dataclasses are read, none of their methods is called. Everything here is
meant to be checked by eye against sections 2 to 4 of the design.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from seenn_deploy import ir

COUNTS = (
    "ac",
    "mac",
    "ac_effective",
    "mac_effective",
    "bias_adds",
    "updates_active",
    "updates_inactive",
    "resets",
    "spikes",
    "graded",
    "ands",
    "payloads",
    "comparisons",
)

# --- synapses ----------------------------------------------------------------------------------


def synapses(
    step: Any, in_shape: tuple[int, ...], out_shape: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every existing synapse: (source flat index, target flat index, weight)."""
    found = list(_synapses(step, in_shape, out_shape))
    if not found:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
    source, target, weight = (np.concatenate(part) for part in zip(*found, strict=True))
    return source, target, weight


def _synapses(
    step: Any, in_shape: tuple[int, ...], out_shape: tuple[int, ...]
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    if isinstance(step, ir.Conv2d):
        yield from _conv_synapses(step, in_shape, out_shape)
    elif isinstance(step, ir.Dense):
        for j in range(math.prod(out_shape)):
            i = np.arange(math.prod(in_shape))
            yield i, np.full(len(i), j), step.weight[j]
    elif isinstance(step, ir.PooledDense):
        i = np.arange(math.prod(in_shape))
        channel, y, x = np.unravel_index(i, in_shape)
        k_h, k_w = step.kernel
        wide = in_shape[2] // k_w
        window = (channel * (in_shape[1] // k_h) + y // k_h) * wide + x // k_w
        for j in range(math.prod(out_shape)):
            yield i, np.full(len(i), j), step.weight[j, window]
    elif isinstance(step, ir.Sparse):
        for i in range(math.prod(in_shape)):
            mine = slice(step.indptr[i], step.indptr[i + 1])
            yield np.full(len(step.targets[mine]), i), step.targets[mine], step.weight[mine]
    elif isinstance(step, ir.Identity):
        i = np.arange(math.prod(in_shape))
        yield i, i, np.full(len(i), step.weight)
    else:
        raise TypeError(f"{type(step).__name__} is no synapse map")


def _conv_synapses(
    conv: ir.Conv2d, in_shape: tuple[int, ...], out_shape: tuple[int, ...]
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """For every output position, tap and group: all pairs of an input and an output channel."""
    _, height, width = in_shape
    outs, c_group, k_h, k_w = conv.weight.shape
    per_group = outs // conv.groups
    for y in range(out_shape[1]):
        for x in range(out_shape[2]):
            for k in range(k_h):
                for m in range(k_w):
                    row = y * conv.stride[0] - conv.padding[0] + k * conv.dilation[0]
                    col = x * conv.stride[1] - conv.padding[1] + m * conv.dilation[1]
                    if not (0 <= row < height and 0 <= col < width):
                        continue  # zero padding is no synapse
                    for g in range(conv.groups):
                        o = np.arange(g * per_group, (g + 1) * per_group)[:, None]
                        i = np.arange(g * c_group, (g + 1) * c_group)[None, :]
                        source = (i * height + row) * width + col
                        target = (o * out_shape[1] + y) * out_shape[2] + x
                        pair = (per_group, c_group)
                        yield (
                            np.broadcast_to(source, pair).ravel(),
                            np.broadcast_to(target, pair).ravel(),
                            conv.weight[o.ravel(), :, k, m].ravel(),
                        )


def incoming(
    step: Any, in_shape: tuple[int, ...], out_shape: tuple[int, ...], target: int
) -> tuple[np.ndarray, np.ndarray]:
    """The synapses of one target neuron: (source flat index, weight)."""
    if not isinstance(step, ir.Conv2d):
        source, targets, weight = synapses(step, in_shape, out_shape)
        mine = targets == target
        return source[mine], weight[mine]
    outs, c_group, k_h, k_w = step.weight.shape
    o, y, x = (int(i) for i in np.unravel_index(target, out_shape))
    found = []
    for i in range(c_group):
        for k in range(k_h):
            for m in range(k_w):
                row = y * step.stride[0] - step.padding[0] + k * step.dilation[0]
                col = x * step.stride[1] - step.padding[1] + m * step.dilation[1]
                if 0 <= row < in_shape[1] and 0 <= col < in_shape[2]:
                    channel = o // (outs // step.groups) * c_group + i
                    source = (channel * in_shape[1] + row) * in_shape[2] + col
                    found.append((source, step.weight[o, i, k, m]))
    return np.array([f[0] for f in found], np.int64), np.array([f[1] for f in found])


@dataclass
class _BySource:
    """The synapses of one edge, sorted by source neuron."""

    start: np.ndarray
    target: np.ndarray
    weight: np.ndarray
    plain: bool

    @classmethod
    def of(
        cls, step: Any, in_shape: tuple[int, ...], out_shape: tuple[int, ...], dtype: Any
    ) -> _BySource:
        source, target, weight = synapses(step, in_shape, out_shape)
        order = np.argsort(source, kind="stable")
        start = np.searchsorted(source[order], np.arange(math.prod(in_shape) + 1))
        plain = isinstance(step, ir.Identity) and float(step.weight) == 1
        return cls(start, target[order], weight[order].astype(dtype), plain)


# --- running a compiled graph ------------------------------------------------------------------


@dataclass
class Trace:
    """What :func:`run` saw; arrays (N, T, ...) by node, counts (N, L, T) in the order `layers`."""

    layers: list[str]
    outputs: dict[str, np.ndarray] = field(default_factory=dict)
    currents: dict[str, np.ndarray] = field(default_factory=dict)
    before_reset: dict[str, np.ndarray] = field(default_factory=dict)
    membrane: dict[str, np.ndarray] = field(default_factory=dict)
    logits: np.ndarray = field(default_factory=lambda: np.zeros(0))
    counts: dict[str, np.ndarray] = field(default_factory=dict)


def run(
    graph: ir.SpikingGraph,
    images: np.ndarray,
    T: int | None = None,
    *,
    first_layer: str = "once",
    forced: dict[str, np.ndarray] | None = None,
    dtype: Any = np.float64,
) -> Trace:
    """Run a compiled graph on a batch for T steps: every synapse of every nonzero element.

    Layers are taken one after the other, all samples and steps of a layer together, so that one
    synapse table at a time is in memory; layers on a loop take their steps together.

    Parameters
    ----------
    images : array (N, C, H, W), or (N, T, C, H, W) for an event source
    first_layer : 'once' or 'every_step'
        When MACs of a direct coded source are counted.
    forced : dict of (N, T, *shape) arrays, optional
        Spikes to take instead of comparing v' with the threshold.
    """
    T = graph.T if T is None else T
    order = layer_order(graph)
    trace = Trace(order[1:])
    trace.counts = {name: np.zeros((len(images), len(order) - 1, T), np.int64) for name in COUNTS}
    nodes = dict(graph.nx.nodes(data="node"))
    source = nodes[order[0]]
    images = np.asarray(images, dtype)
    trace.outputs[order[0]] = (
        np.repeat(images[:, None], T, axis=1) if source.coding == "direct" else images[:, :T]
    )
    for together in loops(graph, trace.layers):
        layers = [
            _Layer(
                nodes[name],
                _tables(graph, nodes, name, dtype),
                trace,
                trace.layers.index(name),
                len(images),
                T,
                dtype,
            )
            for name in together
        ]
        for t in range(T):
            for layer in layers:
                layer.receive(t, first_layer)
                layer.update(t, None if forced is None else forced.get(layer.node.name))
    return trace


def _tables(graph: ir.SpikingGraph, nodes: dict[str, Any], name: str, dtype: Any) -> list[Any]:
    """(source node, lag, synapses) of every edge into a node."""
    return [
        (
            nodes[pre],
            edge.lag,
            _BySource.of(edge.maps[0], nodes[pre].shape, current_shape(nodes[name]), dtype),
        )
        for pre, _, edge in graph.nx.in_edges(name, data="projection")
    ]


def loops(graph: ir.SpikingGraph, layers: list[str]) -> list[list[str]]:
    """The layers in their order, those of one loop in one list."""
    reach = {name: _reachable(graph, name) for name in layers}
    found: list[list[str]] = []
    for name in layers:
        mine = [n for n in layers if n == name or (n in reach[name] and name in reach[n])]
        if mine not in found:
            found.append(mine)
    return found


def _reachable(graph: ir.SpikingGraph, name: str) -> set[str]:
    seen: set[str] = set()
    waiting = [name]
    while waiting:
        for _, post in graph.nx.out_edges(waiting.pop()):
            if post not in seen:
                seen.add(post)
                waiting.append(post)
    return seen


def layer_order(graph: ir.SpikingGraph) -> list[str]:
    """Names of all nodes, each after those that feed it, the source first."""
    waiting = list(graph.nx.nodes)
    done: list[str] = []
    while waiting:
        ready = [n for n in waiting if all(p in done for p in _before(graph, n))]
        done.append(ready[0])
        waiting.remove(ready[0])
    return done


def _before(graph: ir.SpikingGraph, name: str) -> list[str]:
    """What feeds a node, but not through a lag from a node that it feeds itself."""
    edges = graph.nx.in_edges(name, data="projection")
    ahead = _reachable(graph, name)
    return [pre for pre, _, edge in edges if not (edge.lag and (pre == name or pre in ahead))]


def current_shape(node: Any) -> tuple[int, ...]:
    """What arrives at a node: as many currents as neurons, but for max pools and products."""
    if isinstance(node, ir.Product):
        return (math.prod(node.left) + math.prod(node.right),)
    pooled = isinstance(node, ir.Maximum | ir.Relay)
    return (node.shape[0], *node.before) if pooled else tuple(node.shape)


def multiplied(node: Any, factors: np.ndarray) -> tuple[np.ndarray, dict[str, int]]:
    """The products of one sample's factors, and what they count: one loop over all axes."""
    terms, out = node.subscripts.split("->")
    terms = terms.split(",")
    shapes = (node.left, node.right)
    sizes = {
        letter: size
        for term, shape in zip(terms, shapes, strict=True)
        for letter, size in zip(term, shape, strict=True)
    }
    a = factors[: math.prod(node.left)].reshape(node.left)
    b = factors[math.prod(node.left) :].reshape(node.right)
    found = np.zeros([sizes[letter] for letter in out], factors.dtype)
    counts = dict.fromkeys(("ac", "mac", "ands", "payloads"), 0)
    summed = any(letter not in out for letter in sizes)
    for places in np.ndindex(*sizes.values()):
        at = dict(zip(sizes, places, strict=True))
        x, y = (f[tuple(at[n] for n in term)] for f, term in zip((a, b), terms, strict=True))
        if x == 0 or y == 0:
            continue
        found[tuple(at[letter] for letter in out)] += x * y
        graded = sum(abs(v) != 1 for v in (x, y))
        counts["mac"] += graded == 2
        counts["payloads"] += graded == 1
        counts["ac"] += graded == 1 or (graded == 0 and summed)
        counts["ands"] += graded == 0 and not summed
    return found.reshape(node.shape), counts


def largest(node: Any, a: np.ndarray) -> tuple[np.ndarray, int]:
    """The largest of each window of currents (N, C, h, w), and the comparisons of one sample."""
    found, compared = np.zeros((len(a), *node.shape), a.dtype), 0
    for y in range(node.shape[1]):
        for x in range(node.shape[2]):
            top, left = y * node.stride[0] - node.padding[0], x * node.stride[1] - node.padding[1]
            window = [
                a[:, :, row, column]
                for row in range(top, top + node.window[0])
                for column in range(left, left + node.window[1])
                if 0 <= row < a.shape[2] and 0 <= column < a.shape[3]
            ]
            found[:, :, y, x] = np.max(window, axis=0)
            compared += (len(window) - 1) * node.shape[0]
    return found, compared


class _Layer:
    """One layer of a run, step by step."""

    def __init__(
        self, node: Any, edges: list[Any], trace: Trace, at: int, n_samples: int, T: int, dtype: Any
    ) -> None:
        self.node, self.trace, self.at, self.real = node, trace, at, np.dtype(dtype).type
        self.edges = edges
        self.a = np.zeros((n_samples, T, *current_shape(node)), dtype)
        trace.currents[node.name] = self.a
        self.bias = (
            np.zeros((), dtype) if isinstance(node, ir.Sum) else np.asarray(node.bias, dtype)
        )
        biased = int(np.count_nonzero(np.broadcast_to(self.bias, current_shape(node))))
        trace.counts["bias_adds"][:, at] = biased
        if isinstance(node, ir.Readout):
            trace.logits = np.zeros_like(self.a)
            self.u = np.zeros((n_samples, *node.shape), dtype)
        else:
            self.kept = np.zeros((n_samples, *node.shape), dtype)
            trace.outputs[node.name] = np.zeros((n_samples, T, *node.shape), dtype)
        if isinstance(node, ir.Population):
            trace.before_reset[node.name] = np.zeros((n_samples, T, *node.shape), dtype)
            trace.membrane[node.name] = np.zeros((n_samples, T, *node.shape), dtype)
            self.v = np.full((n_samples, *node.shape), node.v_init, dtype)
            self.u = np.zeros_like(self.v)

    def receive(self, t: int, first_layer: str) -> None:
        """The currents of a step, synapse by synapse, counted."""
        for pre, lag, table in self.edges:
            if t - lag < 0:
                continue
            for n in range(len(self.a)):
                x = self.trace.outputs[pre.name][n, t - lag].ravel()
                self._receive(n, t, pre, x, table, first_layer)
        self.a[:, t] = self.a[:, t] + self.bias

    def _receive(
        self, n: int, t: int, pre: Any, x: np.ndarray, table: _BySource, first_layer: str
    ) -> None:
        analog = isinstance(pre, ir.Source) and pre.coding == "direct"
        real = isinstance(pre, ir.Relay | ir.Filter)
        counted = not analog or first_layer == "every_step" or t == 0
        flat = self.a[n, t].reshape(-1)
        for i in np.flatnonzero(x):
            mine = slice(table.start[i], table.start[i + 1])
            weights = table.weight[mine]
            np.add.at(flat, table.target[mine], weights * x[i])
            if counted and not isinstance(self.node, ir.Product):
                multiplied = (analog or real or x[i] not in (1, -1)) and not isinstance(
                    self.node, ir.Sum
                )
                if real and table.plain:  # one to one with weight 1: nothing is multiplied
                    multiplied = False
                kind = "mac" if multiplied else "ac"
                self.trace.counts[kind][n, self.at, t] += len(weights)
                self.trace.counts[kind + "_effective"][n, self.at, t] += np.count_nonzero(weights)

    def update(self, t: int, forced: np.ndarray | None) -> None:
        """What the layer does with its currents."""
        node, trace = self.node, self.trace
        if isinstance(node, ir.Readout):
            before = trace.logits[:, t - 1] if t else np.zeros_like(self.a[:, 0])
            self.u = self.real(node.tau_syn) * self.u + self.a[:, t]
            trace.logits[:, t] = self.real(node.tau) * before + self.u
        elif isinstance(node, ir.Sum):
            trace.outputs[node.name][:, t] = self.a[:, t]
        elif isinstance(node, ir.Relay):
            trace.outputs[node.name][:, t], compared = largest(node, self.a[:, t])
            trace.counts["comparisons"][:, self.at, t] = compared
        elif isinstance(node, ir.Filter):
            self._filter(t)
        elif isinstance(node, ir.Product):
            for n in range(len(self.a)):
                trace.outputs[node.name][n, t], counts = multiplied(node, self.a[n, t])
                for name, count in counts.items():
                    trace.counts[name][n, self.at, t] = count
                    if name in ("ac", "mac"):
                        trace.counts[f"{name}_effective"][n, self.at, t] = count
        else:
            self._neurons(t, forced)
        if not isinstance(node, ir.Readout):
            self._count_sent(t)

    def _filter(self, t: int) -> None:
        """A current that leaks where nothing arrives and grows by what does."""
        flowing = np.count_nonzero(self.kept, axis=tuple(range(1, self.kept.ndim)))
        self.trace.counts["updates_active"][:, self.at, t] = flowing
        self.trace.counts["updates_inactive"][:, self.at, t] = self.kept[0].size - flowing
        x, leak = self.a[:, t], self.real(1) - np.asarray(self.node.tau, self.a.dtype)
        self.kept = self.kept - (1 - x) * leak * self.kept + x
        self.trace.outputs[self.node.name][:, t] = self.kept

    def _neurons(self, t: int, forced: np.ndarray | None) -> None:
        """The LIF equations."""
        node, trace = self.node, self.trace
        arrived = self.a[:, t]
        if isinstance(node, ir.Maximum):
            arrived, compared = largest(node, arrived)
            trace.counts["comparisons"][:, self.at, t] = compared
        self.u = self.real(node.tau_syn) * self.u + arrived
        active = (self.v != 0) | (self.u != 0)
        v_pre = self.real(node.tau) * self.v + self.u
        threshold = self.real(node.v_threshold)
        if forced is not None:
            s = np.asarray(forced[:, t]).astype(self.a.dtype)
        elif node.comparison == ">":
            s = (v_pre > threshold).astype(self.a.dtype)
        else:
            s = (v_pre >= threshold).astype(self.a.dtype)
        taken = threshold if node.reset_by is None else self.real(node.reset_by)
        hard = node.reset == "hard"
        self.v = np.where(s != 0, self.real(0), v_pre) if hard else v_pre - taken * s
        trace.before_reset[node.name][:, t] = v_pre
        trace.membrane[node.name][:, t] = self.v
        trace.outputs[node.name][:, t] = s
        each = tuple(range(1, s.ndim))
        trace.counts["updates_active"][:, self.at, t] = np.count_nonzero(active, axis=each)
        trace.counts["updates_inactive"][:, self.at, t] = np.count_nonzero(~active, axis=each)
        trace.counts["resets"][:, self.at, t] = np.count_nonzero(s, axis=each)

    def _count_sent(self, t: int) -> None:
        s = self.trace.outputs[self.node.name][:, t]
        each = tuple(range(1, s.ndim))
        real = isinstance(self.node, ir.Relay | ir.Filter)
        graded = (s != 0) & ((np.abs(s) != 1) | real)
        self.trace.counts["spikes"][:, self.at, t] = np.count_nonzero(s, axis=each)
        self.trace.counts["graded"][:, self.at, t] = np.count_nonzero(graded, axis=each)


def until_exit(counts: dict[str, np.ndarray], exit_step: np.ndarray) -> dict[str, np.ndarray]:
    """The counts with zeros after each sample's exit."""
    cut = {name: value.copy() for name, value in counts.items()}
    for value in cut.values():
        for n, stop in enumerate(exit_step):
            value[n, :, int(stop) :] = 0
    return cut


# --- an uncompiled graph -----------------------------------------------------------------------


def chain(maps: Sequence[Any], x: np.ndarray) -> np.ndarray:
    """Apply linear maps one after the other, with their biases, in float64."""
    for step in maps:
        x = _apply(step, np.asarray(x, np.float64))
    return x


def _apply(step: Any, x: np.ndarray) -> np.ndarray:
    if isinstance(step, ir.Conv2d):
        return _convolve(step, x)
    if isinstance(step, ir.Dense):
        y = np.array([sum(w * x.ravel()) for w in step.weight.astype(np.float64)])
        return y if step.bias is None else y + step.bias
    if isinstance(step, ir.Sparse):
        y = np.zeros(math.prod(step.shape_out))
        for i, value in enumerate(x.ravel()):
            for k in range(step.indptr[i], step.indptr[i + 1]):
                y[step.targets[k]] += float(step.weight[k]) * value
        return y.reshape(step.shape_out)
    if isinstance(step, ir.Identity):
        return float(step.weight) * x
    if isinstance(step, ir.AvgPool2d):
        return _average(step, x)
    if isinstance(step, ir.Affine):
        return np.stack([g * c + b for g, c, b in zip(step.scale, x, step.shift, strict=True)])
    raise TypeError(type(step).__name__)


def _convolve(conv: ir.Conv2d, x: np.ndarray) -> np.ndarray:
    outs, c_group, k_h, k_w = conv.weight.shape
    (s_h, s_w), (p_h, p_w), (d_h, d_w) = conv.stride, conv.padding, conv.dilation
    padded = np.zeros((x.shape[0], x.shape[1] + 2 * p_h, x.shape[2] + 2 * p_w))
    padded[:, p_h : p_h + x.shape[1], p_w : p_w + x.shape[2]] = x
    reach_h, reach_w = d_h * (k_h - 1) + 1, d_w * (k_w - 1) + 1
    height = (padded.shape[1] - reach_h) // s_h + 1
    width = (padded.shape[2] - reach_w) // s_w + 1
    out = np.zeros((outs, height, width))
    for o in range(outs):
        first = o // (outs // conv.groups) * c_group
        for y in range(height):
            for z in range(width):
                window = padded[
                    first : first + c_group,
                    y * s_h : y * s_h + reach_h : d_h,
                    z * s_w : z * s_w + reach_w : d_w,
                ]
                out[o, y, z] = np.sum(conv.weight[o].astype(np.float64) * window)
    return out if conv.bias is None else out + conv.bias[:, None, None]


def _average(pool: ir.AvgPool2d, x: np.ndarray) -> np.ndarray:
    k_h, k_w = pool.kernel
    out = np.zeros((x.shape[0], x.shape[1] // k_h, x.shape[2] // k_w))
    for y in range(out.shape[1]):
        for z in range(out.shape[2]):
            window = x[:, y * k_h : (y + 1) * k_h, z * k_w : (z + 1) * k_w]
            out[:, y, z] = window.mean(axis=(1, 2))
    return out


def run_chain(graph: ir.SpikingGraph, image: np.ndarray, T: int | None = None) -> Trace:
    """:func:`run` for one sample of a graph that was not compiled: pools and batch norms in place.

    Arrays are (1, T, ...) as there; no counts.
    """
    T = graph.T if T is None else T
    order = layer_order(graph)
    nodes = dict(graph.nx.nodes(data="node"))
    trace = Trace(order[1:])
    trace.counts = {name: np.zeros((1, len(order) - 1, T), np.int64) for name in COUNTS}
    direct = nodes[order[0]].coding == "direct"
    trace.outputs[order[0]] = np.stack([image if direct else image[t] for t in range(T)])[None]
    for at, name in enumerate(trace.layers):
        layer = _Layer(nodes[name], [], trace, at, 1, T, np.float64)
        edges = list(graph.nx.in_edges(name, data="projection"))
        for t in range(T):
            layer.a[0, t] = layer.bias + sum(
                chain(edge.maps, trace.outputs[pre][0, t]) for pre, _, edge in edges
            )
            layer.update(t, None)
    return trace


def own_counts(
    graph: ir.SpikingGraph, sent: dict[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """ACs and MACs (N, L, T) of the layers of a graph that was not compiled, element by element.

    `sent` has what each node sent, (N, T, *shape). A layer that two edges have on the same input,
    which are then the same objects, is counted where the first one ends.
    """
    order = layer_order(graph)
    nodes = dict(graph.nx.nodes(data="node"))
    source, (N, T) = nodes[order[0]], sent[order[0]].shape[:2]
    ac, mac = (np.zeros((N, len(order) - 1, T), np.int64) for _ in range(2))
    seen = set()
    for at, name in enumerate(order[1:]):
        for pre, _, edge in graph.nx.in_edges(name, data="projection"):
            analog = pre == source.name and source.coding == "direct"
            layers = [i for i, m in enumerate(edge.maps) if hasattr(m, "weight")]
            plain = [i for i in layers if isinstance(edge.maps[i], ir.Identity)]
            if not layers and not any(isinstance(m, ir.AvgPool2d) for m in edge.maps):
                plain = [0]  # a norm alone: one synapse per neuron
            for i in sorted({*layers, *plain}):
                key = (pre, edge.lag, tuple(map(id, edge.maps[: i + 1])))
                if key in seen and i not in plain:
                    continue
                seen.add(key)
                for n in range(N):
                    for t in range(edge.lag, 1 if analog else T):
                        x = sent[pre][n, t - edge.lag]
                        x = x if i in plain else chain(edge.maps[:i], x)
                        fan_out = np.ones(x.size, np.int64)
                        if i not in plain:
                            step = edge.maps[i]
                            starts, _, _ = synapses(step, x.shape, step.out_shape(x.shape))
                            fan_out = np.bincount(starts, minlength=x.size)
                        for value, fan in zip(x.ravel(), fan_out, strict=True):
                            if value != 0:
                                kind = mac if analog or value not in (1, -1) else ac
                                kind[n, at, t] += fan
    return ac, mac


# --- exits and metrics -------------------------------------------------------------------------


def exit_step(z: np.ndarray, alpha: float | None = None, mean: bool = False) -> int:
    """First step (from 1) at which a sample of logits z (T, M) stops; without alpha, T."""
    T = len(z)
    for t in range(1, T):
        row = [float(value) / t if mean else float(value) for value in z[t - 1]]
        top = max(row)
        confidence = 1.0 / sum(math.exp(value - top) for value in row)
        if alpha is not None and confidence > alpha:
            return t
    return T


def aet(correct: Sequence[Sequence[bool]]) -> float:
    """(1/N) (C_1 + sum over t of t (C_t - C_(t-1)) + T (N - C_T)), C_t correct at t."""
    N, T = len(correct), len(correct[0])
    right = [sum(1 for row in correct if row[t]) for t in range(T)]
    total = right[0]
    for t in range(2, T + 1):
        total += t * (right[t - 1] - right[t - 2])
    return (total + T * (N - right[T - 1])) / N


def empirical_aet(correct: Sequence[Sequence[bool]]) -> float:
    """Mean of the first correct step, T where there is none."""
    first = []
    for row in correct:
        steps = [t for t, ok in enumerate(row, start=1) if ok]
        first.append(steps[0] if steps else len(row))
    return sum(first) / len(first)


# --- schedules ---------------------------------------------------------------------------------


@dataclass
class Walk:
    """One sample under a schedule, step by step.

    `steps` lie from its first to its answer, `more` until the next sample can start; `seen` lists
    the (layer, timestep) pairs that were computed, timesteps from 1.
    """

    steps: int
    more: int
    exit_step: int
    seen: list[tuple[str, int]]


def walk(graph: ir.SpikingGraph, schedule: str, verdict: Any, known: int | None = None) -> Walk:
    """Move the timesteps of one sample through the hardware's stages, one step after the other.

    Parameters
    ----------
    verdict : function of a timestep, from 1
        Whether the exit rule stops there; asked only once that timestep's logits are out.
    known : int, optional
        Number of timesteps, where it is known before the start.
    """
    stage = _stages(graph)
    depth, T = max(stage.values()), graph.T
    if schedule == "sequential":
        seen: list[tuple[str, int]] = []
        for t in range(1, T + 1):
            seen += [(name, t) for name in sorted(stage, key=lambda n: stage[n])]
            if t in (known, T) or (known is None and verdict(t)):
                return Walk(t, t, t, seen)
    return _through_a_pipe(stage, depth, T if known is None else known, schedule, verdict, known)


def _through_a_pipe(
    stage: dict[str, int], depth: int, most: int, schedule: str, verdict: Any, known: int | None
) -> Walk:
    """Every timestep in the pipe moves one stage a step; new ones enter as the schedule allows."""
    place: dict[int, int] = {}  # timestep -> its stage
    seen: list[tuple[str, int]] = []
    clock = entered = out = answer = at = next_one = 0
    while True:
        clock += 1
        for t in place:
            place[t] += 1
        free = {
            "pipelined": True,
            "speculative": True,
            "gated": out == entered,  # the verdict on the last one is there
        }[schedule]
        if not answer and entered < most and free:
            entered += 1
            place[entered] = 0
            next_one = clock
        for t in list(place):
            seen += [(name, t) for name, s in stage.items() if s == place[t]]
            if place[t] == depth:
                del place[t]
                out = t
                if not answer and (t == most or (known is None and verdict(t))):
                    answer, at = clock, t
        if answer and not place:
            more = answer if schedule == "gated" else next_one
            return Walk(answer, more, at, seen)


def _stages(graph: ir.SpikingGraph) -> dict[str, int]:
    """The longest way of synapse stages from the source to each layer; a sum is none."""
    found: dict[str, int] = {}
    nodes = dict(graph.nx.nodes(data="node"))
    order = layer_order(graph)
    for name in order:
        own = 0 if isinstance(nodes[name], ir.Source | ir.Sum) else 1
        ahead = _reachable(graph, name)
        into = [
            found[pre]
            for pre, _, edge in graph.nx.in_edges(name, data="projection")
            if not (edge.lag and (pre == name or pre in ahead))
        ]
        found[name] = own + max(into, default=0)
    del found[order[0]]
    return found


def picojoules(
    seen: list[tuple[str, int]], trace: Trace, n: int, prices: dict[str, float]
) -> float:
    """Every operation of sample n in the layers and timesteps that ran, times its price."""
    total = 0.0
    for layer, t in seen:
        for count, price in prices.items():
            total += price * int(trace.counts[count][n, trace.layers.index(layer), t - 1])
    return total


def stops(rule: dict[str, Any], z: np.ndarray, t: int) -> bool:
    """Whether a rule, as its JSON says it, stops a sample of accumulated logits z (M,) at t."""
    row = sorted((float(value) for value in z), reverse=True)
    p = [math.exp(value - row[0]) for value in row]
    p = [value / sum(p) for value in p]
    if rule["rule"] == "confidence":
        return p[0] > rule["alpha"]
    if rule["rule"] == "entropy":
        entropy = -sum(value * math.log(value) for value in p if value)
        return 1 - entropy / math.log(len(p)) > rule["theta"]
    if rule["rule"] == "margin":
        return row[0] - row[1] > rule["beta"]
    if rule["rule"] == "conformal":
        return sum(-math.log(value) <= rule["quantiles"][t - 1] for value in p) == 1
    raise ValueError(rule["rule"])
