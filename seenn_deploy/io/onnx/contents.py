"""What an ONNX file holds, read and checked in a process of its own.

Nodes that do not depend on the image are computed here, and how much a node computes is up to the
file. What remains is handed out as dicts, lists, strings, numbers and arrays.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from seenn_deploy._typing import Array, Shape
from seenn_deploy.errors import ModelError
from seenn_deploy.io import isolated
from seenn_deploy.io.onnx.operators import OLDEST_OPSET

_STANDARD = ("", "ai.onnx")  # names of the domain of ONNX's own operators
# Versions from which onnx's own evaluator knows an operator; earlier ones mean the same.
_EVALUATED_FROM = {"DequantizeLinear": 19}
Node = dict[str, Any]  # op, name, inputs, outputs, attributes


def contents(path: Path) -> dict[str, Any]:
    """Return the nodes that depend on the image, all constants, and what lies around them.

    Raises
    ------
    ModelError
        When the file is damaged, or a constant cannot be computed.
    """
    import onnx

    isolated.limit([path])
    model, files = _load(onnx, path)
    constants = {t.name: _array(t) for t in model.graph.initializer}
    nodes = list(_computed(model, constants))
    for name, array in constants.items():
        constants[name] = _numbers(name, array)
    return {
        "nodes": nodes,
        "constants": constants,
        "inputs": [[v.name, _sizes(v)] for v in model.graph.input if v.name not in constants],
        "outputs": [v.name for v in model.graph.output],
        "files": files,
        "metadata": {p.key: p.value for p in model.metadata_props},
    }


def _load(onnx: Any, path: Path) -> tuple[Any, list[str]]:
    """Return the checked model and the names of the files that hold its large tensors."""
    # First without the external files, so that a missing one gets an error of its own.
    with _readable():
        bare = onnx.load(str(path), load_external_data=False)
    _check_opset(_opset(bare), onnx.defs.onnx_opset_version())
    tensors = bare.graph.initializer
    names = {e.value for t in tensors for e in t.external_data if e.key == "location"}
    beside = [path.parent / name for name in sorted(names)]
    for file in beside:
        if not file.is_file():
            raise ModelError(
                f"its weights lie in {file.name!r}, which is missing beside it; copy it there, or "
                "export with external_data=False"
            )
    for sparse in bare.graph.sparse_initializer:
        raise ModelError(f"its constant {sparse.values.name!r} is sparse; export it as dense")
    isolated.limit([path, *beside])
    with _readable():
        model = onnx.load(str(path))  # refuses external files outside the folder
        onnx.checker.check_model(model)
    return model, sorted(names)


@contextmanager
def _readable() -> Iterator[None]:
    """Turn whatever a damaged file raises into an error of one line."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:  # protobuf, checker and file errors of many kinds
        first = next((line for line in str(error).splitlines() if line.strip()), "no ONNX")
        raise ModelError(f"not a valid ONNX model ({first.strip()}); export it again") from None


def _opset(model: Any) -> int:
    return next((int(o.version) for o in model.opset_import if o.domain in _STANDARD), 0)


def _check_opset(opset: int, latest: int) -> None:
    """Refuse versions of ONNX in which an operator may mean something else."""
    if opset and not OLDEST_OPSET <= opset <= latest:  # without any, the checker complains
        raise ModelError(
            f"opset {opset}; versions {OLDEST_OPSET} to {latest} are known: export it with "
            "opset_version=17"
        )


def _computed(model: Any, constants: dict[str, Array]) -> Iterator[Node]:
    """Yield the nodes that depend on the image; the results of all others go into `constants`."""
    shapes = _shapes(model)
    for proto in model.graph.node:
        node = _node(proto)
        if node["op"] == "Constant":
            constants[node["outputs"][0]] = _constant(node)
        elif node["op"] == "Shape" and node["inputs"][0] in shapes:
            shape = np.array(shapes[node["inputs"][0]], np.int64)
            part = slice(node["attributes"].get("start", 0), node["attributes"].get("end"))
            constants[node["outputs"][0]] = shape[part]
        elif node["inputs"] and all(not name or name in constants for name in node["inputs"]):
            constants.update(_folded(node, proto, constants, _opset(model)))
        else:
            yield node


def _node(proto: Any) -> Node:
    from onnx import helper

    ours = proto.domain in _STANDARD
    return {
        "op": proto.op_type if ours else f"{proto.domain}.{proto.op_type}",
        "name": proto.name or proto.output[0],
        "inputs": list(proto.input),
        "outputs": list(proto.output),
        "attributes": {a.name: _plain(helper.get_attribute_value(a)) for a in proto.attribute},
    }


def _error(node: Node, text: str) -> ModelError:
    return ModelError(f"{node['op']} node {node['name']!r}: {text}")


def _plain(value: Any) -> Any:
    """A number, text, list of them, or array; of a graph or type only what it is called."""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if hasattr(value, "raw_data"):
        return _array(value)
    if isinstance(value, int | float | str):
        return value
    return [_plain(v) for v in value] if hasattr(value, "__iter__") else type(value).__name__


def _array(tensor: Any) -> Array:
    from onnx import numpy_helper

    with _readable():
        return np.asarray(numpy_helper.to_array(tensor))


def _numbers(name: str, array: Array) -> Array:
    """An array that numpy itself knows; bfloat16 and other short kinds fit into float32."""
    array = array.astype(np.float32) if array.dtype.kind == "V" else array
    if array.dtype.kind not in "biuf":
        raise ModelError(f"constant {name!r} holds {array.dtype}; real numbers are expected")
    return array


def _constant(node: Node) -> Array:
    kinds = ("value", "value_float", "value_int", "value_floats", "value_ints")
    found = [node["attributes"][k] for k in kinds if k in node["attributes"]]
    if not found:
        raise _error(node, "holds neither numbers nor a dense tensor")
    return np.asarray(found[0])


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
    with _readable():
        graph = onnx.shape_inference.infer_shapes(single, data_prop=True).graph
    found = {v.name: v.type.tensor_type.shape.dim for v in (*graph.input, *graph.value_info)}
    return {
        name: tuple(d.dim_value for d in dims)
        for name, dims in found.items()
        if all(d.HasField("dim_value") for d in dims)
    }


def _folded(node: Node, proto: Any, constants: dict[str, Array], opset: int) -> dict[str, Array]:
    """Compute a node whose inputs are all constant; its results by tensor name."""
    from onnx import helper
    from onnx.reference import ReferenceEvaluator

    given = {name: constants[name] for name in node["inputs"] if name}
    taken = [helper.make_empty_tensor_value_info(name) for name in given]
    wanted = [helper.make_empty_tensor_value_info(name) for name in node["outputs"] if name]
    graph = helper.make_graph([proto], "constants", taken, wanted)
    version = helper.make_opsetid("", max(opset, _EVALUATED_FROM.get(node["op"], 0)))
    try:
        single = helper.make_model(graph, opset_imports=[version])
        results = ReferenceEvaluator(single).run(None, given)
    except MemoryError:
        raise
    except Exception as error:  # whatever an operator raises for values it cannot take
        first = str(error).split("\n", maxsplit=1)[0]
        raise _error(node, f"of constants, which cannot be computed ({first})") from None
    return {v.name: np.asarray(found) for v, found in zip(wanted, results, strict=True)}


def _sizes(value: Any) -> list[int | str]:
    """The shape of an input, where what is not fixed has a name, or '?'."""
    dims = value.type.tensor_type.shape.dim
    return [d.dim_value if d.HasField("dim_value") else d.dim_param or "?" for d in dims]


if __name__ == "__main__":
    isolated.answer(contents)
