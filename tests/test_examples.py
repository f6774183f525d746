"""The shipped files are those that examples/README.md describes."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import seenn_deploy as sd
from seenn_deploy.io.folders import sha256
from seenn_deploy.io.images.image_set import open_images

EXAMPLES = Path(__file__).parent.parent / "examples"
IMAGES = EXAMPLES / "cifar10_200.npz"


def test_readme_names_every_checksum() -> None:
    names = (
        "resnet19_w025_T4_cifar10.safetensors", "policy_resnet19_cifar10.onnx",
        "resnet20_T4_cifar10.pth", "edge_cifar10.safetensors", "policy_resnet20_cifar10.onnx",
        "seenn_resnet19_w1_T4_c10.pth", "spikformer_w025_T4_cifar10.safetensors",
        "cifar10_200.npz",
    )  # fmt: skip
    shipped = [EXAMPLES / name for name in names]
    stated = re.findall(r"\b[0-9a-f]{64}\b", (EXAMPLES / "README.md").read_text())
    assert stated == [sha256(file) for file in shipped]
    assert sum(file.stat().st_size for file in shipped) < 4.5 * 2**20


def test_the_spikformer_is_proven_and_sees_something() -> None:
    network = EXAMPLES / "spikformer_w025_T4_cifar10.safetensors"
    graph = sd.import_model(
        network, T=4, mean=(0.4914, 0.4822, 0.4465), std=(0.247, 0.2435, 0.2616)
    )
    assert graph.provenance.proof["proven"]
    run = sd.simulate(sd.compile(graph, sd.exits.Fixed()), IMAGES)
    assert run.correct.mean() > 0.6


def test_images_open_as_the_program_takes_them() -> None:
    images = open_images(IMAGES, (3, 32, 32), input_range=(0.0, 1.0), classes=10)
    assert images.take(0, 200).shape == (200, 3, 32, 32)
    assert images.labels is not None
    assert set(images.labels) == set(range(10))


def test_make_images_writes_what_is_shipped(tmp_path: Path) -> None:
    """From images encoded as PNG, so that decoding gives the shipped pixels back."""
    shipped = np.load(IMAGES)
    files = [_png(pixels) for pixels in shipped["x"][:5]]
    source, out = tmp_path / "source.npz", tmp_path / "out.npz"
    np.savez(
        source,
        jpeg=np.frombuffer(b"".join(files), np.uint8),
        offsets=np.cumsum([0, *map(len, files)]),
        labels=shipped["y"][:5].astype(np.uint8),
    )
    command = [sys.executable, str(EXAMPLES / "make_images.py"), str(source), str(out), "4"]
    subprocess.run(command, check=True, capture_output=True)
    made = np.load(out)
    for key in ("x", "y"):
        np.testing.assert_array_equal(made[key], shipped[key][:4])
        assert made[key].dtype == shipped[key].dtype


def test_the_edge_network_fits_a_small_board_and_sees(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    from edge_net import trained

    mean, std = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
    graph = sd.import_model(trained(), torch.rand(1, 3, 32, 32), mean=mean, std=std)
    program = sd.compile(graph, sd.exits.Confidence(0.9), precision="int8")
    program.save(tmp_path / "build", ["c"], options={"c": {"board": "stm32l432"}})
    run = sd.simulate(program, IMAGES)
    assert (run.prediction == run.labels).mean() > 0.6
    assert 1 < run.exit_step.mean() < 4


def _png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()
