"""The parts that operations share: linear maps applied to signals, arguments read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
import torch

from seenn_deploy._typing import Array
from seenn_deploy.frontends.torch.operations.registry import Graph
from seenn_deploy.frontends.torch.operations.tokens import with_tokens
from seenn_deploy.frontends.torch.values import (
    Atom,
    Call,
    Constant,
    Joined,
    NotMergedError,
    NotSupportedError,
    Potential,
    Signal,
    Value,
    Window,
    known,
    trailing,
)
from seenn_deploy.ir.maps import Affine, AvgPool2d, Conv2d, LinearMap, Synapses


def mapped(
    graph: Graph, signal: Signal, count: int, step: LinearMap, ordered: bool = True,
    counted: bool = True,
) -> Signal:  # fmt: skip
    """Apply a linear map to the last `count` axes of a signal, which one factor takes in any order.

    See :func:`~seenn_deploy.frontends.torch.values.feature_shape` for `ordered`; `counted` says
    whether the map is one of the module's layers, and not a pool.
    """
    try:
        return _mapped(graph, signal, count, step, ordered, counted)
    except NotMergedError:
        # A node sends the currents on, and the map starts anew behind it.
        shape = signal.shape
        if signal.summed is not None or signal.state is not None or not shape or len(shape) != 3:
            raise
    each = Window(pair(shape[1:]), (1, 1), (1, 1), (0, 0))
    sent = unpooled(graph, replace(signal, pool=each))
    return _mapped(graph, sent, count, step, ordered, counted)


def _mapped(
    graph: Graph, signal: Signal, count: int, step: LinearMap, ordered: bool, counted: bool
) -> Signal:
    signal = known(with_tokens(graph, signal, count), count, ordered)
    assert signal.shape is not None
    if signal.state is not None:
        raise NotSupportedError(
            "an operation on the values of a leaking or summing state over time",
            "do it before they are added up, or return them as they are",
        )
    view_shape = signal.sizes[len(signal.sizes) - count :]
    before = _in_graph(signal.shape, view_shape, step)
    shape = step.out_shape(before)
    if not (isinstance(step, Affine) and (step.scale > 0).all()):
        signal = unpooled(graph, signal)
    assert signal.shape is not None
    # Behind a sum over time a layer acts once, but the graph's readout at every timestep.
    call: tuple[Call, ...] = ()
    if counted and isinstance(step, Synapses) and signal.summed is None:
        call = (Call(step, signal.terms, before),)
    terms = tuple(
        replace(
            t,
            maps=graph.maps.appended(t.maps, own),
            macs=t.macs + counted * step.dense_macs(before),
            calls=t.calls + call,
        )
        for t, own in zip(signal.terms, _shares(graph, signal, step), strict=True)
    )
    if _by_pixel(step) and count == 2:
        # Tokens stay the rows and columns that they are.
        channel = Atom(shape[0], "feature")
        axes = (*signal.axes[: len(signal.axes) - 2], (channel,), signal.axes[-1])
        return Signal(axes, (channel, *signal.axes[-1]), shape, terms, signal.summed)
    if isinstance(step, Conv2d | AvgPool2d) and count == 2:
        out: tuple[int, ...] = (shape[0], shape[2])
    elif shape == before:
        return replace(signal, terms=terms)
    else:
        out = shape
    atoms = tuple(Atom(n, "feature") for n in out)
    axes = (*signal.axes[: len(signal.axes) - count], *((a,) for a in atoms))
    return Signal(axes, atoms, shape, terms, signal.summed, seen=signal.seen)


def _by_pixel(step: LinearMap) -> bool:
    """Whether a map does the same to every pixel: a linear layer of tokens."""
    if not isinstance(step, Conv2d):
        return False
    return step.weight.shape[2:] == (1, 1) == step.stride and step.padding == (0, 0)


def _in_graph(shape: tuple[int, ...], view_shape: tuple[int, ...], step: LinearMap) -> Any:
    """Return the shape that a map sees; convolutions and pools need that of the graph."""
    spatial = [n for n in shape if n > 1], [n for n in view_shape if n > 1]
    # Factors and constants do not ask where a channel ends, as heads are parts of the channels.
    merged = isinstance(step, Affine) or len(view_shape) == 1
    merged = merged or (_by_pixel(step) and view_shape[0] == shape[0])
    if prod(shape) != prod(view_shape) or (not merged and spatial[0] != spatial[1]):
        raise NotSupportedError(
            f"features of shape {shape} are seen as {view_shape}",
            "only merging of features to one axis is possible",
        )
    return shape


def _shares(graph: Graph, signal: Signal, step: LinearMap) -> list[LinearMap]:
    """Return the map for each term, of which only the first adds the constant.

    After a sum over time it adds T times less, because the readout adds it at every timestep.
    """
    first = step
    if signal.summed is not None:
        share = 1 / (signal.summed.factor * signal.summed.steps)
        first = graph.maps.rescaled_bias(step, share)
    bare = graph.maps.without_constants(step)
    return [first, *[bare] * (len(signal.terms) - 1)]


def affine(graph: Graph, signal: Signal, scale: Any, shift: Any) -> Signal:
    """Apply ``scale x + shift`` with constants that may differ between channels."""
    if bool((scale == 1).all()) and not bool(shift.any()):
        return signal
    signal = with_tokens(graph, signal, trailing(signal))
    count, ordered = trailing(signal), max(scale.numel(), shift.numel()) > 1
    signal = known(signal, count, ordered)
    assert signal.shape is not None
    channels = signal.shape[0]
    step = graph.maps.affine(
        _per_channel(scale, signal, channels), _per_channel(shift, signal, channels)
    )
    return mapped(graph, signal, count, step, ordered)


def _per_channel(constant: Any, signal: Signal, channels: int) -> Array:
    """Reduce a constant that is broadcast over a signal to one number per channel."""
    sizes = tuple(max(n, 1) for n in signal.sizes)
    try:
        wide = torch.broadcast_to(constant.to(torch.float64), sizes)
    except RuntimeError:
        raise NotSupportedError(
            f"a constant of shape {tuple(constant.shape)} beside {sizes}", "broadcast it before"
        ) from None
    lead = wide.reshape(-1, channels, prod(signal.shape or ()) // channels)
    values = lead[0, :, 0]
    if not bool((lead == values[None, :, None]).all()):
        raise NotSupportedError(
            "a constant that differs between timesteps or within a channel",
            "a graph does the same at every timestep and place; one number per channel is possible",
        )
    return np.asarray(values.numpy(), np.float64)


def like(value: Any, factor: float = 1.0) -> Any:
    """Return a constant times `factor`, in float64."""
    if isinstance(value, Potential | Joined):
        as_signal(value)
    tensor = value.tensor if isinstance(value, Constant) else torch.as_tensor(value)
    return tensor.to(torch.float64) * factor


def unpooled(graph: Graph, signal: Signal) -> Signal:
    """Return the signal; the largest currents of a max pool become a node, which sends them on."""
    if signal.pool is None:
        return signal
    return replace(signal, terms=(graph.relay(signal),), pool=None)


def as_signal(value: Value) -> Signal:
    """Return the value, which must be spikes or currents."""
    if isinstance(value, Signal):
        return value
    if isinstance(value, Potential):
        raise NotSupportedError(
            "a potential of a spiking layer in a computation",
            "potentials may be handed on as states and recorded, spikes go on",
        )
    if isinstance(value, Joined):
        raise NotSupportedError(
            "a concatenation of features", "let a linear layer follow it, or add currents"
        )
    raise NotSupportedError("an operation on what is no signal", "give it spikes or currents")


def as_tensor(value: Value) -> Any:
    """Return the value, which must not depend on the input; None stays None."""
    if value is None:
        return None
    if not isinstance(value, Constant):
        raise NotSupportedError("weights that depend on the input", "weights must be constant")
    return value.tensor


def as_numbers(value: Value) -> Array:
    """Return a constant as a float64 array."""
    return np.asarray(as_tensor(value).detach().to(torch.float64).numpy())


def pair(value: Any) -> tuple[int, int]:
    """Return height and width of an argument that may be one number for both."""
    if isinstance(value, int):
        return (value, value)
    return (int(value[0]), int(value[-1]))


def single(value: Any) -> int:
    """Return the number in an argument that may be a list of one."""
    return value if isinstance(value, int) else int(value[0])


def padding_of(padding: Any, kernel: Sequence[int], dilation: tuple[int, int]) -> tuple[int, int]:
    """Return the zeros on each side, also where torch's argument is a word."""
    if not isinstance(padding, str):
        return pair(padding)
    if padding == "valid":
        return (0, 0)
    around = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    if any(n % 2 for n in around):
        raise NotSupportedError(
            "padding 'same' that is not symmetric", "take odd kernels, or pad by numbers"
        )
    return (around[0] // 2, around[1] // 2)


def places_of(signal: Signal, dims: Any) -> list[int]:
    """Return axes as numbers from 0 on; None means all of them."""
    rank = len(signal.axes)
    given = range(rank) if dims is None else [dims] if isinstance(dims, int) else dims
    return sorted(d % rank for d in given)
