"""The readout, which sums currents up to logits."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from seenn_deploy._typing import Array, Shape
from seenn_deploy.ir.nodes.base import Node, Parameter, shown


@dataclass(frozen=True, eq=False)
class Readout(Node):
    """A readout: neurons without threshold, whose potentials are the logits.

    ``u[t] = tau_syn u[t-1] + W s[t] + bias`` with ``u[0] = 0``; ``z[t] = tau z[t-1] + u[t]``.

    Parameters
    ----------
    tau : float, or array of `shape`
        1 sums over timesteps (design, section 2); below 1 it is a leaky integrator.
    tau_syn : float, or array of `shape`
        Share of the synaptic current that a timestep leaves; 0: currents last one timestep.
    """

    spikes: ClassVar[bool] = False

    name: str
    shape: Shape
    bias: Array = field(default_factory=lambda: np.zeros((), np.float32))
    tau: Parameter = 1.0
    tau_syn: Parameter = 0.0

    @property
    def text(self) -> str:
        current = f", synaptic current {shown(self.tau_syn)}" if np.any(self.tau_syn) else ""
        return ("summed" if np.all(self.tau == 1) else f"leaky, tau {shown(self.tau)}") + current

    @property
    def neurons(self) -> int:
        return 0
