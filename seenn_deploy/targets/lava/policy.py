"""A policy network's ONNX file as plain operations that a Lava process can run.

Neither torch nor onnxruntime may run inside a Lava process, so the file is read here, once, and
every node becomes an operation of ``policy_network``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from seenn_deploy.errors import ModelError, ProgramError
from seenn_deploy.exits import ExitRule
from seenn_deploy.graph import Array
from seenn_deploy.onnx_file import OnnxModel, OnnxNode, read_onnx
from seenn_deploy.policy_network import Operation, PolicyNetwork


def lower(rule: ExitRule) -> PolicyNetwork | None:
    """The policy network of an exit rule, None for a rule that has none.

    Raises
    ------
    ProgramError
        When the network holds an operator that the pre-stage does not run.
    """
    stored = rule.to_dict()
    if stored["rule"] != "policy":
        return None
    file = Path(getattr(rule, "onnx", ""))
    try:
        model = read_onnx(file)
        network = PolicyNetwork(tuple(_Reader(model).operations), tuple(stored["choices"]))
        network.scores(np.zeros((1, *model.input_shape)))  # every shape fits
        return network
    except (ModelError, ValueError) as error:
        raise ProgramError(f"{file}: the Lava target cannot run this policy: {error}") from None


class _Reader:
    """Goes through the nodes; `place` says which result each tensor is."""

    def __init__(self, model: OnnxModel) -> None:
        self.constants = model.constants
        self.place = {model.input: 0}
        self.operations: list[Operation] = []
        for node in model.nodes:
            self._take(node)
        if self.place.get(model.output) != len(self.operations):
            raise ModelError("its output is not the last node's")

    def _take(self, node: OnnxNode) -> None:
        if node.op in _SAME:
            self.place[node.outputs[0]] = self.place[node.inputs[0]]
            return
        if node.op not in _OPERATORS:
            known = ", ".join(sorted({*_OPERATORS, *_SAME}))
            raise node.error(f"not one of {known}")
        self.operations.append(_OPERATORS[node.op](self, node))
        self.place[node.outputs[0]] = len(self.operations)

    def of(self, node: OnnxNode) -> tuple[int, ...]:
        """The results that a node takes."""
        return tuple(self.place[name] for name in node.inputs if name in self.place)

    def constant(self, node: OnnxNode, i: int) -> Array | None:
        """The constant that is a node's i-th input, None where it was left out."""
        if i >= len(node.inputs) or not node.inputs[i]:
            return None
        if node.inputs[i] not in self.constants:
            raise node.error(f"input {i} is computed, a constant is expected")
        return self.constants[node.inputs[i]]


# --- operators -----------------------------------------------------------------------------------


def _arrays(**arrays: Array | None) -> dict[str, Array]:
    return {name: values for name, values in arrays.items() if values is not None}


def _one(node: OnnxNode, name: str, default: list[int]) -> int:
    """An attribute of several equal numbers."""
    values = list(node.attribute(name, default))
    if len(set(values)) != 1:
        raise node.error(f"{name} {values}; equal ones are expected")
    return int(values[0])


def _conv(reader: _Reader, node: OnnxNode) -> Operation:
    if node.attribute("auto_pad", "NOTSET") != "NOTSET" or _one(node, "dilations", [1, 1]) != 1:
        raise node.error("auto_pad or dilations")
    options = {
        "stride": _one(node, "strides", [1, 1]),
        "padding": _one(node, "pads", [0] * 4),
        "groups": int(node.attribute("group", 1)),
    }
    arrays = _arrays(weight=reader.constant(node, 1), bias=reader.constant(node, 2))
    return Operation("conv2d", reader.of(node), arrays, options)


def _gemm(reader: _Reader, node: OnnxNode) -> Operation:
    weight, bias = reader.constant(node, 1), reader.constant(node, 2)
    assert weight is not None
    if node.attribute("transA", 0):
        raise node.error("transA")
    weight = weight if node.attribute("transB", 0) else weight.T
    bias = None if bias is None else np.broadcast_to(bias, weight.shape[:1])
    scale, share = (np.float32(node.attribute(k, 1.0)) for k in ("alpha", "beta"))
    arrays = _arrays(weight=scale * weight, bias=None if bias is None else share * bias)
    return Operation("dense", reader.of(node), arrays)


def _matmul(reader: _Reader, node: OnnxNode) -> Operation:
    weight = reader.constant(node, 1)
    assert weight is not None
    return Operation("dense", reader.of(node), {"weight": weight.T})


def _batch_norm(reader: _Reader, node: OnnxNode) -> Operation:
    found = [reader.constant(node, i) for i in range(1, 5)]
    gamma, beta, mean, var = (np.asarray(a, np.float64) for a in found)
    scale = gamma / np.sqrt(var + node.attribute("epsilon", 1e-5))
    shift = beta - mean * scale
    arrays = {"scale": scale.reshape(-1, 1, 1), "shift": shift.reshape(-1, 1, 1)}
    return Operation("affine", reader.of(node), arrays)


def _arithmetic(reader: _Reader, node: OnnxNode) -> Operation:
    """Of two results, a sum; of one and a constant, a scale and a shift."""
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


def _whole_average(reader: _Reader, node: OnnxNode) -> Operation:
    return Operation("average", reader.of(node)[:1])


def _reduce_mean(reader: _Reader, node: OnnxNode) -> Operation:
    axes = node.attribute("axes", None)
    axes = reader.constant(node, 1) if axes is None else axes
    if axes is None or sorted(int(a) % 4 for a in np.ravel(axes)) != [2, 3]:
        raise node.error(f"axes {axes}; height and width are expected")
    return _whole_average(reader, node)


def _average(reader: _Reader, node: OnnxNode) -> Operation:
    kernel = _one(node, "kernel_shape", [])
    if _one(node, "strides", [1, 1]) != kernel or any(node.attribute("pads", [0])):
        raise node.error("windows that overlap or are padded")
    return Operation("average", reader.of(node), options={"kernel": kernel})


_SAME = ("Identity", "Flatten", "Reshape", "Dropout", "Squeeze")  # a dense layer flattens anyway
_OPERATORS: dict[str, Callable[[_Reader, OnnxNode], Operation]] = {
    "Conv": _conv,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "BatchNormalization": _batch_norm,
    **dict.fromkeys(("Add", "Sub", "Mul", "Div"), _arithmetic),
    "Relu": _relu,
    "GlobalAveragePool": _whole_average,
    "ReduceMean": _reduce_mean,
    "AveragePool": _average,
}
