"""``seenn setup-lava``, ``run`` and ``verify``, which bring a program onto a device."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from seenn_deploy.cli import cluster
from seenn_deploy.cli import options as opt
from seenn_deploy.cli.shared import check_schedule, load_program, write_json


@click.command("setup-lava")
@click.option("--python", help="Python 3.10 to use.  [default: found on this machine]")
def setup_lava_command(python: str | None) -> None:
    """Make the Lava interpreter. It is an environment of its own with lava-nc 0.10.0.

    \b
    Example:
      seenn setup-lava
    """
    import seenn_deploy as sd

    found = sd.setup_lava(python=python, progress=lambda line: click.echo(line, err=True))
    click.echo(f"lava-nc {found.lava_version} in {found.python} ({found.how})")


DEVICE = click.option(
    "--device", default="lava", show_default=True, metavar="NAME[:ARGUMENT]",
    help="Device that runs the program: a target that can run what it writes.",
)  # fmt: skip


@click.command("run")
@opt.FOLDER
@opt.with_data
@DEVICE
@click.option("--full-trace", is_flag=True, help="Run every sample to T, whatever its exit.")
@opt.DEVICE_COMMAND
@opt.TIMEOUT
@click.option("-o", "--out", type=opt.PATH,
              help="Folder for what the device measured, sample by sample.")  # fmt: skip
@opt.FORCE
@opt.PREDICTIONS
@opt.JSON
def run_command(
    build: Path,
    data: opt.Data,
    device: str,
    full_trace: bool,
    device_command: str | None,
    timeout: float | None,
    out: Path | None,
    force: bool,
    predictions: Path | None,
    json_file: Path | None,
) -> None:
    """Run images on a device, with early exit.

    \b
    Example:
      seenn run build/ --device lava --data images.npz --limit 4
    """
    import seenn_deploy as sd
    from seenn_deploy.cli import console
    from seenn_deploy.cli import predictions as answers
    from seenn_deploy.cli.tables import devices, layout
    from seenn_deploy.io.folders import check_ours
    from seenn_deploy.targets import base

    if out is not None:
        # Now, and not after the device has run.
        check_ours(out, base.FOLDER, force)
    # The exit rule belongs to what the device was given; another one takes another bundle.
    program = load_program(build, None)
    images = data.open(program)
    result = sd.run(
        build, images, device=device, full_trace=full_trace, timeout=timeout,
        command=device_command,
    )  # fmt: skip
    summary = program.provenance.warning | result.summary()
    console.show(layout.facts_table(devices.device_rows(summary)))
    if out is not None:
        result.save(out, force)
    answers.write(predictions, images, result)
    write_json(json_file, summary)


@click.command("verify")
@opt.FOLDER
@opt.with_data
@DEVICE
@click.option("--full-trace", is_flag=True, help="Compare every step to T, also after the exit.")
@click.option("--schedule",
              help="pipelined, speculative or gated.  [default: the bundle's own]")  # fmt: skip
@opt.DEVICE_COMMAND
@opt.TIMEOUT
@cluster.DASK
@click.option("--report", "report_file", type=opt.PATH, callback=opt.new_file,
              help="File for what is printed.")  # fmt: skip
@opt.JSON
def verify_command(
    build: Path,
    data: opt.Data,
    device: str,
    full_trace: bool,
    schedule: Any,
    device_command: str | None,
    timeout: float | None,
    dask: str | None,
    report_file: Path | None,
    json_file: Path | None,
) -> None:
    """Compare a device with the simulator, spike for spike. The exit code is 1 if they differ.

    Torch's cpu and cuda are devices, too: what --device is to seenn simulate.

    With --device-command the device is the program that this command starts: it gets a tar with the
    bundle, the images and request.json on its standard input, and answers with a tar of arrays.

    \b
    Examples:
      seenn verify build/ --device lava --data images.npz --limit 2
      seenn verify build/ --device qemu-cortex-m4 --data images.npz --dask local:2
      seenn verify build/ --device cuda --data images.npz --limit 100
      seenn verify build/ --data images.npz --report verify.txt --device-command \\
        'ssh host "d=$(mktemp -d); tar -xf - -C $d && python3.10 $d/bundle/answer.py"'
    """
    import seenn_deploy as sd
    from seenn_deploy.cli import console
    from seenn_deploy.cli.tables import devices
    from seenn_deploy.simulator.engine import is_torch
    from seenn_deploy.targets.devices import find

    program = load_program(build, None)
    if schedule:
        check_schedule(schedule, *([] if is_torch(device) else [find(device).target]))
        program = program.with_schedule(schedule)
    images = data.open(program)
    with cluster.connected(dask) as client:
        report = sd.verify(
            program, images, device=device, bundle=None if schedule else build,
            full_trace=full_trace, timeout=timeout, client=client, command=device_command,
        )  # fmt: skip
    console.show(*devices.verify_tables(report))
    if report_file is not None:
        console.write_text(report_file, devices.verify_tables(report))
    write_json(json_file, report.summary())
    # After the tables and files, which are what a failed check is read from.
    if not report.ok:
        raise SystemExit(1)
