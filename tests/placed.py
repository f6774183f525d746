"""An independent look at a placed network: it knows the chip's file, neurons and synapses alone.

Every neuron and synapse is listed; what a core holds is counted from these lists by the words of
the chip's description, with no code of the search.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

Neuron = tuple[str, int]  # of a unit, in C order


def neurons_and_synapses(program: Any) -> tuple[dict[str, tuple[int, ...]], list[Any]]:
    """Shapes (C, H, W) of units, and (pre, post, source, target, weight) arrays of links."""
    graph = program.graph
    image = graph.source.name if graph.source.coding == "direct" else ""
    shapes = {n.name: as_image(n.shape) for n in graph.layers}
    shapes["host"] = as_image(graph.source.shape)
    links, length = [], Counter[str]()
    for edge in graph.projections:
        if edge.pre == image:
            continue  # biases, which the host writes
        waits = edge.delay + edge.lag
        pre = "host" if edge.pre == graph.source.name else edge.pre
        if pre != "host":
            length[pre] = max(length[pre], waits)
            pre = f"{pre}.delay{waits}" if waits else pre
        (synapses,) = edge.maps
        at = synapses.connections(graph.node(edge.pre).shape)
        links.append((pre, edge.post, *map(np.asarray, at)))
    for name, steps in length.items():
        before, number = name, np.arange(int(np.prod(shapes[name])))
        for step in range(1, steps + 1):
            line = f"{name}.delay{step}"
            shapes[line] = shapes[name]
            links.append((before, line, number, number, np.ones(len(number))))
            before = line
    return shapes, links


def of_policy(policy: Any) -> tuple[dict[str, tuple[int, ...]], list[Any]]:
    """The same of an integer policy network: a neuron per result, a synapse per product."""
    values = [np.zeros((1, *policy.shape))]
    for operation in policy.operations:
        values.append(operation(values))
    names = ["image"] + [f"policy{i}.{o.kind}" for i, o in enumerate(policy.operations, 1)]
    shapes = {name: as_image(v.shape[1:]) for name, v in zip(names[1:], values[1:], strict=True)}
    links = []
    for i, operation in enumerate(policy.operations, 1):
        for operand in operation.of:
            if operand:
                was, now = as_image(values[operand].shape[1:]), shapes[names[i]]
                lists = sorted(products(operation, was, now), key=lambda synapse: synapse[:2])
                pre, post, weight = (np.array(column) for column in zip(*lists, strict=True))
                links.append((names[operand], names[i], pre, post, weight))
    return shapes, links


def products(operation: Any, was: tuple[int, ...], now: tuple[int, ...]) -> Iterator[Any]:
    """(source, target, weight) of each synapse of an operation of a policy network."""
    kind, of, weight = operation.kind, operation.options, operation.arrays.get("weight")
    if kind in ("affine", "add"):
        yield from ((n, n, 1) for n in range(int(np.prod(was))))
    elif kind == "dense":
        yield from ((n, m, int(w)) for (m, n), w in np.ndenumerate(weight))
    else:
        size = was[1:] if kind == "average" and not of["kernel"] else (of.get("kernel"),) * 2
        if kind == "average":
            weight, groups, stride, padding = np.ones((was[0], 1, *size)), was[0], size, 0
        else:
            groups, stride, padding = of["groups"], (of["stride"],) * 2, of["padding"]
        for c, y, x in np.ndindex(*now):
            first = c // (now[0] // groups) * (was[0] // groups)
            for (k, dy, dx), w in np.ndenumerate(weight[c]):
                row, column = y * stride[0] + dy - padding, x * stride[1] + dx - padding
                if 0 <= row < was[1] and 0 <= column < was[2]:
                    at = np.ravel_multi_index((first + k, row, column), was)
                    yield int(at), int(np.ravel_multi_index((c, y, x), now)), int(w)


def as_image(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*shape, 1, 1)[:3] if len(shape) < 3 else tuple(shape)


def list_bits(chip: dict[str, Any], synapses: int, targets: int) -> int:
    of = {key: entry["value"] for key, entry in chip["synapses"].items()}
    width = of["weight_bits"] + min(b for b in of["index_bits"] if 2**b >= targets)
    bits = 0
    while synapses > 0:
        block = min(synapses, of["block"]) * width + of["block_bits"]
        bits += -(-block // of["unit_bits"]) * of["unit_bits"]
        synapses -= of["block"]
    return bits


AXES = ("channels", "rows", "columns")


def check(program: Any, placement: dict[str, Any], chip_file: Path) -> None:
    """Assert that every neuron has one core, and that no core holds more than it can."""
    chip = json.loads(chip_file.read_text())
    limits = {key: entry["value"] for key, entry in chip["limits"].items()}
    shapes, links = neurons_and_synapses(program)
    if program.policy is not None and chip["graded_spikes"]["value"]:
        policy = of_policy(program.policy)
        shapes, links = shapes | policy[0], links + policy[1]
    assert placement["policy_on_host"] == (
        program.policy is not None and not chip["graded_spikes"]["value"]
    )
    tile_of = tiles_of(placement["tiles"], shapes)
    found = counted(placement["tiles"], tile_of, shapes, links, chip)
    for number, load in enumerate(placement["core_loads"]):
        here = number == placement["controller_core"]
        token = min(placement["cores"], placement["cores_per_chip"]) if here else 0
        shared = found["shared_axons"][number]
        assert shared <= chip["population_axons"]["per_core"]["value"]
        for name in ("neurons", "input_axons", "output_axons", "synapse_bits"):
            sent = token if name == "output_axons" else name == "input_axons"  # the token's axon
            value = found[name][number] + sent
            assert value <= load[name], f"core {number}: {name} {value}, told {load[name]}"
            assert value - token <= limits.get(name, value), f"core {number}: {name} {value}"


def tiles_of(tiles: list[Any], shapes: dict[str, tuple[int, ...]]) -> dict[Neuron, int]:
    """The tile of each neuron, of which it has exactly one."""
    found: dict[Neuron, int] = {}
    for number, tile in enumerate(tiles):
        grid = np.meshgrid(*(range(*tile[axis]) for axis in AXES), indexing="ij")
        for index in np.ravel_multi_index(grid, shapes[tile["unit"]]).ravel().tolist():
            assert (tile["unit"], index) not in found, f"{tile['unit']}, {index} has two places"
            found[tile["unit"], index] = number
    for unit in shapes.keys() - {"host"}:
        without = [i for i in range(int(np.prod(shapes[unit]))) if (unit, i) not in found]
        assert not without, f"{unit}: {without[:3]} have no place"
    return found


def counted(
    tiles: list[Any],
    tile_of: dict[Neuron, int],
    shapes: dict[str, tuple[int, ...]],
    links: list[Any],
    chip: dict[str, Any],
) -> dict[str, Counter[int]]:
    """What each core holds."""
    most = chip["population_axons"]["channels"]["value"]
    pixels = {unit: int(np.prod(shape[1:])) for unit, shape in shapes.items()}
    first: dict[tuple[int, str], int] = {}
    for pre, post, sources, targets, _ in links:
        for source, target in zip(sources.tolist(), targets.tolist(), strict=True):
            key = tile_of[post, target], pre
            first[key] = min(source // pixels[pre], first.get(key, shapes[pre][0]))
    axons, slots, lists = set(), set(), defaultdict(list)
    for link, (pre, post, sources, targets, weights) in enumerate(links):
        synapses = zip(sources.tolist(), targets.tolist(), weights.tolist(), strict=True)
        for source, target, weight in synapses:
            number = tile_of[post, target]
            tile, (channel, pixel) = tiles[number], divmod(source, pixels[pre])
            sender = (link, source)  # each link has axons of its own
            if tile["axons"] == "pixel":
                sender = (link, (channel - first[number, pre]) // most, pixel)
            axons.add((tile["core"], tile["axons"], sender))
            if pre != "host":
                slots.add((tiles[tile_of[pre, source]]["core"], link, source, tile["core"]))
            within = [
                place - tile[axis][0]
                for place, axis in zip(np.unravel_index(target, shapes[post]), AXES, strict=True)
            ]
            size = [tile[axis][1] - tile[axis][0] for axis in AXES]
            # The channel is part of a message, so that an axon's list has all of its channels.
            at = int(np.ravel_multi_index(within, size))
            lists[number, sender].append((channel, at, weight))
    kinds = defaultdict(set)
    for (number, (link, *_)), found in lists.items():
        start, begin = (min(entry[i] for entry in found) for i in (0, 1))
        # Lists that differ by where they begin alone are one; those of two layers are not.
        kinds[number, link].add(tuple(sorted((c - start, t - begin, w) for c, t, w in found)))
    bits: Counter[int] = Counter()
    for (number, _), keys in kinds.items():
        neurons = int(np.prod([tiles[number][axis][1] - tiles[number][axis][0] for axis in AXES]))
        bits[tiles[number]["core"]] += sum(list_bits(chip, len(key), neurons) for key in keys)
    return {
        "neurons": Counter(tiles[number]["core"] for number in tile_of.values()),
        "input_axons": Counter(core for core, _, _ in axons),
        "shared_axons": Counter(core for core, how, _ in axons if how == "pixel"),
        "output_axons": Counter(core for core, *_ in slots),
        "synapse_bits": bits,
    }
