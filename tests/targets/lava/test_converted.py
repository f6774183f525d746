"""A converted network on Lava: soft reset, v_init, weighted shortcuts."""

from pathlib import Path

import torch

from seenn_deploy.compiler.pipeline import compile
from seenn_deploy.exits.confidence import Confidence
from seenn_deploy.frontends.import_model import import_model
from seenn_deploy.verification.verify import verify
from tests import checkpoints, checkpoints_qcfs


def test_a_converted_network_equals_the_simulator(tmp_path: Path) -> None:
    torch.save(checkpoints_qcfs.resnet(blocks=(1, 1, 1)), tmp_path / "net.pth")
    graph = import_model(tmp_path / "net.pth", T=6, input_size=8)
    program = compile(graph, Confidence(0.8))
    report = verify(program, checkpoints.images((3, 3, 8, 8), seed=1), timeout=300)
    assert report.ok, report.summary()
    assert report.wrong_logits == 0
    assert len({step for step, _ in report.exit_steps}) > 1, "nothing exits early"
    assert sum(layer.compared for layer in report.layers) > 3000
