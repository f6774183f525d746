"""The changes that integer arithmetic makes: spikes by layer, decisions, overflows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from seenn_deploy._typing import Array
from seenn_deploy.errors import ProgramError
from seenn_deploy.io.images.image_set import ImageSet
from seenn_deploy.ir.inputs import for_program
from seenn_deploy.ir.program import Program
from seenn_deploy.simulator.engine import simulate
from seenn_deploy.simulator.result import RunResult

BATCH = 50  # images whose recorded spikes are held at a time


@dataclass(frozen=True, eq=False)
class PrecisionReport:
    """A float program and its integer form on the same N images, all T timesteps.

    Parameters
    ----------
    samples : int
    spikes_changed : dict
        For each population, the share of neurons and timesteps at which only one of the two spikes.
    saturated : dict
        For each layer, the wrapped currents and clipped potentials of the integer program.
    predictions_changed, exits_changed : int
        Number of samples whose prediction at the exit, or whose exit, changed.
    near_threshold : int
        Number of decisions so near the confidence limit that the table of exponentials may decide
        otherwise than the exponential itself.
    policy_choices_equal : int, optional
        Number of samples for which the integer policy network chooses as the float one; None of
        programs without.
    accuracy : (float, float), optional
        Share of right predictions at the exit, of the float and of the integer program, where the
        images have labels.
    """

    samples: int
    spikes_changed: dict[str, float]
    saturated: dict[str, int]
    predictions_changed: int
    exits_changed: int
    near_threshold: int
    policy_choices_equal: int | None = None
    accuracy: tuple[float, float] | None = None

    def summary(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {
            "calibration_samples": self.samples,
            "spikes_changed": self.spikes_changed,
            "saturated": self.saturated,
            "predictions_changed": self.predictions_changed,
            "exits_changed": self.exits_changed,
            "near_threshold": self.near_threshold,
            "policy_choices_equal": self.policy_choices_equal,
            "accuracy_float32": self.accuracy and self.accuracy[0],
            "accuracy": self.accuracy and self.accuracy[1],
        }


def _recorded(program: Program, batch: Array, length: Array | None) -> RunResult:
    # To T, so that both have spikes to compare wherever one of them would have stopped.
    some = replace(for_program(program, batch), length=length)
    return simulate(program, some, record=True, full_trace=True)


def compare_precisions(
    program: Program, integer: Program, images: Array | ImageSet
) -> PrecisionReport:
    """Run both forms of a program and say where they differ.

    Parameters
    ----------
    program, integer : Program
        A float program, and the program that ``to_integers`` made of it.
    images : array (N, C, H, W) or ImageSet

    Raises
    ------
    ProgramError
        When `integer` is no integer program.
    """
    if integer.precision == "float32":
        raise ProgramError("the second program is not an integer program")
    data = for_program(program, images)
    layers = program.graph.layers
    changed = {p.name: 0 for p in program.graph.populations}
    saturated = {layer.name: 0 for layer in layers}
    predictions = exits = near = 0
    right = np.zeros(2, np.int64)
    done = 0
    for batch in data.batches(BATCH):
        length = None if data.length is None else data.length[done : done + len(batch)]
        a, b = (_recorded(p, batch, length) for p in (program, integer))
        for name in changed:
            changed[name] += int(np.count_nonzero(a.spikes[name] != b.spikes[name]))
        for number, layer in enumerate(layers):
            saturated[layer.name] += int(b.counts.saturated[:, number].sum())
        if data.labels is not None:
            labels = data.labels[done : done + len(batch)]
            right += [np.count_nonzero(run.prediction == labels) for run in (a, b)]
        done += len(batch)
        predictions += int(np.count_nonzero(a.prediction != b.prediction))
        exits += int(np.count_nonzero(a.exit_step != b.exit_step))
        assert b.integer_logits is not None
        steps = np.broadcast_to(np.arange(1, program.T + 1), b.integer_logits.shape[:2])
        close = integer.integer_rule().near(b.integer_logits, steps)
        if length is not None:
            close &= steps <= length[:, None]
        near += int(np.count_nonzero(close))
    ran = len(data) * program.T if data.length is None else int(data.length.sum())
    shares = {
        name: count / (ran * int(np.prod(program.graph.node(name).shape)))
        for name, count in changed.items()
    }
    accuracy = None if data.labels is None else (right[0] / done, right[1] / done)
    # Behind a policy network the exit is its choice.
    same = None if integer.policy is None else len(data) - exits
    return PrecisionReport(len(data), shares, saturated, predictions, exits, near, same, accuracy)
