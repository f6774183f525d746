"""Folded equals unfolded: the passes against the naive evaluation of every map in turn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seenn_deploy import ir
from seenn_deploy.compiler.passes import fold_affine, fold_pool
from seenn_deploy.errors import ModelError
from tests import naive, random_graphs
from tests.random_graphs import Chain


def one_edge(chain: Chain) -> ir.SpikingGraph:
    """input -chain-> p -> out."""
    ins = int(np.prod(chain.out_shape))
    return ir.SpikingGraph(
        [
            ir.Source("input", chain.in_shape),
            ir.Population("p", chain.out_shape),
            ir.Readout("out", (1,)),
        ],
        [
            ir.Projection("input", "p", chain.maps),
            ir.Projection("p", "out", (ir.Dense(np.ones((1, ins))),)),
        ],
        T=1,
    )


def fold(graph: ir.SpikingGraph) -> ir.SpikingGraph:
    return fold_affine.apply(fold_pool.apply(graph))


def edge_into(graph: ir.SpikingGraph, name: str) -> Any:
    ((_, _, edge),) = graph.nx.in_edges(name, data="projection")
    return edge


def current(graph: ir.SpikingGraph, x: np.ndarray) -> np.ndarray:
    """The current into p: the folded map's synapses one by one, and the bias."""
    node = graph.nx.nodes["p"]["node"]
    edge = edge_into(graph, "p")
    source, target, weight = naive.synapses(*edge.maps, x.shape, node.shape)
    out = np.zeros(int(np.prod(node.shape)))
    np.add.at(out, target, weight.astype(np.float64) * x.ravel()[source])
    return out.reshape(node.shape) + node.bias


@settings(max_examples=300)
@given(random_graphs.chains(), random_graphs.rngs())
def test_folded_equals_unfolded(chain: Chain, rng: np.random.Generator) -> None:
    graph = one_edge(chain)
    folded = fold(graph)
    assert len(edge_into(folded, "p").maps) == 1
    x = rng.normal(size=chain.in_shape)
    np.testing.assert_allclose(current(folded, x), naive.chain(chain.maps, x), rtol=1e-9, atol=1e-9)
    assert edge_into(folded, "p").dense_macs == edge_into(graph, "p").dense_macs


CASES = {
    "a row is dropped by the pool, and padding does not bring it back": (
        (2, 5, 7),
        [ir.AvgPool2d((2, 2)), ir.Conv2d(np.ones((3, 2, 3, 3)), padding=(1, 1))],
    ),
    "a row is dropped before a dense layer": (
        (2, 5, 5),
        [ir.AvgPool2d((2, 2)), ir.Dense(np.ones((4, 8)), np.ones(4))],
    ),
    "a pool before a strided, grouped convolution": (
        (4, 8, 8),
        [ir.AvgPool2d((2, 2)), ir.Conv2d(np.ones((2, 2, 3, 3)), (2, 2), (1, 1), groups=2)],
    ),
    "a pool before a dilated convolution with bias": (
        (1, 8, 8),
        [ir.AvgPool2d((2, 2)), ir.Conv2d(np.ones((2, 1, 2, 2)), dilation=(2, 2), bias=np.ones(2))],
    ),
    "a pool before a padded 1x1 convolution": (
        (2, 4, 4),
        [ir.AvgPool2d((2, 2)), ir.Conv2d(np.ones((2, 2, 1, 1)), padding=(1, 1))],
    ),
    "a pool alone": ((3, 5, 4), [ir.AvgPool2d((2, 3))]),
    "a pool and a batch norm": (
        (2, 4, 4),
        [ir.AvgPool2d((2, 2)), ir.Affine(np.array([2.0, 3.0]), np.array([1.0, -1.0]))],
    ),
    "a global pool before the classifier": (
        (3, 4, 4),
        [ir.AvgPool2d((4, 4)), ir.Dense(np.ones((2, 3)))],
    ),
    "normalisation and zero padding at the border": (
        (2, 4, 4),
        [
            ir.Affine(np.array([2.0, 3.0]), np.array([5.0, -7.0])),
            ir.Conv2d(np.ones((2, 2, 3, 3)), padding=(2, 1), bias=np.ones(2)),
            ir.Affine(np.array([0.5, -0.5]), np.array([1.0, 2.0])),
        ],
    ),
    "normalisation before a grouped convolution": (
        (4, 3, 3),
        [
            ir.Affine(np.arange(1.0, 5), np.arange(-2.0, 2)),
            ir.Conv2d(np.ones((4, 2, 2, 2)), padding=(1, 1), groups=2),
        ],
    ),
    "normalisation, dense, batch norm": (
        (2, 2, 2),
        [
            ir.Affine(np.array([2.0, 3.0]), np.array([5.0, -7.0])),
            ir.Dense(np.ones((3, 8)), np.ones(3)),
            ir.Affine(np.ones(3) * 2, np.ones(3)),
        ],
    ),
    "batch norm on an identity shortcut": (
        (2, 3, 3),
        [
            ir.Identity(np.float64(2.0).reshape(())),
            ir.Affine(np.array([2.0, 3.0]), np.array([1.0, 2.0])),
        ],
    ),
    "batch norm on nothing": ((2, 3, 3), [ir.Affine(np.array([2.0, 3.0]), np.array([1.0, 2.0]))]),
}


