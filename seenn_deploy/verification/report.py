"""The report of a verification: by layer, by sample, and in sum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal

import numpy as np

from seenn_deploy.ir import charts, html

Kind = Literal["tie", "consequence", "mismatch"]


@dataclass(frozen=True)
class Difference:
    """A neuron and timestep at which a device and the simulator first disagree in a sample.

    Parameters
    ----------
    sample : int
        Number of the sample, from 0.
    step : int
        Timestep, from 1.
    layer : str
    neuron : tuple of int
        Index in the layer; empty where it is the exit step that differs.
    kind : 'tie' or 'mismatch'
    distance : float
        |v' - V|, with v' recomputed in float64 from the spikes before, on which both agree. For an
        exit it is the largest difference of two logits; an exit is a tie if the device obeys the
        rule.
    bound : float
        Largest distance that float32 rounding can explain, within which a difference is a tie; 0
        for integer programs.
    quantity : 'spike', 'v', 'logit', 'policy score' or 'exit step'
    simulated, device : float
        The two values.
    """

    sample: int
    step: int
    layer: str
    neuron: tuple[int, ...]
    kind: Kind
    distance: float
    bound: float
    quantity: str
    simulated: float
    device: float


@dataclass(frozen=True)
class LayerReport:
    """The comparison of the spikes of one population.

    ``mismatching = ties + consequences + mismatches``. A tie is a proven rounding tie, and a
    consequence a later difference that a tie caused. For integer programs, `potentials` counts the
    membrane potentials that differ.
    """

    name: str
    compared: int
    mismatching: int = 0
    ties: int = 0
    consequences: int = 0
    mismatches: int = 0
    potentials: int = 0


@dataclass(frozen=True)
class VerifyReport:
    """The report of a verification.

    Parameters
    ----------
    device : str
    samples : int
    layers : tuple of LayerReport
        Populations in topological order.
    first_differences : tuple of Difference
        For each sample with a difference, all neurons of its first differing timestep and depth.
    exit_steps : tuple of (int, int)
        Exit of each sample in the simulator and on the device.
    wrong_logits : int
        Number of logits that float32 rounding cannot explain from the run's own spikes; for
        integer programs, of all logits that differ.
    max_logit_difference : float
        Largest difference of two logits, over samples whose spikes all agree.
    hardware_steps : tuple of int
        Hardware steps of each sample, from its first frame to its answer.
    device_seconds : float
        Seconds on the device, its start included.
    wrong_latencies : int
        Number of samples whose start or latency does not follow the schedule.
    near_exits : int
        Number of decisions at which the float rule may decide otherwise, for integer programs.
    policy_scores, wrong_policy_scores : int
        Number of scores of an integer policy network that were compared, and that differ.
    not_proven : str
        Reason why the program was not compared with its source; '' where it was.
    notes : tuple of str
        What the device says of itself, each ``what: text``.
    measured : dict of float
        What a device that simulates a chip counted in all hardware steps together; see
        :class:`~seenn_deploy.targets.base.DeviceRun`.
    counted : dict of float
        The same, counted by us from the simulator's spikes.
    """

    device: str
    samples: int
    layers: tuple[LayerReport, ...]
    first_differences: tuple[Difference, ...]
    exit_steps: tuple[tuple[int, int], ...]
    wrong_logits: int
    max_logit_difference: float
    hardware_steps: tuple[int, ...]
    device_seconds: float
    wrong_latencies: int = 0
    near_exits: int = 0
    policy_scores: int = 0
    wrong_policy_scores: int = 0
    not_proven: str = ""
    notes: tuple[str, ...] = ()
    measured: Mapping[str, float] = field(default_factory=dict)
    counted: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def joined(cls, parts: Sequence[VerifyReport]) -> VerifyReport:
        """Make one report of those on one part of the samples after another.

        `device_seconds` is the sum over the devices.
        """
        first = np.cumsum([0, *(part.samples for part in parts)])
        differences = tuple(
            replace(found, sample=found.sample + int(before))
            for part, before in zip(parts, first[:-1], strict=True)
            for found in part.first_differences
        )
        layers = tuple(_summed(same) for same in zip(*(part.layers for part in parts), strict=True))
        counts = ("samples", "wrong_logits", "device_seconds", "wrong_latencies", "near_exits",
                  "policy_scores", "wrong_policy_scores")  # fmt: skip
        return replace(
            parts[0],
            layers=layers,
            first_differences=differences,
            exit_steps=tuple(pair for part in parts for pair in part.exit_steps),
            hardware_steps=tuple(steps for part in parts for steps in part.hardware_steps),
            max_logit_difference=max(part.max_logit_difference for part in parts),
            notes=tuple(dict.fromkeys(note for part in parts for note in part.notes)),
            measured=_added([part.measured for part in parts]),
            counted=_added([part.counted for part in parts]),
            **{name: sum(getattr(part, name) for part in parts) for name in counts},
        )

    def __repr__(self) -> str:
        spikes = sum(layer.compared for layer in self.layers)
        counts = {
            "mismatches": sum(layer.mismatches for layer in self.layers),
            "wrong logits": self.wrong_logits,
            "wrong policy scores": self.wrong_policy_scores,
            "wrong latencies": self.wrong_latencies,
            "first differences": len(self.first_differences),
        }
        found = ", ".join(f"{n} {name}" for name, n in counts.items() if n)
        verdict = "equal" if self.exact else "equal but for ties" if self.ok else "NOT equal"
        what = f"{self.device}: {verdict}, {self.samples} samples, {spikes:,} spikes compared"
        return f"VerifyReport({what}{', ' if found else ''}{found})"

    def _repr_html_(self) -> str:
        header = ("layer", "compared", "ties", "consequences", "mismatches", "potentials")
        rows = [
            (x.name, f"{x.compared:,}", x.ties, x.consequences, x.mismatches, x.potentials)
            for x in self.layers
        ]
        return html.table(repr(self), header, rows) + charts.pictures(
            ("verified", {"spikes": self.spikes_by_layer()}, len(self.layers))
        )

    def spikes_by_layer(self) -> list[dict[str, Any]]:
        """Return what became of each layer's spikes, as rows of a chart: layer, what, n."""
        return [
            {"layer": layer.name, "what": what, "n": n}
            for layer in self.layers
            for what, n in (
                ("equal", layer.compared - layer.mismatching),
                ("ties", layer.ties),
                ("consequences", layer.consequences),
                ("mismatches", layer.mismatches),
            )
        ]

    @property
    def ok(self) -> bool:
        """Whether everything agrees, or differs only by proven ties and their consequences."""
        # Ties and their consequences are no fault of either side, and are left out.
        wrong = sum(layer.mismatches + layer.potentials for layer in self.layers)
        wrong += self.wrong_logits + self.wrong_latencies + self.wrong_policy_scores
        return not wrong and all(d.kind == "tie" for d in self.first_differences)

    @property
    def exact(self) -> bool:
        """Whether every spike and every exit step agrees."""
        return self.ok and not self.first_differences

    def summary(self) -> dict[str, Any]:
        """The report as JSON values."""
        counts = ("compared", "mismatching", "ties", "consequences", "mismatches")
        return {
            "device": self.device,
            **({"not_proven": self.not_proven} if self.not_proven else {}),
            **({"notes": list(self.notes)} if self.notes else {}),
            "samples": self.samples,
            "ok": self.ok,
            "exact": self.exact,
            **{f"spikes_{k}": sum(getattr(layer, k) for layer in self.layers) for k in counts},
            "potentials_differing": sum(layer.potentials for layer in self.layers),
            "exit_steps_differing": sum(a != b for a, b in self.exit_steps),
            "mean_exit_step": float(np.mean([b for _, b in self.exit_steps])),
            "wrong_logits": self.wrong_logits,
            "max_logit_difference": self.max_logit_difference,
            "hardware_steps_per_sample": float(np.mean(self.hardware_steps)),
            "wrong_latencies": self.wrong_latencies,
            "near_exits": self.near_exits,
            "policy_scores": self.policy_scores,
            "wrong_policy_scores": self.wrong_policy_scores,
            "device_seconds": self.device_seconds,
            **({"measured": dict(self.measured)} if self.measured else {}),
            **({"counted": dict(self.counted)} if self.counted else {}),
            "layers": [asdict(layer) for layer in self.layers],
            "first_differences": [asdict(d) for d in self.first_differences],
        }


def _summed(layers: Sequence[LayerReport]) -> LayerReport:
    """One layer's comparison over several parts of the samples."""
    counts = [of.name for of in fields(LayerReport) if of.name != "name"]
    return LayerReport(
        layers[0].name, **{name: sum(getattr(of, name) for of in layers) for name in counts}
    )


def _added(parts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: sum(part[name] for part in parts) for name in parts[0]}
