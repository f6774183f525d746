"""Several programs on the same images: what each reaches, and how surely it differs from the first.

All intervals are of 95 % and paired: both programs see the same samples, so what makes a sample
hard for both cancels. Of accuracy it is Newcombe's score interval for paired proportions
(Statistics in Medicine 17, 1998, 2635-2650, method 10), which says something of no difference at
all, too; of steps, energy and latency the normal interval of the mean of the differences by sample.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from seenn_deploy import costs
from seenn_deploy._typing import Array, checked_types
from seenn_deploy.errors import DataError
from seenn_deploy.evaluation.placed.cost import SUFFIX, resolved
from seenn_deploy.evaluation.report.figures import (
    mean_interval,
    paired_share_interval,
    share_interval,
)
from seenn_deploy.io.images.image_set import Images, ImageSet
from seenn_deploy.io.images.spec import InputSpec
from seenn_deploy.ir import html
from seenn_deploy.ir.inputs import for_program, spec_of
from seenn_deploy.ir.program import Program
from seenn_deploy.progress import Progress, shown
from seenn_deploy.simulator.distribute import Cluster
from seenn_deploy.simulator.engine import simulate
from seenn_deploy.simulator.result import RunResult

FIGURES = ("accuracy", "mean_exit_step", "energy_uJ", "latency_steps")


@dataclass(frozen=True)
class Interval:
    """A mean over samples and its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Compared:
    """One program of a comparison.

    Parameters
    ----------
    name : str
    rule, schedule, precision : str
        How it ran.
    figures : dict of Interval
        By name of `FIGURES`; accuracy is left out where the images have no labels. Energy is what
        the schedule spends on a sample, in microjoules; latency is in hardware steps, of a
        sequential schedule passes through the network.
    changes : dict of Interval
        The same, less what the first program has, on the same samples; empty for the first.
    became_right, became_wrong : int
        Samples that the first program got wrong and this one right, and the other way round.
    not_proven : str
        Reason why the program was not compared with its source; '' where it was.
    """

    name: str
    rule: str
    schedule: str
    precision: str
    figures: dict[str, Interval]
    changes: dict[str, Interval]
    became_right: int = 0
    became_wrong: int = 0
    not_proven: str = ""


@dataclass(frozen=True)
class Comparison:
    """The results of `compare`.

    Parameters
    ----------
    samples : int
    cost : str
        Name of the cost model.
    programs : tuple of Compared
        The first is the one that the others are held against.
    """

    samples: int
    cost: str
    programs: tuple[Compared, ...]

    def __repr__(self) -> str:
        names = ", ".join(p.name for p in self.programs)
        return f"Comparison({names} on {self.samples} samples)"

    def _repr_html_(self) -> str:
        header = ("program", *FIGURES)
        rows = [
            (p.name, *(f"{p.figures[f].value:.4g}" if f in p.figures else "" for f in FIGURES))
            for p in self.programs
        ]
        return html.table(repr(self), header, rows)

    def summary(self) -> dict[str, Any]:
        """Return the figures as JSON values."""
        return {
            "samples": self.samples,
            "cost_model": self.cost,
            "intervals": "95 %, paired: accuracy by Newcombe (1998), method 10; others normal",
            "programs": [asdict(p) for p in self.programs],
        }


