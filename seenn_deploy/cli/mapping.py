"""``seenn map``, which places a program on a chip."""

from __future__ import annotations

from pathlib import Path

import click

from seenn_deploy.cli import options as opt
from seenn_deploy.cli.shared import write_json


@click.command("map")
@opt.FOLDER
@click.option("--chip", default="loihi1", show_default=True,
              help="loihi1, loihi2, or the JSON file of another chip.")  # fmt: skip
@click.option("--picture", type=opt.PATH, callback=opt.new_file,
              help="Draw the mesh of the first chip into this .png file.")  # fmt: skip
@opt.JSON
def map_command(build: Path, chip: str, picture: Path | None, json_file: Path | None) -> None:
    """Place a program's neurons on the cores of a chip.

    The table says what each layer takes of them. A core holds so many neurons, input axons, output
    axons and bits of synapses. Layers are cut into boxes of channels, rows and columns; shortcuts
    wait in delay lines, a neuron per spike and step. The readout has a core of its own, from which
    a token ends a sample on all others.

    \b
    Examples:
      seenn map build/ --chip loihi1
      seenn map build/ --chip mychip.json --picture mesh.png --json -
    """
    import seenn_deploy as sd
    from seenn_deploy.cli import console
    from seenn_deploy.cli.shared import load_program
    from seenn_deploy.cli.tables import chips, layout
    from seenn_deploy.evaluation import activity, mesh
    from seenn_deploy.progress import shown

    program = load_program(build, None)
    with shown(None, "placing neurons"):
        placement = sd.map_to_chip(program, chip)
    console.show(chips.layer_table(placement), "", layout.facts_table(chips.facts(placement)))
    if picture is not None:
        activity.write(mesh.draw(placement), picture)
    write_json(json_file, program.provenance.warning | placement.summary())
