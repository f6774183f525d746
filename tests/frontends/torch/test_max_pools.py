"""Max pools over currents, in front of neurons: equal to the module, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import snntorch
import torch
from spikingjelly.activation_based import functional as sj
from spikingjelly.activation_based import layer, neuron
from torch import Tensor, nn
from torch.nn import functional

import seenn_deploy as sd
from seenn_deploy import ir
from seenn_deploy.errors import ProgramError
from seenn_deploy.fidelity import RefusedError
from tests import naive

T = 4


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


class Tutorial6(nn.Module):
    """snnTorch's sixth tutorial: convolution, max pool, Leaky, twice, in a loop over timesteps."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 12, 5), nn.Conv2d(12, 64, 5)
        self.fc1 = nn.Linear(64 * 4 * 4, 10)
        self.lif1, self.lif2, self.lif3 = (snntorch.Leaky(beta=0.5) for _ in range(3))
        for parameter in self.parameters():
            parameter.data *= 3

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mem1, mem2, mem3 = (lif.init_leaky() for lif in (self.lif1, self.lif2, self.lif3))
        spikes, potentials = [], []
        for _ in range(T):
            spk1, mem1 = self.lif1(functional.max_pool2d(self.conv1(x), 2), mem1)
            spk2, mem2 = self.lif2(functional.max_pool2d(self.conv2(spk1), 2), mem2)
            spk3, mem3 = self.lif3(self.fc1(spk2.view(x.shape[0], -1)), mem3)
            spikes.append(spk3)
            potentials.append(mem3)
        return torch.stack(spikes), torch.stack(potentials)


class Padded(nn.Module):
    """SpikingJelly's layers, batch norm on both sides of a pool whose windows overlap."""

    def __init__(self, mode: str) -> None:
        super().__init__()
        self.net = nn.Sequential(
            layer.Conv2d(3, 8, 3, padding=1, bias=False), layer.BatchNorm2d(8),
            layer.MaxPool2d(3, 2, 1), layer.BatchNorm2d(8), neuron.LIFNode(),
            layer.Conv2d(8, 16, 3, padding=1), layer.MaxPool2d((1, 2)), neuron.IFNode(),
            layer.Flatten(), layer.Linear(16 * 4 * 2, 5),
        )  # fmt: skip
        for part in self.net:
            if isinstance(part, nn.Conv2d | nn.Linear):
                part.weight.data *= 3
            if isinstance(part, nn.BatchNorm2d):
                part.running_mean.uniform_(-0.3, 0.3)
                part.running_var.uniform_(0.3, 1)
                part.weight.data.uniform_(0.5, 1.5)
                part.bias.data.uniform_(-0.3, 0.3)
        sj.set_step_mode(self, mode)
        self.mode = mode

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x[None].repeat(T, 1, 1, 1, 1) if self.mode == "m" else x)


