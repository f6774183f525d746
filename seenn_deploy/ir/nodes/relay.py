"""Currents that are sent on as they are."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from seenn_deploy._typing import Array, Pair, Shape
from seenn_deploy.ir.nodes.base import Node
from seenn_deploy.ir.nodes.maximum import Windows


@dataclass(frozen=True, eq=False)
class Relay(Windows, Node):
    """Currents that are sent on within the timestep, as real values and without a threshold.

    A network needs it where a largest current goes on to more than the neurons behind it, as in the
    patch embedding of the Spike-driven Transformer (arXiv 2307.01694), whose max-pooled current
    is also the first term of every membrane shortcut; and where two convolutions follow each other
    and are not one convolution, as at a padded border. Sums of currents need none: they are linear,
    so that each target takes the summands.

    Parameters
    ----------
    shape : (C, H, W)
    bias : array of `arriving`, of shape (C, 1, 1), or ()
        Added to the current at every timestep.
    before, window, stride, padding
        The max pool over the currents, as of :class:`~seenn_deploy.ir.nodes.maximum.Maximum`.
    """

    graded: ClassVar[bool] = True
    spikes: ClassVar[bool] = False
    real: ClassVar[bool] = True

    name: str
    shape: Shape
    bias: Array = field(default_factory=lambda: np.zeros((), np.float32))
    before: Pair = (1, 1)
    window: Pair = (1, 1)
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)

    @property
    def text(self) -> str:
        """For example: max pool 2x2, sent on as currents."""
        largest = f"max pool {self.window[0]}x{self.window[1]}, " if self.window != (1, 1) else ""
        return f"{largest}sent on as currents"

    @property
    def neurons(self) -> int:
        """None: currents are sent as they are."""
        return 0

    @property
    def potentials(self) -> int:
        """None: nothing is kept from one timestep to the next."""
        return 0

    def check(self) -> None:
        """Raise ModelError where the window does not fit, too."""
        super().check()
        self.check_windows()
