"""Whole networks in C: converted, with shortcuts, summed spikes, events, and attention."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import seenn_deploy as sd
from tests import checkpoints, checkpoints_qcfs
from tests.frontends.test_sew import imported, network
from tests.frontends.torch.test_transformers import NETWORKS, T, awake

RULE = sd.exits.Confidence(0.5)
Made = tuple[sd.Program, np.ndarray]


def qcfs(folder: Path) -> Made:
    torch.save(checkpoints_qcfs.resnet((2, 3, 4), (1, 1, 1)), folder / "net.pth")
    graph = sd.import_model(folder / "net.pth", T=4, input_size=8)
    return sd.compile(graph, RULE, precision="int8"), checkpoints.images((3, 3, 8, 8))


def vgg(folder: Path) -> Made:
    torch.save(checkpoints.vgg((4, 6, 6, 8, 8), size=32), folder / "net.pth")
    graph = sd.import_model(folder / "net.pth", T=3, input_size=32)
    return sd.compile(graph, RULE, precision="int8"), checkpoints.images((3, 3, 32, 32))


def sew(folder: Path) -> Made:
    graph = imported(folder, network(), normalize=True)
    return sd.compile(graph, RULE, precision="int8"), checkpoints.images((3, 3, 8, 8))


def sew_with_summed_pools(folder: Path) -> Made:
    graph = imported(folder, network(), normalize=True)
    program = sd.compile(graph, RULE, precision="int8", pools="sum")
    return program, checkpoints.images((3, 3, 8, 8))


def events(folder: Path) -> Made:
    torch.save(checkpoints.vggsnn_woap((2, 3, 3, 4, 4, 4, 4, 4), size=16), folder / "net.pth")
    graph = sd.import_model(folder / "net.pth", T=4, input_size=16)
    return sd.compile(graph, RULE, precision="int8"), checkpoints.events((3, 4, 2, 16, 16))


def spikformer(folder: Path) -> Made:
    make, shape = NETWORKS["Spikformer"]
    torch.manual_seed(0)
    x = torch.rand(shape)
    graph = sd.import_model(awake(make(), x), x, T=T)
    return sd.compile(graph, RULE, precision="int8", input_range=(0, 1)), x.numpy()


@pytest.mark.parametrize(
    "make", [qcfs, vgg, sew, sew_with_summed_pools, events, spikformer], ids=lambda m: m.__name__
)
def test_c_equals_the_simulator(make: Callable[[Path], Made], tmp_path: Path) -> None:
    program, samples = make(tmp_path)
    report = sd.verify(program, samples, "c", full_trace=True)
    assert report.ok
    assert sum(layer.compared for layer in report.layers) > 2_000
    spikes = sd.simulate(program, samples, full_trace=True).counts.spikes
    assert spikes.sum() > 0
