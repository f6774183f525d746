"""The simulator beside the torch reference, neuron by neuron, with every tie proven.

Float32 sums taken in another order may fall on the other side of a threshold. Such a neuron is a
*tie* if, after exactly the simulator's spike history, float64 puts v' closer to the threshold than
float32 rounding can move it; anything else is an error and counted as `unproven`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from seenn_deploy.ir.graph import Population, SpikingGraph
from seenn_deploy.ir.program import Program
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
    largest_share: float = 0.0
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
            "  the same as a share of the rounding bound": f"{self.largest_share:.2f}",
            "  farther than the bound, so errors": self.unproven,
            "samples where a tie makes spikes differ from torch float32": self.diverged,
            "largest |difference| of logits, the other samples": f"{self.worst_logit:.2e}",
            "largest |difference| of logits, these samples": f"{self.worst_logit_diverged:.2e}",
            "samples whose prediction at the exit differs": self.predictions_differ,
            "samples whose exit step differs": self.exits_differ,
            "  of these without a tie, so errors": self.unexplained,
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
    first: dict[int, tuple[int, int, str]] = {}  # by sample: step and layer that differ first
    for at, node in enumerate(n for n in graph.layers if isinstance(n, Population)):
        v, spikes = same_history.before_reset[node.name], run.spikes[node.name]
        found.decisions += spikes.size
        tied = _above(v, node) != spikes
        for n, t, *place in np.argwhere(tied):
            bound = rounding_bound(graph, node.name, images[n], run.spikes, n, t, place)
            distance = abs(float(v[n, t][tuple(place)]) - node.v_threshold)
            found.ties += 1
            found.unproven += distance >= bound
            found.largest_tie = max(found.largest_tie, distance)
            found.largest_share = max(found.largest_share, distance / bound)
        differs = torch32.spikes[node.name].astype(bool) != spikes
        for n, t in np.argwhere(differs.reshape(len(images), T, -1).any(axis=2)):
            first[n] = min(first.get(n, (T, 0, "")), (t, at, node.name))
    diverged = np.isin(np.arange(len(images)), list(first))
    for n, (t, _, name) in first.items():
        v, spikes = same_history.before_reset[name][n, t], run.spikes[name][n, t]
        for place in np.argwhere(torch32.spikes[name][n, t].astype(bool) != spikes):
            bound = rounding_bound(graph, name, images[n], run.spikes, n, t, place)
            distance = abs(float(v[tuple(place)]) - graph.nx.nodes[name]["node"].v_threshold)
            found.unproven += distance >= 4 * bound
    found.diverged = int(diverged.sum())
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


def rounding_bound(
    graph: SpikingGraph,
    name: str,
    image: np.ndarray,
    spikes: dict[str, np.ndarray],
    n: int,
    t: int,
    place: Sequence[int],
) -> float:
    """How far float32 rounding can move v' of one neuron, after this history, from exact sums.

    A current of k products whose weights were rounded once errs by at most (k + 2) u S, with S the
    sum of all |w x| and |b|; leak, addition and comparison add 4 u of the same and of V. An error
    of step s reaches v' of step t times tau^(t - s). A second float32 computation that keeps batch
    norm and normalisation apart rounds up to four times as much.
    """
    node = graph.nx.nodes[name]["node"]
    target = int(np.ravel_multi_index(tuple(place), node.shape))
    bias = abs(float(np.broadcast_to(node.bias, node.shape).ravel()[target]))
    tables = []
    for pre, _, edge in graph.nx.in_edges(name, data="projection"):
        shape = graph.nx.nodes[pre]["node"].shape
        tables.append((pre, *naive.incoming(edge.maps[0], shape, node.shape, target)))
    total, size = 0.0, node.v_threshold
    for s in range(t + 1):
        size, terms = node.tau * size + bias + node.v_threshold, 4
        for pre, source, weight in tables:
            x = spikes[pre][n, s] if pre in spikes else _frame(graph, image, s)
            seen = x.ravel()[source].astype(np.float64)
            size += float(np.abs(weight * seen).sum())
            terms += np.count_nonzero(seen)
        total = node.tau * total + (terms + 2) * UNIT * size
    return total


def _frame(graph: SpikingGraph, image: np.ndarray, s: int) -> np.ndarray:
    return image if image.ndim == len(graph.source.shape) else np.asarray(image[s])
