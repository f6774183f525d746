"""``seenn compare``: several programs on the same images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from seenn_deploy.cli import options as opt
from seenn_deploy.cli.cluster import DASK, connected
from seenn_deploy.cli.shared import check_resume, write_json
from seenn_deploy.errors import SeennError


@click.command("compare")
@click.argument("builds", nargs=-1, required=True, type=opt.PATH)
@opt.with_data
@opt.COST
@opt.THREADS
@opt.TORCH
@DASK
@click.option("-o", "--out", type=opt.PATH,
              help="Folder for the runs, each in a folder of its program's name.")  # fmt: skip
@click.option("--resume", is_flag=True, help="Go on with the runs in --out that were cut off.")
@click.option("--plot", type=opt.PATH, callback=opt.new_file,
              help="Draw the figures and their intervals into this PNG.")  # fmt: skip
@opt.JSON
def compare_command(
    builds: tuple[Path, ...],
    data: opt.Data,
    cost: str,
    threads: int | None,
    device: str | None,
    dask: str | None,
    out: Path | None,
    resume: bool,
    plot: Path | None,
    json_file: Path | None,
) -> None:
    """Hold programs against each other on the same images.

    Accuracy, mean exit step, energy and latency of each, with the difference to the first program
    and its 95 % interval. Intervals are paired, since all programs see the same images.

    \b
    Examples:
      seenn compare build/ other/ --data images.npz
      seenn compare a/ b/ c/ --data 'val-{000..049}.tar' --dask tcp://head:8786 -o runs/
      seenn compare a/ b/ --data images.npz --plot compare.png --json compare.json
    """
    from seenn_deploy.cli import console
    from seenn_deploy.cli.tables.comparisons import comparison_tables
    from seenn_deploy.evaluation import activity
    from seenn_deploy.evaluation.comparison.compare import compare_opened
    from seenn_deploy.evaluation.comparison.plot import overview

    check_resume(resume, out, "--out")
    programs: dict[str, Any] = _named(builds)
    with connected(dask) as client:
        found = compare_opened(
            programs, data.open, cost, threads, None, out, resume, client, device
        )
    for i, part in enumerate(comparison_tables(found)):
        console.show(*([""] if i else []), part)
    write_json(json_file, found.summary())
    if plot is not None:
        activity.write(overview(found), plot)


def _named(builds: tuple[Path, ...]) -> dict[str, Path]:
    """Name programs by their folders, with the folders above where these have the same name."""
    whole = [build.resolve() for build in builds]
    for i, build in enumerate(whole):
        if build in whole[:i]:
            raise SeennError(f"{builds[i]}: is there twice; name different programs")
    for depth in range(1, max(len(build.parts) for build in whole) + 1):
        names = ["-".join(build.parts[-depth:]).lstrip("/-") for build in whole]
        if len(set(names)) == len(names):
            break
    return dict(zip(names, builds, strict=True))
