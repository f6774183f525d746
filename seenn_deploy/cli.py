"""The command line: arguments in, one function call, a table out.

Heavy imports happen inside the commands, so that ``seenn --help`` answers at once.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from seenn_deploy import __version__
from seenn_deploy.errors import SeennError
from seenn_deploy.loss_report import LossReport, RefusedError
from seenn_deploy.training.commands import train

if TYPE_CHECKING:
    from seenn_deploy.data import ImageSet
    from seenn_deploy.exits import ExitRule
    from seenn_deploy.graph import SpikingGraph
    from seenn_deploy.precision_report import PrecisionReport
    from seenn_deploy.program import Program
    from seenn_deploy.simulator.result import RunResult

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
F = TypeVar("F", bound=Callable[..., Any])


@click.group(context_settings=CONTEXT)
@click.version_option(__version__, prog_name="seenn")
def seenn() -> None:
    """Compile, simulate and deploy early-exit spiking networks (SEENN).

    \b
    Examples:
      seenn compile model.pth --target lava -o build/
      seenn inspect build/
      seenn simulate build/ --data images.npz
      seenn sweep build/ --data images.npz --keep-accuracy 0.5 --out sweep/
      seenn verify build/ --device lava --data images.npz --limit 2
    """


# --- options that several commands share -------------------------------------------------------


def _numbers(_: click.Context, __: click.Parameter, text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise click.BadParameter(
            f"{text!r}: give numbers with commas, e.g. 0.49,0.48,0.45"
        ) from None


def _size(_: click.Context, __: click.Parameter, text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    try:
        height, width = (int(n) for n in text.split("x")) if "x" in text else (int(text),) * 2
    except ValueError:
        raise click.BadParameter(f"{text!r}: give HEIGHTxWIDTH, e.g. 32x32") from None
    return height, width


def _joules(_: click.Context, __: click.Parameter, text: str | None) -> float | None:
    """An energy: 20uJ, 1.5 mJ, 3e-5 (joules)."""
    if text is None:
        return None
    found = re.fullmatch(r"\s*([0-9.eE+-]+)\s*([pnuµm]?)J?\s*", text)
    factors = {"": 1.0, "m": 1e-3, "u": 1e-6, "µ": 1e-6, "n": 1e-9, "p": 1e-12}
    try:
        return float(found[1]) * factors[found[2]] if found else float("bad")
    except ValueError:
        raise click.BadParameter(f"{text!r}: give joules, e.g. 20uJ, 1.5mJ or 3e-5") from None


def _together(*options: Callable[[F], F]) -> Callable[[F], F]:
    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


_FOLDER = click.argument("build", type=click.Path(path_type=Path))
_JSON = click.option(
    "--json", "json_file", type=click.Path(path_type=Path), help="Write the figures to this file."
)
_DEVICE_COMMAND = click.option(
    "--device-command", help="Runs the device instead, e.g. over ssh; see seenn verify --help."
)
_MEAN_STD = _together(
    click.option(
        "--mean", callback=_numbers, help="Normalisation, one number a channel: 0.5,0.5,.."
    ),
    click.option("--std", callback=_numbers, help="Belongs to --mean."),
)
_RULE_OPTIONS = _together(
    click.option("--exit", "exit_name",
                 help="Exit rule: fixed, confidence, entropy, margin, conformal."),
    click.option("--alpha", type=float, help="Confidence to exceed, in (0, 1]."),
    click.option("--theta", type=float, help="1 - entropy / ln M to exceed, in [0, 1]."),
    click.option("--beta", callback=_numbers,
                 help="Margin of the logits to exceed: one number, or one a timestep with commas."),
    click.option("--exit-file", type=click.Path(path_type=Path),
                 help="Exit rule from a file of `seenn calibrate` or `seenn sweep`."),
    click.option("--policy", type=click.Path(path_type=Path),
                 help="SEENN-II: the policy.onnx of `seenn train policy`."),
)  # fmt: skip


def _RULE(function: F) -> F:
    """The options of an exit rule; the command gets the rule, or None without any, as `rule`."""

    @wraps(function)
    def command(
        exit_name: str | None, exit_file: Path | None, alpha: float | None, theta: float | None,
        beta: tuple[float, ...] | None, policy: Path | None, **options: Any,
    ) -> Any:  # fmt: skip
        one_beta = beta[0] if beta and len(beta) == 1 else beta
        numbers = {"alpha": alpha, "theta": theta, "beta": one_beta, "policy": policy}
        given = {name: value for name, value in numbers.items() if value is not None}
        return function(rule=_rule(exit_name, exit_file, given), **options)

    return _RULE_OPTIONS(cast(F, command))


_DATA = _together(
    click.option(
        "--data", required=True, type=click.Path(path_type=Path),
        help="Images: .npz with x (and y), .npy, or a folder with one subfolder a class.",
    ),
    click.option("--limit", type=click.IntRange(min=1), help="Only the first LIMIT images."),
    _MEAN_STD,
)  # fmt: skip


# --- commands ----------------------------------------------------------------------------------


@seenn.command("compile")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="Output folder.")
@click.option("--target", multiple=True, help="Also write what this target takes: lava, nir.")
@_RULE
@click.option("--precision", default="float32", show_default=True)
@click.option("--schedule", default="speculative", show_default=True,
              help="pipelined, speculative or gated.")  # fmt: skip
@click.option("-T", "--timesteps", "T", type=int, help="Default: 4, of converted networks 16.")
@click.option("--tau", type=float, help="Leak of the LIF neurons; default: 0.5.")
@click.option("--threshold", "v_threshold", type=float, help="Of the LIF neurons; default: 1.")
@click.option("--comparison", type=click.Choice([">", ">="]),
              help="'>=' for networks trained with dspike=True; default: '>'.")  # fmt: skip
@click.option(
    "--dt",
    type=float,
    help="NIR: a timestep in the file's unit of time; by default where R dt / tau is 1.",
)
@click.option(
    "--integration",
    type=click.Choice(["euler", "exact"]),
    help="NIR: how its differential equations become timesteps; default: euler.",
)
@click.option("--reset", type=click.Choice(["hard", "soft"]),
              help="NIR: the file cannot say; default: hard, to zero.")  # fmt: skip
@click.option("--input-size", callback=_size, help="HEIGHTxWIDTH; 32x32, or from the classifier.")
@click.option("--coding", type=click.Choice(["direct", "events"]), help="By architecture.")
@click.option("--step-us", type=float,
              help="Event recordings: microseconds a timestep; what comes after the T-th is not "
              "seen. Default: T equal parts.")  # fmt: skip
@click.option("--count-events", "counts_events", is_flag=True,
              help="Event recordings: values are numbers of events, not 0 and 1.")  # fmt: skip
@_MEAN_STD
@click.option("--no-normalize", is_flag=True, help="The program takes normalised input as it is.")
@click.option("--calibration", type=click.Path(path_type=Path),
              help="Images on which int8 is compared with float32, layer by layer.")  # fmt: skip
@click.option("--strict", is_flag=True,
              help="Refuse what import or target can only approximate.")  # fmt: skip
@_JSON
def compile_command(
    model: Path,
    out: Path,
    target: tuple[str, ...],
    rule: ExitRule | None,
    precision: str,
    schedule: Any,
    no_normalize: bool,
    calibration: Path | None,
    strict: bool,
    json_file: Path | None,
    **options: Any,
) -> None:
    """Compile a trained checkpoint into a program, and for a target.

    MODEL is a state_dict saved by SEENN's training script (.pth, .pt) or the same as .safetensors;
    ResNet, VGG, VGGSNN and the networks of its conversion code are recognised from their tensors.
    Or a graph of the Neuromorphic Intermediate Representation (.nir).
    What the file cannot say has SEENN's defaults: T, leak, threshold, CIFAR-10's mean and std for
    three channels.

    \b
    Examples:
      seenn-compile model.pth -o build/
      seenn-compile model.pth --target lava --exit confidence --alpha 0.9 -o build/
      seenn-compile dspike.pth --comparison '>=' -T 2 -o build/
      seenn-compile events.nir -T 300 --step-us 1000 --count-events -o build/
      seenn-compile model.pth --precision int8 --calibration images.npz --target lava -o build/
    """
    import seenn_deploy as sd
    from seenn_deploy.folders import check_ours

    check_ours(out)
    if calibration and precision == "float32":
        raise SeennError("--calibration compares int8 with float32; add --precision int8")
    rule = rule or sd.exits.Confidence(0.9)
    with _refusal_into(json_file):
        graph = sd.import_model(model, strict=strict, **_given(no_normalize, options))
    program = sd.compile(graph, rule, precision=precision, schedule=schedule)
    changes = _compare_with_float(graph, program, calibration) if calibration else None
    with _refusal_into(json_file, program):
        program.save(out, targets=target, strict=strict)
    _print_compiled(program, out, target)
    _print_quantized(program, changes)
    _write_json(json_file, _compiled_summary(program, _export_reports(out, target)))


@seenn.command("convert")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="Output folder.")
@click.option("--target", multiple=True, help="Also write what this target takes: lava, nir.")
@_RULE
@click.option("--precision", default="float32", show_default=True)
@click.option("--schedule", default="speculative", show_default=True,
              help="pipelined, speculative or gated.")  # fmt: skip
@click.option("-T", "--timesteps", "T", type=int, help="Default: 16.")
@click.option("--calibrate", "calibration", type=click.Path(path_type=Path),
              help="Images for the thresholds of an ONNX model; 128 are used.")  # fmt: skip
@click.option("--percentile", type=float,
              help="Threshold: this percentile of activations; default: 99.9.")  # fmt: skip
@click.option("--input-size", callback=_size, help="HEIGHTxWIDTH of a checkpoint's images; 32x32.")
@_MEAN_STD
@click.option("--no-normalize", is_flag=True, help="The program takes normalised input as it is.")
@click.option("--strict", is_flag=True,
              help="Refuse what import or target can only approximate.")  # fmt: skip
@_JSON
def convert_command(
    model: Path,
    out: Path,
    target: tuple[str, ...],
    rule: ExitRule | None,
    precision: str,
    schedule: Any,
    no_normalize: bool,
    strict: bool,
    json_file: Path | None,
    **options: Any,
) -> None:
    """Convert a trained ANN into a spiking program of IF neurons.

    MODEL is a state_dict of SEENN's conversion code (QCFS activations with learned thresholds), or
    an ONNX file with Relu or Clip activations.

    \b
    Examples:
      seenn convert qcfs_resnet20.pth -T 16 --exit confidence --alpha 0.99 -o build/
      seenn convert ann.onnx --calibrate train.npz --mean 0.5,0.5,0.5 --std 0.2,0.2,0.2 -o build/
    """
    import seenn_deploy as sd
    from seenn_deploy.folders import check_ours

    check_ours(out)
    rule = rule or sd.exits.Confidence(0.9)
    given = _given(no_normalize, options)
    with _refusal_into(json_file):
        program = sd.convert(
            model, rule, precision=precision, schedule=schedule, strict=strict, **given
        )
    with _refusal_into(json_file, program):
        program.save(out, targets=target, strict=strict)
    _print_compiled(program, out, target)
    _write_json(json_file, _compiled_summary(program, _export_reports(out, target)))


@seenn.command("inspect")
@_FOLDER
@_JSON
def inspect_command(build: Path, json_file: Path | None) -> None:
    """Print one line a layer: synapses, shapes, neurons, dense MACs, depth.

    Synapses that take timesteps are marked t-1, t-2, ..; those that close a loop also say so.

    \b
    Example:
      seenn inspect build/
    """
    import seenn_deploy as sd
    from seenn_deploy import reports

    program = sd.Program.load(build)
    layers = sd.inspect(program)
    reports.console().print(reports.layer_table(program, layers), "")
    reports.console().print(reports.facts_table(reports.neuron_rows(layers)))
    _write_json(json_file, {"layers": [asdict(layer) for layer in layers]})


@seenn.command("simulate")
@_FOLDER
@_DATA
@_RULE
@click.option("--cost", default="paper", show_default=True, help="Cost model, or a file with one.")
@click.option("--first-layer", type=click.Choice(["once", "every_step"]), default="once",
              show_default=True, help="How often the image's MACs count.")  # fmt: skip
@click.option("--schedule", help="pipelined, speculative or gated; default: the program's own.")
@click.option("--full-trace", is_flag=True, help="Run every sample to T.")
@click.option("--threads", type=click.IntRange(min=1), help="Default: all cores.")
@click.option("--out", type=click.Path(path_type=Path), help="Write results here as they come.")
@click.option("--resume", is_flag=True, help="Go on with an --out folder that was cut off.")
@_JSON
def simulate_command(
    build: Path,
    data: Path,
    limit: int | None,
    mean: tuple[float, ...] | None,
    std: tuple[float, ...] | None,
    rule: ExitRule | None,
    cost: str,
    first_layer: Any,
    schedule: Any,
    full_trace: bool,
    threads: int | None,
    out: Path | None,
    resume: bool,
    json_file: Path | None,
) -> None:
    """Run images through the event-driven simulator: accuracy, exits, operations, energy.

    \b
    Examples:
      seenn simulate build/ --data images.npz
      seenn simulate build/ --data images/ --exit confidence --alpha 0.99 --json out.json
      seenn simulate build/ --data images.npz --out run/ --resume
    """
    import seenn_deploy as sd
    from seenn_deploy import costs, reports, schedules

    _check_resume(resume, out, "--out")
    program = _program(build, rule)
    program = program.with_schedule(schedule) if schedule else program
    costs.load(cost)
    images = _images(program, data, limit, mean, std)
    with reports.progress("simulating", len(images)) as advance:
        run = sd.simulate(
            program, images, first_layer=first_layer, threads=threads, progress=advance,
            full_trace=full_trace or schedule == "speculative", out=out, resume=resume,
        )  # fmt: skip
    summary = run.summary(cost) | schedules.summary(program, run, cost)
    reports.console().print(reports.facts_table(reports.run_rows(summary)))
    _write_json(json_file, summary)


@seenn.command("sweep")
@_FOLDER
@_DATA
@click.option("--rules", default="confidence,entropy,margin,conformal", show_default=True)
@click.option("--thresholds", type=int, default=1000, show_default=True, help="At most, a rule.")
@click.option("--keep-accuracy", type=float,
              help="Cheapest threshold at most so many points below running to T.  [default: 0.5, "
              "without --energy-budget]")  # fmt: skip
@click.option("--energy-budget", callback=_joules,
              help="Most accurate threshold within this energy a sample: 20uJ.")  # fmt: skip
@click.option("--cost", default="paper", show_default=True, help="Cost model, or a file with one.")
@click.option("--schedule", help="speculative or gated; default: the program's own.")
@click.option("--split", type=float, default=0.5, show_default=True,
              help="Share of the images to choose on; the others are reported.")  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True, help="Of split and bootstrap.")
@click.option("--threads", type=click.IntRange(min=1), help="Default: all cores.")
@click.option("--out", type=click.Path(path_type=Path),
              help="Folder for sweep.json, sweep.csv, sweep.png and rule.json.")  # fmt: skip
@click.option("--run", "run_folder", type=click.Path(path_type=Path),
              help="Keep the run itself here, written as it comes.")  # fmt: skip
@click.option("--resume", is_flag=True, help="Go on with, or use, the run in --run.")
@_JSON
def sweep_command(
    build: Path,
    data: Path,
    limit: int | None,
    mean: tuple[float, ...] | None,
    std: tuple[float, ...] | None,
    threads: int | None,
    out: Path | None,
    run_folder: Path | None,
    resume: bool,
    json_file: Path | None,
    **options: Any,
) -> None:
    """Every threshold of every exit rule from one run; the one to use for an accuracy or energy.

    \b
    Examples:
      seenn sweep build/ --data images.npz --out sweep/
      seenn sweep build/ --data images.npz --keep-accuracy 1
      seenn sweep build/ --data images.npz --energy-budget 20uJ --schedule gated
      seenn sweep build/ --data images.npz --run run/ --resume
    """
    import seenn_deploy as sd
    from seenn_deploy import reports
    from seenn_deploy.sweeps.report import RULE

    program = _program(build, None)
    images = _images(program, data, limit, mean, std)
    _check_sweep(program, images, out, options)
    _check_resume(resume, run_folder, "--run")
    run = _full_run(program, images, threads, run_folder, resume)
    report = sd.sweep(run, program, **options)
    if out is not None:
        report.save(out)
    console = reports.console()
    console.print(reports.facts_table(reports.sweep_rows(report)), "")
    console.print(reports.sweep_table(report), "")
    model = program.graph.provenance.get("source", "MODEL")
    notes = reports.sweep_notes(report, model, str(out / RULE) if out else "")
    console.print(reports.facts_table(notes))
    _write_json(json_file, report.summary())


@seenn.command("evaluate")
@_FOLDER
@_DATA
@click.option("--thresholds", callback=_numbers, default="0.5,0.6,0.7,0.8,0.9,0.95,0.99,0.999",
              show_default=True, help="Of SEENN-I's confidence.")  # fmt: skip
@click.option("--cost", default="paper", show_default=True, help="Cost model, or a file with one.")
@click.option("--threads", type=click.IntRange(min=1), help="Default: all cores.")
@_JSON
def evaluate_command(
    build: Path,
    data: Path,
    limit: int | None,
    mean: tuple[float, ...] | None,
    std: tuple[float, ...] | None,
    thresholds: tuple[float, ...],
    cost: str,
    threads: int | None,
    json_file: Path | None,
) -> None:
    """SEENN's table: accuracy at every t, earliest timesteps, SEENN-I, and SEENN-II with a policy.

    \b
    Example:
      seenn evaluate build/ --data images.npz --thresholds 0.8,0.9,0.99
    """
    import seenn_deploy as sd
    from seenn_deploy import costs, reports

    program = _program(build, None)
    costs.load(cost)
    images = _images(program, data, limit, mean, std)
    with reports.progress("simulating", len(images)) as advance:
        found = sd.evaluate(
            program, images, thresholds=thresholds, cost=cost, threads=threads, progress=advance
        )
    for part in reports.evaluation_tables(found):
        reports.console().print(part, "")
    _write_json(json_file, found.summary())


@seenn.command("calibrate")
@_FOLDER
@_DATA
@click.option("--rule", required=True, help="confidence, entropy, margin or conformal.")
@click.option("--level", type=float, default=0.9, show_default=True,
              help="Share of the early exits that shall be right.")  # fmt: skip
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path),
              help="File for the rule, for --exit-file.")  # fmt: skip
@click.option("--threads", type=click.IntRange(min=1), help="Default: all cores.")
def calibrate_command(
    build: Path,
    data: Path,
    limit: int | None,
    mean: tuple[float, ...] | None,
    std: tuple[float, ...] | None,
    rule: str,
    level: float,
    out: Path,
    threads: int | None,
) -> None:
    """Fit an exit rule to labelled images that the network was not trained on.

    \b
    Example:
      seenn calibrate build/ --data held_out.npz --rule conformal --level 0.9 -o rule.json
      seenn simulate build/ --data test.npz --exit-file rule.json
    """
    import seenn_deploy as sd
    from seenn_deploy import calibration, reports
    from seenn_deploy.folders import write_json

    calibration.check(rule, level)
    program = _program(build, None)
    images = _images(program, data, limit, mean, std)
    _labels(images)
    run = _full_run(program, images, threads)
    fitted = sd.calibrate(rule, run.logits, run.labels, level, program)
    write_json(out, fitted.to_dict())
    split = replace(run, exit_step=fitted.exit_steps(run.logits))
    rows = [*reports.calibration_rows(fitted, split), ("written", str(out))]
    reports.console().print(reports.facts_table(rows))


@seenn.command("setup-lava")
@click.option("--python", help="A Python 3.10 to use; default: searched for.")
def setup_lava_command(python: str | None) -> None:
    """Make the Lava interpreter: an environment of its own with lava-nc 0.10.0.

    \b
    Example:
      seenn setup-lava
    """
    import seenn_deploy as sd

    found = sd.setup_lava(python=python, progress=lambda line: click.echo(line, err=True))
    click.echo(f"lava-nc {found.lava_version} in {found.python} ({found.how})")


@seenn.command("run")
@_FOLDER
@_DATA
@click.option("--device", default="lava", show_default=True)
@click.option("--full-trace", is_flag=True, help="Run every sample to T.")
@_DEVICE_COMMAND
@click.option("--timeout", type=float, help="Seconds until the device is given up.")
@_JSON
def run_command(
    build: Path,
    data: Path,
    limit: int | None,
    mean: tuple[float, ...] | None,
    std: tuple[float, ...] | None,
    device: str,
    full_trace: bool,
    device_command: str | None,
    timeout: float | None,
    json_file: Path | None,
) -> None:
    """Run images on a device, with early exit.

    \b
    Example:
      seenn run build/ --device lava --data images.npz --limit 4
    """
    import seenn_deploy as sd
    from seenn_deploy import reports

    program = _program(build, None)
    images = _images(program, data, limit, mean, std)
    with reports.progress(f"running on {device}", len(images)) as advance:
        result = sd.run(
            build,
            images,
            device=device,
            full_trace=full_trace,
            timeout=timeout,
            command=device_command,
            progress=advance,
        )
    summary = result.summary()
    reports.console().print(reports.facts_table(reports.device_rows(summary)))
    _write_json(json_file, summary)


@seenn.command("verify")
@_FOLDER
@_DATA
@click.option("--device", default="lava", show_default=True)
@click.option("--full-trace", is_flag=True, help="Compare every step to T, also after the exit.")
@click.option("--schedule", help="pipelined, speculative or gated; default: the bundle's own.")
@_DEVICE_COMMAND
@click.option("--timeout", type=float, help="Seconds until the device is given up.")
@click.option(
    "--report",
    "report_file",
    type=click.Path(path_type=Path),
    help="Write what is printed to this file.",
)
@_JSON
def verify_command(
    build: Path,
    data: Path,
    limit: int | None,
    mean: tuple[float, ...] | None,
    std: tuple[float, ...] | None,
    device: str,
    full_trace: bool,
    schedule: Any,
    device_command: str | None,
    timeout: float | None,
    report_file: Path | None,
    json_file: Path | None,
) -> None:
    """Compare a device with the simulator, spike for spike. Exit code 1 where they differ.

    With --device-command the device is whatever runs there: it gets a tar with the bundle, the
    images and request.json on its standard input and answers with a tar of arrays.

    \b
    Examples:
      seenn verify build/ --device lava --data images.npz --limit 2
      seenn verify build/ --data images.npz --report verify.txt --device-command \\
        "ssh host 'd=$(mktemp -d); tar -xf - -C $d && python3.10 $d/bundle/answer.py'"
    """
    import seenn_deploy as sd
    from seenn_deploy import reports

    program = _program(build, None)
    program = program.with_schedule(schedule) if schedule else program
    images = _images(program, data, limit, mean, std)
    with reports.progress(f"running on {device}", len(images)) as advance:
        report = sd.verify(
            program, images, device=device, bundle=None if schedule else build / device,
            full_trace=full_trace, timeout=timeout, command=device_command, progress=advance,
        )  # fmt: skip
    for part in reports.verify_tables(report):
        reports.console().print(part)
    if report_file is not None:
        reports.write_text(report_file, reports.verify_tables(report))
    _write_json(json_file, report.summary())
    if not report.ok:
        raise SystemExit(1)


seenn.add_command(train)


# --- what the commands share ---------------------------------------------------------------------


_RULE_OF = {"alpha": "confidence", "theta": "entropy", "beta": "margin", "policy": "policy"}


def _rule(name: str | None, file: Path | None, numbers: dict[str, Any]) -> ExitRule | None:
    """The exit rule that the options ask for, if they ask for one."""
    from seenn_deploy import exits

    if file is not None:
        if name or numbers:
            raise SeennError("--exit-file holds the whole exit rule; leave out --exit and numbers")
        return _rule_from(file)
    if name is None and not numbers:
        return None
    name = name or _RULE_OF[next(iter(numbers))]
    for number in numbers:
        if _RULE_OF[number] != name:
            raise SeennError(f"--{number} belongs to exit rule {_RULE_OF[number]}, not to {name}")
    if name == "conformal":
        raise SeennError(
            "exit rule conformal needs calibrated numbers: seenn calibrate BUILD --data SPLIT "
            "--rule conformal -o rule.json, then --exit-file rule.json"
        )
    if name == "policy":
        numbers = {"onnx": numbers["policy"]} if numbers else {}
    try:
        return exits.from_dict({"rule": name, **numbers})
    except ValueError as error:
        raise SeennError(str(error)) from None


def _rule_from(file: Path) -> ExitRule:
    from seenn_deploy import exits

    try:
        return exits.from_dict(json.loads(file.read_text(encoding="utf-8")))
    except OSError as error:
        raise SeennError(f"{file}: {error.strerror}") from None
    except (ValueError, TypeError) as error:
        raise SeennError(f"{file}: not an exit rule ({error})") from None


def _program(build: Path, rule: ExitRule | None) -> Program:
    import seenn_deploy as sd

    program = sd.Program.load(build)
    return program.with_exit(rule) if rule else program


def _images(
    program: Program,
    data: Path,
    limit: int | None,
    mean: tuple[float, ...] | None,
    std: tuple[float, ...] | None,
) -> ImageSet:
    from seenn_deploy.data import for_program

    return for_program(program, data, mean=mean, std=std, limit=limit)


def _given(no_normalize: bool, options: dict[str, Any]) -> dict[str, Any]:
    """What was said on the command line; the rest has the frontend's defaults."""
    given = {name: v for name, v in options.items() if v is not None and v is not False}
    return given | {"normalize": False} if no_normalize else given


