"""A check lists everything at once, and its verdicts are what lowering then does."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import seenn_deploy as sd
from seenn_deploy import ir, targets
from seenn_deploy._typing import Shape
from seenn_deploy.cli import seenn
from seenn_deploy.ir.nodes.base import Node
from seenn_deploy.ir.program import Program
from tests import checkpoints
from tests.frontends.nir import test_read as nir_files
from tests.frontends.test_onnx import Maker
from tests.random_graphs import dense, sparse
from tests.targets.lava import feature_graphs
from tests.targets.lava.graphs import edge, everything, small


@dataclass(frozen=True, eq=False)
class Odd(Node):
    """Nodes of a kind that nobody has registered."""

    name: str
    shape: Shape


def bounded(graph: ir.SpikingGraph) -> ir.SpikingGraph:
    """With an input that int8 knows the range of."""
    return graph.replace([replace(graph.source, input_range=(0.0, 1.0)), *graph.layers])


def changed(graph: ir.SpikingGraph, **values: Any) -> ir.SpikingGraph:
    nodes = [replace(n, **values) if isinstance(n, ir.Population) else n for n in graph.order]
    return graph.replace(nodes)


def chained(graph: ir.SpikingGraph) -> ir.SpikingGraph:
    """Two layers of synapses without neurons between them, on every edge."""
    edges = [
        replace(e, maps=(*e.maps, ir.Conv2d(np.eye(3, dtype=np.float32)[:, :, None, None])))
        if e.post == "first"
        else replace(e, maps=(*e.maps, ir.Dense(np.eye(graph.node(e.post).shape[0]))))
        for e in graph.projections
    ]
    return graph.replace(projections=edges)


def odd(graph: ir.SpikingGraph) -> ir.SpikingGraph:
    nodes = [Odd(n.name, n.shape) if isinstance(n, ir.Population) else n for n in graph.order]
    return graph.replace(nodes)


def wide() -> ir.SpikingGraph:
    """A list of synapses that NIR could only hold as two enormous matrices."""
    rng, n = np.random.default_rng(0), 6000
    shapes = {"a": (n,), "b": (n,), "c": (n,)}
    nodes = [ir.Source("input", (1, 1, 4)), *(ir.Population(k, s) for k, s in shapes.items())]
    edges = [edge("input", "a", dense(rng, (1, 1, 4), n))]
    edges += [edge(x, y, sparse(rng, (n,), (n,), 1)) for x, y in (("a", "b"), ("b", "c"))]
    return ir.SpikingGraph(
        [*nodes, ir.Readout("logits", (3,))], [*edges, edge("c", "logits", dense(rng, (n,), 3))], 2
    )


GRAPHS: dict[str, Callable[[], ir.SpikingGraph]] = {
    "plain": lambda: bounded(small()),
    "an input of any value": small,
    "every kind of synapses": lambda: bounded(everything()),
    "sums, lags, currents": lambda: bounded(feature_graphs.everything()),
    "recordings": lambda: feature_graphs.everything("events"),
    "feedback that comes late": feature_graphs.long_loop,
    "soft reset, at the threshold": lambda: changed(
        bounded(small()), reset="soft", comparison=">=", v_init=0.5
    ),
    "thresholds too small for int8": lambda: changed(bounded(small()), v_threshold=1e-9),
    "nodes of an unknown kind": lambda: bounded(odd(small())),
    "two maps on an edge": lambda: chained(small()),
    "lists too large for NIR": wide,
}


def happens(graph: ir.SpikingGraph, column: str, folder: Path) -> bool:
    """Whether the network really gets there."""
    target, precision = column.split()
    try:
        program = sd.compile(graph, precision=precision)
        if target == "simulator":
            steps = (graph.T,) if graph.source.coding == "events" else ()
            sd.simulate(program, np.zeros((1, *steps, *graph.source.shape), np.float32))
        else:
            program.save(folder, targets=[target], force=True)
    except sd.SeennError:
        return False
    return True


@pytest.mark.parametrize("name", GRAPHS)
def test_a_verdict_is_what_lowering_does(name: str, tmp_path: Path) -> None:
    graph = GRAPHS[name]()
    report = sd.check(graph)
    assert list(report.columns) == [
        "simulator float32", "simulator int8", "c int8", "lava float32", "lava int8", "nir float32",
        "sanafe int8",
    ]  # fmt: skip
    taken = {column: report.takes(column) != "no" for column in report.columns}
    assert taken == {column: happens(graph, column, tmp_path / "p") for column in report.columns}
    assert report.ok == (taken["simulator float32"] or taken["simulator int8"])
    for column in report.columns:
        verdicts = {report.verdict(layer, column) for layer in report.layers}
        assert ("no" in verdicts or "-" in verdicts) >= (not taken[column])


def test_everything_is_listed_at_once() -> None:
    def refused(name: str, column: str) -> set[str]:
        return {f.where for f in sd.check(GRAPHS[name]()).columns[column].refusals}

    edges = {"input -> first", "first -> second", "second -> logits"}
    assert refused("two maps on an edge", "simulator float32") == edges
    both = {"first", "second"}
    for column in ("simulator float32", "simulator int8", "lava float32", "nir float32"):
        assert refused("nodes of an unknown kind", column) == both
    assert refused("thresholds too small for int8", "simulator int8") == both
    assert refused("lists too large for NIR", "nir float32") == {"a -> b", "b -> c"}


def test_a_target_of_ones_own_adds_its_column(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(targets, "__path__", [*targets.__path__])  # plugins extend it
    (tmp_path / "targets").mkdir()
    (tmp_path / "targets" / "picky.py").write_text(
        "from seenn_deploy.errors import ProgramError\n"
        "def write(program, folder):\n"
        "    (folder / 'x').write_text('x')\n"
        "    if program.precision == 'int8':\n"
        "        raise ProgramError('no integers here')\n"
    )
    monkeypatch.setenv("SEENN_PLUGINS", str(tmp_path))
    report = sd.check(bounded(small()))
    assert (report.takes("picky float32"), report.takes("picky int8")) == ("yes", "no")


NETS = """
import torch
from torch import nn
from snntorch import Alpha
from spikingjelly.activation_based import neuron


