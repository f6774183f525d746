"""A policy network as a forward pass in numpy: it decides how many timesteps an image gets.

It needs numpy alone, because the Lava bundle carries a copy of this file and runs it inside the
process that sends the images, where torch would hang.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
PREFIX = "policy"
METADATA = "seenn_policy"  # the key under which the ONNX file describes itself


@dataclass(frozen=True, eq=False)
class Operation:
    """One operation of the forward pass. It computes in float64, whatever its arrays are.

    ========  ==================================================  ==============================
    kind      arrays                                              options
    ========  ==================================================  ==============================
    conv2d    weight (C_out, C_in / groups, K_h, K_w), bias       stride, padding: int; groups
    dense     weight (M, N), bias (M,), over the flattened input
    affine    scale, shift: numbers, (C, 1, 1) or (M,)
    relu
    clip      low, high: numbers
    add
    average                                                       kernel: int; 0 for all pixels
    ========  ==================================================  ==============================

    Parameters
    ----------
    kind : str
    of : tuple of int
        The operands: 0 is the image, i the result of operation i, counted from 1.
    arrays : dict of arrays
        Weights and other constants, as the table says.
    options : dict of int
        Options, as the table says.
    name : str
        What it was read from, for messages.
    """

    kind: str
    of: tuple[int, ...]
    arrays: Mapping[str, Array] = field(default_factory=dict)
    options: Mapping[str, int] = field(default_factory=dict)
    name: str = ""

    def __call__(self, values: Sequence[Array]) -> Array:
        """Compute the result from the image and all earlier results."""
        return _KINDS[self.kind](self, *(values[i] for i in self.of))


@dataclass(frozen=True, eq=False)
class PolicyNetwork:
    """Operations whose last result holds one score per choice, (N, K).

    Parameters
    ----------
    operations : tuple of Operation
    choices : tuple of int
        The number of timesteps that each score stands for.

    Raises
    ------
    ValueError
        When an operation does not exist or takes the result of a later one.
    """

    operations: tuple[Operation, ...]
    choices: tuple[int, ...]

    def __post_init__(self) -> None:
        for i, operation in enumerate(self.operations):
            if operation.kind not in _KINDS:
                raise ValueError(f"policy operation {operation.kind!r}: there are {list(_KINDS)}")
            if not all(0 <= j <= i for j in operation.of):
                raise ValueError(f"policy operation {i + 1} takes {operation.of}, not computed yet")
        if not self.choices or min(self.choices) < 1:
            raise ValueError(f"policy choices {self.choices}: give numbers of timesteps from 1")

    def scores(self, images: Array) -> NDArray[np.float64]:
        """Return the scores (N, K) of images (N, C, H, W)."""
        values = self.values(images)
        if values[-1].shape != (len(images), len(self.choices)):
            raise ValueError(f"policy scores {values[-1].shape} for {len(self.choices)} choices")
        return values[-1]

    def values(self, images: Array) -> list[Array]:
        """Return the images in float64, followed by the result of each operation."""
        found: list[Array] = [np.asarray(images, np.float64)]
        for operation in self.operations:
            found.append(operation(found))
        return found

    def timesteps(self, images: Array) -> NDArray[np.int64]:
        """Return the choice with the largest score for each image, in timesteps, int64 (N,)."""
        chosen: NDArray[np.int64] = np.array(self.choices)[self.scores(images).argmax(axis=1)]
        return chosen

    def to_arrays(self) -> tuple[dict[str, Any], dict[str, Array]]:
        """Return a description of JSON values, and the arrays that it names."""
        arrays, operations = {}, []
        for i, operation in enumerate(self.operations):
            names = {k: f"{PREFIX}/{i}/{k}" for k in operation.arrays}
            arrays.update({names[k]: v for k, v in operation.arrays.items()})
            stored = {"kind": operation.kind, "of": list(operation.of), "arrays": names}
            operations.append({**stored, "options": dict(operation.options)})
        return {"operations": operations, "choices": list(self.choices)}, arrays

    @classmethod
    def from_arrays(cls, stored: Mapping[str, Any], arrays: Mapping[str, Array]) -> PolicyNetwork:
        """Make the network that `to_arrays` described."""
        operations = [
            Operation(
                o["kind"],
                tuple(o["of"]),
                {name: arrays[key] for name, key in o["arrays"].items()},
                o["options"],
            )
            for o in stored["operations"]
        ]
        return cls(tuple(operations), tuple(stored["choices"]))


# --- the operations ------------------------------------------------------------------------------


def _conv2d(operation: Operation, x: Array) -> Array:
    """Convolve the padded images, one matrix product per tap of the kernel."""
    options = {"stride": 1, "padding": 0, "groups": 1, **operation.options}
    weight = np.asarray(operation.arrays["weight"], np.float64)
    groups, stride, padding = (options[k] for k in ("groups", "stride", "padding"))
    c_out, _, k_h, k_w = weight.shape
    padded = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    height, width = (
        (n - k) // stride + 1 for n, k in zip(padded.shape[2:], (k_h, k_w), strict=True)
    )
    taps = weight.reshape(groups, c_out // groups, -1, k_h, k_w)
    out = np.zeros((len(x), groups, c_out // groups, height * width))
    for k, m in np.ndindex(k_h, k_w):
        seen = padded[:, :, k::stride, m::stride][:, :, :height, :width]
        out += taps[..., k, m] @ seen.reshape(len(x), groups, -1, height * width)
    return _biased(operation, out.reshape(len(x), c_out, height, width), 2)


def _dense(operation: Operation, x: Array) -> Array:
    weight = np.asarray(operation.arrays["weight"], np.float64)
    return _biased(operation, x.reshape(len(x), -1) @ weight.T, 0)


def _biased(operation: Operation, x: Array, axes: int) -> Array:
    bias = operation.arrays.get("bias")
    return x if bias is None else x + np.asarray(bias, np.float64).reshape(-1, *[1] * axes)


def _affine(operation: Operation, x: Array) -> Array:
    scale, shift = (np.asarray(operation.arrays[k], np.float64) for k in ("scale", "shift"))
    return np.asarray(x * scale + shift)


def _relu(_: Operation, x: Array) -> Array:
    return np.maximum(x, 0)


def _clip(operation: Operation, x: Array) -> Array:
    return np.clip(x, operation.arrays["low"], operation.arrays["high"])


def _add(_: Operation, x: Array, *others: Array) -> Array:
    return np.asarray(sum(others, start=x))


def _average(operation: Operation, x: Array) -> Array:
    kernel = operation.options.get("kernel", 0)
    if not kernel:
        return np.asarray(x.mean(axis=(2, 3), keepdims=True))
    height, width = x.shape[2] // kernel, x.shape[3] // kernel
    kept = x[:, :, : height * kernel, : width * kernel]
    return np.asarray(kept.reshape(*x.shape[:2], height, kernel, width, kernel).mean(axis=(3, 5)))


_KINDS: dict[str, Callable[..., Array]] = {
    "conv2d": _conv2d,
    "dense": _dense,
    "affine": _affine,
    "relu": _relu,
    "clip": _clip,
    "add": _add,
    "average": _average,
}


def layer_sizes(network: PolicyNetwork, input_shape: tuple[int, ...]) -> list[tuple[int, int, int]]:
    """Return (weights, neurons, dense MACs) of each convolution and dense layer.

    Padding counts, as papers count it; biases, residual adds and pooling do not.
    """
    values = network.values(np.zeros((1, *input_shape)))
    sizes = []
    for operation, value in zip(network.operations, values[1:], strict=True):
        if operation.kind in ("conv2d", "dense"):
            weight = np.asarray(operation.arrays["weight"])
            sizes.append((weight.size, value.size, value.size * prod(weight.shape[1:])))
    return sizes


__all__ = ["METADATA", "Operation", "PolicyNetwork", "layer_sizes"]
