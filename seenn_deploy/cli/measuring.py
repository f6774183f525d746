"""``seenn simulate`` and ``evaluate``, which measure accuracy and cost."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from seenn_deploy.cli import options as opt
from seenn_deploy.cli.cluster import DASK, connected
from seenn_deploy.cli.shared import check_resume, load_program, write_json
from seenn_deploy.errors import SeennError

if TYPE_CHECKING:
    from seenn_deploy.exits import ExitRule


@click.command("simulate")
@opt.FOLDER
@opt.with_data
@opt.with_rule
@opt.COST
@click.option("--all-costs", is_flag=True,
              help="Print the energy under every cost model, beside that of --cost.")  # fmt: skip
@click.option("--first-layer", type=click.Choice(["once", "every_step"]), default="once",
              show_default=True, help="How often the MACs on the image count: its result is "
              "computed once, and "
              "replayed at every timestep.")  # fmt: skip
@click.option("--schedule", help="sequential, pipelined, speculative, gated or staged.  [default: "
              "the program's own]")  # fmt: skip
@click.option("--full-trace", is_flag=True, help="Run every sample to T, whatever its exit.")
@click.option("--skip-wasted", is_flag=True,
              help="Leave out the timesteps behind the exit that a speculative schedule wastes: "
              "faster, but its energy is then a lower bound.")  # fmt: skip
@opt.THREADS
@opt.TORCH
@DASK
@click.option("-o", "--out", type=opt.PATH,
              help="Output folder of the run, written as results come.")  # fmt: skip
@click.option("--resume", is_flag=True, help="Go on with an --out folder that was cut off.")
@opt.FORCE
@click.option("--plot", type=opt.PATH, callback=opt.new_file,
              help="Draw the exits and the activity of every layer into this PNG.")  # fmt: skip
@opt.PREDICTIONS
@opt.JSON
def simulate_command(
    build: Path,
    data: opt.Data,
    rule: ExitRule | None,
    cost: str,
    all_costs: bool,
    first_layer: Any,
    schedule: Any,
    full_trace: bool,
    skip_wasted: bool,
    threads: int | None,
    device: str | None,
    dask: str | None,
    out: Path | None,
    resume: bool,
    force: bool,
    plot: Path | None,
    predictions: Path | None,
    json_file: Path | None,
) -> None:
    """Simulate images for accuracy, exits, operations and energy.

    The energy is what the schedule spends: the timesteps up to the exit, those that it wastes, and
    the policy network. A table below sets it beside that of the other schedules.

    \b
    Examples:
      seenn simulate build/ --data images.npz
      seenn simulate build/ --data images/ --exit confidence --alpha 0.99 --json out.json
      seenn simulate build/ --data images.npz --schedule gated --out run/ --resume
      seenn simulate build/ --data images.npz --out run/ --dask local:2
      seenn simulate build/ --data images.npz --device cuda
    """
    import seenn_deploy as sd
    from seenn_deploy import costs
    from seenn_deploy.cli import console
    from seenn_deploy.cli import predictions as answers
    from seenn_deploy.cli.tables import costs as cost_tables
    from seenn_deploy.cli.tables import layout
    from seenn_deploy.cli.tables import runs as reports
    from seenn_deploy.cli.tables.attention import attention_tables
    from seenn_deploy.evaluation import activity, attention, conventions
    from seenn_deploy.evaluation.placed.cost import resolved
    from seenn_deploy.evaluation.schedule import summary as schedule_summary

    check_resume(resume, out, "--out")
    if full_trace and skip_wasted:
        raise SeennError("--full-trace runs what --skip-wasted leaves out; give one of them")
    program = load_program(build, rule)
    # It changes what is spent and nothing of what is computed.
    program = program.with_schedule(schedule) if schedule else program
    images = data.open(program)
    priced = resolved(cost, program, images, threads)
    # A folder keeps what the program's own schedule runs; the table alone needs what others waste.
    wasted = False if skip_wasted else None if out else True
    with connected(dask) as client:
        run = sd.simulate(
            program, images, first_layer=first_layer, threads=threads, out=out, resume=resume,
            full_trace=full_trace, wasted=wasted, force=force, client=client, device=device,
        )  # fmt: skip
    ways = attention.compare(program, run, cost)
    summary = (
        run.summary(priced) | schedule_summary(program, run, priced) | attention.summary(ways)
    )  # fmt: skip
    console.show(layout.facts_table(reports.run_rows(summary)), "")
    console.show(*attention_tables(ways))
    console.show(reports.schedule_table(summary), reports.schedule_note(summary))
    if all_costs:
        # A file of the user's stands below those that come with the package.
        own = [cost] if priced is cost and cost not in costs.names() else []
        names = [*costs.names(), *own]
        matrix = conventions.matrix(run, names)
        summary |= {"conventions": matrix.summary()}
        console.show("", *cost_tables.matrix_tables(matrix))
    answers.write(predictions, images, run, run.energy(priced))
    write_json(json_file, summary)
    if plot is not None:
        activity.write(activity.overview(run), plot)


@click.command("evaluate")
@opt.FOLDER
@opt.with_data
@click.option("--thresholds", callback=opt.numbers, default="0.5,0.6,0.7,0.8,0.9,0.95,0.99,0.999",
              show_default=True,
              help="Exit thresholds alpha of SEENN-I's confidence to evaluate (the neurons' firing "
              "threshold is --threshold of seenn compile).")  # fmt: skip
@click.option("--shift", is_flag=True,
              help="Instead of SEENN's table: how confidence is tied to being right, and what "
              "every exit rule does on noisy, blurred, .. images.")  # fmt: skip
@click.option("--rules", help="With --shift: exit rules to calibrate.  [default: confidence,"
              "entropy,margin,conformal,simes,fusion]")  # fmt: skip
@click.option(
    "--level", type=float, help="With --shift: level that they are calibrated for.  [default: 0.95]"
)
@click.option("--split", type=float,
              help="With --shift: share of the images on which they are calibrated.  [default: "
              "0.5]")  # fmt: skip
@click.option("--per-shift", type=click.IntRange(min=1),
              help="With --shift: images per shift.  [default: all others]")  # fmt: skip
@click.option("--seed", type=click.IntRange(min=0),
              help="With --shift: seed of the split and of the noise.  [default: 0]")  # fmt: skip
@click.option("--plot", type=opt.PATH, callback=opt.new_file,
              help="With --shift: draw reliability diagrams and the rules into this "
              "PNG.")  # fmt: skip
@opt.COST
@opt.THREADS
@opt.TORCH
@DASK
@opt.JSON
def evaluate_command(
    build: Path,
    data: opt.Data,
    thresholds: tuple[float, ...],
    shift: bool,
    cost: str,
    threads: int | None,
    device: str | None,
    dask: str | None,
    json_file: Path | None,
    **options: Any,
) -> None:
    """Print SEENN's table: fixed timesteps, SEENN-I, SEENN-II.

    It has the accuracy at every t, the earliest timesteps, the confidence thresholds and, if the
    program has a policy network, the accuracy and cost with it.

    \b
    Examples:
      seenn evaluate build/ --data images.npz --thresholds 0.8,0.9,0.99
      seenn evaluate build/ --data images.npz --shift --per-shift 2000 --plot shift.png
    """
    given = {name: value for name, value in options.items() if value is not None}
    if shift:
        if dask or device:
            raise SeennError("--shift runs on this machine alone; leave out --dask and --device")
        _evaluate_shift(build, data, cost, threads, json_file, given)
        return
    if given:
        first = next(iter(given)).replace("_", "-")
        raise SeennError(f"--{first} belongs to --shift; give both or neither")
    import seenn_deploy as sd
    from seenn_deploy.cli import console
    from seenn_deploy.cli.tables import evaluations
    from seenn_deploy.evaluation.placed.cost import resolved

    program = load_program(build, None)
    images = data.open(program)
    priced = resolved(cost, program, images, threads)
    with connected(dask) as client:
        found = sd.evaluate(
            program, images, thresholds=thresholds, cost=priced, threads=threads, client=client,
            device=device,
        )  # fmt: skip
    for part in evaluations.evaluation_tables(found):
        console.show(part, "")
    write_json(json_file, found.summary())


def _evaluate_shift(
    build: Path,
    data: opt.Data,
    cost: str,
    threads: int | None,
    json_file: Path | None,
    options: dict[str, Any],
) -> None:
    from seenn_deploy.cli import console
    from seenn_deploy.cli.tables import shifts
    from seenn_deploy.evaluation import activity
    from seenn_deploy.evaluation.shift import plot as pictures
    from seenn_deploy.evaluation.shift.measure import evaluate_shift

    picture = options.pop("plot", None)
    if "rules" in options:
        options["rules"] = [x.strip() for x in options["rules"].split(",") if x.strip()]
    program = load_program(build, None)
    found = evaluate_shift(program, data.open(program), cost=cost, threads=threads, **options)
    for part in shifts.shift_tables(found):
        console.show(part, "")
    write_json(json_file, found.summary())
    if picture is not None:
        activity.write(pictures.overview(found), picture)
