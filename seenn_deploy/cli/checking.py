"""``seenn check``: what a network can be deployed to, before anything is built."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from seenn_deploy.cli import console
from seenn_deploy.cli.compiling import IMPORT, INPUT_RANGE, given
from seenn_deploy.cli.options import IMAGES, JSON, PATH
from seenn_deploy.cli.shared import write_json
from seenn_deploy.progress import shown


@click.command("check")
@click.argument("source", type=PATH)
@IMPORT
@INPUT_RANGE
@click.option("--calibration", type=IMAGES,
              help="Images for the scales of int8 and an ONNX model's thresholds.")  # fmt: skip
@JSON
def check_command(
    source: Path,
    example: str | None,
    input_range: tuple[float, float] | None,
    calibration: str | Path | None,
    json_file: Path | None,
    **options: Any,
) -> None:
    """List what stands in a network's way, for every target.

    SOURCE is what seenn compile takes: a checkpoint, a .nir or .onnx file, a torch module as
    FILE.py:NAME, or the folder of a program. Nothing is written, and it does not stop at the first
    refusal. The exit code is 0 if the simulator at least can run the network, else 2.

    \b
    Examples:
      seenn check model.pth
      seenn check nets.py:make_net --example 2,3,32,32 -T 4
      seenn check network.nir --json found.json
      seenn check build/
    """
    import seenn_deploy as sd
    from seenn_deploy.cli import modules
    from seenn_deploy.cli.tables import checks

    module, example_input = modules.opened(source, example)
    with shown(None, f"checking {source.name}"):
        report = sd.check(
            module, example_input,
            input_range=input_range, calibration=calibration, **given(options),
        )  # fmt: skip
    console.show(*checks.check_tables(report))
    write_json(json_file, report.summary())
    if not report.ok:
        # A script that asks before it deploys needs the answer as an exit code.
        raise SystemExit(2)
