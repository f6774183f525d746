"""Leaky integrate-and-fire neurons."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from seenn_deploy._typing import Array, Shape
from seenn_deploy.ir.nodes.base import Node, Parameter, shown


@dataclass(frozen=True, eq=False)
class Population(Node):
    """Leaky integrate-and-fire neurons (design, section 2).

    ``u[t] = tau_syn u[t-1] + a[t] + bias`` with ``u[0] = 0``; ``v'[t] = tau v[t-1] + u[t]``;
    ``s[t] = v'[t] > v_threshold``; ``v[t] = 0`` where it spiked (hard reset) or
    ``v' - reset_by s`` (soft reset).

    Parameters
    ----------
    shape : (C, H, W) or (N,)
    tau, v_threshold, v_init, tau_syn, reset_by : float, or array
        One number for all neurons, or an array of `shape` or of shape (C, 1, 1).
    tau : float
        Share of the membrane potential that a timestep leaves.
    reset_by : float, optional
        What a soft reset subtracts; the threshold by default. A reset that comes after the next
        leak, as snnTorch's, subtracts ``v_threshold / tau``.
    bias : array of `shape`, of shape (C, 1, 1), or ()
        Added to the input current at every timestep.
    comparison : '>' or '>='
    tau_syn : float
        Share of the synaptic current that a timestep leaves; 0: currents last one timestep.
    """

    name: str
    shape: Shape
    tau: Parameter = 0.5
    v_threshold: Parameter = 1.0
    v_init: Parameter = 0.0
    reset: Literal["hard", "soft"] = "hard"
    comparison: Literal[">", ">="] = ">"
    bias: Array = field(default_factory=lambda: np.zeros((), np.float32))
    tau_syn: Parameter = 0.0
    reset_by: Parameter | None = None

    @property
    def subtracted(self) -> Parameter:
        """The amount that a soft reset subtracts."""
        return self.v_threshold if self.reset_by is None else self.reset_by

    @property
    def each_its_own(self) -> bool:
        """Whether neurons differ in what a timestep does to them."""
        values = self.tau, self.tau_syn, self.v_threshold, self.subtracted
        return any(isinstance(x, np.ndarray) for x in values)

    @property
    def text(self) -> str:
        """For example: LIF, tau 0.5, V 1, hard reset."""
        parts = ["IF" if np.all(self.tau == 1) else f"LIF, tau {shown(self.tau)}"]
        parts += [f"synaptic current {shown(self.tau_syn)}"] if np.any(self.tau_syn) else []
        parts += [f"V {shown(self.v_threshold)}"] if np.all(np.isfinite(self.v_threshold)) else []
        parts += [f"from {shown(self.v_init)}"] if np.any(self.v_init) else []
        changed = self.reset == "soft" and np.any(self.subtracted != self.v_threshold)
        parts += [f"{self.reset} reset" + (f" by {shown(self.subtracted)}" if changed else "")]
        return ", ".join(parts + ([self.comparison] if self.comparison != ">" else []))
