"""The Spikformer of :mod:`seenn_deploy.training.models`, for the frontend of SEENN's checkpoints.

Its attention is two products of what neurons send: ``q k^T`` of each head, and that times v
(Spikformer, arXiv 2209.15425, equation 6); the factor behind them joins the next layer's weights.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from seenn_deploy import ir
from seenn_deploy._typing import Shape
from seenn_deploy.errors import ModelError
from seenn_deploy.frontends import base
from seenn_deploy.io.state_dict import Tensors

FIRST = "blocks.{}.attention.q.current.module.0.weight"  # of each block
# Of Spikformer-4-384: channels of a head, and the factor behind q k^T v, whose neurons have half
# the threshold of all others. No checkpoint says them; the torch model has them from here.
HEAD, FACTOR, HALF = 32, 0.125, 0.5


def build(
    tensors: Tensors, neuron: ir.Population, size: tuple[int, int] | None, coding: Any
) -> base.Net:
    """Read the embedding, the blocks and the classifier of average tokens.

    Raises
    ------
    ModelError
        When a tensor is missing or has another shape, or the heads do not divide the channels.
    """
    weight = tensors.take("first.current.module.0.weight", (None, None, 3, 3))
    source = ir.Source("input", (weight.shape[1], *(size or (32, 32))), coding or "direct")
    net = base.Net(source, neuron)
    last = "input"
    for name in ("first", "second"):
        last = _pooled(tensors, net, name, last)
    last = _layer(tensors, net, "third", last, 3)
    last = net.add("add", last, _layer(tensors, net, "position", last, 3))
    for block in range(base.count(tensors, FIRST)):
        last = _block(tensors, net, f"blocks.{block}", last)
    channels, *area = net.shape(last)
    tokens = ir.AvgPool2d((area[0], area[1]))
    net.read_out("head", (last, (tokens, base.linear(tensors, "head.module", channels))))
    return net


def _block(tensors: Tensors, net: base.Net, name: str, last: str) -> str:
    """Read attention and two layers of tokens, each of which adds spikes to what it was given."""
    attended = _attention(tensors, net, f"{name}.attention", last)
    last = net.add(f"{name}.add", last, attended)
    inner = _layer(tensors, net, f"{name}.up", last, 1)
    return net.add(f"{name}.add1", last, _layer(tensors, net, f"{name}.down", inner, 1))


def _attention(tensors: Tensors, net: base.Net, name: str, last: str) -> str:
    q, k, v = (_layer(tensors, net, f"{name}.{part}", last, 1) for part in "qkv")
    shape = channels, height, width = net.shape(q)
    if channels % HEAD:
        raise ModelError(
            f"{tensors.path}: {name} has {channels} channels, which heads of {HEAD} do not divide"
        )
    heads, tokens = (channels // HEAD, HEAD, height * width), height * width
    scores = heads[0], tokens, tokens
    # h heads, d channels of each, n and m tokens
    met = _product(net, f"{name}.mul", (tokens * heads[0], height, width), "hdn,hdm->hnm",
                   (q, heads), (k, heads))  # fmt: skip
    mixed = _product(net, f"{name}.mul2", shape, "hnm,hdm->hdn", (met, scores), (v, heads))
    scaled = ir.Affine(np.full(channels, FACTOR), np.zeros(channels))
    threshold = HALF * net.neuron.v_threshold
    attended = net.spike(f"{name}.lif", (mixed, (scaled,)), v_threshold=threshold)
    return _layer(tensors, net, f"{name}.proj", attended, 1)


def _product(
    net: base.Net, name: str, shape: Shape, subscripts: str, *factors: tuple[str, Shape]
) -> str:
    """Add a product of what two nodes send, the one behind the other in the vector it takes."""
    whole, first = sum(prod(sizes) for _, sizes in factors), 0
    left, right = (sizes for _, sizes in factors)
    net.nodes.append(ir.Product(name, shape, subscripts, left, right))
    for pre, sizes in factors:
        here = np.arange(prod(sizes))
        ones = np.ones(len(here), np.float32)
        place = ir.Sparse.of(here, first + here, ones, len(here), (whole,))
        net.projections.append(ir.Projection(pre, name, (place,)))
        first += len(here)
    return name


def _layer(tensors: Tensors, net: base.Net, name: str, last: str, kernel: int) -> str:
    """Read a convolution without bias, its batch norm, and neurons."""
    return net.spike(f"{name}.lif", (last, _maps(tensors, net, name, last, kernel)))


def _pooled(tensors: Tensors, net: base.Net, name: str, last: str) -> str:
    """Read the same with a 2x2 max pool over currents in front of the neurons."""
    maps = _maps(tensors, net, name, last, 3)
    channels, height, width = net.shape(last, maps)
    like, halved = net.neuron, (channels, height // 2, width // 2)
    net.nodes.append(
        ir.Maximum(
            f"{name}.lif", halved, like.tau, like.v_threshold, comparison=like.comparison,
            before=(height, width), window=(2, 2), stride=(2, 2),
        )
    )  # fmt: skip
    net.projections.append(ir.Projection(last, f"{name}.lif", maps))
    return f"{name}.lif"


def _maps(
    tensors: Tensors, net: base.Net, name: str, last: str, kernel: int
) -> tuple[ir.LinearMap, ...]:
    given = net.shape(last)[0]
    weight = tensors.take(f"{name}.current.module.0.weight", (None, given, kernel, kernel))
    conv = ir.Conv2d(weight, padding=(kernel // 2, kernel // 2))
    return conv, base.take_batch_norm(tensors, f"{name}.current.module.1", len(weight))
