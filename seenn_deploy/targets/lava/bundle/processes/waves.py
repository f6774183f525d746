"""What travels beside the spikes, and the part that all models share.

Every frame that the source sends is a *wave* through the network. A token travels with it, one hop
a step like the spikes through their synapses: ``[t, last, sample]``, t the wave's timestep from 1
(0: no wave), last the sample's number of timesteps, sample its number. Before its first wave no
sample exists (-1); behind the last wave of all the sample's number is the number of samples.

The exit controller answers each wave a step later with a verdict ``[sample, t, stop, class]``,
t = 0 where there was no wave.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

TOKEN, VERDICT = 3, 4  # elements
T, LAST, SAMPLE = range(3)
OF_SAMPLE, OF_T, STOP, CLASS = range(4)

# one entry a wave; `step` counts the steps of the hardware from 0
SENT = np.dtype([("step", np.int64), ("sample", np.int64), ("t", np.int64)])


def seen(classes: int, kind: str) -> np.dtype:
    """An entry of the exit controller: the wave, the exit of its sample (or 0), the logits."""
    return np.dtype([*SENT.descr, ("exit", np.int64), ("z", kind, (classes,))])


class Recorder:
    """A file that grows by one system call per step, so that the host can read it at any pause."""

    def __init__(self, path: str | None) -> None:
        self.path = path
        self.file: Any = None

    def write(self, values: np.ndarray) -> None:
        """Append the bytes of `values`, if there is a file."""
        if self.path is None:
            return
        if self.file is None:  # opened here, in the process that writes
            self.file = open(self.path, "ab", buffering=0)  # noqa: SIM115
        self.file.write(np.ascontiguousarray(values).tobytes())


def read(path: Path, dtype: np.dtype) -> np.ndarray:
    """Read the entries of a file; there are none where nothing was written."""
    return np.fromfile(path, dtype) if path.exists() else np.zeros(0, dtype)