def imported(net: nn.Module, x: Tensor, steps: Callable[[nn.Module], Tensor]) -> Any:
    """The program of a module, whose logits and spikes were compared with it on `x`."""
    graph = sd.import_model(net.eval(), x, T=T, output=0 if isinstance(net, Tutorial6) else None)
    sj.reset_net(net)
    with torch.no_grad():
        own = steps(net).transpose(0, 1).cumsum(1).numpy()
    run = sd.simulate(sd.compile(graph), x.numpy(), full_trace=True, record=True)
    assert [n for n, spikes in run.spikes.items() if not spikes.any()] == []
    np.testing.assert_allclose(run.logits, own, rtol=1e-5, atol=1e-5)
    return graph, run


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], Callable[[Any], Tensor]]] = {
    "snnTorch's tutorial 6": (Tutorial6, (3, 1, 28, 28), lambda net: net(net.given)[0]),
    "multi-step": (lambda: Padded("m"), (3, 3, 8, 8), lambda net: net(net.given)),
    "single-step": (
        lambda: Padded("s"), (3, 3, 8, 8),
        lambda net: torch.stack([net(net.given) for _ in range(T)]),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_with_max_pools_of_currents(name: str) -> None:
    make, shape, steps = NETWORKS[name]
    net, x = make(), torch.rand(shape)
    net.given = x
    graph, run = imported(net, x, steps)
    pools = [n for n in graph.layers if isinstance(n, ir.Maximum)]
    assert len(pools) == 2
    per_step = sum(naive.largest(n, np.zeros((1, n.shape[0], *n.before)))[1] for n in pools)
    assert (run.counts.comparisons.sum(axis=(1, 2)) == T * per_step).all()


def test_int8_is_close_and_kept_in_files(tmp_path: Path) -> None:
    net, x = Padded("s").eval(), torch.rand(20, 3, 8, 8)
    graph = sd.import_model(net, x, T=T)
    exact = sd.simulate(sd.compile(graph), x.numpy(), full_trace=True)
    program = sd.compile(graph, precision="int8", calibration=x.numpy())
    run = sd.simulate(program, x.numpy(), full_trace=True)
    scale = np.abs(exact.logits).max()
    assert np.abs(run.logits - exact.logits).mean() < 0.05 * scale
    program.save(tmp_path / "program")
    again = sd.simulate(sd.load(tmp_path / "program"), x.numpy(), full_trace=True)
    np.testing.assert_array_equal(again.logits, run.logits)


def test_targets_that_cannot_take_one_say_so(tmp_path: Path) -> None:
    program = sd.compile(sd.import_model(Padded("s").eval(), torch.rand(2, 3, 8, 8), T=T))
    with pytest.raises(ProgramError, match=r"net\.4: target lava has no process for a max pool"):
        program.save(tmp_path / "program", targets=["lava"])
    assert not (tmp_path / "program").exists()
    with pytest.raises(RefusedError, match=r"net\.4: NIR has no node for a max pool over currents"):
        program.save(tmp_path / "program", targets=["nir"])


class Behind(nn.Module):
    """A max pool of currents with something else than neurons behind it."""

    def __init__(self, behind: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        self.conv, self.conv2 = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.bn, self.lif, self.fc = nn.BatchNorm2d(8), neuron.LIFNode(), nn.Linear(8 * 16, 5)
        self.lif2, self.last = neuron.LIFNode(), nn.Linear(8 * 4, 5)
        self.bn.weight.data[2] = -1
        self.behind = behind

    def forward(self, x: Tensor) -> Tensor:
        return self.behind(self, functional.max_pool2d(self.conv(x), 2))


@pytest.mark.parametrize(
    "behind",
    [
        lambda net, h: net.fc(net.lif(net.conv2(h)).flatten(1)),
        lambda net, h: net.fc(net.lif(net.bn(h)).flatten(1)),
        lambda net, h: net.fc(net.lif(-h).flatten(1)),
        lambda net, h: net.fc(net.lif(h + h).flatten(1)),
        lambda net, h: net.fc(net.lif(functional.max_pool2d(h, 3, 1, 1)).flatten(1)),
        lambda net, h: net.fc(net.lif2(net.conv2(net.lif(h)) + h).flatten(1)),
        lambda net, h: net.last(net.lif(functional.avg_pool2d(h, 2)).flatten(1)),
    ],
)
def test_what_else_takes_largest_currents_has_them_sent_on(behind: Any) -> None:
    net = Behind(behind)
    net.given = x = 8 * torch.randn(3, 3, 8, 8)
    graph, _ = imported(net, x, lambda net: torch.stack([net(net.given) for _ in range(T)]))
    assert any(isinstance(node, ir.Relay) for node in graph.layers)


@pytest.mark.parametrize(
    ("behind", "says"),
    [
        (lambda net, h: h.flatten(1), "output at .*: the largest currents of a max pool; let"),
        (
            lambda net, h: net.fc(net.lif(h[:, :4].repeat(1, 2, 1, 1)).flatten(1)),
            "a part of an axis",
        ),
    ],
)
def test_what_no_neurons_take_is_refused(behind: Any, says: str) -> None:
    with pytest.raises(RefusedError, match=says):
        sd.import_model(Behind(behind).eval(), torch.rand(2, 3, 8, 8), T=T)


def test_factors_above_zero_move_in_front_of_the_pool() -> None:
    net = Behind(lambda net, h: net.fc(net.lif(2 * h / 0.5 + 0.1).flatten(1)))
    net.given = x = torch.rand(3, 3, 8, 8)
    graph, _ = imported(net, x, lambda net: torch.stack([net(net.given) for _ in range(T)]))
    assert not any(isinstance(node, ir.Relay) for node in graph.layers)


class Between(nn.Module):
    """Linear maps in a row between two layers of neurons, which are no one map."""

    def __init__(self, *between: nn.Module) -> None:
        super().__init__()
        self.conv, self.between = nn.Conv2d(3, 4, 3, padding=1), nn.Sequential(*between)
        self.lif, self.lif2 = neuron.LIFNode(), neuron.LIFNode(v_threshold=0.1)
        self.fc = nn.LazyLinear(5)
        self(torch.rand(1, 3, 8, 8))
        sj.reset_net(self)
        for part in self.modules():
            if isinstance(part, nn.Conv2d):
                part.weight.data *= 4

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.lif2(self.between(self.lif(self.conv(x)))).flatten(1))


def conv(kernel: int = 3, **settings: Any) -> nn.Conv2d:
    return nn.Conv2d(4, 4, kernel, padding=kernel // 2, **settings)


@pytest.mark.parametrize(
    ("between", "sent_on"),
    [
        ((conv(), conv()), 1),
        ((conv(groups=4), nn.BatchNorm2d(4), conv(1)), 1),
        ((nn.AvgPool2d(3, 2), conv()), 1),
        ((conv(), nn.AvgPool2d(3, 1, 1)), 1),
        ((nn.AvgPool2d(3, 2, 1),), 0),
        ((nn.AvgPool2d(2, divisor_override=3),), 0),
    ],
)
def test_a_map_that_is_no_part_of_the_one_before(between: Any, sent_on: int) -> None:
    net = Between(*between)
    net.given = x = 2 * torch.rand(3, 3, 8, 8)
    graph, _ = imported(net, x, lambda net: torch.stack([net(net.given) for _ in range(T)]))
    assert sum(isinstance(node, ir.Relay) for node in graph.layers) == sent_on
    program = sd.compile(graph)
    counts = sd.simulate(program, x.numpy(), full_trace=True).counts
    np.testing.assert_array_equal(counts.mac, counts.own_mac)  # no map was merged into another
