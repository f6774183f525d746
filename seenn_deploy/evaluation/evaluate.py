"""SEENN's evaluation: accuracy at every t, earliest timesteps, SEENN-I and SEENN-II in one table.

Everything comes from one run to T, because a threshold only decides which timesteps count.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from seenn_deploy import metrics
from seenn_deploy._typing import Array, checked_types
from seenn_deploy.costs import Priced
from seenn_deploy.errors import DataError
from seenn_deploy.evaluation.schedule import spent_by_step
from seenn_deploy.exits.confidence import Confidence
from seenn_deploy.exits.points import OperatingPoints, distinct_thresholds
from seenn_deploy.exits.policy import Policy
from seenn_deploy.io.images.image_set import Images
from seenn_deploy.ir import html
from seenn_deploy.ir.inputs import for_program
from seenn_deploy.ir.program import Program
from seenn_deploy.progress import Progress
from seenn_deploy.simulator.distribute import Cluster
from seenn_deploy.simulator.engine import simulate
from seenn_deploy.simulator.result import RunResult

_ROUNDING = 1e-6  # sums of samples are floats
THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999)


@dataclass(frozen=True)
class Published:
    """A figure that the paper states.

    Parameters
    ----------
    what : str
    accuracy : float, optional
        Share of right answers.
    mean_exit_step, aet, empirical_aet : float, optional
    source : str
    """

    what: str
    accuracy: float | None = None
    mean_exit_step: float | None = None
    aet: float | None = None
    empirical_aet: float | None = None
    source: str = "arXiv 2304.01230"


# Only figures that were read at their source; the paper's tables have more.
PUBLISHED = (
    Published(
        "ResNet-19, CIFAR-10, T=4: SEENN-II", 0.961, 1.08,
        source="arXiv 2304.01230, abstract",
    ),
    Published(
        "ResNet-19, CIFAR-10, T=4: earliest timesteps", aet=1.1309,
        empirical_aet=1.1188, source="arXiv 2304.01230, section 3",
    ),
)  # fmt: skip
# The paper's ResNet-19: 128, 256 and 512 channels in 3, 3 and 2 blocks, and its classifier.
RESNET19 = {(128, 32, 32): 7, (256, 16, 16): 6, (512, 8, 8): 4, (10,): 1}
RESNET19_MACS = 2_285_245_440  # of one dense pass; a narrower or other network has others


@dataclass(frozen=True)
class Point:
    """One way to stop, over all samples.

    Parameters
    ----------
    rule : str
        'fixed', 'SEENN-I' or 'SEENN-II'.
    parameter : float
        The timestep t of 'fixed', alpha of 'SEENN-I', or 0.
    accuracy, mean_exit_step : float
    energy, policy_energy : float, optional
        Joules per sample that the schedule spends on the spiking network, wasted timesteps
        included, and on the policy network (0 without one); None where the cost model prices no
        ANN.
    total_energy : float, optional
        Joules per sample of both together.
    wasted_energy : float
        The part of `energy` that went into timesteps behind the exit.
    share_heard : float
        Mean share of a sample's timesteps that had passed at its exit.
    """

    rule: str
    parameter: float
    accuracy: float
    mean_exit_step: float
    energy: float
    policy_energy: float | None
    total_energy: float | None
    wasted_energy: float = 0.0
    share_heard: float = 1.0


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The results of `evaluate`.

    Parameters
    ----------
    samples : int
    cost : str
    accuracy_by_step : float64 array (T,)
    aet, empirical_aet : float
    fixed, seenn_1 : tuple of Point
        All samples stopped at t, for each t; confidence at each threshold.
    seenn_2 : Point, optional
        The policy network's choice, if the program has one.
    equal : Point, optional
        SEENN-I at the threshold that is as accurate as SEENN-II for the least energy; None without
        a policy, or where no threshold is.
    comparable : bool
        Whether the program is the paper's network, so that `PUBLISHED` stands beside it.
    not_proven : str
        Reason why the program was not compared with its source; '' where it was.
    schedule : str
        Schedule of SEENN-I. On a pipeline fixed t and SEENN-II are pipelined: they know t before.
    signals : bool
        Whether samples have lengths or a rate: then tables tell the share heard, and seconds.
    rate : float
        Timesteps of a second; 0 where it is not known.
    """

    samples: int
    cost: str
    accuracy_by_step: Array
    aet: float
    empirical_aet: float
    fixed: tuple[Point, ...]
    seenn_1: tuple[Point, ...]
    seenn_2: Point | None
    equal: Point | None
    comparable: bool = False
    not_proven: str = ""
    schedule: str = "sequential"
    signals: bool = False
    rate: float = 0.0

    def __repr__(self) -> str:
        at_t = ", ".join(f"{100 * a:.2f} %" for a in self.accuracy_by_step)
        return (
            f"Evaluation({self.samples} samples, accuracy by timestep {at_t}, AET {self.aet:.4f})"
        )

    def _repr_html_(self) -> str:
        points = [*self.fixed, *self.seenn_1, *([self.seenn_2] if self.seenn_2 else [])]
        header = ("rule", "parameter", "accuracy (%)", "mean exit step", "energy (uJ)")
        rows = [
            (p.rule, f"{p.parameter:g}", f"{100 * p.accuracy:.2f}", f"{p.mean_exit_step:.3f}",
             f"{1e6 * p.energy:.4g}")
            for p in points
        ]  # fmt: skip
        return html.table(repr(self), header, rows)

    def summary(self) -> dict[str, Any]:
        """Return the figures as JSON values, with energies in microjoules."""
        return {
            **({"not_proven": self.not_proven} if self.not_proven else {}),
            "samples": self.samples,
            "cost_model": self.cost,
            "schedule": self.schedule,
            "accuracy_by_step": [float(a) for a in self.accuracy_by_step],
            "aet": self.aet,
            "empirical_aet": self.empirical_aet,
            "fixed": [_stored(p) for p in self.fixed],
            "seenn_1": [_stored(p) for p in self.seenn_1],
            "seenn_2": self.seenn_2 and _stored(self.seenn_2),
            "seenn_1_as_accurate_as_seenn_2": self.equal and _stored(self.equal),
            "published": [asdict(p) for p in PUBLISHED] if self.comparable else [],
            **({"timesteps_per_second": self.rate} if self.rate else {}),
        }


