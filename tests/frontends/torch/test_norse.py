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


class Recalling(nn.Module):
    """The network of Norse's memory example, and of its speech commands: it gives the last step."""

    def __init__(self, cell: Any = norse.LIFRecurrentCell, last: str = "") -> None:
        super().__init__()
        self.last, self.layer, self.readout = last, cell(12, 20), norse.LILinearCell(20, 4)
        self.layer.input_weights.data.mul_(8)
        self.layer.recurrent_weights.data.mul_(2)

    def forward(self, x: Tensor) -> Tensor:
        first = second = None
        readouts = []
        for step in x.unbind(1):
            spikes, first = self.layer(step, first)
            v, second = self.readout(spikes, second)
            readouts.append(v)
        if self.last == "groups":
            return torch.stack([torch.stack(readouts[:5]), torch.stack(readouts[5:])])
        last = v.log_softmax(1) if self.last == "softmax" else v
        return last if self.last else torch.stack(readouts)


@pytest.mark.parametrize("last", ["", "v"])
def test_the_networks_of_the_memory_and_speech_examples(last: str) -> None:
    torch.manual_seed(0)
    net, x = Recalling(last=last), (torch.rand(6, 10, 12) < 0.5).float()
    weights = net.layer.input_weights.clone()
    graph = sd.import_model(net, x[:2])
    assert [e.pre for e in graph.projections if e.lag == 1] == ["layer"]
    assert torch.equal(weights, net.layer.input_weights)
    run = sd.simulate(sd.compile(graph), x.numpy()[..., None, None], full_trace=True, record=True)
    with torch.no_grad():
        own = net(x).numpy()
    assert run.spikes["layer"].any() and own.std() > 0.1
    own = own.swapaxes(0, 1) if not last else own[:, None]
    np.testing.assert_allclose(run.logits[:, -own.shape[1] :], own, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("net", "says"),
    [
        (Recalling(last="softmax"), r"test_norse.py:\d+: log_softmax is not supported; at"),
        (Recalling(last="groups"), "a stack of potentials that are not those of all timesteps"),
        (Recalling(norse.LSNNRecurrentCell), r"layer \(LSNNRecurrentCell\) at test_norse.py:\d+"),
    ],
)
def test_what_else_these_examples_do_is_refused(net: nn.Module, says: str) -> None:
    with pytest.raises(sd.SeennError, match=says):
        sd.import_model(net, torch.rand(2, 10, 12).round())


def test_a_recurrent_cell_a_call_is_refused() -> None:
    class OneCall(Recalling):
        def forward(self, x: Tensor) -> Any:
            spikes, first = self.layer(x)
            v, second = self.readout(spikes)
            return v, (first, second)

    with pytest.raises(sd.SeennError, match=r"layer at \S+: a recurrent layer of which the caller"):
        sd.import_model(OneCall(), torch.rand(2, 12), T=4)


class Cifar(nn.Module):
    """The network of Norse's CIFAR-10 example, narrower; it adds noise to each potential."""

    def __init__(self, noise: bool) -> None:
        super().__init__()
        p = norse.LIFParameters(v_th=torch.as_tensor(0.4))

        def conv(a: int, b: int) -> nn.Module:
            return nn.Conv2d(a, b, 3, padding=1, bias=False)

        self.noise = noise
        self.features = norse.SequentialState(
            conv(3, 4), norse.LIFCell(p), conv(4, 6), norse.LIFCell(p), nn.MaxPool2d(2),
            conv(6, 6), norse.LIFCell(p), nn.MaxPool2d(2), nn.Flatten(),
        )  # fmt: skip
        self.classification = norse.SequentialState(nn.Linear(24, 5, bias=False), norse.LICell())
        for part in self.modules():
            if isinstance(part, nn.Conv2d | nn.Linear):
                part.weight.data.mul_(12)

    def forward(self, x: Tensor) -> Tensor:
        voltages = []
        first = second = None
        for _ in range(12):
            out, first = self.features(x, first)
            v, second = self.classification(out, second)
            voltages.append(v + 0.001 * torch.randn(len(x), 5) if self.noise else v)
        return torch.stack(voltages)


def test_the_network_of_the_cifar_example() -> None:
    torch.manual_seed(0)
    net, x = Cifar(False), torch.rand(4, 3, 8, 8)
    run = sd.simulate(
        sd.compile(sd.import_model(net, x[:2])), x.numpy(), full_trace=True, record=True
    )
    assert [name for name, spikes in run.spikes.items() if not spikes.any()] == []
    with torch.no_grad():
        own = net(x).transpose(0, 1).numpy()
    assert own.std() > 0
    np.testing.assert_allclose(run.logits, own, rtol=1e-4, atol=1e-5)
    with pytest.raises(sd.SeennError, match=r"test_norse.py:\d+: randn gives random numbers"):
        sd.import_model(Cifar(True), x[:2])


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
