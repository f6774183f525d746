"""Tables for a terminal of 100 columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from io import StringIO
from math import floor, log10
from pathlib import Path
from threading import Timer
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from seenn_deploy.io import folders
from seenn_deploy.ir.inspection import LayerInfo
from seenn_deploy.ir.program import Program

if TYPE_CHECKING:
    from seenn_deploy.evaluation.evaluate import Evaluation, Point
    from seenn_deploy.evaluation.sweep.report import Choice, Estimate, Figures, SweepReport
    from seenn_deploy.exits import ExitRule
    from seenn_deploy.simulator.result import RunResult
    from seenn_deploy.verification.precision import PrecisionReport
    from seenn_deploy.verification.report import VerifyReport

WIDTH = 100
MOST_STEPS = 20  # exits are listed step by step up to here
A_ROW = 4  # of them, at most
BESIDE = 75  # columns right of the names of a report
PATIENCE = 2.0  # seconds without a sign of life


def console(stderr: bool = False) -> Console:
    """A console that never prints wider than the tables are laid out for."""
    found = Console(stderr=stderr)
    return (
        found if found.is_terminal and found.width <= WIDTH else Console(stderr=stderr, width=WIDTH)
    )


def write_text(path: Path, parts: Iterable[Any]) -> None:
    """Write tables as plain text, whole or not at all."""
    text = StringIO()
    plain = Console(file=text, width=WIDTH)
    for part in parts:
        plain.print(part)
    folders.write_file(path, text.getvalue())


@contextmanager
def progress(what: str, total: int) -> Iterator[Any]:
    """A progress bar, see :func:`_late`; yields a function of how many samples just finished."""
    bar = Progress(
        TextColumn(what),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console(stderr=True),
        transient=True,
    )
    task = bar.add_task(what, total=total)
    with _late(bar):
        yield lambda samples: bar.advance(task, samples)


@contextmanager
def working(what: str) -> Iterator[None]:
    """A spinner with the time it takes, see :func:`_late`, for what has no parts to count."""
    columns = SpinnerColumn(), TextColumn(what), TimeElapsedColumn()
    bar = Progress(*columns, console=console(stderr=True), transient=True)
    bar.add_task(what, total=None)
    with _late(bar):
        yield


@contextmanager
def _late(bar: Progress) -> Iterator[None]:
    """Show a bar on a terminal, once what it is for takes longer than `PATIENCE` seconds."""
    timer = Timer(PATIENCE, bar.start)
    timer.daemon = True
    if bar.console.is_terminal:
        timer.start()
    try:
        yield
    finally:
        timer.cancel()
        if timer.ident is not None:
            timer.join()
        if bar.live.is_started:
            bar.stop()


def shape_text(shape: Iterable[int]) -> str:
    """Dimensions as 16x32x32."""
    return "x".join(map(str, shape))


def _numbers(name: str, *headings: str) -> Table:
    """A table of numbers by name; a long name takes several lines, no number is cut."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column(name, overflow="fold")
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def layer_table(program: Program, layers: list[LayerInfo]) -> Table:
    """One line a layer."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("layer", "synapses from"):
        table.add_column(name, overflow="fold")
    for name in ("in", "out"):
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


def neuron_rows(layers: list[LayerInfo], most: int = 4) -> Iterator[tuple[str, str]]:
    """Lines below the layers: each kind of neuron with the layers that have it."""
    kinds: dict[str, list[str]] = {}
    for layer in layers:
        if layer.neurons:
            kinds.setdefault(layer.neuron, []).append(layer.name)
    rows = list(kinds.items())
    for kind, names in rows if len(rows) <= most else rows[: most - 1]:
        yield kind, "all layers" if len(rows) == 1 else _some(names)
    if len(rows) > most:
        yield f"{len(rows) - most + 1} more kinds", "see --json"


def _some(names: list[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (f", .. ({len(names) - most} more)" if names[most:] else "")


# what identifies a program or a policy network, not what a user chose
_UNSHOWN = ("rule", "program", "onnx", "T", "classes", "input_shape", "layers", "sha256")


def rule_text(rule: Mapping[str, Any]) -> str:
    """An exit rule as ``confidence(alpha=0.9)``."""
    shown = {k: _plain(v) for k, v in rule.items() if k not in _UNSHOWN}
    parameters = ", ".join(f"{k}={v}" for k, v in shown.items())
    return f"{rule['rule']}({parameters})" if parameters else str(rule["rule"])


def _plain(value: Any) -> str:
    """A rule's parameter: lists with six digits, None is infinity. No [..], which rich reads."""
    if isinstance(value, list):
        return f"({', '.join('inf' if x is None else f'{x:.6g}' for x in value)})"
    return "inf" if value is None else str(value)


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
        (f"{_uj(summary['energy_uJ_per_sample'])} uJ (cost model {summary['cost_model']})"),
    )
    yield from _ann_rows(summary)
    if "schedule" in summary:
        yield from _schedule_rows(summary)


