"""One run under every convention of energy: the cost models side by side, with ANNs and policy.

An energy is a product of exact counts and of somebody's prices. Which prices, and which counts
have one at all, moves it by orders of magnitude, so a single figure says little. The matrix has a
row for every cost model, and where a model cannot price a part, it says why instead of a figure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seenn_deploy import costs
from seenn_deploy.costs.ann import activation_bits, ann_energy
from seenn_deploy.costs.model import CostModel

if TYPE_CHECKING:
    from seenn_deploy._typing import Array
    from seenn_deploy.simulator.result import RunResult

ENERGIES = ("useful", "wasted", "policy", "total", "dense_ann", "quantized_ann")


@dataclass(frozen=True)
class Row:
    """The mean energy of a sample in joules under one cost model, None where it is not known.

    Parameters
    ----------
    name, about : str
        The cost model, and what it says of itself.
    useful : float, optional
        Timesteps up to the exit; None where the model needs what the run does not have.
    wasted : float, optional
        Timesteps that the schedule began behind the exit; None where they did not run.
    policy : float, optional
        The policy network; 0 without one.
    total : float, optional
        The sum of these three, which is what the schedule spends.
    dense_ann, quantized_ann : float, optional
        The same network as an ANN; see :class:`seenn_deploy.costs.ann.Comparison`.
    reason : str
        Why figures are missing; '' where all of them are there.
    """

    name: str
    about: str
    useful: float | None
    wasted: float | None
    policy: float | None
    total: float | None
    dense_ann: float | None
    quantized_ann: float | None
    reason: str = ""


@dataclass(frozen=True)
class Matrix:
    """One run under every cost model.

    Parameters
    ----------
    samples : int
        Number of samples that the means are over.
    schedule : str
        The schedule whose energy is told.
    bits : int
        Width of the quantised ANN's activations.
    rows : tuple of Row
    """

    samples: int
    schedule: str
    bits: int
    rows: tuple[Row, ...]

    def __repr__(self) -> str:
        return f"Matrix({self.samples} samples, {self.schedule}, {len(self.rows)} cost models)"

    def summary(self) -> dict[str, Any]:
        """Return the figures as JSON values, energies in microjoules per sample."""
        return {
            "samples": self.samples,
            "schedule": self.schedule,
            "quantized_ann_bits": self.bits,
            "cost_models": [_row_summary(row) for row in self.rows],
        }


def matrix(run: RunResult, models: Sequence[str | Path] | None = None) -> Matrix:
    """Price one run under every cost model.

    Parameters
    ----------
    run : RunResult
        The run, under the schedule that it is told under.
    models : sequence of str or Path, optional
        Names of cost models, or files with them; by default all that come with the package.

    Returns
    -------
    Matrix
        A row for each model, in their order.

    Raises
    ------
    DataError
        When a cost model cannot be read.

    Examples
    --------
    >>> import seenn_deploy as sd
    >>> from seenn_deploy.evaluation import conventions
    >>> files = sd.example()
    >>> program = sd.compile(sd.import_model(files.network, T=4))
    >>> found = conventions.matrix(sd.simulate(program, files.images), ["paper", "loihi1"])
    >>> [(row.name, f"{1e6 * row.total:.2f} uJ", row.dense_ann is None) for row in found.rows]
    [('paper', '9.89 uJ', False), ('loihi1', '245.67 uJ', True)]
    """
    loaded = [costs.load(model) for model in (costs.names() if models is None else models)]
    # Energies are linear in the counts, so that the mean counts have the mean energy.
    useful, wasted = (
        {name: values.mean(axis=0) for name, values in counts.by_layer().items()}
        for counts in (run.charged, run.wasted)
    )
    return Matrix(
        len(run.exit_step),
        run.timing.schedule,
        activation_bits(run.logits.shape[1]),
        tuple(_row(run, model, useful, wasted) for model in loaded),
    )


def _row(
    run: RunResult, model: CostModel, useful: Mapping[str, Array], wasted: Mapping[str, Array]
) -> Row:
    known = not model.lacks(run.sizes)
    spent = float(model.energy(useful, run.sizes)) if known else None
    unused = float(model.energy(wasted, run.sizes)) if known and not run.lower_bound else None
    policy = ann_energy(model, run.policy) if run.policy else 0.0
    parts = (spent, unused, policy)
    bits = activation_bits(run.logits.shape[1])
    return Row(
        model.name,
        model.about,
        spent,
        unused,
        policy,
        None if None in parts else sum(part for part in parts if part is not None),
        ann_energy(model, run.sizes),
        ann_energy(model, run.sizes, bits),
        "; ".join(_reasons(run, model)),
    )


def _reasons(run: RunResult, model: CostModel) -> Iterator[str]:
    """Yield why figures are missing."""
    if run.lower_bound:
        yield (
            "the timesteps that the schedule wastes did not run; simulate with wasted=True "
            "(without --skip-wasted)"
        )
    if model.no_ann:
        yield model.no_ann
    if lacks := model.lacks(run.sizes):
        yield lacks
    if run.policy and (lacks := model.lacks(run.policy, ["mac"])):
        yield f"the policy network: {lacks}"


def _row_summary(row: Row) -> dict[str, Any]:
    stored = asdict(row)
    micro = {name: None if stored[name] is None else 1e6 * stored[name] for name in ENERGIES}
    return {
        "name": row.name,
        "about": row.about,
        **{f"{name}_energy_uJ_per_sample": micro[name] for name in ENERGIES[:4]},
        **{f"{name}_energy_uJ": micro[name] for name in ENERGIES[4:]},
        "reason": row.reason,
    }


__all__ = ["Matrix", "Row", "matrix"]
