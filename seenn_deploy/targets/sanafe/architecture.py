"""A chip as SANA-FE's architecture: tiles and cores with the prices of the chip's file.

SANA-FE numbers tiles column by column. What the tokens of samples and spikes of the host need
besides has units of its own, which cost nothing.
"""

from __future__ import annotations

from seenn_deploy.compiler.mapping.chip import Chip
from seenn_deploy.compiler.mapping.placement import Placement
from seenn_deploy.errors import ProgramError

COMPARTMENTS = 1024  # of a soma unit: loihi_max_compartments, src/models.hpp of SANA-FE 2.2.9
LINK_BUFFER = 16  # link_buffer_size, sanafe/examples/loihi.yaml of SANA-FE 2.2.9
TOKENS = 2  # neurons of a core at most that send or take the token of a sample's end
KINDS = ("conv", "sparse", "dense")


def check(chip: Chip) -> None:
    """Raise ProgramError where SANA-FE cannot simulate a chip as its file describes it."""
    if not chip.energy or not chip.time:
        raise ProgramError(
            f"chip {chip.name} has no energies and times of operations, without which SANA-FE "
            "simulates nothing; take loihi1, or a file that has them"
        )
    if chip.limits["neurons"] > COMPARTMENTS:
        raise ProgramError(
            f"chip {chip.name} has {chip.limits['neurons']:,} neurons a core, SANA-FE's soma unit "
            f"{COMPARTMENTS:,}; take loihi1"
        )


def place(placement: Placement, core: int) -> tuple[int, int]:
    """Return the number of a core's tile, and the core's place in it, as SANA-FE counts."""
    column, row = placement.where[core].tolist()
    return column * placement.mesh[1] + row, core % placement.chip.cores_per_tile


def text(placement: Placement, host: int) -> str:
    """Write the architecture as YAML, with room for so many neurons of the host."""
    chip, (width, height) = placement.chip, placement.mesh
    tiles = width * height
    most = chip.limits["neurons"] + TOKENS + host
    barrier = ", ".join(f"{int(tiles)}: {_s(ns)}" for tiles, ns in chip.time["barrier"])
    lines = [
        "architecture:",
        f"  name: {chip.name}",
        "  attributes:",
        "    topology: mesh",
        f"    width: {width}",
        f"    height: {height}",
        f"    link_buffer_size: {LINK_BUFFER}",
        "    sync_model: table",
        f"    latency_sync: {{ {barrier} }}",
        "  tile:",
        f"    - name: tile[0..{tiles - 1}]",
        "      attributes:",
        *_hops(chip),
        "      core:",
        f"        - name: core[0..{chip.cores_per_tile - 1}]",
        "          attributes:",
        "            buffer_position: soma",
        "            buffer_inside_unit: false",
        f"            max_neurons_supported: {most}",
        *_units(chip, -(-host // COMPARTMENTS)),
    ]
    return "\n".join(lines) + "\n"


def _hops(chip: Chip) -> list[str]:
    found = []
    for axis, ways in (("east_west", ("east", "west")), ("north_south", ("north", "south"))):
        for way in ways:
            found.append(f"        energy_{way}_hop: {_j(chip.energy[f'hop_{axis}'])}")
            found.append(f"        latency_{way}_hop: {_s(chip.time[f'hop_{axis}'])}")
    return found


def _units(chip: Chip, hosts: int) -> list[str]:
    """The units of a core: axons, synapses by kind, dendrites, somas; and those that are free."""
    e, t = chip.energy, chip.time
    lif = {
        "model": "leaky_integrate_fire",
        **{f"energy_{k}": _j(e[v]) for k, v in _SOMA.items()},
        **{f"latency_{k}": _s(t[v]) for k, v in _SOMA.items()},
    }
    free = {
        "model": "leaky_integrate_fire",
        **{f"{what}_{k}": "0.0" for what in ("energy", "latency") for k in _SOMA},
    }
    adds = {"model": "accumulator", "energy_update": "0.0", "latency_update": "0.0"}
    synapses = {
        kind: _synapse(_j(e[f"synapse_{kind}"]), _s(t[f"synapse_{kind}"])) for kind in KINDS
    }
    synapses["token"] = _synapse("0.0", "0.0")
    axon_in = {"energy_message_in": "0.0", "latency_message_in": _s(t["message_in"])}
    axon_out = {
        "energy_message_out": _j(e["message"]),
        "latency_message_out": _s(t["message_out"]),
    }
    others = ["token", *(f"host{i}" for i in range(hosts))]
    return [
        *_section("axon_in", {"axons": axon_in}),
        *_section("synapse", synapses),
        *_section("dendrite", {"sum": adds, **{f"{name}_sum": adds for name in others}}),
        *_section("soma", {"lif": lif, **{f"{name}_soma": free for name in others}}),
        *_section("axon_out", {"axons_out": axon_out}),
    ]


_SOMA = {"access_neuron": "access", "update_neuron": "update", "spike_out": "spike"}


def _synapse(energy: str, latency: str) -> dict[str, str]:
    return {
        "model": "current_based",
        "energy_process_spike": energy,
        "latency_process_spike": latency,
    }


def _section(name: str, units: dict[str, dict[str, str]]) -> list[str]:
    lines = [f"          {name}:"]
    for unit, attributes in units.items():
        lines += [f"            - name: {unit}", "              attributes:"]
        lines += [f"                {key}: {value}" for key, value in attributes.items()]
    return lines


def _j(picojoules: float) -> str:
    return f"{picojoules}e-12"


def _s(nanoseconds: float) -> str:
    return f"{nanoseconds}e-9"