@pytest.mark.parametrize("name", CASES)
def test_cases_that_folding_gets_wrong_easily(name: str) -> None:
    in_shape, maps = CASES[name]
    rng = np.random.default_rng(3)
    out_shape = naive.chain(maps, np.zeros(in_shape)).shape
    random = [_randomised(step, rng) for step in maps]
    folded = fold(one_edge(Chain(tuple(random), in_shape, out_shape)))
    for x in (rng.normal(size=in_shape), np.zeros(in_shape), np.ones(in_shape)):
        np.testing.assert_allclose(
            current(folded, x), naive.chain(random, x), rtol=1e-12, atol=1e-12
        )


def _randomised(step: Any, rng: np.random.Generator) -> Any:
    """The same map with random weights: ones hide transposed axes."""
    if isinstance(step, ir.Conv2d):
        weight = rng.normal(size=step.weight.shape)
        return ir.Conv2d(weight, step.stride, step.padding, step.dilation, step.groups, step.bias)
    if isinstance(step, ir.Dense):
        return ir.Dense(rng.normal(size=step.weight.shape), step.bias)
    return step


@settings(max_examples=60)
@given(st.data())
def test_a_folded_pool_counts_a_spike_its_fan_out_behind_the_pool(data: st.DataObject) -> None:
    in_shape = data.draw(random_graphs.image_shapes())
    kernel = tuple(data.draw(st.integers(1, min(3, n))) for n in in_shape[1:])
    pooled = (in_shape[0], in_shape[1] // kernel[0], in_shape[2] // kernel[1])
    step = data.draw(random_graphs.convs(pooled))
    out_shape = naive.chain([step], np.zeros(pooled)).shape
    graph = fold(one_edge(Chain((ir.AvgPool2d(kernel), step), in_shape, out_shape)))
    source, *_ = naive.synapses(step, pooled, out_shape)
    behind = np.bincount(source, minlength=int(np.prod(pooled))).reshape(pooled)
    expected = np.zeros(in_shape, np.int64)
    whole = behind.repeat(kernel[0], axis=1).repeat(kernel[1], axis=2)
    expected[:, : whole.shape[1], : whole.shape[2]] = whole
    folded = edge_into(graph, "p").maps[0]
    found, *_ = naive.synapses(folded, in_shape, out_shape)
    counted = np.bincount(found, minlength=expected.size).reshape(in_shape)
    np.testing.assert_array_equal(counted, expected)


def test_both_biases_add_up() -> None:
    """Two edges and the population's own bias."""
    graph = ir.SpikingGraph(
        [
            ir.Source("input", (1, 1, 1)),
            ir.Population("p", (2, 1, 1), bias=np.float32(10).reshape(())),
            ir.Readout("out", (1,), bias=np.float32([0.5])),
        ],
        [
            ir.Projection(
                "input", "p", (ir.Conv2d(np.ones((2, 1, 1, 1)), bias=np.array([1.0, 2.0])),)
            ),
            ir.Projection(
                "input", "p", (ir.Conv2d(np.ones((2, 1, 1, 1)), bias=np.array([3.0, 4.0])),)
            ),
            ir.Projection("p", "out", (ir.Dense(np.ones((1, 2)), np.array([7.0])),)),
        ],
        T=1,
    )
    folded = fold(graph)
    np.testing.assert_array_equal(folded.node("p").bias.ravel(), [14, 16])
    np.testing.assert_array_equal(folded.node("out").bias, [7.5])


@pytest.mark.parametrize(
    ("maps", "out_shape", "words"),
    [
        (
            [ir.Conv2d(np.ones((1, 1, 1, 1))), ir.Conv2d(np.ones((1, 1, 1, 1)))],
            (1, 4, 4),
            "cannot merge",
        ),
        ([ir.Conv2d(np.ones((1, 1, 1, 1))), ir.AvgPool2d((2, 2))], (1, 2, 2), "cannot merge"),
        (
            [ir.AvgPool2d((2, 2)), ir.Identity()],
            (1, 2, 2),
            "cannot fold an average pool into Identity",
        ),
        (
            [
                ir.Affine(np.ones(1), np.ones(1)),
                ir.Sparse(np.zeros(17, np.int64), np.zeros(0, np.int32), np.zeros(0), (2,)),
            ],
            (2,),
            "cannot scale the input of Sparse",
        ),
    ],
)
def test_what_cannot_be_folded_is_said(
    maps: list[Any], out_shape: tuple[int, ...], words: str
) -> None:
    with pytest.raises(ModelError, match=words):
        fold(one_edge(Chain(tuple(maps), (1, 4, 4), out_shape)))


def test_folding_leaves_the_graph_it_was_given_alone() -> None:
    weight = np.ones((2, 2, 3, 3))
    maps = (
        ir.AvgPool2d((2, 2)),
        ir.Conv2d(weight, padding=(1, 1)),
        ir.Affine(np.full(2, 3.0), np.ones(2)),
    )
    graph = one_edge(Chain(maps, (2, 4, 4), (2, 2, 2)))
    fold(graph)
    assert edge_into(graph, "p").maps == maps
    assert np.all(weight == 1)