def _print_compiled(program: Program, out: Path, targets: tuple[str, ...]) -> None:
    from seenn_deploy import reports

    provenance = program.graph.provenance
    assumed = ", ".join(f"{k}={_short(v)}" for k, v in provenance.get("assumed", {}).items())
    rows = [
        ("network", f"{provenance.get('family', '')} from {provenance.get('source', '')}"),
        ("assumed", assumed),
        *_converted(provenance),
        ("exit rule", reports.rule_text(program.exit_rule.to_dict())),
        ("written", ", ".join([f"{out}/", *(f"{out / target}/" for target in targets)])),
    ]
    reports.console().print(reports.facts_table(rows))
    if "report" in provenance:
        _print_report("import", LossReport.from_dict(provenance["report"]))
    for target, report in _export_reports(out, targets).items():
        _print_report(f"export to {target}", report)


def _print_report(what: str, report: LossReport) -> None:
    from seenn_deploy import reports
    from seenn_deploy.loss_table import loss_table

    reports.console().print(f"\n[bold]{what}[/bold]", loss_table(report), sep="\n")


def _export_reports(out: Path, targets: tuple[str, ...]) -> dict[str, LossReport]:
    """What the targets said about what they wrote, by target."""
    from seenn_deploy.targets import report

    found = {target: report(out / target) for target in targets}
    return {target: r for target, r in found.items() if r is not None}


