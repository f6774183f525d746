"""Policy networks, written to ONNX files from their description.

The metadata of a file say for which T, classes and input shape the network was trained and how
large its layers are; :class:`seenn_deploy.exits.policy.Policy` reads them. Writing needs ``onnx``
and running needs ``onnxruntime``. The Lava bundle needs neither: it carries the description.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from seenn_deploy._typing import Array, Shape
from seenn_deploy.errors import ProgramError
from seenn_deploy.exits.policy_network.forward import (
    METADATA,
    Operation,
    PolicyNetwork,
    layer_sizes,
)

OPSET, IR_VERSION = 17, 8  # of 2022, so that older versions of onnxruntime read the file too


def to_onnx(network: PolicyNetwork, input_shape: Shape, classes: int, T: int) -> bytes:
    """Write a policy network as the bytes of an ONNX file, float32, for any number of images.

    Parameters
    ----------
    network : PolicyNetwork
    input_shape : (C, H, W)
        Shape of one image, as the program takes it.
    classes, T : int
        Number of classes and of timesteps of the program.

    Raises
    ------
    ProgramError
        When onnx is not installed.
    """
    onnx = _onnx()
    helper, numpy_helper = onnx.helper, onnx.numpy_helper
    nodes, constants = [], []
    for number, operation in enumerate(network.operations, start=1):
        inputs = [_name(i) for i in operation.of]
        for key, array in _arrays(operation).items():
            constants.append(numpy_helper.from_array(array.astype(np.float32), f"{number}/{key}"))
            inputs.append(f"{number}/{key}")
        for kind, taken, given, attributes in _nodes(operation, inputs, _name(number)):
            nodes.append(helper.make_node(kind, taken, [given], **attributes))
    nodes[-1].output[0] = "scores"
    real = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        nodes, "policy",
        [helper.make_tensor_value_info("image", real, ["n", *input_shape])],
        [helper.make_tensor_value_info("scores", real, ["n", len(network.choices)])],
        constants,
    )  # fmt: skip
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="seenn-deploy"
    )
    model.ir_version = IR_VERSION
    about = {
        "choices": list(network.choices), "T": T, "classes": classes,
        "input_shape": list(input_shape), "layers": layer_sizes(network, input_shape),
    }  # fmt: skip
    helper.set_model_props(model, {METADATA: json.dumps(about)})
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def _name(value: int) -> str:
    return f"value{value}" if value else "image"


def _arrays(operation: Operation) -> dict[str, Array]:
    """Return the constants in the order in which ONNX takes them."""
    order = ("weight", "bias", "scale", "shift", "low", "high")
    return {k: np.asarray(operation.arrays[k]) for k in order if k in operation.arrays}


Node = tuple[str, list[str], str, dict[str, Any]]


def _nodes(operation: Operation, inputs: list[str], output: str) -> list[Node]:
    """Return the ONNX nodes (kind, inputs, output, attributes) of one operation."""
    options = operation.options
    if operation.kind == "conv2d":
        pad, stride = options.get("padding", 0), options.get("stride", 1)
        how = {"pads": [pad] * 4, "strides": [stride] * 2, "group": options.get("groups", 1)}
        return [("Conv", inputs, output, how)]
    if operation.kind == "dense":
        flat = f"{output}/flat"
        first: Node = ("Flatten", inputs[:1], flat, {"axis": 1})
        return [first, ("Gemm", [flat, *inputs[1:]], output, {"transB": 1})]
    if operation.kind == "affine":
        x, scale, shift = inputs
        scaled = f"{output}/scaled"
        return [("Mul", [x, scale], scaled, {}), ("Add", [scaled, shift], output, {})]
    if operation.kind == "average":
        kernel = options.get("kernel", 0)
        if not kernel:
            return [("GlobalAveragePool", inputs, output, {})]
        how = {"kernel_shape": [kernel] * 2, "strides": [kernel] * 2}
        return [("AveragePool", inputs, output, how)]
    return [({"relu": "Relu", "clip": "Clip", "add": "Add"}[operation.kind], inputs, output, {})]


def _onnx() -> Any:
    try:
        import onnx
    except ImportError:
        raise ProgramError(
            "policy networks are ONNX files, which need onnx; pip install 'seenn-deploy[onnx]'"
        ) from None
    return onnx


__all__ = ["to_onnx"]
