"""Spikes added to spikes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from seenn_deploy._typing import Shape
from seenn_deploy.errors import ModelError
from seenn_deploy.ir.maps import LinearMap
from seenn_deploy.ir.nodes.base import Node


@dataclass(frozen=True, eq=False)
class Sum(Node):
    """Spikes added to spikes within the timestep, as in SEW-ResNet: graded spikes 0, 1, 2, ..

    No neuron and no weight: every projection into it has weights of 1 and no lag, from a population
    or another sum, and costs no synapse stage on hardware. It is an identity, or the windows of an
    average pool that is deployed as a sum.
    """

    graded: ClassVar[bool] = True
    stages: ClassVar[int] = 0

    name: str
    shape: Shape

    @property
    def text(self) -> str:
        return "spikes added"

    @property
    def neurons(self) -> int:
        return 0

    def check_input(self, pre: Node, maps: tuple[LinearMap, ...], lag: int) -> None:
        plain = all(np.all(getattr(m, "weight", 0) == 1) for m in maps)
        if not plain or lag or not pre.spikes:
            raise ModelError("a sum takes spikes as they are, without weight or lag")