@checked_types
def evaluate(
    program: Program,
    images: Images,
    labels: ArrayLike | None = None,
    *,
    thresholds: Sequence[float] = THRESHOLDS,
    cost: Priced = "paper",
    threads: int | None = None,
    progress: Progress = None,
    client: Cluster | None = None,
    device: str | None = None,
) -> Evaluation:
    """Evaluate fixed timesteps, earliest timesteps, SEENN-I and, with a policy, SEENN-II.

    Parameters
    ----------
    program : Program
        Program to evaluate; with the exit rule ``Policy``, SEENN-II is evaluated too.
    images, labels
        As in ``simulate``; labels are required.
    thresholds : sequence of float in (0, 1]
        Thresholds alpha of SEENN-I's confidence.
    cost : str, Path or Cost
        Name of a cost model, a file with one, or what a placed run of the same samples costs.
    threads : int, optional
    progress : bool or callable, optional
    client : distributed.Client, optional
    device : 'cpu', 'cuda' or 'cuda:N', optional
        As in ``simulate``.

    Raises
    ------
    DataError
        When the data have no labels, a threshold is out of range, or there is no such cost model.

    Examples
    --------
    >>> import seenn_deploy as sd
    >>> files = sd.example()
    >>> program = sd.compile(sd.import_model(files.network, T=4))
    >>> found = sd.evaluate(program, files.images, thresholds=[0.9])
    >>> found.accuracy_by_step
    array([0.72, 0.78, 0.7 , 0.8 ])
    >>> found.seenn_1[0].accuracy, found.seenn_1[0].mean_exit_step
    (0.8, 2.38)
    """
    rules = [_confidence(alpha) for alpha in thresholds]
    data = for_program(program, images, labels)
    if data.labels is None:
        raise DataError(f"{data.name}: no labels; an evaluation needs y, or class folders")
    run = simulate(program, data, full_trace=True, threads=threads, progress=progress,
                   client=client, device=device)  # fmt: skip
    correct = metrics.correct_by_step(run.logits, data.labels)
    table = _Table.of(program, run, correct, cost)
    steps = range(1, program.T + 1)
    second = None
    if isinstance(program.exit_rule, Policy):
        second = table.point("SEENN-II", 0.0, run.exit_step, policy=True)
    return Evaluation(
        len(data),
        str(cost),
        correct.mean(axis=0),
        metrics.aet(correct),
        metrics.empirical_aet(correct),
        tuple(table.point("fixed", t, np.full(len(data), t)) for t in steps),
        tuple(table.point("SEENN-I", r.alpha, r.exit_steps(run.logits)) for r in rules),
        second,
        None if second is None else _as_accurate(table, run.logits, second.accuracy),
        _is_resnet19(program),
        program.provenance.not_proven,
        table.schedule,
        data.length is not None or data.rate > 0,
        data.rate,
    )


