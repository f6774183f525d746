"""The simulator beside the torch reference, neuron by neuron, with every tie proven.

Float32 sums taken in another order may fall on the other side of a threshold. Such a neuron is a
*tie* if, after exactly the simulator's spike history, float64 puts v' closer to the threshold than
float32 rounding can move it; anything else is an error and counted as `unproven`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from seenn_deploy.graph import Conv2d, Dense, Identity, Population, Sparse, SpikingGraph
from seenn_deploy.program import Program
from seenn_deploy.simulator.engine import simulate
from tests import naive, reference

UNIT = 2.0**-24  # float32's unit roundoff


@dataclass
class Agreement:
    """What a comparison found; sums over batches."""

    samples: int = 0
    decisions: int = 0
    ties: int = 0
    unproven: int = 0
    largest_tie: float = 0.0
    largest_bound: float = 0.0
    diverged: int = 0
    worst_logit: float = 0.0
    worst_logit_diverged: float = 0.0
    predictions_differ: int = 0
    exits_differ: int = 0
    unexplained: int = 0

    def add(self, other: Agreement) -> None:
        for name, value in vars(other).items():
            mine = getattr(self, name)
            kept = max(mine, value) if isinstance(value, float) else mine + value
            setattr(self, name, kept)

    def table(self) -> str:
        rows = {
            "samples": self.samples,
            "neuron decisions": self.decisions,
            "ties: float64 decides otherwise after the same history": self.ties,
            "  largest |v' - V| among them": f"{self.largest_tie:.2e}",
            "  bound on float32 rounding, largest of all layers": f"{self.largest_bound:.2e}",
            "  farther than their layer's bound (errors)": self.unproven,
            "samples where a tie makes spikes differ from torch float32": self.diverged,
            "largest |difference| of logits, the other samples": f"{self.worst_logit:.2e}",
            "largest |difference| of logits, these samples": f"{self.worst_logit_diverged:.2e}",
            "samples whose prediction at the exit differs": self.predictions_differ,
            "samples whose exit step differs": self.exits_differ,
            "  of these without a tie (errors)": self.unexplained,
        }
        width = max(map(len, rows))
        return "\n".join(f"{name:<{width}}  {value}" for name, value in rows.items())


def compare(
    program: Program,
    step: reference.Step,
    state: reference.State,
    images: np.ndarray,
    *,
    alpha: float | None = None,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
) -> Agreement:
    """Run one batch both ways, all T steps; `alpha` is that of the program's exit rule."""
    graph, T = program.graph, program.T
    run = simulate(program, images, record=True, full_trace=True)
    torch32 = reference.forward(step, state, images, T, mean=mean, std=std, neurons=_neurons(graph))
    same_history = reference.forward(
        step,
        state,
        images,
        T,
        dtype=torch.float64,
        mean=mean,
        std=std,
        neurons=_neurons(graph, run.spikes),
    )
    found = Agreement(samples=len(images))
    diverged = np.zeros(len(images), bool)
    first = np.full(len(images), T * len(graph.nx))  # place of a sample's first divergence
    proven = np.ones(len(images), bool)
    for at, node in enumerate(n for n in graph.layers if isinstance(n, Population)):
        v, spikes = same_history.before_reset[node.name], run.spikes[node.name]
        distance = np.abs(v - node.v_threshold)
        tied = (_above(v, node) != spikes).reshape(spikes.shape)
        bound = rounding_bound(graph, node.name)
        near = distance < bound
        found.largest_bound = max(found.largest_bound, bound)
        found.decisions += spikes.size
        found.ties += int(tied.sum())
        found.unproven += int((tied & ~near).sum())
        found.largest_tie = max(found.largest_tie, float(np.max(distance, where=tied, initial=0)))
        differs = torch32.spikes[node.name].astype(bool) != spikes
        for n, t in np.argwhere(differs.reshape(len(images), T, -1).any(axis=2)):
            diverged[n] = True
            if t * len(graph.nx) + at < first[n]:
                first[n] = t * len(graph.nx) + at
                proven[n] = bool(near[n, t][differs[n, t]].all())
    found.diverged = int(diverged.sum())
    found.unproven += int((~proven).sum())
    gap = np.abs(run.logits - torch32.logits).max(axis=(1, 2))
    found.worst_logit = float(np.max(gap, where=~diverged, initial=0))
    found.worst_logit_diverged = float(np.max(gap, where=diverged, initial=0))
    exits = np.array([naive.exit_step(z, alpha) for z in torch32.logits])
    there = np.arange(len(images)), exits - 1
    other_class = torch32.logits[there].argmax(axis=-1) != run.prediction
    other_exit = exits != run.exit_step
    found.predictions_differ, found.exits_differ = int(other_class.sum()), int(other_exit.sum())
    found.unexplained = int(((other_class | other_exit) & ~diverged).sum())
    return found


def _above(v: np.ndarray, node: Population) -> np.ndarray:
    return v > node.v_threshold if node.comparison == ">" else v >= node.v_threshold


def _neurons(graph: SpikingGraph, forced: dict[str, np.ndarray] | None = None) -> reference.Neurons:
    node = next(n for n in graph.layers if isinstance(n, Population))
    return reference.Neurons(node.tau, node.v_threshold, node.comparison, forced)


def rounding_bound(graph: SpikingGraph, name: str) -> float:
    """How far float32 rounding can move v' of any neuron of a population.

    A sum of n products, each weight rounded once, errs by at most (n + 2) u sum |w x|, and
    |x| <= 1; bias, leak and threshold add their share. With a leak of tau errors add up to
    1 / (1 - tau) times as much, and two computations, the simulator's and torch's, may err in
    opposite directions.
    """
    node = graph.nx.nodes[name]["node"]
    size, terms = float(np.abs(node.bias).max()) + node.v_threshold, 4
    for *_, edge in graph.nx.in_edges(name, data="projection"):
        weight, n = _row_sums(edge.maps[0])
        size, terms = size + weight, terms + n
    return float(2 * (terms + 2) * UNIT * size / (1 - min(node.tau, 0.75)))


def _row_sums(step: object) -> tuple[float, int]:
    """Largest sum of |w| over the synapses of one target neuron, and their number."""
    if isinstance(step, Conv2d):
        rows = np.abs(step.weight).reshape(len(step.weight), -1)
    elif isinstance(step, Dense):
        rows = np.abs(step.weight)
    elif isinstance(step, Identity):
        rows = np.abs(step.weight).reshape(1, 1)
    elif isinstance(step, Sparse):
        sums = np.bincount(step.targets, np.abs(step.weight))
        return float(sums.max()), int(np.bincount(step.targets).max())
    else:
        raise TypeError(type(step).__name__)
    return float(rows.sum(axis=1).max()), rows.shape[1]
