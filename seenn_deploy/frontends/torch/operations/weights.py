"""The operators with weights: convolutions, linear layers, batch norm."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np
import torch

from seenn_deploy.frontends.torch.operations.arithmetic import add
from seenn_deploy.frontends.torch.operations.mapping import (
    as_numbers,
    as_signal,
    as_tensor,
    mapped,
    padding_of,
    pair,
    single,
)
from seenn_deploy.frontends.torch.operations.products import channels_first, matrix_product
from seenn_deploy.frontends.torch.operations.registry import Graph, operation
from seenn_deploy.frontends.torch.operations.tokens import with_tokens
from seenn_deploy.frontends.torch.values import (
    Constant,
    Joined,
    NotSupportedError,
    Signal,
    Value,
    has_all_turned,
    has_tokens,
    in_graph_order,
    trailing,
)


@operation("conv2d.default", "conv2d.padding")
def conv2d(
    graph: Graph, x: Value, weight: Value, bias: Value = None, stride: Any = 1, padding: Any = 0,
    dilation: Any = 1, groups: int = 1,
) -> Signal:  # fmt: skip
    """Convolve in two dimensions; padding 'same' must be symmetric."""
    dilated, kernel = pair(dilation), weight.tensor.shape[2:]
    made = graph.maps.conv(
        as_tensor(weight), as_tensor(bias), stride=pair(stride),
        padding=padding_of(padding, kernel, dilated), dilation=dilated, groups=groups,
    )  # fmt: skip
    return mapped(graph, as_signal(x), 3, made)


@operation("conv1d.default", "conv1d.padding")
def conv1d(
    graph: Graph, x: Value, weight: Value, bias: Value = None, stride: Any = 1, padding: Any = 0,
    dilation: Any = 1, groups: int = 1,
) -> Signal:  # fmt: skip
    """Convolve in one dimension, as in two over (C, 1, L)."""
    dilated = (1, single(dilation))
    kernel = (1, *weight.tensor.shape[2:])
    pad = padding if isinstance(padding, str) else (0, single(padding))
    made = graph.maps.conv(
        weight.tensor.unsqueeze(2), as_tensor(bias), stride=(1, single(stride)),
        padding=padding_of(pad, kernel, dilated), dilation=dilated, groups=groups,
    )  # fmt: skip
    return mapped(graph, as_signal(x), 2, made)


@operation("linear.default")
def linear(graph: Graph, x: Value, weight: Value, bias: Value = None) -> Value:
    """Connect all to all over the last axis."""
    if isinstance(x, Joined):
        return _of_joined(graph, x, as_tensor(weight), as_tensor(bias))
    signal = with_tokens(graph, as_signal(x), 1)
    if has_tokens(signal):
        return _of_tokens(graph, signal, as_tensor(weight), as_tensor(bias))
    if not has_all_turned(signal):
        return mapped(graph, signal, 1, graph.maps.dense(as_tensor(weight), as_tensor(bias)))
    # Tokens lie before their channels there, and behind them in the graph.
    turned = torch.from_numpy(in_graph_order(signal, as_tensor(weight).numpy()))
    dense = graph.maps.dense(turned, as_tensor(bias))
    return mapped(graph, signal, 1, dense, ordered=False)


def _of_tokens(graph: Graph, x: Signal, weight: Any, bias: Any) -> Signal:
    """Connect all channels of a token to all, for every token: a 1x1 convolution."""
    signal = channels_first(graph, x)
    tokens = signal.axes[len(signal.axes) - trailing(signal) : -1]
    lead = signal.axes[: len(signal.axes) - trailing(signal)]
    image = replace(signal, axes=(*lead, signal.axes[-1], tuple(chain(*tokens))))
    made = mapped(graph, image, 2, graph.maps.conv(weight[:, :, None, None], bias))
    return replace(made, axes=(*lead, *tokens, made.axes[-2]))


def _of_joined(graph: Graph, x: Joined, weight: Any, bias: Any) -> Value:
    """Give each of several vectors its own columns of the weights."""
    sizes = [
        part.tensor.shape[-1] if isinstance(part, Constant) else as_signal(part).sizes[-1]
        for part in x.parts
    ]
    # The bias comes last, so that a part that is 0 at first does not take it along.
    total: Value = None
    constant = torch.zeros(len(weight)) if bias is None else bias
    for part, own in zip(x.parts, weight.split(sizes, dim=1), strict=True):
        if isinstance(part, Constant):
            constant = constant + part.tensor @ own.t()
        else:
            added = linear(graph, part, Constant(own))
            total = added if total is None else add(graph, total, added)
    return add(graph, total, Constant(constant))


@operation("addmm.default")
def addmm(graph: Graph, bias: Value, x: Value, weight: Value) -> Signal:
    """Return ``bias + x weight``."""
    dense = graph.maps.dense(as_tensor(weight).t(), as_tensor(bias))
    return mapped(graph, as_signal(x), 1, dense)


@operation("matmul.default", "mm.default", "bmm.default")
def matmul(graph: Graph, x: Value, weight: Value) -> Signal:
    """Return ``x weight`` with a constant matrix, or a product of two signals."""
    if isinstance(x, Signal) and isinstance(weight, Signal):
        return matrix_product(graph, x, weight)
    if isinstance(x, Constant) and isinstance(weight, Signal):
        raise NotSupportedError(
            "a matrix product with the weights on the left", "write it as x @ weight.T, or linear"
        )
    return mapped(graph, as_signal(x), 1, graph.maps.dense(as_tensor(weight).t(), None))


@operation("_native_batch_norm_legit.no_stats", "instance_norm.default")
def norm_of_batch(graph: Graph, *_: Any) -> Value:
    """Refuse a norm with statistics of the input itself, which is no linear map."""
    raise NotSupportedError(
        "batch norm without running statistics", "train it with track_running_stats=True"
    )


@operation("batch_norm.default", "_native_batch_norm_legit_no_training.default")
def batch_norm(
    graph: Graph, x: Value, weight: Value, bias: Value, mean: Value, var: Value, *settings: Any
) -> Value:
    """Apply batch norm with running statistics, which is one affine map per channel."""
    if mean is None or settings[0] is True:
        raise NotSupportedError(
            "batch norm without running statistics", "train it with track_running_stats=True"
        )
    # Before momentum and epsilon, only the plain operator has the flag `training`.
    eps = settings[2] if isinstance(settings[0], bool) else settings[1]
    scale = 1 / np.sqrt(as_numbers(var) + eps)
    scale = scale if weight is None else as_numbers(weight) * scale
    shift = -as_numbers(mean) * scale
    shift = shift if bias is None else as_numbers(bias) + shift
    signal = as_signal(x)
    # Of the bare input, channels are on axis 1 whatever follows them.
    count = len(signal.axes) - 1 if signal.shape is None else trailing(signal)
    out = mapped(graph, signal, count, graph.maps.affine(scale, shift))
    # The decomposed operator also gives the statistics of the batch, which nobody reads here.
    return out if len(settings) > 3 else (out, None, None)
