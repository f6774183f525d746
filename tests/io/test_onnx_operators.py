"""Attributes and constants that onnx's checker lets pass: each is one line with file and node."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from seenn_deploy.compiler.conversion import forward
from seenn_deploy.errors import ModelError
from seenn_deploy.exits.policy import Policy
from seenn_deploy.frontends.import_model import import_model
from seenn_deploy.frontends.onnx import read_ann
from seenn_deploy.io.onnx.operators import OPERATORS, Whole, checked

RNG = np.random.default_rng(0)


def real(*shape: int) -> Any:
    return RNG.normal(0, 0.4, shape).astype(np.float32)


def network(
    folder: Path, *front: Any, conv: Any = None, bias: Any = None, **constants: Any
) -> Path:
    """A convolution, or other nodes from x to h, then Relu, pool and classifier."""
    nodes = list(front) or [helper.make_node("Conv", ["x", "w", "b"], ["h"], "conv", **conv or {})]
    nodes += [
        helper.make_node("Relu", ["h"], ["a"], "relu"),
        helper.make_node("GlobalAveragePool", ["a"], ["p"]),
        helper.make_node("Flatten", ["p"], ["q"]),
        helper.make_node("Gemm", ["q", "f", "c"], ["y"], "fc", transB=1),
    ]
    constants = {"w": real(5, 3, 3, 3), "b": real(5), "f": real(4, 5), "c": bias} | constants
    if bias is None:
        constants["c"] = real(4)
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 4])],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / "net.onnx")
    return folder / "net.onnx"


NORM = helper.make_node("BatchNormalization", ["k", "g", "t", "m", "v"], ["h"], "norm")
CONV = helper.make_node("Conv", ["x", "w", "b"], ["k"], "conv")
BAD: dict[str, tuple[dict[str, Any], tuple[Any, ...], str]] = {
    "stride 0": ({"conv": {"strides": [0, 0]}}, (), "Conv node 'conv': strides is .0, 0.; 1 to"),
    "one stride": ({"conv": {"strides": [2]}}, (), "strides is .2.; 2 numbers are expected"),
    "negative pads": ({"conv": {"pads": [-1] * 4}}, (), "pads is .* 0 to 65536 is allowed"),
    "three dilations": ({"conv": {"dilations": [1] * 3}}, (), "dilations is .* 2 numbers"),
    "huge pads": ({"conv": {"pads": [2**40] * 4}}, (), "pads is .* 0 to 65536 is allowed"),
    "pads twice": (
        {"conv": {"auto_pad": "SAME_UPPER", "pads": [1] * 4}}, (), "has pads .* beside auto_pad"
    ),
    "another kernel": ({"conv": {"kernel_shape": [5, 5]}}, (), "the weights have .3, 3."),
    "group": ({"conv": {"group": 2}}, (), "group is 2, which does not divide 5 channels"),
    "long bias": ({"bias": real(3)}, (), r"Gemm node 'fc': adds shape \(3,\); 4 numbers"),
    "bias for each sample": ({"bias": real(2, 4)}, (), r"adds shape \(2, 4\); 4 numbers"),
    "norm": (
        {"g": real(4), "t": real(5), "m": real(5), "v": real(5) ** 2},
        (CONV, NORM),
        r"BatchNormalization node 'norm': constant 't' has shape \(5,\), expected \(4\)",
    ),
    "variance": (
        {"g": real(5), "t": real(5), "m": real(5), "v": np.full(5, -1, np.float32)},
        (CONV, NORM),
        "BatchNormalization node 'norm': its variance is negative",
    ),
    "variance 0": (
        {"g": real(5), "t": real(5), "m": real(5), "v": np.zeros(5, np.float32)},
        (CONV, helper.make_node("BatchNormalization", NORM.input, ["h"], "norm", epsilon=0.0)),
        "BatchNormalization node 'norm': divides by a variance of 0",
    ),
    "clip": (
        {"low": np.zeros(5, np.float32)},
        (CONV, helper.make_node("Clip", ["k", "low"], ["h"], "clip")),
        r"Clip node 'clip': constant 'low' has shape \(5,\), expected \(\)",
    ),
    "a gigabyte of zeros": (
        {"n": np.array([1 << 29]), "axis": np.array([0])},
        (
            helper.make_node("ConstantOfShape", ["n"], ["z"], "zeros"),
            helper.make_node("ReduceSum", ["z", "axis"], ["s"]),
            helper.make_node("Conv", ["x", "w", "s"], ["h"]),
        ),
        "holds more than 256 MiB",
    ),
    "text": ({"w": np.array(["no", "number"])}, (), "constant 'w' holds object"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_an_operator_cannot_have(tmp_path: Path, name: str) -> None:
    constants, front, text = BAD[name]
    path = network(tmp_path, *front, **constants)
    for read, kind in ((read_ann, ModelError), (Policy, ValueError)):
        with pytest.raises(kind, match=rf"net\.onnx: .*{text}") as error:
            read(path)
        assert "\n" not in str(error.value)


def test_types_and_shapes_that_contradict_each_other(tmp_path: Path) -> None:
    """Read either way they would be another network than the file's, or none."""
    x = RNG.random((4, 3, 8, 8)).astype(np.float32)
    for weight in (real(5, 3, 3, 3).astype(np.float64), real(5, 3, 0, 3)):
        path = network(tmp_path, w=weight)
        with pytest.raises(ModelError, match=r"net\.onnx: onnxruntime refuses it \(.+\)$"):
            import_model(path, calibration=x)


