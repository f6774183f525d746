"""Converted networks and networks fed with events on Lava, in both precisions."""

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

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
