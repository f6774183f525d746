"""The simulator against the naive oracle: spikes, logits and every count, equal to the last bit."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seenn_deploy import ir
from seenn_deploy.compiler.passes import balance_delays
from seenn_deploy.errors import DataError
from seenn_deploy.exits.confidence import Confidence
from seenn_deploy.exits.fixed import Fixed
from seenn_deploy.simulator.engine import simulate
from seenn_deploy.simulator.result import RunResult
from tests import naive, random_graphs
from tests.random_graphs import Example


def assert_counts(run: RunResult, counts: dict[str, np.ndarray], layers: list[str]) -> None:
    """Every count of every sample, layer and step."""
    place = [layers.index(name) for name in run.layers]
    assert sorted(place) == list(range(len(layers)))
    for name in naive.COUNTS:
        found = getattr(run.counts, name)
        assert found.dtype == np.int64
        np.testing.assert_array_equal(found, counts[name][:, place], err_msg=name)


def assert_same_run(a: RunResult, b: RunResult) -> None:
    np.testing.assert_array_equal(a.logits, b.logits)
    np.testing.assert_array_equal(a.exit_step, b.exit_step)
    assert a.layers == b.layers
    for name in naive.COUNTS:
        np.testing.assert_array_equal(getattr(a.counts, name), getattr(b.counts, name))
    for name, spikes in a.spikes.items():
        np.testing.assert_array_equal(spikes, b.spikes[name])


def check_full_trace(example: Example, first_layer: Any) -> None:
    program = ir.Program(example.graph, Fixed())
    run = simulate(program, example.images, record=True, full_trace=True, first_layer=first_layer)
    want = naive.run(example.graph, example.images, first_layer=first_layer)
    populations = [n.name for n in example.graph.layers if isinstance(n, ir.Population)]
    assert sorted(run.spikes) == sorted(populations)
    for name in populations:
        assert run.spikes[name].dtype == np.bool_
        np.testing.assert_array_equal(run.spikes[name], want.outputs[name] != 0, err_msg=name)
    np.testing.assert_array_equal(run.logits, want.logits)
    assert run.logits.dtype == np.float64
    assert_counts(run, want.counts, want.layers)
    np.testing.assert_array_equal(run.exit_step, program.T)


@settings(max_examples=150)
@given(random_graphs.examples(real=True), st.sampled_from(["once", "every_step"]))
def test_spikes_logits_and_counts_equal_the_naive_oracle(
    example: Example, first_layer: str
) -> None:
    check_full_trace(example, first_layer)


@pytest.mark.nojit
@settings(max_examples=20)
@given(random_graphs.examples(largest=4, populations=2, samples=2, real=True))
def test_the_same_without_compiled_kernels(example: Example) -> None:
    check_full_trace(example, "once")


@pytest.mark.nojit
@settings(max_examples=5)
@given(random_graphs.examples(largest=3, populations=2), st.floats(0.3, 0.99))
def test_exits_without_compiled_kernels(example: Example, alpha: float) -> None:
    check_exits(example, alpha)


def check_exits(example: Example, alpha: float) -> None:
    """A sample that exits costs nothing afterwards, and its logits end there."""
    run = simulate(ir.Program(example.graph, Confidence(alpha)), example.images, record=True)
    want = naive.run(example.graph, example.images)
    exits = np.array([naive.exit_step(z, alpha) for z in want.logits])
    np.testing.assert_array_equal(run.exit_step, exits)
    assert_counts(run, naive.until_exit(want.counts, exits), want.layers)
    for n, stop in enumerate(exits):
        np.testing.assert_array_equal(run.logits[n, :stop], want.logits[n, :stop])
        assert np.isnan(run.logits[n, stop:]).all()
        assert run.prediction[n] == np.argmax(want.logits[n, stop - 1])
        for name, spikes in run.spikes.items():
            np.testing.assert_array_equal(spikes[n, :stop], want.outputs[name][n, :stop] != 0)
            assert not spikes[n, stop:].any()


@settings(max_examples=80)
@given(random_graphs.examples(samples=6), st.floats(0.3, 0.99))
def test_a_sample_that_exits_costs_nothing_afterwards(example: Example, alpha: float) -> None:
    check_exits(example, alpha)


@settings(max_examples=30)
@given(random_graphs.examples(), st.floats(0.3, 0.99))
def test_a_full_trace_says_where_it_would_have_stopped(example: Example, alpha: float) -> None:
    program = ir.Program(example.graph, Confidence(alpha))
    full = simulate(program, example.images, full_trace=True)
    cut = simulate(program, example.images)
    np.testing.assert_array_equal(full.exit_step, cut.exit_step)
    np.testing.assert_array_equal(full.prediction, cut.prediction)
    assert not np.isnan(full.logits).any()


@settings(max_examples=30)
@given(
    random_graphs.examples(samples=7),
    st.floats(0.3, 0.99),
    st.integers(1, 4),
    st.integers(1, 9),
)
def test_results_do_not_depend_on_threads_and_slots(
    example: Example, alpha: float, threads: int, slots: int
) -> None:
    program = ir.Program(example.graph, Confidence(alpha))
    alone = simulate(program, example.images, record=True, threads=1, slots=1)
    other = simulate(program, example.images, record=True, threads=threads, slots=slots)
    assert_same_run(alone, other)


@settings(max_examples=20)
@given(random_graphs.examples(samples=6), st.floats(0.3, 0.99), st.integers(1, 6))
def test_results_do_not_depend_on_the_batch(example: Example, alpha: float, size: int) -> None:
    program = ir.Program(example.graph, Confidence(alpha))
    whole = simulate(program, example.images)
    for start in range(0, len(example.images), size):
        part = simulate(program, example.images[start : start + size])
        here = slice(start, start + size)
        np.testing.assert_array_equal(part.logits, whole.logits[here])
        np.testing.assert_array_equal(part.exit_step, whole.exit_step[here])
        for name in naive.COUNTS:
            np.testing.assert_array_equal(
                getattr(part.counts, name), getattr(whole.counts, name)[here]
            )


def test_a_spike_at_the_border_meets_fewer_synapses() -> None:
    """One event in the corner of 3x3, kernel 3x3, padding 1: 4 synapses; in the middle: 9."""
    graph = ir.SpikingGraph(
        [
            ir.Source("input", (1, 3, 3), "events"),
            ir.Population("p", (1, 3, 3)),
            ir.Readout("out", (1,)),
        ],
        [
            ir.Projection(
                "input", "p", (ir.Conv2d(np.zeros((1, 1, 3, 3), np.float32), padding=(1, 1)),)
            ),
            ir.Projection("p", "out", (ir.Dense(np.zeros((1, 9), np.float32)),)),
        ],
        T=2,
    )
    frames = np.zeros((1, 2, 1, 3, 3), np.float32)
    frames[0, 0, 0, 0, 0] = frames[0, 1, 0, 1, 1] = 1
    run = simulate(ir.Program(graph, Fixed()), frames)
    np.testing.assert_array_equal(run.counts.ac[0, 0], [4, 9])
    np.testing.assert_array_equal(run.counts.ac_effective[0], 0)
    frames *= 2  # graded now, so the same synapses multiply
    run = simulate(ir.Program(graph, Fixed()), frames)
    np.testing.assert_array_equal(run.counts.ac[0], 0)
    np.testing.assert_array_equal(run.counts.mac[0, 0], [4, 9])


def test_two_edges_from_the_image_into_one_layer() -> None:
    graph = ir.SpikingGraph(
        [ir.Source("input", (2, 1, 1)), ir.Population("p", (1,)), ir.Readout("out", (1,))],
        [
            ir.Projection("input", "p", (ir.Dense(np.float32([[1.0, 0.0]])),)),
            ir.Projection("input", "p", (ir.Dense(np.float32([[0.0, 0.25]])),)),
            ir.Projection("p", "out", (ir.Dense(np.float32([[1.0]])),)),
        ],
        T=2,
    )
    for image, spikes in (([1, 0.5], [1, 1]), ([0.75, 1], [0, 1]), ([0, 4], [0, 1])):
        run = simulate(
            ir.Program(graph, Fixed()), np.float32(image).reshape(1, 2, 1, 1), record=True
        )
        np.testing.assert_array_equal(run.spikes["p"].ravel(), spikes)
        np.testing.assert_array_equal(run.counts.mac[0, 0], [2 * np.count_nonzero(image), 0])


def test_one_graded_value_does_not_turn_its_neighbours_into_macs() -> None:
    graph = ir.SpikingGraph(
        [ir.Source("input", (4, 1, 1), "events"), ir.Readout("out", (5,))],
        [ir.Projection("input", "out", (ir.Dense(np.ones((5, 4), np.float32)),))],
        T=1,
    )
    frames = np.float32([1, -1, 0.5, 0]).reshape(1, 1, 4, 1, 1)
    run = simulate(ir.Program(graph, Fixed()), frames)
    assert (run.counts.ac[0, 0, 0], run.counts.mac[0, 0, 0]) == (10, 5)


@settings(max_examples=5)
@given(random_graphs.examples(samples=7))
def test_progress_counts_every_sample(example: Example) -> None:
    seen: list[int] = []
    simulate(ir.Program(example.graph, Fixed()), example.images, progress=seen.append)
    assert sum(seen) == len(example.images)


@settings(max_examples=1)
@given(random_graphs.examples())
def test_first_layer_must_be_known(example: Example) -> None:
    with pytest.raises(DataError, match="first_layer = 'twice'"):
        simulate(ir.Program(example.graph, Fixed()), example.images, first_layer="twice")


@settings(max_examples=10)
@given(random_graphs.examples(samples=3))
def test_a_saved_program_runs_the_same(example: Example) -> None:
    program = ir.Program(balance_delays.apply(example.graph), Confidence(0.6))
    with TemporaryDirectory() as folder:
        program.save(Path(folder) / "build")
        loaded = ir.Program.load(Path(folder) / "build")
    assert_same_run(simulate(program, example.images), simulate(loaded, example.images))
