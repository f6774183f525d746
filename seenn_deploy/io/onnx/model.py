"""The model of an ONNX file: checked nodes in order, constants, one input and one output."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

from seenn_deploy._typing import Array, Shape
from seenn_deploy.errors import ModelError
from seenn_deploy.io import isolated
from seenn_deploy.io.onnx import operators

_INSTALL = "reading ONNX needs the onnx package; pip install 'seenn-deploy[onnx]'"
_RELU = "train with Relu instead"
_LOGITS = "export the model without it: logits are expected"
_REMEDIES = {
    **dict.fromkeys(("Elu", "Gelu", "HardSwish", "LeakyRelu", "Sigmoid", "Swish", "Tanh"), _RELU),
    **dict.fromkeys(("LogSoftmax", "Softmax"), _LOGITS),
    "MaxPool": "train with average pools instead",
}


@dataclass(frozen=True)
class OnnxNode:
    """One node of an ONNX graph, which applies one operator.

    Parameters
    ----------
    op : str
        The operator, such as ``Conv``.
    name : str
        The node's own name, or that of its first output.
    inputs, outputs : tuple of str
        Names of tensors; '' is an optional input that was left out.
    attributes : dict
        Numbers, lists of numbers, strings and arrays by name; those that the file leaves out have
        the values of :mod:`seenn_deploy.io.onnx.operators`.
    """

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]

    def error(self, text: str) -> ModelError:
        """Return an error that names the operator and the node."""
        return ModelError(f"{self.op} node {self.name!r}: {text}")

    def unsupported(self, known: Iterable[str]) -> ModelError:
        """Return the error for an operator that is none of the known ones."""
        remedy = f"; {_REMEDIES[self.op]}" if self.op in _REMEDIES else ""
        there_are = ", ".join(sorted(known))
        return self.error(f"this operator is not supported (there are {there_are}){remedy}")


@dataclass(frozen=True, eq=False)
class OnnxModel:
    """A graph in topological order, as ONNX demands.

    Parameters
    ----------
    nodes : tuple of OnnxNode
        The nodes that depend on the image.
    constants : dict of arrays
        The initializers, and what follows from them and from the image's shape, by tensor name.
    input, output : str
        Names of the one tensor that goes in and of the one that comes out.
    input_shape : (C, H, W)
    files : tuple of str
        Names of the files beside this one that hold its large tensors.
    metadata : dict of str
        What the tool that wrote the file noted in it.
    """

    nodes: tuple[OnnxNode, ...]
    constants: dict[str, Array]
    input: str
    output: str
    input_shape: Shape
    files: tuple[str, ...] = ()
    metadata: dict[str, str] = field(default_factory=dict)


def read_onnx(path: Path) -> OnnxModel:
    """Read and check an ONNX file.

    Raises
    ------
    ModelError
        When onnx is not installed, the file is damaged, a node of a known operator has inputs or
        attributes that it cannot have, or the file does not take exactly one image of fixed shape
        and give exactly one tensor.
    """
    found = isolated.read("seenn_deploy.io.onnx.contents", path, _INSTALL)
    for what in ("inputs", "outputs"):
        if len(found[what]) != 1:
            names = ", ".join(v if isinstance(v, str) else v[0] for v in found[what]) or "none"
            raise ModelError(f"{path}: one {what[:-1]} is expected; found {names}")
    [[name, sizes]], [output] = found["inputs"], found["outputs"]
    try:
        shape = _image_shape(name, sizes)
        nodes = [_checked(node, found["constants"]) for node in found["nodes"]]
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None
    files, notes = tuple(found["files"]), found["metadata"]
    return OnnxModel(tuple(nodes), found["constants"], name, output, shape, files, notes)


def _checked(stored: dict[str, Any], constants: dict[str, Array]) -> OnnxNode:
    inputs, outputs = tuple(stored["inputs"]), tuple(stored["outputs"])
    node = OnnxNode(stored["op"], stored["name"], inputs, outputs, stored["attributes"])
    try:
        attributes = operators.checked(node.op, inputs, node.attributes, constants)
    except ValueError as error:
        raise node.error(str(error)) from None
    return OnnxNode(node.op, node.name, inputs, outputs, attributes)


def _image_shape(name: str, sizes: list[int | str]) -> Shape:
    if len(sizes) != 4:
        raise ModelError(
            f"input {name!r} has shape {sizes}; (N, C, H, W) is expected; for vectors of K numbers "
            "export (N, K, 1, 1) with a Flatten before the first layer"
        )
    fixed = [n for n in sizes[1:] if isinstance(n, int) and n > 0]
    if len(fixed) != 3:
        raise ModelError(
            f"input {name!r} has dynamic shape {sizes}; export it with fixed channels, height and "
            "width (the batch may be dynamic)"
        )
    batch = sizes[0] if isinstance(sizes[0], int) else 1
    if batch < 1 or batch * prod(fixed) > operators.MOST:
        raise ModelError(
            f"input {name!r} has shape {sizes}; 1 to {operators.MOST:,} values are allowed"
        )
    return tuple(fixed)
