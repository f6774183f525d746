"""The quantiser: ranges kept, thresholds exact, proofs of no overflow that hold on real input."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import seenn_deploy as sd
from seenn_deploy.compiler import bounds
from seenn_deploy.compiler.quantize import MANTISSA, STATE, THRESHOLD, quantize
from seenn_deploy.errors import ModelError
from seenn_deploy.graph import (
    Conv2d,
    Dense,
    Identity,
    Population,
    Projection,
    Readout,
    Source,
    Sparse,
    SpikingGraph,
)
from tests import naive_integer

PIXELS = (0.0, 1.0)


@st.composite
def networks(draw: st.DrawFn) -> SpikingGraph:
    """Image, two populations with a shortcut, readout; weights and biases of any size."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    size = draw(st.sampled_from([0.01, 0.3, 5.0]))
    shape = (draw(st.integers(1, 6)), 5, 4)
    neuron = Population(
        "a",
        shape,
        tau=draw(st.sampled_from([0.0, 0.5, 1.0])),
        v_threshold=draw(st.sampled_from([0.4, 1.0, 3.7])),
        reset=draw(st.sampled_from(["hard", "soft"])),
        v_init=draw(st.sampled_from([0.0, 0.2])),
        bias=(rng.normal(size=(shape[0], 1, 1)) * size * 3).astype(np.float32),
    )
    first = Conv2d((rng.normal(size=(shape[0], 2, 3, 3)) * size).astype(np.float32), padding=(1, 1))
    second = rng.normal(size=(shape[0], shape[0], 3, 3)).astype(np.float32)
    return SpikingGraph(
        [
            Source("in", (2, 5, 4)),
            neuron,
            replace(neuron, name="b", bias=np.zeros((), np.float32)),
            Readout("out", (3,), rng.normal(size=3).astype(np.float32)),
        ],
        [
            Projection("in", "a", (first,)),
            Projection("a", "b", (Conv2d(second, padding=(1, 1)),)),
            Projection("a", "b", (Identity(),)),
            Projection("b", "out", (Dense(rng.normal(size=(3, 20 * shape[0]))),)),
        ],
        T=3,
    )


@settings(max_examples=60, deadline=None)
@given(networks())
def test_every_number_fits_its_field(graph) -> None:
    lowered, unit, layers = quantize(graph, PIXELS)
    assert unit > 0
    for edge in lowered.projections:
        weight = edge.synapses.weight.astype(np.int64)
        if isinstance(edge.synapses, Conv2d):
            assert np.abs(weight).max() <= 127
        elif isinstance(edge.synapses, Identity):
            assert 0 < abs(int(weight)) <= 255
        else:
            assert np.abs(weight).max() <= 254 and not np.any(weight % 2)
    for node, layer in zip(lowered.layers, layers, strict=True):
        if isinstance(node, Population):
            assert 1 <= node.v_threshold <= THRESHOLD
            mantissa = node.bias >> layer.bias_exponent
            assert np.array_equal(mantissa << layer.bias_exponent, node.bias)
            assert np.abs(mantissa).max() <= MANTISSA
            assert 0 <= layer.bias_exponent <= 7


@settings(max_examples=60, deadline=None)
@given(networks())
def test_threshold_is_exact(graph) -> None:
    lowered, _, layers = quantize(graph, PIXELS)
    for before, after, layer in zip(graph.layers, lowered.layers, layers, strict=True):
        if isinstance(before, Population):
            assert after.v_threshold == pytest.approx(before.v_threshold * layer.scale, abs=1e-6)


@settings(max_examples=40, deadline=None)
@given(networks(), st.integers(0, 2**32 - 1))
def test_what_is_proven_holds(graph, seed) -> None:
    """Inputs at the corners of the range drive currents as far as they go."""
    lowered, _, layers = quantize(graph, PIXELS)
    images = np.random.default_rng(seed).integers(0, 2, (4, 2, 5, 4)).astype(np.float32)
    trace = naive_integer.run(lowered, images)
    for layer in layers:
        if layer.threshold and layer.proven:
            assert np.abs(trace.before_reset[layer.name]).max() <= STATE
            assert np.abs(trace.currents[layer.name] * 64).max() <= STATE
    if all(layer.proven for layer in layers):
        assert trace.wrapped == trace.clipped == 0


