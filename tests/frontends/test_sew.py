"""SEW-ResNet, from torch to integers: spikes added to spikes, and what the next layer sees."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import seenn_deploy as sd
from seenn_deploy.errors import ModelError
from seenn_deploy.ir.graph import Population, SpikingGraph, Sum
from seenn_deploy.training import models
from seenn_deploy.training.models.neurons import LIF
from seenn_deploy.training.models.resnet import ResNet, SEWBlock
from tests import checkpoints, naive, naive_integer

T, SIZE = 3, 8


def network(blocks: tuple[int, ...] = (2, 1, 1), **options: int) -> ResNet:
    """Small, and lively: its batch norms make a quarter of the neurons fire."""
    torch.manual_seed(1)
    made = ResNet((4, 6, 5)[: len(blocks)], blocks, T=T, block=SEWBlock, **options)
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.8, 1.6)
            nn.init.uniform_(module.bias, -0.1, 0.5)
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.1, 0.6)
    return made.eval()


def run_torch(network: ResNet, x: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Accumulated logits, and by module what every LIF and every block sent."""
    sent: dict[str, np.ndarray] = {}

    def keep(name: str) -> object:
        return lambda _, __, out: sent.__setitem__(name, out.numpy())

    for name, module in network.named_modules():
        if isinstance(module, LIF | SEWBlock):
            module.register_forward_hook(keep(name))
    with torch.no_grad():
        return network(torch.from_numpy(x)).cumsum(1).numpy(), sent


def imported(folder: Path, network: ResNet, **options: object) -> SpikingGraph:
    torch.save(network.state_dict(), folder / "sew.pth")
    return sd.import_model(folder / "sew.pth", T=T, input_size=SIZE, **options)


@pytest.mark.parametrize("blocks", [(1,), (1, 1), (2, 1, 1)])
def test_every_spike_is_torch_s(tmp_path: Path, blocks: tuple[int, ...]) -> None:
    net = network(blocks)
    graph = imported(tmp_path, net, normalize=False)
    assert graph.provenance["family"] == "SEW-ResNet"
    x = checkpoints.images((5, 3, SIZE, SIZE))
    logits, sent = run_torch(net, x)
    run = sd.simulate(sd.compile(graph), x, full_trace=True, record=True)
    assert set(run.spikes) == {n.name for n in graph.layers if isinstance(n, Population)}
    assert {n.name for n in graph.layers if isinstance(n, Sum)} | set(run.spikes) == set(sent)
    for name, spikes in run.spikes.items():
        np.testing.assert_array_equal(spikes, sent[name] > 0, err_msg=name)
    np.testing.assert_allclose(run.logits, logits, atol=1e-5)
    assert 0.02 < np.mean([s.mean() for s in run.spikes.values()]) < 0.9


def test_counts_are_by_element(tmp_path: Path) -> None:
    """A 1 is added, a 2 is multiplied, each at the synapses that exist; graded spikes are told."""
    net = network()
    x = checkpoints.images((4, 3, SIZE, SIZE))
    _, sent = run_torch(net, x)
    run = sd.simulate(sd.compile(imported(tmp_path, net, normalize=False)), x, full_trace=True)
    at = run.layers.index
    block = torch.from_numpy(sent["layer1.0"])
    assert set(block.unique().tolist()) == {0.0, 1.0, 2.0}
    conv = torch.ones(4, 4, 3, 3)

    def meets(chosen: Tensor) -> np.ndarray:
        out = nn.functional.conv2d(chosen.flatten(0, 1).float(), conv, padding=1)
        return out.sum((1, 2, 3)).view(4, T).numpy()

    np.testing.assert_array_equal(run.counts.ac[:, at("layer1.1.main.1")], meets(block == 1))
    np.testing.assert_array_equal(run.counts.mac[:, at("layer1.1.main.1")], meets(block > 1))
    np.testing.assert_array_equal(
        run.counts.graded[:, at("layer1.0")], (block > 1).sum((2, 3, 4)).numpy()
    )
    assert not run.counts.graded[:, at("spike")].any()


def test_the_graph_computes_it_unfolded_too(tmp_path: Path) -> None:
    net = network((1, 1))
    graph = imported(tmp_path, net, normalize=False)
    x = checkpoints.images((1, 3, SIZE, SIZE))
    logits, _ = run_torch(net.double(), x.astype(np.float64))
    np.testing.assert_allclose(naive.run_chain(graph, x[0], T).logits, logits, atol=1e-9)


def test_event_frames_and_the_program_s_folder(tmp_path: Path) -> None:
    net = network((1, 1), in_channels=2)
    program = sd.compile(imported(tmp_path, net, coding="events"), sd.exits.Confidence(0.9))
    program.save(tmp_path / "build")
    again = sd.Program.load(tmp_path / "build")
    assert again.fingerprint == program.fingerprint
    x = checkpoints.events((3, T, 2, SIZE, SIZE), rate=0.5)
    logits, _ = run_torch(net, x)
    found = sd.simulate(again, x, full_trace=True).logits
    np.testing.assert_allclose(found, logits, atol=1e-5)


def test_integers(tmp_path: Path) -> None:
    """The int8 program is the integer oracle's, and its first layers the float network's."""
    graph = imported(tmp_path, network())
    x = checkpoints.images((3, 3, SIZE, SIZE))
    runs = [
        sd.simulate(program := sd.compile(graph, precision=p), x, full_trace=True, record=True)
        for p in ("float32", "int8")
    ]
    want = naive_integer.run(program.graph, x)
    for name, spikes in runs[1].spikes.items():
        np.testing.assert_array_equal(spikes, want.outputs[name] != 0, err_msg=name)
    np.testing.assert_array_equal(runs[1].integer_logits, want.logits)
    assert runs[1].counts.graded.any()
    for name in ("spike", "layer1.0.main.1", "layer1.0.main.3"):
        assert np.mean(runs[0].spikes[name] != runs[1].spikes[name]) < 0.1, name


def test_the_paper_s_size_is_recognised(tmp_path: Path) -> None:
    model = models.build("sew-resnet34", width=1 / 32, classes=100)
    torch.save(model.state_dict(), tmp_path / "sew.pth")
    graph = sd.import_model(tmp_path / "sew.pth")
    assert sum(isinstance(n, Sum) for n in graph.layers) == 16
    assert graph.depth[graph.readout.name] == 34
    assert graph.readout.shape == (100,)


def test_a_checkpoint_with_a_hole(tmp_path: Path) -> None:
    state = network((1, 1)).state_dict()
    del state["layer2.0.shortcut.0.module.0.weight"]
    torch.save(state, tmp_path / "sew.pth")
    with pytest.raises(ModelError, match=r"'layer2\.0\.shortcut\.0\.module\.0\.weight' is missing"):
        sd.import_model(tmp_path / "sew.pth")
