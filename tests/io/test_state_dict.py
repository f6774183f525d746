"""State dicts whose tensors are not numbers of weights, and files that were damaged."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from seenn_deploy.errors import ModelError
from seenn_deploy.io.state_dict import read_state_dict

ODD = {
    "complex": (torch.ones(2, 2, dtype=torch.complex64), "is complex64"),
    "sparse": (torch.eye(3).to_sparse(), "is sparse"),
    "nested": (torch.nested.nested_tensor([torch.eye(3)]), "is a nested tensor"),
    "compressed": (torch.eye(3).to_sparse_csr(), "is sparse"),
    "meta": (torch.empty(2, device="meta"), "on the meta device, without values"),
    "float8": (torch.ones(2).to(torch.float8_e4m3fn), "is float8_e4m3fn"),
}


@pytest.mark.parametrize("name", ODD)
@pytest.mark.filterwarnings("ignore:Sparse")
def test_tensors_of_another_kind_are_refused(tmp_path: Path, name: str) -> None:
    tensor, said = ODD[name]
    torch.save({"fine": torch.ones(2), "layer.weight": tensor}, tmp_path / "net.pth")
    with pytest.raises(ModelError, match=f"'layer.weight' .*{said}.*save dense"):
        read_state_dict(tmp_path / "net.pth")


@pytest.mark.parametrize("kind", ["bfloat16", "float8_e4m3fn", "complex64"])
def test_in_safetensors_they_are_named_too(tmp_path: Path, kind: str) -> None:
    odd = torch.ones(2).to(getattr(torch, kind))
    save_file({"fine": torch.ones(2), "layer.weight": odd}, tmp_path / "net.safetensors")
    with pytest.raises(ModelError, match=f"'layer.weight' is {kind}; save the tensors as float32"):
        read_state_dict(tmp_path / "net.safetensors")


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64, torch.int64])
def test_tensors_of_weights_are_read(tmp_path: Path, kind: torch.dtype) -> None:
    torch.save({"w": torch.tensor([1, 2, -3], dtype=kind)}, tmp_path / "net.pth")
    assert read_state_dict(tmp_path / "net.pth")["w"].tolist() == [1, 2, -3]


def test_views_are_read_as_what_they_show_and_no_more(tmp_path: Path) -> None:
    """A negated view, and ones that repeat a value: a few kB could claim any amount of memory."""
    path = tmp_path / "net.pth"
    torch.save({"w": torch._neg_view(torch.ones(2)), "v": torch.ones(1).expand(3)}, path)
    assert {k: v.tolist() for k, v in read_state_dict(path).items()} == {
        "w": [-1] * 2,
        "v": [1] * 3,
    }
    torch.save({"w": torch.ones(1, 1).expand(10**5, 10**5)}, path)
    with pytest.raises(ModelError, match=r"'w' has shape \(100000, 100000\), of which the file"):
        read_state_dict(path)


def test_a_flipped_bit_of_a_weight_is_found(tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    torch.save({"w": torch.full((64,), 1.5)}, path)
    with zipfile.ZipFile(path) as archive:
        (member,) = [m for m in archive.namelist() if m.endswith("data/0")]
    content = bytearray(path.read_bytes())
    at = content.index(torch.full((8,), 1.5).numpy().tobytes())
    content[at + 2] ^= 0x10
    path.write_bytes(content)
    with pytest.raises(ModelError, match=f"{member} differs from its checksum"):
        read_state_dict(path)