def test_an_activation_that_feeds_nothing_names_its_file(tmp_path: Path) -> None:
    path = network(tmp_path, CONV, helper.make_node("Relu", ["k"], ["r"], "dead"),
                   helper.make_node("Identity", ["k"], ["h"]))  # fmt: skip
    with pytest.raises(ModelError, match=r"net\.onnx: dead feeds nothing"):
        import_model(path)


def test_a_pool_of_a_policy_network_that_leaves_nothing(tmp_path: Path) -> None:
    pool = helper.make_node(
        "AveragePool", ["k"], ["h"], "pool", kernel_shape=[9, 9], strides=[9, 9]
    )
    path = network(tmp_path, CONV, pool)
    with pytest.raises(ValueError, match=r"AveragePool node 'pool': leaves nothing of \(5, 6, 6\)"):
        Policy(path)


TAKEN: dict[str, tuple[dict[str, Any], tuple[Any, ...]]] = {
    "an addend of (1, N)": ({"bias": real(1, 4)}, ()),
    "a single addend": ({"bias": np.float32(0.3)}, ()),
    "an addend of (1, 1)": ({"bias": real(1, 1)}, ()),
    "int8 weights": (
        {"wq": RNG.integers(-99, 99, (5, 3, 3, 3)).astype(np.int8), "s": real(5) ** 2 / 50,
         "z": np.zeros(5, np.int8)},
        (
            helper.make_node("DequantizeLinear", ["wq", "s", "z"], ["dq"], axis=0),
            helper.make_node("Conv", ["x", "dq", "b"], ["h"], "conv"),
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TAKEN)
def test_what_onnxruntime_takes(tmp_path: Path, name: str) -> None:
    constants, front = TAKEN[name]
    path = network(tmp_path, *front, **constants)
    x = np.random.default_rng(1).random((3, 3, 8, 8)).astype(np.float32)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    *_, (_, logits) = forward(read_ann(path), x)
    np.testing.assert_allclose(logits, session.run(None, {"x": x})[0], rtol=1e-4, atol=1e-5)
    assert Policy(path).T == 4  # its scores were compared with onnxruntime's


def test_an_ann_without_activations(tmp_path: Path) -> None:
    path = network(tmp_path)
    stored = onnx.load(path)
    del stored.graph.node[:3]
    stored.graph.node[0].input[0] = "x"
    stored.graph.initializer[2].CopyFrom(numpy_helper.from_array(real(4, 192), "f"))
    onnx.save(stored, path)
    with pytest.raises(ModelError, match=r"net\.onnx: output 'y' comes from no activation"):
        read_ann(path)


def test_a_sparse_constant_is_refused_by_name(tmp_path: Path) -> None:
    path = network(tmp_path)
    stored = onnx.load(path)
    (first, *_) = stored.graph.initializer
    dense = numpy_helper.to_array(first)
    values = numpy_helper.from_array(dense.ravel()[:1].copy(), first.name)
    indices = numpy_helper.from_array(np.zeros(1, np.int64), "places")
    sparse = helper.make_sparse_tensor(values, indices, list(dense.shape))
    stored.graph.initializer.remove(first)
    stored.graph.sparse_initializer.append(sparse)
    onnx.save(stored, path)
    with pytest.raises(ModelError, match=rf"net\.onnx: its constant '{values.name}' is sparse"):
        read_ann(path)


WHOLE = [
    (op, name)
    for op, known in OPERATORS.items()
    for name, kind in known.attributes.items()
    if isinstance(kind, Whole)
]
NUMBERS = st.integers() | st.integers(0, 3)


@given(
    attribute=st.sampled_from(WHOLE),
    value=NUMBERS
    | st.lists(NUMBERS)
    | st.text()
    | st.floats()
    | st.none()
    | st.lists(st.floats(), min_size=1),
)  # fmt: skip
def test_every_list_has_its_length_and_range(attribute: tuple[str, str], value: Any) -> None:
    op, name = attribute
    kind = OPERATORS[op].attributes[name]
    assert isinstance(kind, Whole)
    whole = {n: a for n, a in OPERATORS[op].attributes.items() if a.default is ...}
    attributes = {n: [1, 1] for n in whole} | {name: value}
    inputs = ["x"] * OPERATORS[op].inputs[0]
    numbers = value if isinstance(value, list) else [value]
    allowed = (
        (kind.length is None or isinstance(value, list) == bool(kind.length))
        and (kind.length is not None or isinstance(value, list))
        and (not kind.length or len(numbers) == kind.length)
        and all(isinstance(n, int) and kind.low <= n <= kind.high for n in numbers)
    )
    if allowed:
        assert checked(op, inputs, attributes, {})[name] == value
    else:
        with pytest.raises(ValueError, match=name):
            checked(op, inputs, attributes, {})
