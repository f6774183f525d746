"""Small policy networks as ONNX files."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from seenn_deploy.exits.policy import Policy
from seenn_deploy.exits.policy_network.forward import METADATA
from seenn_deploy.ir.graph import SpikingGraph


def convolutional(graph: SpikingGraph, path: Path, choices: tuple[int, ...], seed: int) -> Policy:
    """A residual network of every operator that the pre-stage runs, for a graph's images."""
    rng = np.random.default_rng(seed)
    shape = graph.source.shape
    constants = {
        "mean": np.full((1, shape[0], 1, 1), 0.5),
        "std": np.full((), 0.25),
        "w1": rng.normal(0, 0.5, (4, shape[0], 3, 3)),
        "gamma": rng.normal(1, 0.2, 4), "beta": rng.normal(0, 0.2, 4),
        "running": rng.normal(0, 0.2, 4), "var": rng.uniform(0.5, 2, 4),
        "w2": rng.normal(0, 0.5, (4, 2, 3, 3)), "b2": rng.normal(0, 0.2, 4),
        "w3": rng.normal(0, 3.0, (len(choices), 4)), "b3": rng.normal(0, 0.1, len(choices)),
    }  # fmt: skip
    nodes = [
        helper.make_node("Sub", ["x", "mean"], ["centred"]),
        helper.make_node("Div", ["centred", "std"], ["normal"]),
        helper.make_node("Conv", ["normal", "w1"], ["c1"], strides=[2, 2], pads=[1] * 4),
        helper.make_node("BatchNormalization", ["c1", "gamma", "beta", "running", "var"], ["n1"]),
        helper.make_node("Relu", ["n1"], ["r1"]),
        helper.make_node("Conv", ["r1", "w2", "b2"], ["c2"], pads=[1] * 4, group=2),
        helper.make_node("Add", ["r1", "c2"], ["sum"]),
        helper.make_node("Relu", ["sum"], ["r2"]),
        helper.make_node("GlobalAveragePool", ["r2"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w3", "b3"], ["scores"], transB=1),
    ]
    about = {"choices": choices, "T": graph.T, "classes": graph.readout.shape[0],
             "input_shape": shape, "layers": [[1, 1, 1]]}  # fmt: skip
    return save(path, nodes, constants, shape, len(choices), about)


def save(
    path: Path, nodes: list[Any], constants: dict[str, np.ndarray], shape: tuple[int, ...],
    scores: int, about: dict[str, Any],
) -> Policy:  # fmt: skip
    """An ONNX file that describes itself as ``seenn train policy`` does, as a rule."""
    tensors = [numpy_helper.from_array(np.float32(v), k) for k, v in constants.items()]
    graph = helper.make_graph(
        nodes, "policy",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", *shape])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", scores])], tensors,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {METADATA: json.dumps(about)})
    onnx.save(model, str(path))
    assert hashlib.sha256(path.read_bytes()).hexdigest()
    return Policy(path)
