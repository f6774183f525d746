"""``seenn sweep`` and ``calibrate``, which choose when samples stop."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import click

from seenn_deploy.cli import options as opt
from seenn_deploy.cli import shared
from seenn_deploy.cli.cluster import DASK, connected

if TYPE_CHECKING:
    from seenn_deploy.evaluation.sweep.report import SweepReport
    from seenn_deploy.io.images.image_set import ImageSet
    from seenn_deploy.ir.program import Program


@click.command("sweep", cls=opt.renaming(thresholds="candidates"))
@opt.FOLDER
@opt.with_data
@click.option("--rules", default="confidence,entropy,margin,conformal", show_default=True)
@click.option("--candidates", type=int, default=1000, show_default=True,
              help="Largest number of exit thresholds to try per rule; they are made from the "
              "images.")  # fmt: skip
@click.option("--keep-accuracy", type=float,
              help="Choose the cheapest threshold whose accuracy is at most so many percentage "
              "points below running to T.  [default: 0.5, without --energy-budget]")  # fmt: skip
@click.option("--energy-budget", callback=opt.joules,
              help="Choose the most accurate threshold within this energy per sample, e.g. "
              "20uJ.")  # fmt: skip
@opt.COST
@click.option(
    "--schedule", help="sequential, speculative, gated or staged.  [default: the program's own]"
)
@click.option("--split", type=float, default=0.5, show_default=True,
              help="Share of the images on which thresholds are chosen; the figures are those of "
              "the others.")  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True,
              help="Seed of the split and of the bootstrap.")  # fmt: skip
@opt.THREADS
@opt.TORCH
@DASK
@click.option("-o", "--out", type=opt.PATH,
              help="Output folder for sweep.json, sweep.csv, sweep.png and rule.json.")  # fmt: skip
@click.option("--run", "run_folder", type=opt.PATH,
              help="Folder that keeps the run itself, sample by sample.")  # fmt: skip
@click.option("--resume", is_flag=True,
              help="Use the run in --run, and finish it where it was cut off.")  # fmt: skip
@click.option("--plot", type=opt.PATH, callback=opt.new_file,
              help="Draw the curves into this PNG or SVG file as well.")  # fmt: skip
@opt.FORCE
@opt.JSON
def sweep_command(
    build: Path,
    data: opt.Data,
    threads: int | None,
    device: str | None,
    dask: str | None,
    out: Path | None,
    run_folder: Path | None,
    resume: bool,
    plot: Path | None,
    force: bool,
    json_file: Path | None,
    **options: Any,
) -> None:
    """Try every threshold of every exit rule, and name the best.

    One run to T gives all figures. The best threshold is the cheapest that keeps the accuracy, or
    the most accurate within an energy budget.

    \b
    Examples:
      seenn sweep build/ --data images.npz --out sweep/
      seenn sweep build/ --data images.npz --keep-accuracy 1
      seenn sweep build/ --data images.npz --energy-budget 20uJ --schedule gated
      seenn sweep build/ --data images.npz --run run/ --resume
    """
    import numpy as np

    import seenn_deploy as sd
    from seenn_deploy.cli import console
    from seenn_deploy.cli.tables import layout, sweeps
    from seenn_deploy.cli.tables.attention import attention_tables
    from seenn_deploy.evaluation import attention
    from seenn_deploy.evaluation.placed.cost import resolved
    from seenn_deploy.evaluation.sweep.plot import plot as draw
    from seenn_deploy.evaluation.sweep.report import RULE

    program = shared.load_program(build, None)
    images = data.open(program)
    _check_sweep(program, images, out, force, options)
    shared.check_resume(resume, run_folder, "--run")
    cost = options["cost"]
    options["cost"] = resolved(cost, program, images, threads)
    # To T, since a threshold that is larger than the program's own asks for later logits.
    with connected(dask) as client:
        run = shared.full_run(program, images, threads, run_folder, resume, client, device)
    report = sd.sweep(run, program, **options)
    if out is not None:
        report.save(out, force)
    if plot is not None:
        draw(report, plot)
    console.show(layout.facts_table(sweeps.sweep_rows(report)), "")
    console.show(sweeps.sweep_table(report, console.width()), "")
    notes = sweeps.sweep_notes(
        report,
        _again(build, program, _followed(report)),
        quote(str(out / RULE)) if out else "",
        f"seenn simulate {quote(str(build))} --data {quote(str(data.path))}",
    )
    console.show(layout.facts_table(notes))
    whole = np.full_like(run.exit_step, program.T)
    ways = attention.compare(program, run, cost, whole)
    console.show(*attention_tables(ways, f"attention, to t = {program.T}"))
    shared.write_json(json_file, report.summary() | attention.summary(ways))


@click.command("calibrate")
@opt.FOLDER
@opt.with_data
@click.option(
    "--rule",
    required=True,
    help="confidence, entropy, margin, conformal, simes, fusion, lookahead, or one of your own.",
)
@click.option("--level", type=float, default=0.9, show_default=True,
              help="Share of the early exits that shall be right; for margin, at "
              "each t.")  # fmt: skip
@click.option("-o", "--out", required=True, type=opt.PATH, callback=opt.new_file,
              help="Output file for the rule, which --exit-file reads.")  # fmt: skip
@opt.THREADS
def calibrate_command(
    build: Path,
    data: opt.Data,
    rule: str,
    level: float,
    out: Path,
    threads: int | None,
) -> None:
    """Fit an exit rule to labelled images held out of training.

    \b
    Example:
      seenn calibrate build/ --data held_out.npz --rule conformal --level 0.9 -o rule.json
      seenn simulate build/ --data test.npz --exit-file rule.json
    """
    import seenn_deploy as sd
    from seenn_deploy.cli import console
    from seenn_deploy.cli.tables import layout, sweeps
    from seenn_deploy.evaluation import calibrate as calibration
    from seenn_deploy.io import folders

    calibration.check(rule, level)
    program = shared.load_program(build, None)
    images = data.open(program)
    shared.need_labels(images)
    run = shared.full_run(program, images, threads)
    fitted = sd.calibrate(rule, run.logits, run.labels, level, program)
    folders.write_json(out, fitted.to_dict())
    # The run went to T, so its logits say where the fitted rule would have stopped.
    split = replace(run, exit_step=run.ended(fitted.exit_steps(run.logits)))
    rows = [*sweeps.calibration_rows(fitted, split), ("written", str(out))]
    console.show(layout.facts_table(rows))


def _followed(report: SweepReport) -> str:
    """Return the schedule of what a sweep says to use: nothing is staged where T is fixed."""
    from seenn_deploy.ir.schedule import STAGED

    fixed = report.best is not None and report.best.rule.known_before
    return "pipelined" if fixed and report.schedule == STAGED else report.schedule


def _again(build: Path, program: Program, schedule: str) -> str:
    """Return the command line that writes a program anew, to be followed by an exit rule."""
    other = [f"--schedule {schedule}"] if schedule != program.schedule else []
    return " ".join(["seenn-compile", quote(str(build)), *other])


def _check_sweep(
    program: Program, images: ImageSet, out: Path | None, force: bool, options: dict[str, Any]
) -> None:
    """Complete the options, and refuse now what the sweep would refuse after the run."""
    from seenn_deploy.evaluation.sweep import report, sweep
    from seenn_deploy.io.folders import check_ours

    options["rules"] = [name.strip() for name in options["rules"].split(",") if name.strip()]
    # Without an aim, the cheapest rule is the one that stops everything at t = 1.
    if options["keep_accuracy"] is None and options["energy_budget"] is None:
        options["keep_accuracy"] = 0.5
    if out is not None:
        check_ours(out, report.FOLDER, force)
    shared.need_labels(images)
    wanted = {k: v for k, v in options.items() if k not in ("cost", "seed")}
    sweep.check(program, len(images), **wanted)
