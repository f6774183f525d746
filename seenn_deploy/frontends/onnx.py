"""ANNs in ONNX files, converted: every Relu and Clip becomes an IF neuron.

=============================  ==================================================================
Conv, Gemm, MatMul             synapses; two-dimensional convolutions, symmetric padding
BatchNormalization             folded, exactly
Add, Sub, Mul, Div             of one constant per channel: folded, like input normalisation
Add                            of two branches: both feed the next neuron
Relu                           threshold from calibration images (``compiler.conversion``)
Clip                           from 0 to a maximum, which is the threshold; of a ReLU6 the
                               calibration's, if that is lower
AveragePool                    windows that do not overlap, without padding
GlobalAveragePool, ReduceMean  over height and width
Flatten, Reshape               to one dimension per sample
Identity, Dropout              nothing
=============================  ==================================================================

There must be exactly one layer of synapses between two activations, as in any spiking network.
Populations have the names of the Relu and Clip nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from seenn_deploy import ir
from seenn_deploy._typing import Array, Shape
from seenn_deploy.compiler.conversion import DEFAULT_PERCENTILE, spiking, with_thresholds
from seenn_deploy.errors import ModelError
from seenn_deploy.fidelity import LEFT_OUT, FidelityReport, Proof, RefusedError
from seenn_deploy.frontends.base import Input, Net, conversion_error, normalize_input, reported
from seenn_deploy.frontends.proof import probes, prove_ann
from seenn_deploy.io.images.image_set import from_array, open_images
from seenn_deploy.io.onnx import OnnxModel, OnnxNode, read_onnx, running
from seenn_deploy.ir.maps.base import weighted
from seenn_deploy.ir.provenance import Provenance

SUFFIXES = (".onnx",)
CONVERTS = True  # what it reads is an ANN
RELU6 = 6.0  # a bound that nobody has learned: hardly an activation reaches it
MOST_IMAGES = 128  # calibration images; a percentile over all neurons needs no more


def read(
    path: Path,
    T: int = 16,
    calibration: str | Path | ArrayLike | None = None,
    percentile: float = DEFAULT_PERCENTILE,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    check: bool = True,
) -> ir.SpikingGraph:
    """Read an ANN and convert it to a spiking graph.

    Parameters
    ----------
    path : Path
    T : int
        Number of timesteps.
    calibration : path or array (N, C, H, W), optional
        Images as the program takes them, of which 128 are used at most. A Relu needs them, and a
        ReLU6, whose activations rarely come near 6, gets a better threshold.
    percentile : float
        Percentile of :func:`seenn_deploy.compiler.conversion.with_thresholds`.
    mean, std : sequence of one number per channel, optional
        Normalisation that the network was trained with. It becomes part of the program, which then
        takes pixels in 0..1. Without it, the program takes the inputs that the ANN takes.
    check : bool
        Prove the ANN that is converted: compare its logits with those of onnxruntime. Without it,
        or without onnxruntime, the report says "not proven".

    Raises
    ------
    ModelError
        When an operator has no spiking form (the message names the node), a shape is not fixed, or
        a Relu has no calibration images.
    DataError
        When the calibration images do not fit.
    """
    ann = read_ann(path, T, mean, std)
    proof = _proof(path, ann) if check else Proof(why=LEFT_OUT)
    bounds = {n.name: n.v_threshold for n in ann.populations}
    loose = [name for name, bound in bounds.items() if np.isinf(bound)]
    six = [name for name, bound in bounds.items() if bound == RELU6]
    if loose and calibration is None:
        raise ModelError(
            f"{path}: Relu {loose[0]!r} has no threshold; give calibration images, some of the "
            "training set (seenn convert --calibration)"
        )
    if loose or (six and calibration is not None):
        ann = with_thresholds(ann, _images(ann, calibration), percentile, six)
    graph = spiking(ann)
    return reported(
        graph, proof, {n.name: _change(n, bounds[n.name], percentile, T) for n in graph.populations}
    )


def read_ann(
    path: Path,
    T: int = 16,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> ir.SpikingGraph:
    """Read the ANN itself, with populations for activations; parameters as :func:`read`."""
    model = read_onnx(path)
    report = FidelityReport(path.name)
    try:
        net = _Lowering(model, report).net
    except ModelError as error:
        raise RefusedError(f"{path}: {error}", report) from None
    used = normalize_input(net, mean, std, normalize=True)
    assumed = {"T": T, "input_shape": list(net.source.shape), **used}
    provenance = Provenance(path.name, "onnx", "ONNX", assumed)
    try:
        return ir.SpikingGraph(net.nodes, net.projections, T, provenance)
    except ModelError as error:  # such as an activation whose result nobody takes
        raise ModelError(f"{path}: {error}") from None


def _proof(path: Path, ann: ir.SpikingGraph) -> Proof:
    """Compare the logits of an ANN with those of onnxruntime, where that is installed."""
    if find_spec("onnxruntime") is None:
        return Proof(why="onnxruntime is not installed (pip install 'seenn-deploy[onnx]')")
    images = probes(ann)
    # A machine does a thousand million multiply-accumulates a second at least, and onnxruntime
    # holds no more than a few copies of every value and weight.
    seconds = 1 + sum(edge.dense_macs for edge in ann.projections) // 10**9
    synapses = [m for edge in ann.projections for m in edge.maps if isinstance(m, ir.Synapses)]
    weights, neurons = (m.weight.size for m in synapses), (prod(n.shape) for n in ann.order)
    memory = 16 * (sum(weights) + sum(neurons))
    logits, why = running.run(path, images, seconds, memory)
    if logits is None:
        return Proof(why=why)
    report, causes = FidelityReport(str(path)), "one of the two reads the file wrongly"
    return prove_ann(ann, images, {ann.readout.name: logits}, report, "onnxruntime", causes)


def _change(node: ir.Population, bound: Any, percentile: float, T: int) -> tuple[str, str]:
    """Say which neuron replaces an activation of this bound, and how far off it is."""
    if node.v_threshold == bound:
        return "Clip: an integrate-and-fire neuron", conversion_error(T)
    activation = "Relu" if np.isinf(bound) else "Clip at 6 (ReLU6)"
    clipped = f"{100 - percentile:.3g} % of the calibration's activations are clipped; "
    return f"{activation}: an integrate-and-fire neuron", clipped + conversion_error(T)


def _images(ann: ir.SpikingGraph, given: Any) -> Array:
    opened = open_images if isinstance(given, str | Path) else from_array
    images = opened(
        given, shape=ann.source.shape, input_range=ann.source.input_range, limit=MOST_IMAGES
    )
    return images.take(0, len(images))


# --- lowering ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Value:
    """A tensor between two activations: a sum of linear maps of populations.

    Parameters
    ----------
    terms : tuple of (source name, linear maps)
        The maps of each source in order; only the first term has biases and shifts.
    shape : Shape
        Shape of one sample, as ONNX sees it: flattening changes it without any map.
    """

    terms: tuple[Input, ...]
    shape: Shape


class _Lowering:
    """The lowering of operators, one after the other; `net` is the result.

    Raises
    ------
    ModelError
        When an operator cannot be lowered; the message names the node, but not the file.
    """

    def __init__(self, model: OnnxModel, report: FidelityReport) -> None:
        self.constants, self.lost = model.constants, set[str]()
        self.net = Net(ir.Source("input", model.input_shape), ir.Population("", ()))
        self.values = {model.input: _Value((("input", ()),), model.input_shape)}
        for node in model.nodes:
            with report.gathering():
                self._lower(node)
        report.stop()
        with report.gathering():
            self._read_out(model.output)
        report.stop()

    def _lower(self, node: OnnxNode) -> None:
        """Lower one operator; of those behind a refused one only the kind is looked at."""
        behind = not self.lost.isdisjoint(node.inputs)
        self.lost |= {*node.outputs}
        handler = _OPERATORS.get(node.op)
        if handler is None:
            raise node.unsupported(_OPERATORS)
        if behind:
            return
        try:
            self.values[node.outputs[0]] = handler(self, node)
            self.lost -= {*node.outputs}
        except ModelError as error:
            text = str(error)
            raise error if repr(node.name) in text else node.error(text) from None

    def _read_out(self, name: str) -> None:
        value = self.values.get(name)
        if value is None:
            raise ModelError(f"output {name!r} is no result of a node")
        if not all(any(isinstance(m, ir.Dense) for m in maps) for _, maps in value.terms):
            raise ModelError(
                f"output {name!r} must come from Gemm or MatMul: logits of a classifier"
            )
        if len(self.net.nodes) == 1:  # the source alone
            raise ModelError(
                f"output {name!r} comes from no activation (Relu or Clip), and spiking neurons "
                "replace activations; this network has nothing to convert"
            )
        self.net.read_out(name, *value.terms)

    # --- what a node's inputs are ---

    def value(self, node: OnnxNode, at: int = 0) -> _Value:
        """Return an input that depends on the image."""
        name = node.inputs[at]
        if name not in self.values:
            raise node.error(f"input {name!r} is a constant; a result of another node is expected")
        return self.values[name]

    def constant(self, node: OnnxNode, at: int) -> Array | None:
        """Return a constant input, or None where it was left out."""
        if at >= len(node.inputs) or not node.inputs[at]:
            return None
        name = node.inputs[at]
        if name not in self.constants:
            raise node.error(f"input {name!r} must be a constant, it depends on other nodes")
        return self.constants[name]

    def weight(self, node: OnnxNode, at: int) -> Array:
        """Return a constant input that must be there."""
        found = self.constant(node, at)
        if found is None:
            raise node.error(f"input {at} is missing")
        return found


def _apply(
    net: _Lowering, node: OnnxNode, step: ir.LinearMap, value: _Value | None = None
) -> _Value:
    """Append a linear map to every term of the first input; only one term gets its bias."""
    value = value or net.value(node)
    for pre, maps in value.terms:
        if isinstance(step, ir.AvgPool2d) and not all(isinstance(m, ir.Affine) for m in maps):
            raise node.error("a pool must follow an activation; move it after the Relu")
        if isinstance(step, ir.Synapses) and weighted(maps):
            raise node.error("no activation between it and the layer before; merge the two layers")
        if isinstance(step, ir.Affine) and len(step.scale) != net.net.shape(pre, maps)[0]:
            raise node.error(
                "one number per feature after flattening; it needs one per channel before"
            )
    (first, maps), *others = value.terms
    terms = [(first, (*maps, step))] + [(pre, (*m, step.without_constant())) for pre, m in others]
    return _Value(tuple(terms), step.out_shape(value.shape))


# --- operators -----------------------------------------------------------------------------------


def _conv(net: _Lowering, node: OnnxNode) -> _Value:
    value, weight = net.value(node), net.weight(node, 1)
    if len(value.shape) != 3:
        raise node.error("only two-dimensional convolutions of (C, H, W) are supported")
    stride = tuple(node.attributes["strides"])
    dilation = tuple(node.attributes["dilations"])
    padding = _padding(node, weight.shape[2:], stride, dilation)
    conv = ir.Conv2d(
        weight, stride, padding, dilation, node.attributes["group"], net.constant(node, 2)
    )
    return _apply(net, node, conv)


def _padding(
    node: OnnxNode, kernel: Shape, stride: Sequence[int], dilation: Sequence[int]
) -> tuple[int, int]:
    kind, pads = node.attributes["auto_pad"], node.attributes["pads"]
    reach = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    if kind.startswith("SAME"):
        if tuple(stride) != (1, 1) or any(r % 2 for r in reach):
            raise node.error(f"auto_pad {kind} is asymmetric here; pad both sides alike")
        return reach[0] // 2, reach[1] // 2
    if kind == "VALID":
        return 0, 0
    if pads[:2] != pads[2:]:
        raise node.error(f"pads {list(pads)} are asymmetric; pad both sides alike")
    return pads[0], pads[1]


def _batch_norm(net: _Lowering, node: OnnxNode) -> _Value:
    if node.attributes["training_mode"] or any(node.outputs[1:]):
        raise node.error("is in training mode; export the model in eval mode")
    gamma, beta, mean, var = (net.weight(node, at) for at in (1, 2, 3, 4))
    epsilon = node.attributes["epsilon"]
    return _apply(net, node, ir.batch_norm(gamma, beta, mean, var, epsilon))


def _relu(net: _Lowering, node: OnnxNode) -> _Value:
    return _activation(net, node, np.inf)


def _clip(net: _Lowering, node: OnnxNode) -> _Value:
    """Read the bounds, which are inputs since opset 11 and attributes before."""
    low, high = net.constant(node, 1), net.constant(node, 2)
    bottom = node.attributes["min"] if low is None else float(low)
    top = node.attributes["max"] if high is None else float(high)
    if bottom != 0:
        raise node.error(f"clips at {bottom} below; spikes need 0, as of Relu")
    if top is not None and top <= 0:
        raise node.error(f"clips at {top} above; a threshold must be positive")
    return _activation(net, node, np.inf if top is None else top)


def _activation(net: _Lowering, node: OnnxNode, threshold: float) -> _Value:
    value = net.value(node)
    name = node.name.strip("/")
    if any(name == n.name for n in net.net.nodes):
        # A module that is used twice has two nodes of one name.
        name = f"{name}:{node.outputs[0]}"
    net.net.spike(name, *((pre, maps or (ir.Identity(),)) for pre, maps in value.terms),
                  v_threshold=threshold)  # fmt: skip
    return _Value(((name, ()),), value.shape)


def _average_pool(net: _Lowering, node: OnnxNode) -> _Value:
    value, kernel = net.value(node), tuple(node.attributes["kernel_shape"])
    strides = tuple(node.attributes["strides"])
    if strides != kernel:
        raise node.error(f"windows {kernel} with strides {strides}; they must be two equal pairs")
    if any(d != 1 for d in node.attributes["dilations"]):
        raise node.error("dilated pools are not supported")
    if any(node.attributes["pads"]) or node.attributes["auto_pad"].startswith("SAME"):
        raise node.error("padded pools are not supported; leave the padding out")
    whole = all(n % k == 0 for n, k in zip(value.shape[1:], kernel, strict=True))
    if node.attributes["ceil_mode"] and not whole:
        raise node.error("ceil_mode with partial windows is not supported")
    return _apply(net, node, ir.AvgPool2d((kernel[0], kernel[1])))


def _global_average_pool(net: _Lowering, node: OnnxNode) -> _Value:
    return _apply(net, node, _whole(node, net.value(node)))


def _reduce_mean(net: _Lowering, node: OnnxNode) -> _Value:
    """Read the axes, which are an input since opset 18 and an attribute before."""
    value, given = net.value(node), net.constant(node, 1)
    axes = node.attributes["axes"] if given is None else given.ravel().tolist()
    rank = 1 + len(value.shape)
    if axes is None or sorted(a % rank for a in axes) != [2, 3] or rank != 4:
        raise node.error(f"over axes {axes}; only height and width, [2, 3], are supported")
    pooled = _apply(net, node, _whole(node, value))
    return pooled if node.attributes["keepdims"] else replace(pooled, shape=value.shape[:1])


def _whole(node: OnnxNode, value: _Value) -> ir.AvgPool2d:
    if len(value.shape) != 3:
        raise node.error(f"needs (C, H, W), finds {value.shape}")
    return ir.AvgPool2d((value.shape[1], value.shape[2]))


def _add(net: _Lowering, node: OnnxNode) -> _Value:
    if any(name in net.constants for name in node.inputs):
        return _with_constant(net, node)
    first, second = net.value(node, 0), net.value(node, 1)
    if first.shape != second.shape:
        raise node.error(f"adds shapes {first.shape} and {second.shape}; they must be equal")
    return _Value((*first.terms, *second.terms), first.shape)


def _with_constant(net: _Lowering, node: OnnxNode) -> _Value:
    """Apply Add, Sub, Mul or Div with one constant per channel; it usually is normalisation."""
    at = next((i for i in (0, 1) if node.inputs[i] in net.constants), None)
    if at is None:
        raise node.error("of two tensors that depend on the image; only Add joins branches")
    value = net.value(node, 1 - at)
    c = _per_channel(node, net.weight(node, at), value.shape)
    one, nothing = np.ones_like(c), np.zeros_like(c)
    if node.op == "Add":
        return _apply(net, node, ir.Affine(one, c), value)
    if node.op == "Sub":
        return _apply(net, node, ir.Affine(one, -c) if at == 1 else ir.Affine(-one, c), value)
    if node.op == "Mul":
        return _apply(net, node, ir.Affine(c, nothing), value)
    if at == 0:
        raise node.error("divides by what depends on the image")
    if np.any(c == 0):
        raise node.error("divides by 0")
    return _apply(net, node, ir.Affine(1 / c, nothing), value)


def _per_channel(node: OnnxNode, constant: Array, shape: Shape) -> Array:
    try:
        full = np.broadcast_to(constant.astype(np.float64), (1, *shape))[0]
    except ValueError:
        raise node.error(f"its constant of shape {constant.shape} does not fit {shape}") from None
    rows = full.reshape(shape[0], -1)
    if np.any(rows != rows[:, :1]):
        raise node.error("its constant differs within a channel; one per channel is supported")
    return np.array(rows[:, 0])


def _gemm(net: _Lowering, node: OnnxNode) -> _Value:
    if node.attributes["transA"]:
        raise node.error("transA is not supported")
    weight = net.weight(node, 1) * node.attributes["alpha"]
    weight = weight if node.attributes["transB"] else weight.T
    bias = net.constant(node, 2)
    if bias is not None:
        bias = np.broadcast_to(bias.ravel() * node.attributes["beta"], len(weight))
    return _dense(net, node, ir.Dense(np.ascontiguousarray(weight), bias))


def _matmul(net: _Lowering, node: OnnxNode) -> _Value:
    weight = net.weight(node, 1)
    return _dense(net, node, ir.Dense(np.ascontiguousarray(weight.T)))


def _dense(net: _Lowering, node: OnnxNode, dense: ir.Dense) -> _Value:
    shape = net.value(node).shape
    if len(shape) != 1:
        raise node.error(f"needs one dimension per sample, finds {shape}; flatten before")
    return _apply(net, node, dense)


def _flatten(net: _Lowering, node: OnnxNode) -> _Value:
    value, axis = net.value(node), node.attributes["axis"]
    if axis % (1 + len(value.shape)) != 1:
        raise node.error(f"at axis {axis}; only axis 1, all but the batch, is supported")
    return replace(value, shape=(prod(value.shape),))


def _reshape(net: _Lowering, node: OnnxNode) -> _Value:
    """Accept a reshape to (batch, everything), or to the shape that is there already."""
    value, target = net.value(node), net.weight(node, 1).astype(int).tolist()
    size = prod(value.shape)
    if target[1:] in ([-1], [size]):
        return replace(value, shape=(size,))
    if tuple(target[1:]) != value.shape:
        raise node.error(f"to {target} from {value.shape}; only flattening to [N, -1] is supported")
    return value


def _nothing(net: _Lowering, node: OnnxNode) -> _Value:
    return net.value(node)


def _dropout(net: _Lowering, node: OnnxNode) -> _Value:
    if (training := net.constant(node, 2)) is not None and training.any():
        raise node.error("is in training mode; export the model in eval mode")
    return net.value(node)


_OPERATORS: dict[str, Callable[[_Lowering, OnnxNode], _Value]] = {
    "Add": _add,
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Clip": _clip,
    "Conv": _conv,
    "Div": _with_constant,
    "Dropout": _dropout,
    "Flatten": _flatten,
    "Gemm": _gemm,
    "GlobalAveragePool": _global_average_pool,
    "Identity": _nothing,
    "MatMul": _matmul,
    "Mul": _with_constant,
    "ReduceMean": _reduce_mean,
    "Relu": _relu,
    "Reshape": _reshape,
    "Sub": _with_constant,
}
