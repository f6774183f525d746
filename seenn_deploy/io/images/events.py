"""Recordings of event cameras, binned into the frames that an event program takes.

An ``.npz`` file holds the events of all recordings after one another: ``x``, ``y`` (pixels), ``p``
(polarity 0 or 1), ``t_us`` (microseconds, ascending within a recording), ``offsets`` (N + 1) and
``labels``. This is the layout of N-MNIST (Orchard et al. 2015) without its 40-bit packing.

A recording begins with its first event, whatever its clock says then: recordings that were cut out
of a longer one keep its clock, those of N-MNIST start up to 8 ms after zero, and Tonic's
``ToFrame`` begins there too. With :attr:`Binning.step_us`, frame k holds the events from
``k step_us`` to just before ``(k + 1) step_us`` after that first event. **Events beyond T frames
are not seen**, and a recording that is shorter ends in empty frames. Without a step, the time from
the first event to the last is cut into T equal parts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seenn_deploy._typing import Array, Shape
from seenn_deploy.errors import DataError
from seenn_deploy.io.images.remote import Place
from seenn_deploy.io.images.sources import NpzMember, npz_keys

KEYS = ("x", "y", "p", "t_us")
LATEST = 2**63 - 1  # the last microsecond of signed 64-bit numbers


def is_recording(keys: Sequence[str]) -> bool:
    """Tell by its arrays whether an ``.npz`` means event recordings, even incomplete ones."""
    return {"x", "y", "offsets"} <= set(keys)


@dataclass(frozen=True)
class Binning:
    """How a recording becomes frames (see the module).

    Parameters
    ----------
    step_us : float
        Microseconds per frame; 0 cuts each recording into equal parts.
    counts : bool
        Whether a value is the number of events, unclipped; otherwise it is 1 where there was any.

    Raises
    ------
    DataError
        When `step_us` is negative or not finite.
    """

    step_us: float = 0.0
    counts: bool = False

    def __post_init__(self) -> None:
        if not (np.isfinite(self.step_us) and self.step_us >= 0):
            raise DataError(
                f"step_us = {self.step_us}: give microseconds per timestep, or 0 for equal parts"
            )

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the frames' values; counts may exceed 255."""
        return np.dtype(np.int32 if self.counts else np.uint8)


EQUAL_PARTS = Binning()


def bin_events(
    x: Array, y: Array, p: Array, t_us: Array, T: int, size: tuple[int, int],
    binning: Binning = EQUAL_PARTS,
) -> Array:  # fmt: skip
    """Bin one recording into T frames of two channels, one per polarity.

    Parameters
    ----------
    x, y, p, t_us : integer arrays (E,)
        Column, row, polarity (0 or 1) and microseconds of each event.
    T : int
        Number of frames.
    size : (int, int)
        Height and width.
    binning : Binning

    Returns
    -------
    array (T, 2, H, W) of ``binning.dtype``
        All zero for a recording without events.

    Raises
    ------
    DataError
        When an event lies outside the frame, its polarity is neither 0 nor 1, or its time is
        beyond 64-bit arithmetic.
    """
    frames = np.zeros((T, 2, *size), binning.dtype)
    if not len(x):
        return frames
    for name, values, limit in (("x", x, size[1]), ("y", y, size[0]), ("p", p, 2)):
        low, high = int(values.min()), int(values.max())
        if low < 0 or high >= limit:
            bad = low if low < 0 else high
            raise DataError(f"an event has {name} = {bad}; it must lie in 0..{limit - 1}")
    part = _frame_of(t_us, T, binning.step_us)
    seen = part < T
    at = part[seen], p[seen], y[seen], x[seen]
    if binning.counts:
        np.add.at(frames, at, 1)  # frames[at] += 1 would count events of one pixel once
    else:
        frames[at] = 1
    return frames


