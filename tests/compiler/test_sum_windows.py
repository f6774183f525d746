"""Averages of spikes that no layer can take up become sums, with the same logits."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import seenn_deploy as sd
from seenn_deploy import ir
from tests import naive

SIZES = st.sampled_from([1, 2])  # and shares that floats hold exactly


def network(
    seed: int, stride: tuple[int, int], pad: int, weights: Any = None, bias: Any = 0.0
) -> ir.SpikingGraph:
    """Spikes, windows of 2x2 whose average a relay sends on, a padded convolution and classes."""
    rng = np.random.default_rng(seed)
    window = ir.Conv2d(
        np.full((3, 1, 2, 2), 0.25) if weights is None else weights, stride, (pad, pad), groups=3
    )
    shape = window.out_shape((3, 6, 5))
    first = ir.Conv2d(rng.integers(-32, 33, (3, 2, 3, 3)) / 32, padding=(1, 1))
    second = ir.Conv2d(rng.integers(-16, 17, (4, 3, 3, 3)) / 16, padding=(1, 1))
    last = ir.Dense(rng.integers(-16, 17, (4, 4 * int(np.prod(shape[1:])))) / 16)
    nodes = [
        ir.Source("input", (2, 6, 5), "events"),
        ir.Population("a", (3, 6, 5), tau=0.5, v_threshold=0.5),
        ir.Relay("mean", shape, np.asarray(bias, np.float32), before=shape[1:]),
        ir.Population("b", (4, *shape[1:]), v_threshold=0.25),
        ir.Readout("out", (4,), np.zeros(4)),
    ]
    edges = [
        ir.Projection("input", "a", (first,)),
        ir.Projection("a", "mean", (window,)),
        ir.Projection("mean", "b", (second,)),
        ir.Projection("b", "out", (last,)),
    ]
    return ir.SpikingGraph(nodes, edges, T=3)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**16), st.tuples(SIZES, SIZES), st.integers(0, 1))
def test_the_same_logits_and_a_form_in_int8(seed: int, stride: Any, pad: int) -> None:
    graph = network(seed, stride, pad)
    frames = np.random.default_rng(seed).integers(0, 2, (3, 3, 2, 6, 5)).astype(np.float32)
    program = sd.compile(graph)
    assert [n.kind for n in program.graph.layers] == ["population", "sum", "population", "readout"]
    run = sd.simulate(program, frames, full_trace=True)
    np.testing.assert_array_equal(run.logits, naive.run(graph, frames).logits)
    integer = sd.compile(graph, precision="int8")
    found = [sd.simulate(integer, frames, full_trace=True, device=d) for d in (None, "cpu")]
    np.testing.assert_array_equal(found[0].logits, found[1].logits)


def test_what_is_no_average_of_spikes_stays_a_relay() -> None:
    uneven = np.full((3, 1, 2, 2), 0.25)
    uneven[0, 0, 0, 0] = 0.5
    for graph in (network(0, (1, 1), 0, uneven), network(0, (1, 1), 0, bias=np.ones((3, 1, 1)))):
        assert "relay" in [n.kind for n in sd.compile(graph).graph.layers]
