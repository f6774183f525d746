"""Norse's neurons: its own where it is installed, else modules of its names and equations."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import seenn_deploy as sd
from tests.frontends.torch_agreement import compare, recorded

DT = 0.001

try:
    import norse.torch as norse
except ImportError:

    def parameters(**given: float) -> SimpleNamespace:
        known = {"v_leak": 0.0, "v_th": 1.0, "v_reset": 0.0, **given}
        return SimpleNamespace(**{n: torch.as_tensor(v) for n, v in known.items()})

    class SNN(nn.Module):
        """Over (T, N, ..): spikes of all timesteps, and the last state."""

        __module__ = "norse.torch.module.snn"

        def __init__(self, p: Any, dt: float = DT) -> None:
            super().__init__()
            self.p, self.dt = p, dt

        def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
            spikes = []
            for frame in x:
                spike, state = self.step(frame, state)
                spikes.append(spike)
            return torch.stack(spikes), state

    class LIF(SNN):
        __module__ = "norse.torch.module.lif"

        def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
            p = self.p
            v, i = state or (torch.full_like(x, float(p.v_leak)), torch.zeros_like(x))
            i = i + x
            v = v + self.dt * p.tau_mem_inv * ((p.v_leak - v) + i)
            spike = (v > p.v_th).to(x.dtype)
            return spike, ((1 - spike) * v + spike * p.v_reset, i - self.dt * p.tau_syn_inv * i)

    class SNNCell(nn.Module):
        """One timestep."""

        __module__ = "norse.torch.module.snn"

        def __init__(self, p: Any, dt: float = DT) -> None:
            super().__init__()
            self.p, self.dt = p, dt

    class LIFBoxCell(SNNCell):
        __module__ = "norse.torch.module.lif_box"

        def forward(self, x: Tensor, v: Any = None) -> tuple[Tensor, Tensor]:
            p = self.p
            v = torch.full_like(x, float(p.v_leak)) if v is None else v
            v = v + self.dt * p.tau_mem_inv * (x + p.v_leak - v)
            spike = (v > p.v_th).to(x.dtype)
            return spike, (1 - spike) * v + spike * p.v_reset

    class IAFCell(SNNCell):
        __module__ = "norse.torch.module.iaf"

        def forward(self, x: Tensor, v: Any = None) -> tuple[Tensor, Tensor]:
            v = x + (self.p.v_reset if v is None else v)
            spike = (v > self.p.v_th).to(x.dtype)
            return spike, (1 - spike) * v + spike * self.p.v_reset

    norse: Any = SimpleNamespace(
        LIF=LIF, LIFBoxCell=LIFBoxCell, IAFCell=IAFCell, LIFParameters=parameters,
        LIFBoxParameters=parameters, IAFParameters=parameters,
    )  # fmt: skip


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
    with pytest.raises(sd.SeennError, match=r"cells.box: its state is dropped behind each"):
        sd.import_model(OneStep(False), frames()[0], T=5)
