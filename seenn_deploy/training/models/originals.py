"""The networks of state dicts in torch, to run beside the graphs that frontends make of them.

``frontends/proof.py`` asks for them: a checkpoint has no module of its own to be compared with.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from seenn_deploy._typing import Array
from seenn_deploy.frontends.spikformer import HEAD
from seenn_deploy.training.models import qcfs
from seenn_deploy.training.models.layers import PerStep
from seenn_deploy.training.models.neurons import LIF
from seenn_deploy.training.models.resnet import BasicBlock, ResNet, SEWBlock
from seenn_deploy.training.models.signals import SignalNet
from seenn_deploy.training.models.spikformer import Spikformer
from seenn_deploy.training.models.vgg import VGG, VGGSNN

if TYPE_CHECKING:
    from seenn_deploy.frontends.proof import Run
    from seenn_deploy.ir.graph import SpikingGraph

Arrays = Mapping[str, Array]
FINE = 1 << 20  # levels of an activation that shall not round


def spiking(arrays: Arrays, graph: SpikingGraph) -> Run | None:
    """Return what runs a spiking network of SEENN; None where there is no model of it."""
    first = graph.populations[0]
    surrogate = "dspike" if first.comparison == ">=" else "triangle"
    neuron = {"tau": first.tau, "v_threshold": first.v_threshold, "surrogate": surrogate}
    model = _loaded(_spiking_model(arrays, graph, neuron), arrays)
    if model is None:
        return None

    def run(images: Array) -> tuple[dict[str, Array], Array]:
        layers, logits = _recorded(model, LIF, images)
        names = (name.removesuffix(".act") for name in layers)  # VGGSNN's layers hold theirs
        return dict(zip(names, (x > 0.5 for x in layers.values()), strict=True)), np.cumsum(
            logits, axis=1, dtype=np.float64
        )

    return run


def ann(arrays: Arrays, graph: SpikingGraph) -> Run | None:
    """Return what runs an ANN of SEENN's conversion code, without rounding to its levels."""
    model = _loaded(_qcfs_model(arrays, graph), arrays)
    return None if model is None else partial(_recorded, model, qcfs.QCFS)


