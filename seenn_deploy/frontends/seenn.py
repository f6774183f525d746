"""SEENN's own checkpoints: ResNet-19, VGG, VGGSNN and VGGSNNwoAP, recognised from keys and shapes.

Populations carry the names of SEENN's modules. The networks are those of
github.com/Intelligent-Computing-Lab-Yale/SEENN (arXiv 2304.01230).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import isqrt
from pathlib import Path
from typing import Any, Literal

import numpy as np

from seenn_deploy.checkpoint import Tensors, read_state_dict
from seenn_deploy.errors import ModelError
from seenn_deploy.graph import (
    Affine,
    AvgPool2d,
    Conv2d,
    Dense,
    Identity,
    LinearMap,
    Node,
    Population,
    Projection,
    Readout,
    Shape,
    Source,
    SpikingGraph,
)

SUFFIXES = (".pth", ".pt", ".safetensors")
CIFAR10_MEAN = (0.4914, 0.4822, 0.4465)  # SEENN data_loaders.py
CIFAR10_STD = (0.2023, 0.1994, 0.2010)
VGGSNN_LAYERS = (0, 1, 3, 4, 6, 7, 9, 10)  # the gaps are average pools, one more follows the last
WOAP_LAYERS = tuple(range(8))  # every second convolution has stride 2


def read(
    path: Path,
    T: int = 4,
    tau: float = 0.5,
    v_threshold: float = 1.0,
    comparison: Literal[">", ">="] = ">",
    input_size: int | tuple[int, int] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    normalize: bool = True,
    coding: Literal["direct", "events"] | None = None,
) -> SpikingGraph:
    """Read a state_dict that SEENN's training script saved.

    Parameters
    ----------
    path : Path
    T : int
        Timesteps.
    tau, v_threshold : float
        Leak and threshold of every LIF neuron; SEENN trains with 0.5 and 1.
    comparison : '>' or '>='
        '>=' for networks trained with ``dspike=True``.
    input_size : int or (height, width), optional
        32 for ResNet and VGG; from the classifier's size for VGGSNN.
    mean, std : one number a channel, optional
        Normalisation the network was trained with; CIFAR-10's for 3 channels. It becomes part of
        the program, which then takes pixels in 0..1.
    normalize : bool
        False: the program takes inputs as they are, already normalised.
    coding : 'direct' or 'events', optional
        'events' for VGGSNN, 'direct' for the others.

    Raises
    ------
    ModelError
    """
    tensors = Tensors(path, read_state_dict(path))
    builder, family = _recognise(tensors)
    if not 0 <= tau <= 1:
        raise ModelError(f"tau = {tau} lies outside [0, 1]")
    if not (np.isfinite(v_threshold) and v_threshold > 0):
        raise ModelError(f"v_threshold = {v_threshold} must be a positive number")
    if comparison not in (">", ">="):
        raise ModelError(f"comparison {comparison!r} must be '>' or '>='")
    if coding not in (None, "direct", "events"):
        raise ModelError(f"coding {coding!r} must be 'direct' or 'events'")
    size = (input_size, input_size) if isinstance(input_size, int) else input_size
    neuron = Population("", (), tau, v_threshold, comparison=comparison)
    net = builder(tensors, neuron, size, coding)
    tensors.check_all_used(family)
    net, used = _with_normalization(net, mean, std, normalize)
    provenance = {
        "source": path.name,
        "frontend": "seenn",
        "family": family,
        "assumed": {
            "T": T,
            "tau": tau,
            "v_threshold": v_threshold,
            "comparison": comparison,
            "input_shape": list(net.source.shape),
            "coding": net.source.coding,
            **used,
        },
    }
    return SpikingGraph(net.nodes, net.projections, T, provenance)


class _Net:
    """Nodes and projections as they are put one after the other."""

    def __init__(self, source: Source, neuron: Population) -> None:
        self.source, self.neuron = source, neuron
        self.nodes: list[Node] = [source]
        self.projections: list[Projection] = []

    def shape(self, name: str, maps: tuple[LinearMap, ...]) -> Shape:
        shape = next(n.shape for n in self.nodes if n.name == name)
        for step in maps:
            shape = step.out_shape(shape)
        return shape

    def spike(self, name: str, *inputs: tuple[str, tuple[LinearMap, ...]]) -> str:
        """Add a population fed by (source name, linear maps) pairs."""
        self.nodes.append(replace(self.neuron, name=name, shape=self.shape(*inputs[0])))
        self.projections += [Projection(pre, name, maps) for pre, maps in inputs]
        return name

    def read_out(self, name: str, pre: str, *maps: LinearMap) -> None:
        self.nodes.append(Readout(name, self.shape(pre, maps)))
        self.projections.append(Projection(pre, name, maps))


def _recognise(tensors: Tensors) -> tuple[Any, str]:
    if "conv1.weight" in tensors and "layer1.0.conv1.module.weight" in tensors:
        return _resnet, "SEENN's ResNet"
    if "features.0.fwd.module.0.weight" in tensors:
        return _vggsnn, "SEENN's VGGSNN"
    if "features.0.module.weight" in tensors:
        return _vgg, "SEENN's VGG"
    raise tensors.unknown("SEENN's ResNet, VGG or VGGSNN")


def _resnet(
    tensors: Tensors, neuron: Population, size: tuple[int, int] | None, coding: Any
) -> _Net:
    """``PreActBasicBlock``: the shortcut adds spikes to the current of the block's second LIF."""
    weight = tensors.take("conv1.weight", (None, None, 3, 3))
    net = _Net(Source("input", (weight.shape[1], *(size or (32, 32))), coding or "direct"), neuron)
    stem = Conv2d(weight, padding=(1, 1))
    last = net.spike("spike", ("input", (stem, _td_batch_norm(tensors, "bn", len(weight)))))
    for stage in range(1, 1 + _count(tensors, "layer{}.0.conv1.module.weight", 1)):
        for block in range(_count(tensors, f"layer{stage}.{{}}.conv1.module.weight")):
            stride = 2 if block == 0 and stage > 1 else 1
            last = _block(tensors, net, f"layer{stage}.{block}", last, stride)
    channels, *area = net.shape(last, ())
    net.read_out(
        "fc1", last, AvgPool2d((area[0], area[1])), _linear(tensors, "fc1.module", channels)
    )
    return net


