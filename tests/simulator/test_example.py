"""The shipped checkpoint and images: exact counts, and agreement with torch, ties proven."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from seenn_deploy.compiler.pipeline import compile
from seenn_deploy.exits.confidence import Confidence
from seenn_deploy.frontends.import_model import import_model
from seenn_deploy.ir.program import Program
from seenn_deploy.simulator.engine import simulate
from seenn_deploy.simulator.result import RunResult
from tests import checkpoints, naive, reference
from tests.agreement import Agreement, compare

EXAMPLES = Path(__file__).parents[2] / "examples"
CHECKPOINT = EXAMPLES / "seenn_resnet19_w1_T4_c10.pth"


@pytest.fixture(scope="module")
def program() -> Program:
    return compile(import_model(CHECKPOINT, T=4), exit_rule=Confidence(0.9))


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    """200 CIFAR-10 test images (N, C, H, W) in 0..1."""
    with np.load(EXAMPLES / "cifar10_200.npz") as data:
        x: np.ndarray = data["x"]
    assert x.shape == (200, 32, 32, 3)
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2), np.float32) / np.float32(255)


def test_counts_equal_the_naive_oracle_on_the_shipped_images(
    program: Program, pixels: np.ndarray
) -> None:
    """Every count, every layer, every step, to the integer: 8 images, each synapse visited.

    The oracle is told the simulator's spikes, so that float ties do not matter here; that these
    spikes are the right ones is the business of the test below.
    """
    images = pixels[:8]
    run = simulate(program, images, record=True, full_trace=True)
    want = naive.run(program.graph, images, forced=run.spikes)
    place = [want.layers.index(name) for name in run.layers]
    counts = {name: value[:, place] for name, value in want.counts.items()}
    assert_counts(run, counts)
    assert run.counts.ac.sum() > 1e6 * len(images)
    np.testing.assert_allclose(run.logits, want.logits, atol=1e-3)

    exits = np.array([naive.exit_step(z, 0.9) for z in run.logits])
    assert len(set(exits)) > 2, "hardly anything exits, so nothing is cut"
    stopped = simulate(program, images)
    np.testing.assert_array_equal(stopped.exit_step, exits)
    assert_counts(stopped, naive.until_exit(counts, exits))

    first = run.layers.index("spike")
    for kind in ("mac", "mac_effective"):
        counts[kind][:, first] = counts[kind][:, first, :1]
    assert_counts(simulate(program, images, full_trace=True, first_layer="every_step"), counts)


def assert_counts(run: RunResult, counts: dict[str, np.ndarray]) -> None:
    for name in naive.COUNTS:
        np.testing.assert_array_equal(getattr(run.counts, name), counts[name], err_msg=name)


def test_images_agree_with_torch(program: Program, pixels: np.ndarray) -> None:
    """50 of them; `benchmarks/agreement.py` takes as many as one has time for."""
    state = reference.load(str(CHECKPOINT))
    norm = {"mean": reference.CIFAR10_MEAN, "std": reference.CIFAR10_STD}
    found = Agreement()
    for start in range(0, 50, 25):
        batch = pixels[start : start + 25]
        found.add(compare(program, reference.resnet, state, batch, alpha=0.9, **norm))
    assert found.samples == 50
    assert_agree(found)


def assert_agree(found: Agreement) -> None:
    assert found.unproven == 0, found.table()
    assert found.unexplained == 0, found.table()
    assert found.worst_logit < 1e-3, found.table()
    assert found.ties <= 1e-6 * found.decisions + 1, found.table()
    assert found.diverged <= 0.1 * found.samples + 1, found.table()


FAMILIES: dict[str, tuple[Any, reference.Step, dict[str, Any]]] = {
    "resnet-8": (
        lambda: checkpoints.resnet(1, (1, 1, 1), size=16),
        reference.resnet,
        {"input_size": 16},
    ),
    "vgg": (
        lambda: checkpoints.vgg(checkpoints.VGG_CFG["A"], width=1, size=16),
        reference.vgg,
        {"input_size": 16},
    ),
    "vgg without batch norm": (
        lambda: checkpoints.vgg((32, "M", 48, "M", 64, 64), batch_norm=False, size=20),
        reference.vgg,
        {"input_size": 20},
    ),
    "vgg whose pools drop rows": (
        lambda: checkpoints.vgg((32, "M", 48, "M", 64), size=19),
        reference.vgg,
        {"input_size": 19},
    ),
    "vggsnn": (
        lambda: checkpoints.vggsnn((8, 16, 16, 16, 32, 32, 32, 32)),
        reference.vggsnn,
        {},
    ),
    "vggsnn_woap": (
        lambda: checkpoints.vggsnn_woap((8, 16, 16, 16, 32, 32, 32, 32)),
        reference.vggsnn_woap,
        {},
    ),
    "vggsnn_woap on images": (
        lambda: checkpoints.vggsnn_woap((8, 16, 16, 16, 16, 16, 16, 16), in_channels=3),
        reference.vggsnn_woap,
        {"coding": "direct"},
    ),
    "resnet that fires at the threshold": (
        lambda: checkpoints.resnet(1, (1, 1, 1), size=16, seed=3),
        reference.resnet,
        {"input_size": 16, "comparison": ">=", "tau": 0.75, "v_threshold": 0.8},
    ),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_agrees_with_torch(tmp_path: Path, name: str) -> None:
    make, step, options = FAMILIES[name]
    state = make()
    torch.save(state, tmp_path / "model.pth")
    graph = import_model(tmp_path / "model.pth", T=4, **options)
    program = compile(graph, exit_rule=Confidence(0.3))
    assumed = graph.provenance["assumed"]
    events = graph.source.coding == "events"
    shape = (20, 4, *graph.source.shape) if events else (20, *graph.source.shape)
    images = checkpoints.events(shape, 9) if events else checkpoints.images(shape, 9)
    norm = {"mean": assumed["mean"], "std": assumed["std"]}
    found = compare(program, step, state, images, alpha=0.3, **norm)
    assert_agree(found)
    run = simulate(program, images, record=True, full_trace=True)
    for layer, spikes in run.spikes.items():
        assert spikes.any(), f"{layer} is silent, nothing is compared"
