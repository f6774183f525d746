"""Layers that are written down for one compiled call do what they do call by call from Python."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

import seenn_deploy as sd
from seenn_deploy.exits.fixed import Fixed
from seenn_deploy.simulator import event_worker
from seenn_deploy.simulator.turns import Turns
from tests import naive, random_graphs
from tests.random_graphs import Example


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
