"""Synapse filters, whose currents leak where no spike arrives."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from seenn_deploy._typing import Array, Shape
from seenn_deploy.ir.nodes.base import Node, Parameter, shown


@dataclass(frozen=True, eq=False)
class Filter(Node):
    """Currents that are kept, and sent on at every timestep as real values.

    ``i[t] = i[t-1] - (1 - x[t]) (1 - tau) i[t-1] + x[t]`` with ``i[0] = 0``, where x is what
    arrives, bias included. Of spikes it leaks where none came, and grows by 1 where one did
    (SpikingJelly's ``SynapseFilter``; arXiv 2003.02944).

    Parameters
    ----------
    shape : (C, H, W) or (N,)
    tau : float, or array of `shape` or of shape (C, 1, 1)
        Share of the current that a timestep without a spike leaves.
    bias : array of `shape`, of shape (C, 1, 1), or ()
        Added to what arrives at every timestep.
    """

    graded: ClassVar[bool] = True
    spikes: ClassVar[bool] = False
    real: ClassVar[bool] = True

    name: str
    shape: Shape
    tau: Parameter = 0.5
    bias: Array = field(default_factory=lambda: np.zeros((), np.float32))

    @property
    def text(self) -> str:
        """For example: synapse filter, tau 0.5."""
        return f"synapse filter, tau {shown(self.tau)}"

    @property
    def neurons(self) -> int:
        """None: there is no threshold."""
        return 0

    def after(self, before: Array, x: Array) -> Array:
        """The currents behind those of the timestep before, in the type of both."""
        leak = np.asarray(1 - np.asarray(self.tau), before.dtype)
        kept: Array = before - (1 - x) * (leak * before)
        return kept + x
