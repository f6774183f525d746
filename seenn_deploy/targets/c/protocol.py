"""Requests and answers of main.c, as bytes (see the comment at its top)."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from seenn_deploy._typing import Array
from seenn_deploy.errors import DeviceError
from seenn_deploy.targets.base import DeviceRun, Request, checked
from seenn_deploy.targets.c.bundle import Bundle
from seenn_deploy.targets.c.layout import Grid

FULL_TRACE = 1
SHOWN = 16  # bytes of nonsense that an error shows
_ERRORS = {-1: "the input's size", -2: "a value beyond the input's limits", -3: "a step after T"}


class NonsenseError(DeviceError):
    """Bytes came that are no answer."""


Read: TypeAlias = Callable[[int, int], bytes]
"""Reads a number of bytes of the answer to a sample; fewer where the answer ends."""


def requests(bundle: Bundle, images: Array, asked: Request) -> list[bytes]:
    """The bytes that ask for each of the images (N, C, H, W), of events (N, T, C, H, W).

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
    every = [frames] * len(images) if asked.length is None else [int(n) for n in asked.length]
    return [
        struct.pack("<BI", flags, number * grid.size)
        + _values(given, grid, image if number == frames else image[:number])
        for number, image in zip(every, images, strict=True)
    ]


def _values(given: dict[str, Any], grid: Grid, image: Array) -> bytes:
    scaled = np.rint((image.astype(np.float64) - given["offset"]) * given["scale"])
    raw = grid.laid_out(scaled.astype(np.int64) - given["least"])
    limit = np.iinfo(given["type"])
    if raw.min() < limit.min or raw.max() > limit.max:
        raise DeviceError("a sample holds a value beyond the range that the program was made for")
    return raw.astype(np.dtype(given["type"]).newbyteorder("<")).tobytes()


def answer(bundle: Bundle, found: bytes, samples: int, asked: Request) -> DeviceRun:
    """The whole answer to `samples` samples as arrays; see :func:`answers`."""
    there = io.BytesIO(found)
    ran = answers(bundle, lambda number, _: there.read(number), samples, asked)
    if rest := there.read(SHOWN):
        raise DeviceError(f"the device said more than it was asked: {rest!r}")
    return ran


def answers(bundle: Bundle, read: Read, samples: int, asked: Request) -> DeviceRun:
    """The answers to `samples` samples as arrays, while they come.

    Raises
    ------
    DeviceError
        When one is cut off, refuses its sample, or is no answer at all.
    """
    outline = bundle.outline
    steps, integers = (samples, outline.T), np.int64
    arrays: dict[str, Array] = {
        "integer_logits": np.zeros((*steps, *outline.classes), integers),
        **{name: np.zeros(samples, integers) for name in ("exit_step", "injected")},
    }
    if outline.choices:
        arrays["policy_scores"] = np.zeros((samples, outline.choices), integers)
    if asked.record:
        for name, shape in outline.populations.items():
            arrays[f"spikes/{name}"] = np.zeros((*steps, *shape), np.bool_)
            arrays[f"v/{name}"] = np.zeros((*steps, *shape), np.int32)
    for n in range(samples):
        _read_sample(_Reader(read, n), bundle, arrays, n)
        if asked.progress:
            asked.progress(1)
    scaled = arrays["integer_logits"] * float(bundle.spec["logit_scale"])
    ran = np.arange(outline.T) < arrays["injected"][:, None]
    arrays["logits"] = np.where(ran[..., None], scaled, np.nan)
    # A step of a processor is a whole timestep, and one sample follows the other.
    arrays["hardware_steps"] = arrays["injected"]
    arrays["start"] = np.cumsum(arrays["injected"]) - arrays["injected"]
    return checked(arrays, outline, asked, samples)


class _Reader:
    """Takes numbers out of the answer to one sample."""

    def __init__(self, read: Read, sample: int) -> None:
        self.read, self.sample = read, sample

    def take(self, ctype: str, count: int = 1) -> Array:
        kind = np.dtype(ctype)
        found = self.read(count * kind.itemsize, self.sample)
        if len(found) < count * kind.itemsize:
            raise DeviceError(f"the device's answer to sample {self.sample} is cut off")
        return np.frombuffer(found, kind)

    def nonsense(self, tag: bytes) -> NonsenseError:
        """The error for bytes that are no answer, with those that came."""
        return NonsenseError(
            f"the device answered sample {self.sample} with nonsense: {tag!r}; "
            "does it run this folder?"
        )


def _read_sample(reader: _Reader, bundle: Bundle, arrays: dict[str, Array], n: int) -> None:
    """Read one sample's answer into the arrays of all."""
    T, classes = bundle.spec["T"], bundle.spec["classes"]
    grids, t = bundle.grids, 0
    told: set[int] = set()
    scores = arrays.get("policy_scores")
    recorded = {layer for layer, (name, _) in grids.items() if f"v/{name}" in arrays}
    while True:
        tag = bytes(reader.take("S1")[0])
        if tag == b"P" and t < T:
            layer = int(reader.take("<u4")[0])
            if layer not in recorded - told:
                raise reader.nonsense(tag)
            told.add(layer)
            name, grid = grids[layer]
            bits = np.unpackbits(reader.take("u1", 4 * grid.words), bitorder="little")
            arrays[f"spikes/{name}"][n, t] = grid.restored(bits[: grid.size]) != 0
            arrays[f"v/{name}"][n, t] = grid.restored(reader.take("<i4", grid.size))
        elif tag == b"K" and t == 0 and scores is not None:
            scores[n] = reader.take("<i4", scores.shape[1])
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
            raise reader.nonsense(tag)
