"""What a placed network sends and costs, counted neuron by neuron: slow, and from the lists alone.

It knows spikes by the oracle of the integers, the places of boxes, and the equations of SANA-FE's
readme: a spike is one message to every core that has a target of it. It shares no code with the
product.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from tests import naive_integer, placed


def count(
    program: Any, placement: dict[str, Any], chip_file: Path, images: np.ndarray, sent: np.ndarray
) -> dict[str, np.ndarray]:
    """By hardware step: what an entry of ``measured`` has.

    Parameters
    ----------
    sent : int array (N, T)
        The hardware step at which each timestep was sent; -1 where it was not.
    """
    chip = json.loads(chip_file.read_text())
    price = {key: entry["value"] * 1e-12 for key, entry in chip["energy_pJ"].items()}
    nanos = {key: entry["value"] for key, entry in chip["time_ns"].items()}
    shapes, links = placed.neurons_and_synapses(program)
    tile_of = placed.tiles_of(placement["tiles"], shapes)
    core_of = {key: placement["tiles"][tile]["core"] for key, tile in tile_of.items()}
    run = naive_integer.run(program.graph, images)
    spikes, updated = run.outputs, keeps(program.graph, images, run)
    spikes["host"] = spikes[program.graph.source.name]
    out: dict[tuple[str, int], Any] = defaultdict(lambda: defaultdict(Counter))
    for unit, node, _ in units(program, shapes):
        if unit != node:
            updated[unit] = np.zeros(spikes[node].shape, bool)
    lags = [edge.lag for edge in arriving(program)]
    for (pre, post, sources, targets, _), lag in zip_longest(links, lags, fillvalue=0):
        sent_by = spikes[pre.partition(".delay")[0]]
        for sample, t in np.ndindex(*sent_by.shape[:2]):
            if t >= lag:
                fired = sent_by[sample, t - lag].ravel()[sources] != 0
                updated[post][sample, t].reshape(-1)[targets[fired]] = True
    for (pre, post, sources, targets, _), kind in zip(links, kinds(program, links), strict=True):
        for source, target in zip(sources.tolist(), targets.tolist(), strict=True):
            out[pre, source][core_of[post, target]][kind] += 1
    steps = int(sent.max()) + program.depth + 2  # the last wave's token comes a step behind it
    found = {name: np.zeros(steps) for name in NAMES}
    senders, takers = np.zeros((2, steps, placement["cores"]))
    neurons = Counter(core_of.values())
    for core, number in neurons.items():
        senders[:, core] += number * nanos["access"]
    found["neuron_J"] += len(core_of) * price["access"]
    for unit, node, depth in units(program, shapes):
        for sample, t in np.argwhere(sent >= 0):
            step = int(sent[sample, t]) + depth
            for i in np.flatnonzero(updated[unit][sample, t]).tolist():
                found["updates"][step] += 1
                found["neuron_J"][step] += price["update"]
                senders[step, core_of[unit, i]] += nanos["update"]
            if node == program.graph.readout.name:
                continue
            for source in np.flatnonzero(spikes[node][sample, t]).tolist():
                here = core_of[unit, source]
                found["spikes"][step] += 1
                found["neuron_J"][step] += price["spike"]
                senders[step, here] += nanos["spike"]
                _send(found, step, out[unit, source], here, chip)
                senders[step, here] += nanos["message_out"] * len(out[unit, source])
                _take(takers[step], out[unit, source], nanos)
    for sample, t in np.argwhere(sent >= 0):
        if program.graph.source.coding == "events":
            for source in np.flatnonzero(spikes["host"][sample, t]).tolist():
                _send(found, int(sent[sample, t]), out["host", source], 0, chip)
                _take(takers[sent[sample, t]], out["host", source], nanos)
    _tokens(found, placement, chip, price, nanos, sent.max(axis=1) + program.depth + 1,
            senders, takers)  # fmt: skip
    used = len({at(core, chip) for core in neurons})
    barrier = [time for tiles, time in nanos["barrier"] if tiles <= used][-1]
    found["time_s"] = 1e-9 * (np.maximum(senders.max(axis=1), takers.max(axis=1)) + barrier)
    return found


def _send(
    found: dict[str, np.ndarray], step: int, targets: Any, here: int, chip: dict[str, Any]
) -> None:
    """Count a spike's messages, from a core to others, by the kinds of synapses that it meets."""
    price = {key: entry["value"] * 1e-12 for key, entry in chip["energy_pJ"].items()}
    for there, read in targets.items():
        x, y = (abs(a - b) for a, b in zip(at(here, chip), at(there, chip), strict=True))
        found["messages"][step] += 1
        found["hops"][step] += x + y
        found["synapse_events"][step] += sum(read.values())
        found["synapse_J"][step] += sum(n * price[f"synapse_{k}"] for k, n in read.items())
        found["network_J"][step] += (
            price["message"] + x * price["hop_east_west"] + y * price["hop_north_south"]
        )


