"""Slow, obvious oracle of integer policy networks: Python's own integers, number by number.

It shares no code with the product. It reads the description that a program's folder holds, and
raises where a sum, in the order of the loops, leaves 32 bits.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

WORD = 2**31 - 1


def scores(stored: dict[str, Any], arrays: dict[str, np.ndarray], image: np.ndarray) -> list[int]:
    """The scores of one image (C, H, W) of whole numbers."""
    values = [np.asarray(image).astype(object)]
    for operation in stored["operations"]:
        own = {k: arrays[name].astype(object) for k, name in operation["arrays"].items()}
        given = [values[i] for i in operation["of"]]
        products = KINDS[operation["kind"]](own, operation["options"], *given)
        values.append(
            np.vectorize(lambda p, o=operation: rescaled(p, o["options"]), [object])(products)
        )
    return [int(x) for x in values[-1]]


def rescaled(p: int, options: dict[str, int]) -> int:
    """p / 2^shift to the nearest whole number, halves away from zero, within the limits."""
    unit = 2 ** options["shift"]
    size = (2 * abs(p) + unit) // (2 * unit)
    return max(options["low"], min(options["high"], size if p >= 0 else -size))


class Sum:
    """A sum of 32 bits."""

    def __init__(self, value: int = 0) -> None:
        self.value = 0
        self.add(value)

    def add(self, value: int) -> None:
        self.value += int(value)
        assert -WORD - 1 <= self.value <= WORD


def conv2d(own: dict[str, Any], options: dict[str, int], x: np.ndarray) -> np.ndarray:
    weight, stride, padding = own["weight"], options["stride"], options["padding"]
    outs, ins, rows, columns = weight.shape
    height = (x.shape[1] + 2 * padding - rows) // stride + 1
    width = (x.shape[2] + 2 * padding - columns) // stride + 1
    out = np.zeros((outs, height, width), object)
    for o, i, j in np.ndindex(out.shape):
        total = Sum(own["bias"][o])
        first = o // (outs // options["groups"]) * ins
        for c, k, m in np.ndindex(ins, rows, columns):
            at = i * stride + k - padding, j * stride + m - padding
            if 0 <= at[0] < x.shape[1] and 0 <= at[1] < x.shape[2]:
                total.add(weight[o, c, k, m] * x[(first + c, *at)])
        out[o, i, j] = total.value * int(own["factor"][o])
    return out


def dense(own: dict[str, Any], options: dict[str, int], x: np.ndarray) -> np.ndarray:
    out = np.zeros(len(own["weight"]), object)
    for o, row in enumerate(own["weight"]):
        total = Sum(own["bias"][o])
        for w, value in zip(row, x.ravel(), strict=True):
            total.add(w * value)
        out[o] = total.value * int(own["factor"][o])
    return out


def affine(own: dict[str, Any], options: dict[str, int], x: np.ndarray) -> np.ndarray:
    out = np.zeros(x.shape, object)
    for at in np.ndindex(x.shape):
        factor, offset = (int(own[k][at[0] % len(own[k])]) for k in ("factor", "offset"))
        out[at] = int(x[at]) * factor + offset
    return out


def add(own: dict[str, Any], options: dict[str, int], x: np.ndarray, y: np.ndarray) -> np.ndarray:
    first, second = map(int, own["factor"])
    return x * first + y * second


def average(own: dict[str, Any], options: dict[str, int], x: np.ndarray) -> np.ndarray:
    size = (options["kernel"],) * 2 if options["kernel"] else x.shape[1:]
    out = np.zeros((len(x), x.shape[1] // size[0], x.shape[2] // size[1]), object)
    for c, i, j in np.ndindex(out.shape):
        total = Sum()
        for k, m in np.ndindex(size):
            total.add(x[c, i * size[0] + k, j * size[1] + m])
        out[c, i, j] = total.value * int(own["factor"][0])
    assert prod(out.shape)
    return out


KINDS = {"conv2d": conv2d, "dense": dense, "affine": affine, "add": add, "average": average}
