"""ONNX files made here with onnx.helper; onnxruntime says what the ANN computes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from seenn_deploy.compiler import conversion
from seenn_deploy.compiler.pipeline import compile
from seenn_deploy.errors import DataError, ModelError, SeennError
from seenn_deploy.fidelity import RefusedError
from seenn_deploy.frontends.import_model import import_model
from seenn_deploy.frontends.onnx import read_ann
from seenn_deploy.ir.graph import Population
from seenn_deploy.ir.maps import Identity
from seenn_deploy.simulator.engine import simulate
from tests import checkpoints, naive


class Maker:
    """An ONNX model, node by node."""

    def __init__(self, seed: int = 0, opset: int = 17) -> None:
        self.rng = np.random.default_rng(seed)
        self.opset = opset
        self.nodes: list[Any] = []
        self.tensors: list[Any] = []

    def const(self, name: str, value: Any) -> str:
        self.tensors.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def op(self, kind: str, inputs: Sequence[str], **attributes: Any) -> str:
        name = f"{kind.lower()}{len(self.nodes)}"
        self.nodes.append(
            helper.make_node(kind, list(inputs), [f"{name}_out"], name=f"/net/{name}", **attributes)
        )
        return f"{name}_out"

    def conv(self, x: str, c_in: int, c_out: int, k: int = 3, bias: bool = True, **a: Any) -> str:
        n = len(self.nodes)
        shape = (c_out, c_in // a.get("group", 1), k, k)
        weight = self.rng.normal(0, (2 / np.prod(shape[1:])) ** 0.5, shape)
        inputs = [x, self.const(f"w{n}", weight.astype(np.float32))]
        if bias:
            inputs.append(self.const(f"b{n}", self.rng.normal(0, 0.1, c_out).astype(np.float32)))
        a.setdefault("pads", [k // 2] * 4)
        return self.op("Conv", inputs, **a)

    def norm(self, x: str, c: int) -> str:
        n = len(self.nodes)
        parts = [self.rng.normal(1, 0.2, c), self.rng.normal(0.1, 0.2, c),
                 self.rng.normal(0, 0.2, c), self.rng.uniform(0.5, 1.5, c)]  # fmt: skip
        names = [self.const(f"bn{n}_{i}", p.astype(np.float32)) for i, p in enumerate(parts)]
        return self.op("BatchNormalization", [x, *names], epsilon=1e-3)

    def gemm(self, x: str, ins: int, outs: int, **attributes: Any) -> str:
        n = len(self.nodes)
        shape = (outs, ins) if attributes.get("transB") else (ins, outs)
        weight = self.rng.normal(0, ins**-0.5, shape).astype(np.float32)
        bias = self.rng.normal(0, 0.1, outs).astype(np.float32)
        return self.op("Gemm", [x, self.const(f"w{n}", weight), self.const(f"b{n}", bias)],
                       **attributes)  # fmt: skip

    def save(self, folder: Path, out: str, shape: Sequence[Any] = ("N", 3, 8, 8)) -> Path:
        graph = helper.make_graph(
            self.nodes,
            "net",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, list(shape))],
            [helper.make_tensor_value_info(out, TensorProto.FLOAT, ["N", "M"])],
            self.tensors,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)])
        model.ir_version = 8
        onnx.save(model, str(folder / "net.onnx"))
        return folder / "net.onnx"


def resnet(folder: Path) -> Path:
    """Shortcuts of both kinds, batch norm, Clip, a pool, ReduceMean."""
    m = Maker()
    x = m.op("Relu", [m.norm(m.conv("image", 3, 4, bias=False), 4)])
    y = m.op("Relu", [m.conv(x, 4, 4)])
    x = m.op("Relu", [m.op("Add", [m.norm(m.conv(y, 4, 4), 4), x])])
    limits = [m.const("low", np.float32(0)), m.const("high", np.float32(2.5))]
    y = m.op("Clip", [m.norm(m.conv(x, 4, 6, strides=[2, 2]), 6), *limits])
    short = m.norm(m.conv(x, 4, 6, 1, strides=[2, 2]), 6)
    x = m.op("Relu", [m.op("Add", [short, m.conv(y, 6, 6)])])
    x = m.op("ReduceMean", [m.op("Dropout", [x])], axes=[2, 3], keepdims=0)
    return m.save(folder, m.gemm(x, 6, 5, transB=1))


def vgg(folder: Path) -> Path:
    """Pools, groups, dilation, Flatten, two dense layers as Gemm and as MatMul and Add, opset 9."""
    m = Maker(1, opset=9)
    x = m.op("Relu", [m.conv("image", 3, 4, auto_pad="SAME_UPPER", pads=None)])
    x = m.op("AveragePool", [x], kernel_shape=[2, 2], strides=[2, 2])
    x = m.op("Clip", [m.conv(x, 4, 8, group=2, dilations=[2, 2], pads=[2, 2, 2, 2])], min=0.0,
             max=3.0)  # fmt: skip
    x = m.op("Flatten", [m.op("AveragePool", [x], kernel_shape=[2, 2], strides=[2, 2])])
    x = m.op("Relu", [m.gemm(x, 32, 9, alpha=0.5, beta=2.0)])
    y = m.op("MatMul", [x, m.const("w", m.rng.normal(0, 0.4, (9, 5)).astype(np.float32))])
    return m.save(
        folder, m.op("Add", [m.const("b", np.arange(5, dtype=np.float32)), y]), (1, 3, 8, 8)
    )


def preactivation(folder: Path) -> Path:
    """A sum of activations into several layers, normalised, opset 18."""
    m = Maker(2, opset=18)
    x = m.op("Relu", [m.conv("image", 3, 4)])
    y = m.op("Add", [x, m.op("Relu", [m.conv(x, 4, 4)])])
    z = m.op("Relu", [m.norm(y, 4)])
    y = m.op("Add", [y, m.op("Identity", [z])])
    shift = m.const("shift", m.rng.normal(0, 0.3, (4, 1, 1)).astype(np.float32))
    x = m.op("Relu", [m.conv(m.op("Add", [m.norm(y, 4), shift]), 4, 5)])
    y = m.op("Reshape", [m.op("GlobalAveragePool", [x]), m.const("to", np.int64([1, -1]))])
    mean = m.op("ReduceMean", [x, m.const("axes", np.int64([-1, -2]))], keepdims=1)
    z = m.op("Flatten", [mean])
    out = m.op("Add", [m.gemm(y, 5, 6, transB=1), m.gemm(z, 5, 6)])
    return m.save(folder, out, (1, 3, 8, 8))


def normalised(folder: Path) -> Path:
    """(x / 255 - mean) / std at the input, behind it 1 - x and 2 x, a shift behind the neurons."""
    m = Maker(3)
    row = np.float32([0.4, 0.5, 0.6]).reshape(3, 1, 1)
    x = m.op("Div", ["image", m.const("pixel", np.float32(255))])
    x = m.op("Sub", [x, m.const("mean", row[None] / 255)])
    x = m.op("Div", [x, m.const("std", np.float32([1 / 250, 1 / 200, 1 / 260]).reshape(3, 1, 1))])
    x = m.op("Relu", [m.conv(x, 3, 4)])
    x = m.op("Sub", [m.const("one", np.float32(1)), x])
    y = m.op("Mul", [m.const("two", np.float32([2])), m.op("Relu", [m.conv(x, 4, 4)])])
    y = m.op("Sub", [y, m.const("s", m.rng.normal(0, 0.3, (1, 4, 1, 1)).astype(np.float32))])
    x = m.op("Relu", [m.conv(m.op("Add", [y, m.norm(x, 4)]), 4, 5)])
    return m.save(folder, m.gemm(m.op("Flatten", [x]), 320, 6))


def sized(folder: Path) -> Path:
    """What torch writes for x.view(x.size(0), -1) of any batch, weights behind a node, opset 11."""
    m = Maker(4, opset=11)
    x = m.op("Relu", [m.conv("image", 3, 4, strides=[2, 2])])
    batch = m.op("Gather", [m.op("Shape", [x]), m.const("first", np.int64(0))], axis=0)
    rest = m.const("rest", np.int64([-1]))
    to = m.op("Concat", [m.op("Unsqueeze", [batch], axes=[0]), rest], axis=0)
    weight = m.const("w", m.rng.normal(0, 0.2, (7, 64)).astype(np.float32))
    turned = m.op("Transpose", [m.op("Identity", [weight])], perm=[1, 0])
    return m.save(folder, m.op("MatMul", [m.op("Reshape", [x, to]), turned]))


MODELS = {
    "resnet": resnet, "vgg": vgg, "preactivation": preactivation,
    "normalised": normalised, "sized": sized,
}  # fmt: skip


def run_onnx(path: Path, images: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {"image": x[None]})[0] for x in images])


def error(path: Path, **options: Any) -> str:
    with pytest.raises(SeennError) as caught:
        import_model(path, **({"calibration": checkpoints.images((4, 3, 8, 8))} | options))
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- the ANN, and what it becomes -----------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_the_ann_computes_what_onnxruntime_does(tmp_path: Path, name: str) -> None:
    path = MODELS[name](tmp_path)
    images = checkpoints.images((5, 3, 8, 8), seed=3)
    *_, (_, logits) = conversion.forward(read_ann(path), images)
    np.testing.assert_allclose(logits, run_onnx(path, images), rtol=1e-4, atol=1e-5)
    assert np.ptp(logits, axis=0).max() > 0.05


@pytest.mark.parametrize("name", MODELS)
def test_rates_approach_the_ann(tmp_path: Path, name: str) -> None:
    """The mean logits of T steps: the error falls with T, and is small at T = 256."""
    path = MODELS[name](tmp_path)
    images = checkpoints.images((6, 3, 8, 8), seed=3)
    want = run_onnx(path, images)
    off = {}
    for T in (4, 32, 256):
        graph = import_model(path, T=T, calibration=images, percentile=100)
        run = simulate(compile(graph), images)
        off[T] = np.abs(run.logits[:, -1] / T - want).max() / np.abs(want).max()
    assert off[256] < off[32] < off[4]
    assert off[256] < 0.03, off
    trace = naive.run(compile(graph).graph, images[:1], 8)
    assert all(trace.outputs[n.name].any() for n in graph.layers[:-1])


def test_thresholds(tmp_path: Path) -> None:
    """Of Clip its maximum, of Relu the percentile of its activations."""
    path = resnet(tmp_path)
    images = checkpoints.images((6, 3, 8, 8), seed=3)
    graph = import_model(path, calibration=images, percentile=99)
    thresholds = graph.provenance["conversion"]["thresholds"]
    ann = dict(conversion.forward(read_ann(path), images))
    assert list(thresholds) == [n.name for n in graph.layers[:-1]]
    for node in graph.layers[:-1]:
        assert isinstance(node, Population)
        expected = 2.5 if "clip" in node.name else np.percentile(ann[node.name], 99)
        assert node.v_threshold == thresholds[node.name] == expected
        found = (node.v_init, node.tau, node.reset, node.comparison)
        assert found == (expected / 2, 1, "soft", ">")
    shortcut = next(e for e in graph.projections if isinstance(e.maps[0], Identity))
    assert float(shortcut.maps[0].weight) == thresholds[shortcut.pre]
    assert graph.layers[0].name == "net/relu2"


def test_the_bound_of_a_relu6_is_lowered_to_what_activations_reach(tmp_path: Path) -> None:
    """And the logits come nearer in the same time; a bound that is reached, or learned, stays."""
    off, images = {}, checkpoints.images((6, 3, 8, 8), seed=3)
    for bound in (6.0, 5.0):
        m = Maker(opset=9)
        x = m.op("Clip", [m.conv("image", 3, 4)], min=0.0, max=bound)
        x = m.op("Clip", [m.conv(x, 4, 4)], min=0.0, max=bound)
        path = m.save(tmp_path, classifier(m, x))
        graph = import_model(path, T=32, calibration=images)
        *_, (name, logits) = conversion.forward(read_ann(path), images)
        run = simulate(compile(graph), images, full_trace=True)
        off[bound] = np.abs(run.logits[:, -1] / 32 - logits).max()
        found = [n.v_threshold for n in graph.populations]
        assert all(0 < v < 6 for v in found) if bound == 6 else found == [5, 5]
        findings = graph.provenance["report"]["findings"]
        told = [f["what"].split(":")[0] for f in findings if f["status"] == "approximated"]
        assert told == ["Clip at 6 (ReLU6)" if bound == 6 else "Clip"] * 2
        assert name == graph.readout.name
        assert [n.v_threshold for n in import_model(path, T=32).populations] == [bound] * 2
    assert off[6.0] < off[5.0]


def test_calibration_from_a_file_and_folded_normalization(tmp_path: Path) -> None:
    path = resnet(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (200, 8, 8, 3)).astype(np.uint8)
    np.savez(tmp_path / "images.npz", x=pixels)
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)
    graph = import_model(path, calibration=tmp_path / "images.npz", mean=mean, std=std)
    x = pixels[:128].transpose(0, 3, 1, 2) / np.float32(255)
    normal = (x - np.float32(mean)[:, None, None]) / np.float32(std)[:, None, None]
    plain = import_model(path, calibration=normal.astype(np.float32))
    for a, b in zip(graph.layers[:-1], plain.layers[:-1], strict=True):
        assert a.v_threshold == pytest.approx(b.v_threshold, rel=1e-5)
    assert graph.provenance["assumed"]["mean"] == list(mean)
    assert compile(graph).input_range == (0, 1)


def test_clip_alone_needs_no_images(tmp_path: Path) -> None:
    m = Maker(opset=9)
    x = m.op("Clip", [m.conv("image", 3, 2)], min=0.0, max=1.0)
    path = m.save(tmp_path, m.gemm(m.op("Flatten", [x]), 128, 4))
    assert import_model(path).layers[0].v_threshold == 1


def test_the_package_is_not_imported_before_a_file_is_read() -> None:
    code = "import sys, seenn_deploy.frontends.onnx; sys.exit('onnx' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- bad input -----------------------------------------------------------------------------------


def classifier(m: Maker, x: str, features: int = 256) -> str:
    return m.gemm(m.op("Flatten", [x]), features, 4)


def dilated_pool(m: Maker, x: str) -> str:
    m.opset = 19
    return m.op("AveragePool", [x], kernel_shape=[2, 2], strides=[2, 2], dilations=[2, 2])


BAD: dict[str, tuple[Any, str]] = {
    "an unknown operator": (
        lambda m: classifier(m, m.op("Sigmoid", [m.conv("image", 3, 4)])),
        "Sigmoid node '/net/sigmoid1': this operator is not supported (there are Add, AveragePool,",
    ),
    "a quotient of the image": (
        lambda m: classifier(m, m.op("Div", [m.const("c", np.float32(1)), "image"])),
        "Div node '/net/div0': divides by what depends on the image",
    ),
    "a division by zero": (
        lambda m: classifier(m, m.op("Div", ["image", m.const("c", np.float32([[[0.5]], [[0]],
                                                                               [[1]]]))])),
        "Div node '/net/div0': divides by 0",
    ),
    "a product of branches": (
        lambda m: classifier(m, m.op("Mul", ["image", "image"])),
        "Mul node '/net/mul0': of two tensors that depend on the image; only Add joins",
    ),
    "one number a pixel": (
        lambda m: classifier(m, m.op("Sub", ["image", m.const("c", np.arange(8, dtype="f"))])),
        "Sub node '/net/sub0': its constant differs within a channel",
    ),
    "probabilities": (
        lambda m: m.op("Softmax", [classifier(m, m.op("Relu", [m.conv("image", 3, 4)]))]),
        "export the model without it: logits are expected",
    ),
    "constants that do not fit": (
        lambda m: classifier(m, m.op("Add", ["image", m.op("Add", [m.const("a", np.zeros(2)),
                                                                   m.const("b", np.zeros(3))])])),
        "Add node '/net/add0': of constants, which cannot be computed",
    ),
    "dilated windows": (
        lambda m: classifier(m, dilated_pool(m, m.op("Relu", [m.conv("image", 3, 4)])), 64),
        "AveragePool node '/net/averagepool2': dilated pools",
    ),
    "max pool": (
        lambda m: classifier(
            m, m.op("MaxPool", [m.op("Relu", [m.conv("image", 3, 4)])], kernel_shape=[2, 2])
        ),
        "train with average pools instead",
    ),
    "two layers in a row": (
        lambda m: classifier(m, m.op("Relu", [m.conv(m.conv("image", 3, 4), 4, 4)])),
        "Conv node '/net/conv1': no activation between it and the layer before",
    ),
    "a pool before the activation": (
        lambda m: classifier(
            m,
            m.op("Relu", [m.op("GlobalAveragePool", [m.conv("image", 3, 4)])]), 4,
        ),
        "GlobalAveragePool node '/net/globalaveragepool1': a pool must follow an activation",
    ),
    "overlapping windows": (
        lambda m: classifier(
            m,
            m.op("AveragePool", [m.op("Relu", [m.conv("image", 3, 4)])], kernel_shape=[3, 3],
                 strides=[2, 2]),
        ),
        "windows (3, 3) with strides (2, 2)",
    ),
    "asymmetric padding": (
        lambda m: classifier(m, m.op("Relu", [m.conv("image", 3, 4, pads=[0, 0, 1, 1])])),
        "pads [0, 0, 1, 1] are asymmetric",
    ),
    "a clip from below zero": (
        lambda m: classifier(
            m,
            m.op("Clip", [m.conv("image", 3, 4), m.const("l", np.float32(-1)),
                          m.const("h", np.float32(1))]),
        ),
        "Clip node '/net/clip1': clips at -1.0 below",
    ),
    "a clip to zero": (
        lambda m: classifier(
            m,
            m.op("Clip", [m.conv("image", 3, 4), m.const("l", np.float32(0)),
                          m.const("h", np.float32(0))]),
        ),
        "clips at 0.0 above",
    ),
    "no classifier": (
        lambda m: m.op("Relu", [m.conv("image", 3, 4)]),
        "must come from Gemm or MatMul",
    ),
    "weights that are computed": (
        lambda m: classifier(
            m, m.op("Relu", [m.op("Conv", ["image", m.op("Identity", ["image"])])])
        ),
        "must be a constant",
    ),
    "NaN weights": (
        lambda m: classifier(
            m,
            m.op("Relu", [m.op("Conv", ["image", m.const("w", np.full((4, 3, 1, 1), np.nan,
                                                                      np.float32))])]),
        ),
        "constant 'w' holds NaN or infinity",
    ),
    "the wrong number of features": (
        lambda m: m.gemm(m.op("Flatten", [m.op("Relu", [m.conv("image", 3, 4)])]), 7, 4),
        "Gemm node '/net/gemm3': a dense layer over 7 neurons cannot take shape (256,)",
    ),
    "a reshape into two": (
        lambda m: m.gemm(
            m.op("Reshape", [m.op("Relu", [m.conv("image", 3, 4)]),
                             m.const("to", np.int64([1, 4, 64]))]), 64, 4,
        ),
        "Reshape node '/net/reshape2': to [1, 4, 64] from (4, 8, 8)",
    ),
    "a layer that is always silent": (
        lambda m: classifier(
            m,
            m.op("Relu", [m.op("Add", [m.conv("image", 3, 4), m.const("b", np.float32(-99))])]),
        ),
        "net/relu2: silent, 99.9 % of its activations are 0 on the 4 calibration images",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_has_no_spiking_form_is_named(tmp_path: Path, name: str) -> None:
    make, words = BAD[name]
    m = Maker()
    path = m.save(tmp_path, make(m))
    assert words in error(path)


def test_a_refusal_brings_its_report(tmp_path: Path) -> None:
    m = Maker()
    path = m.save(tmp_path, BAD["max pool"][0](m))
    with pytest.raises(RefusedError) as caught:
        import_model(path)
    (finding,) = caught.value.report.findings
    assert (finding.where, finding.status) == ("MaxPool node '/net/maxpool2'", "refused")
    assert finding.what.startswith("this operator is not supported")


def test_activations_are_approximated(tmp_path: Path) -> None:
    graph = import_model(resnet(tmp_path), calibration=checkpoints.images((4, 3, 8, 8)))
    changed = [f for f in graph.provenance["report"]["findings"] if f["status"] == "approximated"]
    assert [f["where"] for f in changed] == list(graph.provenance["conversion"]["thresholds"])
    assert {f["what"].split(":")[0] for f in changed} == {"Relu", "Clip"}
    assert {f["by"].startswith("0.1 % of") for f in changed if "Relu" in f["what"]} == {True}


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        (
            ("N", 3, "height", "width"),
            "input 'image' has dynamic shape ['N', 3, 'height', 'width']; export it with",
        ),
        (("N", 3, None, 8), "dynamic shape ['N', 3, '?', 8]; export it with fixed"),
        (("N", 192), "(N, C, H, W) is expected"),
    ],
)
def test_shapes_that_are_not_fixed(tmp_path: Path, shape: tuple[Any, ...], words: str) -> None:
    m = Maker()
    path = m.save(tmp_path, classifier(m, m.op("Relu", [m.conv("image", 3, 4)])), shape)
    assert words in error(path)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"calibration": None}, "Relu 'net/relu2' has no threshold; give calibration images"),
        ({"percentile": 0}, "percentile 0 lies outside"),
        ({"percentile": 101}, "percentile 101 lies outside"),
        ({"calibration": np.zeros((0, 3, 8, 8), np.float32)}, "no images"),
        ({"calibration": np.zeros((2, 1, 8, 8), np.float32)}, "this program takes"),
        ({"calibration": "nowhere.npz"}, "nowhere.npz"),
        ({"mean": (0.5, 0.5, 0.5)}, "mean and std belong together"),
        ({"T": 0}, "T must be"),
        ({"tau": 0.5}, "option 'tau' means nothing for this network (frontend onnx"),
    ],
)
def test_options_out_of_range(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    assert words in error(resnet(tmp_path), **options)


def test_files_that_are_no_onnx(tmp_path: Path) -> None:
    path = resnet(tmp_path)
    content = path.read_bytes()
    for damaged in (b"", b"hello", content[: len(content) // 2], content[::-1]):
        (tmp_path / "bad.onnx").write_bytes(damaged)
        message = error(tmp_path / "bad.onnx")
        assert "bad.onnx" in message


def test_weights_beside_the_file(tmp_path: Path) -> None:
    path = resnet(tmp_path)
    images = checkpoints.images((4, 3, 8, 8))
    want = import_model(path, calibration=images)
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="w", size_threshold=0)
    graph = import_model(path, calibration=images)
    assert compile(graph).fingerprint == compile(want).fingerprint
    (tmp_path / "w").unlink()
    assert "its weights lie in 'w', which is missing beside it" in error(path)


def test_operators_that_may_mean_something_else(tmp_path: Path) -> None:
    stored = onnx.load(resnet(tmp_path))
    for opset in (5, 999):
        stored.opset_import[0].version = opset
        (tmp_path / "other.onnx").write_bytes(stored.SerializeToString())
        assert "other.onnx: " in error(tmp_path / "other.onnx")
    assert "opset 999; versions 7 to" in error(tmp_path / "other.onnx")
    stored.opset_import[0].version = 17
    stored.opset_import.append(helper.make_opsetid("own", 1))
    stored.graph.node[0].domain = "own"
    onnx.save(stored, tmp_path / "other.onnx")
    assert "own.Conv node '/net/conv0': this operator is not" in error(tmp_path / "other.onnx")


def test_without_the_onnx_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = resnet(tmp_path)
    (tmp_path / "onnx.py").write_text("raise ImportError('not here')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModelError, match=r"pip install 'seenn-deploy\[onnx\]'"):
        import_model(path)


def test_calibration_needs_images() -> None:
    with pytest.raises(DataError, match="no calibration images"):
        conversion.with_thresholds(None, np.zeros((0, 3, 8, 8)))  # type: ignore[arg-type]
