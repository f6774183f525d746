"""Tables for a terminal of 100 columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from seenn_deploy.inspection import LayerInfo
from seenn_deploy.program import Program

if TYPE_CHECKING:
    from seenn_deploy.verify import VerifyReport

WIDTH = 100


def console(stderr: bool = False) -> Console:
    """A console that never prints wider than the tables are laid out for."""
    found = Console(stderr=stderr)
    return (
        found if found.is_terminal and found.width <= WIDTH else Console(stderr=stderr, width=WIDTH)
    )


@contextmanager
def progress(what: str, total: int) -> Iterator[Any]:
    """A progress bar on stderr, shown once a run takes longer than two seconds.

    Yields a function that takes the number of samples just finished.
    """
    bar = Progress(
        TextColumn(what),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console(stderr=True),
        transient=True,
    )
    task = bar.add_task(what, total=total)

    def advance(samples: int) -> None:
        bar.advance(task, samples)
        if (bar.tasks[0].elapsed or 0) > 2 and not bar.live.is_started:
            bar.start()

    bar.start_task(task)
    try:
        yield advance
    finally:
        if bar.live.is_started:
            bar.stop()


def shape_text(shape: Iterable[int]) -> str:
    """Dimensions as 16x32x32."""
    return "x".join(map(str, shape))


def layer_table(program: Program, layers: list[LayerInfo]) -> Table:
    """One line a layer."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("layer", "synapses from", "in", "out"):
        table.add_column(name, no_wrap=True)
    for name in ("neurons", "synapses", "dense MACs", "depth"):
        table.add_column(name, justify="right", no_wrap=True)
    for layer in layers:
        table.add_row(
            layer.name,
            layer.kind,
            shape_text(layer.shape_in),
            shape_text(layer.shape_out),
            f"{layer.neurons:,}" if layer.neurons else "-",
            f"{layer.synapses:,}",
            f"{layer.dense_macs:,}",
            str(layer.depth),
        )
    totals = (sum(getattr(x, key) for x in layers) for key in ("neurons", "synapses", "dense_macs"))
    depth = program.graph.depth[program.graph.readout.name]
    table.add_row("total", "", "", "", *(f"{n:,}" for n in totals), f"D={depth}", style="bold")
    return table


def rule_text(rule: Mapping[str, Any]) -> str:
    """An exit rule as ``confidence(alpha=0.9)``."""
    parameters = ", ".join(f"{k}={v}" for k, v in rule.items() if k != "rule")
    return f"{rule['rule']}({parameters})" if parameters else str(rule["rule"])


def facts_table(rows: Iterable[tuple[str, str]]) -> Table:
    """Name and value, one a line."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, value)
    return table


def run_rows(summary: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Lines of a simulation's report."""
    yield "samples", f"{summary['samples']:,}"
    if summary["accuracy"] is not None:
        yield "accuracy", f"{100 * summary['accuracy']:.2f} %"
    yield "mean exit step", f"{summary['mean_exit_step']:.3f} of {len(summary['exit_histogram'])}"
    yield "exits", histogram_text(summary["exit_histogram"])
    yield "AC per sample", f"{summary['ac_per_sample']:,.0f}"
    yield "MAC per sample", f"{summary['mac_per_sample']:,.0f}"
    yield "spikes per sample", f"{summary['spikes_per_sample']:,.0f}"
    yield (
        "energy per sample",
        (f"{summary['energy_uJ_per_sample']:.3f} uJ (cost model {summary['cost_model']})"),
    )
    yield from _ann_rows(summary)
    if "schedule" in summary:
        yield from _schedule_rows(summary)


