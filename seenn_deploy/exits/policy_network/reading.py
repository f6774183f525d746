"""Policy networks, read from ONNX files into plain operations that need numpy alone.

Neither torch nor onnxruntime can run inside a Lava process, so every node becomes one operation of
``seenn_deploy.exits.policy_network.forward``. The operators are those of ``seenn convert``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np

from seenn_deploy._typing import Array
from seenn_deploy.errors import ModelError
from seenn_deploy.exits.policy_network.forward import (
    METADATA,
    Operation,
    PolicyNetwork,
    layer_sizes,
)
from seenn_deploy.io.onnx import OnnxModel, OnnxNode, read_onnx


def read_network(model: OnnxModel, choices: Sequence[int] | None = None) -> PolicyNetwork:
    """Read the network of a file; without `choices`, score k stands for k timesteps.

    Raises
    ------
    ModelError
        When no operation corresponds to a node, which the message names.
    ValueError
        When there is not one score per choice.
    """
    reader = _Reader(model)
    scores = reader.values[-1]
    if scores.ndim != 2:
        raise ModelError(
            f"output {model.output!r} must come from Gemm or MatMul: one score per choice"
        )
    choices = tuple(choices or range(1, scores.shape[1] + 1))
    network = PolicyNetwork(tuple(reader.operations), choices)
    network.scores(_blank(model))
    return network


def opened(path: Path) -> OnnxModel:
    """Read a file that shall go into a program.

    Raises
    ------
    ValueError
        When the file is no ONNX network, or its weights lie in other files.
    """
    try:
        model = read_onnx(path)
    except ModelError as error:
        raise ValueError(str(error)) from None
    if model.files:
        raise ValueError(
            f"{path}: its weights lie in other files, a program carries one; export it with "
            "external_data=False"
        )
    return model


def describe(path: Path, model: OnnxModel) -> tuple[dict[str, Any], PolicyNetwork]:
    """Describe a file by its metadata; without, it has one score per timestep for any classes.

    Returns
    -------
    dict, PolicyNetwork
        The parameters of an exit rule, and the network itself.

    Raises
    ------
    ValueError
        When the file is no policy network.
    """
    written = _written(path, model) if METADATA in model.metadata else None
    try:
        network = read_network(model, None if written is None else written["choices"])
    except (ModelError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from None
    if written is None:
        written = {
            "choices": network.choices,
            "T": len(network.choices),
            "classes": 0,
            "input_shape": model.input_shape,
        }
    # What metadata say of sizes is not taken on trust: they are what the network is priced by.
    return written | {"layers": layer_sizes(network, model.input_shape)}, network


class _Written(msgspec.Struct):
    """The metadata that ``seenn train policy`` writes into a file."""

    choices: Annotated[list[Annotated[int, msgspec.Meta(ge=1)]], msgspec.Meta(min_length=1)]
    T: Annotated[int, msgspec.Meta(ge=1)]
    classes: Annotated[int, msgspec.Meta(ge=0)]
    input_shape: tuple[int, int, int]
    layers: list[tuple[int, int, int]]


def _written(path: Path, model: OnnxModel) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(model.metadata[METADATA], type=_Written)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(f"{path}: its metadata {METADATA}: {error}; train it again") from None
    # msgspec checks each field by itself; what fields say of each other it cannot.
    if max(found.choices) > found.T:
        raise ValueError(f"{path}: its choices {found.choices} must lie in 1..T = {found.T}")
    if found.input_shape != model.input_shape:
        raise ValueError(
            f"{path}: its metadata {METADATA} say images of {found.input_shape}, the network "
            f"takes {model.input_shape}; train it again"
        )
    return msgspec.structs.asdict(found)


def check_equal(path: Path, model: OnnxModel, network: PolicyNetwork, session: Any) -> None:
    """Refuse a file that does not run on one image, or whose scores we compute differently."""
    # Random, because of a blank image two different networks may say the same.
    image = np.random.default_rng(0).random((1, *model.input_shape), dtype=np.float32)
    try:
        (given,) = session.run(None, {model.input: image})
    except Exception as error:  # onnxruntime raises kinds of its own
        first = str(error).split("\n", maxsplit=1)[0]
        raise ValueError(
            f"{path}: does not run on one float32 image; export it with a dynamic batch ({first})"
        ) from None
    expected = network.scores(image)
    if not np.allclose(given, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max()):
        raise ValueError(f"{path}: onnxruntime computes other scores; please report this file")


def _blank(model: OnnxModel) -> Array:
    return np.zeros((1, *model.input_shape))


class _Reader:
    """The way through the nodes; `place` tells which result each tensor is.

    `values` are the results for a blank image, so that an operation that does not fit is found at
    its own node.
    """

    def __init__(self, model: OnnxModel) -> None:
        self.constants = model.constants
        self.place = {model.input: 0}
        self.operations: list[Operation] = []
        self.values = [_blank(model)]
        for node in model.nodes:
            self._take(node)
        if self.place.get(model.output) != len(self.operations):
            raise ModelError(f"output {model.output!r} is not the last node's")

    def _take(self, node: OnnxNode) -> None:
        if node.op in _SAME:
            self.place[node.outputs[0]] = self.place[node.inputs[0]]
            return
        if node.op not in _OPERATORS:
            raise node.unsupported({*_OPERATORS, *_SAME})
        operation = replace(_OPERATORS[node.op](self, node), name=f"{node.op} node {node.name!r}")
        try:
            self.values.append(operation(self.values))
        except (ValueError, IndexError) as error:
            raise node.error(f"its shapes do not fit ({error})") from None
        if not self.values[-1].size:
            raise node.error(f"leaves nothing of {self.values[operation.of[0]].shape[1:]}")
        self.operations.append(operation)
        self.place[node.outputs[0]] = len(self.operations)

    def of(self, node: OnnxNode) -> tuple[int, ...]:
        """Return the numbers of the results that a node takes."""
        return tuple(self.place[name] for name in node.inputs if name in self.place)

    def rank(self, node: OnnxNode) -> int:
        """Return the number of dimensions of a node's first operand, without the batch."""
        return self.values[self.of(node)[0]].ndim - 1

    def constant(self, node: OnnxNode, i: int) -> Array | None:
        """Return the constant that is a node's i-th input, None where it was left out."""
        if i >= len(node.inputs) or not node.inputs[i]:
            return None
        if node.inputs[i] not in self.constants:
            raise node.error(f"input {i} is computed, a constant is expected")
        return self.constants[node.inputs[i]]


