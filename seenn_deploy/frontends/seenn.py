"""SEENN's checkpoints, and those of ``seenn train``, known by keys and shapes.

Populations have the names of SEENN's modules; the sum of spikes after a SEW block has the block's
name. The networks are those of github.com/Intelligent-Computing-Lab-Yale/SEENN (arXiv 2304.01230).
SEW-ResNet (arXiv 2102.04159) and Spikformer are those of :mod:`seenn_deploy.training.models`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import isqrt
from pathlib import Path
from typing import Any, Literal

import numpy as np

from seenn_deploy import ir
from seenn_deploy.errors import ModelError
from seenn_deploy.exits.confidence import Confidence
from seenn_deploy.fidelity import LEFT_OUT, Proof
from seenn_deploy.frontends import base, signals, spikformer
from seenn_deploy.frontends.proof import prove_checkpoint
from seenn_deploy.io.images.normalization import CIFAR10
from seenn_deploy.io.state_dict import Tensors, read_state_dict
from seenn_deploy.ir.provenance import Provenance

SUFFIXES = (".pth", ".pt", ".safetensors")
NETWORKS = "SEENN's ResNet, SEW-ResNet, VGG, VGGSNN, Spikformer or mlp and rnn"
VGGSNN_LAYERS = (0, 1, 3, 4, 6, 7, 9, 10)  # the gaps are average pools, one more follows the last
WOAP_LAYERS = tuple(range(8))  # every second convolution has stride 2


def read(path: Path, **options: Any) -> ir.SpikingGraph:
    """:func:`build` for a file."""
    return build(Tensors(path, read_state_dict(path)), **options)


def accepts(tensors: Tensors) -> bool:
    """Tell whether a state_dict looks like one of these networks."""
    return _family(tensors) is not None


def build(
    tensors: Tensors,
    T: int = 4,
    tau: float = 0.5,
    v_threshold: float = 1.0,
    comparison: Literal[">", ">="] = ">",
    input_size: int | tuple[int, int] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    normalize: bool = True,
    coding: Literal["direct", "events"] | None = None,
    step_us: float = 0.0,
    counts_events: bool = False,
    check: bool = True,
) -> ir.SpikingGraph:
    """Build the graph of a state_dict that SEENN's training script saved.

    Parameters
    ----------
    tensors : Tensors
    T : int
        Number of timesteps.
    tau, v_threshold : float
        Leak and threshold of every LIF neuron; SEENN trains with 0.5 and 1.
    comparison : '>' or '>='
        Comparison with the threshold; '>=' for networks trained with ``dspike=True``.
    input_size : int or (height, width), optional
        Size of the images or frames. By default it is 32 for ResNet and VGG, and follows from the
        classifier for VGGSNN.
    mean, std : sequence of one number per channel, optional
        Normalisation that the network was trained with; CIFAR-10's for 3 channels by default. It
        becomes part of the program, which then takes pixels in 0..1.
    normalize : bool
        Whether normalisation becomes part of the program; without, inputs are normalised already.
    coding : 'direct' or 'events', optional
        Coding of the input; by default 'events' for VGGSNN and networks for signals, 'direct' for
        the others.
    step_us : float
        Microseconds per timestep of event recordings; events after the T-th are not seen. 0 cuts
        each recording into T equal parts.
    counts_events : bool
        Whether the network was trained on numbers of events, and not on 1 where there was any.
    check : bool
        Prove the graph: compare every spike and logit with those of our own torch model of the
        tensors (``frontends.proof``). Without it the report says "not proven".

    Raises
    ------
    ModelError
        When a tensor is missing, has another shape or is left over, or an option does not fit.
    """
    found = _family(tensors)
    if found is None:
        raise tensors.unknown(NETWORKS)
    builder, family = found
    _check_options(tau, v_threshold, comparison, coding)
    size = (input_size, input_size) if isinstance(input_size, int) else input_size
    neuron = ir.Population("", (), tau, v_threshold, comparison=comparison)
    net = builder(tensors, neuron, size, coding)
    tensors.check_all_used(family)
    _check_size(tensors, net)
    # Before normalisation is put in: the torch model takes what the network was trained on.
    proof = prove_checkpoint(net, tensors, T) if check else Proof(why=LEFT_OUT)
    used = base.normalize_input(net, mean, std, normalize, CIFAR10)
    used |= base.bin_recordings(net, step_us, counts_events)
    assumed = {
        "T": T,
        "tau": tau,
        "v_threshold": v_threshold,
        "comparison": comparison,
        "input_shape": list(net.source.shape),
        "coding": net.source.coding,
        **used,
    }
    provenance = Provenance(tensors.path.name, "seenn", family, assumed)
    # SEENN's networks are trained to stop early; other sources come without an exit rule.
    graph = ir.SpikingGraph(net.nodes, net.projections, T, provenance, exit_rule=Confidence(0.9))
    return base.reported(graph, proof)


def _check_options(tau: float, v_threshold: float, comparison: str, coding: str | None) -> None:
    if not 0 <= tau <= 1:
        remedy = f"; for SpikingJelly's tau = {tau} give {1 - 1 / tau:.6g}" if tau > 1 else ""
        raise ModelError(
            f"tau = {tau} lies outside [0, 1]: it is the share of the membrane potential that a "
            f"neuron keeps per timestep, 1 - 1/tau in SpikingJelly's terms{remedy}"
        )
    if not (np.isfinite(v_threshold) and v_threshold > 0):
        raise ModelError(f"v_threshold = {v_threshold} must be a positive number")
    if comparison not in (">", ">="):
        raise ModelError(f"comparison {comparison!r} must be '>' or '>='")
    if coding not in (None, "direct", "events"):
        raise ModelError(f"coding {coding!r} must be 'direct' or 'events'")


def _check_size(tensors: Tensors, net: base.Net) -> None:
    """Refuse an input size for which some layer does not fit the one before."""
    try:
        # Building a graph checks its shapes, in which T plays no part.
        ir.SpikingGraph(net.nodes, net.projections, T=1)
    except ModelError as error:
        height, width = net.source.shape[1:]
        raise ModelError(
            f"{tensors.path}: no network for {height}x{width} inputs; say the input_size it was "
            f"trained with ({error})"
        ) from None


def _family(tensors: Tensors) -> tuple[Any, str] | None:
    # What else `seenn train` makes has names that SEENN's networks have not.
    for other, name in ((spikformer, "Spikformer"), (signals, "a network for signals")):
        if other.FIRST.format(0) in tensors:
            return other.build, name
    # Families differ in the wrappers around their layers, which show in the keys.
    if "conv1.weight" in tensors and "layer1.0.conv1.module.weight" in tensors:
        return partial(_resnet, _BASIC), "SEENN's ResNet"
    if "conv1.weight" in tensors and f"layer1.0.{_SEW.first}.weight" in tensors:
        return partial(_resnet, _SEW), "SEW-ResNet"
    if "features.0.fwd.module.0.weight" in tensors:
        return _vggsnn, "SEENN's VGGSNN"
    if "features.0.module.weight" in tensors:
        return _vgg, "SEENN's VGG"
    return None


def _resnet(
    kind: _Blocks,
    tensors: Tensors,
    neuron: ir.Population,
    size: tuple[int, int] | None,
    coding: Any,
) -> base.Net:
    """Read the first convolution, the stages ``layer1``, ``layer2``, .. and the classifier.

    All stages but the first halve the image.
    """
    weight = tensors.take("conv1.weight", (None, None, 3, 3))
    net = base.Net(
        ir.Source("input", (weight.shape[1], *(size or (32, 32))), coding or "direct"), neuron
    )
    stem = ir.Conv2d(weight, padding=(1, 1))
    last = net.spike("spike", ("input", (stem, _td_batch_norm(tensors, "bn", len(weight)))))
    for stage in range(1, 1 + base.count(tensors, f"layer{{}}.0.{kind.first}.weight", 1)):
        for block in range(base.count(tensors, f"layer{stage}.{{}}.{kind.first}.weight")):
            stride = 2 if block == 0 and stage > 1 else 1
            last = kind.build(tensors, net, f"layer{stage}.{block}", last, stride)
    channels, *area = net.shape(last)
    pool = ir.AvgPool2d((area[0], area[1]))
    net.read_out("fc1", (last, (pool, base.linear(tensors, "fc1.module", channels))))
    return net


def _basic_block(tensors: Tensors, net: base.Net, name: str, last: str, stride: int) -> str:
    """Read a ``PreActBasicBlock``, whose shortcut adds spikes to the current of the second LIF."""
    c_in = net.shape(last)[0]
    first = tensors.take(f"{name}.conv1.module.weight", (None, c_in, 3, 3))
    c_out = len(first)
    second = tensors.take(f"{name}.conv2.module.weight", (c_out, c_out, 3, 3))
    conv1 = ir.Conv2d(first, stride=(stride, stride), padding=(1, 1))
    inner = net.spike(
        f"{name}.spike1", (last, (conv1, _td_batch_norm(tensors, f"{name}.bn1", c_out)))
    )
    shortcut: tuple[ir.LinearMap, ...] = (ir.Identity(),)
    if stride != 1 or c_in != c_out:
        pool = (ir.AvgPool2d((stride, stride)),) if stride > 1 else ()
        weight = tensors.take(f"{name}.downsample.1.module.weight", (c_out, c_in, 1, 1))
        norm = _td_batch_norm(tensors, f"{name}.downsample.2", c_out)
        shortcut = (*pool, ir.Conv2d(weight), norm)
    main = ir.Conv2d(second, padding=(1, 1)), _td_batch_norm(tensors, f"{name}.bn2", c_out)
    return net.spike(f"{name}.spike2", (inner, main), (last, shortcut))


def _sew_block(tensors: Tensors, net: base.Net, name: str, last: str, stride: int) -> str:
    """Read a SEW block, which adds its spikes to those of the shortcut: graded spikes 0, 1, 2."""
    c_in = net.shape(last)[0]
    first = _conv_norm(tensors, f"{name}.main.0.module", c_in, 3, stride)
    inner = net.spike(f"{name}.main.1", (last, first))
    c_out = net.shape(inner)[0]
    second = _conv_norm(tensors, f"{name}.main.2.module", c_out, 3, 1)
    main, shortcut = net.spike(f"{name}.main.3", (inner, second)), last
    if stride != 1 or c_in != c_out:
        down = _conv_norm(tensors, f"{name}.shortcut.0.module", c_in, 1, stride)
        shortcut = net.spike(f"{name}.shortcut.1", (last, down))
    return net.add(name, main, shortcut)


def _conv_norm(
    tensors: Tensors, name: str, c_in: int, kernel: int, stride: int
) -> tuple[ir.LinearMap, ...]:
    """Read a convolution without bias, ``name.0``, and its batch norm, ``name.1``."""
    weight = tensors.take(f"{name}.0.weight", (None, c_in, kernel, kernel))
    pad = kernel // 2
    conv = ir.Conv2d(weight, stride=(stride, stride), padding=(pad, pad))
    return conv, base.take_batch_norm(tensors, f"{name}.1", len(weight))


@dataclass(frozen=True)
class _Blocks:
    """A kind of ResNet block: the name of its first convolution, and the function that reads it."""

    first: str
    build: Callable[[Tensors, base.Net, str, str, int], str]


_BASIC = _Blocks("conv1.module", _basic_block)
_SEW = _Blocks("main.0.module.0", _sew_block)


def _vgg(
    tensors: Tensors, neuron: ir.Population, size: tuple[int, int] | None, coding: Any
) -> base.Net:
    """Read convolutions with bias, batch norm (if any) and LIF; a free index means a pool."""
    c_in = tensors.take("features.0.module.weight", (None, None, 3, 3)).shape[1]
    net = base.Net(ir.Source("input", (c_in, *(size or (32, 32))), coding or "direct"), neuron)
    last, index = "input", 0
    pool: tuple[ir.LinearMap, ...] = ()
    while f"features.{index}.module.weight" in tensors:
        weight = tensors.take(f"features.{index}.module.weight", (None, c_in, 3, 3))
        c_in = len(weight)
        bias = tensors.take(f"features.{index}.module.bias", (c_in,))
        maps: tuple[ir.LinearMap, ...] = (*pool, ir.Conv2d(weight, padding=(1, 1), bias=bias))
        if f"features.{index + 1}.bn.weight" in tensors:
            index += 1
            maps += (_td_batch_norm(tensors, f"features.{index}", c_in),)
        last = net.spike(f"features.{index + 1}", (last, maps))
        index += 2
        pool = ()
        if f"features.{index}.module.weight" not in tensors:
            pool, index = (ir.AvgPool2d((2, 2)),), index + 1
    channels, *area = net.shape(last)
    everything = ir.AvgPool2d((area[0], area[1]))
    net.read_out(
        "classifier.0", (last, (everything, base.linear(tensors, "classifier.0.module", channels)))
    )
    return net


def _vggsnn(
    tensors: Tensors, neuron: ir.Population, size: tuple[int, int] | None, coding: Any
) -> base.Net:
    """Read eight ``Layer`` modules (convolution with bias, batch norm, LIF), pooled or strided."""
    found = tuple(i for i in range(64) if f"features.{i}.fwd.module.0.weight" in tensors)
    if found not in (VGGSNN_LAYERS, WOAP_LAYERS):
        raise ModelError(
            f"{tensors.path}: layers at features {found}; VGGSNN has them at {VGGSNN_LAYERS}, "
            f"VGGSNNwoAP at {WOAP_LAYERS}"
        )
    pooled = found == VGGSNN_LAYERS
    c_in = tensors.take("features.0.fwd.module.0.weight", (None, None, 3, 3)).shape[1]
    source = ir.Source(
        "input", (c_in, *(size or _vggsnn_size(tensors, found[-1]))), coding or "events"
    )
    net, last = base.Net(source, neuron), "input"
    pool: tuple[ir.LinearMap, ...] = ()
    for index in found:
        prefix = f"features.{index}.fwd.module"
        weight = tensors.take(f"{prefix}.0.weight", (None, c_in, 3, 3))
        c_in = len(weight)
        stride = 1 if pooled or index % 2 == 0 else 2
        bias = tensors.take(f"{prefix}.0.bias", (c_in,))
        conv = ir.Conv2d(weight, stride=(stride, stride), padding=(1, 1), bias=bias)
        norm = base.take_batch_norm(tensors, f"{prefix}.1", c_in)
        last = net.spike(f"features.{index}", (last, (*pool, conv, norm)))
        pool = (ir.AvgPool2d((2, 2)),) if pooled and index + 1 not in found else ()
    features = int(np.prod(net.shape(last, pool)))
    net.read_out("classifier", (last, (*pool, base.linear(tensors, "classifier.module", features))))
    return net


def _vggsnn_size(tensors: Tensors, last: int) -> tuple[int, int]:
    """Find the smallest input: after a 16-fold reduction the classifier sees C W W features."""
    features = tensors.take("classifier.module.weight", (None, None)).shape[1]
    channels = len(tensors.take(f"features.{last}.fwd.module.0.weight", (None, None, 3, 3)))
    width = isqrt(max(features // channels, 0))
    if width * width * channels != features or not width:
        raise ModelError(
            f"{tensors.path}: 'classifier.module.weight' takes {features} features, "
            f"no square of {channels} channels; say input_size"
        )
    return (16 * width, 16 * width)


def _td_batch_norm(tensors: Tensors, name: str, channels: int) -> ir.Affine:
    """Take SEENN's tdBatchNorm, whose tensors are stored twice."""
    tensors.ignore_copy(f"{name}.seqbn.module", f"{name}.bn")
    return base.take_batch_norm(tensors, f"{name}.bn", channels)
