"""Placed networks in SANA-FE: spikes, messages, hops and energies beside those that we count.

Five small networks, each for another thing that may differ, are verified whole. The network of
examples/ has 19 million synapses, for which SANA-FE would take 76 GB, so it is run some cores at a
time: these get the spikes of all others as the simulator has them, from where the others are. Every
neuron, synapse, message and hop is then in exactly one of the runs. Where all of them spike as
simulated, the whole does. The time of a step needs all cores at once and is left out there.

    python benchmarks/placed.py [--images 2] [--cores 193]
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import seenn_deploy as sd  # noqa: E402
from seenn_deploy.evaluation.placed.run import run_placed, tokens  # noqa: E402
from seenn_deploy.ir.inputs import for_program  # noqa: E402
from seenn_deploy.ir.program import write  # noqa: E402
from seenn_deploy.verification.placed import counted  # noqa: E402
from tests.targets.sanafe import networks  # noqa: E402

EXAMPLE = ROOT / "examples" / "resnet20_T4_cifar10.pth"
ROWS = ("messages", "hops", "synapse_events", "updates", "spikes", "synapse_J", "neuron_J",
        "network_J", "time_s")  # fmt: skip
CORES = {"shortcuts": 40}  # neurons of a core, 4 of the other networks
AT_ONCE = 400_000  # synapses that are loaded together, about 1.6 GB


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, default=2)
    parser.add_argument("--cores", type=int, default=10**6, help="run so many of the example's")
    options = parser.parse_args()
    table = Table(title="SANA-FE, and counted here", box=None)
    for name in ("network", "neuron-steps", "differ", *ROWS):
        table.add_column(name)
    for name, make in networks.NETWORKS.items():
        table.add_row(name, *_whole(make(), CORES.get(name, 4), options.images))
    table.add_row("ResNet-20", *_in_parts(options.images, options.cores))
    Console(width=200).print(table)


def _whole(graph: sd.SpikingGraph, neurons: int, number: int) -> list[str]:
    """Verify a network on cores of so few neurons that its messages cross the mesh."""
    program = networks.program(graph, sd.exits.Confidence(0.8), "speculative")
    with tempfile.TemporaryDirectory() as name:
        bundle = Path(name) / "sanafe"
        bundle.mkdir()
        write("sanafe", program, bundle, chip=str(networks.small_chip(Path(name), neurons)))
        report = sd.verify(program, networks.samples(graph, number), "sanafe", bundle=bundle)
    compared = sum(layer.compared for layer in report.layers)
    differ = sum(layer.mismatches + layer.potentials for layer in report.layers)
    return [f"{compared:,}", str(differ), *_pairs(report.measured, report.counted)]


def _pairs(theirs: Any, ours: Any) -> Iterator[str]:
    for name in ROWS:
        a, b = theirs.get(name), ours[name]
        if a is None:
            yield "-"
        elif abs(a - b) <= 1e-9 * abs(b):
            yield f"{b:.6g}, equal"
        else:
            yield f"{a:.6g}, {b:.6g}"


# --- some cores at a time -------------------------------------------------------------------------


def _in_parts(number: int, most: int) -> list[str]:
    program = sd.compile(sd.import_model(EXAMPLE, T=4), sd.exits.Fixed(), precision="int8")
    program = program.for_targets("sanafe")
    images = for_program(program, EXAMPLE.with_name("cifar10_200.npz")).take(0, number)
    wanted = sd.simulate(program, images, record=True, full_trace=True)
    placement = sd.map_to_chip(program, "loihi1")
    groups, found, compared, differ = _groups(placement, most), dict[str, float](), 0, 0
    with tempfile.TemporaryDirectory() as name:
        program.save(Path(name) / "build", targets=["sanafe"])
        parts = _Parts(Path(name) / "build" / "sanafe", images, wanted, placement)
        for place, cores in enumerate(groups):
            began = time.perf_counter()
            neurons, wrong, counts = parts.run(cores)
            compared, differ = compared + neurons, differ + wrong
            found = {key: found.get(key, 0.0) + value for key, value in counts.items()}
            took = time.perf_counter() - began
            print(f"{place + 1} of {len(groups)}: {neurons:,} neuron-steps, {wrong} differ, "
                  f"{took:.0f} s", file=sys.stderr, flush=True)  # fmt: skip
    ours = dict(counted(program, "loihi1", images, True))
    # Nothing decides about exits here, so that there are no tokens.
    ends, (across, along) = tokens(placement)
    ours["messages"] -= number * ends
    ours["hops"] -= number * (across + along)
    ours["network_J"] -= number * run_placed(program, placement, images).token_energy
    return [f"{compared:,}", str(differ), *_pairs(found, ours)]


def _groups(placement: sd.Placement, most: int) -> list[list[int]]:
    """Cores in groups whose synapses are loaded together."""
    groups: list[list[int]] = [[]]
    size = 0
    for core in range(min(most, placement.cores)):
        synapses = placement.loads[core]["synapses"]
        if size + synapses > AT_ONCE:
            groups.append([])
            size = 0
        groups[-1].append(core)
        size += synapses
    return groups


class _Parts:
    """Runs of some cores, which get what all others send as it was simulated."""

    def __init__(
        self, folder: Path, images: np.ndarray, wanted: sd.RunResult, placement: sd.Placement
    ) -> None:
        sys.path.insert(0, str(folder))  # the folder's own code loads and runs it
        import chip
        import files
        import inputs

        self.code = chip
        self.spec, arrays = files.read_bundle(folder, ("seenn-deploy sanafe bundle", 1))
        self.arrays = dict(arrays)
        self.inputs = inputs.Inputs(self.spec, self.arrays, images[:, None])
        self.wanted, self.samples = wanted, len(images)
        # Players are on the cores of what they play, beside the neurons that live there.
        text = (folder / "architecture.yaml").read_text()
        self.architecture = folder / "parts.yaml"
        self.architecture.write_text(text.replace("supported: 1026", "supported: 3072"))
        where = {tuple(place): core for core, place in enumerate(
            (int(x) * placement.mesh[1] + int(y), core % placement.chip.cores_per_tile)
            for core, (x, y) in enumerate(placement.where)
        )}  # fmt: skip
        self.core = [
            np.array([where[int(t), int(c)] for t, c in zip(
                self.arrays[f"{i}/tile"], self.arrays[f"{i}/core"], strict=True)])
            for i in range(len(self.spec["units"]))
        ]  # fmt: skip

    def run(self, cores: list[int]) -> tuple[int, int, dict[str, float]]:
        """Neuron-steps, those that differ, and what was measured."""
        kept = [np.flatnonzero(np.isin(core, cores)) for core in self.core]
        layers = {i: self._layer(i, own) for i, own in enumerate(kept) if len(own)}
        with _silent():
            chip, players = self._made(layers, kept)
            return self._play(chip, layers, players, kept)

    def _layer(self, number: int, own: np.ndarray) -> Any:
        part = {f"{number}/{name}": self.arrays[f"{number}/{name}"][own]
                for name in ("tile", "core", "threshold", "start", "bias", "leak")}  # fmt: skip
        return self.code.Layer(self.spec["units"][number], number, part)

    def _made(self, layers: dict[int, Any], kept: list[np.ndarray]) -> tuple[Any, dict[int, Any]]:
        """The cores' neurons and synapses, and players of all that send to them."""
        sanafe = self.code.sanafe
        architecture, net = sanafe.load_arch(self.architecture), sanafe.Network()
        cores = [tile.cores for tile in architecture.tiles]
        groups = {number: _group(net, layer, cores) for number, layer in layers.items()}
        links = [link for link in self.spec["links"] if link["post"] in layers]
        parts = [self._part(link, kept[link["post"]]) for link in links]
        order = _senders(links, parts)
        players = {pre: self._player(net, pre, order[pre], cores) for pre in order}
        for link, part in zip(links, parts, strict=True):
            # A neuron has one player, whichever layers it sends to: to a core it is one message.
            at = np.searchsorted(order[link["pre"]], part["part/source"])
            told = {**link, "arrays": "part"}
            pre, post = players[link["pre"]], groups[link["post"]]
            self.code._connect(pre, post, told, {**part, "part/source": at})
        chip = sanafe.SpikingChip(architecture)
        chip.load(net)
        mapped = chip.mapped_neuron_groups
        for layer in layers.values():
            layer.mapped = mapped[layer.group]
        return chip, {pre: (mapped[f"player{pre:04}"], order[pre]) for pre in order}

    def _part(self, link: dict[str, Any], own: np.ndarray) -> dict[str, np.ndarray]:
        """The synapses of a link into some neurons of its layer, which are numbered anew."""
        names = ("source", "target", "weight")
        source, target, weight = (self.arrays[f"{link['arrays']}/{name}"] for name in names)
        place = np.full(len(self.core[link["post"]]), -1)
        place[own] = np.arange(len(own))
        mine = place[target] >= 0
        found = source[mine], place[target[mine]], weight[mine]
        return {f"part/{name}": values for name, values in zip(names, found, strict=True)}

    def _player(self, net: Any, unit: int, order: np.ndarray, cores: list[Any]) -> Any:
        """Neurons that cost nothing but their messages, where those that they play live."""
        values = {"threshold": 0.5, "leak_decay": 0.0, "reset_mode": "hard"}
        group = net.create_neuron_group(
            f"player{unit:04}", len(order), values, soma_hw_name="token_soma",
            default_dendrite_hw_name="token_sum",
        )  # fmt: skip
        _map(group, self.arrays[f"{unit}/tile"][order], self.arrays[f"{unit}/core"][order], cores)
        return group

    def _play(
        self, chip: Any, layers: dict[int, Any], players: dict[int, Any], kept: list[np.ndarray]
    ) -> tuple[int, int, dict[str, float]]:
        waves, neurons, wrong = self.samples * self.spec["T"], 0, 0
        found: dict[str, float] = dict.fromkeys(ROWS[:-1], 0.0)
        sent = {pre: np.zeros(len(order), bool) for pre, (_, order) in players.items()}
        for step in range(waves + self.spec["depth"] + 1):
            for number, layer in layers.items():
                self._arrange(layer, self._wave(step, layer.depth), kept[number])
            for pre, (mapped, order) in players.items():
                wave = self._wave(step, self.spec["units"][pre]["depth"])
                now = self._fired(pre, *wave)[order] if wave else np.zeros(len(order), bool)
                for i in np.flatnonzero(now != sent[pre]).tolist():
                    mapped[i].set_attributes(model_attributes={"bias": float(now[i])})
                sent[pre] = now
            ran = chip.sim(1, timing_model="simple", processing_threads=1, perf_trace=True,
                           spike_trace=True, potential_trace=True)  # fmt: skip
            played = sum(int(now.sum()) for now in sent.values())
            for name, value in self._measured(ran, played).items():
                found[name] += value
            n, w = self._compared(ran, step, layers, kept)
            neurons, wrong = neurons + n, wrong + w
        return neurons, wrong, found

    def _wave(self, step: int, depth: int) -> tuple[int, int] | None:
        """Sample and timestep that reach a layer of this depth in a step."""
        wave = step - depth
        inside = 0 <= wave < self.samples * self.spec["T"]
        return divmod(wave, self.spec["T"]) if inside else None

    def _arrange(self, layer: Any, wave: tuple[int, int] | None, own: np.ndarray) -> None:
        if wave is None:
            layer.hold(False)
            return
        sample, t = wave
        fed = t == 0 and layer.name in self.inputs.targets
        layer.go(t == 0, self.inputs.current(layer.name, sample, 1)[own] if fed else None)

    def _measured(self, ran: dict[str, Any], played: int) -> dict[str, float]:
        """What SANA-FE counted in a step, without the players' spikes and updates."""
        trace = ran["perf_trace"]
        names = {name: key for name, key in self.code.MEASURED.items() if name in ROWS[:-1]}
        found = {name: float(np.ravel(trace[key])[-1]) for name, key in names.items()}
        found["spikes"] -= played
        found["updates"] -= played
        return {**found, "messages": float(ran["packets_sent"])}

    def _fired(self, unit: int, sample: int, t: int) -> np.ndarray:
        node = self.spec["units"][unit]["name"].partition(".delay")[0]
        return self.wanted.spikes[node][sample, t].ravel()

    def _compared(
        self, ran: dict[str, Any], step: int, layers: dict[int, Any], kept: list[np.ndarray]
    ) -> tuple[int, int]:
        fired = {layer.group: np.zeros(layer.size, bool) for layer in layers.values()}
        for neuron in ran["spike_trace"][0]:
            fired[neuron.group_name][neuron.neuron_offset] = True
        values, at, neurons, wrong = np.array(ran["potential_trace"][0]), 0, 0, 0
        for number, layer in sorted(layers.items()):
            v = np.rint(64 * values[at : at + layer.size]) - layer.shift
            at += layer.size
            wave, own = self._wave(step, layer.depth), kept[number]
            if wave is None:
                wrong += int(fired[layer.group].sum())
                continue
            neurons += layer.size
            if layer.kind == "readout":
                wrong += int((self.wanted.integer_logits[wave].ravel()[own] != v).sum())
                continue
            wrong += int((self._fired(number, *wave)[own] != fired[layer.group]).sum())
            if layer.kind == "population":
                wrong += int((self.wanted.v[layer.name][wave].ravel()[own] != v).sum())
        return neurons, wrong


