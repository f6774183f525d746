"""Tables of a program on a chip."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from seenn_deploy.cli.tables.layout import Table, _uj, facts_table, numbers_table
from seenn_deploy.compiler.mapping.placement import RESOURCES, Placement
from seenn_deploy.evaluation.placed.run import TERMS, PlacedRun

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
    if placement.policy_on_host:
        yield "policy network", f"on the host: spikes of {chip.name} carry no values"
    work = placement.loads[busiest]["synapses"]
    yield "busiest core", f"number {busiest}, {work:,} synapses"
    yield (
        "columns",
        "in and out: input axons, output axon slots; KiB: synapse memory; delays: neurons of "
        "delay lines; binds: of the layer's fullest core, what is nearest to its limit",
    )
    if told := placement.too_large:
        yield "too large", told


# --- a run ----------------------------------------------------------------------------------------

MANY = 100_000  # synaptic operations of a step, from which on counts are told in thousands
_COUNTS = ("spikes", "updates", "messages", "hops_east_west", "hops_north_south", "synapses")


def run_tables(run: PlacedRun) -> Iterator[Table | str]:
    """Hardware steps, schedules, and where the energy goes."""
    told = run.summary()
    yield ""
    yield steps_table(run)
    yield ""
    yield schedules_table(run, told)
    if run.placement.chip.energy:
        yield ""
        yield energy_table(told)
    yield ""
    yield facts_table(_run_facts(run, told))


def steps_table(run: PlacedRun) -> Table:
    """One line per hardware step of a sample that is alone on the chip."""
    rows = run.steps.summary()
    unit = 1000 if max(row["synapses"] for row in rows) >= MANY else 1
    digits = 1 if unit > 1 or any(row[name] % 1 for row in rows for name in _COUNTS) else 0
    timed = run.steps.timed
    last: tuple[str, ...] = (
        ("core", "us", "link", "step us") if timed else ("core", "its syn", "link")
    )
    last += () if run.steps.least is None else ("least us",)
    table = numbers_table("step", "spikes", "updates", "mess.", "E-W", "N-S", "syn", *last)
    for row in rows:
        cells = [f"{row[name] / unit:,.{digits}f}" for name in _COUNTS]
        work = row["busiest_core_us" if run.steps.timed else "busiest_core_synapses"]
        cells += [f"{row['busiest_core']}", f"{work:,.1f}"]
        cells += [f"{row['busiest_link_messages'] / unit:,.{digits}f}"]
        if run.steps.timed:
            cells.append(f"{row['time_us']:,.1f}")
        if run.steps.least is not None:
            cells.append(f"{row['least_us']:,.2f}")
        table.add(f"{row['step']}", *cells)
    return table


def schedules_table(run: PlacedRun, told: dict[str, Any]) -> Table:
    """Latency, throughput and energy of a sample under each schedule, the run's own with a star."""
    table = numbers_table(
        "schedule", "steps", "latency us", "a sample every us", "samples/s", "energy uJ"
    )
    for name, figures in told["schedules"].items():
        shown = f"{name} *" if name == run.timing.schedule else name
        if figures is None:
            table.add(shown, "-", "-", "-", "-", "-")
            continue
        energy = figures.get("total_energy_uJ_per_sample")
        timed = "latency_us" in figures
        table.add(
            shown,
            f"{figures['latency_steps']:,.2f}",
            f"{figures['latency_us']:,.1f}" if timed else "not known",
            f"{figures['interval_us']:,.1f}" if timed else "not known",
            f"{figures['samples_per_s']:,.1f}" if timed else "not known",
            "not known" if energy is None else _uj(energy),
        )
    return table


def energy_table(told: dict[str, Any]) -> Table:
    """Microjoules of a sample by what they are spent on, under each schedule."""
    schedules = {name: of for name, of in told["schedules"].items() if of is not None}
    table = numbers_table("uJ per sample", *schedules)
    for term in TERMS:
        table.add(term, *(_uj(of["energy_uJ_per_sample"][term]) for of in schedules.values()))
    for name, key in (("wasted", "wasted"), ("delay lines", "delay_lines")):
        values = (of[f"{key}_energy_uJ_per_sample"] for of in schedules.values())
        table.add(f"of it {name}", *map(_uj, values))
    return table


def _run_facts(run: PlacedRun, told: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What ran, and what the columns mean."""
    yield "samples", f"{told['samples']:,}"
    if run.accuracy is not None:
        yield "accuracy", f"{100 * run.accuracy:.2f} %"
    yield "mean exit step", f"{told['mean_exit_step']:.3f} of {run.T}"
    yield "neurons", f"{run.neurons:,} on all cores, each accessed at every step"
    if told["policy_mac"]:
        yield (
            "policy network",
            f"{told['policy_mac']:,} MAC before each sample; neither priced nor timed",
        )
    chip = run.placement.chip
    if not chip.energy:
        yield "no energy", f"nobody has published what an operation costs on {chip.name}"
    if not chip.time:
        least = (
            "least us: " + ", ".join(f"{value:g} ns per {name}" for name, value in numbers)
            if (numbers := [(name, value) for name, value in chip.bound.items() if value])
            else "its file has no times of them"
        )
        yield (
            "no time",
            f"of {chip.name} a lower bound alone is published (arXiv 2601.10035): a step takes at "
            "least the neurons and synaptic operations of its busiest core, the messages over its "
            f"busiest link, and the barrier; {least}",
        )
    yield "steps", _steps_note(run)
    yield "sequential", "the cores are a pipeline: one timestep after the other is what gated does"
    unit = "; counts in thousands" if max(run.steps.counts["synapses"]) >= MANY else ""
    yield (
        "columns",
        "mess.: messages, one for each core that a spike goes to; E-W, N-S: their hops; syn: "
        "synaptic operations; core: the busiest one; link: messages over the busiest one; means "
        f"over the samples{unit}",
    )


def _steps_note(run: PlacedRun) -> str:
    if run.steps_of(run.timing.schedule)[1] == 1:
        return "of a sample alone on the chip, from its first one to the readout's last"
    return (
        f"of one timestep, the mean over those that run; each takes D + 1 = {run.timing.depth + 1}"
    )
