from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seenn_deploy import ir
from seenn_deploy.errors import ModelError
from tests import naive, random_graphs

SOURCE = ir.Source("input", (2, 4, 4))
READOUT = ir.Readout("out", (3,))


def dense(outs: int, ins: int) -> ir.Dense:
    return ir.Dense(np.ones((outs, ins), np.float32))


def small(T: int = 2, **changes: object) -> ir.SpikingGraph:
    """input -> p -> out, with parts replaced."""
    parts = {
        "nodes": [SOURCE, ir.Population("p", (5,)), READOUT],
        "projections": [
            ir.Projection("input", "p", (dense(5, 32),)),
            ir.Projection("p", "out", (dense(3, 5),)),
        ],
    }
    return ir.SpikingGraph(**(parts | changes), T=T)


def test_a_good_graph_is_ordered_and_counted() -> None:
    graph = small()
    assert [n.name for n in graph.order] == ["input", "p", "out"]
    assert [n.name for n in graph.layers] == ["p", "out"]
    assert graph.depth == {"input": 0, "p": 1, "out": 2}
    assert [e.dense_macs for e in graph.projections] == [160, 15]


@pytest.mark.parametrize("T", [0, -1, 1.5, "4", None, 1 << 40])
def test_T_must_be_a_positive_whole_number(T: object) -> None:
    with pytest.raises(ModelError, match=r"T must be a whole number.*1 to 1,048,576"):
        small(T=T)


def test_two_nodes_of_one_name() -> None:
    with pytest.raises(ModelError, match="two nodes are named 'p'"):
        small(nodes=[SOURCE, ir.Population("p", (5,)), ir.Population("p", (5,)), READOUT])


def test_an_edge_to_nowhere() -> None:
    with pytest.raises(ModelError, match="no node 'q'"):
        small(projections=[ir.Projection("input", "q", (dense(5, 32),))])


