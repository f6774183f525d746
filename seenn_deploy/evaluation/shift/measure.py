"""``evaluate_shift``: exit rules calibrated on clean images, then shown shifted ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from seenn_deploy import costs
from seenn_deploy._typing import Array, checked_types
from seenn_deploy.errors import DataError
from seenn_deploy.evaluation.calibrate import calibrate
from seenn_deploy.evaluation.calibrate import check as check_rule
from seenn_deploy.evaluation.schedule import spent_by_step
from seenn_deploy.evaluation.shift.corruptions import KINDS, STRENGTHS, check_pixels, corrupt
from seenn_deploy.evaluation.shift.reliability import BINS, by_step
from seenn_deploy.evaluation.shift.report import CLEAN, Condition, RuleFigures, ShiftReport
from seenn_deploy.evaluation.sweep.sweep import split_samples
from seenn_deploy.exits import ExitRule
from seenn_deploy.exits.fixed import Fixed
from seenn_deploy.io.images.image_set import Images, ImageSet
from seenn_deploy.ir.inputs import for_program
from seenn_deploy.ir.program import Program
from seenn_deploy.progress import Progress
from seenn_deploy.simulator.engine import simulate
from seenn_deploy.simulator.result import RunResult

RULES = ("confidence", "entropy", "margin", "conformal", "simes", "fusion")
AT_ONCE = 256  # images that are read together


@checked_types
def evaluate_shift(
    program: Program,
    images: Images,
    labels: ArrayLike | None = None,
    *,
    rules: Sequence[str] = RULES,
    level: float = 0.95,
    split: float = 0.5,
    per_shift: int | None = None,
    kinds: Sequence[str] = tuple(KINDS),
    seed: int = 0,
    bins: int = BINS,
    cost: str | Path = "paper",
    threads: int | None = None,
    progress: Progress = None,
) -> ShiftReport:
    """Calibrate exit rules on a part of the images, and show them the others, clean and shifted.

    Parameters
    ----------
    program : Program
        Program to evaluate; the choices of its policy network, if it has one, are told, too.
    images, labels
        As in ``simulate``; labels are required, and the images are pixels from 0 to 1.
    rules : names
        Exit rules to calibrate.
    level : float in (0, 1]
        Level that they are calibrated for; see ``calibrate``.
    split : float in (0, 1)
        Share of the images on which they are calibrated, drawn by `seed`.
    per_shift : int, optional
        Images per shift, the first of the others; by default all of them.
    kinds : names
        Corruptions, of :mod:`seenn_deploy.evaluation.shift.corruptions`.
    seed : int
        Seed of the split and of the noise.
    bins : int
        Number of bins of confidence.
    cost : str or Path
        Name of a cost model, or a file with one.
    threads, progress
        As in ``simulate``.

    Raises
    ------
    DataError
        When labels are missing, images are no pixels, or an option is out of range.

    Examples
    --------
    >>> import seenn_deploy as sd
    >>> from seenn_deploy.evaluation.shift.measure import evaluate_shift
    >>> files = sd.example()
    >>> program = sd.compile(sd.import_model(files.network, T=4))
    >>> found = evaluate_shift(program, files.images, rules=["confidence"], kinds=["blur"])
    >>> [condition.name for condition in found.conditions]
    ['clean', 'blur 1', 'blur 2', 'blur 3']
    """
    data = for_program(program, images, labels)
    _check(data, rules, level, kinds, per_shift, bins)
    costs.load(cost)
    first, second = split_samples(len(data), split, seed)
    held, shown = _read(data, first), _read(data, second)
    check_pixels(held)
    check_pixels(shown)

    def run(x: Array, of: Array) -> RunResult:
        y = data.labels[of] if data.labels is not None else None
        return simulate(program, x, y, full_trace=True, threads=threads, progress=progress)

    before = run(held, first)
    fitted = {x: calibrate(x, before.logits, before.labels, level, program) for x in rules}
    used: dict[str, ExitRule] = {"fixed": Fixed(), **fitted}
    if program.exit_rule.known_before:
        used[program.exit_rule.name] = program.exit_rule
    conditions = [_condition(CLEAN, 0, program, run(shown, second), used, cost, bins)]
    some = slice(per_shift)
    for kind, strength in _shifts(kinds):
        ran = run(corrupt(shown[some], kind, strength, seed), second[some])
        conditions.append(_condition(kind, strength, program, ran, used, cost, bins))
    schedule = spent_by_step(program, before, cost).schedule
    return ShiftReport(
        tuple(conditions), used, len(first), level, seed, str(cost), schedule,
        program.provenance.not_proven,
    )  # fmt: skip


def _check(
    data: ImageSet, rules: Sequence[str], level: float, kinds: Sequence[str],
    per_shift: int | None, bins: int,
) -> None:  # fmt: skip
    """Refuse what cannot be done before anything runs."""
    if data.labels is None:
        raise DataError(f"{data.name}: no labels; an evaluation needs y, or class folders")
    for rule in rules:
        check_rule(rule, level)
    for kind in kinds:
        if kind not in KINDS:
            raise DataError(f"no shift {kind}; there are {', '.join(KINDS)}")
    for name, value in (("per_shift", per_shift), ("bins", bins)):
        if value is not None and value < 1:
            raise DataError(f"{name} = {value}: give at least 1")


def _read(data: ImageSet, numbers: Array) -> Array:
    """Return some images in one array; all are read, a few at a time."""
    wanted = np.zeros(len(data), np.bool_)
    wanted[numbers] = True
    found, at = [], 0
    for batch in data.batches(AT_ONCE):
        found.append(batch[wanted[at : at + len(batch)]])
        at += len(batch)
    return np.concatenate(found)


def _shifts(kinds: Sequence[str]) -> Iterator[tuple[str, int]]:
    yield from ((kind, strength) for kind in kinds for strength in STRENGTHS)


def _condition(
    kind: str, strength: int, program: Program, run: RunResult, rules: Mapping[str, ExitRule],
    cost: str | Path, bins: int,
) -> Condition:  # fmt: skip
    labels = run.needed_labels
    figures = {name: _figures(rule, program, run, cost) for name, rule in rules.items()}
    return Condition(kind, strength, len(labels), by_step(run.logits, labels, bins), figures)


def _figures(rule: ExitRule, program: Program, run: RunResult, cost: str | Path) -> RuleFigures:
    """Tell what a rule would have done in a run to T."""
    labels, T = run.needed_labels, program.T
    chosen = rule is program.exit_rule and rule.known_before  # a policy network saw the images
    step = run.exit_step if chosen else rule.exit_steps(run.logits)
    rows = np.arange(len(step)), step - 1
    right = run.logits[rows].argmax(axis=-1) == labels
    spent = spent_by_step(program, run, cost)
    energy = float((spent.useful if rule.known_before else spent.spent)[rows].mean())
    if chosen:
        energy += run.compare(cost).policy_energy or 0.0
    early = step < T
    return RuleFigures(
        float(right.mean()),
        float(step.mean()),
        energy,
        float(early.mean()),
        float((early & ~right).mean()),
        _covered(rule, run.logits, labels, step),
    )


def _covered(rule: ExitRule, logits: Array, labels: Array, step: Array) -> float:
    """Return the share of samples whose label is in every set up to the exit and before T."""
    T = logits.shape[1]
    sets = rule.label_sets(logits, np.arange(1, T + 1))
    if sets is None:
        return float("nan")
    inside = np.take_along_axis(sets, labels[:, None, None], axis=-1)[..., 0]
    looked_at = np.arange(1, T + 1) <= np.minimum(step, T - 1)[:, None]
    return float((inside | ~looked_at).all(axis=1).mean())


__all__ = ["RULES", "evaluate_shift"]
