"""What an input is on the chip: an image a bias of each neuron, frames of events messages."""

from __future__ import annotations

from typing import Any

import numpy as np
from files import InputError


class Inputs:
    """The samples as currents.

    Parameters
    ----------
    spec, arrays
        The bundle.
    frames : array (N, F, *shape)
        One frame a sample, or one a timestep.
    """

    def __init__(
        self, spec: dict[str, Any], arrays: dict[str, np.ndarray], frames: np.ndarray
    ) -> None:
        (source,) = spec["nodes"]
        centred = frames.astype(np.float64) - source["offset"]
        self.integers = np.rint(centred * source["scale"]).astype(np.int64)
        self.arrays, self.edges = arrays, spec["inputs"]
        self.constant = spec["input"]["coding"] == "direct"  # one frame for all timesteps
        self.units = {unit["name"]: unit for unit in spec["units"]}
        self.unit = self._unit(spec["chip"])

    def _unit(self, chip: str) -> int:
        """What one event is in integers.

        Raises
        ------
        InputError
            When there are events of several sizes.
        """
        values = np.ones(1) if self.constant else np.unique(self.integers[self.integers != 0])
        if len(values) > 1:
            raise InputError(
                f"the samples hold events of {len(values)} sizes, and spikes carry no values on "
                f"{chip}; give frames of 0 and one other value"
            )
        return int(values[0]) if len(values) else 1

    def __len__(self) -> int:
        return len(self.integers)

    @property
    def targets(self) -> set[str]:
        """Units that the input reaches."""
        return {edge["post"] for edge in self.edges}

    def events(self, sample: int, t: int, lag: int) -> np.ndarray:
        """Which pixels send what reaches a layer with its timestep t, bool (pixels,)."""
        frame = self.integers[sample, max(t - 1 - lag, 0)].ravel()
        return (frame != 0) & (t > lag)

    def images(self, sample: int) -> np.ndarray:
        """The first frame of a sample, (1, *shape)."""
        return self.integers[sample, :1].astype(np.int32)

    def current(self, unit: str, sample: int, t: int) -> np.ndarray:
        """What arrives at a unit at a timestep, from 1, int64 (neurons,).

        Raises
        ------
        InputError
            When states could leave their range.
        """
        total = np.zeros(int(np.prod(self.units[unit]["shape"])), np.int64)
        for edge in self.edges:
            if edge["post"] == unit and t > edge["lag"]:
                frame = self.integers[sample, 0 if self.constant else t - 1 - edge["lag"]]
                source, target, weight = (
                    self.arrays[f"{edge['arrays']}/{name}"]
                    for name in ("source", "target", "weight")
                )
                # In float64, which holds whole numbers of this size.
                sent = frame.ravel()[source] * weight.astype(np.float64)
                total += np.bincount(target, sent, len(total)).astype(np.int64)
        low, high = self.units[unit]["room"]
        for value in (int(total.min(initial=0)), int(total.max(initial=0))):
            if not low <= value <= high:
                raise InputError(
                    f"sample {sample}: a current of {value} into {unit}, whose states are proven "
                    f"for inputs of {low} to {high}; give values nearer to 0"
                )
        return total