def _is_resnet19(program: Program) -> bool:
    """Tell by its shapes whether it is the paper's ResNet-19 for CIFAR-10; names say nothing."""
    graph, T = program.graph, program.T
    shapes = Counter(node.shape for node in graph.layers)
    macs = sum(edge.dense_macs for edge in graph.projections)
    return (graph.source.shape, T, macs, shapes) == ((3, 32, 32), 4, RESNET19_MACS, RESNET19)


@dataclass(frozen=True, eq=False)
class _Table:
    """Whether every sample is right had it stopped at t, and its joules; arrays (N, T).

    `useful` are those up to t, `spent` those of a rule that finds t on the way.
    """

    correct: Array
    useful: Array
    spent: Array
    policy_energy: float | None
    schedule: str
    run: RunResult

    @classmethod
    def of(cls, program: Program, run: RunResult, correct: Array, cost: Priced) -> _Table:
        found = spent_by_step(program, run, cost)
        policy = run.compare(cost).policy_energy
        return cls(correct, found.useful, found.spent, policy, found.schedule, run)

    def point(self, rule: str, parameter: float, step: Array, policy: bool = False) -> Point:
        step = self.run.ended(step)
        rows, known = (np.arange(len(step)), step - 1), rule != "SEENN-I"
        useful = float(self.useful[rows].mean())
        energy = useful if known else float(self.spent[rows].mean())
        extra = self.policy_energy if policy else 0.0
        total = None if extra is None else energy + extra
        accuracy, mean_step = float(self.correct[rows].mean()), float(step.mean())
        return Point(
            rule,
            float(parameter),
            accuracy,
            mean_step,
            energy,
            extra,
            total,
            energy - useful,
            self.run.heard(step),
        )


def _as_accurate(table: _Table, logits: Array, accuracy: float) -> Point | None:
    """Return SEENN-I at the cheapest of all thresholds that reaches an accuracy."""
    steps = np.arange(1, logits.shape[1])
    scores = Confidence().score(logits[:, :-1], steps)
    distinct = distinct_thresholds(scores)
    # Of many distinct scores a thousand, evenly spread, are tried.
    spread = np.linspace(0, len(distinct) - 1, min(len(distinct), 1000)).astype(int)
    picked = distinct[spread]
    # 1, which no score exceeds, stands for running to T.
    alphas = np.append(picked[picked > 0], 1.0)
    points = OperatingPoints.of_scores(scores, alphas)
    right, energy = points.sums(table.correct), points.sums(table.spent)
    enough = np.flatnonzero(right >= accuracy * len(logits) - _ROUNDING)
    if not len(enough):
        return None
    alpha = float(alphas[enough[energy[enough].argmin()]])
    return table.point("SEENN-I", alpha, Confidence(alpha).exit_steps(logits))


def _confidence(alpha: float) -> Confidence:
    try:
        return Confidence(alpha)
    except ValueError as error:
        raise DataError(str(error)) from None


def _stored(point: Point) -> dict[str, Any]:
    names = ("energy", "wasted_energy", "policy_energy", "total_energy")
    values = asdict(point)
    micro = {f"{n}_uJ": None if values[n] is None else values[n] * 1e6 for n in names}
    return {k: v for k, v in values.items() if k not in names} | micro


__all__ = ["PUBLISHED", "THRESHOLDS", "Evaluation", "Point", "Published", "evaluate"]
