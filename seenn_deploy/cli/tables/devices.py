"""Device runs and verifications as tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from seenn_deploy.cli.tables.layout import Table, facts_table, numbers_table, unproven
from seenn_deploy.cli.tables.runs import exit_rows
from seenn_deploy.verification.report import VerifyReport


def device_rows(summary: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the lines of a device run's report."""
    yield from exit_rows(summary)
    yield "hardware steps per sample", f"{summary['hardware_steps_per_sample']:.2f}"
    yield from _notes(summary.get("notes", ()))
    yield from measured_rows(summary.get("measured", {}))


def _notes(notes: Iterable[str]) -> Iterator[tuple[str, str]]:
    for note in notes:
        what, _, told = note.partition(": ")
        yield what, told


_MEASURED = {
    "messages": "messages", "hops": "hops of messages", "tokens": "samples' ends",
    "synapse_events": "synapses read", "updates": "neurons updated", "spikes": "spikes",
    "synapse_J": "energy of synapses, uJ", "neuron_J": "energy of neurons, uJ",
    "network_J": "energy of messages and hops, uJ", "time_s": "time, us",
    "hardware_steps": "hardware steps",
}  # fmt: skip


def measured_rows(measured: Mapping[str, float]) -> Iterator[tuple[str, str]]:
    """Yield what a device that simulates a chip counted, in all hardware steps together."""
    for name, words in _MEASURED.items() if measured else ():
        yield words, _figure(name, measured[name])


def _figure(name: str, value: float) -> str:
    return f"{1e6 * value:,.4f}" if name.endswith(("_J", "_s")) else f"{value:,.0f}"


def measured_table(report: VerifyReport) -> Table:
    """The device's counts beside ours."""
    table = numbers_table("on the chip", report.device, "counted here", "difference")
    for name, words in _MEASURED.items():
        theirs, ours = report.measured[name], report.counted[name]
        rounding = 1e-9 * max(abs(theirs), abs(ours))
        share = 0.0 if abs(theirs - ours) <= rounding else theirs / ours - 1 if ours else 1.0
        told = "0" if not share else f"{100 * share:+.3f} %"
        table.add(words, _figure(name, theirs), _figure(name, ours), told)
    return table


def verify_tables(report: VerifyReport) -> Iterator[Table]:
    """Yield the comparison of a device with the simulator: layer by layer, then the verdict."""
    headings = ("neuron-\nsteps", "differing", "ties", "consequences", "mismatches", "v\ndiffering")
    table = numbers_table("layer", *headings)
    for layer in report.layers:
        ties = (layer.ties, layer.consequences, layer.mismatches)
        counts = (layer.mismatching, *ties, layer.potentials)
        colour = "red" if layer.mismatches or layer.potentials else None
        table.add(layer.name, f"{layer.compared:,}", *map(str, counts), fg=colour)
    yield table
    if report.measured:
        yield measured_table(report)
    yield facts_table(_verdict(report))


def _verdict(report: VerifyReport) -> Iterator[tuple[str, str]]:
    yield "", ""
    yield from unproven(report.not_proven)
    # The first ones tell the cause; --json has them all.
    for d in report.first_differences[:5]:
        where = f"sample {d.sample}, step {d.step}, {d.layer}{list(d.neuron)}"
        values = f"{d.quantity} {d.simulated:g}, on {report.device} {d.device:g}"
        rounding = f"; {d.distance:.2e} from the threshold, rounding explains {d.bound:.2e}"
        yield d.kind, f"{where}: {values}{rounding if d.bound else ''}"
    exits = ", ".join(f"{a}" if a == b else f"{a} (device {b})" for a, b in report.exit_steps[:16])
    yield "exit steps", exits + (", .." if len(report.exit_steps) > 16 else "")
    yield "largest logit difference", f"{report.max_logit_difference:.2e}"
    yield "wrong logits", str(report.wrong_logits)
    if report.policy_scores:
        yield "wrong policy scores", f"{report.wrong_policy_scores} of {report.policy_scores:,}"
    yield "wrong latencies", str(report.wrong_latencies)
    if report.near_exits:
        yield "exits close to the rule's threshold", str(report.near_exits)
    steps = sum(report.hardware_steps) / max(len(report.hardware_steps), 1)
    yield "hardware steps per sample", f"{steps:.2f}"
    yield f"seconds on {report.device}", f"{report.device_seconds:.1f}"
    yield from _notes(report.notes)
    yield "verdict", _verdict_text(report)


def _verdict_text(report: VerifyReport) -> str:
    if report.exact:
        return f"{report.device} equals the simulator, spike for spike"
    if report.ok:
        return f"{report.device} equals the simulator but for proven rounding ties"
    return f"{report.device} DIFFERS from the simulator"