def _ann_rows(summary: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The policy network's share, and what all of it is beside the same network as an ANN."""
    paid, bits = summary["total_energy_uJ_per_sample"], summary["quantized_ann_bits"]
    if summary["policy_mac"] and paid is not None:
        yield "with the policy network", f"{_uj(paid)} uJ"
    for name, key in (("dense", "dense_ann"), (f"{bits}-bit", "quantized_ann")):
        energy = summary[f"{key}_energy_uJ"]
        times = f" ({_times(energy / paid)} times as much)" if energy is not None and paid else ""
        text = "not priced by this cost model" if energy is None else f"{_uj(energy)} uJ{times}"
        yield f"the same as a {name} ANN", text
    if summary["policy_mac"]:
        energy, share = summary["policy_energy_uJ_per_sample"], summary["policy_energy_share"]
        price = "not priced" if energy is None else f"{_uj(energy)} uJ, {100 * share:.1f} % of all"
        of_dense = f"{100 * summary['policy_mac_share']:.3f} % of the ANN's MACs"
        yield "policy network", f"{summary['policy_mac']:,} MAC ({of_dense}); {price}"


def _schedule_rows(summary: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Hardware steps under the schedule, and what it wastes."""
    steps, interval = summary["latency_steps"], summary["initiation_interval_steps"]
    how = f"{summary['schedule']}, D={summary['depth']}"
    yield "latency", f"{steps:.2f} hardware steps, a sample every {interval:.2f} ({how})"
    share, energy = summary["wasted_share"], summary["wasted_energy_uJ_per_sample"]
    if share is None:
        yield "wasted work", "steps behind the exit did not run: add --full-trace"
    else:
        more = f"{_uj(energy)} uJ a sample more"
        yield "wasted work", f"{100 * share:.1f} % of all operations, {more}"


def _uj(energy: float) -> str:
    """Three decimals, and three digits of small networks."""
    return f"{energy:.3f}" if energy >= 1 or not energy else f"{energy:.3g}"


def _times(ratio: float) -> str:
    """One decimal, and two digits of a small one: never 0.0."""
    return f"{ratio:.1f}" if ratio >= 1 else f"{ratio:.2g}"


def histogram_text(histogram: Mapping[str, int]) -> str:
    """Exits at each step with their share, a few a line; of many steps the quartiles."""
    total = max(sum(histogram.values()), 1)
    taken = [t for t, n in histogram.items() if n]
    if len(taken) == 1:
        return f"all at t={taken[0]}"
    if len(histogram) > MOST_STEPS:
        steps = np.repeat([int(t) for t in histogram], list(histogram.values()))
        names = ("first", "25 % by", "50 % by", "75 % by", "last")
        marks = np.quantile(steps, (0, 0.25, 0.5, 0.75, 1), method="inverted_cdf")
        return ", ".join(f"{name} t={t}" for name, t in zip(names, marks, strict=True))
    shares = [f"t={t}: {n} ({100 * n / total:.1f} %)" for t, n in histogram.items()]
    return "\n".join("   ".join(row) for row in _even_rows(shares, "   "))


def _even_rows(cells: list[str], gap: str) -> list[list[str]]:
    """As few rows as `A_ROW` and `BESIDE` allow, about as long as each other."""
    n = len(cells)
    for count in range(-(-n // A_ROW), n):
        a_row = -(-n // count)
        rows = [cells[i : i + a_row] for i in range(0, n, a_row)]
        if all(len(gap.join(row)) <= BESIDE for row in rows):
            return rows
    return [[cell] for cell in cells]


def quantized_tables(program: Program, changes: PrecisionReport | None) -> Iterator[Table]:
    """Scales and rounding by layer and, of a comparison on images, what they changed."""
    headings = ("scale", "threshold", "largest w", "clipped w", "rounding", "headroom")
    table = _numbers("layer", *headings, *(("changed",) if changes else ()))
    for layer in program.provenance["quantized"]:
        share = changes.spikes_changed.get(layer["name"]) if changes else None
        table.add_row(
            layer["name"],
            f"{layer['scale']:.6g}",
            str(layer["threshold"] or "-"),
            str(layer["largest_weight"]),
            str(layer["clipped_weights"]),
            f"{100 * layer['worst_rounding']:.2f} %",
            f"{layer['headroom_bits']:.1f} bits",
            *(("-" if share is None else f"{100 * share:.3f} %",) if changes else ()),
        )
    yield table
    yield facts_table(_quantized_rows(program, changes))


def _quantized_rows(program: Program, changes: PrecisionReport | None) -> Iterator[tuple[str, str]]:
    open_layers = [
        x["name"] for x in program.provenance["quantized"] if not x["headroom_bits"] >= 0
    ]
    yield "", ""
    yield (
        "overflow",
        (
            f"cannot be excluded in {', '.join(open_layers)}; simulate counts it"
            if open_layers
            else "proven impossible in every layer, for any input in range"
        ),
    )
    if changes:
        saturated = sum(changes.saturated.values())
        yield "compared on", f"{changes.samples:,} images, every timestep to T"
        yield "wrapped or saturated", f"{saturated:,}"
        yield "predictions changed", str(changes.predictions_changed)
        yield "exit steps changed", str(changes.exits_changed)
        yield "decisions near the table's limit", str(changes.near_threshold)


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
    headings = ("neuron-steps", "differing", "ties", "consequences", "mismatches", "v differing")
    table = _numbers("layer", *headings)
    for layer in report.layers:
        ties = (layer.ties, layer.consequences, layer.mismatches)
        counts = (layer.mismatching, *ties, layer.potentials)
        style = "red" if layer.mismatches or layer.potentials else None
        table.add_row(layer.name, f"{layer.compared:,}", *map(str, counts), style=style)
    yield table
    yield facts_table(_verdict(report))


def _verdict(report: VerifyReport) -> Iterator[tuple[str, str]]:
    yield "", ""
    for d in report.first_differences[:5]:
        where = f"sample {d.sample}, step {d.step}, {d.layer}{list(d.neuron)}"
        values = f"{d.quantity} {d.simulated:g}, on {report.device} {d.device:g}"
        rounding = f"; {d.distance:.2e} from the threshold, rounding explains {d.bound:.2e}"
        yield d.kind, f"{where}: {values}{rounding if d.bound else ''}"
    exits = ", ".join(f"{a}" if a == b else f"{a} (device {b})" for a, b in report.exit_steps[:16])
    yield "exit steps", exits + (", .." if len(report.exit_steps) > 16 else "")
    yield "largest logit difference", f"{report.max_logit_difference:.2e}"
    yield "wrong logits", str(report.wrong_logits)
    yield "wrong latencies", str(report.wrong_latencies)
    if report.near_exits:
        yield "exits close to the rule's threshold", str(report.near_exits)
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


def sweep_rows(report: SweepReport) -> Iterator[tuple[str, str]]:
    """Lines above a sweep's table."""
    yield (
        "samples",
        f"{len(report.calibration):,} to choose on, {len(report.report):,} others reported",
    )
    yield "AET", f"{report.aet:.4f}, empirical {report.empirical_aet:.4f}"
    yield "cost model", report.cost
    yield "schedule", f"{report.schedule}, D={report.depth} synapse stages"
    if report.aim:
        yield "chosen", report.aim


def sweep_table(report: SweepReport) -> Table:
    """Fixed timesteps and the chosen thresholds, 95 % intervals in brackets."""
    table = Table(box=None, header_style="bold", pad_edge=False, collapse_padding=True)
    table.add_column("exit", no_wrap=True)
    for name in ("accuracy %", "points to t=T", "mean exit", "energy uJ", "latency"):
        table.add_column(name, justify="right", no_wrap=True)
    for t, fixed in enumerate(report.baselines, start=1):
        table.add_row(f"t={t}", *_figure_cells(fixed.figures))
    table.add_section()
    for name, choice in report.chosen.items():
        value = choice.rule.to_dict()[report.curves[name].parameter]
        style = "bold" if name == report.best else ""
        table.add_row(f"{name} {value:.6g}", *_figure_cells(choice.figures), style=style)
    return table


def _figure_cells(figures: Figures) -> Iterator[str]:
    yield _interval(figures.accuracy, 100, 1)
    yield _interval(figures.accuracy_change, 100, 2)
    yield f"{figures.mean_exit_step.value:.3f}"
    uj = figures.energy.value * 1e6
    digits = sum(uj < border for border in (1000, 100, 1, 1))
    yield _interval(figures.energy, 1e6, digits)
    yield f"{figures.latency_steps.value:.2f}"


def _interval(x: Estimate, factor: float, digits: int) -> str:
    value, low, high = (f"{factor * n:.{digits}f}" for n in (x.value, x.low, x.high))
    return f"{value} [{low}, {high}]"


def sweep_notes(report: SweepReport, command: str, rule_file: str) -> Iterator[tuple[str, str]]:
    """Lines below a sweep's table: which rule, what it wastes, the command to use next."""
    if not report.best:
        return
    choice = report.chosen[report.best]
    yield "use", rule_text(choice.rule.to_dict())
    if report.missed:
        yield "missed", report.missed
    wasted = choice.figures.wasted_energy.value * 1e6
    if wasted > 0:
        total = f"{_uj(wasted + choice.figures.energy.value * 1e6)} in all"
        yield (
            "wasted",
            f"{_uj(wasted)} uJ a sample on top, {total}: injected before the exit is known "
            "(speculative)",
        )
    yield "next", f"{command} {_exit_options(choice, report, rule_file)} -o build/"


_WITH_OPTIONS = ("confidence", "entropy", "margin")  # others come in a file


def _exit_options(choice: Choice, report: SweepReport, rule_file: str) -> str:
    stored = choice.rule.to_dict()
    if stored["rule"] in _WITH_OPTIONS:
        parameter = report.curves[stored["rule"]].parameter
        return f"--exit {stored['rule']} --{parameter} {stored[parameter]}"
    return f"--exit-file {rule_file or 'rule.json (written with --out)'}"


def calibration_rows(rule: ExitRule, run: RunResult) -> Iterator[tuple[str, str]]:
    """Lines of a calibration; `run` is the split under the calibrated rule."""
    T = run.logits.shape[1]
    early = run.exit_step < T
    yield "exit rule", rule_text(rule.to_dict())
    yield "program", rule.program
    yield "samples", f"{len(early):,}"
    yield "exit before T", f"{100 * early.mean():.2f} %"
    if not early.any():
        yield "note", "no threshold reaches the level here, so every sample runs to T"
    else:
        yield "of these right", f"{100 * run.correct[early].mean():.2f} % (on the split itself)"
    yield "mean exit step", f"{run.exit_step.mean():.3f} of {T}"


def evaluation_tables(found: Evaluation) -> Iterator[Table]:
    """SEENN's table: every way to stop, then what the paper states."""
    yield facts_table([
        ("samples", f"{found.samples:,}"),
        ("earliest timesteps", f"AET {found.aet:.4f}, empirical {found.empirical_aet:.4f}"),
    ])  # fmt: skip
    points = [*found.fixed, *found.seenn_1, *([found.seenn_2] if found.seenn_2 else [])]
    yield _point_table([(_point_name(p), p) for p in points], found.cost)
    if found.equal is not None:
        yield _point_table(
            [(f"{_point_name(found.equal)}: as accurate as SEENN-II", found.equal)], found.cost
        )
    yield _published_table(found)


def _point_name(point: Point) -> str:
    names = {"fixed": f"fixed t={point.parameter:.0f}", "SEENN-II": "SEENN-II"}
    return names.get(point.rule, f"SEENN-I alpha={_confidence(point.parameter)}")


def _confidence(alpha: float) -> str:
    """Four digits, and near 1 two of the distance to it: 0.99999 is not 1."""
    digits = 2 - floor(log10(1 - alpha)) if 0.999 < alpha < 1 else 4
    return f"{alpha:.{digits}g}"


def _point_table(rows: Iterable[tuple[str, Point]], cost: str) -> Table:
    table = _numbers("", "accuracy", "mean steps", "SNN uJ", "policy uJ", "total uJ")
    for name, p in rows:
        energies = (p.energy, p.policy_energy, p.total_energy)
        table.add_row(
            name,
            f"{100 * p.accuracy:.2f} %",
            f"{p.mean_exit_step:.3f}",
            *("-" if e is None else f"{1e6 * e:.3f}" for e in energies),
        )
    return table


def _published_table(found: Evaluation) -> Table:
    """What the paper states, beside what was found here."""
    from seenn_deploy.evaluation.evaluate import PUBLISHED

    second, T = found.seenn_2, len(found.accuracy_by_step)
    ours = {
        "accuracy": second.accuracy if second else None,
        "mean_exit_step": second.mean_exit_step if second else None,
        "aet": found.aet,
        "empirical_aet": found.empirical_aet,
    }
    table = _numbers("published", "accuracy", "mean steps", "AET", "empirical AET")
    rows = [(f"this program, T={T}", ours)]
    rows = [(p.what, {k: getattr(p, k) for k in ours}) for p in PUBLISHED] + rows
    for what, figures in rows:
        share = figures["accuracy"]
        others = [figures[k] for k in ("mean_exit_step", "aet", "empirical_aet")]
        table.add_row(
            what,
            "-" if share is None else f"{100 * share:.2f} %",
            *("-" if v is None else f"{v:.4f}" for v in others),
        )
    return table