def _group(net: Any, layer: Any, cores: list[Any]) -> Any:
    values = {**layer.held(), "reset_mode": "soft" if layer.soft else "hard"}
    group = net.create_neuron_group(
        layer.group, layer.size, values, soma_hw_name="lif", default_dendrite_hw_name="sum",
        log_potential=True, log_spikes=layer.kind != "readout",
    )  # fmt: skip
    _map(group, layer.tile, layer.core, cores)
    return group


def _senders(links: list[Any], parts: list[dict[str, np.ndarray]]) -> dict[int, np.ndarray]:
    """The neurons of each unit that send to the cores, in ascending order."""
    found: dict[int, list[np.ndarray]] = {}
    for link, part in zip(links, parts, strict=True):
        found.setdefault(link["pre"], []).append(part["part/source"])
    return {pre: np.unique(np.concatenate(sources)) for pre, sources in found.items()}


def _map(group: Any, tiles: np.ndarray, places: np.ndarray, cores: list[Any]) -> None:
    for neuron, tile, core in zip(group.neurons, tiles, places, strict=True):
        neuron.map_to_core(cores[tile][core])


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """SANA-FE prints what it does to standard output."""
    sys.stdout.flush()
    kept, nothing = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    with open(os.devnull, "w") as sink, contextlib.redirect_stdout(sink):
        yield
    os.dup2(kept, 1)


if __name__ == "__main__":
    main()