def _compiled_summary(program: Program, exports: dict[str, LossReport]) -> dict[str, Any]:
    """The figures of a compiled program, for ``--json``."""
    provenance = program.graph.provenance
    found = {"import": provenance.get("report")}
    if exports:
        found["export"] = {target: report.to_dict() for target, report in exports.items()}
    return {
        "program": program.fingerprint,
        "network": provenance.get("family", ""),
        "source": provenance.get("source", ""),
        "assumed": provenance.get("assumed", {}),
        "exit_rule": program.exit_rule.to_dict(),
        "schedule": program.schedule,
        "precision": program.precision,
        "T": program.T,
        "layers": len(program.graph.layers),
        "depth": program.graph.depth[program.graph.readout.name],
        "report": found,
    }


@contextmanager
def _refusal_into(json_file: Path | None, program: Program | None = None) -> Iterator[None]:
    """Write what was found until a refusal, then let the error pass.

    An import is refused before there is a `program`, an export afterwards.
    """
    try:
        yield
    except RefusedError as error:
        if program is None:
            summary: dict[str, Any] = {"report": {"import": error.report.to_dict()}}
        else:
            summary = _compiled_summary(program, {error.target: error.report})
        _write_json(json_file, {"refused": str(error), **summary})
        raise


def _compare_with_float(graph: SpikingGraph, program: Program, images: Path) -> PrecisionReport:
    import seenn_deploy as sd
    from seenn_deploy import reports
    from seenn_deploy.data import for_program
    from seenn_deploy.precision_report import compare_precisions

    reference = sd.compile(graph, program.exit_rule, schedule=program.schedule)
    with reports.console(stderr=True).status("comparing int8 with float32"):
        return compare_precisions(reference, program, for_program(reference, images))