def _frame_of(t_us: Array, T: int, step_us: float) -> NDArray[np.int64]:
    """Return the frame that each event falls into; T stands for all after the last frame."""
    first, last = int(t_us.min()), int(t_us.max())
    for value in (last, last - first, (last - first) * T):  # each is computed in 64 bits
        if value > LATEST:
            raise DataError(
                f"its events lie at t_us = {first} to {last}, beyond 64-bit arithmetic with T = "
                f"{T}; write microseconds from the beginning of the recording"
            )
    since = t_us.astype(np.int64) - first
    if not step_us:
        return np.minimum(since * T // max(int(since.max()), 1), T - 1)
    return np.minimum(np.floor_divide(since, step_us), T).astype(np.int64)


@dataclass(frozen=True, eq=False)
class EventRecordings:
    """The recordings of an ``.npz`` as an image source, which bins them when they are read.

    Parameters
    ----------
    path : Path or Remote
    T : int
        Frames per recording.
    sample : (2, H, W)
        Shape of one frame.
    binning : Binning
    """

    path: Place
    T: int
    sample: Shape
    binning: Binning = EQUAL_PARTS

    def __post_init__(self) -> None:
        if self.sample[0] != 2:
            raise DataError(
                f"{self.path}: recordings have 2 polarities, this program takes {self.sample[0]} "
                "channels"
            )
        members = self._members()
        events, offsets = members[0].shape[0], self.offsets
        if (
            offsets.ndim != 1
            or offsets.dtype.kind not in "iu"
            or len(offsets) < 1
            or np.any(offsets[1:] < offsets[:-1])
            or int(offsets[0]) < 0
            or int(offsets[-1]) > events
        ):
            raise DataError(
                f"{self.path}: offsets must ascend within the {events} events, one more than "
                "recordings; rebuild the file"
            )

    def _members(self) -> list[NpzMember]:
        """Return the arrays of `KEYS` after checking that each holds one integer per event."""
        missing = {*KEYS} - {*npz_keys(self.path)}
        if missing:
            raise DataError(
                f"{self.path}: recordings need {', '.join(KEYS)} and offsets; {min(missing)} is "
                "missing"
            )
        members = [NpzMember.open(self.path, key) for key in KEYS]
        for member in members:
            if len(member.shape) != 1 or member.dtype.kind not in "iu":
                raise DataError(
                    f"{member.name} is {member.dtype} of shape {member.shape}; expected integers, "
                    "one per event"
                )
            if member.shape != members[0].shape:
                raise DataError(
                    f"{member.name} has {member.shape[0]} events, x has {members[0].shape[0]}; "
                    "rebuild the file"
                )
        return members

    @property
    def offsets(self) -> Array:
        """Where each recording begins and where the last one ends, integers (N + 1,)."""
        return NpzMember.open(self.path, "offsets").load()

    @property
    def shape(self) -> Shape:
        return (len(self.offsets) - 1, self.T, *self.sample)

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.binning.dtype

    @property
    def name(self) -> str:
        return str(self.path)

    def where(self, i: int) -> str:
        return f"{self.path}: recording {i}"

    def blocks(self, start: int, stop: int, size: int) -> Iterator[Array]:
        """Yield recordings `start` to `stop` as (n, T, 2, H, W), at most `size` at a time."""
        edges, size_of = self.offsets[start : stop + 1], (self.sample[1], self.sample[2])
        streams = [NpzMember.open(self.path, key).pieces(edges) for key in KEYS]
        block: list[Array] = []
        for i, (x, y, p, t_us) in enumerate(zip(*streams, strict=True), start):
            try:
                block.append(bin_events(x, y, p, t_us, self.T, size_of, self.binning))
            except DataError as error:
                raise DataError(f"{self.where(i)}: {error}") from None
            if len(block) == size:
                yield np.stack(block)
                block = []
        if block:
            yield np.stack(block)


def frame_size(path: Place) -> tuple[int, int]:
    """Return the smallest height and width that hold every event of a file."""
    rows, columns = (NpzMember.open(path, key).load() for key in ("y", "x"))
    if not len(rows):
        raise DataError(f"{path}: no events in it")
    return int(rows.max()) + 1, int(columns.max()) + 1
