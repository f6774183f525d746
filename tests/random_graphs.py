"""Hypothesis strategies: random linear maps, chains and compiled graphs.

Weights are multiples of 1/64 and inputs of 1/4, both small, so that float32 sums are exact in any
order: spikes and counts of two implementations must then be *equal*, ties included.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from math import prod
from typing import Any

import numpy as np
from hypothesis import strategies as st

from seenn_deploy import ir
from seenn_deploy._typing import Shape

Rng = np.random.Generator
_GEOMETRY = ("before", "window", "stride", "padding")
WIDE = st.sampled_from([12, 16, 17, 32, 40, 64, 80])  # kernels work on vectors of 16, 32 and 64


def rngs() -> st.SearchStrategy[Rng]:
    return st.integers(0, 2**32 - 1).map(np.random.default_rng)


def exact_weights(rng: Rng, shape: Shape, zeros: float = 0.2, largest: float = 0.5) -> np.ndarray:
    """Multiples of 1/64 in [-largest, largest], some of them 0."""
    steps = int(64 * largest)
    value = rng.integers(-steps, steps + 1, shape) / 64
    return np.where(rng.random(shape) < zeros, 0, value).astype(np.float32)


@st.composite
def convs(
    draw: st.DrawFn,
    in_shape: Shape,
    bias: bool = False,
    wide: st.SearchStrategy[int] = st.nothing(),  # noqa: B008
) -> ir.Conv2d:
    """A convolution that fits `in_shape`: any stride, padding, dilation and groups.

    `wide` offers further numbers of output channels a group.
    """
    rng = draw(rngs())
    groups = draw(st.sampled_from([g for g in (1, 2, 3, 4) if in_shape[0] % g == 0]))
    kernel, stride, padding, dilation = [], [], [], []
    for size in in_shape[1:]:
        k = draw(st.integers(1, 3))
        p = draw(st.integers(0, 2))
        d = draw(st.integers(1, 2))
        if d * (k - 1) + 1 > size + 2 * p:
            k = 1
        kernel.append(k)
        padding.append(p)
        dilation.append(d)
        stride.append(draw(st.integers(1, 3)))
    outs = groups * draw(st.one_of(st.integers(1, 4 // groups or 1), wide))
    inputs_of_one = in_shape[0] // groups
    return ir.Conv2d(
        exact_weights(
            rng, (outs, inputs_of_one, *kernel), largest=0.5 if inputs_of_one < 8 else 0.125
        ),
        stride=(stride[0], stride[1]),
        padding=(padding[0], padding[1]),
        dilation=(dilation[0], dilation[1]),
        groups=groups,
        bias=exact_weights(rng, (outs,)) if bias else None,
    )


def dense(rng: Rng, in_shape: Shape, outs: int, bias: bool = False) -> ir.Dense:
    largest = 0.5 if prod(in_shape) < 100 else 0.125
    weight = exact_weights(rng, (outs, prod(in_shape)), largest=largest)
    return ir.Dense(weight, exact_weights(rng, (outs,)) if bias else None)


def sparse(rng: Rng, in_shape: Shape, out_shape: Shape, most: int = 4) -> ir.Sparse:
    """Up to `most` synapses a source neuron, neurons without any among them."""
    fan_out = rng.integers(0, most + 1, prod(in_shape))
    indptr = np.concatenate(([0], np.cumsum(fan_out))).astype(np.int64)
    targets = rng.integers(0, prod(out_shape), indptr[-1]).astype(np.int32)
    return ir.Sparse(indptr, targets, exact_weights(rng, (int(indptr[-1]),)), out_shape)


def image_shapes(largest: int = 7) -> st.SearchStrategy[Shape]:
    return st.tuples(st.integers(1, 4), st.integers(1, largest), st.integers(1, largest))


@st.composite
def synapse_maps(
    draw: st.DrawFn,
    in_shape: Shape,
    wide: st.SearchStrategy[int] = st.nothing(),  # noqa: B008
) -> Any:
    """Any synapse map over `in_shape`."""
    kinds = (
        ["conv"] * 3 + ["dense", "sparse", "identity"]
        if len(in_shape) == 3
        else ["dense", "sparse"]
    )
    kind, rng = draw(st.sampled_from(kinds)), draw(rngs())
    if kind == "conv":
        return draw(convs(in_shape, wide=wide))
    if kind == "dense":
        return dense(rng, in_shape, draw(st.one_of(st.integers(1, 6), wide)))
    if kind == "sparse":
        outs = st.one_of(image_shapes(3), st.tuples(st.integers(1, 8)))
        return sparse(rng, in_shape, draw(outs))
    return ir.Identity(np.float32(rng.integers(-64, 65) / 64).reshape(()))


# --- chains before folding ---------------------------------------------------------------------


@dataclass(frozen=True)
class Chain:
    """Linear maps, the shape they take and the shape they give."""

    maps: tuple[ir.LinearMap, ...]
    in_shape: Shape
    out_shape: Shape


def affine(rng: Rng, channels: int) -> ir.Affine:
    return ir.Affine(rng.normal(1, 0.5, channels), rng.normal(0, 1, channels))


@st.composite
def chains(draw: st.DrawFn) -> Chain:
    """What frontends write: [affine] [pool] (convolution | dense | nothing) [affine ..]."""
    rng = draw(rngs())
    in_shape = shape = draw(image_shapes())
    maps: list[ir.LinearMap] = []
    if draw(st.booleans()):
        kernel = (draw(st.integers(1, min(3, shape[1]))), draw(st.integers(1, min(3, shape[2]))))
        maps.append(ir.AvgPool2d(kernel))
        shape = (shape[0], shape[1] // kernel[0], shape[2] // kernel[1])
    elif draw(st.booleans()):
        maps.append(affine(rng, shape[0]))
    core = draw(st.sampled_from(["conv", "conv", "dense", "nothing"]))
    if core == "conv":
        maps.append(draw(convs(shape, bias=draw(st.booleans()))))
        shape = maps[-1].out_shape(shape)
    elif core == "dense":
        maps.append(dense(rng, shape, draw(st.integers(1, 5)), bias=draw(st.booleans())))
        shape = maps[-1].out_shape(shape)
    for _ in range(draw(st.integers(0 if maps else 1, 2))):
        maps.append(affine(rng, shape[0]))
    return Chain(tuple(maps), in_shape, shape)


# --- compiled graphs ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Example:
    """A compiled graph and inputs that fit it: (N, C, H, W), events (N, T, C, H, W)."""

    graph: ir.SpikingGraph
    images: np.ndarray


@st.composite
def examples(
    draw: st.DrawFn, largest: int = 6, populations: int = 3, samples: int = 3, plain: bool = False,
    real: bool = False,
) -> Example:  # fmt: skip
    """A random compiled graph: shortcuts, both codings and resets, every kind of synapse.

    Among them sums of spikes, max pools of currents, products, lags, feedback, synaptic currents
    and leaky readouts. A `plain` one has no max pools and products, which no target takes.
    With `real` one node may send real values, which have no integer form.
    """
    T = draw(st.integers(1, 4))
    coding = draw(st.sampled_from(["direct", "events"]))
    nodes: list[Any] = [ir.Source("input", draw(image_shapes(largest)), coding)]
    edges: list[ir.Projection] = []
    for k in range(draw(st.integers(1, populations))):
        main = draw(synapse_maps(nodes[-1].shape, wide=WIDE))
        shape = main.out_shape(nodes[-1].shape)
        node = draw(neurons(f"p{k}", shape))
        sends = len(shape) == 3 or isinstance(nodes[-1], ir.Population)
        if real and sends and not any(n.real for n in nodes) and draw(st.booleans()):
            main, node = draw(sending_currents(f"r{k}", nodes[-1], main))
        elif not plain and len(shape) == 3 and draw(st.integers(0, 2)) == 0:
            node = draw(pooled(node.name, shape))
        edges.append(ir.Projection(nodes[-1].name, node.name, (main,)))
        # A filter of other numbers than 0 and 1 is exact in no few bits.
        if draw(st.booleans()) and not isinstance(node, ir.Filter):
            pre = draw(st.sampled_from([n for n in nodes if not (node.real and n.real)]))
            lag = draw(lags(pre))
            shortcut = draw(shortcuts(pre.shape, node.arriving))
            edges.append(ir.Projection(pre.name, node.name, (shortcut,), lag=lag))
        nodes.append(node)
        shape = node.shape
        if draw(st.integers(0, 3)) == 0 and any(isinstance(n, ir.Population) for n in nodes):
            edges += draw(feedback([n for n in nodes if isinstance(n, ir.Population)]))
        if draw(st.integers(0, 3)) == 0 and not node.real:
            nodes.append(ir.Sum(f"s{k}", shape))
            alike = [n for n in nodes[1:-1] if n.shape == shape and n.spikes]
            edges += [ir.Projection(n.name, f"s{k}", (ir.Identity(),)) for n in alike]
        if not plain and draw(st.integers(0, 3)) == 0 and not node.real:
            node, into = draw(products(f"x{k}", [n for n in nodes[1:] if n.spikes]))
            nodes.append(node)
            edges += into
    rng, outs = draw(rngs()), draw(st.integers(1, 4))
    tau, tau_syn = draw(st.sampled_from([(1.0, 0.0), (1.0, 0.0), (0.5, 0.0), (0.5, 0.25)]))
    nodes.append(ir.Readout("readout", (outs,), exact_weights(rng, (outs,)), tau, tau_syn))
    ends = draw(st.lists(st.sampled_from(nodes[:-2]), max_size=1)) if len(nodes) > 2 else []
    for pre in [nodes[-2], *ends]:
        edges.append(ir.Projection(pre.name, "readout", (dense(rng, pre.shape, outs),)))
    shape = nodes[0].shape if coding == "direct" else (T, *nodes[0].shape)
    count = draw(st.integers(1, samples))
    return Example(ir.SpikingGraph(nodes, edges, T), inputs(rng, (count, *shape)))


PRODUCTS = ["c,c->c", "hnd,hmd->hnm", "nd,dm->mn", "hn,n->hn", "n,m->nm"]


@st.composite
def products(draw: st.DrawFn, name: str, nodes: list[Any]) -> Any:
    """A product of what the last of `nodes` and any of them send, and its edges."""
    subscripts = draw(st.sampled_from(PRODUCTS))
    sizes = {letter: draw(st.integers(1, 3)) for letter in "chnmd"}
    terms, out = subscripts.split("->")
    left, right = (tuple(sizes[n] for n in term) for term in terms.split(","))
    shape = (*(sizes[n] for n in out), 1, 1)[:3]
    rng, edges = draw(rngs()), []
    whole = prod(left) + prod(right)
    for first, count in ((0, prod(left)), (prod(left), prod(right))):
        pre = draw(st.sampled_from(nodes)) if first else nodes[-1]  # which feeds nothing yet
        chosen = rng.integers(0, prod(pre.shape), count)  # one neuron may be several elements
        signs = rng.choice([1, -1], count).astype(np.float32)
        place = first + np.arange(count)
        selected = ir.Sparse.of(chosen, place, signs, prod(pre.shape), (whole,))
        edges.append(ir.Projection(pre.name, name, (selected,)))
    bias = rng.integers(0, 2, draw(st.sampled_from([(), (whole,)]))).astype(np.float32)
    return ir.Product(name, shape, subscripts, left, right, bias), edges


@st.composite
def lags(draw: st.DrawFn, pre: Any) -> int:
    """Timesteps between sending and arriving: none from an image."""
    if isinstance(pre, ir.Source) and pre.coding == "direct":
        return 0
    return draw(st.sampled_from([0, 0, 1, 2]))


@st.composite
def feedback(draw: st.DrawFn, populations: list[ir.Population]) -> list[ir.Projection]:
    """A connection from the last population back to itself or one before it."""
    pre, post = populations[-1], draw(st.sampled_from(populations))
    back = draw(shortcuts(pre.shape, post.arriving))
    return [ir.Projection(pre.name, post.name, (back,), lag=draw(st.integers(1, 2)))]


@st.composite
def neurons(draw: st.DrawFn, name: str, shape: Shape) -> ir.Population:
    rng = draw(rngs())
    biases: list[Shape] = [(), shape, (shape[0], *[1] * (len(shape) - 1))]
    values = {
        "tau": [0.0, 0.25, 0.5, 1.0],
        "v_threshold": [0.25, 0.5, 1.0],
        "v_init": [0.0, 0.0, 0.25, -0.5],
        "tau_syn": [0.0, 0.0, 0.25, 0.5],
    }
    # These have one value per channel or per neuron.
    own = draw(st.sampled_from([(), (), ("tau",), ("v_init",), ("tau", "v_threshold", "tau_syn")]))
    constants: dict[str, Any] = {
        key: rng.choice(found, draw(st.sampled_from(biases[1:])))
        if key in own
        else draw(st.sampled_from(found))
        for key, found in values.items()
    }
    return ir.Population(
        name,
        shape,
        **constants,
        reset=draw(st.sampled_from(["hard", "soft"])),
        comparison=draw(st.sampled_from([">", ">="])),
        bias=exact_weights(rng, draw(st.sampled_from(biases)), zeros=0.5),
        reset_by=draw(st.sampled_from([None, None, 0.5, 1.5])),
    )


@st.composite
def pooled(draw: st.DrawFn, name: str, before: Shape) -> ir.Maximum:
    """Neurons behind a max pool over currents of shape `before`."""
    window, stride, padding, after = [], [], [], []
    for size in before[1:]:
        k = draw(st.integers(1, min(3, size)))
        window.append(k)
        stride.append(draw(st.integers(1, 3)))
        padding.append(draw(st.integers(0, k // 2)))
        after.append((size + 2 * padding[-1] - k) // stride[-1] + 1)
    node, rng = draw(neurons(name, (before[0], *after))), draw(rngs())
    values = {f.name: getattr(node, f.name) for f in fields(node)}
    bias = draw(st.sampled_from([(), before, (before[0], 1, 1)]))
    geometry = zip(_GEOMETRY, (before[1:], *map(tuple, (window, stride, padding))), strict=True)
    return ir.Maximum(**(values | {"bias": exact_weights(rng, bias, zeros=0.5)} | dict(geometry)))


@st.composite
def sending_currents(draw: st.DrawFn, name: str, pre: Any, main: Any) -> tuple[Any, Any]:
    """A node that sends real values, and the synapses into it.

    Its weights are multiples of 1/4, so that sums stay exact behind it, too.
    """
    shape = main.out_shape(pre.shape)
    if isinstance(pre, ir.Population) and (len(shape) != 3 or draw(st.booleans())):
        tau = draw(
            st.sampled_from([0.5, 0.75, np.full((pre.shape[0], *[1] * (len(pre.shape) - 1)), 0.5)])
        )
        return ir.Identity(), ir.Filter(name, pre.shape, tau)
    node = draw(pooled(name, shape))
    geometry = {part: getattr(node, part) for part in _GEOMETRY}
    coarse = main.with_weight((np.round(main.weight * 4) / 4).astype(np.float32))
    return coarse, ir.Relay(name, node.shape, node.bias, **geometry)


@st.composite
def shortcuts(draw: st.DrawFn, in_shape: Shape, out_shape: Shape) -> Any:
    """A second edge into a population whose shape is given."""
    rng = draw(rngs())
    if in_shape == out_shape and draw(st.booleans()):
        return ir.Identity()
    if len(out_shape) == 1 and draw(st.booleans()):
        return dense(rng, in_shape, out_shape[0])
    return sparse(rng, in_shape, out_shape)


def inputs(rng: Rng, shape: Shape) -> np.ndarray:
    """Multiples of 1/4 in [-2, 2]; 0, 1 and -1 are frequent, others make graded elements."""
    common = rng.choice([0.0, 0.0, 1.0, -1.0], shape)
    rare = rng.integers(-8, 9, shape) / 4
    return np.where(rng.random(shape) < 0.3, rare, common).astype(np.float32)