def _take(takers: np.ndarray, targets: Any, nanos: dict[str, float]) -> None:
    for there, read in targets.items():
        takers[there] += nanos["message_in"]
        takers[there] += sum(n * nanos[f"synapse_{k}"] for k, n in read.items())


def keeps(graph: Any, images: np.ndarray, run: Any) -> dict[str, np.ndarray]:
    """Neurons that have a potential before a timestep, or a bias, bool (N, T, *shape) by layer."""
    found = {}
    image = run.outputs[graph.source.name][:, 0].reshape(len(images), -1)
    for node in graph.layers:
        bias = np.broadcast_to(np.asarray(node.bias, np.int64), node.shape).ravel()
        bias = np.tile(bias, (len(images), 1))
        for edge in graph.into(node.name):
            if edge.pre == graph.source.name and graph.source.coding == "direct":
                source, target, weight = edge.maps[0].connections(graph.source.shape)
                for row, x in zip(bias, image, strict=True):
                    np.add.at(row, target, 64 * x[source] * weight.astype(np.int64))
        after = run.logits if node is graph.readout else run.membrane[node.name]
        first = np.zeros(node.shape) if node is graph.readout else node.v_init
        before = np.broadcast_to(first, after[:, :1].shape)
        before = np.concatenate([before, after[:, :-1]], axis=1)
        found[node.name] = (before != 0) | (bias != 0).reshape(len(images), 1, *node.shape)
    return found


def arriving(program: Any) -> list[Any]:
    """Edges that spikes take, in the order of ``placed.neurons_and_synapses``."""
    graph = program.graph
    image = graph.source.name if graph.source.coding == "direct" else ""
    return [edge for edge in graph.projections if edge.pre != image]


def _tokens(
    found: dict[str, np.ndarray], placement: dict[str, Any], chip: dict[str, Any],
    price: dict[str, float], nanos: dict[str, float], steps: np.ndarray, senders: np.ndarray,
    takers: np.ndarray,
) -> None:  # fmt: skip
    """A step behind a sample's last wave: a message to every core, whose neurons are free."""
    here = placement["controller_core"]
    for step in steps.tolist():
        found["tokens"][step] += 1
        for there in range(placement["cores"]):
            x, y = (abs(a - b) for a, b in zip(at(here, chip), at(there, chip), strict=True))
            found["messages"][step] += 1
            found["hops"][step] += x + y
            found["network_J"][step] += (
                price["message"] + x * price["hop_east_west"] + y * price["hop_north_south"]
            )
            senders[step, here] += nanos["message_out"]
            takers[step, there] += nanos["message_in"]


NAMES = ("messages", "hops", "synapse_events", "updates", "spikes", "tokens", "synapse_J",
         "neuron_J", "network_J")  # fmt: skip


def units(program: Any, shapes: dict[str, Any]) -> list[tuple[str, str, int]]:
    """Name, layer and depth of every unit: a step of a delay line is that much deeper."""
    found = []
    for unit in shapes.keys() - {"host"}:
        node, _, waits = unit.partition(".delay")
        found.append((unit, node, program.graph.depth[node] + int(waits or 0)))
    return found


def kinds(program: Any, links: list[Any]) -> list[str]:
    """The price of each link's synapses: of convolutions, matrices, and everything else."""
    words = {"conv2d": "conv", "dense": "dense", "pooled_dense": "dense"}
    edges = [words.get(edge.maps[0].kind, "sparse") for edge in arriving(program)]
    return edges + ["sparse"] * (len(links) - len(edges))


def at(core: int, chip: dict[str, Any]) -> tuple[int, int]:
    """Column and row of a core's tile: rows of tiles, every second one from right to left."""
    mesh = chip["mesh"]
    chips, core = divmod(core, mesh["columns"] * mesh["rows"] * mesh["cores_per_tile"])
    row, column = divmod(core // mesh["cores_per_tile"], mesh["columns"])
    column = mesh["columns"] - 1 - column if row % 2 else column
    return chips * mesh["columns"] + column, row
