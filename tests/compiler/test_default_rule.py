"""The exit rule that nobody chose; and provenance, from which nothing is computed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

import seenn_deploy as sd
from seenn_deploy import ir
from seenn_deploy.cli import seenn
from seenn_deploy.exits.confidence import Confidence
from seenn_deploy.exits.entropy import Entropy
from seenn_deploy.exits.fixed import Fixed
from tests import checkpoints, checkpoints_qcfs
from tests.targets.lava import graphs


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A network of SEENN's, one to convert, and one of another tool with its sidecar."""
    state = checkpoints.resnet(blocks=(1, 1, 1), channels=(3, 4, 5), size=8)
    torch.save(state, tmp_path / "seenn.pth")
    torch.save(checkpoints_qcfs.resnet(), tmp_path / "qcfs.pth")
    program = sd.compile(graphs.small(4), Entropy(0.8))
    program.save(tmp_path / "exported", targets=["nir"])
    (tmp_path / "exported/nir").rename(tmp_path / "nir")
    return tmp_path


EXPECTED = {
    "seenn.pth": (Confidence(0.9), "the network came with it"),
    "qcfs.pth": (Fixed(), "the network came without an exit rule"),
    "nir/network.nir": (Entropy(0.8), "the network came with it"),
}


def imported(folder: Path, name: str) -> ir.SpikingGraph:
    return sd.import_model(folder / name, **({"input_size": 8} if name.endswith("pth") else {}))


@pytest.mark.parametrize("name", EXPECTED)
def test_one_default_in_python_and_on_the_command_line(folder: Path, name: str) -> None:
    rule, why = EXPECTED[name]
    program = sd.compile(imported(folder, name))
    assert (program.exit_rule, program.exit_rule_assumed) == (rule, why)
    size = ["--input-size", "8"] if name.endswith("pth") else []
    for command in ["compile", *(["convert"] if name == "qcfs.pth" else [])]:
        files = ["-o", str(folder / command), "--json", str(folder / "out.json")]
        done = CliRunner().invoke(seenn, [command, str(folder / name), *size, *files])
        assert done.exit_code == 0, done.output
        assert f", assumed: {why}" in done.output
        figures = json.loads((folder / "out.json").read_text())
        assert (figures["exit_rule"], figures["exit_rule_assumed"]) == (rule.to_dict(), why)
        assert sd.Program.load(folder / command).exit_rule == rule


def test_what_somebody_chose_is_not_assumed(folder: Path) -> None:
    program = sd.compile(imported(folder, "seenn.pth"), Fixed())
    assert (program.exit_rule, program.exit_rule_assumed) == (Fixed(), "")
    changed = sd.compile(imported(folder, "seenn.pth")).with_exit(Confidence(0.5))
    assert changed.exit_rule_assumed == ""
    changed.save(folder / "build")
    assert sd.Program.load(folder / "build").exit_rule_assumed == ""


@pytest.mark.parametrize(
    ("name", "precision"),
    [*((name, "float32") for name in EXPECTED), ("onnx", "float32"), ("onnx", "int8")],
)
def test_nothing_is_computed_from_provenance(folder: Path, name: str, precision: str) -> None:
    if name == "onnx":
        net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 5), torch.nn.ReLU6(),
                                  torch.nn.Linear(5, 3))  # fmt: skip
        torch.onnx.export(net, torch.rand(1, 3, 2, 2), folder / "net.onnx", dynamo=False)
        graph = sd.import_model(folder / "net.onnx", mean=[0.5] * 3, std=[0.2] * 3)
    else:
        graph = imported(folder, name)
    known = sd.compile(graph, precision=precision)
    unknown = sd.compile(graph.noted({}), precision=precision)
    assert "source" in known.provenance
    assert "source" not in unknown.provenance
    assert known.fingerprint == unknown.fingerprint
    assert known.input_range == unknown.input_range
    assert known.exit_rule == unknown.exit_rule
    assert known.graph.source.normalization == unknown.graph.source.normalization


def test_a_program_of_an_earlier_version_loads(folder: Path) -> None:
    """It had the normalisation among what was assumed, and no word on who chose the exit rule."""
    saved = sd.compile(imported(folder, "seenn.pth"))
    saved.save(folder / "build")
    manifest = json.loads((folder / "build/program.json").read_text())
    del manifest["normalization"], manifest["exit_rule_assumed"], manifest["checksum"]
    (folder / "build/program.json").write_text(json.dumps(manifest))
    old = sd.Program.load(folder / "build")
    assert old.fingerprint == saved.fingerprint
    assert old.input_range == (0.0, 1.0)
    assert old.graph.source.normalization == saved.graph.source.normalization is not None
