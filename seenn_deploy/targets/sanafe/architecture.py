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
    """Write the architecture as YAML; with neurons of the host, which get a core on a first tile.

    Spikes of the host come by the tile of core 0, and take it nothing but their messages.
    """
    chip, (width, height) = placement.chip, placement.mesh
    barrier = ", ".join(f"{int(tiles)}: {_s(ns)}" for tiles, ns in chip.time["barrier"])
    cores = _core(f"core[0..{chip.cores_per_tile - 1}]", chip.limits["neurons"], _units(chip))
    hosts = _core("host", host, _free(chip, -(-host // COMPARTMENTS))) if host else []
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
        *_tile("first", chip, [*cores, *hosts]),
    ]
    if width * height > 1:
        lines += _tile(f"tile[1..{width * height - 1}]", chip, cores)
    return "\n".join(lines) + "\n"


def _tile(name: str, chip: Chip, cores: list[str]) -> list[str]:
    head = [f"    - name: {name}", "      attributes:"]
    for axis, ways in (("east_west", ("east", "west")), ("north_south", ("north", "south"))):
        for way in ways:
            head.append(f"        energy_{way}_hop: {_j(chip.energy[f'hop_{axis}'])}")
            head.append(f"        latency_{way}_hop: {_s(chip.time[f'hop_{axis}'])}")
    return [*head, "      core:", *cores]


def _core(name: str, neurons: int, units: list[str]) -> list[str]:
    return [
        f"        - name: {name}",
        "          attributes:",
        "            buffer_position: soma",
        "            buffer_inside_unit: false",
        f"            max_neurons_supported: {neurons + TOKENS}",
        *units,
    ]


_ADDS = {"model": "accumulator", "energy_update": "0.0", "latency_update": "0.0"}
_SOMA = {"access_neuron": "access", "update_neuron": "update", "spike_out": "spike"}
_NOTHING = {
    "model": "leaky_integrate_fire",
    **{f"{what}_{k}": "0.0" for what in ("energy", "latency") for k in _SOMA},
}


def _units(chip: Chip) -> list[str]:
    """The units of a core: axons, synapses by kind, dendrites, somas; and those of tokens."""
    e, t = chip.energy, chip.time
    soma = {
        "model": "leaky_integrate_fire",
        **{f"energy_{k}": _j(e[v]) for k, v in _SOMA.items()},
        **{f"latency_{k}": _s(t[v]) for k, v in _SOMA.items()},
    }
    synapses = {
        kind: _synapse(_j(e[f"synapse_{kind}"]), _s(t[f"synapse_{kind}"])) for kind in KINDS
    }
    return [
        *_axon_in(_s(t["message_in"])),
        *_section("synapse", {**synapses, "token": _synapse("0.0", "0.0")}),
        *_section("dendrite", {"sum": _ADDS, "token_sum": _ADDS}),
        *_section("soma", {"lif": soma, "token_soma": _NOTHING}),
        *_axon_out(_j(e["message"]), _s(t["message_out"])),
    ]


def _free(chip: Chip, units: int) -> list[str]:
    """The units of the host's core: of all that, only the energy of its messages is paid."""
    return [
        *_axon_in("0.0"),
        *_section("synapse", {"none": _synapse("0.0", "0.0")}),
        *_section("dendrite", {f"sum{i}": _ADDS for i in range(units)}),
        *_section("soma", {f"soma{i}": _NOTHING for i in range(units)}),
        *_axon_out(_j(chip.energy["message"]), "0.0"),
    ]


def _axon_in(latency: str) -> list[str]:
    return _section("axon_in", {"in": {"energy_message_in": "0.0", "latency_message_in": latency}})


def _axon_out(energy: str, latency: str) -> list[str]:
    prices = {"energy_message_out": energy, "latency_message_out": latency}
    return _section("axon_out", {"out": prices})


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
