"""``seenn map``, which places a program on a chip, and counts what its cores do in a run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from seenn_deploy.cli import options as opt
from seenn_deploy.cli.shared import check_schedule, write_json
from seenn_deploy.errors import SeennError

if TYPE_CHECKING:
    from seenn_deploy.exits import ExitRule


@click.command("map")
@opt.FOLDER
@click.option("--chip", default="loihi1", show_default=True,
              help="loihi1, loihi2, or the JSON file of another chip.")  # fmt: skip
@opt.with_data_if_any
@click.option("--run", type=opt.PATH, help="Folder of seenn simulate --out: its images leave where "
              "they left there; name them with --data where they have moved.")  # fmt: skip
@opt.with_rule
@click.option("--schedule", help="pipelined, speculative or gated: under which the steps of the "
              "run are told.  [default: the program's own]")  # fmt: skip
@opt.THREADS
@click.option("--picture", type=opt.PATH, callback=opt.new_file,
              help="Draw the mesh of the first chip into this .png file.")  # fmt: skip
@opt.JSON
def map_command(
    build: Path,
    chip: str,
    data: opt.Data | None,
    run: Path | None,
    rule: ExitRule | None,
    schedule: Any,
    threads: int | None,
    picture: Path | None,
    json_file: Path | None,
) -> None:
    """Place a program's neurons on the cores of a chip.

    The table says what each layer takes of them. A core holds so many neurons, input axons, output
    axons and bits of synapses. Layers are cut into boxes of channels, rows and columns; shortcuts
    wait in delay lines, a neuron per spike and step. The readout has a core of its own, from which
    a token ends a sample on all others.

    With --data, images run through the placed network: messages, hops, work and time of every
    hardware step, and the energy and time of a sample under each schedule. --run does so for the
    images and exits of an earlier run, whose spikes are computed again.

    \b
    Examples:
      seenn map build/ --chip loihi1
      seenn map build/ --data images.npz --exit confidence --alpha 0.9
      seenn map build/ --run run/ --schedule gated
      seenn map build/ --chip mychip.json --picture mesh.png --json -
    """
    import seenn_deploy as sd
    from seenn_deploy.cli import console
    from seenn_deploy.cli.shared import load_program
    from seenn_deploy.cli.tables import chips, layout
    from seenn_deploy.evaluation import activity, mesh
    from seenn_deploy.progress import shown
    from seenn_deploy.simulator.run_folder import images_of

    check_schedule(schedule, "lava")  # the cores of a chip are a pipeline, as Lava's processes are
    if run is not None and rule is not None:
        raise SeennError("samples leave as in the run of --run: leave out --exit and its numbers")
    if data is None and rule is not None:
        raise SeennError("an exit rule matters where images run: add --data")
    program = load_program(build, rule)
    images, before = None if data is None else data.open(program), None
    if run is not None:
        before, images = sd.RunResult.load(run), images_of(run, program, images)
    if schedule and before:
        before = replace(before, timing=before.timing.under(schedule))
    elif schedule:
        program = program.with_schedule(schedule)
    with shown(None, "placing neurons"):
        placement = sd.map_to_chip(program, chip)
    told = program.provenance.warning | placement.summary()
    console.show(chips.layer_table(placement), "", layout.facts_table(chips.facts(placement)))
    placed = None
    if images is not None:
        placed = sd.run_placed(program, placement, images, run=before, threads=threads)
        told |= {"run": placed.summary()}
        console.show(*chips.run_tables(placed))
    if picture is not None:
        activity.write(mesh.draw(placement, run=placed), picture)
    write_json(json_file, told)
