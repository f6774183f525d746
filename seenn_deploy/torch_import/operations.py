"""What each operator of an exported module means for signals: one small function each.

Operators without a function here are refused by name. `node` arguments arrive as values: signals,
constants, potentials or plain numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from math import prod
from typing import Any, TypeAlias

import numpy as np
import torch

from seenn_deploy.graph import Array, AvgPool2d, Conv2d, LinearMap
from seenn_deploy.torch_import.maps import MapStore
from seenn_deploy.torch_import.values import (
    SOURCE,
    Atom,
    Constant,
    NotSupportedError,
    Potential,
    Signal,
    Summed,
    Term,
    Value,
    feature_shape,
    known,
    regrouped,
    trailing,
)


class Graph:
    """What operations add to: maps, sums of spikes and pools of spikes, each made once."""

    def __init__(self, names: Iterable[str]) -> None:
        self.maps = MapStore()
        self.names = {SOURCE, *names}
        self.sums: dict[tuple[str, ...], str] = {}
        self.pools: dict[Any, tuple[str, Term, tuple[int, ...]]] = {}
        self.here = ""  # path of the module that is being read

    def name(self, wanted: str) -> str:
        """A new node's name, with a number if it is taken."""
        numbered = (f"{wanted}{i or ''}" for i in range(len(self.names) + 1))
        found = next(n for n in numbered if n not in self.names)
        self.names.add(found)
        return found


Operation: TypeAlias = Callable[..., Value]
OPERATIONS: dict[str, Operation] = {}


def operation(*names: str) -> Callable[[Operation], Operation]:
    """Register a function for aten operators."""

    def register(function: Operation) -> Operation:
        OPERATIONS.update(dict.fromkeys(names, function))
        return function

    return register


# --- layers with weights -------------------------------------------------------------------------


@operation("conv2d.default", "conv2d.padding")
def conv2d(
    graph: Graph, x: Value, weight: Value, bias: Value = None, stride: Any = 1, padding: Any = 0,
    dilation: Any = 1, groups: int = 1,
) -> Signal:  # fmt: skip
    """Two-dimensional convolution; padding 'same' where it is symmetric."""
    dilated, kernel = _pair(dilation), weight.tensor.shape[2:]
    made = graph.maps.conv(
        _tensor(weight), _tensor(bias), stride=_pair(stride),
        padding=_padding(padding, kernel, dilated), dilation=dilated, groups=groups,
    )  # fmt: skip
    return _mapped(graph, _signal(x), 3, made)


@operation("conv1d.default", "conv1d.padding")
def conv1d(
    graph: Graph, x: Value, weight: Value, bias: Value = None, stride: Any = 1, padding: Any = 0,
    dilation: Any = 1, groups: int = 1,
) -> Signal:  # fmt: skip
    """One-dimensional convolution, as a two-dimensional one over (C, 1, L)."""
    dilated = (1, _single(dilation))
    kernel = (1, *weight.tensor.shape[2:])
    pad = padding if isinstance(padding, str) else (0, _single(padding))
    made = graph.maps.conv(
        weight.tensor.unsqueeze(2), _tensor(bias), stride=(1, _single(stride)),
        padding=_padding(pad, kernel, dilated), dilation=dilated, groups=groups,
    )  # fmt: skip
    return _mapped(graph, _signal(x), 2, made)


@operation("linear.default")
def linear(graph: Graph, x: Value, weight: Value, bias: Value = None) -> Signal:
    """All-to-all over the last axis."""
    return _mapped(graph, _signal(x), 1, graph.maps.dense(_tensor(weight), _tensor(bias)))


@operation("addmm.default")
def addmm(graph: Graph, bias: Value, x: Value, weight: Value) -> Signal:
    """``bias + x weight``."""
    dense = graph.maps.dense(_tensor(weight).t(), _tensor(bias))
    return _mapped(graph, _signal(x), 1, dense)


@operation("matmul.default", "mm.default")
def matmul(graph: Graph, x: Value, weight: Value) -> Signal:
    """``x weight`` with a constant matrix."""
    return _mapped(graph, _signal(x), 1, graph.maps.dense(_tensor(weight).t(), None))


