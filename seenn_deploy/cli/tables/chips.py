"""Tables of a program on a chip."""

from __future__ import annotations

from collections.abc import Iterator

from seenn_deploy.cli.tables.layout import Table, numbers_table
from seenn_deploy.compiler.mapping.placement import RESOURCES, Placement

_SHORT = dict(zip(RESOURCES, ("neurons", "in", "out", "synapses"), strict=True))


def layer_table(placement: Placement) -> Table:
    """One line per layer: what it takes of how many cores, and what keeps it from taking fewer."""
    table = numbers_table("layer", "cores", "neurons", "delays", "in", "out", "KiB", "binds")
    for layer in placement.layers:
        binds = layer["binds"]
        table.add(
            layer["layer"],
            f"{layer['cores']:,}",
            f"{layer['neurons']:,}",
            f"{layer['delay_neurons']:,}",
            f"{layer['input_axons']:,}",
            f"{layer['output_axons']:,}",
            f"{layer['synapse_bits'] / 8192:,.1f}",
            f"{_SHORT[binds]} {100 * layer['fullest'][binds]:.0f} %",
        )
    return table


def facts(placement: Placement) -> Iterator[tuple[str, str]]:
    """The whole network, and what the columns mean."""
    chip, busiest = placement.chip, placement.busiest
    yield "chip", f"{chip.name}: {chip.cores} cores"
    used = f"{placement.cores:,}"
    yield "cores", used if placement.chips == 1 else f"{used}, on {placement.chips:,} chips"
    limits = (f"{chip.limits[r]:,} {r.replace('_', ' ')}" for r in RESOURCES if r in chip.limits)
    yield (
        "a core has",
        f"{', '.join(limits)}; {chip.shared_axons:,} axons can be shared by channels",
    )
    if missing := [r.replace("_", " ") for r in RESOURCES if r not in chip.limits]:
        yield "not checked", f"{', '.join(missing)}: nobody has published how many there are"
    work = placement.loads[busiest]["synapses"]
    yield "busiest core", f"number {busiest}, {work:,} synapses"
    yield (
        "columns",
        "in and out: input axons, output axon slots; KiB: synapse memory; delays: neurons of "
        "delay lines; binds: of the layer's fullest core, what is nearest to its limit",
    )
    if told := placement.too_large:
        yield "too large", told
