"""The network on SANA-FE's chip: made once, then run hardware step by hardware step.

Where a layer has no wave, it holds: its neurons add nothing and cannot spike. On a gated schedule
they keep their potential meanwhile, on others the next wave is another sample's first.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import sanafe
from files import InputError
from inputs import Inputs

UNIT = 64.0  # of a potential
NEVER = float(2**24)  # a threshold that no potential reaches
COMPARTMENTS = 1024  # of a soma unit of SANA-FE
BYTES = 4000  # that SANA-FE takes for a synapse, as measured with 2.2.9
MEASURED = {
    "hops": "hops", "synapse_events": "spikes", "updates": "updated", "spikes": "fired",
    "synapse_J": "synapse_energy", "neuron_J": "soma_energy", "network_J": "network_energy",
    "time_s": "sim_time",
}  # fmt: skip


class Chip:
    """A simulated chip.

    Parameters
    ----------
    folder : Path
        The bundle, with ``architecture.yaml``.
    spec, arrays
        ``network.json`` and its arrays.
    record : bool
        Whether spikes and potentials of all populations are kept.
    timing : 'simple' or 'detailed'
        How SANA-FE finds the time of a step.
    unit : int
        What an event of a frame is in integers.
    """

    def __init__(
        self,
        folder: Path,
        spec: dict[str, Any],
        arrays: dict[str, np.ndarray],
        *,
        record: bool,
        timing: str,
        unit: int,
    ) -> None:
        _check_memory(spec["synapses"])
        self.timing, self.record, self.gated = timing, record, spec["schedule"] == "gated"
        self.units = [Layer(unit, i, arrays) for i, unit in enumerate(spec["units"])]
        self.hosts = [Host(host, i, unit) for i, host in enumerate(spec["hosts"])]
        self.readout = next(u for u in self.units if u.kind == "readout")
        self.chip = self._made(folder, spec, arrays)
        for layer in (*self.units, *self.hosts):
            layer.mapped = self.chip.mapped_neuron_groups[layer.group]
        self.senders = self.chip.mapped_neuron_groups["token"]
        self.sends, self.took = False, 0
        self.takers = sum(len(token["to"]) for token in spec["tokens"])

    # --- making it --------------------------------------------------------------------------------

    def _made(self, folder: Path, spec: dict[str, Any], arrays: dict[str, np.ndarray]) -> Any:
        architecture = sanafe.load_arch(folder / "architecture.yaml")
        tiles, net = architecture.tiles, sanafe.Network()
        cores = [tile.cores for tile in tiles]
        groups = [self._group(net, unit, cores) for unit in self.units]
        for link in spec["links"]:
            _connect(groups[link["pre"]], groups[link["post"]], link, arrays)
        for host in self.hosts:
            sending = host.made(net, cores[0][-1])
            for link in host.links:
                _connect(sending, groups[link["post"]], link, arrays)
        self._tokens(net, spec["tokens"], cores)
        chip = sanafe.SpikingChip(architecture)
        chip.load(net)
        return chip

    def _group(self, net: Any, unit: Layer, cores: list[Any]) -> Any:
        group = net.create_neuron_group(
            unit.group, unit.size, {**unit.held(), "reset_mode": "soft" if unit.soft else "hard"},
            soma_hw_name="lif", default_dendrite_hw_name="sum", log_potential=self._keeps(unit),
            log_spikes=self.record and unit.kind == "population",
        )  # fmt: skip
        for neuron, tile, core in zip(group.neurons, unit.tile, unit.core, strict=True):
            neuron.map_to_core(cores[tile][core])
        return group

    def _keeps(self, unit: Layer) -> bool:
        """Whether potentials of a unit are read: of the readout, and where they have to be."""
        wanted = self.record or self.gated
        return unit.kind == "readout" or (wanted and unit.kind == "population")

    def _tokens(self, net: Any, tokens: list[dict[str, Any]], cores: list[Any]) -> None:
        """Neurons that send a sample's end to every core of a chip, and those that take it."""
        values = {"threshold": 0.5, "leak_decay": 0.0, "reset_mode": "hard"}
        of = {"soma_hw_name": "token_soma", "default_dendrite_hw_name": "token_sum"}
        places = [place for token in tokens for place in token["to"]]
        senders = net.create_neuron_group("token", len(tokens), values, **of)
        takers = net.create_neuron_group(
            "token_ends", len(places), values, default_synapse_hw_name="token", **of
        )
        for sender, token in zip(senders.neurons, tokens, strict=True):
            tile, core = token["from"]
            sender.map_to_core(cores[tile][core])
        for taker, (tile, core) in zip(takers.neurons, places, strict=True):
            taker.map_to_core(cores[tile][core])
        owners = [i for i, token in enumerate(tokens) for _ in token["to"]]
        pairs = list(zip(owners, range(len(places)), strict=True))
        senders.connect_neurons_sparse(takers, {"weight": [0.0] * len(pairs)}, pairs)

    # --- running it -------------------------------------------------------------------------------

    def arrange(self, wave_at: Callable[[int], Any], inputs: Inputs, sends_token: bool) -> None:
        """Write what the host has to before a step: layers that get a wave, or hold."""
        for unit in self.units:
            wave = wave_at(unit.depth)
            if wave is None:
                unit.hold(self.gated)
                continue
            current = None
            if unit.name in inputs.targets and (wave.t == 1 or not inputs.constant):
                current = inputs.current(unit.name, wave.sample, wave.t)
            # Frames of events come by messages; their currents were computed to be checked.
            unit.go(wave.t == 1, current if inputs.constant else None)
        for host in self.hosts:
            wave = wave_at(host.depth)
            host.send(inputs.events(*wave, host.lag) if wave else np.zeros(host.size, bool))
        if sends_token != self.sends:
            for sender in self.senders:
                sender.set_attributes(model_attributes={"bias": float(sends_token)})
            self.sends = sends_token

    def step(self) -> dict[str, float]:
        """Run a hardware step; return what was counted in it."""
        self.found = self.chip.sim(
            1, timing_model=self.timing, processing_threads=1, perf_trace=True,
            spike_trace=self.record, potential_trace=True,
        )  # fmt: skip
        trace = self.found["perf_trace"]
        self.fired: dict[str, list[int]] = {unit.group: [] for unit in self.units}
        for neuron in self.found["spike_trace"][0] if self.record else ():
            self.fired[neuron.group_name].append(neuron.neuron_offset)
        # Potentials come in the order of groups' names, of those that keep them.
        values, at = np.array(self.found["potential_trace"][0]), 0
        for unit in self.units:
            if self._keeps(unit):
                unit.potential = np.rint(UNIT * values[at : at + unit.size]).astype(np.int64)
                at += unit.size
        counts = {name: float(np.ravel(trace[key])[-1]) for name, key in MEASURED.items()}
        self._without_helpers(counts)
        sent = {"messages": float(self.found["packets_sent"]), "tokens": float(self.sends)}
        return {**sent, **counts}

    def _without_helpers(self, counts: dict[str, float]) -> None:
        """Leave out spikes, updates and synapses of neurons that only bring events and tokens."""
        sends = sum(int(host.sent.sum()) for host in self.hosts) + len(self.senders) * self.sends
        counts["spikes"] -= sends
        counts["updates"] -= sends + self.took
        counts["synapse_events"] -= self.takers * self.sends
        self.took = self.takers * self.sends  # they are updated a step later

    def logits(self) -> np.ndarray:
        """The potentials of the readout."""
        return self.readout.potential

    def spikes(self, unit: dict[str, Any]) -> np.ndarray:
        """Which neurons of a unit spiked in the last step, (neurons,)."""
        layer = self._layer(unit)
        found = np.zeros(layer.size, bool)
        found[self.fired[layer.group]] = True
        return found

    def potentials(self, unit: dict[str, Any]) -> np.ndarray:
        """The potentials of a unit behind the last step, (neurons,)."""
        layer = self._layer(unit)
        return layer.potential - layer.shift

    def _layer(self, unit: dict[str, Any]) -> Layer:
        return next(u for u in self.units if u.name == unit["name"])


