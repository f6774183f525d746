"""Requests and answers of main.c, as bytes (see the comment at its top)."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np

from seenn_deploy._typing import Array
from seenn_deploy.errors import DeviceError
from seenn_deploy.targets.base import DeviceRun, Request, checked
from seenn_deploy.targets.c.bundle import Bundle
from seenn_deploy.targets.c.layout import Grid

FULL_TRACE = 1
SHOWN = 16  # bytes of nonsense that an error shows
_ERRORS = {-1: "the input's size", -2: "a value beyond the input's limits", -3: "a step after T"}


def request(bundle: Bundle, images: Array, asked: Request) -> bytes:
    """The bytes that ask for all images (N, C, H, W), of events (N, T, C, H, W).

    Raises
    ------
    DeviceError
        When the images are not of the shape that the network takes, or hold a value beyond what it
        was compiled for.
    """
    given = bundle.spec["input"]
    grid, frames = Grid(tuple(given["shape"])), given["frames"]
    shape = (*([frames] if frames > 1 or images.ndim > len(grid.shape) + 1 else []), *grid.shape)
    if images.shape[1:] != shape:
        raise DeviceError(f"samples of shape {images.shape[1:]}; the network takes {shape}")
    flags = FULL_TRACE if asked.full_trace or asked.wasted else 0
    head = struct.pack("<BI", flags, frames * grid.size)
    return b"".join(head + _values(given, grid, image) for image in images)


def _values(given: dict[str, Any], grid: Grid, image: Array) -> bytes:
    scaled = np.rint((image.astype(np.float64) - given["offset"]) * given["scale"])
    raw = grid.laid_out(scaled.astype(np.int64) - given["least"])
    limit = np.iinfo(given["type"])
    if raw.min() < limit.min or raw.max() > limit.max:
        raise DeviceError("a sample holds a value beyond the range that the program was made for")
    return raw.astype(np.dtype(given["type"]).newbyteorder("<")).tobytes()


def answer(bundle: Bundle, found: bytes, samples: int, asked: Request) -> DeviceRun:
    """The device's answer to `samples` samples as arrays.

    Raises
    ------
    DeviceError
        When it is cut off, refuses a sample, or is no answer at all.
    """
    outline = bundle.outline
    steps, integers = (samples, outline.T), np.int64
    arrays: dict[str, Array] = {
        "integer_logits": np.zeros((*steps, *outline.classes), integers),
        **{name: np.zeros(samples, integers) for name in ("exit_step", "injected")},
    }
    if asked.record:
        for name, shape in outline.populations.items():
            arrays[f"spikes/{name}"] = np.zeros((*steps, *shape), np.bool_)
            arrays[f"v/{name}"] = np.zeros((*steps, *shape), np.int32)
    reader = _Reader(found)
    for n in range(samples):
        _read_sample(reader, bundle, arrays, n)
    if reader.at != len(found):
        raise DeviceError(f"the device said more than it was asked: {reader.shown}")
    scaled = arrays["integer_logits"] * float(bundle.spec["logit_scale"])
    ran = np.arange(outline.T) < arrays["injected"][:, None]
    arrays["logits"] = np.where(ran[..., None], scaled, np.nan)
    # A step of a processor is a whole timestep, and one sample follows the other.
    arrays["hardware_steps"] = arrays["injected"]
    arrays["start"] = np.cumsum(arrays["injected"]) - arrays["injected"]
    return checked(arrays, outline, asked, samples)


class _Reader:
    def __init__(self, found: bytes) -> None:
        self.found, self.at = found, 0

    @property
    def shown(self) -> str:
        """The next bytes, for a message."""
        rest = self.found[self.at : self.at + SHOWN]
        return f"{rest!r} at byte {self.at}" if rest else f"nothing after byte {self.at}"

    def take(self, ctype: str, count: int = 1) -> Array:
        kind = np.dtype(ctype)
        size = count * kind.itemsize
        if self.at + size > len(self.found):
            raise DeviceError(f"the device's answer is cut off after {len(self.found)} bytes")
        values = np.frombuffer(self.found, kind, count, self.at)
        self.at += size
        return values


def _read_sample(reader: _Reader, bundle: Bundle, arrays: dict[str, Array], n: int) -> None:
    """Read one sample's answer into the arrays of all."""
    T, classes = bundle.spec["T"], bundle.spec["classes"]
    grids, t = bundle.grids, 0
    told: set[int] = set()
    recorded = {layer for layer, (name, _) in grids.items() if f"v/{name}" in arrays}
    while True:
        before = reader.shown
        tag = reader.take("S1")[0]
        if tag == b"P" and t < T:
            layer = int(reader.take("<u4")[0])
            if layer not in recorded - told:
                raise DeviceError(f"the device answered with nonsense: {before}")
            told.add(layer)
            name, grid = grids[layer]
            bits = np.unpackbits(reader.take("u1", 4 * grid.words), bitorder="little")
            arrays[f"spikes/{name}"][n, t] = grid.restored(bits[: grid.size]) != 0
            arrays[f"v/{name}"][n, t] = grid.restored(reader.take("<i4", grid.size))
        elif tag == b"L" and t < T and told == recorded:
            told = set()
            arrays["integer_logits"][n, t] = reader.take("<i8", classes[0]).reshape(classes)
            t += 1
        elif tag == b"A":
            _, arrays["exit_step"][n], arrays["injected"][n] = reader.take("<u4", 3)
            if arrays["injected"][n] != t:
                raise DeviceError(f"sample {n}: the device ran {t} timesteps and says otherwise")
            return
        elif tag == b"E":
            code = int(reader.take("<i4")[0])
            raise DeviceError(f"sample {n}: the device refuses {_ERRORS.get(code, f'it ({code})')}")
        else:
            raise DeviceError(f"the device answered with nonsense: {before}")
