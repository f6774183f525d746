"""Networks for signals of :mod:`seenn_deploy.training.models`, for the frontend of checkpoints."""

from __future__ import annotations

from typing import Any

import numpy as np

from seenn_deploy import ir
from seenn_deploy.errors import ModelError
from seenn_deploy.frontends import base
from seenn_deploy.io.state_dict import Tensors

FIRST = "layers.{}.linear.weight"
BACK = "layers.{}.act.back.weight"  # of recurrent layers


def build(
    tensors: Tensors, neuron: ir.Population, size: tuple[int, int] | None, coding: Any
) -> base.Net:
    """Read the channels' mean and deviation, the layers and the readout.

    Raises
    ------
    ModelError
        When a tensor is missing or has another shape, a size is given, or coding is direct.
    """
    if size not in (None, (1, 1)) or coding == "direct":
        raise ModelError(
            f"{tensors.path}: a network for signals takes channels at every timestep; leave "
            "input_size and coding out"
        )
    mean = tensors.take("mean", (None,))
    channels = len(mean)
    std = tensors.take("std", (channels,)).astype(np.float64)
    if not (np.isfinite(std).all() and std.min() > 0):
        raise ModelError(f"{tensors.path}: 'std' has a channel of {std.min():g}, not above 0")
    net = base.Net(ir.Source("input", (channels, 1, 1), "events"), neuron)
    last = "input"
    maps: tuple[ir.LinearMap, ...] = (ir.Affine(1 / std, -mean / std),)
    for number in range(base.count(tensors, FIRST)):
        last, maps = _layer(tensors, net, number, last, maps), ()
    net.read_out("head", (last, (base.linear(tensors, "head", net.shape(last)[0]),)))
    return net


def _layer(
    tensors: Tensors, net: base.Net, number: int, last: str, maps: tuple[ir.LinearMap, ...]
) -> str:
    """Add a layer, and where it is recurrent, the connections to itself."""
    given = net.shape(last)[0]
    dense = base.linear(tensors, f"layers.{number}.linear", given)
    name = net.spike(f"layers.{number}", (last, (*maps, dense)))
    if BACK.format(number) in tensors:
        neurons = len(dense.weight)
        weight = tensors.take(BACK.format(number), (neurons, neurons))
        back = (ir.Dense(weight, np.zeros(neurons, weight.dtype)),)
        net.projections.append(ir.Projection(name, name, back, lag=1))
    return name
