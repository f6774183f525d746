"""Integer programs on Lava's fixed_pt models against the slow oracle: equal, bit for bit."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from seenn_deploy.ir.graph import Population
from seenn_deploy.ir.program import Program, write
from seenn_deploy.targets.base import DeviceRun
from seenn_deploy.targets.devices import run
from seenn_deploy.verification.verify import wrong_latencies
from tests import naive_integer, random_graphs
from tests.targets.lava import graphs, integer_graphs


def on_lava(program: Program, folder: Path, images: np.ndarray, **wanted: bool) -> DeviceRun:
    folder.mkdir(exist_ok=True)
    write("lava", program, folder)
    return run(folder, images, record=True, timeout=120, **wanted)


def assert_equals_oracle(
    ran: DeviceRun, program: Program, images: np.ndarray, until: np.ndarray | None = None
) -> naive_integer.Trace:
    """Spikes, potentials and logits of steps 1..until, by default T."""
    trace = naive_integer.run(program.graph, images)
    assert ran.integer_logits is not None
    for n in range(len(images)):
        end = program.T if until is None else int(until[n])
        for node in program.graph.layers:
            if isinstance(node, Population):
                spikes, v = trace.outputs[node.name][n], trace.membrane[node.name][n]
                assert np.array_equal(ran.spikes[node.name][n, :end], spikes[:end] > 0), node.name
                assert np.array_equal(ran.v[node.name][n, :end], v[:end]), node.name
                assert not ran.spikes[node.name][n, end:].any()
        assert np.array_equal(ran.integer_logits[n, :end], trace.logits[n, :end])
        assert np.array_equal(ran.logits[n, :end], trace.logits[n, :end] * program.logit_scale)
        assert np.isnan(ran.logits[n, end:]).all()
    return trace


@pytest.mark.parametrize(
    ("coding", "extreme", "schedule"),
    [("direct", True, "speculative"), ("events", False, "gated"), ("events", True, "pipelined")],
)
def test_every_kind_of_synapse_and_neuron(
    tmp_path: Path, coding: str, extreme: bool, schedule: Any
) -> None:
    rng = np.random.default_rng(7)
    graph = integer_graphs.integers(graphs.everything(coding), rng, extreme)
    program = integer_graphs.program(graph).with_schedule(schedule)
    images = 2 * graphs.images(graph, 3) - 1
    ran = on_lava(program, tmp_path, images, full_trace=True)
    trace = assert_equals_oracle(ran, program, images)
    if extreme:
        assert trace.wrapped > 0
        assert trace.clipped > 0
    rates = [spikes.mean() for spikes in ran.spikes.values()]
    assert sum(0 < rate < 1 for rate in rates) >= 5, "the neurons prove nothing"
    assert wrong_latencies(program, ran, full_trace=True) == 0


@settings(max_examples=3, derandomize=True, phases=[Phase.generate])
@given(
    example=random_graphs.examples(largest=5, plain=True),
    seed=st.integers(0, 99),
    extreme=st.booleans(),
)
def test_random_graphs(
    tmp_path_factory: pytest.TempPathFactory,
    example: random_graphs.Example,
    seed: int,
    extreme: bool,
) -> None:
    graph = integer_graphs.integers(example.graph, np.random.default_rng(seed), extreme)
    program = graphs.in_time(integer_graphs.program(graph))
    ran = on_lava(program, tmp_path_factory.mktemp("bundle"), example.images, full_trace=True)
    assert_equals_oracle(ran, program, example.images)


def test_a_convolution_that_lava_cannot_hold_keeps_its_odd_weights(tmp_path: Path) -> None:
    program = replace(integer_graphs.program(integer_graphs.grouped()), input_range=(-1, 1))
    images = graphs.images(program.graph, 2)
    ran = on_lava(program, tmp_path, images)
    assert_equals_oracle(ran, program, images)
    assert 0 < ran.spikes["wide"].mean() < 1