def _print_quantized(program: Program, changes: PrecisionReport | None) -> None:
    from seenn_deploy import reports

    if program.precision != "float32":
        for part in reports.quantized_tables(program, changes):
            reports.console().print(part)


def _converted(provenance: dict[str, Any]) -> list[tuple[str, str]]:
    if "conversion" not in provenance:
        return []
    v = provenance["conversion"]["thresholds"].values()
    return [("converted", f"{len(v)} activations, thresholds {min(v):.4g} to {max(v):.4g}")]


def _short(value: Any) -> str:
    return (
        "x".join(map(str, value))
        if isinstance(value, list) and all(isinstance(v, int) for v in value)
        else str(value)
    )


def _labels(images: ImageSet) -> None:
    """Refuse images without labels before they are run."""
    if images.labels is None:
        raise SeennError("the images have no labels; give `y` in the .npz, or class folders")


def _check_sweep(
    program: Program, images: ImageSet, out: Path | None, options: dict[str, Any]
) -> None:
    """Complete the options, and refuse what a sweep would only refuse after the run."""
    from seenn_deploy import costs
    from seenn_deploy.folders import check_ours
    from seenn_deploy.sweeps import report, sweep

    options["rules"] = [name.strip() for name in options["rules"].split(",") if name.strip()]
    if options["keep_accuracy"] is None and options["energy_budget"] is None:
        options["keep_accuracy"] = 0.5
    costs.load(options["cost"])
    if out is not None:
        check_ours(out, report.MANIFEST, report.FORMAT)
    _labels(images)
    wanted = {k: v for k, v in options.items() if k not in ("cost", "seed")}
    sweep.check(program, len(images), **wanted)


