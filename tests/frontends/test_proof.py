"""Files are proven against what runs them; what is not proven says so wherever it goes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import seenn_deploy as sd
from seenn_deploy import ir, plugins
from seenn_deploy.cli import seenn
from seenn_deploy.fidelity import LEFT_OUT, Proof, RefusedError
from seenn_deploy.frontends import onnx, proof
from seenn_deploy.frontends.base import Net
from seenn_deploy.frontends.import_model import import_model
from tests import checkpoints, checkpoints_qcfs
from tests.frontends.test_onnx import Maker
from tests.frontends.test_seenn import FAMILIES, tiny_resnet


def saved(folder: Path, state: dict[str, Any]) -> Path:
    torch.save(state, path := folder / "model.pth")
    return path


@pytest.mark.parametrize("name", FAMILIES)
def test_a_checkpoint_is_proven_by_our_own_model(tmp_path: Path, name: str) -> None:
    make, _, known, _ = FAMILIES[name]
    graph = import_model(saved(tmp_path, make()), **known, T=3, comparison=">=", tau=0.75)
    found = Proof.from_dict(graph.provenance.proof)
    assert (found.by, found.why) == (proof.MODELS, "")
    assert list(found.spikes) == [n.name for n in graph.populations]
    neurons = sum(n.neurons for n in graph.populations)
    assert found.compared == neurons * 3 * found.samples and found.samples >= 2


@pytest.mark.parametrize(
    ("make", "size"), [(checkpoints_qcfs.resnet, 8), (checkpoints_qcfs.vgg, 16)]
)
def test_an_ann_is_proven_before_its_conversion(tmp_path: Path, make: Any, size: int) -> None:
    graph = import_model(saved(tmp_path, make()), input_size=size)
    found = Proof.from_dict(graph.provenance.proof)
    assert found.by == f"{proof.MODELS}, before its conversion" and not found.timesteps
    assert list(found.spikes) == [n.name for n in graph.populations] and not found.silent
    told = [f["what"] for f in graph.provenance.report["findings"] if f["where"] == "self-check"]
    assert told == [found.text] and "activations" in found.text


@pytest.mark.parametrize("what", ["weight", "leak", "edge"])
def test_a_graph_that_is_another_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    def off(net: Net, *given: Any) -> Proof:
        if what == "weight":
            edge = net.projections[1]
            conv: Any = edge.maps[0]
            other = (conv.with_weight(conv.weight * 1.5), *edge.maps[1:])
            net.projections[1] = replace(edge, maps=other)
        elif what == "leak":
            net.nodes[2] = replace(net.nodes[2], tau=0.25)
        else:
            net.projections.remove(next(e for e in net.projections if len(e.maps) == 1))
        return prove(net, *given)

    prove = proof.prove_checkpoint
    monkeypatch.setattr("seenn_deploy.frontends.seenn.prove_checkpoint", off)
    with pytest.raises(RefusedError, match=r"our own torch model of it's neuron .* at timestep"):
        import_model(saved(tmp_path, tiny_resnet()), input_size=8)


def ann(folder: Path) -> Path:
    m = Maker(opset=17)
    bounds = [m.const("low", np.float32(0)), m.const("high", np.float32(2))]
    x = m.op("Clip", [m.conv("image", 3, 2), *bounds])
    return Path(m.save(folder, m.gemm(m.op("Flatten", [x]), 128, 4)))


def test_an_onnx_file_is_proven_by_onnxruntime(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = ann(tmp_path)
    given = {"mean": (0.5,) * 3, "std": (0.25,) * 3}
    assert import_model(path, **given).provenance.proof["by"].startswith("onnxruntime")
    read = onnx.read_ann

    def off(*given: Any) -> ir.SpikingGraph:
        graph = read(*given)
        return graph.replace([replace(n, v_threshold=1.0) for n in graph.populations]
                             + [graph.source, graph.readout])  # fmt: skip

    monkeypatch.setattr(onnx, "read_ann", off)
    with pytest.raises(RefusedError, match=r"onnxruntime gives .* the graph"):
        import_model(path)


def test_without_torch_nothing_is_proven(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load = plugins.load

    def without(room: str, name: str, main: str = "") -> Any:
        if room == "training":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")
        return load(room, name, main)

    monkeypatch.setattr(plugins, "load", without)
    graph = import_model(saved(tmp_path, tiny_resnet()), input_size=8)
    assert graph.provenance.not_proven.startswith("torch is not installed")


def test_a_nir_file_is_not_proven_unless_it_is_an_export_of_what_was(tmp_path: Path) -> None:
    graph = import_model(saved(tmp_path, tiny_resnet()), input_size=8)
    sd.compile(graph).save(tmp_path / "build", targets=["nir"])
    path = tmp_path / "build/nir/network.nir"
    assert import_model(path).provenance.proof["by"] == proof.MODELS
    path.with_name("network.nir.json").unlink()
    said = import_model(path).provenance.not_proven
    assert said == "there is nothing here that runs .nir files as they are"


def test_what_no_model_stands_for_is_not_proven(tmp_path: Path) -> None:
    state = checkpoints_qcfs.resnet(bottleneck=True)
    graph = import_model(saved(tmp_path, state), input_size=8)
    assert graph.provenance.not_proven == "there is no torch model of it here"


def test_not_proven_stays_with_the_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    state = checkpoints.resnet(blocks=(1, 1, 1), channels=(3, 4, 5), size=8)
    path = saved(tmp_path, state)
    rng = np.random.default_rng(0)
    x = rng.random((12, 3, 8, 8), dtype=np.float32)
    np.savez("x.npz", x=x, y=rng.integers(0, 10, 12))

    def run(*command: str) -> dict[str, Any]:
        done = CliRunner().invoke(seenn, [*command, "--json", "out.json"])
        assert done.exit_code == 0, done.output
        assert ("not proven" in done.output) == expected, done.output
        stored: dict[str, Any] = json.loads(Path("out.json").read_text())
        assert stored.get("not_proven", "") == (LEFT_OUT if expected else "")
        return stored

    programs = []
    for options, expected in ([], False), (["--no-check"], True):
        folder = f"build{expected}"
        compiled = run("compile", str(path), "--input-size", "8", "-o", folder, *options)
        assert compiled["proof"]["proven"] == (not expected)
        run("inspect", folder)
        run("simulate", folder, "--data", "x.npz", "--out", f"run{expected}")
        assert bool(sd.RunResult.load(f"run{expected}").not_proven) == expected
        run("sweep", folder, "--data", "x.npz")
        run("evaluate", folder, "--data", "x.npz")
        programs.append(sd.Program.load(folder))
    assert programs[0].fingerprint == programs[1].fingerprint
    report = sd.verify(programs[1], x[:1], device="lava").summary()
    assert report["ok"] and report["not_proven"] == LEFT_OUT


def test_a_program_of_an_earlier_version_is_not_proven(tmp_path: Path) -> None:
    graph = import_model(saved(tmp_path, tiny_resnet()), input_size=8, check=False)
    sd.compile(graph).save(tmp_path / "build")
    manifest = tmp_path / "build/program.json"
    stored = json.loads(manifest.read_text())
    del stored["provenance"]["proof"], stored["checksum"]  # as earlier versions wrote it
    manifest.write_text(json.dumps(stored))
    program = sd.Program.load(tmp_path / "build")
    assert program.provenance.not_proven == "compiled by a version that proved nothing"
