"""The results of ``evaluate_shift``: what each exit rule did to images as they are and shifted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from seenn_deploy.evaluation.shift.corruptions import STRENGTHS
from seenn_deploy.evaluation.shift.reliability import Reliability
from seenn_deploy.exits import ExitRule

CLEAN = "clean"
FIGURES = ("accuracy", "mean_exit_step", "energy", "early", "early_wrong", "covered")


@dataclass(frozen=True)
class RuleFigures:
    """What an exit rule did to the images of one condition; means over samples.

    Parameters
    ----------
    accuracy, mean_exit_step : float
    energy : float
        Joules per sample that the schedule spends, wasted timesteps and a policy network included.
    early, early_wrong : float
        Share of all samples that stopped before T, and that did so with a wrong answer; conformal
        rules keep the latter at 1 - level or below on images like those of the calibration.
    covered : float
        Share of samples whose true label was in every prediction set up to the exit and before T,
        which conformal rules keep at `level` or above; NaN for rules without sets.
    """

    accuracy: float
    mean_exit_step: float
    energy: float
    early: float
    early_wrong: float
    covered: float

    @classmethod
    def mean(cls, others: Sequence[RuleFigures]) -> RuleFigures:
        """Return the means over several conditions, each counting as much as another."""
        return cls(*(float(np.mean([getattr(x, name) for x in others])) for name in FIGURES))

    def summary(self) -> dict[str, Any]:
        """Return the figures as JSON values, energy in microjoules."""
        values = {name: getattr(self, name) for name in FIGURES}
        covered = values.pop("covered")
        energy = 1e6 * values.pop("energy")
        return {**values, "energy_uJ": energy, "covered": None if np.isnan(covered) else covered}


@dataclass(frozen=True, eq=False)
class Condition:
    """Images of one kind of shift and strength.

    Parameters
    ----------
    kind : str
        Name of a corruption, or 'clean'.
    strength : int
        1 to 3; 0 of clean images.
    samples : int
    reliability : tuple of T Reliability
    rules : dict of str to RuleFigures
        By name of the rule; 'fixed' runs to T.
    """

    kind: str
    strength: int
    samples: int
    reliability: tuple[Reliability, ...]
    rules: dict[str, RuleFigures]

    @property
    def name(self) -> str:
        """Kind and strength, as tables say it."""
        return f"{self.kind} {self.strength}" if self.strength else self.kind

    def summary(self) -> dict[str, Any]:
        """Return the figures as JSON values."""
        return {
            "kind": self.kind,
            "strength": self.strength,
            "samples": self.samples,
            "accuracy_by_step": [r.mean_accuracy for r in self.reliability],
            "reliability_by_step": [r.summary() for r in self.reliability],
            "rules": {name: figures.summary() for name, figures in self.rules.items()},
        }


@dataclass(frozen=True, eq=False)
class ShiftReport:
    """The results of `evaluate_shift`.

    Parameters
    ----------
    conditions : tuple of Condition
        The clean images first, then every kind at every strength.
    rules : dict of str to ExitRule
        The rules as they were calibrated; a program's own policy network is 'policy'.
    calibrated_on : int
        Number of clean images on which the rules were calibrated; they are in no condition.
    level : float
        Level that they were calibrated for.
    seed : int
    cost, schedule : str
    not_proven : str
        Reason why the program was not compared with its source; '' where it was.
    """

    conditions: tuple[Condition, ...]
    rules: dict[str, ExitRule]
    calibrated_on: int
    level: float
    seed: int
    cost: str
    schedule: str
    not_proven: str = ""

    def __repr__(self) -> str:
        return f"ShiftReport({len(self.conditions)} conditions, rules {', '.join(self.rules)})"

    @property
    def clean(self) -> Condition:
        """The images as they are."""
        return self.conditions[0]

    def at(self, strength: int) -> list[Condition]:
        """Return the conditions of one strength; 0 gives the clean images alone."""
        return [c for c in self.conditions if c.strength == strength]

    def rule_by_strength(self, rule: str) -> list[RuleFigures]:
        """Return a rule's figures at strengths 0 to 3, the means over all kinds of shift."""
        by_strength = [self.at(s) for s in (0, *STRENGTHS)]
        return [RuleFigures.mean([c.rules[rule] for c in x]) for x in by_strength if x]

    def summary(self) -> dict[str, Any]:
        """Return the figures as JSON values, energies in microjoules."""
        return {
            **({"not_proven": self.not_proven} if self.not_proven else {}),
            "calibrated_on": self.calibrated_on,
            "level": self.level,
            "seed": self.seed,
            "cost_model": self.cost,
            "schedule": self.schedule,
            "rules": {name: rule.to_dict() for name, rule in self.rules.items()},
            "conditions": [c.summary() for c in self.conditions],
        }
