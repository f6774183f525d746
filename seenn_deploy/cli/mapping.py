"""``seenn map``, which places a program on a chip, and counts what its cores do in a run."""

from __future__ import annotations

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
    hardware step, and the energy and time of a sample under each schedule.

    \b
    Examples:
      seenn map build/ --chip loihi1
      seenn map build/ --data images.npz --exit confidence --alpha 0.9
      seenn map build/ --chip mychip.json --picture mesh.png --json -
    """
    import seenn_deploy as sd
    from seenn_deploy.cli import console
    from seenn_deploy.cli.shared import load_program
    from seenn_deploy.cli.tables import chips, layout
    from seenn_deploy.evaluation import activity, mesh
    from seenn_deploy.progress import shown

    check_schedule(schedule, "lava")  # the cores of a chip are a pipeline, as Lava's processes are
    if data is None and rule is not None:
        raise SeennError("an exit rule matters where images run: add --data")
    program = load_program(build, rule)
    program = program.with_schedule(schedule) if schedule else program
    images = None if data is None else data.open(program)
    with shown(None, "placing neurons"):
        placement = sd.map_to_chip(program, chip)
    told = program.provenance.warning | placement.summary()
    console.show(chips.layer_table(placement), "", layout.facts_table(chips.facts(placement)))
    run = None
    if images is not None:
        run = sd.run_placed(program, placement, images, threads=threads)
        told |= {"run": run.summary()}
        console.show(*chips.run_tables(run))
    if picture is not None:
        activity.write(mesh.draw(placement, run=run), picture)
    write_json(json_file, told)
