"""SpikingJelly's layers with a memory: delays, containers and filters are taken exactly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from spikingjelly.activation_based import functional, layer, neuron
from torch import Tensor, nn

import seenn_deploy as sd
from seenn_deploy import ir
from seenn_deploy.errors import SeennError
from seenn_deploy.fidelity import RefusedError
from tests.frontends.torch.networks import lively

T, INPUTS, HIDDEN, CLASSES = 5, 8, 12, 4


def spike(mode: str) -> nn.Module:
    return neuron.LIFNode(tau=1.6, step_mode=mode)


def net(mode: str, *between: nn.Module) -> nn.Sequential:
    """Neurons, the layers in question, a readout; one timestep per call ('s') or streams ('m')."""
    torch.manual_seed(0)
    made = nn.Sequential(nn.Linear(INPUTS, HIDDEN), spike(mode), *between, nn.LazyLinear(CLASSES))
    made(torch.rand(2, 2, INPUTS) if mode == "m" else torch.rand(2, INPUTS))
    functional.reset_net(made)
    lively(made)
    for part in made.modules():
        if isinstance(part, nn.Linear) and part.bias is not None:
            part.bias.data.uniform_(0, 0.5)
    return made


def containers(mode: str) -> dict[str, list[nn.Module]]:
    dense = nn.Linear(HIDDEN, HIDDEN)
    some = nn.Sequential(nn.Linear(HIDDEN, 7), neuron.IFNode())
    return {
        "linear": [layer.LinearRecurrentContainer(neuron.IFNode(), HIDDEN, HIDDEN, step_mode=mode)],
        "linear, no bias": [
            layer.LinearRecurrentContainer(spike("s"), HIDDEN, HIDDEN, False, step_mode=mode)
        ],
        "linear, around a layer": [
            layer.LinearRecurrentContainer(some, HIDDEN, 7, step_mode=mode),
            nn.Linear(7, HIDDEN),
            spike(mode),
        ],
        "add": [
            dense,
            layer.ElementWiseRecurrentContainer(spike("s"), lambda y, x: x + y, step_mode=mode),
        ],
        "inhibit": [
            dense,
            layer.ElementWiseRecurrentContainer(
                neuron.IFNode(v_reset=None), lambda y, x: x - 0.75 * y, step_mode=mode
            ),
        ],
        "delayed": [
            layer.LinearRecurrentContainer(neuron.IFNode(), HIDDEN, HIDDEN, step_mode=mode),
            layer.Delay(1, step_mode=mode),
            dense,
            spike(mode),
        ],
    }


def equal(made: nn.Module, mode: str, steps: int = T) -> ir.SpikingGraph:
    """Import a network, and hold the logits of every timestep against its own."""
    x = torch.rand(steps, 3, INPUTS)
    example = x if mode == "m" else x[0]
    graph = sd.import_model(made, example, T=steps, coding="events")
    functional.reset_net(made)
    with torch.no_grad():
        own = made(x) if mode == "m" else torch.stack([made(frame) for frame in x])
    run = sd.simulate(sd.compile(graph), x.transpose(0, 1).numpy(), full_trace=True, record=True)
    want = own.transpose(0, 1).cumsum(1).numpy()
    np.testing.assert_allclose(run.logits, want, rtol=1e-5, atol=1e-5)
    if steps == T:  # over fewer timesteps a delay may keep all spikes
        assert all(spikes.any() for spikes in run.spikes.values())
    return graph


def lags(graph: ir.SpikingGraph) -> list[tuple[str, str, int]]:
    return [(e.pre, e.post, e.lag) for e in graph.projections if e.lag]


@pytest.mark.parametrize("mode", ["s", "m"])
@pytest.mark.parametrize("name", containers("s"))
def test_recurrent_containers_are_feedback_with_a_lag_of_1(mode: str, name: str) -> None:
    found = lags(equal(net(mode, *containers(mode)[name]), mode))
    assert [pre for pre, post, lag in found if pre == post and lag == 1]
    assert len(found) == (2 if name == "delayed" else 1)


@settings(max_examples=8, deadline=None)
@given(st.sampled_from((1, 2, 7)), st.integers(0, 8), st.booleans(), st.sampled_from("sm"))
def test_a_delay_is_a_lag_of_its_timesteps(
    length: int, steps: int, currents: bool, mode: str
) -> None:
    wait = layer.Delay(steps, step_mode=mode)
    weights = nn.Linear(HIDDEN, HIDDEN, bias=not currents)
    parts = [weights, wait] if currents else [wait, weights]
    graph = equal(net(mode, *parts, spike(mode)), mode, length)
    assert lags(graph) == ([("1", "4", steps)] if steps else [])


def filters(mode: str) -> dict[str, list[nn.Module]]:
    kept = layer.SynapseFilter(3.0, step_mode=mode)
    return {
        "before weights": [kept, nn.Linear(HIDDEN, HIDDEN), spike(mode)],
        "before neurons": [kept, spike(mode)],
        "before the readout": [kept],
        "learned": [layer.SynapseFilter(1.5, True, step_mode=mode)],
        "of currents": [nn.Linear(HIDDEN, HIDDEN), kept, nn.Linear(HIDDEN, HIDDEN), spike(mode)],
        "of a filter": [kept, layer.SynapseFilter(1.5, step_mode=mode)],
        "delayed": [kept, layer.Delay(2, step_mode=mode), nn.Linear(HIDDEN, 7), spike(mode)],
    }


@pytest.mark.parametrize("mode", ["s", "m"])
@pytest.mark.parametrize("name", filters("s"))
def test_synapse_filters_send_their_currents(mode: str, name: str) -> None:
    graph = equal(net(mode, *filters(mode)[name]), mode)
    assert sum(isinstance(node, ir.Filter) for node in graph.layers) == 1 + (name == "of a filter")


@pytest.mark.parametrize("who", ["int8", "lava", "nir"])
def test_who_takes_no_real_values_says_so(who: str, tmp_path: Path) -> None:
    graph = sd.import_model(net("m", *filters("m")["before weights"]), torch.rand(T, 2, INPUTS))
    with pytest.raises(SeennError, match=r"2: .* form for a filter node"):
        if who == "int8":
            sd.compile(graph, precision="int8", input_range=(0, 1))
        else:
            sd.compile(graph).save(tmp_path / "build", targets=[who])
    assert not any(tmp_path.iterdir())


def test_a_bias_of_zeros_is_none() -> None:
    made = net("m", *after(layer.Delay(1, step_mode="m")), spike("m"))
    made[2].bias.data.zero_()
    assert lags(equal(made, "m")) == [("1", "4", 1)]


def after(wait: nn.Module) -> list[nn.Module]:
    return [nn.Linear(HIDDEN, HIDDEN), wait]


@pytest.mark.parametrize("mode", ["s", "m"])
def test_delays_in_a_row_on_a_shortcut_and_before_the_readout(mode: str) -> None:
    class Shortcut(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.wait = nn.Sequential(*(layer.Delay(k, step_mode=mode) for k in (1, 2)))
            self.fc, self.spike = nn.Linear(HIDDEN, HIDDEN), spike(mode)
            self.last = layer.Delay(1, step_mode=mode)

        def forward(self, x: Tensor) -> Tensor:
            return torch.as_tensor(self.last(self.spike(self.fc(x) + self.wait(x))))

    graph = equal(net(mode, Shortcut()), mode)
    assert lags(graph) == [("1", "2.spike", 3), ("2.spike", "3", 1)]


class Cell(nn.Module):
    """Joins its input and its own spikes of the timestep before by hand."""

    def __init__(self, join: Callable[..., Any]) -> None:
        super().__init__()
        self.fc, self.spike, self.join = nn.Linear(2 * HIDDEN, HIDDEN), spike("s"), join

    def forward(self, x: Tensor) -> Tensor:
        y, outs = torch.zeros_like(x[0]), []
        for step in x:
            y = self.spike(self.fc(self.join((y, step))))
            outs.append(y)
        return torch.stack(outs)


def test_features_side_by_side_before_a_linear_layer() -> None:
    graph = equal(net("m", Cell(lambda parts: torch.cat(parts, -1))), "m")
    assert lags(graph) == [("2.spike", "2.spike", 1)]


@pytest.mark.parametrize(
    ("part", "says"),
    [
        (nn.Sequential(*after(layer.Delay(1, step_mode="m"))), "2.1.*delay of a bias"),
        (layer.Delay(1), "2: a delay is not given one timestep per call"),
        (Cell(lambda parts: torch.cat(parts, -1) * 2), r"2 at test_memories.py:\d+: a conc"),
        (
            layer.ElementWiseRecurrentContainer(
                neuron.IFNode(), lambda y, x: x * (y + 0.5), step_mode="m"
            ),
            r"2 at test_memories.py:\d+: a product of two signals",
        ),
    ],
)
def test_what_no_graph_can_express_is_refused_by_name(part: nn.Module, says: str) -> None:
    with pytest.raises(RefusedError, match=says):
        sd.import_model(net("m", part, spike("m")), torch.rand(T, 2, INPUTS))


class Searched(nn.Module):
    """A connection back in time that an architecture search left out: a factor of 0."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.out = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 3)
        self.spike1, self.spike2 = neuron.IFNode(v_threshold=0.5), neuron.IFNode(v_threshold=0.2)
        self.left_out = torch.tensor(0.0)

    def forward(self, x: Tensor) -> Tensor:
        before, logits = torch.zeros(()), torch.zeros(())
        for _ in range(4):
            hidden = self.second(self.spike1(self.first(x) + before))
            before = self.left_out * (hidden + before)
            logits = logits + self.out(self.spike2(hidden))
        return logits


def test_what_is_multiplied_by_0_is_no_input() -> None:
    torch.manual_seed(0)
    net, x = Searched().eval(), 2 * torch.rand(5, 6)
    graph = sd.import_model(net, x)
    functional.reset_net(net)
    with torch.no_grad():
        want = net(x).numpy()
    run = sd.simulate(sd.compile(graph), x.numpy(), full_trace=True)
    assert not any(edge.lag for edge in graph.projections) and want.std() > 0.1
    np.testing.assert_allclose(run.logits[:, -1], want, atol=1e-5)
