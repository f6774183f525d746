"""Norse's neurons, spike for spike, and its readouts."""

from __future__ import annotations

from typing import Any

import norse.torch as norse
import numpy as np
import pytest
import torch
from torch import Tensor, nn

import seenn_deploy as sd
from tests.frontends.torch.agreement import compare, recorded


def tensors(**values: float) -> dict[str, Tensor]:
    return {name: torch.as_tensor(value) for name, value in values.items()}


class Streams(nn.Module):
    def __init__(self, **p: float) -> None:
        super().__init__()
        given = tensors(**{"tau_syn_inv": 300.0, "tau_mem_inv": 250.0, **p})
        self.fc1, self.fc2 = nn.Linear(12, 30), nn.Linear(30, 4)
        self.lif1, self.lif2 = (norse.LIF(norse.LIFParameters(**given)) for _ in "12")

    def forward(self, x: Tensor) -> Tensor:
        spikes, _ = self.lif1(6 * self.fc1(x))
        spikes, _ = self.lif2(6 * self.fc2(spikes))
        return spikes


class Cells(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(12, 30), nn.Linear(30, 4)
        box = norse.LIFBoxParameters(**tensors(tau_mem_inv=400.0, v_leak=0.2, v_reset=-0.1))
        self.box = norse.LIFBoxCell(box)
        self.iaf = norse.IAFCell(norse.IAFParameters(**tensors(v_reset=0.3)))

    def forward(self, x: Tensor) -> Tensor:
        first = second = None
        out = []
        for frame in x:
            spikes, first = self.box(6 * self.fc1(frame), first)
            spikes, second = self.iaf(self.fc2(spikes), second)
            out.append(spikes)
        return torch.stack(out)


def frames(n: int = 200, T: int = 5) -> Tensor:
    seeded = torch.Generator().manual_seed(2)
    return (torch.rand(T, n, 12, generator=seeded) < 0.5).float()


@pytest.mark.parametrize("net", [Streams(), Streams(v_leak=0.1, v_reset=0.1), Cells()])
def test_norse(net: nn.Module) -> None:
    torch.manual_seed(4)
    for part in net.modules():
        if isinstance(part, nn.Linear):
            part.reset_parameters()
    x, cells = frames(), isinstance(net, Cells)
    graph = sd.import_model(net, x[:, :2])
    names = ["box", "iaf"] if cells else ["lif1", "lif2"]
    seen = recorded(net, names, lambda: net(x))
    layers = {n: np.moveaxis(s if cells else s[0], 0, 1) for n, s in seen.items()}
    found, _ = compare(graph, np.moveaxis(x.numpy(), 0, 1)[..., None, None], layers)
    assert found.errors == 0 and found.silent == () and found.near >= 10


class LeakyReadout(nn.Module):
    def __init__(self, cells: bool) -> None:
        super().__init__()
        self.cells, self.fc1, self.fc2 = cells, nn.Linear(12, 30), nn.Linear(30, 4)
        self.lif = norse.LIFCell() if cells else norse.LIF()
        self.li = norse.LICell() if cells else norse.LI()

    def forward(self, x: Tensor) -> Tensor:
        if not self.cells:
            return self.li(self.fc2(self.lif(8 * self.fc1(x))[0]))[0]
        first = second = None
        out = []
        for frame in x:
            spikes, first = self.lif(8 * self.fc1(frame), first)
            potential, second = self.li(self.fc2(spikes), second)
            out.append(potential)
        return torch.stack(out)


@pytest.mark.parametrize("cells", [True, False])
def test_a_leaky_integrator_reads_out(cells: bool) -> None:
    torch.manual_seed(4)
    net, x = LeakyReadout(cells), frames(n=20, T=12)
    graph = sd.import_model(net, x)
    assert graph.readout.tau == pytest.approx(0.9) and graph.readout.tau_syn == pytest.approx(0.8)
    data = np.moveaxis(x.numpy(), 0, 1)[..., None, None]
    run = sd.simulate(sd.compile(graph), data, full_trace=True)
    with torch.no_grad():
        potentials = np.moveaxis(net(x).numpy(), 0, 1)
    assert potentials.std() > 0.1
    np.testing.assert_allclose(run.logits, potentials, atol=1e-5)


def test_a_readout_that_does_not_rest_at_0_is_refused() -> None:
    net = LeakyReadout(True)
    net.li = norse.LICell(norse.LIParameters(v_leak=torch.tensor(0.5)))
    with pytest.raises(sd.SeennError, match=r"li \(LICell\).*v_leak other than 0"):
        sd.import_model(net, frames(2))


def test_a_leak_beside_a_synaptic_current_is_refused() -> None:
    with pytest.raises(sd.SeennError, match="v_leak differs from v_reset"):
        sd.import_model(Streams(v_leak=0.1), frames(2))


class OneStep(nn.Module):
    """A cell a call: whoever calls it hands the state on, or it is lost."""

    def __init__(self, returned: bool) -> None:
        super().__init__()
        self.returned, self.cells = returned, Cells()

    def forward(self, x: Tensor) -> Any:
        spikes, first = self.cells.box(6 * self.cells.fc1(x))
        spikes, second = self.cells.iaf(self.cells.fc2(spikes))
        return (spikes, (first, second)) if self.returned else spikes


def test_states_must_be_returned_where_a_call_is_a_timestep() -> None:
    assert sd.import_model(OneStep(True), frames()[0], T=5).T == 5
    assert sd.import_model(OneStep(False), frames()[0], T=1).T == 1
    with pytest.raises(sd.SeennError, match=r"cells.box: its state is dropped after each"):
        sd.import_model(OneStep(False), frames()[0], T=5)


class ConvNet(nn.Module):
    """The network of Norse's MNIST example, narrower: max pools of spikes, a leaky readout."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 4, 5), nn.Conv2d(4, 6, 5)
        self.fc1, self.fc2, self.out = nn.Linear(96, 20), nn.Linear(20, 5), norse.LICell()
        self.lif0, self.lif1, self.lif2 = (norse.LIFCell() for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        s0 = s1 = s2 = so = None
        voltages = []
        for frame in x:
            z, s0 = self.lif0(30 * self.conv1(frame), s0)
            z = nn.functional.max_pool2d(z, 2, 2)
            z, s1 = self.lif1(30 * self.conv2(z), s1)
            z = nn.functional.max_pool2d(z, 2, 2)
            z, s2 = self.lif2(30 * self.fc1(z.flatten(1)), s2)
            v, so = self.out(self.fc2(nn.functional.relu(z)), so)
            voltages.append(v)
        return torch.stack(voltages)


def test_the_network_of_the_mnist_example() -> None:
    torch.manual_seed(0)
    net, x = ConvNet(), (torch.rand(8, 3, 1, 28, 28) < 0.5).float()
    run = sd.simulate(
        sd.compile(sd.import_model(net, x)), x.transpose(0, 1).numpy(), full_trace=True, record=True
    )
    assert [name for name, spikes in run.spikes.items() if not spikes.any()] == []
    with torch.no_grad():
        own = net(x).transpose(0, 1).numpy()
    np.testing.assert_allclose(run.logits, own, rtol=1e-4, atol=1e-5)
    assert own.std() > 0