def _block(tensors: Tensors, net: _Net, name: str, last: str, stride: int) -> str:
    c_in = net.shape(last, ())[0]
    first = tensors.take(f"{name}.conv1.module.weight", (None, c_in, 3, 3))
    c_out = len(first)
    second = tensors.take(f"{name}.conv2.module.weight", (c_out, c_out, 3, 3))
    conv1 = Conv2d(first, stride=(stride, stride), padding=(1, 1))
    inner = net.spike(
        f"{name}.spike1", (last, (conv1, _td_batch_norm(tensors, f"{name}.bn1", c_out)))
    )
    shortcut: tuple[LinearMap, ...] = (Identity(),)
    if stride != 1 or c_in != c_out:
        pool = (AvgPool2d((stride, stride)),) if stride > 1 else ()
        weight = tensors.take(f"{name}.downsample.1.module.weight", (c_out, c_in, 1, 1))
        norm = _td_batch_norm(tensors, f"{name}.downsample.2", c_out)
        shortcut = (*pool, Conv2d(weight), norm)
    main = Conv2d(second, padding=(1, 1)), _td_batch_norm(tensors, f"{name}.bn2", c_out)
    return net.spike(f"{name}.spike2", (inner, main), (last, shortcut))


def _vgg(tensors: Tensors, neuron: Population, size: tuple[int, int] | None, coding: Any) -> _Net:
    """Convolutions with bias, optional batch norm, LIF; average pools where an index is free."""
    c_in = tensors.take("features.0.module.weight", (None, None, 3, 3)).shape[1]
    net = _Net(Source("input", (c_in, *(size or (32, 32))), coding or "direct"), neuron)
    last, index = "input", 0
    pool: tuple[LinearMap, ...] = ()
    while f"features.{index}.module.weight" in tensors:
        weight = tensors.take(f"features.{index}.module.weight", (None, c_in, 3, 3))
        c_in = len(weight)
        bias = tensors.take(f"features.{index}.module.bias", (c_in,))
        maps: tuple[LinearMap, ...] = (*pool, Conv2d(weight, padding=(1, 1), bias=bias))
        if f"features.{index + 1}.bn.weight" in tensors:
            index += 1
            maps += (_td_batch_norm(tensors, f"features.{index}", c_in),)
        last = net.spike(f"features.{index + 1}", (last, maps))
        index += 2
        pool = ()
        if f"features.{index}.module.weight" not in tensors:
            pool, index = (AvgPool2d((2, 2)),), index + 1
    channels, *area = net.shape(last, ())
    everything = AvgPool2d((area[0], area[1]))
    net.read_out(
        "classifier.0", last, everything, _linear(tensors, "classifier.0.module", channels)
    )
    return net


