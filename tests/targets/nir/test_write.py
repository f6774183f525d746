"""Programs as NIR files: the same graph back, the same spikes without the sidecar."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nir
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings

from seenn_deploy import ir
from seenn_deploy.cli import seenn
from seenn_deploy.compiler.pipeline import compile
from seenn_deploy.errors import ModelError, SeennError
from seenn_deploy.exits.confidence import Confidence
from seenn_deploy.exits.fixed import Fixed
from seenn_deploy.fidelity import FidelityReport
from seenn_deploy.frontends.import_model import import_model
from seenn_deploy.ir.program import write
from seenn_deploy.simulator.engine import simulate
from tests.frontends.nir import naive_nir
from tests.random_graphs import Example, examples
from tests.targets.lava import graphs, policies


def export(program: ir.Program, folder: Path) -> Path:
    write("nir", program, folder)
    return folder / "network.nir"


def findings(folder: Path, status: str) -> list[str]:
    report = FidelityReport.from_dict(json.loads((folder / "report.json").read_text()))
    return [f"{f.where}: {f.what}" for f in report.findings if f.status == status]


@settings(max_examples=60)
@given(examples(plain=True))
def test_a_round_trip_is_the_identity(example: Example) -> None:
    program = compile(example.graph)
    with TemporaryDirectory() as folder:
        again = import_model(export(program, Path(folder)))
    assert compile(again).fingerprint == program.fingerprint


@settings(max_examples=60)
@given(examples(plain=True))
def test_the_file_alone_gives_the_same_logits(example: Example) -> None:
    """Where NIR has a form for everything: hard reset, '>', starting at 0."""
    plain = [
        replace(n, reset="hard", reset_by=None, comparison=">", v_init=0.0)
        if isinstance(n, ir.Population) else n
        for n in example.graph.order
    ]  # fmt: skip
    program = compile(example.graph.replace(plain))
    with TemporaryDirectory() as name:
        folder = Path(name)
        path = export(program, folder)
        if findings(folder, "approximated"):
            return
        (folder / "network.nir.json").unlink()
        dt = 1e-4 if any(_leaks(n) for n in plain) else 1.0
        again = compile(import_model(path, T=program.T, dt=dt, coding=program.graph.source.coding))
    expected = simulate(program, example.images, threads=1)
    found = simulate(again, example.images, threads=1)
    np.testing.assert_allclose(found.logits, expected.logits, rtol=1e-5, atol=1e-5)


def _leaks(node: Any) -> bool:
    return isinstance(node, ir.Population | ir.Readout) and (
        np.any(node.tau < 1) or np.any(getattr(node, "tau_syn", 0) > 0)
    )


# --- what the sidecar keeps ----------------------------------------------------------------------


def network(tau: float = 0.5, tau_syn: float = 0.0, T: int = 10, **neuron: Any) -> ir.SpikingGraph:
    rng = np.random.default_rng(0)

    def weight(*shape: int) -> np.ndarray:
        return (rng.integers(-32, 64, shape) / 64).astype(np.float32)

    bias = weight(4, 1, 1) / 8
    nodes = [
        ir.Source("input", (2, 6, 6), "events"),
        ir.Population("a", (4, 6, 6), tau, bias=bias, tau_syn=tau_syn, **neuron),
        ir.Population("b", (8,), tau, tau_syn=tau_syn, **neuron),
        ir.Readout("logits", (3,), weight(3)),
    ]
    edges = [
        ir.Projection("input", "a", (ir.Conv2d(weight(4, 2, 3, 3), padding=(1, 1)),)),
        ir.Projection("a", "b", (ir.Dense((weight(8, 144) - 0.1875) / 8),)),
        ir.Projection("b", "logits", (ir.Dense(weight(3, 8)),)),
    ]
    return ir.SpikingGraph(nodes, edges, T)


def frames(seed: int = 1) -> np.ndarray:
    return (np.random.default_rng(seed).random((1, 10, 2, 6, 6)) < 0.3).astype(np.float32)


@pytest.mark.parametrize("tau", [0.5, 0.9, 1.0])
@pytest.mark.parametrize("tau_syn", [0.0, 0.5])
def test_neurons_of_the_network_spike_now_and_then(tau: float, tau_syn: float) -> None:
    """Those that always do would hide what a file got wrong."""
    spikes = simulate(compile(network(tau, tau_syn)), frames(), record=True, threads=1).spikes
    assert all(0.3 < s.mean() < 0.9 for s in spikes.values())


def test_the_sidecar_has_what_nir_has_no_place_for(tmp_path: Path) -> None:
    graph = network(reset="soft", v_init=0.5, comparison=">=")
    program = compile(graph, Confidence(0.8), schedule="gated")
    path = export(program, tmp_path)
    again = import_model(path)
    assert again.provenance["schedule"] == "gated"
    assert again.provenance["exit_rule"] == program.exit_rule.to_dict()
    assert compile(again).fingerprint == program.fingerprint
    changed = findings(tmp_path, "approximated")
    for name in ("a", "b"):
        assert f"{name}: a soft reset by 1" in changed
        assert f"{name}: starts at 0.5" in changed and f"{name}: spikes at its threshold" in changed


def test_recordings_may_be_binned_anew(tmp_path: Path) -> None:
    path = export(compile(network()), tmp_path)
    graph = import_model(path, T=30, step_us=1000.0, counts_events=True)
    assert (graph.T, graph.source.step_us, graph.source.counts_events) == (30, 1000.0, True)
    counted = import_model(path, counts_events=True)
    assert (counted.T, counted.source.step_us, counted.source.counts_events) == (10, 0.0, True)
    with pytest.raises(ModelError, match=r"dt = 0.1, but its sidecar"):
        import_model(path, dt=0.1)


@pytest.mark.parametrize("damage", ["checksum", "json", "version", "node", "rule", "stride"])
def test_a_sidecar_that_does_not_fit(tmp_path: Path, damage: str) -> None:
    path = export(compile(network()), tmp_path)
    beside = tmp_path / "network.nir.json"
    stored = json.loads(beside.read_text())
    if damage == "checksum":
        nir.write(path, nir.read(path))
    elif damage == "node":
        stored["arrays"] = {key: ["gone", "", [1]] for key in stored["arrays"]}
    elif damage == "version":
        stored["version"] = 99
    elif damage == "rule":
        stored["exit_rule"] = {"rule": "confidence", "alpha": 2}
    elif damage == "stride":
        stored["projections"][0]["stride"] = [0, 0]
    if damage != "checksum":
        beside.write_text("{" if damage == "json" else json.dumps(stored))
    with pytest.raises(ModelError, match=r"network\.nir\.json: ") as error:
        import_model(path)
    assert "\n" not in str(error.value)


def test_integers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SeennError, match=r"int8.*float32"):
        export(compile(network(), precision="int8"), tmp_path)


def test_sums_meet(tmp_path: Path) -> None:
    """A sum has no node: its summands lead to what it feeds, twice where they are in it twice."""
    graph = network()
    nodes = [*graph.order[:3], ir.Population("c", (8,)), ir.Sum("s", (8,)), ir.Sum("s2", (8,))]
    edges = [*list(graph.projections)[:2], ir.Projection("b", "c", (ir.Identity(),))]
    edges += [ir.Projection(n, "s", (ir.Identity(),)) for n in ("b", "c")]
    edges += [ir.Projection(n, "s2", (ir.Identity(),)) for n in ("s", "b")]
    edges += [ir.Projection("s2", "logits", (ir.Dense(np.ones((3, 8), np.float32)),))]
    program = compile(ir.SpikingGraph([*nodes, graph.readout], edges, 10))
    path = export(program, tmp_path)
    assert compile(import_model(path)).fingerprint == program.fingerprint
    (tmp_path / "network.nir.json").unlink()
    alone = simulate(compile(import_model(path, T=10)), frames(), threads=1)
    expected = simulate(program, frames(), threads=1)
    np.testing.assert_allclose(alone.logits, expected.logits, atol=1e-5)


def alone(program: ir.Program, folder: Path, dt: float) -> tuple[ir.SpikingGraph, np.ndarray]:
    """The graph and the logits of the file without its sidecar."""
    path = export(program, folder)
    (folder / "network.nir.json").unlink()
    graph = import_model(path, T=program.T, dt=dt)
    return graph, simulate(compile(graph), frames(), threads=1).logits


def test_grouped_convolutions_without_the_sidecar(tmp_path: Path) -> None:
    """One of them dilated, its kernel not square."""
    rng = np.random.default_rng(5)
    graph = network(tau=1.0)
    first, *rest = graph.projections
    last = ir.Dense(rng.integers(-32, 33, (8, 6 * 4 * 6)).astype(np.float32) / 32)
    weight = rng.integers(-4, 20, (6, 2, 3, 1)).astype(np.float32) / 64
    grouped = ir.Conv2d(weight, dilation=(1, 2), groups=2)
    nodes = [*graph.order[:2], ir.Population("c", (6, 4, 6), 1.0), *graph.order[2:]]
    edges = [first, ir.Projection("a", "c", (grouped,)), ir.Projection("c", "b", (last,)), rest[1]]
    program = compile(ir.SpikingGraph(nodes, edges, graph.T))
    found = alone(program, tmp_path, 1.0)[1]
    expected = simulate(program, frames(), record=True, threads=1)
    assert all(0.1 < spikes.mean() < 0.7 for spikes in expected.spikes.values())
    np.testing.assert_allclose(found, expected.logits, atol=1e-4)


def test_the_same_edge_twice_counts_twice(tmp_path: Path) -> None:
    graph = network(tau=1.0)
    nodes = [*graph.order[:3], ir.Population("c", (8,), 1.0, v_threshold=1.5), graph.readout]
    first, second, last = graph.projections
    edges = [
        first,
        second,
        *[ir.Projection("b", "c", (ir.Identity(),))] * 2,
        replace(last, pre="c"),
    ]
    program = compile(ir.SpikingGraph(nodes, edges, graph.T))
    expected = simulate(program, frames(), record=True, threads=1)
    assert np.array_equal(expected.spikes["c"], expected.spikes["b"])  # 2 is above 1.5, 1 is not
    assert expected.spikes["c"].any()
    np.testing.assert_allclose(alone(program, tmp_path, 1.0)[1], expected.logits, atol=1e-4)


def normalized() -> ir.Program:
    """A mean of 0.25 and 0.5 is taken from the channels before they are padded."""
    graph = network()
    image = np.ones((2, 6, 6)) * np.array([0.25, 0.5])[:, None, None]
    conv = graph.into("a")[0].synapses
    border = naive_nir._conv(image, conv.weight, (1, 1), (1, 1), (1, 1), 1, np.zeros(4))
    bias = (graph.node("a").bias - border).astype(np.float32)
    return compile(
        graph.replace([replace(n, bias=bias) if n.name == "a" else n for n in graph.order])
    )


def test_a_policy_network_goes_with_its_file(tmp_path: Path) -> None:
    """And without it, or with another one, no other rule is taken silently."""
    graph = graphs.small(4)
    rule = policies.convolutional(graph, tmp_path / "policy.onnx", (1, 2, 4), seed=3)
    (tmp_path / "nir").mkdir()
    path = export(compile(graph, rule), tmp_path / "nir")
    command = ["compile", str(path), "-o", str(tmp_path / "build"), "--force"]
    assert CliRunner().invoke(seenn, command).exit_code == 0
    again = ir.Program.load(tmp_path / "build").exit_rule
    x = list(graphs.images(graph, 8))
    assert again.steps(x).tolist() == rule.steps(x).tolist()
    policies.convolutional(graph, tmp_path / "nir/policy.onnx", (1, 2, 4), seed=4)
    with pytest.raises(ModelError, match=r"policy\.onnx: not what network\.nir was exported with"):
        CliRunner().invoke(seenn, command, catch_exceptions=False)
    (tmp_path / "nir/policy.onnx").unlink()
    with pytest.raises(ModelError, match=r"policy\.onnx: .*put it back"):
        CliRunner().invoke(seenn, command, catch_exceptions=False)


def test_a_foreign_network_runs_all_timesteps_unless_told(tmp_path: Path) -> None:
    path = export(compile(network()), tmp_path)
    (tmp_path / "network.nir.json").unlink()
    command = ["compile", str(path), "-T", "10", "-o", str(tmp_path / "build")]
    assert CliRunner().invoke(seenn, command).exit_code == 0
    assert ir.Program.load(tmp_path / "build").exit_rule == Fixed()


def test_what_is_taken_before_padding_is_a_convolution(tmp_path: Path) -> None:
    program = normalized()
    path = export(program, tmp_path)
    nodes = nir.read(path).nodes
    np.testing.assert_allclose(nodes["input_a_shift"].bias, [-0.25, -0.5], atol=1e-6)
    assert not np.any(nodes["a"].v_leak)
    assert compile(import_model(path)).fingerprint == program.fingerprint
    (tmp_path / "network.nir.json").unlink()
    again = import_model(path, T=10, dt=1e-4)
    conv, before = (g.into("a")[0].synapses for g in (again, program.graph))
    assert isinstance(conv, ir.Conv2d) and np.array_equal(conv.weight, before.weight)
    np.testing.assert_allclose(again.node("a").bias, program.graph.node("a").bias, atol=1e-6)


def test_biases_without_a_pattern_are_leaks(tmp_path: Path) -> None:
    graph = network()
    bias = np.random.default_rng(2).random((4, 6, 6)).astype(np.float32)
    nodes = [replace(n, bias=bias) if n.name == "a" else n for n in graph.order]
    leak = nir.read(export(compile(graph.replace(nodes)), tmp_path)).nodes["a"].v_leak
    np.testing.assert_allclose(leak, 2 * bias)  # a timestep takes half


def test_a_bias_behind_a_synaptic_current_settles_to_the_same(tmp_path: Path) -> None:
    """A leak of 3/4 makes it four times as large before a timestep takes half of it."""
    graph = network(tau_syn=0.75)
    bias = np.random.default_rng(2).random((4, 6, 6)).astype(np.float32)
    nodes = [replace(n, bias=bias) if n.name == "a" else n for n in graph.order]
    leak = nir.read(export(compile(graph.replace(nodes)), tmp_path)).nodes["a"].v_leak
    np.testing.assert_allclose(leak, 2 * 4 * bias)


def test_a_bias_that_padding_nearly_explains_stays_one_a_neuron(tmp_path: Path) -> None:
    program = normalized()
    bias = program.graph.node("a").bias.copy()
    bias[0, 3, 3] += 0.01 * np.abs(bias).max()
    nodes = [replace(n, bias=bias) if n.name == "a" else n for n in program.graph.order]
    found = nir.read(export(compile(program.graph.replace(nodes)), tmp_path)).nodes
    assert "input_a_shift" not in found
    np.testing.assert_allclose(found["a"].v_leak, 2 * bias, rtol=1e-6)


def test_a_saved_program_has_the_folder(tmp_path: Path) -> None:
    compile(network()).save(tmp_path / "build", targets=["nir"])
    assert {p.name for p in (tmp_path / "build" / "nir").iterdir()} == {
        "network.nir", "network.nir.json", "report.json",
    }  # fmt: skip


# --- what others make of it ----------------------------------------------------------------------


def others(path: Path, reader: Any, **options: Any) -> np.ndarray:
    """Outputs of a torch module that nirtorch made, summed over time."""
    torch = import_module("torch")
    module = reader(nir.read(path), **options)
    state, found = {}, []
    for frame in frames()[0]:
        arguments = (state,) if state else ()
        out, state = module(torch.tensor(frame[None]), *arguments)
        found.append(out.detach().numpy().reshape(-1))
    return np.cumsum(found, axis=0)


@pytest.mark.parametrize(("tau", "tau_syn"), [(0.5, 0.0), (0.9, 0.0), (0.5, 0.5)])
def test_snntorch_gives_the_same(tmp_path: Path, tau: float, tau_syn: float) -> None:
    reader = import_module("snntorch.import_nir").import_from_nir
    program = compile(network(tau, tau_syn))
    found = others(export(program, tmp_path), reader)
    np.testing.assert_allclose(found, simulate(program, frames(), threads=1).logits[0], atol=1e-5)


def test_normalisation_in_spikingjelly_and_snntorch(tmp_path: Path) -> None:
    exchange = import_module("spikingjelly.activation_based.nir_exchange")
    reader = import_module("snntorch.import_nir").import_from_nir
    program = normalized()
    path, logits = export(program, tmp_path), simulate(program, frames(), threads=1).logits[0]
    for found in others(path, exchange.import_from_nir, dt=1e-4), others(path, reader):
        np.testing.assert_allclose(found, logits, atol=1e-5)


def test_the_network_of_the_examples_in_spikingjelly(tmp_path: Path) -> None:
    """Skip connections, images with a mean and a deviation: the same logits at each timestep."""
    exchange = import_module("spikingjelly.activation_based.nir_exchange")
    import torch

    folder = Path(__file__).parents[3] / "examples"
    program = compile(import_model(folder / "resnet20_T4_cifar10.pth"), Fixed())
    module = exchange.import_from_nir(nir.read(export(program, tmp_path)), dt=1e-4)
    images = np.load(folder / "cifar10_200.npz")["x"][:2]
    state, said = {}, []
    with torch.no_grad():
        for _ in range(program.T):
            x = torch.tensor(images.transpose(0, 3, 1, 2) / np.float32(255))
            out, state = module(x, *((state,) if state else ()))
            said.append(out.numpy())
    expected = simulate(program, images, threads=1).logits
    np.testing.assert_allclose(np.cumsum(said, axis=0).swapaxes(0, 1), expected, atol=1e-4)


@pytest.mark.parametrize(("tau", "tau_syn"), [(0.5, 0.0), (0.9, 0.0), (0.5, 0.5), (1.0, 0.0)])
def test_spikingjelly_gives_the_same(tmp_path: Path, tau: float, tau_syn: float) -> None:
    exchange = import_module("spikingjelly.activation_based.nir_exchange")
    program = compile(network(tau, tau_syn))
    path = export(program, tmp_path)
    found = others(path, exchange.import_from_nir, dt=1.0 if tau == 1 else 1e-4)
    np.testing.assert_allclose(found, simulate(program, frames(), threads=1).logits[0], atol=1e-5)


@pytest.mark.parametrize(("tau", "tau_syn"), [(1.0, 0.0), (0.5, 0.5), (0.9, 0.5)])
def test_norse_gives_the_same(tmp_path: Path, tau: float, tau_syn: float) -> None:
    """Of IF and CubaLIF; Norse ignores the r of a LIF, and warns."""
    reader = import_module("norse.torch").from_nir
    program = compile(network(tau, tau_syn))
    found = others(export(program, tmp_path), reader, dt=1.0 if tau == 1 else 1e-4)
    np.testing.assert_allclose(found, simulate(program, frames(), threads=1).logits[0], atol=1e-5)
