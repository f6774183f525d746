"""Checkpoints of SEENN's conversion code: ANNs with QCFS activations, read as IF networks.

ResNet-18, -20, -34 (with basic or bottleneck blocks) and VGG are recognised from keys and shapes;
every ``*.up`` is the learned threshold of one activation. The networks are those of
github.com/Intelligent-Computing-Lab-Yale/SEENN, ``SNN_conversion_QCFS`` (arXiv 2303.04347 and
2304.01230). Populations have the names of the activations.
:mod:`seenn_deploy.compiler.conversion` explains the conversion.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seenn_deploy import ir
from seenn_deploy.compiler.conversion import spiking
from seenn_deploy.errors import ModelError
from seenn_deploy.fidelity import LEFT_OUT, Proof
from seenn_deploy.frontends import base
from seenn_deploy.frontends.proof import prove_ann_checkpoint
from seenn_deploy.io.images.normalization import default_normalization
from seenn_deploy.io.state_dict import Tensors, read_state_dict
from seenn_deploy.ir.provenance import Provenance

SUFFIXES = (".pth", ".pt", ".safetensors")
CONVERTS = True  # what it reads is an ANN
NETWORKS = "SEENN's converted (QCFS) ResNet or VGG"
_STEM, _VGG = "conv1.0.weight", "layer1.0.weight"


def read(path: Path, **options: Any) -> ir.SpikingGraph:
    """:func:`build` for a file."""
    return build(Tensors(path, read_state_dict(path)), **options)


def accepts(tensors: Tensors) -> bool:
    """Tell whether a state_dict looks like one of these networks."""
    return (_STEM in tensors and "conv2_x.0.relu.up" in tensors) or (
        _VGG in tensors and "layer1.2.up" in tensors
    )


def build(
    tensors: Tensors,
    T: int = 16,
    input_size: int | tuple[int, int] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    normalize: bool = True,
    check: bool = True,
) -> ir.SpikingGraph:
    """Build the converted graph of a state_dict that SEENN's conversion code trained.

    Parameters
    ----------
    tensors : Tensors
    T : int
        Number of timesteps; 16 is that code's default.
    input_size : int or (height, width), optional
        Size of the images; by default 224 for ImageNet's 1000 classes, otherwise 32.
    mean, std : sequence of one number per channel, optional
        Normalisation that the network was trained with. By default, three channels get ImageNet's
        with 1000 classes, CIFAR-100's with 100, otherwise CIFAR-10's. It becomes part of the
        program, which then takes pixels in 0..1.
    normalize : bool
        Whether normalisation becomes part of the program; without, inputs are normalised already.
    check : bool
        Prove the ANN that is converted: compare its activations with those of our own torch model
        of the tensors (``frontends.proof``). Without it the report says "not proven".

    Raises
    ------
    ModelError
        When a tensor is missing, has another shape or is left over, or an option does not fit.
    """
    ann = build_ann(tensors, T, input_size, mean, std, normalize)
    graph = spiking(ann)
    change = "QCFS activation: an integrate-and-fire neuron", base.conversion_error(T)
    activations = [n.name for n in graph.populations]
    proof = prove_ann_checkpoint(ann, tensors) if check else Proof(why=LEFT_OUT)
    return base.reported(graph, proof, dict.fromkeys(activations, change))


def build_ann(
    tensors: Tensors,
    T: int = 16,
    input_size: int | tuple[int, int] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    normalize: bool = True,
) -> ir.SpikingGraph:
    """Build the ANN itself, with populations for activations; parameters as :func:`build`."""
    if not accepts(tensors):
        raise tensors.unknown(NETWORKS)
    resnet = _STEM in tensors
    classes = len(tensors.take("fc.weight" if resnet else "classifier.7.weight", (None, None)))
    default = 224 if classes == 1000 else 32
    size = (input_size, input_size) if isinstance(input_size, int) else input_size
    net = (_resnet if resnet else _vgg)(tensors, size or (default, default))
    family = f"SEENN's converted {'ResNet' if resnet else 'VGG'}"
    tensors.check_all_used(family)
    used = base.normalize_input(net, mean, std, normalize, default_normalization(classes))
    assumed = {"T": T, "input_shape": list(net.source.shape), **used}
    provenance = Provenance(tensors.path.name, "qcfs", family, assumed)
    return ir.SpikingGraph(net.nodes, net.projections, T, provenance)


def _resnet(tensors: Tensors, size: tuple[int, int]) -> base.Net:
    """Read the first convolution, the stages ``conv2_x``, ``conv3_x``, .. and the classifier.

    All stages but the first halve the image.
    """
    net = _net(tensors, _STEM, size)
    maps = _conv_and_norm(tensors, "conv1.0", "conv1.1", net.source.shape[0], 1)
    last = _activation(tensors, net, "conv1.2", ("input", maps))
    for stage in range(2, 2 + base.count(tensors, "conv{}_x.0.relu.up", 2)):
        for block in range(base.count(tensors, f"conv{stage}_x.{{}}.relu.up")):
            stride = 2 if stage > 2 and block == 0 else 1
            last = _block(tensors, net, f"conv{stage}_x.{block}", last, stride)
    channels, *area = net.shape(last)
    pool = ir.AvgPool2d((area[0], area[1]))
    net.read_out("fc", (last, (pool, base.linear(tensors, "fc", channels))))
    return net


def _block(tensors: Tensors, net: base.Net, name: str, last: str, stride: int) -> str:
    """Read a residual block: convolutions 0 and 3 of ``residual_function``, and 6 in a bottleneck.

    The first 3x3 convolution has the stride. Its shortcut joins before the last activation.
    """
    main = f"{name}.residual_function"
    c_in = channels = net.shape(last)[0]
    inner, left = last, stride
    convolutions = [i for i in (0, 3, 6) if f"{main}.{i}.weight" in tensors]
    for i in convolutions:
        wide = tensors.take(f"{main}.{i}.weight", (None, channels, None, None)).shape[2] == 3
        maps = _conv_and_norm(
            tensors, f"{main}.{i}", f"{main}.{i + 1}", channels, left if wide else 1
        )
        left, channels = (1 if wide else left), net.shape(inner, maps)[0]
        if i != convolutions[-1]:
            inner = _activation(tensors, net, f"{main}.{i + 2}", (inner, maps))
    shortcut: tuple[ir.LinearMap, ...] = (ir.Identity(),)
    if f"{name}.shortcut.0.weight" in tensors:
        shortcut = _conv_and_norm(tensors, f"{name}.shortcut.0", f"{name}.shortcut.1", c_in, stride)
    return _activation(tensors, net, f"{name}.relu", (inner, maps), (last, shortcut))


def _vgg(tensors: Tensors, size: tuple[int, int]) -> base.Net:
    """Read the stages ``layer1``, ``layer2``, ..: convolutions and an average pool.

    A convolution takes four indices: itself, batch norm, activation and dropout.
    """
    net, last = _net(tensors, _VGG, size), "input"
    pool: tuple[ir.LinearMap, ...] = ()
    for stage in range(1, 1 + base.count(tensors, "layer{}.0.weight", 1)):
        index = 0
        while f"layer{stage}.{index}.weight" in tensors:
            name, norm = f"layer{stage}.{index}", f"layer{stage}.{index + 1}"
            maps = _conv_and_norm(tensors, name, norm, net.shape(last, pool)[0], 1, bias=True)
            last = _activation(tensors, net, f"layer{stage}.{index + 2}", (last, (*pool, *maps)))
            pool, index = (), index + 4
        pool = (ir.AvgPool2d((2, 2)),)
    for at in (1, 4):
        features = int(np.prod(net.shape(last, pool)))
        maps = (*pool, base.linear(tensors, f"classifier.{at}", features))
        last, pool = _activation(tensors, net, f"classifier.{at + 1}", (last, maps)), ()
    net.read_out(
        "classifier.7", (last, (base.linear(tensors, "classifier.7", net.shape(last)[0]),))
    )
    return net


def _net(tensors: Tensors, first: str, size: tuple[int, int]) -> base.Net:
    channels = tensors.take(first, (None, None, None, None)).shape[1]
    return base.Net(ir.Source("input", (channels, *size)), ir.Population("", ()))


def _conv_and_norm(
    tensors: Tensors, name: str, norm: str, c_in: int, stride: int, bias: bool = False
) -> tuple[ir.LinearMap, ...]:
    weight = tensors.take(f"{name}.weight", (None, c_in, None, None))
    c_out, _, *kernel = weight.shape
    if tuple(kernel) not in ((1, 1), (3, 3)):
        raise ModelError(
            f"{tensors.path}: {name}.weight has a {kernel} kernel; 1x1 or 3x3 expected"
        )
    pad = kernel[0] // 2
    added = tensors.take(f"{name}.bias", (c_out,)) if bias else None
    conv = ir.Conv2d(weight, (stride, stride), (pad, pad), bias=added)
    return conv, base.take_batch_norm(tensors, norm, c_out)


def _activation(
    tensors: Tensors, net: base.Net, name: str, *inputs: tuple[str, tuple[ir.LinearMap, ...]]
) -> str:
    """Add a QCFS activation with its learned threshold."""
    up = float(tensors.take(f"{name}.up", (1,))[0])
    if up <= 0:
        raise ModelError(f"{tensors.path}: '{name}.up' is {up:g}; a threshold must be positive")
    return net.spike(name, *inputs, v_threshold=up)
