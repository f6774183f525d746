"""``sd.report``: everything that a run found, as one page to look at and to send."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from seenn_deploy._typing import checked_types
from seenn_deploy.compiler.mapping.placement import Placement
from seenn_deploy.errors import DataError, ProgramError
from seenn_deploy.evaluation.placed.run import PlacedRun
from seenn_deploy.evaluation.report import chips, figures, linters, thumbnails
from seenn_deploy.evaluation.report.compare import compare
from seenn_deploy.io import folders
from seenn_deploy.io.images.image_set import Images, ImageSet
from seenn_deploy.ir.inputs import for_program
from seenn_deploy.ir.inspection import description
from seenn_deploy.ir.program import Program
from seenn_deploy.simulator import result as runs
from seenn_deploy.simulator.engine import simulate
from seenn_deploy.simulator.result import RunResult
from seenn_deploy.simulator.run_folder import check_images, check_program

FORMAT, VERSION = "seenn-deploy report", 1


@dataclass(frozen=True, eq=False)
class Report:
    """A report; `values` holds every figure that its page shows.

    Parameters
    ----------
    values : dict
        JSON values. ``program`` describes the program, ``run`` and ``other`` have the figures of
        one run or of two, ``comparison`` what changed between them.
    """

    values: dict[str, Any]

    def __repr__(self) -> str:
        return f"Report({self.values['title']}: {self.values['verdict']})"

    def summary(self) -> dict[str, Any]:
        """Return every figure of the page as JSON values."""
        return self.values

    def html(self) -> str:
        """Return the page: one document that loads nothing.

        Raises
        ------
        SeennError
            When the libraries that draw it are not installed.
        """
        from seenn_deploy.evaluation.report.page import render

        return render(self.values)

    def save(self, path: str | Path) -> None:
        """Write the page, or with a name that ends in ``.json`` its figures."""
        path = Path(path)
        if path.suffix.lower() == ".json":
            folders.write_json(path, self.values)
        else:
            folders.write_file(path, self.html())


@dataclass(frozen=True, eq=False)
class _Given:
    """A run to report, as far as it is known."""

    name: str
    run: RunResult | None
    about: Mapping[str, Any] | None
    finished: int
    samples: int
    program: str  # its fingerprint; '' where it is unknown
    images: str  # digest of the images of a run folder


@checked_types
def report(
    what: str | Path | RunResult | Program,
    other: str | Path | RunResult | None = None,
    program: str | Path | Program | None = None,
    images: Images | ImageSet | None = None,
    labels: ArrayLike | None = None,
    verified: Sequence[Any] = (),
    placed: Placement | PlacedRun | None = None,
    command: str = "",
    threads: int | None = None,
) -> Report:
    """Put everything that a run found on one page.

    Parameters
    ----------
    what : str, Path, RunResult or Program
        A run or its folder, which may be unfinished; or a program or its folder, which runs on
        `images` to T, or is described alone where there are none.
    other : str, Path or RunResult, optional
        A later run on the same images to compare with.
    program : str, Path or Program, optional
        The program of the run, for its graph where the run's folder does not describe it, and to
        read `images`.
    images : array, path or ImageSet, optional
        The images of the run, of which the page shows those that leave late, or early and wrong.
    labels : array, optional
        As of ``sd.simulate``.
    verified : sequence of mappings or VerifyReport
        What ``sd.verify`` found, or the values that ``seenn verify --json`` wrote.
    placed : Placement or PlacedRun, optional
        Of ``sd.map_to_chip``, or what its cores do, of ``sd.run_placed``.
    command : str
        The command that made the report, for its last lines.
    threads : int, optional
        As of ``sd.simulate``.

    Returns
    -------
    Report

    Raises
    ------
    ProgramError
        When a folder holds neither a program nor a run, a run without a finished sample, or the
        run of another program.
    DataError
        When images are not those of the run, or two runs are of different samples.

    Examples
    --------
    >>> import seenn_deploy as sd
    >>> files = sd.example()
    >>> program = sd.compile(sd.import_model(files.network, T=4), sd.exits.Confidence(0.9))
    >>> report = sd.report(program, images=files.images)
    >>> report.summary()["run"]["summary"]["paper"]["accuracy"]
    0.8
    >>> report.save("report.html")
    """
    made = _program(program)
    data = None
    if isinstance(what, str | Path) and (Path(what) / folders.MANIFEST).is_file():
        what = Program.load(what)
    if isinstance(what, Program):
        made = what
        data = None if images is None else for_program(made, images, labels)
        run = None if data is None else simulate(made, data, full_trace=True, threads=threads)
        first = _Given(
            made.provenance.source or "program", run, description(made),
            *((0, 0) if run is None else (len(run.logits),) * 2), made.fingerprint, "",
        )  # fmt: skip
    else:
        first = _given(what)
        if images is not None:
            data = _images_of(first, made, images, labels)
    _check_program(first, made)
    about = description(made) if made else first.about
    second = None if other is None else _given(other)
    if second and first.images and second.images and first.images != second.images:
        raise DataError(
            f"{first.name} and {second.name} are runs on different images; compare runs on the same"
        )
    values = _values(first, second, about)
    if data is not None and values["run"]:
        values["thumbnails"] = thumbnails.of_samples(data, values["run"]["samples"])
        values["class_names"] = data.class_names or []
    values["devices"] = [v if isinstance(v, Mapping) else v.summary() for v in verified]
    values["chip"] = None if placed is None else chips.figures(placed)
    values["made"]["command"] = command
    return Report(json.loads(json.dumps(values)))


def _program(program: str | Path | Program | None) -> Program | None:
    return program if program is None or isinstance(program, Program) else Program.load(program)


def _given(what: str | Path | RunResult) -> _Given:
    if isinstance(what, RunResult):
        n = len(what.exit_step)
        return _Given("run", what, None, n, n, "", "")
    folder = Path(what)
    if not (folder / runs.MANIFEST).is_file():
        raise ProgramError(
            f"{folder}: holds neither a program nor a run; name what seenn compile -o or seenn "
            "simulate --out wrote"
        )
    run, finished, manifest = runs.load_finished(folder)
    described = manifest["run"]
    return _Given(
        folder.name, run, manifest.get("about"), int(finished.sum()), len(finished),
        str(described.get("program", "")), str(described.get("images", "")),
    )  # fmt: skip


def _check_program(given: _Given, program: Program | None) -> None:
    if program and given.program:
        check_program(given.name, given.program, program)
    if program and given.run and [n.name for n in program.graph.layers] != given.run.layers:
        raise ProgramError(f"{given.name}: has other layers than the program; name what ran")


def _images_of(given: _Given, program: Program | None, images: Any, labels: Any) -> ImageSet:
    if program is None:
        raise DataError(
            "images need the program that ran, which says how to read them (--program BUILD)"
        )
    data = for_program(program, images, labels)
    check_images(given.name, given.samples, given.images, data)
    if given.finished < given.samples:
        raise DataError(
            f"{given.name}: {given.finished} of {given.samples} samples are finished, so images "
            "cannot be told apart; finish the run, or leave out the images"
        )
    return data


def _values(
    first: _Given, second: _Given | None, about: Mapping[str, Any] | None
) -> dict[str, Any]:
    run = None if first.run is None else figures.of_run(first.run)
    found: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "title": first.name if second is None else f"{first.name} and {second.name}",
        "names": [first.name] + ([second.name] if second else []),
        "banners": _banners(first, second),
        "program": about,
        "run": run,
        "advice": linters.advice(run) if run else [],
        "other": None,
        "comparison": None,
        "thumbnails": {},
        "class_names": [],
        "made": {
            "seenn_deploy": version("seenn-deploy"),
            "python": platform.python_version(),
            "numpy": np.__version__,
            "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        },
    }
    if second and second.run and first.run:
        found["other"] = figures.of_run(second.run)
        found["comparison"] = compare(first.run, second.run) | {"settings": _changed(first, second)}
    return found | {"verdict": _verdict(run)}


def _changed(first: _Given, second: _Given) -> list[dict[str, str]]:
    """What was set otherwise in the second run, as far as both folders say it."""
    told = [dict((given.about or {}).get("program", {})) for given in (first, second)]
    for known, given in zip(told, (first, second), strict=True):
        known.pop("source", None)
        known |= {"schedule": given.run and given.run.timing.schedule}
    names = [name for name in {**told[0], **told[1]} if told[0].get(name) != told[1].get(name)]
    return [
        {"name": name, "before": str(told[0].get(name)), "after": str(told[1].get(name))}
        for name in names
    ]


def _banners(first: _Given, second: _Given | None) -> list[str]:
    found = [
        f"{given.name} is unfinished: {given.finished:,} of {given.samples:,} samples "
        f"({100 * given.finished / given.samples:.0f} %); figures are of these alone"
        for given in (first, second)
        if given and given.finished < given.samples
    ]
    if second and first.program and second.program and first.program != second.program:
        found.append(
            f"two different programs ran: {first.program} in {first.name}, {second.program} in "
            f"{second.name}"
        )
    if second and not (first.images and second.images):
        found.append("whether both runs had the same images is not known; labels and number agree")
    return found


def _verdict(run: dict[str, Any] | None) -> str:
    """The run in one sentence, under the cost model of the paper."""
    if run is None:
        return "a program that has not run yet"
    told = run["summary"][linters.MODEL]
    right = "" if told["accuracy"] is None else f"{100 * told['accuracy']:.2f} % right, "
    energy = told["total_energy_uJ_per_sample"]
    spent = (
        f"{told['energy_uJ_per_sample']:.4g} uJ at least" if energy is None else f"{energy:.4g} uJ"
    )
    return (
        f"{right}{told['mean_exit_step']:.3f} of {run['timesteps']} timesteps and {spent} per "
        f"sample, over {told['samples']:,} samples"
    )
