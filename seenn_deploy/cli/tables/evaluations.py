"""Evaluations as tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import floor, log10

from seenn_deploy.cli.tables.layout import Table, facts_table, numbers_table, spread, unproven
from seenn_deploy.evaluation.evaluate import Evaluation, Point

MOST = 16  # fixed t that a table shows; --json has all


def evaluation_tables(found: Evaluation) -> Iterator[Table]:
    """SEENN's table: every way to stop, then what the paper states."""
    yield facts_table([
        *unproven(found.not_proven),
        ("samples", f"{found.samples:,}"),
        ("earliest timesteps", f"AET {found.aet:.4f}, empirical {found.empirical_aet:.4f}"),
        ("schedule", _schedule_text(found)),
    ])  # fmt: skip
    points = [
        *spread(found.fixed, MOST),
        *found.seenn_1,
        *([found.seenn_2] if found.seenn_2 else []),
    ]
    yield _point_table([(_point_name(p), p) for p in points], found.cost)
    if found.signals:
        yield _heard_table([(_point_name(p), p) for p in points], found)
    if found.equal is not None:
        yield _point_table(
            [(f"{_point_name(found.equal)}: as accurate as SEENN-II", found.equal)], found.cost
        )
    if found.comparable:
        yield _published_table(found)


def _schedule_text(found: Evaluation) -> str:
    """The schedule of each way to stop; on a pipeline they differ by what is known before."""
    if found.schedule == "sequential":
        return "sequential"
    wasted = ", wasted timesteps included" if found.schedule == "speculative" else ""
    return f"SEENN-I {found.schedule}{wasted}; fixed t and SEENN-II pipelined"


def _point_name(point: Point) -> str:
    names = {"fixed": f"fixed t={point.parameter:.0f}", "SEENN-II": "SEENN-II"}
    return names.get(point.rule, f"SEENN-I alpha={_confidence(point.parameter)}")


def _confidence(alpha: float) -> str:
    """Write four digits, and more near 1, because 0.99999 is not 1."""
    digits = 2 - floor(log10(1 - alpha)) if 0.999 < alpha < 1 else 4
    return f"{alpha:.{digits}g}"


def _point_table(rows: Iterable[tuple[str, Point]], cost: str) -> Table:
    table = numbers_table("", "accuracy", "mean steps", "SNN uJ", "policy uJ", "total uJ")
    for name, p in rows:
        energies = (p.energy, p.policy_energy, p.total_energy)
        table.add(
            name,
            f"{100 * p.accuracy:.2f} %",
            f"{p.mean_exit_step:.3f}",
            *("-" if e is None else f"{1e6 * e:.3f}" for e in energies),
        )
    return table


def _heard_table(rows: Iterable[tuple[str, Point]], found: Evaluation) -> Table:
    """How much of the signal was heard before the answer, and when it came."""
    seconds = ["seconds of signal"] if found.rate else []
    table = numbers_table("", "accuracy", "mean steps", "heard", *seconds)
    for name, p in rows:
        at = [f"{p.mean_exit_step / found.rate:.3f}"] if found.rate else []
        heard = f"{100 * p.share_heard:.1f} %"
        table.add(name, f"{100 * p.accuracy:.2f} %", f"{p.mean_exit_step:.3f}", heard, *at)
    return table


def _published_table(found: Evaluation) -> Table:
    """Set what the paper states beside what was found here."""
    from seenn_deploy.evaluation.evaluate import PUBLISHED

    second, T = found.seenn_2, len(found.accuracy_by_step)
    ours = {
        "accuracy": second.accuracy if second else None,
        "mean_exit_step": second.mean_exit_step if second else None,
        "aet": found.aet,
        "empirical_aet": found.empirical_aet,
    }
    table = numbers_table("published", "accuracy", "mean steps", "AET", "empirical AET")
    rows = [(f"this program, T={T}", ours)]
    # The paper's figures first, because they are what a reader compares with.
    rows = [(p.what, {k: getattr(p, k) for k in ours}) for p in PUBLISHED] + rows
    for what, figures in rows:
        share = figures["accuracy"]
        others = [figures[k] for k in ("mean_exit_step", "aet", "empirical_aet")]
        table.add(
            what,
            "-" if share is None else f"{100 * share:.2f} %",
            *("-" if v is None else f"{v:.4f}" for v in others),
        )
    return table
