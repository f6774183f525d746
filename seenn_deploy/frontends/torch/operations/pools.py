"""Pools: an average is linear, and a maximum of spikes is a neuron."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

import torch

from seenn_deploy.frontends.torch.operations.mapping import (
    affine,
    as_signal,
    like,
    mapped,
    pair,
    single,
    unpooled,
)
from seenn_deploy.frontends.torch.operations.registry import Graph, operation
from seenn_deploy.frontends.torch.operations.windows import adaptive_shares, windows
from seenn_deploy.frontends.torch.values import (
    SOURCE,
    Atom,
    NotSupportedError,
    Signal,
    Term,
    Value,
    Window,
    feature_shape,
    known,
)
from seenn_deploy.ir.maps import Conv2d, LinearMap
from seenn_deploy.ir.maps.affine import composed


@operation("avg_pool2d.default")
def avg_pool2d(
    graph: Graph, x: Value, kernel: Any, stride: Any = (), padding: Any = 0,
    ceil_mode: bool = False, count_include_pad: bool = True, divisor_override: int | None = None,
) -> Signal:  # fmt: skip
    """Average over windows, which are a convolution where they overlap or are padded.

    Windows of several sizes, partial ones or those that leave their padding out, are listed.
    """
    size, step, pad = pair(kernel), pair(stride) if stride else pair(kernel), pair(padding)
    signal = known(as_signal(x), 3)
    laid = windows(signal.sizes[-2:], size, step, pad, (1, 1), ceil_mode)
    alike = pad == (0, 0) or count_include_pad or divisor_override
    if not (alike and all(side.whole for side in laid)):
        rows, columns = (side.shares(count_include_pad) for side in laid)
        if divisor_override:
            rows, columns = laid[0].members() / divisor_override, laid[1].members()
        listed = graph.maps.listed(signal.sizes[-3:], rows, columns)
        return mapped(graph, signal, 3, listed, counted=False)
    if step == size and pad == (0, 0) and not divisor_override:
        return mapped(graph, signal, 3, graph.maps.pool(size))
    channels = signal.sizes[-3]
    share = 1 / (divisor_override or prod(size))
    window = graph.maps.conv(
        torch.full((channels, 1, *size), share), None, stride=step, padding=pad, groups=channels
    )
    return mapped(graph, signal, 3, window, counted=False)


@operation("avg_pool1d.default")
def avg_pool1d(
    graph: Graph, x: Value, kernel: Any, stride: Any = (), padding: Any = 0,
    ceil_mode: bool = False, count_include_pad: bool = True,
) -> Signal:  # fmt: skip
    """Average over windows of (C, L); of a vector, like SpikingJelly's ``VotingLayer``, too."""
    size = _side_by_side(kernel, stride, padding)
    signal = known(as_signal(x), 2)
    length = signal.sizes[-1]
    if ceil_mode and length % size:
        raise NotSupportedError(
            f"ceil_mode with windows of {size} over a length of {length}",
            "partial windows over a length are not supported; leave ceil_mode out",
        )
    if signal.shape is not None and prod(signal.shape) == signal.shape[0] == length:
        # A vector has no width to pool over, so its neighbours are averaged by a matrix.
        voters = torch.eye(length // size).repeat_interleave(size, dim=1) / size
        left_out = torch.zeros(length // size, length % size)
        votes = graph.maps.dense(torch.cat((voters, left_out), 1), None)
        return mapped(graph, signal, 1, votes, counted=False)
    return mapped(graph, signal, 2, graph.maps.pool((1, size)))


def _side_by_side(kernel: Any, stride: Any, padding: Any) -> int:
    """Return the window size of an average pool over a length, whose windows may not overlap."""
    size, step, pad = single(kernel), single(stride) if stride else single(kernel), single(padding)
    if step != size or pad:
        raise NotSupportedError(
            f"an average pool over a length of kernel {size}, stride {step} and padding {pad}",
            "the stride must be the kernel, without padding",
        )
    return size


@operation("adaptive_avg_pool2d.default", "_adaptive_avg_pool2d.default")
def adaptive_avg_pool2d(graph: Graph, x: Value, size: Any) -> Signal:
    """Average over as many windows as asked for, which may overlap or repeat values."""
    signal = known(as_signal(x), 3)
    inside, out = signal.sizes[-2:], pair(size)
    if not any(n % m for n, m in zip(inside, out, strict=True)):
        kernel = (inside[0] // out[0], inside[1] // out[1])
        return mapped(graph, signal, 3, graph.maps.pool(kernel))
    rows, columns = map(adaptive_shares, inside, out)
    listed = graph.maps.listed(signal.sizes[-3:], rows, columns)
    return mapped(graph, signal, 3, listed, counted=False)


@operation("relu.default")
def relu(graph: Graph, x: Value) -> Signal:
    """Leave spikes as they are: they are 0 or 1."""
    signal = as_signal(x)
    if signal.spikes and not signal.terms[0].real:
        return signal
    raise NotSupportedError("a ReLU of currents", "let spiking neurons follow the layer")


@operation("max_pool2d.default", "max_pool2d_with_indices.default")
def max_pool2d(
    graph: Graph, x: Value, kernel: Any, stride: Any = (), padding: Any = 0, dilation: Any = 1,
    ceil_mode: bool = False,
) -> Signal:  # fmt: skip
    """Turn a maximum of spikes into a neuron that spikes when any in its window does.

    A maximum of currents is left to the neurons behind it.
    """
    size, signal = pair(kernel), as_signal(x)
    if (value := _value_of_spikes(signal)) != 1:  # a maximum of equal values is one of spikes
        bare = replace(signal, terms=(replace(signal.terms[0], maps=()),))
        pooled = max_pool2d(graph, bare, kernel, stride, padding, dilation, ceil_mode)
        return affine(graph, pooled, like(value), like(0.0))
    channels, step, pad = signal.sizes[-3], pair(stride) if stride else size, pair(padding)
    window = graph.maps.conv(
        torch.ones(channels, 1, *size), None, stride=step, padding=pad, dilation=pair(dilation),
        groups=channels,
    )  # fmt: skip
    laid = windows(signal.sizes[-2:], size, step, pad, pair(dilation), ceil_mode)
    whole = all(side.whole for side in laid)
    if not signal.spikes or graph.graded(signal.terms[0].origin):
        if not whole:
            over = f"{size}, stride {step}, over {signal.sizes[-2:]}"
            raise NotSupportedError(
                f"ceil_mode with windows of {over} currents",
                "partial windows of currents are not supported; leave ceil_mode out",
            )
        return _pool_of_currents(graph, signal, window)
    feature_shape(signal, 3)
    members = (side.members() for side in laid)
    listed = window if whole else graph.maps.listed(signal.sizes[-3:], *members)
    return _pool_of_spikes(graph, signal, listed)


def _pool_of_currents(graph: Graph, signal: Signal, window: Conv2d) -> Signal:
    signal = known(unpooled(graph, signal), 3)
    if signal.summed is not None or signal.state is not None or window.dilation != (1, 1):
        raise NotSupportedError(
            "a dilated max pool of currents, or one of a sum over time",
            "put the pool behind the neurons, or take an average pool",
        )
    shape = signal.shape or ()
    if shape[1:] != signal.sizes[-2:]:
        raise NotSupportedError(
            f"a max pool of features of shape {shape}, seen as {signal.sizes[-3:]}",
            "put it behind a convolution",
        )
    size = pair(window.weight.shape[2:])
    pool = Window(pair(shape[1:]), size, window.stride, window.padding)
    return _behind_windows(signal, window, signal.terms, pool)


def _value_of_spikes(signal: Signal) -> float:
    """Return the one positive value of spikes that were only scaled; 1 for any other signal."""
    (term, *others), maps = signal.terms, signal.terms[0].maps
    if others or term.origin == SOURCE or signal.summed is not None:
        return 1.0
    whole = composed(maps)
    factor = whole.factor if whole else None
    return factor if factor is not None and factor > 0 else 1.0


def _pool_of_spikes(graph: Graph, signal: Signal, window: LinearMap) -> Signal:
    (term,), shape = signal.terms, window.out_shape(signal.sizes[-3:])
    key = (term.origin, id(window))
    if key not in graph.pools:
        graph.pools[key] = (graph.name(graph.here or "pool"), Term(term.origin, (window,)), shape)
    return _behind_windows(signal, window, (Term(graph.pools[key][0], (), term.step),))


def _behind_windows(
    signal: Signal, window: LinearMap, terms: tuple[Term, ...], pool: Window | None = None
) -> Signal:
    """The signal that windows over the last three axes of another one give."""
    shape = window.out_shape(signal.sizes[-3:])
    atoms = tuple(Atom(n, "feature") for n in shape)
    axes = (*signal.axes[:-3], *((a,) for a in atoms))
    return Signal(axes, atoms, shape, terms, pool=pool)