@operation("_native_batch_norm_legit.no_stats", "instance_norm.default")
def norm_of_batch(graph: Graph, *_: Any) -> Value:
    """Statistics of the input itself are no linear map."""
    raise NotSupportedError(
        "batch norm without running statistics", "train it with track_running_stats=True"
    )


@operation("batch_norm.default", "_native_batch_norm_legit_no_training.default")
def batch_norm(
    graph: Graph, x: Value, weight: Value, bias: Value, mean: Value, var: Value, *settings: Any
) -> Value:
    """Batch norm with running statistics: an affine map a channel."""
    if mean is None or settings[0] is True:
        raise NotSupportedError(
            "batch norm without running statistics", "train it with track_running_stats=True"
        )
    eps = settings[2] if isinstance(settings[0], bool) else settings[1]
    scale = 1 / np.sqrt(_numbers(var) + eps)
    scale = scale if weight is None else _numbers(weight) * scale
    shift = -_numbers(mean) * scale
    shift = shift if bias is None else _numbers(bias) + shift
    signal = _signal(x)
    count = len(signal.axes) - 1 if signal.shape is None else trailing(signal)
    out = _mapped(graph, signal, count, graph.maps.affine(scale, shift))
    return out if len(settings) > 3 else (out, None, None)


# --- pools ---------------------------------------------------------------------------------------


@operation("avg_pool2d.default")
def avg_pool2d(
    graph: Graph, x: Value, kernel: Any, stride: Any = (), padding: Any = 0,
    ceil_mode: bool = False, count_include_pad: bool = True, divisor_override: int | None = None,
) -> Signal:  # fmt: skip
    """Average over windows that lie side by side."""
    size = _side_by_side(kernel, stride, padding, divisor_override)
    signal = known(_signal(x), 3)
    _check_ceil(ceil_mode, signal.sizes[-2:], size)
    return _mapped(graph, signal, 3, graph.maps.pool(size))