def _check_resume(resume: bool, folder: Path | None, option: str) -> None:
    if resume and folder is None:
        raise SeennError(f"--resume goes on with a run folder; name it with {option}")


def _full_run(
    program: Program,
    images: ImageSet,
    threads: int | None,
    out: Path | None = None,
    resume: bool = False,
) -> RunResult:
    import seenn_deploy as sd
    from seenn_deploy import reports

    with reports.progress("simulating", len(images)) as advance:
        return sd.simulate(
            program, images, full_trace=True, threads=threads, progress=advance, out=out,
            resume=resume,
        )  # fmt: skip


def _write_json(path: Path | None, value: dict[str, Any]) -> None:
    from seenn_deploy.folders import write_json

    if path is not None:
        write_json(path, value)


# --- entry points --------------------------------------------------------------------------------


def main() -> None:
    """The ``seenn`` command."""
    _run(seenn)


def compile_main() -> None:
    """The ``seenn-compile`` command, which is ``seenn compile``."""
    _run(compile_command)


def _run(command: click.Command) -> None:
    """Errors that a user can act on are one line and exit code 2."""
    try:
        code = command.main(standalone_mode=False)
    except SeennError as error:
        _fail(str(error))
    except click.UsageError as error:
        where = error.ctx.command_path if error.ctx else "seenn"
        _fail(f"{error.format_message()} (see {where} --help)")
    except click.Abort:
        _fail("interrupted", 130)
    sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str, code: int = 2) -> None:
    click.echo("error: " + " ".join(message.split("\n")), err=True)
    sys.exit(code)
