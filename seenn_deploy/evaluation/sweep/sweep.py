"""Every threshold of every exit rule from one full run, and the one to use.

Thresholds are made and chosen on one part of the samples; everything that is reported comes from
the other part.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from seenn_deploy import exits, metrics
from seenn_deploy._typing import Array, checked_types
from seenn_deploy.costs import Priced
from seenn_deploy.errors import DataError, ProgramError
from seenn_deploy.evaluation.calibrate import checked_labels
from seenn_deploy.evaluation.sweep.curves import FIGURES, Choice, Curve, Estimate, Figures
from seenn_deploy.evaluation.sweep.report import SweepReport
from seenn_deploy.exits import ExitRule
from seenn_deploy.exits.confidence import Confidence
from seenn_deploy.exits.family import Family
from seenn_deploy.exits.fixed import Fixed
from seenn_deploy.ir.program import Program
from seenn_deploy.ir.schedule import STAGED, Timing
from seenn_deploy.ir.schedule import check as check_schedule
from seenn_deploy.simulator.result import RunResult

RULES = ("confidence", "entropy", "margin", "conformal")
_ROUNDING = 1e-9  # of shares of samples

Tables = dict[str, Array]  # by figure, the value of each sample had it stopped at t: (N, T)


@checked_types
def sweep(
    run: RunResult,
    program: Program,
    rules: Sequence[str] = RULES,
    candidates: int = 1000,
    cost: Priced = "paper",
    schedule: str | None = None,
    keep_accuracy: float | None = None,
    energy_budget: float | None = None,
    split: float = 0.5,
    seed: int = 0,
    bootstrap: int = 1000,
    thresholds: int | None = None,
) -> SweepReport:
    """Evaluate every threshold of every exit rule from one run to T.

    Parameters
    ----------
    run : RunResult
        Run of `program` with labels and ``full_trace=True``.
    program : Program
    rules : names
        Exit rules with a threshold: 'confidence', 'entropy', 'margin', 'conformal', and beyond the
        default 'simes', 'fusion', 'lookahead', or one of your own.
    candidates : int
        Largest number of thresholds to try per rule, at least 2; they are spread over the quantiles
        of its scores.
    cost : str, Path or Cost
        Name of a cost model, a file with one, or what a placed run of the same samples costs.
    schedule : 'sequential', 'speculative', 'gated' or 'staged', optional
        Schedule; the program's by default. Its wasted timesteps are part of every energy. On a
        pipeline the fixed baselines are pipelined, as T is known before.
    keep_accuracy : float, optional
        Choose for each rule the cheapest threshold that is at most so many percentage points less
        accurate than running to T.
    energy_budget : float, optional
        Choose the most accurate threshold within so many joules per sample.
    split : float in (0, 1)
        Share of the samples on which thresholds are made and chosen.
    seed : int
        Seed of the split and of the bootstrap.
    bootstrap : int
        Number of resamples of the report split. All rules get the same ones, so their figures are
        paired.
    thresholds : int, optional
        Name of `candidates` in earlier releases; goes with the next one.

    Raises
    ------
    DataError
        When labels are missing, a part of the split is empty, the run stopped at the exits, a rule
        cannot be swept, an option is out of range, or no threshold meets the budget.
    ProgramError
        When the schedule does not exist or does not fit a rule.

    Examples
    --------
    >>> import seenn_deploy as sd
    >>> files = sd.example()
    >>> program = sd.compile(sd.import_model(files.network, T=4))
    >>> run = sd.simulate(program, files.images, full_trace=True)
    >>> report = sd.sweep(run, program, rules=["confidence", "margin"], keep_accuracy=2)
    >>> list(report.curves)
    ['confidence', 'margin']
    >>> chosen = program.with_exit(report.best.rule)
    >>> report.save("sweep")
    """
    if thresholds is not None:
        told = "thresholds of sweep is now candidates; the old name goes with the next release"
        warnings.warn(told, DeprecationWarning, stacklevel=3)
        candidates = thresholds
    check(
        program, len(run.logits), rules, candidates, schedule, keep_accuracy, energy_budget, split,
        bootstrap,
    )  # fmt: skip
    labels = checked_labels(run.logits, run.labels, program)
    first, second = split_samples(len(labels), split, seed)
    how = Timing(schedule or program.schedule, program.depth)
    tables, fixed = _tables(run, labels, cost, how)
    held = run.logits[first], labels[first]
    families = [
        exits.rule_class(name).family(*held, candidates, program.fingerprint)
        for name in dict.fromkeys(rules)
    ]
    aim = _Aim.of(keep_accuracy, energy_budget, tables["accuracy"][first, -1].mean())
    means = {x.name: _sums(x, run.logits, tables, first) for x in families}
    at_fixed_t = {name: values[first].mean(axis=0) for name, values in fixed.items()}
    picks = aim.choose(means, at_fixed_t)
    leader = next(iter(picks), "")
    rule_of = {x.name: x.rule(picks[x.name]) for x in families if x.name in picks}
    baselines, chosen = _choices(run.logits, rule_of, tables, fixed, second, bootstrap, seed)
    curves = [_fixed_curve(fixed, second)]
    curves += [_curve(x, _sums(x, run.logits, tables, second)) for x in families]
    at_t, *others = _with_fronts(curves)
    right = tables["accuracy"][second].astype(bool)
    return SweepReport(
        {curve.rule: curve for curve in others}, at_t, baselines,
        aim.text, chosen, leader, metrics.aet(right), metrics.empirical_aet(right),
        first, second, program.fingerprint, str(cost), how.schedule, how.depth,
        keep_accuracy, energy_budget, aim.better_fixed(at_fixed_t, means[leader]) if leader else 0,
        program.provenance.not_proven,
    )  # fmt: skip


def check(
    program: Program,
    samples: int,
    rules: Sequence[str],
    candidates: int,
    schedule: str | None,
    keep_accuracy: float | None,
    energy_budget: float | None,
    split: float,
    bootstrap: int = 1000,
) -> None:
    """Refuse what `sweep` would refuse, before there is a run of so many samples."""
    if not rules:
        raise DataError(f"no exit rules to sweep; there are {', '.join(RULES)}")
    for rule in rules:
        _check_tunable(rule)
    if program.T == 1:
        raise DataError("the program runs a single timestep, there is no exit to sweep")
    if candidates < 2:
        raise DataError(f"candidates = {candidates}: give at least 2, the two ends")
    if bootstrap < 1:
        raise DataError(f"bootstrap = {bootstrap}: give at least 1 resample")
    split_samples(samples, split, 0)
    _Aim.of(keep_accuracy, energy_budget, 0.0)
    how = schedule or program.schedule
    if how == "pipelined":
        raise ProgramError(
            "a sweep's exit rules find a sample's timesteps on the way, a pipelined schedule must "
            "know them before; sweep with --schedule sequential, gated or speculative"
        )
    if how == STAGED:
        for rule in rules:
            if not exits.rule_class(rule).known_after_first:
                raise ProgramError(
                    f"a staged schedule needs a rule that knows the timesteps after the first, "
                    f"which {rule} does not; sweep --rules lookahead, or another --schedule"
                )
    else:
        check_schedule(how, Confidence())


def _check_tunable(rule: str) -> None:
    if rule not in exits.names():
        raise DataError(f"exit rule {rule!r} does not exist; there are {', '.join(exits.names())}")
    if rule not in exits.tunable():
        raise DataError(f"exit rule {rule!r} has no threshold to sweep")


def split_samples(samples: int, share: float, seed: int) -> tuple[Array, Array]:
    """Return the numbers of the samples to choose on and of those to report, ascending.

    Raises
    ------
    DataError
        When the share lies outside (0, 1), or a part is empty.
    """
    if not 0 < share < 1:
        raise DataError(f"split = {share} lies outside (0, 1)")
    shuffled = np.random.default_rng(seed).permutation(samples)
    n = round(samples * share)
    if not 0 < n < samples:
        part = "calibration" if n == 0 else "report"
        raise DataError(
            f"split = {share} of {samples} samples leaves none in the {part} part; "
            "give more samples or another split"
        )
    return np.sort(shuffled[:n]), np.sort(shuffled[n:])


# --- what a sample costs, had it stopped at t ----------------------------------------------------


def _tables(run: RunResult, labels: Array, cost: Priced, how: Timing) -> tuple[Tables, Tables]:
    """Tabulate every figure by exit, (N, T): with an exit rule, and with T known before."""
    right = metrics.correct_by_step(run.logits, labels).astype(np.float64)
    # A sample that has ended before t stopped where it ended.
    steps = np.arange(1, right.shape[1] + 1)
    stopped = run.ended(np.broadcast_to(steps, right.shape))
    common = {
        "accuracy": right,
        "accuracy_change": right - right[:, -1:],
        "mean_exit_step": stopped,
        "ac": run.counts.ac.sum(axis=1).cumsum(axis=1),
        "mac": run.counts.mac.sum(axis=1).cumsum(axis=1),
    }
    # A fixed T is known before the start, so a pipeline need neither guess nor wait.
    before = how if how.schedule == "sequential" else Timing("pipelined", how.depth, True)
    by_rule, by_step = (_scheduled(run, cost, stopped, timing) for timing in (how, before))
    return common | by_rule, common | by_step


def _scheduled(run: RunResult, cost: Priced, stopped: Array, how: Timing) -> Tables:
    """Return latency, and the energy of all timesteps that run and of those after the exit."""
    useful = replace(run, timing=how).energy_by_step(cost)
    steps = np.arange(1, useful.shape[1] + 1)
    spent = useful[:, how.injected(steps, len(steps)) - 1]  # behind a sample's end nothing runs
    return {
        "energy": spent,
        "wasted_energy": spent - useful,
        "latency_steps": how.latency(stopped),
    }


def curves(
    run: RunResult,
    rules: Sequence[str] = ("confidence", "entropy", "margin"),
    candidates: int = 200,
    cost: Priced = "paper",
) -> list[Curve]:
    """Return every fixed t and every threshold of some rules on all samples of a run to T.

    Nothing is chosen here: `sweep` makes and chooses thresholds on one part of the samples, and
    reports them on another. Energies are those of the run's schedule.

    Parameters
    ----------
    run : RunResult
        Run with labels and ``full_trace=True``.
    rules, candidates, cost
        As of `sweep`.

    Returns
    -------
    list of Curve
        Fixed timesteps first.
    """
    labels, everyone = run.needed_labels, np.arange(len(run.logits))
    tables, fixed = _tables(run, labels, cost, run.timing)
    families = [exits.rule_class(name).family(run.logits, labels, candidates, "") for name in rules]
    found = [_curve(x, _sums(x, run.logits, tables, everyone)) for x in families]
    return _with_fronts([_fixed_curve(fixed, everyone), *found])


# --- curves --------------------------------------------------------------------------------------


def _sums(rule: Family, logits: Array, tables: Tables, samples: Array) -> dict[str, Array]:
    """Return the means over `samples` of every figure at every threshold, float64 (K,)."""
    points = rule.points(logits[samples])
    return {name: points.sums(tables[name][samples]) / len(samples) for name in FIGURES}


def _curve(rule: Family, means: Mapping[str, Array]) -> Curve:
    no_front = np.zeros(len(rule.threshold), np.bool_)
    return Curve(
        rule.name, rule.parameter, rule.threshold, **means,
        front_energy=no_front, front_steps=no_front,
    )  # fmt: skip


def _fixed_curve(fixed: Tables, samples: Array) -> Curve:
    means = {name: fixed[name][samples].mean(axis=0) for name in FIGURES}
    steps = np.arange(1.0, len(means["accuracy"]) + 1)
    no_front = np.zeros(len(steps), np.bool_)
    return Curve("fixed", "t", steps, **means, front_energy=no_front, front_steps=no_front)


def _with_fronts(curves: Sequence[Curve]) -> list[Curve]:
    """Mark the points of the curves that no other point of any curve beats."""
    accuracy = np.concatenate([c.accuracy for c in curves])
    borders = np.cumsum([len(c.accuracy) for c in curves])[:-1]
    by_energy, by_steps = (
        np.split(front(_rounded([getattr(c, name) for c in curves]), accuracy), borders)
        for name in ("energy", "mean_exit_step")
    )
    return [
        replace(curve, front_energy=energy, front_steps=steps)
        for curve, energy, steps in zip(curves, by_energy, by_steps, strict=True)
    ]


def _rounded(costs: Sequence[Array]) -> Array:
    """Join to one array in which values that differ only by summation order are equal."""
    together = np.concatenate(costs)
    return np.asarray(np.round(together / together.max(), 12))


def front(cost: Array, accuracy: Array) -> Array:
    """Find the Pareto front: points that no other beats in accuracy for at most its cost.

    Parameters
    ----------
    cost, accuracy : float arrays (P,)

    Returns
    -------
    bool array (P,)
        Equal points are on the front together.
    """
    # Best accuracy at each cost, then the best at any lower cost: two passes instead of all pairs.
    levels, level = np.unique(cost, return_inverse=True)
    highest = np.full(len(levels), -np.inf)
    np.maximum.at(highest, level, accuracy)
    cheaper = np.concatenate([[-np.inf], np.maximum.accumulate(highest)[:-1]])
    return np.asarray((accuracy == highest[level]) & (accuracy > cheaper[level]))


# --- the threshold to use ------------------------------------------------------------------------


@dataclass(frozen=True)
class _Aim:
    """The aim of a choice: a least accuracy, a largest energy, or neither."""

    accuracy: float | None
    energy: float | None
    text: str

    @classmethod
    def of(cls, keep: float | None, budget: float | None, at_T: float) -> _Aim:
        if keep is not None and budget is not None:
            raise DataError("keep_accuracy and energy_budget: give one of them")
        if keep is not None:
            if not 0 <= keep <= 100:
                raise DataError(f"keep_accuracy = {keep} lies outside [0, 100] percentage points")
            text = f"cheapest within {keep:g} points of the accuracy at T"
            return cls(at_T - keep / 100 - _ROUNDING, None, text)
        if budget is not None:
            if not 0 < budget < np.inf:
                raise DataError(f"energy_budget = {budget} J: give a number above 0")
            return cls(None, budget, f"most accurate within {budget * 1e6:g} uJ per sample")
        return cls(None, None, "")

    def choose(
        self, means: Mapping[str, Mapping[str, Array]], fixed: Mapping[str, Array]
    ) -> dict[str, int]:
        """Return the index of the threshold to use by rule, with the best rule first.

        Rules without a threshold that meets the aim are left out; DataError where all are, which
        says what the best `fixed` timestep would take.
        """
        if self.accuracy is None and self.energy is None:
            return {}
        ranked = {name: self._best(x["accuracy"], x["energy"]) for name, x in means.items()}
        found = {name: best for name, best in ranked.items() if best}
        if not found:
            name, cheapest = min(
                ((n, x["energy"].min()) for n, x in means.items()), key=lambda pair: pair[1]
            )
            best = self._best(fixed["accuracy"], fixed["energy"])
            instead = f"fixed t={best[1] + 1} takes {1e6 * best[0][1]:.4g} uJ" if best else ""
            raise DataError(
                f"no threshold keeps within {1e6 * (self.energy or 0):.4g} uJ per sample; the "
                f"cheapest takes {1e6 * cheapest:.4g} uJ (rule {name})"
                f"{instead and ', ' + instead}"
            )
        return {name: found[name][1] for name in sorted(found, key=lambda n: found[n][0])}

    def better_fixed(self, at: Mapping[str, Array], rule: Mapping[str, Array]) -> int:
        """The fixed t that serves the aim better than the best threshold of a rule; else 0."""
        fixed = self._best(at["accuracy"], at["energy"])
        best = self._best(rule["accuracy"], rule["energy"])
        return fixed[1] + 1 if fixed and best and _less(fixed[0], best[0]) else 0

    def _best(self, accuracy: Array, energy: Array) -> tuple[tuple[float, float], int] | None:
        """Return rank (less is better) and index of the best threshold that meets the aim."""
        if self.accuracy is not None:
            good, keys = accuracy >= self.accuracy, (energy, -accuracy)
        else:
            good, keys = energy <= (self.energy or 0), (-accuracy, energy)
        among = np.flatnonzero(good)
        if not len(among):
            return None
        index = int(among[np.lexsort((keys[1][among], keys[0][among]))[0]])
        return (float(keys[0][index]), float(keys[1][index])), index


def _less(a: tuple[float, float], b: tuple[float, float]) -> bool:
    """Tell whether rank `a` is before `b` by more than the order of a sum can change."""
    return a < b and not np.allclose(a, b, rtol=1e-9, atol=0)


def _choices(
    logits: Array, rules: Mapping[str, ExitRule], tables: Tables, fixed: Tables,
    samples: Array, bootstrap: int, seed: int,
) -> tuple[tuple[Choice, ...], dict[str, Choice]]:  # fmt: skip
    """Estimate every fixed t and the chosen rules, with intervals, on the same resamples."""
    T = logits.shape[1]
    at_steps = [np.full(len(samples), t) for t in range(1, T + 1)]
    stops = [rule.exit_steps(logits[samples]) for rule in rules.values()]
    all_rules = [*([Fixed()] * T), *rules.values()]
    columns = [_values(fixed, samples, step) for step in at_steps]
    columns += [_values(tables, samples, step) for step in stops]
    estimates = _bootstrapped(np.stack(columns, axis=1), bootstrap, seed)
    found = [
        Choice(rule, Figures(*row), _histogram(tables["mean_exit_step"][samples, step - 1], T))
        for rule, row, step in zip(all_rules, estimates, at_steps + stops, strict=True)
    ]
    return tuple(found[:T]), dict(zip(rules, found[T:], strict=True))


def _histogram(stopped: Array, T: int) -> tuple[int, ...]:
    return tuple(np.bincount(stopped.astype(np.int64), minlength=T + 1)[1:].tolist())


def _values(tables: Tables, samples: Array, exit_step: Array) -> Array:
    """Return every sample's figures at its exit, (n, figures)."""
    return np.stack([tables[name][samples, exit_step - 1] for name in FIGURES], axis=1)


def _bootstrapped(values: Array, resamples: int, seed: int) -> list[list[Estimate]]:
    """Return means and percentile intervals over samples, for values (n, choices, figures)."""
    n = len(values)
    flat = values.reshape(n, -1)
    rng = np.random.default_rng([seed, 1])  # not the stream that made the split
    # A resample counts each sample some number of times: one product instead of a copy of all rows.
    means = np.empty((resamples, flat.shape[1]))
    for i in range(resamples):
        weight = np.bincount(rng.integers(n, size=n), minlength=n).astype(np.float64)
        means[i] = weight @ flat / n
    low, high = np.percentile(means, [2.5, 97.5], axis=0)
    rows = zip(flat.mean(axis=0).tolist(), low.tolist(), high.tolist(), strict=True)
    found = [Estimate(*row) for row in rows]
    width = values.shape[2]
    return [found[i : i + width] for i in range(0, len(found), width)]