def test_a_cycle_is_named() -> None:
    a, b = ir.Population("a", (5,)), ir.Population("b", (5,))
    edges = [
        ir.Projection("input", "a", (dense(5, 32),)),
        ir.Projection("a", "b", (ir.Identity(),)),
        ir.Projection("b", "a", (ir.Identity(),)),
        ir.Projection("b", "out", (dense(3, 5),)),
    ]
    with pytest.raises(ModelError, match=r"cycle without delay: .*->"):
        small(nodes=[SOURCE, a, b, READOUT], projections=edges)


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        ([ir.Population("p", (5,)), READOUT], "exactly one Source"),
        ([SOURCE, ir.Source("second", (1, 1, 1)), READOUT], "exactly one Source"),
        ([SOURCE, ir.Population("p", (5,))], "exactly one Readout"),
        ([SOURCE, READOUT, ir.Readout("second", (1,))], "exactly one Readout"),
    ],
)
def test_one_source_and_one_readout(nodes: list[object], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        small(nodes=nodes, projections=[])


def test_nodes_that_hang_loose() -> None:
    main = ir.Projection("input", "p", (dense(5, 32),)), ir.Projection("p", "out", (dense(3, 5),))
    lost = ir.Population("lost", (5,))
    with pytest.raises(ModelError, match="lost has no input"):
        small(nodes=[SOURCE, ir.Population("p", (5,)), lost, READOUT], projections=main)
    with pytest.raises(ModelError, match="lost feeds nothing"):
        small(
            nodes=[SOURCE, ir.Population("p", (5,)), lost, READOUT],
            projections=[*main, ir.Projection("input", "lost", (dense(5, 32),))],
        )


@pytest.mark.parametrize(
    ("maps", "words"),
    [
        ((dense(5, 31),), "over 31 neurons"),
        ((dense(4, 32),), r"give shape \(4,\), p has \(5,\)"),
        ((ir.Conv2d(np.ones((5, 3, 1, 1))),), "over 3 channels"),
        ((ir.Conv2d(np.ones((5, 2, 5, 5))),), "5x5 kernel does not fit"),
        ((ir.AvgPool2d((5, 5)),), "average pool does not fit"),
        ((ir.batch_norm(*np.ones((4, 3))),), "batch norm of 3 channels"),
        ((ir.Sparse(np.zeros(3, np.int64), np.zeros(0), np.zeros(0), (5,)),), "of 2 neurons"),
        ((ir.Identity(),), r"p has \(5,\)"),
    ],
)
def test_shapes_are_checked_and_the_edge_is_named(maps: tuple[object, ...], words: str) -> None:
    edges = [ir.Projection("input", "p", maps), ir.Projection("p", "out", (dense(3, 5),))]
    with pytest.raises(ModelError, match=f"input -> p: .*{words}"):
        small(projections=edges)


@pytest.mark.parametrize(
    ("bias", "words"),
    [
        (np.zeros(4), "bias of shape"),
        (np.zeros((2, 5)), "bias of shape"),
        (np.array([0, 0, np.nan, 0, 0]), "NaN or infinity"),
        (np.float64(np.inf).reshape(()), "NaN or infinity"),
    ],
)
def test_biases_are_checked(bias: np.ndarray, words: str) -> None:
    with pytest.raises(ModelError, match=f"p: .*{words}"):
        small(nodes=[SOURCE, ir.Population("p", (5,), bias=bias), READOUT])


def test_an_unfolded_edge_has_no_synapses() -> None:
    with pytest.raises(ModelError, match="a -> b: AvgPool2d was not folded"):
        _ = ir.Projection("a", "b", (ir.AvgPool2d((2, 2)),)).synapses


@settings(max_examples=150)
@given(st.data())
def test_fan_out_is_what_the_naive_oracle_visits(data: st.DataObject) -> None:
    shape = data.draw(random_graphs.image_shapes())
    step = data.draw(random_graphs.synapse_maps(shape))
    source, target, weight = naive.synapses(step, shape, step.out_shape(shape))
    n = int(np.prod(shape))
    fan_out, effective = step.fan_out(shape), step.fan_out(shape, effective=True)
    assert fan_out.shape == effective.shape == shape
    np.testing.assert_array_equal(fan_out.ravel(), np.bincount(source, minlength=n))
    np.testing.assert_array_equal(effective.ravel(), np.bincount(source[weight != 0], minlength=n))
    assert target.size == 0 or target.max() < np.prod(step.out_shape(shape))


@settings(max_examples=60)
@given(st.data())
def test_dense_macs_of_a_convolution_include_the_padding(data: st.DataObject) -> None:
    shape = data.draw(random_graphs.image_shapes())
    conv = data.draw(random_graphs.convs(shape))
    outs = naive.chain([conv], np.zeros(shape))
    assert conv.out_shape(shape) == outs.shape
    assert conv.dense_macs(shape) == outs.size * conv.weight[0].size


def test_batch_norm_is_the_textbook_formula() -> None:
    gamma, beta, mean, var = np.random.default_rng(0).random((4, 6)).astype(np.float32)
    affine = ir.batch_norm(gamma, beta, mean, var)
    x = 0.37
    expected = gamma * ((x - mean.astype(np.float64)) / np.sqrt(var.astype(np.float64) + 1e-5))
    np.testing.assert_allclose(affine.scale * x + affine.shift, expected + beta, rtol=1e-12)


@settings(max_examples=40)
@given(st.data())
def test_the_oracle_agrees_with_itself(data: st.DataObject) -> None:
    """Synapses listed by source, and those of one target."""
    shape = data.draw(random_graphs.image_shapes(5))
    step = data.draw(random_graphs.synapse_maps(shape))
    out_shape = step.out_shape(shape)
    source, target, weight = naive.synapses(step, shape, out_shape)
    j = data.draw(st.integers(0, int(np.prod(out_shape)) - 1))
    found = naive.incoming(step, shape, out_shape, j)
    mine = target == j
    assert sorted(zip(*found, strict=True)) == sorted(zip(source[mine], weight[mine], strict=True))
