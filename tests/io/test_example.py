"""The example in the package: what the repository's examples/ holds, copied without harm."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

import seenn_deploy as sd

SHIPPED = Path(__file__).parents[2] / "examples"


def test_it_is_the_repository_s_network_and_its_first_images() -> None:
    files = sd.example()
    tensors = torch.load(SHIPPED / "resnet20_T4_cifar10.pth", weights_only=True)
    packaged = load_file(files.network)
    assert packaged.keys() == tensors.keys()
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(packaged[name], tensor.numpy())
    images, all_images = np.load(files.images), np.load(SHIPPED / "cifar10_200.npz")
    for key in ("x", "y"):
        np.testing.assert_array_equal(images[key], all_images[key][:50])


def test_it_runs_as_its_docstring_says() -> None:
    module = importlib.import_module("seenn_deploy.io.example")
    assert doctest.testmod(module) == (0, 4)


def test_it_is_copied_and_other_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    for _ in range(2):  # once more changes nothing
        copied = sd.example(tmp_path)
    assert copied.images.read_bytes() == sd.example().images.read_bytes()
    assert len(list(tmp_path.iterdir())) == 4
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_a_file_of_the_same_name_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    with pytest.raises(sd.SeennError, match=r"README\.md: is something else"):
        sd.example(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["README.md"]
    assert (tmp_path / "README.md").read_text() == "mine"
