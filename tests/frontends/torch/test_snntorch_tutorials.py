"""The networks of snnTorch's tutorials, written anew: equal to themselves, or refused by name.

Tutorial 1 has no network; tutorial 5 is in ``test_tutorials``, tutorial 6 in ``test_max_pools``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import snntorch
import torch
from snntorch import surrogate
from torch import Tensor, nn

import seenn_deploy as sd

T, INPUTS, HIDDEN, CLASSES = 6, 8, 12, 5
Make = Callable[[int], nn.Module]


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def lively(net: nn.Module) -> None:
    for part in net.modules():
        if isinstance(part, nn.Linear | nn.Conv2d):
            part.weight.data.mul_(4)


class Handing(nn.Module):
    """Tutorials 2 to 4, both on regression, and the docs' recurrent networks: states handed on."""

    def __init__(self, make: Make, init: str, reads: str = "spikes") -> None:
        super().__init__()
        self.init, self.reads = init, reads
        self.fc1, self.fc2 = nn.Linear(INPUTS, HIDDEN), nn.Linear(HIDDEN, CLASSES)
        lively(self)
        self.lif1, self.lif2 = make(HIDDEN), make(CLASSES)
        if reads == "mem":
            beta = torch.rand(CLASSES)
            self.lif2 = snntorch.Leaky(beta=beta, learn_beta=True, reset_mechanism="none")

    def start(self, layer: Any) -> tuple[Any, ...]:
        states = getattr(layer, self.init)()
        return states if isinstance(states, tuple) else (states,)

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.start(self.lif1), self.start(self.lif2)
        # Recurrent layers take their spikes back, in front of the other states.
        keep = 0 if self.init in ("init_rleaky", "init_rsynaptic") else 1
        seen = []
        for frame in x:
            spk1, *_ = got = self.lif1(self.fc1(frame), *first)
            first = got[keep:]
            spk2, *_, mem2 = got = self.lif2(self.fc2(spk1), *second)
            second = got[keep:]
            seen.append(spk2 if self.reads == "spikes" else mem2)
        return torch.stack(seen)


def leaky(n: int) -> nn.Module:
    """Leak and threshold of each neuron its own, as in the first tutorial on regression."""
    grad = surrogate.fast_sigmoid()
    own = {"beta": 0.2 + 0.8 * torch.rand(n), "threshold": 0.2 + torch.rand(n)}
    return snntorch.Leaky(**own, learn_beta=True, spike_grad=grad)


NETWORKS: dict[str, tuple[Make, str, str]] = {
    "2, Lapicque by R and C": (
        lambda n: snntorch.Lapicque(R=2, C=3, time_step=0.5, threshold=0.2), "init_lapicque",
        "spikes",
    ),
    "2, Lapicque by beta": (
        lambda n: snntorch.Lapicque(beta=0.7, threshold=0.2), "reset_mem", "spikes"
    ),
    "3, Leaky": (lambda n: snntorch.Leaky(beta=0.8), "init_leaky", "spikes"),
    "4, Synaptic": (lambda n: snntorch.Synaptic(alpha=0.9, beta=0.8), "init_synaptic", "spikes"),
    "regression 1": (leaky, "init_leaky", "mem"),
    "regression 2, RLeaky": (
        lambda n: snntorch.RLeaky(beta=0.8, linear_features=n), "init_rleaky", "spikes"
    ),
    "RLeaky, one to one": (
        lambda n: snntorch.RLeaky(beta=0.8, all_to_all=False, V=0.4), "init_rleaky", "spikes"
    ),
    "RSynaptic": (
        lambda n: snntorch.RSynaptic(alpha=0.6, beta=0.8, linear_features=n), "init_rsynaptic",
        "spikes",
    ),
    "RSynaptic, by neuron": (
        lambda n: snntorch.RSynaptic(alpha=0.6, beta=0.8, all_to_all=False, V=torch.rand(n)),
        "init_rsynaptic", "spikes",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_states_are_handed_on(name: str) -> None:
    net, x = Handing(*NETWORKS[name]).eval(), (torch.rand(T, 20, INPUTS) < 0.5).float()
    run = sd.simulate(
        sd.compile(sd.import_model(net, x[:, :2])), x.transpose(0, 1).numpy()[..., None, None],
        full_trace=True, record=True,
    )  # fmt: skip
    with torch.no_grad():
        own = net(x).transpose(0, 1).numpy()
    assert all(spikes.any() for spikes in run.spikes.values()) and own.std() > 0
    own = own if name == "regression 1" else own.cumsum(1)
    np.testing.assert_allclose(run.logits, own, rtol=1e-5, atol=1e-5)


def hidden(**options: Any) -> nn.Module:
    return snntorch.Leaky(beta=0.5, init_hidden=True, spike_grad=surrogate.atan(), **options)


def test_7_frames_of_a_camera() -> None:
    net = nn.Sequential(
        nn.Conv2d(2, 4, 5), nn.MaxPool2d(2), hidden(), nn.Conv2d(4, 6, 5), nn.MaxPool2d(2),
        hidden(), nn.Flatten(), nn.Linear(6 * 5 * 5, CLASSES), hidden(output=True),
    ).eval()  # fmt: skip
    lively(net)
    agree(net, (torch.rand(T, 3, 2, 34, 34) < 0.3).float())


def test_several_neurons_for_each_class() -> None:
    many = nn.Linear(HIDDEN, 4 * CLASSES)
    net = nn.Sequential(nn.Linear(INPUTS, HIDDEN), hidden(), many, hidden(output=True)).eval()
    lively(net)
    agree(net, torch.rand(T, 8, INPUTS).round())

    class Voting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: Tensor) -> Tensor:
            return torch.as_tensor(self.net(x)[0].unflatten(1, (CLASSES, 4)).sum(2))

    agree(Voting(), torch.rand(T, 8, INPUTS).round())


def agree(net: nn.Module, x: Tensor) -> None:
    """Import a network that is called once a frame, and hold its spikes against its own."""
    graph = sd.import_model(net, x[0, :2], T=T, coding="events")
    for part in net.modules():
        if isinstance(part, snntorch.Leaky):
            part.reset_mem()
    with torch.no_grad():
        results = [net(frame) for frame in x]
    steps = [spikes if isinstance(spikes, Tensor) else spikes[0] for spikes in results]
    own = torch.stack(steps, 1).cumsum(1).numpy()
    images = x.transpose(0, 1).reshape(x.shape[1], T, *graph.source.shape)
    run = sd.simulate(sd.compile(graph), images.numpy(), full_trace=True)
    assert own.std() > 0
    np.testing.assert_array_equal(run.logits, own)


@pytest.mark.parametrize(
    ("make", "init"),
    [
        (lambda n: snntorch.Alpha(alpha=0.9, beta=0.8), "init_alpha"),
        (lambda n: snntorch.SLSTM(n, n), "init_slstm"),
        (lambda n: snntorch.SConv2dLSTM(1, 1, 3), "init_sconv2dlstm"),
        (lambda n: snntorch.SConv2dLSTM(1, 1, 3), "a_name_of_no_known_reset"),
    ],
)
def test_what_no_population_does_is_refused_by_name(make: Make, init: str) -> None:
    net = Handing(make, init)
    with pytest.raises(sd.SeennError) as caught:
        sd.import_model(net, torch.rand(T, 2, INPUTS))
    said, kind = str(caught.value), type(net.lif1).__name__
    assert f"lif1 ({kind}) at test_snntorch_tutorials.py:" in said and "\n" not in said
    assert "this neuron is not supported: of snnTorch's neurons, Leaky, Lapicque" in said
