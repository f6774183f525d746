"""The figures of a sweep at one threshold, and along all thresholds."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from seenn_deploy._typing import Array
from seenn_deploy.exits import ExitRule


@dataclass(frozen=True)
class Estimate:
    """A mean over the report split and its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Figures:
    """Means over samples.

    Parameters
    ----------
    accuracy, accuracy_change : Estimate
        Share of right predictions, and that share minus the one at T.
    mean_exit_step : Estimate
        Timesteps.
    energy, wasted_energy : Estimate
        Joules per sample that the schedule spends, and the part of them that goes into timesteps
        behind the exit, which a speculative schedule injects before the exit is known.
    latency_steps : Estimate
        Hardware steps until the answer; of a sequential schedule, passes through the network.
    ac, mac : Estimate
        Operations per sample up to the exit.
    """

    accuracy: Estimate
    accuracy_change: Estimate
    mean_exit_step: Estimate
    energy: Estimate
    wasted_energy: Estimate
    latency_steps: Estimate
    ac: Estimate
    mac: Estimate

    def summary(self) -> dict[str, Any]:
        """Return the values under the names of all summaries, and the bounds with ``_interval``."""
        found = {}
        for name, key, factor in _NAMES:
            x = getattr(self, name)
            found[key] = x.value * factor
            found[f"{key}_interval"] = [x.low * factor, x.high * factor]
        # Under the name of all summaries; no policy network takes part in a sweep.
        return found | {"total_energy_uJ_per_sample": found["energy_uJ_per_sample"]}


# Field, its name in files, and the factor from the field to the file.
_NAMES = (
    ("accuracy", "accuracy", 1.0),
    ("accuracy_change", "accuracy_change", 1.0),
    ("mean_exit_step", "mean_exit_step", 1.0),
    ("energy", "energy_uJ_per_sample", 1e6),
    ("wasted_energy", "wasted_energy_uJ_per_sample", 1e6),
    ("latency_steps", "latency_steps", 1.0),
    ("ac", "ac_per_sample", 1.0),
    ("mac", "mac_per_sample", 1.0),
)


@dataclass(frozen=True)
class Choice:
    """One way to stop, a rule or a fixed timestep, with its figures on the samples reported.

    Parameters
    ----------
    rule : ExitRule
        What ``program.with_exit`` and ``sd.compile`` take.
    figures : Figures
        Means over samples, each with a 95 % interval.
    exit_histogram : tuple of int
        Samples that exited at t = 1..T.
    """

    rule: ExitRule
    figures: Figures
    exit_histogram: tuple[int, ...]

    @property
    def longest(self) -> int:
        """The largest exit step; of a fixed t it is t."""
        return max(t for t, n in enumerate(self.exit_histogram, start=1) if n)

    @property
    def accuracy(self) -> float:
        """The share of right predictions."""
        return self.figures.accuracy.value

    @property
    def mean_exit_step(self) -> float:
        """Timesteps that a sample takes in the mean."""
        return self.figures.mean_exit_step.value

    @property
    def energy(self) -> float:
        """Joules per sample that the schedule spends."""
        return self.figures.energy.value

    def __str__(self) -> str:
        return f"fixed t={self.longest}" if self.rule.name == "fixed" else str(self.rule)

    def __repr__(self) -> str:
        return (
            f"Choice({self}: {100 * self.accuracy:.2f} % right, mean exit step "
            f"{self.mean_exit_step:.3f}, {1e6 * self.energy:.4g} uJ per sample)"
        )

    def summary(self) -> dict[str, Any]:
        """Return the choice as JSON values."""
        histogram = {str(t): n for t, n in enumerate(self.exit_histogram, start=1)}
        return {
            "exit_rule": self.rule.to_dict(),
            **self.figures.summary(),
            "exit_histogram": histogram,
        }


@dataclass(frozen=True, eq=False)
class Curve:
    """An exit rule at K thresholds, ascending; float64 arrays (K,) of means as in `Figures`.

    Parameters
    ----------
    rule, parameter : str
    threshold : float64 (K,)
        Values of the parameter.
    front_energy, front_steps : bool (K,)
        Whether a point lies on the Pareto front: no other point, of any rule or fixed t, is as
        accurate with less energy (fewer timesteps), or more accurate with as much.
    """

    rule: str
    parameter: str
    threshold: Array
    accuracy: Array
    accuracy_change: Array
    mean_exit_step: Array
    energy: Array
    wasted_energy: Array
    latency_steps: Array
    ac: Array
    mac: Array
    front_energy: Array
    front_steps: Array

    def __repr__(self) -> str:
        return f"Curve({self.rule}, {len(self.threshold)} values of {self.parameter})"

    def columns(self) -> dict[str, list[Any]]:
        """Return columns of plain numbers by name, with energies in microjoules."""
        figures = {key: (getattr(self, name) * factor).tolist() for name, key, factor in _NAMES}
        front = {name: getattr(self, name).tolist() for name in ("front_energy", "front_steps")}
        return {"threshold": self.threshold.tolist(), **figures, **front}


FIGURES = tuple(f.name for f in fields(Figures))
