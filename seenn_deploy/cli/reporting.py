"""``seenn report``, which makes a page of what a run found."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import click

from seenn_deploy.cli import options as opt
from seenn_deploy.cli.shared import write_json
from seenn_deploy.errors import SeennError

ON_CHIP = 100  # images that run through a placed network, which takes longer than a simulation


@click.command("report")
@click.argument("what", type=opt.PATH)
@click.argument("other", type=opt.PATH, required=False)
@click.option("-o", "--out", type=opt.PATH, callback=opt.new_file, default="report.html",
              show_default=True, help="HTML file of the page.")  # fmt: skip
@click.option("--data", type=opt.IMAGES,
              help="Images of the run, for pictures of those that leave late or wrong; a program "
              "without a run is simulated on them.")  # fmt: skip
@click.option("--limit", type=click.IntRange(1), help="Use only the first LIMIT images of --data.")
@click.option("--program", type=opt.PATH, help="Folder of the program that ran.  [default: what "
              "the run's folder says of it]")  # fmt: skip
@click.option("--verified", type=opt.PATH, multiple=True,
              help="What seenn verify --json wrote. Repeat it for more devices.")  # fmt: skip
@click.option("--chip", help="Place the program on a chip (loihi1, loihi2, or the JSON file of "
              "another), and run the first 100 images there.")  # fmt: skip
@opt.THREADS
@opt.JSON
def report_command(
    what: Path,
    other: Path | None,
    out: Path,
    data: str | Path | None,
    limit: int | None,
    program: Path | None,
    verified: tuple[Path, ...],
    chip: str | None,
    threads: int | None,
    json_file: Path | None,
) -> None:
    """Make a page of what a run found, to look at and to send.

    WHAT is the folder of a run (seenn simulate --out) or of a program. The page is one file that
    loads nothing: figures with their intervals, the network, layers and timesteps, exits at every
    threshold, energy under every cost model and schedule, and all data to download. With OTHER, a
    later run on the same images, it says what changed.

    \b
    Examples:
      seenn report build/ --data images.npz -o report.html
      seenn simulate build/ --data images.npz --full-trace --out run/
      seenn report run/ --program build/ --data images.npz --chip loihi1
      seenn report run/ other_run/ -o comparison.html
    """
    import seenn_deploy as sd
    from seenn_deploy.cli import console
    from seenn_deploy.cli.tables import layout
    from seenn_deploy.io.folders import MANIFEST
    from seenn_deploy.ir import charts

    charts.check()  # the libraries, before a run that may take an hour
    folder = program or (what if (what / MANIFEST).is_file() else None)
    ran = None if folder is None else sd.Program.load(folder)
    images: Any = data
    if data is not None and ran is not None:
        images = opt.Data(data, {"limit": limit}).open(ran)
    if chip and ran is None:
        raise SeennError("--chip places a program; name it with --program")
    placed: Any = None
    if chip and ran is not None:
        placed = sd.map_to_chip(ran, chip)
        if images is not None:
            some = images.part(0, min(len(images), ON_CHIP))
            placed = sd.run_placed(ran, placed, some, threads=threads)
    made = sd.report(
        ran if program is None and ran is not None else what, other, program=ran, images=images,
        verified=[_verified(path) for path in verified],
        placed=placed, command=shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]), threads=threads,
    )  # fmt: skip
    made.save(out)
    values = made.summary()
    rows = [("verdict", values["verdict"]), *(("warning", text) for text in values["banners"])]
    rows += [(line["layer"] or "advice", line["text"]) for line in values["advice"]]
    # A path is for pasting, so it is no cell of a table, which would break it.
    console.show(layout.facts_table(rows), f"page: {out} ({out.stat().st_size / 1e6:.1f} MB)")
    write_json(json_file, values)


def _verified(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise SeennError(f"{path}: not what seenn verify --json wrote ({error})") from None
    needed = ("device", "samples", "ok", "exact", "spikes_compared", "spikes_ties",
              "spikes_mismatches", "wrong_logits")  # fmt: skip
    if not isinstance(found, dict) or not all(name in found for name in needed):
        raise SeennError(f"{path}: not what seenn verify --json wrote; it has no device's figures")
    return found