@operation("avg_pool1d.default")
def avg_pool1d(
    graph: Graph, x: Value, kernel: Any, stride: Any = (), padding: Any = 0,
    ceil_mode: bool = False, count_include_pad: bool = True,
) -> Signal:  # fmt: skip
    """Average over windows of (C, L); of a vector, as SpikingJelly's ``VotingLayer``, a matrix."""
    _, size = _side_by_side(kernel, stride, padding, None)
    signal = known(_signal(x), 2)
    length = signal.sizes[-1]
    _check_ceil(ceil_mode, (1, length), (1, size))
    if signal.shape is not None and prod(signal.shape) == signal.shape[0] == length:
        voters = torch.eye(length // size).repeat_interleave(size, dim=1) / size
        left_out = torch.zeros(length // size, length % size)
        return _mapped(graph, signal, 1, graph.maps.dense(torch.cat((voters, left_out), 1), None))
    return _mapped(graph, signal, 2, graph.maps.pool((1, size)))


def _side_by_side(kernel: Any, stride: Any, padding: Any, divisor: Any) -> tuple[int, int]:
    """The windows of an average pool."""
    size, step, pad = _pair(kernel), _pair(stride) if stride else _pair(kernel), _pair(padding)
    if step != size or pad != (0, 0) or divisor:
        raise NotSupportedError(
            f"an average pool of kernel {size}, stride {step} and padding {pad}",
            "the stride must be the kernel, without padding",
        )
    return size


@operation("adaptive_avg_pool2d.default", "_adaptive_avg_pool2d.default")
def adaptive_avg_pool2d(graph: Graph, x: Value, size: Any) -> Signal:
    """An average pool where the windows are alike."""
    signal = known(_signal(x), 3)
    inside, out = signal.sizes[-2:], _pair(size)
    if any(n % m for n, m in zip(inside, out, strict=True)):
        raise NotSupportedError(
            f"an adaptive average pool of {inside} to {out}", "the size must divide the input's"
        )
    kernel = (inside[0] // out[0], inside[1] // out[1])
    return _mapped(graph, signal, 3, graph.maps.pool(kernel))


@operation("max_pool2d.default", "max_pool2d_with_indices.default")
def max_pool2d(
    graph: Graph, x: Value, kernel: Any, stride: Any = (), padding: Any = 0, dilation: Any = 1,
    ceil_mode: bool = False,
) -> Signal:  # fmt: skip
    """Of spikes: a neuron that spikes when any in its window does. Of currents: not linear."""
    size, signal = _pair(kernel), _signal(x)
    if not signal.spikes or signal.terms[0].origin in graph.sums.values():
        raise NotSupportedError(
            "a maximum over values that are no spikes",
            "put the pool behind the neurons, or take an average pool",
        )
    feature_shape(signal, 3)
    channels = signal.sizes[-3]
    window = graph.maps.conv(
        torch.ones(channels, 1, *size), None, stride=_pair(stride) if stride else size,
        padding=_pair(padding), dilation=_pair(dilation), groups=channels,
    )  # fmt: skip
    _check_ceil(ceil_mode, signal.sizes[-2:], size, window)
    return _pool_of_spikes(graph, signal, window)


def _pool_of_spikes(graph: Graph, signal: Signal, window: Conv2d) -> Signal:
    (term,), shape = signal.terms, window.out_shape(signal.sizes[-3:])
    key = (term.origin, id(window))
    if key not in graph.pools:
        graph.pools[key] = (graph.name(graph.here or "pool"), Term(term.origin, (window,)), shape)
    atoms = tuple(Atom(n, "feature") for n in shape)
    axes = (*signal.axes[:-3], *((a,) for a in atoms))
    return Signal(axes, atoms, shape, (Term(graph.pools[key][0], (), term.step),))


# --- sums, products ------------------------------------------------------------------------------


@operation("add.Tensor", "add.Scalar")
def add(graph: Graph, a: Value, b: Value, alpha: float = 1) -> Value:
    """Currents meet; spikes and spikes become a sum of spikes."""
    a, b = (b, a) if not isinstance(a, Signal) and alpha == 1 else (a, b)
    if isinstance(a, Signal) and isinstance(b, Signal):
        other = b if alpha == 1 else _affine(graph, b, _like(alpha), _like(0.0))
        return _added(graph, a, other)
    if not isinstance(a, Signal) and isinstance(b, Signal):
        return _affine(graph, b, _like(alpha), _like(a))
    return _affine(graph, _signal(a), _like(1.0), _like(b, alpha))


@operation("sub.Tensor", "sub.Scalar")
def sub(graph: Graph, a: Value, b: Value, alpha: float = 1) -> Value:
    """A difference, as a sum with a factor of -1."""
    if not isinstance(a, Signal):
        return _affine(graph, _signal(b), _like(-alpha), _like(a))
    return add(graph, a, b, alpha=-alpha)


@operation("rsub.Scalar")
def rsub(graph: Graph, a: Value, b: Value, alpha: float = 1) -> Value:
    """``b - a``."""
    return sub(graph, b, a, alpha)


@operation("neg.default")
def neg(graph: Graph, x: Value) -> Value:
    """A factor of -1."""
    return _affine(graph, _signal(x), _like(-1.0), _like(0.0))


@operation("mul.Tensor", "mul.Scalar")
def mul(graph: Graph, a: Value, b: Value) -> Value:
    """A constant factor a channel."""
    if isinstance(a, Signal) and isinstance(b, Signal):
        raise NotSupportedError(
            "a product of two signals", "spikes may be added, and multiplied by constants"
        )
    a, b = (b, a) if not isinstance(a, Signal) else (a, b)
    return _affine(graph, _signal(a), _like(b), _like(0.0))


@operation("div.Tensor", "div.Scalar")
def div(graph: Graph, a: Value, b: Value) -> Value:
    """A constant divisor a channel."""
    if isinstance(b, Signal):
        raise NotSupportedError("a division by a signal", "divide by constants alone")
    divisor = _like(b).to(torch.float64)
    return _affine(graph, _signal(a), 1 / divisor, _like(0.0))


def _added(graph: Graph, a: Signal, b: Signal) -> Signal:
    a, b = _both_known(a, b)
    if a.summed != b.summed:
        raise NotSupportedError(
            "a sum over time meets what is not summed", "add before summing over time"
        )
    if a.shape is not None and b.shape is not None and prod(a.shape) != prod(b.shape):
        raise NotSupportedError(
            f"a sum of shapes {a.sizes} and {b.sizes}", "add what has the same features"
        )
    lead = a if len(a.axes) >= len(b.axes) else b
    axes = _met(a, b) if len(a.axes) == len(b.axes) else lead.axes
    terms = (*a.terms, *b.terms)
    if a.spikes and b.spikes and a.terms[0].step == b.terms[0].step:
        terms = (_sum_of_spikes(graph, a.terms[0], b.terms[0]),)
    return Signal(axes, lead.features, lead.shape, terms, a.summed)


def _both_known(a: Signal, b: Signal) -> tuple[Signal, Signal]:
    """Where one is the bare input, its features lie where the other's are."""
    if a.shape is None and b.shape is not None:
        return known(a, trailing(b)), b
    if b.shape is None and a.shape is not None:
        return a, known(b, trailing(a))
    return a, b


def _met(a: Signal, b: Signal) -> Any:
    axes = []
    for mine, other in zip(a.axes, b.axes, strict=True):
        sizes = prod(x.size for x in mine), prod(x.size for x in other)
        if sizes[0] != sizes[1] and 1 not in sizes:
            raise NotSupportedError(f"a sum of axes {sizes}", "add what has the same shape")
        axes.append(mine if sizes[0] >= sizes[1] and mine else other)
    return tuple(axes)


def _sum_of_spikes(graph: Graph, a: Term, b: Term) -> Term:
    summands = (a.origin, b.origin)
    if summands not in graph.sums:
        graph.sums[summands] = graph.name(f"{graph.here}.add" if graph.here else "add")
    return Term(graph.sums[summands], (), a.step)


# --- time ----------------------------------------------------------------------------------------


@operation("select.int")
def select(graph: Graph, x: Value, dim: int, index: int) -> Value:
    """One timestep of a stream."""
    if isinstance(x, Potential):
        return x
    signal = _signal(x)
    at = dim % len(signal.axes)
    return _step(signal, at, index % signal.sizes[at])


@operation("unbind.int")
def unbind(graph: Graph, x: Value, dim: int = 0) -> Value:
    """All timesteps of a stream."""
    signal = _signal(x)
    at = dim % len(signal.axes)
    return tuple(_step(signal, at, k) for k in range(signal.sizes[at]))


def _step(signal: Signal, at: int, k: int) -> Signal:
    axes = (*signal.axes[:at], *signal.axes[at + 1 :])
    if not signal.axes[at]:
        return replace(signal, axes=axes)
    if len(signal.axes[at]) != 1 or signal.summed is not None:
        raise NotSupportedError("an index into an axis that is not time alone", "index time")
    (atom,) = signal.axes[at]
    atom.become("time")
    terms = tuple(
        replace(t, step=k) if t.origin != SOURCE or atom.of_input else t for t in signal.terms
    )
    return replace(signal, axes=axes, terms=terms)


@operation("stack.default")
def stack(graph: Graph, parts: Sequence[Value], dim: int = 0) -> Value:
    """Timesteps side by side: a stream."""
    if all(isinstance(p, Potential) for p in parts):
        return _recorded([p for p in parts if isinstance(p, Potential)])
    signals = [_signal(p) for p in parts]
    terms = _stream_of(signals)
    first = signals[0]
    at = dim % (len(first.axes) + 1)
    axes = (*first.axes[:at], (Atom(len(parts), "time"),), *first.axes[at:])
    return replace(first, axes=axes, terms=terms)


@operation("cat.default")
def cat(graph: Graph, parts: Sequence[Value], dim: int = 0) -> Value:
    """As a stack, where each part has an axis of its own for it."""
    if all(isinstance(p, Potential) for p in parts):
        return _recorded([p for p in parts if isinstance(p, Potential)])
    signals = [_signal(p) for p in parts]
    at = dim % len(signals[0].axes)
    if any(prod(a.size for a in s.axes[at]) != 1 for s in signals):
        raise NotSupportedError(
            "a concatenation of batches or features", "only timesteps may be put side by side"
        )
    squeezed = [replace(s, axes=(*s.axes[:at], *s.axes[at + 1 :])) for s in signals]
    return stack(graph, squeezed, at)


def _recorded(parts: list[Potential]) -> Potential:
    if [p.step for p in parts] != list(range(len(parts))) or len({p.layer for p in parts}) > 1:
        raise NotSupportedError("potentials of several layers side by side", "leave them out")
    return Potential(parts[0].layer, None)


def _stream_of(signals: list[Signal]) -> tuple[Term, ...]:
    """Terms of a stream whose timesteps are `signals`: the same at each, or one step further."""
    first = signals[0].terms
    for k, signal in enumerate(signals):
        expected = [(t.origin, t.maps, None if t.step is None else t.step + k) for t in first]
        if [(t.origin, t.maps, t.step) for t in signal.terms] != expected:
            raise NotSupportedError(
                "what is stacked is not the same at every timestep",
                "a graph does the same at every timestep",
            )
    if any(t.step not in (None, 0) for t in first):
        raise NotSupportedError("a stack that leaves out timesteps", "stack all of them")
    return tuple(replace(t, step=None) for t in first)


@operation("sum.dim_IntList", "sum.default")
def total(graph: Graph, x: Value, dims: Any = None, keepdim: bool = False, **_: Any) -> Value:
    """Over time."""
    return _over_time(_signal(x), dims, keepdim, mean=False)


@operation("mean.dim", "mean.default")
def mean(graph: Graph, x: Value, dims: Any = None, keepdim: bool = False, **_: Any) -> Value:
    """Over time, or over height and width."""
    signal = _signal(x)
    places = _places(signal, dims)
    rank = len(signal.axes)
    if places == [rank - 2, rank - 1]:
        flat = adaptive_avg_pool2d(graph, signal, (1, 1))
        return flat if keepdim else view(graph, flat, flat.sizes[:-2])
    return _over_time(signal, dims, keepdim, mean=True)


def _over_time(signal: Signal, dims: Any, keepdim: bool, mean: bool) -> Signal:
    places = _places(signal, dims)
    if len(places) != 1 or len(signal.axes[places[0]]) != 1 or signal.summed is not None:
        raise NotSupportedError(
            f"a sum or mean over axes {places}", "over time, or a mean over height and width"
        )
    ((atom,),) = (signal.axes[p] for p in places)
    atom.become("time")
    if any(t.step is not None for t in signal.terms):
        raise NotSupportedError("a sum over time of single timesteps", "sum the stack of all")
    (at,) = places
    axes = (*signal.axes[:at], *([()] if keepdim else []), *signal.axes[at + 1 :])
    return replace(signal, axes=axes, summed=Summed(1 / atom.size if mean else 1.0, atom.size))


def _places(signal: Signal, dims: Any) -> list[int]:
    rank = len(signal.axes)
    given = range(rank) if dims is None else [dims] if isinstance(dims, int) else dims
    return sorted(d % rank for d in given)


# --- axes ----------------------------------------------------------------------------------------


@operation("view.default", "reshape.default", "_unsafe_view.default")
def view(graph: Graph, x: Value, sizes: Sequence[int]) -> Value:
    """The same values on other axes, in C order."""
    signal = _signal(x)
    count = prod(signal.sizes)
    given = prod(s for s in sizes if s >= 0)
    found = tuple(count // given if s == -1 else s for s in sizes)
    return replace(signal, axes=regrouped(signal.axes, found))


@operation("flatten.using_ints")
def flatten(graph: Graph, x: Value, start: int = 0, end: int = -1) -> Value:
    """Axes from `start` to `end` as one."""
    sizes = _signal(x).sizes
    a, b = start % len(sizes), end % len(sizes)
    return view(graph, x, (*sizes[:a], prod(sizes[a : b + 1]), *sizes[b + 1 :]))


@operation("unflatten.int")
def unflatten(graph: Graph, x: Value, dim: int, sizes: Sequence[int]) -> Value:
    """The inverse of `flatten`."""
    before = _signal(x).sizes
    at = dim % len(before)
    rest = prod(s for s in sizes if s >= 0)
    split = tuple(before[at] // rest if s == -1 else s for s in sizes)
    return view(graph, x, (*before[:at], *split, *before[at + 1 :]))


@operation("unsqueeze.default")
def unsqueeze(graph: Graph, x: Value, dim: int) -> Value:
    """A new axis of size 1."""
    if isinstance(x, Potential):
        return x
    signal = _signal(x)
    at = dim % (len(signal.axes) + 1)
    return replace(signal, axes=(*signal.axes[:at], (), *signal.axes[at:]))


@operation("squeeze.dim", "squeeze.dims", "squeeze.default")
def squeeze(graph: Graph, x: Value, dims: Any = None) -> Value:
    """Without axes of size 1; their atoms go to the axis before."""
    signal = _signal(x)
    places = [p for p in _places(signal, dims) if signal.sizes[p] == 1]
    return view(graph, x, tuple(s for i, s in enumerate(signal.sizes) if i not in places))


@operation("permute.default")
def permute(graph: Graph, x: Value, order: Sequence[int]) -> Value:
    """Axes in another order."""
    signal = _signal(x)
    return replace(signal, axes=tuple(signal.axes[d] for d in order))


@operation("transpose.int")
def transpose(graph: Graph, x: Value, a: int, b: int) -> Value:
    """Two axes swapped."""
    order = list(range(len(_signal(x).axes)))
    order[a], order[b] = order[b], order[a]
    return permute(graph, x, order)


@operation("expand.default")
def expand(graph: Graph, x: Value, sizes: Sequence[int], **_: Any) -> Value:
    """An axis of size 1 repeated: timesteps that are all alike."""
    signal = _signal(x)
    axes = ((),) * (len(sizes) - len(signal.axes)) + signal.axes
    return replace(signal, axes=tuple(_widened(a, n) for a, n in zip(axes, sizes, strict=True)))


def _widened(axis: tuple[Atom, ...], size: int) -> tuple[Atom, ...]:
    if size == -1 or prod(a.size for a in axis) == size:
        return axis
    if axis:
        raise NotSupportedError("an axis that is widened", "only time may be expanded")
    return (Atom(size),)


@operation("repeat.default")
def repeat(graph: Graph, x: Value, counts: Sequence[int]) -> Value:
    """Copies along an axis: a new time axis in front of its atoms."""
    signal = _signal(x)
    axes = ((),) * (len(counts) - len(signal.axes)) + signal.axes
    return replace(signal, axes=tuple(_repeated(a, n) for a, n in zip(axes, counts, strict=True)))


def _repeated(axis: tuple[Atom, ...], count: int) -> tuple[Atom, ...]:
    if count == 1:
        return axis
    if any(a.role == "feature" for a in axis):
        raise NotSupportedError("features that are repeated", "only time may be repeated")
    return (Atom(count), *axis)


@operation("clone.default", "contiguous.default", "detach.default", "detach_.default")
@operation("alias.default", "lift_fresh_copy.default", "dropout.default", "feature_dropout.default")
@operation("to.dtype", "to.device", "to.dtype_layout", "_to_copy.default", "type_as.default")
def unchanged(graph: Graph, x: Value, *_: Any, **__: Any) -> Value:
    """The same values."""
    return x


@operation("slice.Tensor")
def slice_(
    graph: Graph, x: Value, dim: int = 0, start: Any = None, end: Any = None, step: int = 1
) -> Value:
    """A whole axis alone."""
    size = _signal(x).sizes[dim]
    if (start or 0) == 0 and (end is None or end >= size) and step == 1:
        return x
    raise NotSupportedError("a part of an axis", "a graph takes all of it; slice before")


# --- shared --------------------------------------------------------------------------------------


def _mapped(graph: Graph, signal: Signal, count: int, step: LinearMap) -> Signal:
    """A signal through a linear map over its last `count` axes."""
    signal = known(signal, count)
    assert signal.shape is not None
    view_shape = signal.sizes[len(signal.sizes) - count :]
    before = _in_graph(signal.shape, view_shape, step)
    shape = step.out_shape(before)
    terms = tuple(
        replace(t, maps=graph.maps.appended(t.maps, own), macs=t.macs + step.dense_macs(before))
        for t, own in zip(signal.terms, _shares(graph, signal, step), strict=True)
    )
    if isinstance(step, Conv2d | AvgPool2d) and count == 2:
        out: tuple[int, ...] = (shape[0], shape[2])
    elif shape == before:
        return replace(signal, terms=terms)
    else:
        out = shape
    atoms = tuple(Atom(n, "feature") for n in out)
    axes = (*signal.axes[: len(signal.axes) - count], *((a,) for a in atoms))
    return Signal(axes, atoms, shape, terms, signal.summed)


def _in_graph(shape: tuple[int, ...], view_shape: tuple[int, ...], step: LinearMap) -> Any:
    """The shape that a map sees; convolutions and pools need the one of the graph."""
    spatial = [n for n in shape if n > 1], [n for n in view_shape if n > 1]
    if prod(shape) != prod(view_shape) or (len(view_shape) > 1 and spatial[0] != spatial[1]):
        raise NotSupportedError(
            f"features of shape {shape} are seen as {view_shape}",
            "only merging of features to one axis is possible",
        )
    return shape


def _shares(graph: Graph, signal: Signal, step: LinearMap) -> list[LinearMap]:
    """The map for each term: a constant is added once, and of a sum over time in T parts."""
    first = step
    if signal.summed is not None:
        share = 1 / (signal.summed.factor * signal.summed.steps)
        first = graph.maps.rescaled_bias(step, share)
    bare = graph.maps.without_constants(step)
    return [first, *[bare] * (len(signal.terms) - 1)]


def _affine(graph: Graph, signal: Signal, scale: Any, shift: Any) -> Signal:
    """``scale x + shift`` with constants that may differ between channels."""
    if bool((scale == 1).all()) and not bool(shift.any()):
        return signal
    count = trailing(signal)
    signal = known(signal, count)
    assert signal.shape is not None
    channels = signal.shape[0]
    step = graph.maps.affine(
        _per_channel(scale, signal, channels), _per_channel(shift, signal, channels)
    )
    return _mapped(graph, signal, count, step)


def _per_channel(constant: Any, signal: Signal, channels: int) -> Array:
    """One number a channel of a constant as it is broadcast over a signal."""
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
            "a graph does the same at every timestep and place; one number a channel is possible",
        )
    return np.asarray(values.numpy(), np.float64)


def _like(value: Any, factor: float = 1.0) -> Any:
    if isinstance(value, Potential):
        _signal(value)
    tensor = value.tensor if isinstance(value, Constant) else torch.as_tensor(value)
    return tensor.to(torch.float64) * factor


def _signal(value: Value) -> Signal:
    if isinstance(value, Signal):
        return value
    if isinstance(value, Potential):
        raise NotSupportedError(
            "a potential of a spiking layer in a computation",
            "potentials may be handed on as states and recorded, spikes go on",
        )
    raise NotSupportedError("an operation on what is no signal", "give it spikes or currents")


def _tensor(value: Value) -> Any:
    if value is None:
        return None
    if not isinstance(value, Constant):
        raise NotSupportedError("weights that depend on the input", "weights must be constant")
    return value.tensor


def _numbers(value: Value) -> Array:
    return np.asarray(_tensor(value).detach().to(torch.float64).numpy())


def _pair(value: Any) -> tuple[int, int]:
    if isinstance(value, int):
        return (value, value)
    return (int(value[0]), int(value[-1]))


def _single(value: Any) -> int:
    return value if isinstance(value, int) else int(value[0])


def _padding(padding: Any, kernel: Sequence[int], dilation: tuple[int, int]) -> tuple[int, int]:
    if not isinstance(padding, str):
        return _pair(padding)
    if padding == "valid":
        return (0, 0)
    around = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    if any(n % 2 for n in around):
        raise NotSupportedError(
            "padding 'same' that is not symmetric", "take odd kernels, or pad by numbers"
        )
    return (around[0] // 2, around[1] // 2)


def _check_ceil(
    ceil_mode: bool, inside: Sequence[int], kernel: tuple[int, int], window: Conv2d | None = None
) -> None:
    """Refuse partial windows; those of an average pool lie side by side."""
    strides = window.stride if window else kernel
    around, dilated = (window.padding, window.dilation) if window else ((0, 0), (1, 1))
    moves = [
        n + 2 * pad - d * (k - 1) - 1
        for n, pad, d, k in zip(inside, around, dilated, kernel, strict=True)
    ]
    if ceil_mode and any(move % step for move, step in zip(moves, strides, strict=True)):
        raise NotSupportedError(
            f"ceil_mode with windows of {kernel}, stride {tuple(strides)}, over {tuple(inside)}",
            "partial windows are not supported; leave ceil_mode out",
        )