def test_integer_logits_are_near_the_float_ones() -> None:
    rng = np.random.default_rng(5)
    graph = SpikingGraph(
        [Source("in", (1, 8, 8)), Population("a", (16, 8, 8)), Readout("out", (4,))],
        [
            Projection("in", "a", (Conv2d(rng.normal(size=(16, 1, 3, 3)), padding=(1, 1)),)),
            Projection("a", "out", (Dense(rng.normal(size=(4, 1024)) / 32),)),
        ],
        T=4,
    )
    graph = graph.replace([replace(graph.source), *graph.layers])
    program = sd.compile(graph, sd.exits.Fixed())
    program = replace(program, input_range=PIXELS)
    lowered, unit, layers = quantize(program.graph, PIXELS)
    integer = sd.Program(
        lowered, sd.exits.Fixed(), precision="int8", input_range=PIXELS, logit_scale=unit
    )
    images = rng.random((20, 1, 8, 8)).astype(np.float32)
    a = sd.simulate(program, images, record=True)
    b = sd.simulate(integer, images, record=True)
    assert all(layer.proven for layer in layers)
    changed = np.mean(a.spikes["a"] != b.spikes["a"])
    assert changed < 0.01
    assert np.abs(a.logits - b.logits).mean() < 0.1
    np.testing.assert_allclose(b.logits, b.integer_logits * unit, rtol=1e-6)


def test_the_example_is_proven_and_centred() -> None:
    graph = sd.import_model("examples/seenn_resnet19_w1_T4_c10.pth")
    program = sd.compile(graph, precision="int8")
    assert program.graph.source.offset == 128 / 255
    assert program.graph.source.scale == 255
    assert all(layer["headroom_bits"] >= 0 for layer in program.provenance["quantized"])


def test_integer_program_survives_the_disk(tmp_path) -> None:
    graph = sd.import_model("examples/seenn_resnet19_w1_T4_c10.pth")
    program = sd.compile(graph, precision="int8")
    program.save(tmp_path / "p")
    loaded = sd.Program.load(tmp_path / "p")
    assert loaded.fingerprint == program.fingerprint
    assert loaded.logit_scale == program.logit_scale
    images = np.random.default_rng(0).random((4, 3, 32, 32)).astype(np.float32)
    a, b = sd.simulate(program, images), sd.simulate(loaded, images)
    np.testing.assert_array_equal(a.logits, b.logits)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"v_threshold": 1e-7}, "its threshold 1e-07 would be 0 at the scale"),
    ],
)
def test_what_has_no_integer_form_is_named(change, message) -> None:
    graph = SpikingGraph(
        [Source("in", (1, 2, 2)), Population("a", (1, 2, 2), **change), Readout("out", (2,))],
        [
            Projection("in", "a", (Conv2d(np.ones((1, 1, 1, 1))),)),
            Projection("a", "out", (Dense(np.ones((2, 4))),)),
        ],
        T=1,
    )
    with pytest.raises(ModelError, match=f"a: {message}"):
        quantize(graph, PIXELS)


def test_sparse_synapses_of_the_image_leave_room_for_their_sum() -> None:
    """64 pixels meet in one neuron: no single weight shows how large its current can get."""
    indptr, targets = np.arange(65), np.zeros(64, np.int32)
    graph = SpikingGraph(
        [Source("in", (1, 8, 8)), Population("a", (1,)), Readout("out", (2,))],
        [
            Projection("in", "a", (Sparse(indptr, targets, np.full(64, 3.0), (1,)),)),
            Projection("a", "out", (Dense(np.ones((2, 1))),)),
        ],
        T=2,
    )
    _, _, layers = quantize(graph, PIXELS)
    assert all(layer.proven for layer in layers)


def test_an_input_without_limits_is_refused() -> None:
    graph = sd.import_model("examples/seenn_resnet19_w1_T4_c10.pth", normalize=False)
    with pytest.raises(ModelError, match="needs an input with limits"):
        sd.compile(graph, precision="int8")


def test_bounds_cover_every_kind_of_synapse() -> None:
    values = bounds.Interval(-2, 3)
    weight = np.array([[1, -2, 4], [0, 5, -1]], np.int16)
    assert bounds.current(Dense(weight), values) == bounds.Interval(-16, 19)
    sparse = Sparse(np.array([0, 2, 3]), np.array([0, 1, 0]), np.array([3, -1, 2]), (2,))
    assert bounds.current(sparse, values) == bounds.Interval(-10, 15)
    assert bounds.current(Identity(np.array(-4)), values) == bounds.Interval(-12, 8)
    assert bounds.current(Conv2d(np.ones((2, 1, 2, 2))), bounds.SPIKE) == bounds.Interval(0, 4)
