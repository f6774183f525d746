"""What benchmarks build on: the counters of other tools, which are not needed here, and QEMU's."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import nn

import seenn_deploy as sd
from tests.targets.c.test_c import IMAGES, PROGRAM
from tests.targets.c.tools import needs


@pytest.fixture
def counters(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    for name in ("counters", "_seenn_torch"):
        sys.modules.pop(name, None)
    import counters

    return counters


@torch.no_grad()
def test_the_torch_module_is_the_network_of_the_program(counters: ModuleType) -> None:
    """Operations seen in torch, added up our way, are the exact counts but for rounded spikes."""
    images = counters.read_images(4)
    net = counters._seenn_torch.load(counters.CHECKPOINT, 4)
    graph = sd.import_model(counters.CHECKPOINT, T=4, normalize=False)
    program = sd.compile(graph, sd.exits.Fixed())
    run = sd.simulate(program, images.numpy())
    logits = net(images).numpy()
    np.testing.assert_array_equal(logits.argmax(axis=1), run.prediction)
    seen, exact = counters.observe(net, images, 2), counters.ours(program, images)
    assert seen["layer 1 events"] == 4 * exact.mac
    assert counters.spike_driven(seen) == pytest.approx(exact.ac, rel=1e-3)


def test_events_are_counted_synapse_by_synapse(counters: ModuleType) -> None:
    rng = np.random.default_rng(0)
    x = torch.from_numpy((rng.random((2, 3, 5, 4)) < 0.4).astype(np.float32))
    conv = nn.Conv2d(3, 2, 3, stride=2, padding=1, bias=False)
    met = 0
    for _, _, y, z in np.argwhere(x.numpy()):
        for row in range(3):
            for col in range(2):
                inside = abs(2 * row - y) <= 1 and abs(2 * col - z) <= 1
                met += 2 * int(inside)
    assert counters.events(conv, x) == met
    assert counters.events(nn.Linear(60, 7), x.flatten(1)) == 7 * int(x.sum())


def test_instructions_are_counted_layer_by_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The benchmark itself runs the board twice, and compares its exits with the simulator's."""
    needs("qemu-cortex-m4")
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    import edge

    counted = edge.snn(PROGRAM, IMAGES)
    assert counted.layers.shape == (len(IMAGES), PROGRAM.T, len(PROGRAM.graph.populations) + 1)
    assert (counted.layers > 20).all()
    # The image's part of the first layer is computed once.
    assert (counted.layers[:, 0, 0] > counted.layers[:, 1, 0]).all()
    assert (counted.to_exit <= counted.steps.sum(1)).all()
    assert (counted.to_exit < counted.steps.sum(1)).any()
    silent = edge.snn(PROGRAM, np.zeros_like(IMAGES))
    assert silent.steps.mean() < counted.steps.mean()


@pytest.fixture
def conventions(counters: ModuleType) -> ModuleType:
    sys.modules.pop("conventions", None)
    import conventions

    return conventions


@torch.no_grad()
@pytest.mark.parametrize("name", ["dense", "convolutional"])
def test_every_joule_of_spikingjelly_is_explained(conventions: ModuleType, name: str) -> None:
    """Its two energy models on one image, from our counts and the reasons for each difference."""
    images = conventions.counters.read_images(1)
    net = getattr(conventions, name)().eval().requires_grad_(False)
    graph = sd.import_model(net, images, T=conventions.T)
    run = sd.simulate(sd.compile(graph, sd.exits.Fixed()), images.numpy())
    exact, seen = conventions.ours(run), conventions.observe(net, images)
    assert exact.microjoules == pytest.approx(1e6 * run.energy("spikingjelly").sum())
    reasons = conventions.common(seen, exact) | conventions.spikingjelly_reasons(seen, exact)
    explained = sum(reasons.values(), exact)
    assert conventions.spikingjelly(net, images) == explained
    assert reasons["layer 1 at every step, for us once"].mac == 3 * exact.mac
    found = sum(conventions.lemaire_of(net, images).values())
    energy = 1e6 * run.energy("spikingjelly-lemaire").sum()
    steps = conventions.lemaire_reasons(run, seen)
    assert found == pytest.approx(energy + sum(steps.values()), rel=1e-9)
    # Without what torch does at every step, the equations are the cost model's.
    assert abs(steps["pools folded, shortcuts priced, other spikes"]) < 0.01 * energy
    assert (steps["spikes meet whole kernels"] > 0.1 * energy) == (name == "convolutional")