# --- operators -----------------------------------------------------------------------------------


def _arrays(**arrays: Array | None) -> dict[str, Array]:
    return {name: values for name, values in arrays.items() if values is not None}


def _one(node: OnnxNode, name: str) -> int:
    """Read an attribute that must consist of equal numbers."""
    values = node.attributes[name]
    if len(set(values)) != 1:
        raise node.error(f"{name} {values}; equal ones are expected")
    return int(values[0])


def _conv(reader: _Reader, node: OnnxNode) -> Operation:
    if node.attributes["auto_pad"] != "NOTSET" or _one(node, "dilations") != 1:
        raise node.error("has auto_pad or dilations, which are not supported")
    options = {
        "stride": _one(node, "strides"),
        "padding": _one(node, "pads"),
        "groups": int(node.attributes["group"]),
    }
    arrays = _arrays(weight=reader.constant(node, 1), bias=reader.constant(node, 2))
    return Operation("conv2d", reader.of(node), arrays, options)


def _gemm(reader: _Reader, node: OnnxNode) -> Operation:
    weight, bias = reader.constant(node, 1), reader.constant(node, 2)
    assert weight is not None
    if node.attributes["transA"]:
        raise node.error("has transA, which is not supported")
    weight = weight if node.attributes["transB"] else weight.T
    bias = None if bias is None else np.broadcast_to(bias, (1, len(weight)))[0]
    scale, share = (np.float32(node.attributes[k]) for k in ("alpha", "beta"))
    arrays = _arrays(weight=scale * weight, bias=None if bias is None else share * bias)
    return Operation("dense", reader.of(node), arrays)


