"""What a placed network sends and costs, counted neuron by neuron: slow, and from the lists alone.

It knows spikes by the oracle of the integers, the places of boxes, and the equations of SANA-FE's
readme: a spike is one message to every core that has a target of it. It shares no code with the
product.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
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
    spikes = naive_integer.run(program.graph, images).outputs
    out: dict[tuple[str, int], Any] = defaultdict(lambda: defaultdict(Counter))
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
        cores = Counter(core_of[unit, i] for i in range(int(np.prod(shapes[unit]))))
        for sample, t in np.argwhere(sent >= 0):
            step = int(sent[sample, t]) + depth
            found["updates"][step] += sum(cores.values())
            found["neuron_J"][step] += sum(cores.values()) * price["update"]
            for core, number in cores.items():
                senders[step, core] += number * nanos["update"]
            if node not in spikes or node == program.graph.readout.name:
                continue
            for source in np.flatnonzero(spikes[node][sample, t]).tolist():
                here = core_of[unit, source]
                found["spikes"][step] += 1
                found["neuron_J"][step] += price["spike"]
                senders[step, here] += nanos["spike"]
                for there, read in out[unit, source].items():
                    x, y = (
                        abs(a - b) for a, b in zip(at(here, chip), at(there, chip), strict=True)
                    )
                    found["messages"][step] += 1
                    found["hops"][step] += x + y
                    found["synapse_events"][step] += sum(read.values())
                    found["synapse_J"][step] += sum(
                        n * price[f"synapse_{k}"] for k, n in read.items()
                    )
                    found["network_J"][step] += (
                        price["message"] + x * price["hop_east_west"] + y * price["hop_north_south"]
                    )
                    senders[step, here] += nanos["message_out"]
                    takers[step, there] += nanos["message_in"]
                    takers[step, there] += sum(n * nanos[f"synapse_{k}"] for k, n in read.items())
    _tokens(found, placement, chip, price, nanos, sent.max(axis=1) + program.depth + 1,
            senders, takers)  # fmt: skip
    used = len({at(core, chip) for core in neurons})
    barrier = [time for tiles, time in nanos["barrier"] if tiles <= used][-1]
    found["time_s"] = 1e-9 * (np.maximum(senders.max(axis=1), takers.max(axis=1)) + barrier)
    return found


def _tokens(
    found: dict[str, np.ndarray], placement: dict[str, Any], chip: dict[str, Any],
    price: dict[str, float], nanos: dict[str, float], steps: np.ndarray, senders: np.ndarray,
    takers: np.ndarray,
) -> None:  # fmt: skip
    """A step behind a sample's last wave: a message to every core, whose neurons are free."""
    here = placement["controller_core"]
    for step in steps.tolist():
        found["tokens"][step] += 1
        found["spikes"][step] += 1
        found["updates"][step] += 1
        for there in range(placement["cores"]):
            x, y = (abs(a - b) for a, b in zip(at(here, chip), at(there, chip), strict=True))
            found["messages"][step] += 1
            found["hops"][step] += x + y
            found["synapse_events"][step] += 1
            found["network_J"][step] += (
                price["message"] + x * price["hop_east_west"] + y * price["hop_north_south"]
            )
            senders[step, here] += nanos["message_out"]
            takers[step, there] += nanos["message_in"]
            if step + 1 < len(found["updates"]):
                found["updates"][step + 1] += 1


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
    graph = program.graph
    words = {"conv2d": "conv", "dense": "dense", "pooled_dense": "dense"}
    edges = [
        words.get(edge.maps[0].kind, "sparse")
        for edge in graph.projections
        if edge.pre != graph.source.name or graph.source.coding != "direct"
    ]
    return edges + ["sparse"] * (len(links) - len(edges))


def at(core: int, chip: dict[str, Any]) -> tuple[int, int]:
    """Column and row of a core's tile: rows of tiles, every second one from right to left."""
    mesh = chip["mesh"]
    chips, core = divmod(core, mesh["columns"] * mesh["rows"] * mesh["cores_per_tile"])
    row, column = divmod(core // mesh["cores_per_tile"], mesh["columns"])
    column = mesh["columns"] - 1 - column if row % 2 else column
    return chips * mesh["columns"] + column, row