class Layer:
    """The neurons of a unit, and what the host last wrote to them."""

    def __init__(self, spec: dict[str, Any], number: int, arrays: dict[str, np.ndarray]) -> None:
        self.name, self.kind, self.depth = spec["name"], spec["kind"], spec["depth"]
        self.soft, self.shift = spec["soft"], spec["shift"]
        self.group = f"unit{number:04}"
        self.tile, self.core = arrays[f"{number}/tile"], arrays[f"{number}/core"]
        self.threshold, self.start, self.bias = (
            arrays[f"{number}/{name}"] / UNIT for name in ("threshold", "start", "bias")
        )
        self.leak = arrays[f"{number}/leak"]
        self.size = len(self.tile)
        self.mapped: Any = None
        self.potential = np.zeros(self.size, np.int64)
        self.holds, self.added = True, np.zeros(self.size)
        self.parked = np.zeros(self.size)

    @staticmethod
    def held() -> dict[str, Any]:
        """The attributes of a neuron that holds."""
        return {"threshold": NEVER, "leak_decay": 1.0, "bias": 0.0, "potential": 0.0}

    def hold(self, keeps: bool) -> None:
        """Hold, if it does not yet. Where a sample goes on, the host keeps the potentials.

        SANA-FE would update a neuron whose potential is not 0.
        """
        if not self.holds:
            if keeps:
                self.parked = self.potential / UNIT
            for neuron in self.mapped:
                neuron.set_attributes(model_attributes=self.held())
            self.holds = True

    def go(self, first: bool, current: np.ndarray | None) -> None:
        """Take a wave, the first one of a sample from the initial potential.

        `current` is what the input adds from now on; None for what it added before.
        """
        if current is not None:
            self.added = current / (UNIT if self.kind == "readout" else 1.0)
        if first or self.holds:
            columns = {
                "threshold": self.threshold if self.kind != "readout" else [NEVER] * self.size,
                "leak_decay": self.leak,
                "bias": self.bias + self.added,
                "potential": self.start if first else self.parked,
            }
            rows = zip(*(np.asarray(values).tolist() for values in columns.values()), strict=True)
            for neuron, row in zip(self.mapped, rows, strict=True):
                neuron.set_attributes(model_attributes=dict(zip(columns, row, strict=True)))
            self.holds = False


