"""What a verification found: by layer, by sample, and in sum."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from seenn_deploy.ir import html

Kind = Literal["tie", "consequence", "mismatch"]


@dataclass(frozen=True)
class Difference:
    """A neuron and timestep at which the two disagree, the first ones of their sample.

    Parameters
    ----------
    sample : int
        From 0.
    step : int
        From 1.
    layer : str
    neuron : tuple of int
        Index in the layer; of an exit step that differs: empty.
    kind : 'tie' or 'mismatch'
    distance : float
        |v' - V|, v' recomputed in float64 from the spikes before, on which both agree. Of an exit:
        the largest difference of two logits. An exit is a tie if the device obeys the rule.
    bound : float
        What float32 rounding can explain: a tie lies within it; 0 of integer programs.
    quantity : 'spike', 'v', 'logit' or 'exit step'
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
    """How the spikes of one population compare.

    ``mismatching = ties + consequences + mismatches``. Of integer programs `potentials` counts the
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
    """What a verification found.

    Parameters
    ----------
    device : str
    samples : int
    layers : tuple of LayerReport
        Populations in topological order.
    first_differences : tuple of Difference
        Of each sample that has any: all neurons of its first differing step and depth.
    exit_steps : tuple of (int, int)
        Simulated and on the device, a sample each.
    wrong_logits : int
        Logits of either that float32 rounding cannot explain, given its own spikes; of integer
        programs all that differ.
    max_logit_difference : float
        Over samples whose spikes all agree.
    hardware_steps : tuple of int
        Of each sample, from its first frame to its answer.
    device_seconds : float
        Start of the device included.
    wrong_latencies : int
        Samples whose start or latency is not what the schedule says.
    near_exits : int
        Of integer programs: decisions at which the float rule may have decided otherwise.
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

    def __repr__(self) -> str:
        spikes = sum(layer.compared for layer in self.layers)
        counts = {
            "mismatches": sum(layer.mismatches for layer in self.layers),
            "wrong logits": self.wrong_logits,
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
        return html.table(repr(self), header, rows)

    @property
    def ok(self) -> bool:
        """Everything agrees, or differs by proven ties and what they caused."""
        wrong = sum(layer.mismatches + layer.potentials for layer in self.layers)
        wrong += self.wrong_logits + self.wrong_latencies
        return not wrong and all(d.kind == "tie" for d in self.first_differences)

    @property
    def exact(self) -> bool:
        """Every spike and every exit step agrees."""
        return self.ok and not self.first_differences

    def summary(self) -> dict[str, Any]:
        """The report as JSON values."""
        counts = ("compared", "mismatching", "ties", "consequences", "mismatches")
        return {
            "device": self.device,
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
            "device_seconds": self.device_seconds,
            "layers": [asdict(layer) for layer in self.layers],
            "first_differences": [asdict(d) for d in self.first_differences],
        }
