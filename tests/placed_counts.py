"""Counts on a chip by brute force: spike by spike, from lists of neurons, synapses and cores."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

import numpy as np

from tests.placed import as_image, tiles_of

Count = Counter[tuple[str, int]]  # by unit and timestep


class Chip:
    """A placed program, neuron by neuron.

    `targets` has for each neuron the neurons that it has synapses to, with the kind of synapse and
    the lag; `sources` the same seen from behind.
    """

    def __init__(self, program: Any, summary: dict[str, Any], where: Any) -> None:
        self.graph, self.where = program.graph, where
        graph = self.graph
        self.direct = graph.source.coding == "direct"
        self.shapes = {node.name: as_image(node.shape) for node in graph.layers}
        self.depth = {node.name: graph.depth[node.name] for node in graph.layers}
        self.layer = {node.name: node.name for node in graph.layers}
        self.targets: dict[Any, list[Any]] = defaultdict(list)
        self.sources: dict[Any, list[Any]] = defaultdict(list)
        for edge in graph.projections:
            if edge.pre == graph.source.name and self.direct:
                continue
            self._add(edge, program.waiting_steps(edge))
        tiles = summary["tiles"]
        shapes = {**self.shapes, "host": ()}
        self.core = {n: tiles[number]["core"] for n, number in tiles_of(tiles, shapes).items()}

    def _add(self, edge: Any, waits: int) -> None:
        pre = "host" if edge.pre == self.graph.source.name else edge.pre
        if pre != "host":
            for step in range(1, waits + 1):
                self._add_line(pre, step)
            pre = f"{pre}.delay{waits}" if waits else pre
        (synapses,) = edge.maps
        kind = {"Conv2d": "conv", "Dense": "dense", "PooledDense": "dense"}
        of = kind.get(type(synapses).__name__, "sparse")
        pairs = synapses.connections(self.graph.node(edge.pre).shape)
        for source, target in zip(pairs[0].tolist(), pairs[1].tolist(), strict=True):
            self.targets[pre, source].append(((edge.post, target), of))
            self.sources[edge.post, target].append(((pre, source), edge.lag))

    def _add_line(self, name: str, step: int) -> None:
        line = f"{name}.delay{step}"
        if line in self.shapes:
            return
        self.shapes[line], self.layer[line] = self.shapes[name], name
        self.depth[line] = self.depth[name] + step
        before = f"{name}.delay{step - 1}" if step > 1 else name
        for i in range(int(np.prod(self.shapes[name]))):
            self.targets[before, i].append(((line, i), "sparse"))
            self.sources[line, i].append(((before, i), 0))

    def at(self, unit: str, neuron: int) -> Any:
        return self.where[0 if unit == "host" else self.core[unit, neuron]]


def fired(chip: Chip, program: Any, image: Any, run: Any, sample: int) -> set[Any]:
    """All (unit, neuron, t) that fired."""
    found, graph = set(), chip.graph
    if not chip.direct:
        for t, frame in enumerate(graph.source.integers(image)):
            found |= {("host", i, t) for i in np.flatnonzero(frame.ravel()).tolist()}
    for name, spikes in run.spikes.items():
        for t, now in enumerate(spikes[sample]):
            found |= {(name, i, t) for i in np.flatnonzero(now.ravel()).tolist()}
    for node in graph.layers:
        if node.kind == "sum":
            found |= {
                (node.name, i, t)
                for i in range(int(np.prod(node.shape)))
                for t in range(graph.T)
                if any((*pre, t) in found for pre, _ in chip.sources[node.name, i])
            }
        lines = [u for u, layer in chip.layer.items() if layer == node.name and u != layer]
        found |= {(line, i, t) for line in lines for unit, i, t in found if unit == node.name}
    return found


def counts(
    chip: Chip, program: Any, image: Any, run: Any, sample: int
) -> tuple[dict[str, Count], Counter[Any]]:
    """Every count by unit and timestep, and messages by (hardware step, tile, tile)."""
    spikes = fired(chip, program, image, run, sample)
    found: dict[str, Count] = defaultdict(Counter)
    links: Counter[Any] = Counter()
    for unit, neuron, t in spikes:
        if unit != "host":
            found["spikes"][unit, t] += 1
        met = chip.targets[unit, neuron]
        for _, kind in met:
            found[f"synapses_{kind}"][unit, t] += 1
        x, y = chip.at(unit, neuron)
        for core in {chip.core[target] for target, _ in met}:
            found["messages"][unit, t] += 1
            there = chip.where[core]
            found["hops_east_west"][unit, t] += abs(int(there[0] - x))
            found["hops_north_south"][unit, t] += abs(int(there[1] - y))
            for link in route((int(x), int(y)), (int(there[0]), int(there[1]))):
                links[t + chip.depth.get(unit, 0), link] += 1
    for unit, shape in chip.shapes.items():
        for neuron in range(int(np.prod(shape))):
            for t in range(int(run.ends[sample])):
                got = any((*pre, t - lag) in spikes for pre, lag in chip.sources[unit, neuron])
                if got or keeps(chip, image, run, sample, unit, neuron, t):
                    found["updates"][unit, t] += 1
    return found, links


def keeps(chip: Chip, image: Any, run: Any, sample: int, unit: str, neuron: int, t: int) -> bool:
    """Whether a neuron has a potential before the timestep, or a bias."""
    if unit != chip.layer[unit]:
        return False
    node = chip.graph.node(unit)
    size = int(np.prod(node.shape))
    bias = 0
    if node.bias is not None:
        bias = int(np.broadcast_to(node.bias, node.shape).ravel()[neuron])
    for edge in chip.graph.into(unit):
        if edge.pre == chip.graph.source.name and chip.direct:
            x = chip.graph.source.integers(image).ravel()
            source, target, weight = edge.maps[0].connections(chip.graph.source.shape)
            here = target == neuron
            bias += 64 * int((x[source[here]].astype(np.int64) * weight[here]).sum())
    if unit in run.v:
        first = np.broadcast_to(node.v_init, node.shape).reshape(size)[neuron]
        held = first if t == 0 else run.v[unit][sample, t - 1].ravel()[neuron]
    else:
        sums = run.integer_logits if node.kind == "readout" else None
        held = 0 if t == 0 or sums is None else sums[sample, t - 1, neuron]
    return bool(held != 0 or bias != 0)


def route(start: tuple[int, int], end: tuple[int, int]) -> list[tuple[int, int, str]]:
    """Links, as the tile that is left and the direction: along the row, then along the column."""
    (x, y), found = start, []
    while x != end[0]:
        found.append((x, y, "east" if x < end[0] else "west"))
        x += 1 if x < end[0] else -1
    while y != end[1]:
        found.append((x, y, "south" if y < end[1] else "north"))
        y += 1 if y < end[1] else -1
    return found