def _vggsnn(
    tensors: Tensors, neuron: Population, size: tuple[int, int] | None, coding: Any
) -> _Net:
    """Eight ``Layer`` modules (convolution with bias, batch norm, LIF), pooled or strided."""
    found = tuple(i for i in range(64) if f"features.{i}.fwd.module.0.weight" in tensors)
    if found not in (VGGSNN_LAYERS, WOAP_LAYERS):
        raise ModelError(
            f"{tensors.path}: layers at features {found}; VGGSNN has them at {VGGSNN_LAYERS}, "
            f"VGGSNNwoAP at {WOAP_LAYERS}"
        )
    pooled = found == VGGSNN_LAYERS
    c_in = tensors.take("features.0.fwd.module.0.weight", (None, None, 3, 3)).shape[1]
    source = Source(
        "input", (c_in, *(size or _vggsnn_size(tensors, found[-1]))), coding or "events"
    )
    net, last = _Net(source, neuron), "input"
    pool: tuple[LinearMap, ...] = ()
    for index in found:
        prefix = f"features.{index}.fwd.module"
        weight = tensors.take(f"{prefix}.0.weight", (None, c_in, 3, 3))
        c_in = len(weight)
        stride = 1 if pooled or index % 2 == 0 else 2
        bias = tensors.take(f"{prefix}.0.bias", (c_in,))
        conv = Conv2d(weight, stride=(stride, stride), padding=(1, 1), bias=bias)
        norm = tensors.take_batch_norm(f"{prefix}.1", c_in)
        last = net.spike(f"features.{index}", (last, (*pool, conv, norm)))
        pool = (AvgPool2d((2, 2)),) if pooled and index + 1 not in found else ()
    features = int(np.prod(net.shape(last, pool)))
    net.read_out("classifier", last, *pool, _linear(tensors, "classifier.module", features))
    return net


def _vggsnn_size(tensors: Tensors, last: int) -> tuple[int, int]:
    """Smallest input: the classifier sees C W W features behind a 16-fold reduction."""
    features = tensors.take("classifier.module.weight", (None, None)).shape[1]
    channels = len(tensors.take(f"features.{last}.fwd.module.0.weight", (None, None, 3, 3)))
    width = isqrt(max(features // channels, 0))
    if width * width * channels != features or not width:
        raise ModelError(
            f"{tensors.path}: 'classifier.module.weight' takes {features} features, "
            f"no square of {channels} channels; say input_size"
        )
    return (16 * width, 16 * width)


def _td_batch_norm(tensors: Tensors, name: str, channels: int) -> Affine:
    """SEENN's tdBatchNorm, which is stored twice."""
    tensors.ignore_copy(f"{name}.seqbn.module", f"{name}.bn")
    return tensors.take_batch_norm(f"{name}.bn", channels)


def _linear(tensors: Tensors, name: str, features: int) -> Dense:
    weight = tensors.take(f"{name}.weight", (None, features))
    return Dense(weight, tensors.take(f"{name}.bias", (len(weight),)))


def _count(tensors: Tensors, pattern: str, start: int = 0) -> int:
    n = 0
    while pattern.format(start + n) in tensors:
        n += 1
    return n


def _with_normalization(
    net: _Net, mean: Sequence[float] | None, std: Sequence[float] | None, normalize: bool
) -> tuple[_Net, dict[str, Any]]:
    """Put ``(x - mean) / std`` in front of what the source feeds."""
    channels = net.source.shape[0]
    if (mean is None) != (std is None):
        raise ModelError("mean and std belong together; give both or neither")
    if mean is None and normalize and channels == 3 and net.source.coding == "direct":
        mean, std = CIFAR10_MEAN, CIFAR10_STD
    if mean is None or std is None or not normalize:
        return net, {"mean": None, "std": None}
    for name, value in (("mean", mean), ("std", std)):
        if len(value) != channels or not np.all(np.isfinite(value)):
            raise ModelError(f"{name} = {tuple(value)}: the input has {channels} channels")
    if min(std) <= 0:
        raise ModelError(f"std = {tuple(std)}: must be positive")
    affine = Affine(
        1 / np.asarray(std, np.float64), -np.asarray(mean, np.float64) / np.asarray(std)
    )
    net.projections = [
        replace(e, maps=(affine, *e.maps)) if e.pre == net.source.name else e
        for e in net.projections
    ]
    return net, {"mean": list(mean), "std": list(std)}
