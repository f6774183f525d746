"""ONNX files as plain Python: nodes with their attributes, constant tensors, one input, one output.

What :func:`read_onnx` returns holds no object of the ``onnx`` package.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from seenn_deploy._typing import Array, Shape
from seenn_deploy.errors import ModelError

OLDEST_OPSET = 7  # before it, constants were broadcast along an axis of their own
_STANDARD = ("", "ai.onnx")  # names of the domain of ONNX's own operators
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
        Numbers, lists of numbers, strings and arrays by name.
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

    def attribute(self, name: str, default: Any) -> Any:
        return self.attributes.get(name, default)


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
        When onnx is not installed, the file is damaged, or it does not take exactly one image of
        fixed shape and give exactly one tensor.
    """
    model = _load(path)
    graph = model.graph
    constants = {t.name: _array(t) for t in graph.initializer}
    try:
        nodes = list(_computed(model, constants))
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from None
    inputs = [v for v in graph.input if v.name not in constants]
    for what, found in (("input", inputs), ("output", graph.output)):
        if len(found) != 1:
            names = ", ".join(v.name for v in found) or "none"
            raise ModelError(f"{path}: one {what} is expected; found {names}")
    shape = _image_shape(path, inputs[0])
    return OnnxModel(tuple(nodes), constants, inputs[0].name, graph.output[0].name, shape)


def external_files(path: Path) -> list[str]:
    """Return the names of the files beside an ONNX file that hold its large tensors."""
    return _external(_parsed(path, load_external_data=False))


def _external(model: Any) -> list[str]:
    tensors = model.graph.initializer
    return sorted({e.value for t in tensors for e in t.external_data if e.key == "location"})


def _load(path: Path) -> Any:
    onnx = _onnx(path)
    # First without the external files, so that a missing one gets an error of its own.
    bare = _parsed(path, load_external_data=False)
    _check_opset(path, _opset(bare))
    missing = [name for name in _external(bare) if not (path.parent / name).is_file()]
    if missing:
        raise ModelError(
            f"{path}: its weights lie in {missing[0]!r}, which is missing beside it; copy it "
            "there, or export with external_data=False"
        )
    model = _parsed(path)
    with _readable(path):
        onnx.checker.check_model(model)
    return model


def _parsed(path: Path, **options: Any) -> Any:
    onnx = _onnx(path)
    with _readable(path):
        return onnx.load(str(path), **options)


def _onnx(path: Path) -> Any:
    try:
        import onnx
    except ImportError:
        raise ModelError(
            f"{path}: reading ONNX needs the onnx package; pip install 'seenn-deploy[onnx]'"
        ) from None
    return onnx


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turn whatever a damaged file raises into an error of one line."""
    try:
        yield
    except Exception as error:  # protobuf, checker and file errors of many kinds
        first = next((line for line in str(error).splitlines() if line.strip()), "no ONNX")
        raise ModelError(
            f"{path}: not a valid ONNX model ({first.strip()}); export it again"
        ) from None


def _opset(model: Any) -> int:
    return next((int(o.version) for o in model.opset_import if o.domain in _STANDARD), 0)


def _check_opset(path: Path, opset: int) -> None:
    """Refuse versions of ONNX in which an operator may mean something else."""
    latest = _onnx(path).defs.onnx_opset_version()
    if opset and not OLDEST_OPSET <= opset <= latest:  # without any, the checker complains
        raise ModelError(
            f"{path}: opset {opset}; versions {OLDEST_OPSET} to {latest} are known: export it with "
            "opset_version=17"
        )


def _computed(model: Any, constants: dict[str, Array]) -> Iterator[OnnxNode]:
    """Yield the nodes that depend on the image; the results of all others go into `constants`."""
    shapes = _shapes(model)
    for node, proto in zip(_nodes(model.graph), model.graph.node, strict=True):
        if node.op == "Constant":
            constants[node.outputs[0]] = _constant(node)
        elif node.op == "Shape" and node.inputs[0] in shapes:
            shape = np.array(shapes[node.inputs[0]], np.int64)
            part = slice(node.attribute("start", 0), node.attribute("end", None))
            constants[node.outputs[0]] = shape[part]
        elif node.inputs and all(not name or name in constants for name in node.inputs):
            constants.update(_folded(node, proto, constants, _opset(model)))
        else:
            yield node


def _shapes(model: Any) -> dict[str, Shape]:
    """Infer the shapes of all tensors for one image; an empty dict if no node asks for a shape."""
    import onnx

    if all(node.op_type != "Shape" for node in model.graph.node):
        return {}
    # The batch becomes 1 in a copy, so that a dynamic batch does not make every shape unknown.
    single = onnx.ModelProto.FromString(model.SerializeToString())
    for value in single.graph.input:
        if value.type.tensor_type.shape.dim:
            value.type.tensor_type.shape.dim[0].dim_value = 1
    graph = onnx.shape_inference.infer_shapes(single, data_prop=True).graph
    found = {v.name: v.type.tensor_type.shape.dim for v in (*graph.input, *graph.value_info)}
    return {
        name: tuple(d.dim_value for d in dims)
        for name, dims in found.items()
        if all(d.HasField("dim_value") for d in dims)
    }


def _folded(
    node: OnnxNode, proto: Any, constants: dict[str, Array], opset: int
) -> dict[str, Array]:
    """Compute a node whose inputs are all constant; its results by tensor name."""
    from onnx import helper
    from onnx.reference import ReferenceEvaluator

    given = {name: constants[name] for name in node.inputs if name}
    taken = [helper.make_empty_tensor_value_info(name) for name in given]
    wanted = [helper.make_empty_tensor_value_info(name) for name in node.outputs if name]
    graph = helper.make_graph([proto], "constants", taken, wanted)
    single = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    try:
        results = ReferenceEvaluator(single).run(None, given)
    except Exception as error:  # whatever an operator raises for values it cannot take
        raise node.error(f"of constants, which cannot be computed ({error})") from None
    return {v.name: np.asarray(found) for v, found in zip(wanted, results, strict=True)}


def _nodes(graph: Any) -> Iterator[OnnxNode]:
    from onnx import helper

    for node in graph.node:
        attributes = {a.name: _plain(helper.get_attribute_value(a)) for a in node.attribute}
        name = node.name or node.output[0]
        op = node.op_type if node.domain in _STANDARD else f"{node.domain}.{node.op_type}"
        yield OnnxNode(op, name, tuple(node.input), tuple(node.output), attributes)


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
            f"{path}: input {value.name!r} has shape {sizes}; (N, C, H, W) is expected; for "
            "vectors of K numbers export (N, K, 1, 1) with a Flatten before the first layer"
        )
    fixed = [n for n in sizes[1:] if isinstance(n, int) and n > 0]
    if len(fixed) != 3 or not prod(fixed):
        raise ModelError(
            f"{path}: input {value.name!r} has dynamic shape {sizes}; export it with fixed "
            "channels, height and width (the batch may be dynamic)"
        )
    return tuple(fixed)
