"""Layers that are written down for one compiled call do what they do call by call from Python."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings

import seenn_deploy as sd
from seenn_deploy.exits.fixed import Fixed
from seenn_deploy.simulator import event_worker, layout
from seenn_deploy.simulator.kernels import kernels
from seenn_deploy.simulator.kernels.vector_dense import multiplies_bytes
from seenn_deploy.simulator.turns import Turns
from tests import naive, random_graphs
from tests.random_graphs import Example

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@given(random_graphs.examples())
@settings(deadline=None, max_examples=25)
def test_the_same_bits_from_python(example: Example) -> None:
    program = sd.Program(example.graph, Fixed())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(event_worker, "plain", lambda *_: None)
        by_call = sd.simulate(program, example.images, threads=1, slots=2)
    run = sd.simulate(program, example.images, threads=1, slots=2)
    np.testing.assert_array_equal(run.logits, by_call.logits)
    for name in naive.COUNTS:
        np.testing.assert_array_equal(getattr(run.counts, name), getattr(by_call.counts, name))


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_all_of_a_seenn_network_but_its_readout_is_one_call(precision, monkeypatch) -> None:
    taken = []
    take = Turns.take
    monkeypatch.setattr(
        Turns, "take", lambda self, *args: taken.append(len(self.layers)) or take(self, *args)
    )
    files = sd.example()
    program = sd.compile(sd.import_model(files.network, T=4), Fixed(), precision=precision)
    sd.simulate(program, files.images, threads=1, slots=4)
    # The readout takes its own turn, but its synapses are counted in this call, too.
    assert set(taken) == {len(program.graph.populations) + 1}


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_a_transformer_is_the_same_whichever_kernels_it_takes(precision, monkeypatch) -> None:
    """By lists of events from Python, and in bytes, written down, where the processor can."""
    graph = sd.import_model(EXAMPLES / "spikformer_w025_T4_cifar10.safetensors", T=2)
    images = np.load(EXAMPLES / "cifar10_200.npz")["x"][:3].transpose(0, 3, 1, 2) / np.float32(255)
    program = sd.compile(graph, Fixed(), precision=precision)

    def run() -> sd.RunResult:
        fresh = replace(program, graph=program.graph.replace())  # laid out anew
        return sd.simulate(fresh, images, threads=1, slots=2)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(event_worker, "plain", lambda *_: None)
        patch.setattr(layout, "multiplies_bytes", lambda: False)
        by_list = run()
    kinds, take = set(), Turns.take
    monkeypatch.setattr(
        Turns,
        "take",
        lambda self, *args: kinds.update(self.calls["kind"]) or take(self, *args),
    )
    found = run()
    np.testing.assert_array_equal(found.logits, by_list.logits)
    for name in (*naive.COUNTS, "ands", "payloads", "comparisons"):
        np.testing.assert_array_equal(getattr(found.counts, name), getattr(by_list.counts, name))
    assert found.counts.payloads.sum() > 0
    assert (kernels.MULTIPLY in kinds) == multiplies_bytes()
    assert {kernels.MULTIPLY_BITS, kernels.LARGEST} <= kinds
