"""Leaks and thresholds that differ by channel or by neuron: imported, equal, and in integers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import snntorch
import torch
from spikingjelly.activation_based import functional, neuron
from torch import Tensor, nn

import seenn_deploy as sd
from seenn_deploy.fidelity import RefusedError

T = 5


class Steps(nn.Module):
    """A convolution and a matrix, each with neurons; one of them may hand its state on."""

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.conv, self.fc = nn.Conv2d(1, 3, 3, padding=1), nn.Linear(3 * 16, 6)
        self.first, self.second, self.last = first, second, nn.Linear(6, 4)
        for part in (self.conv, self.fc, self.last):
            part.weight.data.mul_(3)

    def forward(self, x: Tensor) -> Tensor:
        outputs, states = [], [_fresh(self.first), _fresh(self.second)]
        for _ in range(T):
            spikes = self.conv(x)
            for i, layer in enumerate((self.first, self.second)):
                spikes = layer(spikes, *states[i])
                if isinstance(spikes, tuple):
                    spikes, *states[i] = spikes
                spikes = self.fc(spikes.flatten(1)) if not i else spikes
            outputs.append(self.last(spikes))
        return torch.stack(outputs)


def _fresh(layer: Any) -> list[Tensor]:
    found = layer.reset_mem() if isinstance(layer, snntorch.SpikingNeuron) else ()
    return [*found] if isinstance(found, tuple) else [found]


def leaky(*shape: int, **options: Any) -> nn.Module:
    return snntorch.Leaky(torch.rand(shape), 0.2 + torch.rand(shape), learn_beta=True, **options)


def synaptic(*shape: int) -> nn.Module:
    return snntorch.Synaptic(torch.rand(shape), 0.1 + 0.9 * torch.rand(shape), 0.5)


def plif(*shape: int, **options: Any) -> nn.Module:
    layer = neuron.ParametricLIFNode(**{"v_threshold": 0.4, **options})
    layer.w = nn.Parameter(torch.randn(shape))
    return layer


def own_lif(*shape: int) -> nn.Module:
    class LIF(nn.Module):
        """A neuron with SEENN's attributes, over (N, T, ..)."""

        def __init__(self) -> None:
            super().__init__()
            self.tau, self.thresh = nn.Parameter(torch.randn(shape)), 0.2 + torch.rand(shape)
            self.act, self.gama = lambda x, gama: (x > 0).float(), 1.0

        def forward(self, x: Tensor) -> Tensor:
            mem, spikes = torch.zeros_like(x[:, 0]), []
            for t in range(x.shape[1]):
                mem = torch.sigmoid(self.tau) * mem + x[:, t]
                spikes.append(self.act(mem - self.thresh, self.gama))
                mem = (1 - spikes[-1]) * mem
            return torch.stack(spikes, 1)

    return LIF()


PAIRS: dict[str, Callable[[], tuple[nn.Module, nn.Module]]] = {
    "snntorch": lambda: (leaky(3, 1, 1), leaky(6)),
    "snntorch zero": lambda: (leaky(3, 4, 4, reset_mechanism="zero"), leaky(1, 6)),
    "snntorch synaptic": lambda: (synaptic(3, 1, 1), synaptic(6)),
    "spikingjelly": lambda: (plif(3, 1, 1), plif(6, v_reset=None)),
    "spikingjelly plain": lambda: (plif(3, 4, 4, decay_input=False), plif(6, v_threshold=0.5)),
}


@pytest.mark.parametrize("name", PAIRS)
def test_logits_are_the_module_s_own(name: str) -> None:
    torch.manual_seed(2)
    net, x = Steps(*PAIRS[name]()).eval(), torch.rand(8, 1, 4, 4)
    graph = sd.import_model(net, x[:2])
    assert graph.node("second").tau.shape == (6,)
    functional.reset_net(net)
    with torch.no_grad():
        want = net(x).transpose(0, 1).cumsum(1).numpy()
    run = sd.simulate(sd.compile(graph), x.numpy(), full_trace=True, record=True)
    assert all(0 < spikes.mean() < 1 for spikes in run.spikes.values())
    np.testing.assert_allclose(run.logits, want, atol=1e-5)


def test_a_stream_of_seenn_s_neurons() -> None:
    torch.manual_seed(3)
    net = nn.Sequential(nn.Linear(5, 7), own_lif(7), nn.Linear(7, 3)).eval()
    x = 4 * torch.rand(4, T, 5)
    graph = sd.import_model(net, x)
    with torch.no_grad():
        want = net(x).cumsum(1).numpy()
    run = sd.simulate(sd.compile(graph), x.numpy()[..., None, None], full_trace=True)
    np.testing.assert_allclose(run.logits, want, atol=1e-5)


def test_int8_rounds_each_constant() -> None:
    torch.manual_seed(2)
    net, x = Steps(leaky(3, 1, 1), leaky(6)).eval(), torch.rand(8, 1, 4, 4)
    graph = sd.import_model(net, x[:2], mean=[0.0], std=[1.0])
    program = sd.compile(graph, precision="int8")
    before, after = graph.node("second"), program.graph.node("second")
    np.testing.assert_array_equal(after.tau, np.rint(4096 * before.tau) / 4096)
    shares = after.v_threshold / after.v_threshold.max()
    np.testing.assert_allclose(shares, before.v_threshold / before.v_threshold.max(), atol=0.01)


def test_what_no_neuron_can_have_is_refused_by_name() -> None:
    net, x = Steps(plif(4, 4), plif(6)), torch.rand(2, 1, 4, 4)
    with pytest.raises(RefusedError, match="a factor on the input that differs within a channel"):
        sd.import_model(net, x)
    with pytest.raises(RefusedError, match=r"first: tau of shape .* beside neurons of shape"):
        sd.import_model(Steps(leaky(5, 1, 1), leaky(6)), x)
