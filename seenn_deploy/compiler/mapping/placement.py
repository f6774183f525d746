"""What a search for places found: boxes of neurons on cores, and what they take there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from math import ceil, sqrt
from typing import Any

import numpy as np

from seenn_deploy._typing import Array, Pair
from seenn_deploy.compiler.mapping.chip import Chip
from seenn_deploy.compiler.mapping.needs import Axons, Box

RESOURCES = ("neurons", "input_axons", "output_axons", "synapse_bits")
MOST_NAMED = 3  # layers of a network that is too large
REMEDIES = {
    "neurons": "fewer neurons, by a narrower network or a stride in the first layers",
    "input_axons": "fewer channels in front of a layer, as each neuron that sends takes an axon",
    "output_axons": "narrower layers, as a spike goes to every core that has a part of its targets",
    "synapse_bits": "fewer weights, by narrower layers or groups",
}
TOKEN = 1  # input axon of every core, for the token that ends a sample


@dataclass(frozen=True)
class Tile:
    """A box of a unit's neurons on a core.

    Parameters
    ----------
    unit, layer : str
    box : Box
    axons : 'neuron' or 'pixel'
        What its input axons are.
    core : int
        Its number, counted over all chips.
    neurons, input_axons, output_axons, synapse_bits : int
        What it takes of the core.
    synapses : int
        Synapses that its neurons have.
    """

    unit: str
    layer: str
    box: Box
    axons: Axons
    core: int
    neurons: int
    input_axons: int
    output_axons: int
    synapse_bits: int
    synapses: int

    def takes(self, resource: str) -> int:
        """What it takes of a resource, by its name."""
        return int(getattr(self, resource))


@dataclass(frozen=True)
class Placement:
    """A program on a chip, or on several.

    Parameters
    ----------
    chip : Chip
    program : str
        Fingerprint of the program.
    tiles : tuple of Tile
    controller : int
        Core of the readout, where the exit rule is, and from which the token goes to all cores.
    policy_on_host : bool
        Whether the program has a policy network that no core can compute.
    """

    chip: Chip
    program: str
    tiles: tuple[Tile, ...]
    controller: int
    policy_on_host: bool = False

    @cached_property
    def cores(self) -> int:
        """Cores in use."""
        return 1 + max(tile.core for tile in self.tiles)

    @property
    def chips(self) -> int:
        """Chips that these are on."""
        return -(-self.cores // self.chip.cores)

    @property
    def mesh(self) -> Pair:
        """Columns and rows of tiles of all chips, which lie in rows, as square as they can."""
        across = ceil(sqrt(self.chips))
        return across * self.chip.columns, -(-self.chips // across) * self.chip.rows

    @cached_property
    def where(self) -> Array:
        """Column and row of each core's tile, over all chips, int64 (cores, 2)."""
        across = self.mesh[0] // self.chip.columns
        found = []
        for core in range(self.cores):
            number, inside = divmod(core, self.chip.cores)
            down, right = divmod(number, across)
            column, row = self.chip.tile(inside)
            found.append((right * self.chip.columns + column, down * self.chip.rows + row))
        return np.array(found, np.int64)

    @cached_property
    def loads(self) -> list[dict[str, int]]:
        """What each core holds of each resource, and its synapses."""
        found = [dict.fromkeys((*RESOURCES, "synapses"), 0) for _ in range(self.cores)]
        for tile in self.tiles:
            for name in found[tile.core]:
                found[tile.core][name] += tile.takes(name)
        for core in found:
            core["input_axons"] += TOKEN
        # Cores of other chips get the token from their own processors.
        found[self.controller]["output_axons"] += min(self.cores, self.chip.cores)
        return found

    @cached_property
    def owners(self) -> list[str]:
        """The layer that has most neurons of each core; of equal ones the last."""
        number = {layer: i for i, layer in enumerate(self._by_layer)}
        most = [(0, -1)] * self.cores
        for tile in self.tiles:
            most[tile.core] = max(most[tile.core], (tile.neurons, number[tile.layer]))
        names = list(self._by_layer)
        return [names[i] for _, i in most]

    def full(self, core: int) -> float:
        """The share of a core's limit that is nearest."""
        limits, load = self.chip.limits, self.loads[core]
        return max(load[r] / limits[r] for r in RESOURCES if r in limits)

    @cached_property
    def layers(self) -> list[dict[str, Any]]:
        """What each layer takes; see `layer`."""
        return [self.layer(name) for name in self._by_layer]

    @property
    def too_large(self) -> str:
        """For several chips: which layers take most, and what would help; '' for one chip."""
        if self.chips == 1:
            return ""
        by_cores = sorted(self.layers, key=lambda layer: -int(layer["cores"]))[:MOST_NAMED]
        most = ", ".join(f"{layer['layer']} {layer['cores']:,}" for layer in by_cores)
        helps = dict.fromkeys(REMEDIES[layer["binds"]] for layer in by_cores)
        return (
            f"{self.cores:,} cores are {self.chips:,} chips of {self.chip.cores}; most take "
            f"{most}; what would help: {'; '.join(helps)}"
        )

    def __repr__(self) -> str:
        chips = "" if self.chips == 1 else f", {self.chips} chips"
        return f"Placement({self.chip.name}, {self.cores} of {self.chip.cores} cores{chips})"

    @cached_property
    def busiest(self) -> int:
        """The core with the most synapses."""
        return max(range(self.cores), key=lambda core: self.loads[core]["synapses"])

    def summary(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return {
            "chip": self.chip.name,
            "program": self.program,
            "cores": self.cores,
            "cores_per_chip": self.chip.cores,
            "chips": self.chips,
            "limits": dict(self.chip.limits),
            "controller_core": self.controller,
            "policy_on_host": self.policy_on_host,
            "busiest_core": self.busiest,
            "busiest_core_synapses": self.loads[self.busiest]["synapses"],
            "too_large": self.too_large,
            "layers": self.layers,
            "tiles": [_told(tile) for tile in self.tiles],
            "core_loads": self.loads,
        }

    @cached_property
    def _by_layer(self) -> dict[str, list[Tile]]:
        found: dict[str, list[Tile]] = {}
        for tile in self.tiles:
            found.setdefault(tile.layer, []).append(tile)
        return found

    def layer(self, name: str) -> dict[str, Any]:
        """What one layer takes, its delay line included; and what keeps its boxes from growing."""
        tiles = self._by_layer[name]
        line = [tile for tile in tiles if tile.unit != name]
        shares = {
            r: max(t.takes(r) for t in tiles) / self.chip.limits[r]
            for r in RESOURCES
            if r in self.chip.limits
        }
        return {
            "layer": name,
            "cores": len({tile.core for tile in tiles}),
            "tiles": len(tiles),
            "neurons": _sum(tiles, "neurons") - _sum(line, "neurons"),
            "delay_neurons": _sum(line, "neurons"),
            **{r: _sum(tiles, r) for r in RESOURCES if r != "neurons"},
            "fullest": {resource: round(share, 4) for resource, share in shares.items()},
            "binds": max(shares, key=lambda resource: shares[resource]),
        }


def _sum(tiles: Iterable[Tile], resource: str) -> int:
    return sum(tile.takes(resource) for tile in tiles)


def _told(tile: Tile) -> dict[str, Any]:
    c, r, q = tile.box.ranges
    counts = {name: tile.takes(name) for name in (*RESOURCES, "synapses")}
    return {
        "unit": tile.unit, "core": tile.core, "axons": tile.axons,
        "channels": list(c), "rows": list(r), "columns": list(q), **counts,
    }  # fmt: skip