def _recorded(
    model: nn.Module, kind: type[nn.Module], images: Array
) -> tuple[dict[str, Array], Array]:
    """The results of all parts of a kind, and of the model."""
    found = dict[str, Array]()

    def keep(name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        return lambda _, __, result: found.update({name: result.numpy()})

    parts = [(name, part) for name, part in model.named_modules() if isinstance(part, kind)]
    handles = [part.register_forward_hook(keep(name)) for name, part in parts]
    with torch.no_grad():
        logits = model(torch.from_numpy(images))
    for handle in handles:
        handle.remove()
    return found, logits.numpy()


def _loaded(model: nn.Module | None, arrays: Arrays) -> nn.Module | None:
    """The model with these weights; None where they are of another network."""
    if model is None:
        return None
    tensors = {name: torch.from_numpy(np.array(values)) for name, values in arrays.items()}
    try:
        missing, unexpected = model.load_state_dict(tensors, strict=False)
    except RuntimeError:  # another shape
        return None
    # Batch norms of SEENN are registered twice; either name loads both.
    left = [k for k in missing if ".seqbn." not in k and not k.endswith("num_batches_tracked")]
    return None if left or unexpected else model.eval()


# --- by the names and shapes of tensors ----------------------------------------------------------


def _spiking_model(arrays: Arrays, graph: SpikingGraph, neuron: dict[str, Any]) -> nn.Module | None:
    for first, block in (("conv1.module", BasicBlock), ("main.0.module.0", SEWBlock)):
        rows = _blocks(arrays, rf"layer(\d+)\.(\d+)\.{re.escape(first)}\.weight")
        if "conv1.weight" in arrays and rows:
            channels = [row[0] for row in rows]
            stem, last = arrays["conv1.weight"].shape, arrays["fc1.module.weight"].shape
            return ResNet(
                channels, [len(row) for row in rows], last[0], stem[1], graph.T,
                lambda: LIF(**neuron), block,
            )  # fmt: skip
    if "layers.0.linear.weight" in arrays:
        return _signals(arrays, graph, neuron)
    if "head.module.weight" in arrays:
        return _spikformer(arrays, graph, neuron)
    if "features.0.fwd.module.0.weight" in arrays:
        return _vggsnn(arrays, graph, neuron)
    return _vgg(arrays, graph, neuron) if "features.0.module.weight" in arrays else None


def _signals(arrays: Arrays, graph: SpikingGraph, neuron: dict[str, Any]) -> nn.Module:
    pattern = r"layers\.\d+\.linear\.weight"
    hidden = [len(arrays[name]) for name in arrays if re.fullmatch(pattern, name)]
    classes, channels = len(arrays["head.weight"]), graph.source.shape[0]
    back = "layers.0.act.back.weight" in arrays
    return SignalNet(channels, classes, graph.T, hidden, back, **neuron)


def _spikformer(arrays: Arrays, graph: SpikingGraph, neuron: dict[str, Any]) -> nn.Module:
    (classes, channels), c_in = arrays["head.module.weight"].shape, graph.source.shape[0]
    blocks = sum(name.endswith(".attention.q.current.module.0.weight") for name in arrays)
    return Spikformer(classes, c_in, graph.T, channels, channels // HEAD, blocks, **neuron)


def _blocks(arrays: Arrays, pattern: str) -> list[list[int]]:
    """Channels of the first convolution of each block, stage by stage."""
    found = [(m, arrays[name]) for name in arrays if (m := re.fullmatch(pattern, name))]
    rows = dict[int, dict[int, int]]()
    for match, weight in found:
        rows.setdefault(int(match[1]), {})[int(match[2])] = len(weight)
    return [[row[k] for k in sorted(row)] for _, row in sorted(rows.items())]


def _vgg(arrays: Arrays, graph: SpikingGraph, neuron: dict[str, Any]) -> nn.Module:
    """A VGG of any table; behind each convolution an index is free, or one pool's more."""
    table, index, normed = list[int](), 0, "features.1.bn.weight" in arrays
    while (key := f"features.{index}.module.weight") in arrays:
        table.append(len(arrays[key]))
        index += 3 if normed else 2
        if f"features.{index + 1}.module.weight" in arrays:
            table.append(0)
            index += 1
    classes, in_channels = len(arrays["classifier.0.module.weight"]), graph.source.shape[0]
    return VGG(classes, in_channels, 1.0, graph.T, table, normed, **neuron)


def _vggsnn(arrays: Arrays, graph: SpikingGraph, neuron: dict[str, Any]) -> nn.Module:
    found = {
        int(m[1]): len(arrays[name])
        for name in arrays
        if (m := re.fullmatch(r"features\.(\d+)\.fwd\.module\.0\.weight", name))
    }
    pooled = max(found) >= len(found)
    size = max(found) + (2 if pooled else 1)
    # Without pools, every second convolution has stride 2, which its table says by a sign.
    table = tuple(found.get(i, 0) * (1 if pooled or i % 2 == 0 else -1) for i in range(size))
    family = type("Family", (VGGSNN,), {"table": table})
    weight, source = arrays["classifier.module.weight"], graph.source
    model: nn.Module = family(
        len(weight), source.shape[0], 1.0, graph.T, max(16, *source.shape[1:]), **neuron
    )
    model.classifier = PerStep(nn.Linear(weight.shape[1], len(weight)))  # not of square images
    return model


def _qcfs_model(arrays: Arrays, graph: SpikingGraph) -> nn.Module | None:
    classes, in_channels = graph.readout.shape[0], graph.source.shape[0]
    if "conv1.0.weight" in arrays:
        rows = _blocks(arrays, r"conv(\d+)_x\.(\d+)\.residual_function\.0\.weight")
        channels = [row[0] for row in rows]
        return qcfs.ResNet(channels, [len(row) for row in rows], classes, in_channels, FINE)
    convolutions = _blocks(
        {k: v for k, v in arrays.items() if v.ndim == 4}, r"layer(\d+)\.(\d+)\.weight"
    )
    hidden = len(arrays["classifier.1.weight"])
    return qcfs.VGG(convolutions, classes, in_channels, FINE, hidden, graph.source.shape[1])
