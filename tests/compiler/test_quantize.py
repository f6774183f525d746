"""The quantiser: ranges kept, thresholds exact, proofs of no overflow that hold on real input."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import seenn_deploy as sd
from seenn_deploy import ir
from seenn_deploy.compiler.passes.quantize import MANTISSA, quantize
from seenn_deploy.errors import ModelError
from seenn_deploy.ir import bounds
from seenn_deploy.ir.fixed_point import STATE, THRESHOLD
from tests import naive_integer

PIXELS = (0.0, 1.0)


@st.composite
def networks(draw: st.DrawFn) -> ir.SpikingGraph:
    """Image, two populations with a shortcut, readout; weights and biases of any size."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    size = draw(st.sampled_from([0.01, 0.3, 5.0]))
    shape = (draw(st.integers(1, 6)), 5, 4)
    neuron = ir.Population(
        "a",
        shape,
        tau=draw(st.sampled_from([0.0, 0.5, 1.0])),
        v_threshold=draw(st.sampled_from([0.4, 1.0, 3.7])),
        reset=draw(st.sampled_from(["hard", "soft"])),
        v_init=draw(st.sampled_from([0.0, 0.2])),
        bias=(rng.normal(size=(shape[0], 1, 1)) * size * 3).astype(np.float32),
    )
    first = ir.Conv2d(
        (rng.normal(size=(shape[0], 2, 3, 3)) * size).astype(np.float32), padding=(1, 1)
    )
    second = rng.normal(size=(shape[0], shape[0], 3, 3)).astype(np.float32)
    return ir.SpikingGraph(
        [
            ir.Source("in", (2, 5, 4)),
            neuron,
            replace(neuron, name="b", bias=np.zeros((), np.float32)),
            ir.Readout("out", (3,), rng.normal(size=3).astype(np.float32)),
        ],
        [
            ir.Projection("in", "a", (first,)),
            ir.Projection("a", "b", (ir.Conv2d(second, padding=(1, 1)),)),
            ir.Projection("a", "b", (ir.Identity(),)),
            ir.Projection("b", "out", (ir.Dense(rng.normal(size=(3, 20 * shape[0]))),)),
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
        if isinstance(edge.synapses, ir.Conv2d):
            assert np.abs(weight).max() <= 127
        elif isinstance(edge.synapses, ir.Identity):
            assert 0 < abs(int(weight)) <= 255
        else:
            assert np.abs(weight).max() <= 254 and not np.any(weight % 2)
    for node, layer in zip(lowered.layers, layers, strict=True):
        if isinstance(node, ir.Population):
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
        if isinstance(before, ir.Population):
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


def one_layer(weight: np.ndarray, coding: Any = "events", **how: Any) -> ir.SpikingGraph:
    """Inputs that drive one neuron together, and a readout."""
    return ir.SpikingGraph(
        [
            ir.Source("in", (weight.shape[1], 1, 1), coding),
            ir.Population("a", (1,), **how),
            ir.Readout("out", (1,)),
        ],
        [
            ir.Projection("in", "a", (ir.Dense(weight),)),
            ir.Projection("a", "out", (ir.Dense(np.ones((1, 1))),)),
        ],
        T=4,
    )


def furthest(node: ir.Population, low: int, high: int, T: int, constant: bool) -> int:
    """The largest state in exact integers, over all currents that lie at the ends or are 0."""
    keep, keep_current = round(node.tau * 4096), round(node.tau_syn * 4096)
    threshold, taken = int(node.v_threshold) << 6, int(node.subtracted) << 6
    worst = max(-low, high) << 6
    ends = (low, 0, high)
    for currents in [(a,) * T for a in ends] if constant else product(ends, repeat=T):
        v, u = int(node.v_init), 0
        for a in currents:
            u = int(u * keep_current / 4096) + (a << 6) + int(node.bias.item())
            v = int(v * keep / 4096) + u
            worst = max(worst, abs(u), abs(v))
            if v > threshold:
                v = v - taken if node.reset == "soft" else 0
    return worst


DRIVEN: dict[str, tuple[float, dict[str, Any]]] = {
    "falls": (-2.0, {"tau": 1.0}),
    "rises": (2.0, {"tau": 0.5}),
    "is reset to below zero": (1.5, {"tau": 1.0, "reset": "soft", "reset_by": 10.0}),
    "climbs above its reset": (2.0, {"tau": 1.0, "reset": "soft", "reset_by": 0.25}),
    "starts high": (0.5, {"tau": 1.0, "v_init": 6.0}),
    "starts low": (-0.5, {"tau": 1.0, "v_init": -6.0}),
    "has a bias that hides its current": (6.0, {"tau": 0.0, "bias": np.array(-3.5)}),
    "keeps its current": (-2.0, {"tau": 0.5, "tau_syn": 0.75}),
}


@pytest.mark.parametrize("coding", ["events", "direct"])
@pytest.mark.parametrize("name", list(DRIVEN))
def test_headroom_covers_whatever_the_current_does(name: str, coding: str) -> None:
    total, how = DRIVEN[name]
    inputs = 2000 if coding == "events" else 20
    graph = one_layer(np.full((1, inputs), total / inputs), coding, **how)
    lowered, _, (layer, _) = quantize(graph, PIXELS)
    node = lowered.node("a")
    (edge,) = lowered.into("a")
    values = bounds.source_values(lowered.source, PIXELS)
    found = bounds.current(edge.synapses, values)
    assert found.size
    alike = coding == "direct" and not node.tau_syn  # rule 6 of the module: two steps say it all
    steps = 2 if alike else 4
    reached = furthest(node, found.low, found.high, steps, coding == "direct")
    assert layer.headroom_bits <= np.log2(STATE / reached) + 1e-9


def test_the_scale_leaves_room_for_what_there_can_be() -> None:
    """2000 pixels of weight 1, sent as -128/255..127/255 of their middle, which the bias undoes.

    Two steps at the lower end: 1.5 times 2000 * 128/255 must stay below 2^17.
    """
    middle = np.array(-2000 * 128 / 255)
    graph = one_layer(np.ones((1, 2000)), "direct", tau=0.5, bias=middle)
    _, _, (layer, _) = quantize(graph, PIXELS)
    assert layer.scale == STATE // 64 // (1.5 * 2000 * 128 / 255)


def test_the_scale_leaves_room_for_what_a_reset_takes() -> None:
    graph = one_layer(np.array([[1e-6]]), reset="soft", reset_by=4.0)
    lowered, _, (layer, _) = quantize(graph, PIXELS)
    assert layer.scale == THRESHOLD // 4 and lowered.node("a").reset_by == 4 * (THRESHOLD // 4)


def squared_error(weights: list[tuple[float, int, int]], scale: float) -> float:
    """Of weights with their limit and step."""
    total = 0.0
    for w, limit, step in weights:
        whole = min(max(step * round(w * scale / step), -limit), limit)
        total += (whole / scale - w) ** 2
    return total


@pytest.mark.parametrize("seed", range(8))
def test_weights_are_clipped_where_that_makes_their_error_smaller(seed: int) -> None:
    rng = np.random.default_rng(seed)
    weight = rng.standard_t(2 + seed, (3, 40))
    graph = ir.SpikingGraph(
        [ir.Source("in", (40, 1, 1)), ir.Population("a", (40,)), ir.Readout("out", (3,))],
        [
            ir.Projection("in", "a", (ir.Dense(np.eye(40)),)),
            ir.Projection("a", "out", (ir.Dense(weight),)),
        ],
        T=2,
    )
    _, unit, layers = quantize(graph, PIXELS)
    listed = [(float(w), 254, 2) for w in weight.flat]
    tried = [254 / np.abs(weight).max() * f for f in (1.0, 1.1, 1.2, 1.35, 1.5, 1.75, 2.0)]
    assert 1 / unit == pytest.approx(min(tried, key=lambda s: squared_error(listed, s)))
    assert layers[-1].scale == pytest.approx(1 / unit)


def test_a_shortcut_is_never_clipped() -> None:
    """Not even where 90000 other weights gain from it: one of 2 at a scale of up to 255 / 2."""
    weight = np.random.default_rng(0).uniform(-0.45, 0.45, (100, 100, 3, 3))
    weight[0, 0, 0, 0] = 1
    shape = (100, 1, 1)
    graph = ir.SpikingGraph(
        [
            ir.Source("in", shape),
            ir.Population("a", shape),
            ir.Population("b", shape),
            ir.Readout("out", (1,)),
        ],
        [
            ir.Projection("in", "a", (ir.Conv2d(np.ones((100, 1, 1, 1)), groups=100),)),
            ir.Projection("a", "b", (ir.Conv2d(weight, padding=(1, 1)),)),
            ir.Projection("a", "b", (ir.Identity(np.array(2.0)),)),
            ir.Projection("b", "out", (ir.Dense(np.ones((1, 100))),)),
        ],
        T=1,
    )
    lowered, _, layers = quantize(graph, PIXELS)
    shortcut = next(e.synapses for e in lowered.into("b") if isinstance(e.synapses, ir.Identity))
    assert int(shortcut.weight) == round(2 * layers[1].scale)


def test_a_bias_of_the_readout_is_a_whole_number_of_24_bits() -> None:
    graph = ir.SpikingGraph(
        [
            ir.Source("in", (1, 1, 1)),
            ir.Population("a", (1,)),
            ir.Readout("out", (1,), np.array([1000.0])),
        ],
        [
            ir.Projection("in", "a", (ir.Dense(np.ones((1, 1))),)),
            ir.Projection("a", "out", (ir.Dense(np.full((1, 1), 0.01)),)),
        ],
        T=1,
    )
    lowered, unit, _ = quantize(graph, PIXELS)
    assert unit == pytest.approx(1000 / STATE) and lowered.readout.bias.tolist() == [STATE]


def test_what_rounding_did_is_told() -> None:
    """Weights 2 and 0.501 at a scale of 127 a pixel value: 254 and 63.627, even 64."""
    synapses = ir.Sparse(np.array([0, 1, 2]), np.zeros(2, np.int32), np.array([2.0, 0.501]), (1,))
    graph = ir.SpikingGraph(
        [
            ir.Source("in", (2, 1, 1)),
            ir.Population("a", (1,), tau=0.0, v_threshold=2.0),
            ir.Readout("out", (1,)),
        ],
        [
            ir.Projection("in", "a", (synapses,)),
            ir.Projection("a", "out", (ir.Dense(np.ones((1, 1))),)),
        ],
        T=1,
    )
    _, _, (layer, _) = quantize(graph, PIXELS)
    assert (layer.scale, layer.threshold) == (127 * 255, 2 * 127 * 255)
    assert (layer.largest_weight, layer.clipped_weights) == (254, 0)
    assert layer.worst_rounding == pytest.approx((64 - 0.501 * 127) / 127 / 2)


def test_leaks_and_biases_are_rounded_as_told() -> None:
    bias = 4095 / (127 * 64)
    how = {"tau": 0.5, "tau_syn": 0.3, "bias": np.array(bias)}
    lowered, _, (layer, _) = quantize(one_layer(np.array([[2.0]]), **how), PIXELS)
    node = lowered.node("a")
    assert layer.scale == 127 and (node.tau, node.tau_syn) == (0.5, 1229 / 4096)
    assert layer.leak_rounding == pytest.approx(1229 / 4096 - 0.3)
    assert (layer.bias_exponent, node.bias.item()) == (0, 4095)


def test_a_weight_that_rounds_to_the_limit_is_not_clipped() -> None:
    """1000 weights that 1.1 times the scale holds exactly; at that scale 1 is cut, 254.3 is not."""
    scale = 254 * 1.1
    weight = np.array([1.0, 254.3 / scale, *[12 / scale] * 1000])
    graph = ir.SpikingGraph(
        [
            ir.Source("in", (1002, 1, 1), "events"),
            ir.Population("a", (1002, 1, 1)),
            ir.Readout("out", (1,)),
        ],
        [
            ir.Projection("in", "a", (ir.Conv2d(np.ones((1002, 1, 1, 1)), groups=1002),)),
            ir.Projection("a", "out", (ir.Dense(weight[None]),)),
        ],
        T=1,
    )
    _, _, (_, layer) = quantize(graph, PIXELS)
    assert layer.scale == pytest.approx(scale)
    assert (layer.largest_weight, layer.clipped_weights) == (254, 1)
    assert layer.worst_rounding == pytest.approx(0.3 / scale)


def test_integer_logits_are_near_the_float_ones() -> None:
    rng = np.random.default_rng(5)
    graph = ir.SpikingGraph(
        [ir.Source("in", (1, 8, 8)), ir.Population("a", (16, 8, 8)), ir.Readout("out", (4,))],
        [
            ir.Projection("in", "a", (ir.Conv2d(rng.normal(size=(16, 1, 3, 3)), padding=(1, 1)),)),
            ir.Projection("a", "out", (ir.Dense(rng.normal(size=(4, 1024)) / 32),)),
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
    graph = ir.SpikingGraph(
        [
            ir.Source("in", (1, 2, 2)),
            ir.Population("a", (1, 2, 2), **change),
            ir.Readout("out", (2,)),
        ],
        [
            ir.Projection("in", "a", (ir.Conv2d(np.ones((1, 1, 1, 1))),)),
            ir.Projection("a", "out", (ir.Dense(np.ones((2, 4))),)),
        ],
        T=1,
    )
    with pytest.raises(ModelError, match=f"a: {message}"):
        quantize(graph, PIXELS)


@pytest.mark.parametrize("threshold", [0.0, -0.5, np.array([1.0, -0.5, 1.0, 1.0])])
def test_a_threshold_that_is_not_above_0_has_no_integer_form(threshold: ir.Parameter) -> None:
    nodes = [
        ir.Source("input", (2, 1, 1), input_range=(0.0, 1.0)),
        ir.Population("a", (4,), v_threshold=threshold),
        ir.Readout("out", (3,)),
    ]
    edges = [
        ir.Projection("input", "a", (ir.Dense(np.ones((4, 2))),)),
        ir.Projection("a", "out", (ir.Dense(np.ones((3, 4))),)),
    ]
    with pytest.raises(ModelError, match=r"a: its threshold -?[\d.]+ is not above 0"):
        sd.compile(ir.SpikingGraph(nodes, edges, 2), precision="int8")


def test_sparse_synapses_of_the_image_leave_room_for_their_sum() -> None:
    """64 pixels meet in one neuron: no single weight shows how large its current can get."""
    indptr, targets = np.arange(65), np.zeros(64, np.int32)
    graph = ir.SpikingGraph(
        [ir.Source("in", (1, 8, 8)), ir.Population("a", (1,)), ir.Readout("out", (2,))],
        [
            ir.Projection("in", "a", (ir.Sparse(indptr, targets, np.full(64, 3.0), (1,)),)),
            ir.Projection("a", "out", (ir.Dense(np.ones((2, 1))),)),
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
    assert (values.size, bounds.Interval(-5, 3).size) == (3, 5)
    weight = np.array([[1, -2, 4], [0, 5, -1]], np.int16)
    assert bounds.current(ir.Dense(weight), values) == bounds.Interval(-16, 19)
    sparse = ir.Sparse(np.array([0, 2, 3]), np.array([0, 1, 0]), np.array([3, -1, 2]), (2,))
    assert bounds.current(sparse, values) == bounds.Interval(-10, 15)
    assert bounds.current(ir.Identity(np.array(-4)), values) == bounds.Interval(-12, 8)
    assert bounds.current(ir.Conv2d(np.ones((2, 1, 2, 2))), bounds.SPIKE) == bounds.Interval(0, 4)
    above = bounds.Interval(2, 3)  # a neuron at the border meets only a part of its kernel
    assert bounds.current(ir.Dense(weight), above) == bounds.Interval(-6, 15)
