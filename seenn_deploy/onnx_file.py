"""ONNX files as plain Python: nodes with their attributes, constant tensors, one input, one output.

Nothing of the ``onnx`` package is left behind :func:`read_onnx`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from seenn_deploy.errors import ModelError
from seenn_deploy.graph import Array, Shape


@dataclass(frozen=True)
class OnnxNode:
    """One operator.

    Parameters
    ----------
    op : str
    name : str
        Its own, or that of its first output.
    inputs, outputs : tuple of str
        Tensors; '' is an optional input that was left out.
    attributes : dict
        Numbers, lists of numbers, strings, arrays.
    """

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]

    def error(self, text: str) -> ModelError:
        """An error that names the operator and the node."""
        return ModelError(f"{self.op} node {self.name!r}: {text}")

    def attribute(self, name: str, default: Any) -> Any:
        return self.attributes.get(name, default)


@dataclass(frozen=True, eq=False)
class OnnxModel:
    """A graph in topological order, as ONNX demands.

    Parameters
    ----------
    nodes : tuple of OnnxNode
        Without Constant nodes.
    constants : dict of arrays
        Initializers and what Constant nodes hold, by tensor.
    input, output : str
    input_shape : (C, H, W)
    """

    nodes: tuple[OnnxNode, ...]
    constants: dict[str, Array]
    input: str
    output: str
    input_shape: Shape


def read_onnx(path: Path) -> OnnxModel:
    """Read and check an ONNX file.

    Raises
    ------
    ModelError
        When onnx is not installed, the file is damaged, or it has not one image in and one tensor
        out, of fixed shape.
    """
    graph = _load(path).graph
    constants = {t.name: _array(t) for t in graph.initializer}
    nodes = []
    for node in _nodes(graph):
        if node.op == "Constant":
            constants[node.outputs[0]] = _constant(node)
        else:
            nodes.append(node)
    inputs = [v for v in graph.input if v.name not in constants]
    for what, found in (("input", inputs), ("output", graph.output)):
        if len(found) != 1:
            names = ", ".join(v.name for v in found) or "none"
            raise ModelError(f"{path}: one {what} is expected; found {names}")
    shape = _image_shape(path, inputs[0])
    return OnnxModel(tuple(nodes), constants, inputs[0].name, graph.output[0].name, shape)


def _load(path: Path) -> Any:
    try:
        import onnx
    except ImportError:
        raise ModelError(
            f"{path}: reading ONNX needs the onnx package; pip install 'seenn-deploy[onnx]'"
        ) from None
    try:
        model = onnx.load(str(path))
        onnx.checker.check_model(model)
    except Exception as error:  # protobuf, checker and file errors of many kinds: a damaged file
        first = next((line for line in str(error).splitlines() if line.strip()), "no ONNX")
        raise ModelError(f"{path}: not a valid ONNX model ({first.strip()})") from None
    return model


def _nodes(graph: Any) -> Iterator[OnnxNode]:
    from onnx import helper

    for node in graph.node:
        attributes = {a.name: _plain(helper.get_attribute_value(a)) for a in node.attribute}
        name = node.name or node.output[0]
        yield OnnxNode(node.op_type, name, tuple(node.input), tuple(node.output), attributes)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    return _array(value) if hasattr(value, "raw_data") else value


def _array(tensor: Any) -> Array:
    from onnx import numpy_helper

    return np.asarray(numpy_helper.to_array(tensor))


def _constant(node: OnnxNode) -> Array:
    kinds = ("value", "value_float", "value_int", "value_floats", "value_ints")
    found = [node.attributes[k] for k in kinds if k in node.attributes]
    if not found:
        raise node.error("holds neither numbers nor a dense tensor")
    return np.asarray(found[0])


def _image_shape(path: Path, value: Any) -> Shape:
    dims = value.type.tensor_type.shape.dim
    sizes = [d.dim_value if d.HasField("dim_value") else d.dim_param or "?" for d in dims]
    if len(sizes) != 4:
        raise ModelError(
            f"{path}: input {value.name!r} has shape {sizes}; (N, C, H, W) is expected"
        )
    fixed = [n for n in sizes[1:] if isinstance(n, int) and n > 0]
    if len(fixed) != 3 or not prod(fixed):
        raise ModelError(
            f"{path}: input {value.name!r} has dynamic shape {sizes}; export it with fixed "
            "channels, height and width (the batch may be dynamic)"
        )
    return tuple(fixed)