class Bad(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc, self.end = nn.Linear(4, 4), nn.Linear(4, 3)
        self.a, self.b, self.c = neuron.LIFNode(), Alpha(alpha=0.9, beta=0.8), neuron.IFNode()

    def forward(self, x):
        x = self.a(torch.sigmoid(self.fc(x)))
        x = self.b(self.fc(x))[0]
        x = self.c(x)
        return self.end(torch.sin(x))


def good():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), neuron.LIFNode(), nn.Linear(8, 3))
"""


def run(*command: str, code: int = 0) -> dict[str, Any]:
    done = CliRunner().invoke(seenn, ["check", *command, "--json", "out.json"])
    assert done.exit_code == code, done.output
    assert max(map(len, done.output.splitlines())) <= 80
    stored: dict[str, Any] = json.loads(Path("out.json").read_text())
    assert stored["ok"] == (code == 0)
    return stored


def refusals(found: dict[str, Any]) -> list[str]:
    return [f["where"] for f in found["import"]["findings"] if f["status"] == "refused"]


def test_every_kind_of_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("nets.py").write_text(NETS)
    found = run("nets.py:Bad", "--example", "2,4", "-T", "3", code=2)
    assert refusals(found) == ["nets.py:15", "b (Alpha) at nets.py:16", "nets.py:18"]
    assert found["layers"] == [] and found["targets"] == {}
    found = run("nets.py:good", "--example", "2,4", "-T", "3", "--input-range", "0,1")
    assert found["proof"]["by"] == "the module itself"
    assert [layer["targets"]["lava int8"] for layer in found["layers"]] == ["approx."] * 2

    state = checkpoints.resnet(blocks=(1, 1, 1), channels=(3, 4, 5), size=8)
    torch.save(state, "model.pth")
    found = run("model.pth", "--input-size", "8")
    assert found["targets"]["nir float32"]["takes"] == "yes"
    torch.save({"other": torch.zeros(3)}, "model.pth")
    assert refusals(run("model.pth", code=2)) == ["model.pth"]

    m = Maker(opset=17)
    x = m.op("Erf", [m.op("Softmax", [m.conv("image", 3, 2)])])
    path = Path(m.save(tmp_path, m.gemm(m.op("Flatten", [x]), 128, 4)))
    assert [w.split()[0] for w in refusals(run(str(path), code=2))] == ["Softmax", "Erf"]

    sd.compile(bounded(small())).save("build")
    found = run("build")
    assert found["targets"]["lava int8"]["takes"] == "approx." and not found["proof"]
    Path("build/weights.safetensors").write_bytes(b"")
    assert refusals(run("build", code=2)) == ["build"]
    sd.compile(bounded(small()), precision="int8").save("whole")
    assert list(run("whole")["targets"]) == ["simulator int8", "c int8", "lava int8", "sanafe int8"]
    assert Program.load("whole").precision == "int8"


def test_an_ann_with_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    m = Maker(opset=17)
    m.save(tmp_path, m.gemm(m.op("Flatten", [m.op("Relu", [m.conv("image", 3, 2)])]), 128, 4))
    (model,) = Path().glob("*.onnx")
    images = np.random.default_rng(0).normal(0, 1, (8, 3, 8, 8)).astype(np.float32)
    np.savez("x.npz", x=images)
    # The same samples bound the input of int8, as they do in `convert`.
    given = run(str(model), "--calibration", "x.npz")
    assert given["targets"]["c int8"]["takes"] == "approx."
    # Every assumption is told whole, and a refusal of all of it names the input.
    printed = CliRunner().invoke(seenn, ["check", str(model), "--calibration", "x.npz"]).output
    assert "input_shape = [3, 8, 8], no mean, no std" in " ".join(printed.split())
    sd.compile(sd.import_model(model, calibration=images)).save("build")
    (refused,) = run("build")["targets"]["c int8"]["findings"]
    assert refused["where"] == "input" and refused["what"].startswith("an integer program needs")
    assert run("build", "--calibration", "x.npz")["targets"]["c int8"]["takes"] == "approx."


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(sd.SeennError, match=r"nothing\.pth: no such file"):
        sd.check(tmp_path / "nothing.pth")


def test_all_of_a_nir_file(tmp_path: Path) -> None:
    m = nir_files.Maker((4,))
    shape = (4,)
    bad = m.add("bad", nir_files.lif(shape, tau=-1.0), m.linear("in", "input", 4, 4))
    worse = m.add("worse", nir_files.if_(shape, r=np.nan), m.linear("mid", bad, 4, 4))
    path = nir_files.write(m.finish(worse, 4), tmp_path)
    report = sd.check(path)
    assert [f.what for f in report.imported.refusals] == [
        "tau = -1; it must be positive",
        "r holds NaN or infinity; export it again",
    ]