def _matmul(reader: _Reader, node: OnnxNode) -> Operation:
    weight = reader.constant(node, 1)
    assert weight is not None
    return Operation("dense", reader.of(node), {"weight": weight.T})


def _batch_norm(reader: _Reader, node: OnnxNode) -> Operation:
    found = [reader.constant(node, i) for i in range(1, 5)]
    gamma, beta, mean, var = (np.asarray(a, np.float64) for a in found)
    scale = gamma / np.sqrt(var + node.attributes["epsilon"])
    shift = beta - mean * scale
    # Channels come first behind the batch, so that constants broadcast from there.
    shape = (-1, *[1] * (reader.rank(node) - 1))
    arrays = {"scale": scale.reshape(shape), "shift": shift.reshape(shape)}
    return Operation("affine", reader.of(node), arrays)


def _arithmetic(reader: _Reader, node: OnnxNode) -> Operation:
    """Read a sum of two results, or arithmetic with a constant as a scale and a shift."""
    of = reader.of(node)
    if node.op == "Add" and len(of) == 2:
        return Operation("add", of)
    if len(of) != 1 or (node.op in ("Sub", "Div") and node.inputs[1] not in reader.constants):
        raise node.error("takes one result and a constant")
    other = next(i for i, name in enumerate(node.inputs) if name in reader.constants)
    value = np.asarray(reader.constant(node, other), np.float64)
    one, nothing = np.ones_like(value), np.zeros_like(value)
    scale, shift = {
        "Add": (one, value),
        "Sub": (one, -value),
        "Mul": (value, nothing),
        "Div": (one / value, nothing),
    }[node.op]
    return Operation("affine", of, {"scale": scale, "shift": shift})


def _relu(reader: _Reader, node: OnnxNode) -> Operation:
    return Operation("relu", reader.of(node))


def _clip(reader: _Reader, node: OnnxNode) -> Operation:
    """Read the bounds, which are inputs since opset 11 and attributes before."""
    low, high = reader.constant(node, 1), reader.constant(node, 2)
    bounds = {
        "low": (-inf, node.attributes["min"], low),
        "high": (inf, node.attributes["max"], high),
    }
    arrays = {k: np.asarray(next(v for v in found[::-1] if v is not None))
              for k, found in bounds.items()}  # fmt: skip
    return Operation("clip", reader.of(node), arrays)


def _whole_average(reader: _Reader, node: OnnxNode) -> Operation:
    return Operation("average", reader.of(node)[:1])


def _reduce_mean(reader: _Reader, node: OnnxNode) -> Operation:
    axes = node.attributes["axes"]
    axes = reader.constant(node, 1) if axes is None else axes
    if axes is None or sorted(int(a) % 4 for a in np.ravel(axes)) != [2, 3]:
        raise node.error(f"axes {axes}; height and width are expected")
    return _whole_average(reader, node)


def _average(reader: _Reader, node: OnnxNode) -> Operation:
    kernel = _one(node, "kernel_shape")
    if _one(node, "strides") != kernel or any(node.attributes["pads"]):
        raise node.error("windows that overlap or are padded")
    if _one(node, "dilations") != 1:
        raise node.error("dilated pools are not supported")
    return Operation("average", reader.of(node), options={"kernel": kernel})


_SAME = ("Identity", "Flatten", "Reshape", "Dropout", "Squeeze")  # a dense layer flattens anyway
_OPERATORS: dict[str, Callable[[_Reader, OnnxNode], Operation]] = {
    "Conv": _conv,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "BatchNormalization": _batch_norm,
    "Clip": _clip,
    **dict.fromkeys(("Add", "Sub", "Mul", "Div"), _arithmetic),
    "Relu": _relu,
    "GlobalAveragePool": _whole_average,
    "ReduceMean": _reduce_mean,
    "AveragePool": _average,
}