@checked_types
def compare(
    programs: Mapping[str, Program | str | Path],
    images: Images,
    labels: ArrayLike | None = None,
    *,
    cost: str | Path = "paper",
    threads: int | None = None,
    progress: Progress = None,
    out: str | Path | None = None,
    resume: bool = False,
    client: Cluster | None = None,
    device: str | None = None,
) -> Comparison:
    """Run several programs on the same images, and tell how they differ from the first.

    Parameters
    ----------
    programs : mapping of Program or folder
        By name. A folder is read when its turn comes, so that one program is in memory at a time.
    images, labels
        As in ``simulate``; without labels there is no accuracy.
    cost : str or Path
        Name of a cost model, a file with one, or of a chip and ``-placed``.
    threads : int, optional
    progress : bool or callable, optional
        As in ``simulate``, over the samples of all programs.
    out : str or Path, optional
        Folder in which each program has a run folder of its name.
    resume : bool
        Whether to go on with the run folders in `out` that were cut off.
    client : distributed.Client, optional
        A Dask cluster whose workers run the samples.
    device : 'cpu', 'cuda' or 'cuda:N', optional
        Where torch runs them, as in ``simulate``.

    Raises
    ------
    DataError
        When there are fewer than two programs, or the images do not fit one of them, which is
        found out before the first one runs.
    ProgramError
        When a folder holds no program, or a run folder is of another run.

    Examples
    --------
    >>> import seenn_deploy as sd
    >>> files = sd.example()
    >>> program = sd.compile(sd.import_model(files.network, T=4))
    >>> early = program.with_exit(sd.exits.Confidence(0.4))
    >>> found = sd.compare({"confident": program, "early": early}, files.images)
    >>> change = found.programs[1].changes["accuracy"]
    >>> round(change.value, 2), round(change.low, 3), round(change.high, 3)
    (-0.06, -0.173, 0.052)
    """
    return compare_opened(
        programs, lambda program: for_program(program, images, labels), cost, threads, progress,
        out, resume, client, device,
    )  # fmt: skip


def compare_opened(
    programs: Mapping[str, Program | str | Path],
    read: Callable[[Program], ImageSet],
    cost: str | Path = "paper",
    threads: int | None = None,
    progress: Progress = None,
    out: str | Path | None = None,
    resume: bool = False,
    client: Cluster | None = None,
    device: str | None = None,
) -> Comparison:
    """Compare programs on the images that `read` opens for each; the rest is as of `compare`."""
    if len(programs) < 2:
        raise DataError(f"{len(programs)} program to compare; give at least two")
    if out is None and resume:
        raise DataError("resume goes on with run folders; name the folder that holds them with out")
    if not str(cost).endswith(SUFFIX):
        costs.load(cost)
    # By what programs take: an index of shards is read once for all that take the same.
    opened: dict[tuple[InputSpec, int], ImageSet] = {}
    for name, given in programs.items():
        if out is not None and Path(name).name != name:
            raise DataError(f"program {name!r}: its run folder cannot have this name; give another")
        program = _program(given)
        if (takes := _takes(program)) not in opened:
            opened[takes] = read(program)
    samples = min(map(len, opened.values()))
    told: list[Compared] = []
    first: dict[str, Array] = {}
    with shown(progress, f"simulating {len(programs)} programs", len(programs) * samples) as tell:
        for name, given in programs.items():
            program = _program(given)
            images = opened[_takes(program)]
            ran = simulate(
                program, images, threads=threads, progress=tell or False,
                out=None if out is None else Path(out) / name, resume=resume, client=client,
                device=device,
            )  # fmt: skip
            columns = _columns(ran, resolved(str(cost), program, images, threads))
            told.append(_compared(name, program, columns, first or columns))
            first = first or columns
    return Comparison(samples, str(cost), tuple(told))


def _program(given: Program | str | Path) -> Program:
    return given if isinstance(given, Program) else Program.load(given)


def _takes(program: Program) -> tuple[InputSpec, int]:
    return spec_of(program), program.graph.readout.shape[0]


def _columns(run: RunResult, cost: costs.Priced) -> dict[str, Array]:
    """By name of `FIGURES`, the value of each sample, (N,)."""
    right = {} if run.labels is None else {"accuracy": run.correct}
    return right | {
        "mean_exit_step": run.exit_step,
        "energy_uJ": 1e6 * run.energy(cost),
        "latency_steps": run.timing.latency(run.exit_step),
    }


def _compared(
    name: str, program: Program, here: dict[str, Array], first: dict[str, Array]
) -> Compared:
    values, changes = {}, {}
    for figure, found in here.items():
        shares = found.dtype == np.bool_
        values[figure] = Interval(*(share_interval if shares else mean_interval)(found))
        if here is not first:
            was = first[figure]
            change = paired_share_interval(was, found) if shares else mean_interval(found - was)
            changes[figure] = Interval(*change)
    nothing = np.zeros(0, np.bool_)
    was, now = first.get("accuracy", nothing), here.get("accuracy", nothing)
    return Compared(
        name,
        str(program.exit_rule),
        program.schedule,
        program.precision,
        values,
        changes,
        int((~was & now).sum()),
        int((was & ~now).sum()),
        program.provenance.not_proven,
    )