def _ann_rows(summary: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The same network as an ANN, and the policy network's share."""
    snn, bits = summary["energy_uJ_per_sample"], summary["quantized_ann_bits"]
    for name, key in (("dense", "dense_ann"), (f"{bits}-bit", "quantized_ann")):
        energy = summary[f"{key}_energy_uJ"]
        times = f" ({energy / snn:.1f} times as much)" if energy is not None and snn else ""
        text = "not priced by this cost model" if energy is None else f"{energy:.3f} uJ{times}"
        yield f"the same as a {name} ANN", text
    if summary["policy_mac"]:
        energy, share = summary["policy_energy_uJ_per_sample"], summary["policy_energy_share"]
        paid = "not priced" if energy is None else f"{energy:.3f} uJ, {100 * share:.1f} % of all"
        of_dense = f"{100 * summary['policy_mac_share']:.3f} % of the ANN's MACs"
        yield "policy network", f"{summary['policy_mac']:,} MAC ({of_dense}); {paid}"


def _schedule_rows(summary: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Hardware steps under the schedule, and what it wastes."""
    steps, interval = summary["latency_steps"], summary["initiation_interval_steps"]
    how = f"{summary['schedule']}, D={summary['depth']}"
    yield "latency", f"{steps:.2f} hardware steps, a sample every {interval:.2f} ({how})"
    share, energy = summary["wasted_share"], summary["wasted_energy_uJ_per_sample"]
    if share is None:
        yield "wasted work", "steps behind the exit did not run: add --full-trace"
    else:
        yield "wasted work", f"{100 * share:.1f} % of all operations, {energy:.3f} uJ a sample more"


def histogram_text(histogram: Mapping[str, int]) -> str:
    """Exits at each step with their share."""
    total = max(sum(histogram.values()), 1)
    return "   ".join(f"t={t}: {n} ({100 * n / total:.1f} %)" for t, n in histogram.items())


def device_rows(summary: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Lines of a device run's report."""
    yield "samples", f"{summary['samples']:,}"
    if summary["accuracy"] is not None:
        yield "accuracy", f"{100 * summary['accuracy']:.2f} %"
    yield "mean exit step", f"{summary['mean_exit_step']:.3f} of {len(summary['exit_histogram'])}"
    yield "exits", histogram_text(summary["exit_histogram"])
    yield "hardware steps per sample", f"{summary['hardware_steps_per_sample']:.2f}"


def verify_tables(report: VerifyReport) -> Iterator[Table]:
    """How a device compares with the simulator: layer by layer, then the verdict."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("layer", no_wrap=True)
    for name in ("neuron-steps", "differing spikes", "ties", "their consequences", "mismatches"):
        table.add_column(name, justify="right", no_wrap=True)
    for layer in report.layers:
        counts = (layer.mismatching, layer.ties, layer.consequences, layer.mismatches)
        style = "red" if layer.mismatches else None
        table.add_row(layer.name, f"{layer.compared:,}", *map(str, counts), style=style)
    yield table
    yield facts_table(_verdict(report))


def _verdict(report: VerifyReport) -> Iterator[tuple[str, str]]:
    yield "", ""
    for d in report.first_differences[:5]:
        where = f"sample {d.sample}, step {d.step}, {d.layer}{list(d.neuron)}"
        yield (
            d.kind,
            f"{where}: {d.distance:.2e} from the threshold, rounding explains {d.bound:.2e}",
        )
    exits = ", ".join(f"{a}" if a == b else f"{a} (device {b})" for a, b in report.exit_steps[:16])
    yield "exit steps", exits + (", .." if len(report.exit_steps) > 16 else "")
    yield "largest logit difference", f"{report.max_logit_difference:.2e}"
    yield "wrong logits", str(report.wrong_logits)
    steps = sum(report.hardware_steps) / max(len(report.hardware_steps), 1)
    yield "hardware steps per sample", f"{steps:.2f}"
    yield f"seconds on {report.device}", f"{report.device_seconds:.1f}"
    yield "verdict", _verdict_text(report)


def _verdict_text(report: VerifyReport) -> str:
    if report.exact:
        return f"{report.device} equals the simulator, spike for spike"
    if report.ok:
        return f"{report.device} equals the simulator but for proven rounding ties"
    return f"{report.device} DIFFERS from the simulator"
