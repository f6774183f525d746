"""The report of a sweep, and its files."""

from __future__ import annotations

import csv
import io
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seenn_deploy._typing import Array
from seenn_deploy.evaluation.sweep.curves import Choice, Curve
from seenn_deploy.exits import ExitRule
from seenn_deploy.io import folders
from seenn_deploy.ir import charts, html

FORMAT = "seenn-deploy sweep"
VERSION = 1
MANIFEST = "sweep.json"
RULE = "rule.json"
FOLDER = folders.Kind("a sweep", MANIFEST, FORMAT, ("sweep.csv", "sweep.png", RULE))
_ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class SweepReport:
    """The report of a sweep; all figures come from the report split.

    Parameters
    ----------
    curves : dict of Curve, by rule
    fixed : Curve
        All samples stopped at t = 1..T; `baselines` are the same with intervals.
    aim : str
        Aim of the choice in words, '' without one.
    chosen : dict of Choice, by rule
        Chosen thresholds of all rules that can meet the aim.
    leader : str
        Name of the rule that served the aim best on the calibration split, '' without an aim. What
        to use is `best`.
    aet, empirical_aet : float
        Average earliest timesteps (``metrics``).
    calibration, report : int64 arrays
        Numbers of the samples in each part.
    program : str
        Fingerprint of the program.
    cost, schedule : str
    depth : int
        Synapse stages D.
    fixed_t : int
        The fixed timestep that beat `leader` on the calibration split, 0 where none did.
    keep_accuracy, energy_budget : float, optional
        Aim of the choice: percentage points, or joules per sample.
    not_proven : str
        Reason why the program was not compared with its source; '' where it was.
    """

    curves: dict[str, Curve]
    fixed: Curve
    baselines: tuple[Choice, ...]
    aim: str
    chosen: dict[str, Choice]
    leader: str
    aet: float
    empirical_aet: float
    calibration: Array
    report: Array
    program: str
    cost: str
    schedule: str
    depth: int
    keep_accuracy: float | None = None
    energy_budget: float | None = None
    fixed_t: int = 0
    not_proven: str = ""

    @property
    def best(self) -> Choice | None:
        """The exit rule to use, with its figures; None where the sweep had no aim.

        It is the choice of `leader`, or the fixed t that served the aim better on the calibration
        split. Where that misses the aim on the samples reported, it is the best of all choices and
        fixed timesteps that meet it there, if there is one: running to T always keeps the accuracy.
        """
        if not self.leader:
            return None
        # Chosen without a look at the samples reported, whose figures would else be too good.
        first = self.baselines[self.fixed_t - 1] if self.fixed_t else self.chosen[self.leader]
        good = [c for c in (*self.chosen.values(), *self.baselines) if not self._missed_by(c)]
        if not self._missed_by(first) or not good:
            return first
        if self.keep_accuracy is not None:
            return min(good, key=lambda c: c.figures.energy.value)
        return max(good, key=lambda c: c.figures.accuracy.value)

    @property
    def rule(self) -> ExitRule | None:
        """The exit rule to use, which ``rule.json`` holds; None where the sweep had no aim.

        It is that of `best`. Of a fixed t below T it is ``Fixed()``, for the program compiled with
        t timesteps.
        """
        return self.best.rule if self.best else None

    @property
    def recommended(self) -> Choice | None:
        """Name of `best` in earlier versions; goes with the next release."""
        told = "SweepReport.recommended is now SweepReport.best"
        warnings.warn(told, DeprecationWarning, stacklevel=2)
        return self.best

    @property
    def warning(self) -> str:
        """Says that the images are too few for the aim; '' where they are not."""
        choice = self.chosen[self.leader] if self.leader else None
        if choice is None or self.keep_accuracy is None:
            return ""
        change = choice.figures.accuracy_change
        if 100 * (change.high - change.low) <= self.keep_accuracy:
            return ""
        between = f"between {100 * change.low:.2f} and {100 * change.high:.2f} points"
        return (
            f"{len(self.report):,} images say only that {self.leader} changes the accuracy by "
            f"{between}, which is wider than the {self.keep_accuracy:g} to keep; use more images"
        )

    @property
    def missed(self) -> str:
        """How the choice of `leader` misses the aim on the samples reported; '' where it does not.

        The aim was met on the calibration split.
        """
        return self._missed_by(self.chosen[self.leader]) if self.leader else ""

    def _missed_by(self, choice: Choice) -> str:
        figures = choice.figures
        lost = -100 * figures.accuracy_change.value
        if self.keep_accuracy is not None and lost > self.keep_accuracy + _ROUNDING:
            allowed = f"{self.keep_accuracy:g} were allowed"
            return f"{lost:.2f} points are lost on the samples reported, {allowed}; use more images"
        spent = figures.energy.value
        if self.energy_budget is not None and spent > self.energy_budget * (1 + _ROUNDING):
            allowed = f"{1e6 * self.energy_budget:.4g} were allowed"
            wasted = f"{1e6 * figures.wasted_energy.value:.3g} uJ of them wasted"
            more = (
                f", {wasted}: a gated schedule wastes nothing"
                if figures.wasted_energy.value
                else ""
            )
            return f"{1e6 * spent:.4g} uJ per sample are spent, {allowed}{more}"
        return ""

    def __repr__(self) -> str:
        rules = ", ".join(self.curves)
        best = f", best: {self.best}" if self.best else ""
        return f"SweepReport({rules}; {len(self.report)} samples{best})"

    def _repr_html_(self) -> str:
        header = ("rule", "accuracy (%)", "95 % interval", "mean exit step", "energy (uJ)")
        fixed = [(f"t={t}", x.figures) for t, x in enumerate(self.baselines, start=1)]
        chosen = [(str(x.rule), x.figures) for x in self.chosen.values()]
        rows = [
            (name, f"{100 * x.accuracy.value:.2f}",
             f"{100 * x.accuracy.low:.1f} .. {100 * x.accuracy.high:.1f}",
             f"{x.mean_exit_step.value:.3f}", f"{1e6 * x.energy.value:.4g}")
            for name, x in [*fixed, *chosen]
        ]  # fmt: skip
        return html.table(repr(self), header, rows) + charts.pictures(("front", self.points(), 0))

    def points(self) -> dict[str, list[dict[str, Any]]]:
        """Return the rows of a chart of accuracy over energy, and the choice in it."""
        rows = [
            {"rule": "fixed t" if curve is self.fixed else curve.rule, "threshold": threshold,
             "accuracy": 100 * accuracy, "steps": steps, "cost": 1e6 * energy}
            for curve in (self.fixed, *self.curves.values())
            for threshold, accuracy, steps, energy in zip(
                curve.threshold.tolist(), curve.accuracy.tolist(), curve.mean_exit_step.tolist(),
                curve.energy.tolist(), strict=True,
            )
        ]  # fmt: skip
        best = self.best and self.best.figures
        here = best and {"rule": "recommended", "threshold": None,
                         "accuracy": 100 * best.accuracy.value, "steps": best.mean_exit_step.value,
                         "cost": 1e6 * best.energy.value}  # fmt: skip
        return {"points": rows, "here": [here] if here else []}

    def summary(self) -> dict[str, Any]:
        """Return the figures as JSON values, those of `leader` (without one of T) at the top.

        ``best`` is the name in `leader`, as in earlier versions, and ``recommended`` is what the
        report's `best` holds.
        """
        shown = self.chosen.get(self.leader, self.baselines[-1])
        return {
            "format": FORMAT,
            "version": VERSION,
            "program": self.program,
            **({"not_proven": self.not_proven} if self.not_proven else {}),
            "samples": len(self.report),
            "calibration_samples": len(self.calibration),
            "cost_model": self.cost,
            "schedule": self.schedule,
            "depth": self.depth,
            "aim": self.aim,
            "best": self.leader,
            "missed": self.missed,
            "warning": self.warning,
            "recommended": self.best.summary() if self.best else None,
            # The keys of all summaries, so that scripts read a sweep as they read a simulation.
            **shown.summary(),
            "policy_energy_uJ_per_sample": 0.0,
            "aet": self.aet,
            "empirical_aet": self.empirical_aet,
            "fixed": [{"t": t, **x.summary()} for t, x in enumerate(self.baselines, start=1)],
            "chosen": {name: choice.summary() for name, choice in self.chosen.items()},
            "rules": {name: curve.columns() for name, curve in self.curves.items()},
        }

    def csv(self) -> str:
        """Write one line per point: rule, parameter, threshold, figures, fronts; fixed t first."""
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(["rule", "parameter", *self.fixed.columns()])
        for curve in (self.fixed, *self.curves.values()):
            table.writerows(_rows(curve))
        return text.getvalue()

    def save(self, out: str | Path, force: bool = False) -> None:
        """Write sweep.json, sweep.csv, sweep.png, and rule.json where a rule was chosen.

        Parameters
        ----------
        out : str or Path
            The folder appears whole or not at all.
        force : bool
            Replace the files of an earlier sweep there; other files stay.

        Raises
        ------
        ProgramError
            When `out` holds an earlier sweep and `force` is not given, or anything else.
        """
        from seenn_deploy.evaluation.sweep.plot import plot

        with folders.new_folder(Path(out), FOLDER, force) as work:
            folders.write_json(work / MANIFEST, self.summary())
            folders.write_file(work / "sweep.csv", self.csv())
            plot(self, work / "sweep.png")
            if self.rule:
                folders.write_json(work / RULE, self.rule.to_dict())


def _rows(curve: Curve) -> Iterator[Iterable[Any]]:
    for values in zip(*curve.columns().values(), strict=True):
        yield [curve.rule, curve.parameter, *(int(x) if isinstance(x, bool) else x for x in values)]
