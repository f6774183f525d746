"""The input of an integer program: real values in steps, whole numbers as they are, pixels."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import seenn_deploy as sd
from seenn_deploy import ir
from seenn_deploy.compiler.passes import activity, balance_delays
from seenn_deploy.errors import DataError, DataWarning, ModelError, ProgramError
from seenn_deploy.fidelity import RefusedError
from seenn_deploy.ir.inputs import for_program
from tests import naive, naive_integer, random_graphs

T = 5


def speech(real_range: Any = None, coding: Any = "events", **how: Any) -> ir.SpikingGraph:
    """Four real values a timestep, ten neurons in a loop, three classes."""
    rng = np.random.default_rng(0)
    dense = (rng.normal(size=shape).astype(np.float32) for shape in ((10, 4), (10, 10), (3, 10)))
    first, loop, last = (ir.Dense(weight) for weight in dense)
    return ir.SpikingGraph(
        [
            ir.Source("in", (4, 1, 1), coding, real_range=real_range, **how),
            ir.Population("a", (10,)),
            ir.Readout("out", (3,)),
        ],
        [
            ir.Projection("in", "a", (first,)),
            ir.Projection("a", "a", (loop,), lag=1),
            ir.Projection("a", "out", (last,)),
        ],
        T=T,
    )


def frames(seed: int, n: int = 6, size: float = 1.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (size * rng.normal(size=(n, T, 4, 1, 1))).astype(np.float32)


@settings(max_examples=40, deadline=None)
@given(
    low=st.floats(-20, 3),
    width=st.floats(0.01, 40),
    size=st.floats(0.1, 10),
    seed=st.integers(0, 2**16),
)
def test_real_values_are_steps_over_their_range_and_clipped_beyond(
    low: float, width: float, size: float, seed: int
) -> None:
    program = sd.compile(speech(), precision="int8", input_range=(low, low + width))
    source, x = program.graph.source, frames(seed, 2, size)
    ends = min(low, 0.0), max(low + width, 0.0)  # zero is what a recording that ended sends
    assert source.input_range == program.input_range == pytest.approx(ends)
    parts = 255 / (ends[1] - ends[0]) / source.scale
    assert parts == pytest.approx(round(parts)) and round(parts) in (1, 2, 4, 8, 16)
    kept = np.clip(x, *np.float32(ends))
    assert np.abs(np.rint(kept * source.scale) / source.scale - kept).max() <= 0.501 / source.scale
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        run = sd.simulate(program, x, record=True, full_trace=True)
    want = naive_integer.run(program.graph, kept)
    np.testing.assert_array_equal(run.integer_logits, want.logits)
    np.testing.assert_array_equal(run.v["a"], want.membrane["a"])
    proven = all(layer["headroom_bits"] >= 0 for layer in program.provenance["quantized"])
    assert proven and want.wrapped == want.clipped == 0 == run.counts.saturated.sum()


def test_int8_of_real_values_is_near_float32() -> None:
    """Rounded to whole numbers, as it once was, half of the predictions would be others."""
    graph, x = speech(), frames(1, 200)
    float32 = sd.simulate(sd.compile(graph), x)
    program = sd.compile(graph, precision="int8", calibration=x)
    run = sd.simulate(program, x)
    assert np.mean(run.prediction != float32.prediction) < 0.1
    (finding,) = (f for f in program.provenance.precision["findings"] if f["where"] == "in")
    assert finding["status"] == "approximated" and "real values in 32 steps" in finding["what"]
    whole = sd.simulate(sd.compile(graph), np.rint(x))
    assert np.mean(whole.prediction != float32.prediction) > 0.15


def test_whatever_the_range_real_values_are_no_whole_numbers() -> None:
    for limits in ((0.0, 255.0), (0.0, 127.5), (-7.96875, 7.96875)):
        program = sd.compile(speech(), precision="int8", input_range=limits)
        assert program.graph.source.scale != 1
        sd.simulate(program, np.full((1, T, 4, 1, 1), 0.3, np.float32))


def test_what_is_stated_is_before_samples_and_they_before_the_example() -> None:
    example, x = (-1.0, 2.0), frames(2)
    for options, limits in (
        ({}, (-2.5, 3.5)),  # twice that of the example
        ({"calibration": x}, (float(x.min()), float(x.max()))),
        ({"input_range": (-9.0, 9.0), "calibration": x}, (-9.0, 9.0)),
    ):
        program = sd.compile(speech(example), precision="int8", **options)
        assert program.input_range == pytest.approx(limits)
    spikes = (x > 0.5).astype(np.float32)
    program = sd.compile(speech(example), precision="int8", calibration=spikes)
    assert program.graph.source.scale == 1
    assert sd.compile(speech(), precision="int8").graph.source.scale == 1


def test_whole_numbers_are_never_made_silently() -> None:
    x = frames(3)
    x[0] = np.rint(x[0])
    program = sd.compile(speech(), precision="int8")
    with pytest.raises(DataError, match=r"images\[1\] holds .*; this int8 program takes whole"):
        sd.simulate(program, x)
    opened = for_program(sd.compile(speech()), x)  # for a float program, which takes them
    with pytest.raises(DataError, match="takes whole numbers, and would round"):
        sd.simulate(program, opened)
    sd.simulate(program, x[:1])


def test_clipping_is_told() -> None:
    program = sd.compile(speech(), precision="int8", input_range=(-1.0, 1.0))
    x = np.zeros((3, T, 4, 1, 1), np.float32)
    x[1, 2, 3] = 1.5
    with pytest.warns(DataWarning, match=r"images\[1\] holds 1\.5: values beyond -1\.\.1 are clip"):
        sd.simulate(program, x)


def test_pixels_need_no_normalisation() -> None:
    image = np.random.default_rng(0).random((5, 4, 1, 1), np.float32)
    graph = speech(coding="direct")
    with pytest.raises(ModelError, match="needs an input with limits; state them"):
        sd.compile(graph, precision="int8")
    for made, options in (
        (graph, {"input_range": (0.0, 1.0)}),
        (graph, {"calibration": image}),
        (speech((0.1, 0.9), "direct"), {}),
    ):
        program = sd.compile(made, precision="int8", **options)
        assert program.input_range == (0, 1) and program.graph.source.scale == 255
        run = sd.simulate(program, image, record=True, full_trace=True)
        want = naive_integer.run(program.graph, image)
        np.testing.assert_array_equal(run.integer_logits, want.logits)
        with pytest.raises(DataError, match=r"holds 2; this program takes pixels 0\.\.1, as its"):
            sd.simulate(program, image + 2 - image)
    normalised = sd.compile(graph, precision="int8", calibration=3 * image - 1)
    assert normalised.input_range == pytest.approx((float((3 * image - 1).min()), 1.98), abs=0.1)


@pytest.mark.parametrize(
    ("how", "limits", "message"),
    [
        ({}, (1.0, 0.0), r"input_range 1, 0: give two numbers, the smaller one first"),
        ({}, (0.0, np.inf), "input_range 0, inf: give two numbers"),
        ({"normalization": ((0.5,) * 4, (0.5,) * 4)}, (0.0, 1.0), "normalisation is part of this"),
    ],
)
def test_ranges_that_make_no_sense(how: dict[str, Any], limits: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        sd.compile(speech(coding="direct", **how), input_range=limits)


def test_samples_that_are_none_or_for_nothing() -> None:
    with pytest.raises(DataError, match="images is object; give float32"):
        sd.compile(speech(), precision="int8", calibration=object())
    with pytest.raises(ProgramError, match="calibration is for the scales of int8"):
        sd.compile(speech(), calibration=frames(0))


def test_a_range_holds_for_a_float_program_too() -> None:
    program = sd.compile(speech(), input_range=(-1.0, 1.0))
    with pytest.raises(DataError, match=r"this program takes values -1\.\.1"):
        sd.simulate(program, frames(4, size=9))


def test_strict_refuses_int8_unless_it_is_allowed() -> None:
    graph = speech((-1.0, 1.0))
    for allow in ([], ["in", "a"], ["int9"]):
        with pytest.raises(RefusedError, match=r"^int8: .* strict takes no approximation"):
            sd.compile(graph, precision="int8", strict=True, allow=allow)
    for allow in (["int8"], ["in", "a", "out"]):
        sd.compile(graph, precision="int8", strict=True, allow=allow)
    sd.compile(graph, strict=True)  # nothing is approximated in float32


@settings(max_examples=40, deadline=None)
@given(random_graphs.examples())
def test_activity_is_what_the_oracle_sends(example: random_graphs.Example) -> None:
    graph = balance_delays.apply(example.graph)
    found = activity.sent(graph, for_program(sd.Program(graph, sd.exits.Fixed()), example.images))
    want = naive.run(graph, example.images)
    for name, sent in want.outputs.items():
        np.testing.assert_array_equal(found[name], sent)


def test_samples_choose_a_scale_that_weights_alone_would_not() -> None:
    """The largest weight is of an input that never spikes, so that it may well be clipped."""
    weight = np.array([[2.0, 0.31, -0.17, 0.53]], np.float32)
    graph = speech().replace(
        [ir.Source("in", (4, 1, 1), "events"), ir.Population("a", (1,)), ir.Readout("out", (3,))],
        [
            ir.Projection("in", "a", (ir.Dense(weight),)),
            ir.Projection("a", "out", (ir.Dense(np.ones((3, 1), np.float32)),)),
        ],
    )
    x = np.random.default_rng(0).integers(0, 2, (8, T, 4, 1, 1)).astype(np.float32)
    x[:, :, 0] = 0
    alone = sd.compile(graph, precision="int8").provenance["quantized"][0]
    asked = sd.compile(graph, precision="int8", calibration=x).provenance["quantized"][0]
    assert (alone["calibrated"], alone["clipped_weights"]) == (False, 0)
    assert asked["calibrated"] and asked["clipped_weights"] == 1

    def error(scale: float) -> float:
        kept = 2 * np.clip(np.rint(weight * scale / 2), -127, 127) / scale
        return float((((kept - weight) @ x[..., 0, 0].reshape(-1, 4).T) ** 2).mean())

    assert error(asked["scale"]) < error(alone["scale"])


def test_wasted_levels_are_told() -> None:
    big = replace(speech().populations[0], bias=np.full((10,), 3000.0, np.float32))
    graph = speech((-1.0, 1.0))
    program = sd.compile(
        graph.replace([graph.source, big, graph.readout]), precision="int8", input_range=(-9.0, 9.0)
    )
    layer = program.provenance["quantized"][0]
    assert layer["limited_by"] == "bias" and layer["largest_weight"] * 4 < layer["levels"] == 254
    said = f"a uses {layer['largest_weight']} of 254 levels: its bias is large"
    assert layer["advice"].startswith(said)
    few = sd.compile(graph, precision="int8").provenance["quantized"]
    assert [layer["advice"] for layer in few] == ["", ""]
