"""Logits."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from seenn_deploy._typing import Array, Shape
from seenn_deploy.ir.nodes.base import Node


@dataclass(frozen=True, eq=False)
class Readout(Node):
    """Logits, without threshold.

    ``u[t] = tau_syn u[t-1] + W s[t] + bias`` with ``u[0] = 0``; ``z[t] = tau z[t-1] + u[t]``.

    Parameters
    ----------
    tau : float
        1 sums over timesteps (design, section 2); below 1 it is a leaky integrator.
    tau_syn : float
        Share of the synaptic current that a timestep leaves; 0: currents last one timestep.
    """

    spikes: ClassVar[bool] = False

    name: str
    shape: Shape
    bias: Array = field(default_factory=lambda: np.zeros((), np.float32))
    tau: float = 1.0
    tau_syn: float = 0.0

    @property
    def text(self) -> str:
        current = f", synaptic current {self.tau_syn:.6g}" if self.tau_syn else ""
        return ("summed" if self.tau == 1 else f"leaky, tau {self.tau:.6g}") + current

    @property
    def neurons(self) -> int:
        return 0
