"""Converted networks and networks fed with events on Lava, in both precisions."""

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

from seenn_deploy import ir
from seenn_deploy.compiler.pipeline import compile
from seenn_deploy.exits.confidence import Confidence
from seenn_deploy.frontends.import_model import import_model
from seenn_deploy.ir.program import Program
from seenn_deploy.verification.verify import verify
from tests import checkpoints, checkpoints_qcfs

Precision = Literal["float32", "int8"]


def converted(path: Path, precision: Precision) -> Program:
    """A QCFS ResNet of one block a stage."""
    torch.save(checkpoints_qcfs.resnet((2, 3, 4), (1, 1, 1)), path)
    return compile(import_model(path, T=4, input_size=8), Confidence(0.8), precision=precision)


def on_events(path: Path, precision: Precision) -> Program:
    """A VGGSNNwoAP of few channels."""
    torch.save(checkpoints.vggsnn_woap((2, 3, 3, 4, 4, 4, 4, 4), size=16), path)
    return compile(import_model(path, T=4, input_size=16), Confidence(0.5), precision=precision)


def with_summed_pools(precision: Precision) -> Program:
    """A pool that two layers take, in front of a convolution and of the readout."""
    rng = np.random.default_rng(3)
    conv, behind = rng.normal(size=(4, 4, 3, 3)) / 2, rng.normal(size=(3, 4, 2, 3))
    nodes = [
        ir.Source("input", (2, 7, 6), "events"),
        ir.Population("a", (4, 7, 6), tau=0.5, v_threshold=0.5),
        ir.Population("b", (4, 3, 3), v_threshold=0.25),
        ir.Readout("out", (3,), np.zeros(3)),
    ]
    edges = [
        ir.Projection("input", "a", (ir.Conv2d(rng.normal(size=(4, 2, 3, 3)), padding=(1, 1)),)),
        ir.Projection("a", "b", (ir.AvgPool2d((2, 2)), ir.Conv2d(conv, padding=(1, 1)))),
        ir.Projection("a", "out", (ir.AvgPool2d((3, 2)), ir.Dense(behind.reshape(3, -1)))),
        ir.Projection("b", "out", (ir.Dense(rng.normal(size=(3, 36))),)),
    ]
    graph = ir.SpikingGraph(nodes, edges, T=4)
    return compile(graph, Confidence(0.8), precision=precision, pools="sum")


def assert_equal_on_lava(program: Program, samples: np.ndarray, exact: bool) -> None:
    report = verify(program, samples, timeout=300)
    assert report.exact if exact else report.ok, report.summary()
    assert report.wrong_logits == report.wrong_latencies == 0
    assert sum(layer.compared for layer in report.layers) > 500


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_a_converted_network(tmp_path: Path, precision: Precision) -> None:
    program = converted(tmp_path / "net.pth", precision)
    images = checkpoints.images((2, 3, 8, 8), seed=1)
    assert_equal_on_lava(program, images, precision == "int8")


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_a_network_on_events(tmp_path: Path, precision: Precision) -> None:
    program = on_events(tmp_path / "net.pth", precision)
    frames = checkpoints.events((2, program.T, 2, 16, 16), seed=1)
    assert_equal_on_lava(program, frames, precision == "int8")


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_pools_that_are_sums(precision: Precision) -> None:
    program = with_summed_pools(precision)
    assert sum(isinstance(node, ir.Sum) for node in program.graph.layers) == 2
    frames = checkpoints.events((4, program.T, 2, 7, 6), seed=1)
    assert_equal_on_lava(program, frames, precision == "int8")