class Host:
    """Neurons of the host, by which frames of events enter; their core is in the first tile."""

    def __init__(self, spec: dict[str, Any], number: int, unit: int) -> None:
        self.depth, self.lag, self.size = spec["depth"], spec["lag"], spec["size"]
        self.links = [{**link, "scale": link["scale"] * unit} for link in spec["links"]]
        self.group, self.first = f"host{number}", number * self.size
        self.sent = np.zeros(self.size, bool)
        self.mapped: Any = None

    def made(self, net: Any, core: Any) -> Any:
        """Make the group of its neurons."""
        values = {"threshold": 0.5, "leak_decay": 0.0, "reset_mode": "hard"}
        found = net.create_neuron_group(self.group, self.size, values)
        for place, neuron in enumerate(found.neurons, self.first):
            unit = place // COMPARTMENTS
            neuron.set_attributes(soma_hw_name=f"soma{unit}", dendrite_hw_name=f"sum{unit}")
            neuron.map_to_core(core)
        return found

    def send(self, spikes: np.ndarray) -> None:
        """Have those neurons spike in the next step, and no other."""
        for i in np.flatnonzero(spikes != self.sent).tolist():
            self.mapped[i].set_attributes(model_attributes={"bias": float(spikes[i])})
        self.sent = spikes


def _connect(pre: Any, post: Any, link: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    for neuron in post.neurons:  # a connection takes the unit that its target names then
        neuron.set_attributes(default_synapse_hw_name=link["synapses"])
    source, target, weight = (
        arrays[f"{link['arrays']}/{name}"] for name in ("source", "target", "weight")
    )
    weights = (weight * link["scale"]).tolist()
    pairs = list(zip(source.tolist(), target.tolist(), strict=True))
    pre.connect_neurons_sparse(post, {"weight": weights}, pairs)


def _check_memory(synapses: int) -> None:
    """Refuse what would be killed half an hour later."""
    free = _free()
    if synapses * BYTES > free:
        raise InputError(
            f"{synapses:,} synapses take SANA-FE about {synapses * BYTES / 2**30:.0f} GiB, "
            f"{free / 2**30:.0f} are free; verify a smaller network, or on a larger machine"
        )


def _free() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable"):
            return int(line.split()[1]) * 1024
    raise InputError("/proc/meminfo does not say how much memory is free")
