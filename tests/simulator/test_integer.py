"""Integer programs: the simulator equals the slow oracle of Lava's arithmetic, bit for bit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import seenn_deploy as sd
from seenn_deploy import ir
from seenn_deploy.simulator import layout
from seenn_deploy.simulator.kernels.vector_dense import multiplies_bytes
from seenn_deploy.simulator.synapses import Multiplying
from tests import naive_integer, random_graphs

FULL = {"record": True, "full_trace": True}


def to_integers(graph: ir.SpikingGraph, gain: int, rng: np.random.Generator) -> ir.SpikingGraph:
    """The same structure with integer arrays; a large `gain` lets currents wrap and states clip."""
    nodes = [_integer_node(node, gain, rng) for node in graph.order]
    sums = {node.name for node in nodes if isinstance(node, ir.Sum | ir.Product)}
    edges = [e if e.post in sums else _integer_edge(e, gain) for e in graph.projections]
    return graph.replace(nodes, edges)


def _integer_node(node: Any, gain: int, rng: np.random.Generator) -> Any:
    if isinstance(node, ir.Source):
        return replace(node, scale=float(rng.choice([1, 4, 255])), offset=float(rng.integers(2)))
    if isinstance(node, ir.Sum | ir.Product):
        return node
    tau = float(rng.choice([0, 0.5, 1, 1234 / 4096]))
    if not isinstance(node, ir.Population):
        bias = rng.integers(-100, 100, node.bias.shape).astype(np.int32)
        return replace(node, bias=bias, tau=tau)
    # Biases that differ within a window are whole currents.
    bias = rng.integers(-4095, 4096, node.bias.shape)
    unit = 64 if isinstance(node, ir.Maximum) and node.bias.ndim > 1 else 1
    return replace(
        node,
        tau=tau,
        reset_by=None if node.reset_by is None else int(rng.integers(1, 64 * min(gain, 2000))),
        v_threshold=int(rng.integers(1, 64 * min(gain, 2000))),
        v_init=int(rng.integers(-(2**12), 2**12)),
        bias=(bias * min(gain, 128) // unit * unit).astype(np.int32),
    )


def _integer_edge(edge: Any, gain: int) -> Any:
    small = np.int8 if isinstance(edge.synapses, ir.Conv2d) else np.int16
    weight = np.rint(edge.synapses.weight * 64 * gain).astype(small if gain == 1 else np.int32)
    return replace(edge, maps=(replace(edge.synapses, weight=weight),))


def program_of(graph: ir.SpikingGraph, images: np.ndarray, limited: bool = True) -> sd.Program:
    limits = (float(images.min()), float(images.max())) if limited else (-np.inf, np.inf)
    return sd.Program(graph, sd.exits.Fixed(), precision="int8", input_range=limits)


def assert_equal_to_oracle(program: sd.Program, images: np.ndarray) -> sd.RunResult:
    run = sd.simulate(program, images, **FULL)
    want = naive_integer.run(program.graph, images)
    for node in program.graph.layers:
        if isinstance(node, ir.Population):
            np.testing.assert_array_equal(run.spikes[node.name], want.outputs[node.name] != 0)
            np.testing.assert_array_equal(run.v[node.name], want.membrane[node.name])
    np.testing.assert_array_equal(run.integer_logits, want.logits)
    return run


@settings(max_examples=120, deadline=None)
@given(
    random_graphs.examples(),
    st.sampled_from([1, 1, 1, 40, 3000]),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
def test_equal_to_the_oracle(example, gain, limited, seed) -> None:
    graph = to_integers(example.graph, gain, np.random.default_rng(seed))
    streams = graph.source.coding == "events" and graph.source.scale == 1
    images = np.rint(example.images) if streams else example.images  # of others see below
    assert_equal_to_oracle(program_of(graph, images, limited), images)


@pytest.mark.nojit
def test_equal_to_the_oracle_without_compiled_kernels() -> None:
    rng = np.random.default_rng(3)
    conv = ir.Conv2d(rng.integers(-9, 10, (3, 1, 2, 2)).astype(np.int8), padding=(1, 1))
    graph = ir.SpikingGraph(
        [
            ir.Source("in", (1, 3, 3), scale=255.0, offset=0.5),
            ir.Population("a", (3, 4, 4), v_threshold=300, bias=np.full((3, 1, 1), 70, np.int32)),
            ir.Population("b", (3, 4, 4), tau=1.0, reset="soft", v_threshold=9, v_init=288),
            ir.Readout("out", (2,), np.zeros(2, np.int32)),
        ],
        [
            ir.Projection("in", "a", (conv,)),
            ir.Projection("a", "b", (ir.Identity(np.array(7, np.int16)),)),
            ir.Projection("b", "out", (ir.Dense(rng.integers(-20, 21, (2, 48)).astype(np.int16)),)),
        ],
        T=3,
    )
    images = rng.random((2, 1, 3, 3)).astype(np.float32)
    run = assert_equal_to_oracle(program_of(graph, images), images)
    assert run.counts.spikes.sum() > 0


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("total", [32_767, 32_768, 40_000, 65_535])
def test_currents_about_the_range_of_16_bits(total: int, sign: int) -> None:
    weight = sign * np.array([[200] * (total // 200) + [total % 200]], np.int16)
    graph = ir.SpikingGraph(
        [
            ir.Source("in", (weight.size, 1, 1), "events"),
            ir.Population("a", (1,), tau=0.0, v_threshold=131071, bias=np.zeros(1, np.int32)),
            ir.Readout("out", (1,), np.zeros(1, np.int32)),
        ],
        [
            ir.Projection("in", "a", (ir.Dense(weight),)),
            ir.Projection("a", "out", (ir.Dense(np.ones((1, 1), np.int16)),)),
        ],
        T=1,
    )
    images = np.ones((1, 1, weight.size, 1, 1), np.float32)
    program = replace(program_of(graph, images), input_range=(0.0, 1.0))
    assert assert_equal_to_oracle(program, images).v["a"].item() == sign * total << 6


@pytest.mark.parametrize("with_bytes", [True, False])
@pytest.mark.parametrize("kernel", [1, 3])
def test_wide_layers_behind_a_sum_equal_the_oracle(kernel, with_bytes, monkeypatch) -> None:
    """They multiply values as bytes, or in floats, whatever the processor has."""
    monkeypatch.setattr(layout, "multiplies_bytes", lambda: with_bytes and multiplies_bytes())
    rng, border = np.random.default_rng(kernel), (kernel // 2, kernel // 2)
    first = ir.Conv2d(rng.integers(-9, 10, (64, 3, 1, 1)).astype(np.int8))
    wide = ir.Conv2d(
        rng.integers(-128, 128, (64, 64, kernel, kernel)).astype(np.int8), padding=border
    )
    one, dense = ir.Identity(np.array(1.0)), rng.integers(-20, 21, (2, 64 * 20)).astype(np.int16)
    graph = ir.SpikingGraph(
        [
            ir.Source("in", (3, 5, 4), scale=255.0, offset=0.5),
            ir.Population("a", (64, 5, 4), tau=0.5, v_threshold=200, bias=np.array(90)),
            ir.Population("b", (64, 5, 4), tau=0.5, v_threshold=500, bias=np.array(0)),
            ir.Sum("sum", (64, 5, 4)),
            ir.Population("c", (64, 5, 4), tau=0.5, v_threshold=5000, bias=np.array(9)),
            ir.Readout("out", (2,), np.zeros(2, np.int32)),
        ],
        [
            ir.Projection("in", "a", (first,)),
            ir.Projection("a", "b", (wide,)),
            ir.Projection("a", "sum", (one,)),
            ir.Projection("b", "sum", (one,)),
            ir.Projection("sum", "c", (wide,)),
            ir.Projection("c", "out", (ir.Dense(dense),)),
        ],
        T=3,
    )
    images = rng.random((7, 3, 5, 4)).astype(np.float32)
    program = program_of(graph, images)
    found = layout.lay_out(program)[3].edges[0].accumulate
    as_bytes = with_bytes and multiplies_bytes()
    assert isinstance(found, Multiplying) and (found.bytes is not None) == as_bytes
    run = assert_equal_to_oracle(program, images)
    assert run.counts.graded.sum() > 0  # both have fired at once


def test_a_convolution_s_sum_wraps_at_24_bits() -> None:
    """288 pixels of 255 at a weight of 127 are 9326880, more than 2^23."""
    conv = ir.Conv2d(np.full((1, 32, 3, 3), 127, np.int8))
    graph = ir.SpikingGraph(
        [
            ir.Source("in", (32, 3, 3), scale=255.0),
            ir.Population("a", (1, 1, 1), tau=0.0, v_threshold=131071, bias=np.zeros(1, np.int32)),
            ir.Readout("out", (1,), np.zeros(1, np.int32)),
        ],
        [
            ir.Projection("in", "a", (conv,)),
            ir.Projection("a", "out", (ir.Dense(np.ones((1, 1), np.int16)),)),
        ],
        T=1,
    )
    images = np.ones((1, 32, 3, 3), np.float32)
    assert_equal_to_oracle(program_of(graph, images), images)


def filtering(weight: int, tau: float, tau_syn: float) -> ir.SpikingGraph:
    """One neuron with a synaptic current that an event drives, and one that nothing drives."""
    rows = np.array([[weight], [0]], np.int32)
    still = np.zeros(2, np.int32)
    return ir.SpikingGraph(
        [
            ir.Source("in", (1, 1, 1), "events"),
            ir.Population("a", (2,), tau=tau, v_threshold=131071, bias=still, tau_syn=tau_syn),
            ir.Readout("out", (1,), np.zeros(1, np.int32)),
        ],
        [
            ir.Projection("in", "a", (ir.Dense(rows),)),
            ir.Projection("a", "out", (ir.Dense(np.ones((1, 2), np.int16)),)),
        ],
        T=3,
    )


def test_a_neuron_whose_current_is_gone_is_active_while_it_has_a_potential() -> None:
    images = np.array([1, 0, 0], np.float32).reshape(1, 3, 1, 1, 1)
    run = assert_equal_to_oracle(program_of(filtering(1, 1.0, 1 / 4096), images), images)
    assert run.counts.updates_active[0, 0].tolist() == [1, 1, 1]
    assert run.v["a"][0, :, 0].tolist() == [64, 64, 64]


def test_a_synaptic_current_that_saturates_is_counted() -> None:
    """78125 << 6 is 5000000: it fits once, not twice."""
    images = np.ones((1, 3, 1, 1, 1), np.float32)
    run = assert_equal_to_oracle(program_of(filtering(-78_125, 0.0, 1.0), images), images)
    assert run.counts.saturated[0, 0].tolist() == [0, 1, 1]
    assert run.v["a"][0, :, 0].tolist() == [-5_000_000, 1 - (1 << 23), 1 - (1 << 23)]


def test_what_wraps_and_saturates_is_counted() -> None:
    """One neuron whose current wraps, one that sinks to the lowest state, one at ease."""
    graph = ir.SpikingGraph(
        [
            ir.Source("in", (3, 1, 1)),
            ir.Population("a", (3,), tau=1.0, v_threshold=131071, bias=np.zeros(3, np.int32)),
            ir.Readout("out", (1,), np.zeros(1, np.int32)),
        ],
        [
            ir.Projection(
                "in", "a", (ir.Dense(np.diag([140_000, -100_000, 100]).astype(np.int32)),)
            ),
            ir.Projection("a", "out", (ir.Dense(np.ones((1, 3), np.int16)),)),
        ],
        T=3,
    )
    images = np.ones((1, 3, 1, 1), np.float32)
    run = assert_equal_to_oracle(program_of(graph, images), images)
    # neuron 0 wraps at every step, neuron 1 saturates from the second on
    np.testing.assert_array_equal(run.counts.saturated[0, 0], [1, 2, 2])
    assert run.v["a"][0, 2, 1] == -(2**23) + 1
