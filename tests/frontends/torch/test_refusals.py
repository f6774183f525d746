"""What a graph cannot hold is refused in one line that names the node and the user's line."""

from __future__ import annotations

import copy
import inspect
import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import snntorch
import torch
from snntorch import surrogate
from spikingjelly.activation_based import layer as sj_layer
from spikingjelly.activation_based import neuron as sjn
from torch import Tensor, nn
from torch.nn import functional

import seenn_deploy as sd
from seenn_deploy.errors import ModelError

Forward = Callable[["Net", Tensor], Tensor]


class Net(nn.Module):
    """One timestep; `body` is what each test does."""

    def __init__(self, body: Forward, lif: nn.Module | None = None) -> None:
        super().__init__()
        self.body = body
        self.conv = nn.Conv2d(2, 4, 3, padding=1)
        self.conv2 = nn.Conv2d(4, 4, 3, padding=1)
        self.lif = lif or sjn.IFNode()
        self.lif2 = sjn.IFNode()
        self.batch = nn.BatchNorm2d(4, track_running_stats=False)
        self.fc = nn.Linear(4 * 36, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(self, x)


def out(net: Net, spikes: Tensor) -> Tensor:
    return net.fc(spikes.flatten(1))


def branch(net: Net, x: Tensor) -> Tensor:
    s = net.lif(net.conv(x))
    if s.sum() > 3:
        s = s * 2
    return out(net, s)


def sine(net: Net, x: Tensor) -> Tensor:
    return out(net, net.lif(torch.sin(net.conv(x))))


def item(net: Net, x: Tensor) -> Tensor:
    return out(net, net.lif(net.conv(x) * x.max().item()))


def max_of_currents(net: Net, x: Tensor) -> Tensor:
    return net.lif2(functional.max_pool2d(net.conv(x), 2, dilation=2)).flatten(1)


def rectified(net: Net, x: Tensor) -> Tensor:
    return out(net, net.lif(net.conv(x).relu()))


def product(net: Net, x: Tensor) -> Tensor:
    s = net.lif(net.conv(x))
    return out(net, s * net.conv2(s))


def own_statistics(net: Net, x: Tensor) -> Tensor:
    return out(net, net.lif(net.batch(net.conv(x))))


def permuted(net: Net, x: Tensor) -> Tensor:
    spikes = net.lif(net.conv(x)).permute(0, 2, 3, 1).flatten(1)
    return net.fc(spikes * torch.arange(spikes.shape[1]))


def half(net: Net, x: Tensor) -> Tensor:
    return net.lif2(net.conv(x)[:, :2]).flatten(1)


def per_pixel(net: Net, x: Tensor) -> Tensor:
    return out(net, net.lif(net.conv(x) * torch.eye(6)))


def random(net: Net, x: Tensor) -> Tensor:
    return out(net, net.lif(net.conv(x) + torch.rand(1)))


def whole_numbers(net: Net, x: Tensor) -> Tensor:
    return out(net, net.lif(net.conv(x).int().float()))


def ceil_max_pool(net: Net, x: Tensor) -> Tensor:
    return net.lif2(functional.max_pool2d(net.conv(x), 3, 2, ceil_mode=True)).flatten(1)


def concatenated(net: Net, x: Tensor) -> Tensor:
    s = net.lif(net.conv(x))
    return net.lif2(torch.cat((s, net.conv(x)), dim=1)).flatten(1)


@pytest.mark.parametrize(
    ("body", "line", "says"),
    [
        (branch, 2, "data-dependent control flow"),
        (sine, 1, "sin is not supported"),
        (item, 1, "max is not supported"),
        (max_of_currents, 1, "a dilated max pool of currents"),
        (rectified, 1, "a ReLU of currents"),
        (product, 2, "a product of two signals"),
        (own_statistics, 1, "batch norm without running statistics"),
        (permuted, 2, "features lie in another order"),
        (half, 1, "a part of an axis"),
        (per_pixel, 1, "within a channel"),
        (random, 1, "rand gives random numbers"),
        (whole_numbers, 1, "currents as int32"),
        (ceil_max_pool, 1, "ceil_mode with windows of (3, 3), stride (2, 2), over (6, 6) currents"),
        (concatenated, 2, "a concatenation"),
    ],
)
def test_the_line_is_named(
    body: Forward, line: int, says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ModelError) as caught:
        sd.import_model(Net(body), torch.rand(2, 2, 6, 6), T=4)
    message, at = str(caught.value), inspect.getsourcelines(body)[1] + line
    assert "\n" not in message and says in message
    assert f"test_refusals.py:{at}" in message, message
    assert logging.root.manager.disable == 0 and capfd.readouterr() == ("", "")


class Halved(sjn.IFNode):
    """A user's own neuron: what its methods do is not known."""

    def neuronal_charge(self, x: Tensor) -> None:
        self.v = self.v + x / 2


class Leaking(sj_layer.SynapseFilter):
    """A synapse filter of the user's own."""


class Late(sj_layer.Delay):
    """A user's own delay."""


def plain(net: Net, x: Tensor) -> Tensor:
    return out(net, net.lif(net.conv(x)))


@pytest.mark.parametrize(
    ("layer", "says"),
    [
        (sjn.EIFNode(), "of SpikingJelly's neurons, IFNode, LIFNode, ParametricLIFNode"),
        (sjn.IFNode(v_threshold=0.2, v_reset=0.4), "threshold -0.2 above the resting potential"),
        (snntorch.Alpha(alpha=0.6, beta=0.5, init_hidden=True), "of snnTorch's neurons"),
        (snntorch.Leaky(beta=0.5, init_hidden=True, inhibition=True), "inhibition"),
        (snntorch.Leaky(beta=0.0, init_hidden=True), "beta = 0"),
        (
            snntorch.Synaptic(alpha=0.1, beta=0.5, init_hidden=True, reset_mechanism="zero"),
            "drops the input",
        ),
        (sjn.GatedLIFNode(T=1), "of SpikingJelly's neurons"),
        (Leaking(tau=3.0), "Leaking keeps values between timesteps"),
        (Late(2), "Late keeps values between timesteps"),
        (Halved(), "of SpikingJelly's neurons"),
        (snntorch.LeakyParallel(2, 4), "of snnTorch's neurons"),
        (
            snntorch.RLeaky(beta=0.5, all_to_all=False, init_hidden=True),
            "keeps the spikes that it feeds back",
        ),
        (
            snntorch.Leaky(beta=0.5, init_hidden=True, spike_grad=surrogate.LSO()),
            "its spike function cannot be asked (TypeError",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:Inhibition")
def test_unsupported_neurons(layer: nn.Module, says: str) -> None:
    with pytest.raises(ModelError) as caught:
        sd.import_model(Net(plain, layer), torch.rand(2, 2, 6, 6), T=4)
    message, at = str(caught.value), inspect.getsourcelines(plain)[1] + 1
    assert f"lif ({type(layer).__name__})" in message and says in message
    assert f"test_refusals.py:{at}" in message and "\n" not in message


def test_a_neuron_where_no_line_is_known() -> None:
    net = nn.Sequential(nn.Linear(8, 4), sjn.EIFNode())
    with pytest.raises(ModelError, match=r"Sequential: 1 \(EIFNode\): this neuron is not"):
        sd.import_model(net, torch.rand(2, 8), T=4)


class Loop(nn.Module):
    """snnTorch over frames, with what each test changes."""

    def __init__(self, change: str) -> None:
        super().__init__()
        self.change, self.fc = change, nn.Linear(8, 5)
        self.lif = snntorch.Leaky(beta=0.5)

    def forward(self, x: Tensor) -> Tensor:
        mem, seen = self.lif.reset_mem(), []
        if self.change == "start":
            mem = torch.ones(len(x[0]), 5)
        for t in range(3):
            if self.change == "forget":
                mem = self.lif.reset_mem()
            current = self.fc(x[t]) if t != 1 or self.change != "other" else self.fc(x[t]) * 2
            spk, mem = self.lif(current, mem)
            seen.append(spk + mem if self.change == "potential" else spk)
        return seen[-1] if self.change == "last" else torch.stack(seen)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("start", "starts from a state that is not zero"),
        ("forget", "lif is reset between two of its timesteps"),
        ("other", "its input at timestep 2 is made in another way than at 3"),
        ("potential", "a potential of a spiking layer in a computation"),
        ("last", "it takes timesteps [3] of 3"),
    ],
)
def test_timesteps_that_differ(change: str, says: str) -> None:
    with pytest.raises(ModelError, match="Loop") as caught:
        sd.import_model(Loop(change), torch.rand(3, 2, 8))
    assert says in str(caught.value)


def raising(net: Net, x: Tensor) -> Tensor:
    raise ValueError("mine\nin two lines")


def potential(net: Net, x: Tensor) -> Tensor:
    net.lif(net.conv(x))
    return out(net, net.lif.v)


def silent(net: Net, x: Tensor) -> None:
    net.lif(net.conv(x))


GOOD = torch.rand(2, 2, 6, 6)


@pytest.mark.parametrize(
    ("body", "example", "options", "says"),
    [
        (plain, torch.rand(2, 3, 6, 6), {}, r"conv at .*py:\d+: cannot be traced .*2, 3, 6, 6\)"),
        (plain, torch.rand(2, 2, 7, 7), {}, r"fc at .*py:\d+: cannot be traced"),
        (plain, torch.zeros(2, 2, 6, 6, dtype=torch.int64), {}, r"conv at .*int64 \(2, 2, 6, 6\)"),
        (plain, torch.rand(0, 2, 6, 6), {}, "example_input: no samples"),
        (plain, GOOD.numpy(), {}, "example_input: found ndarray"),
        (plain, (GOOD,), {}, "example_input: found tuple"),
        (plain, GOOD, {"T": 2.5}, "T: 2.5; give a whole number"),
        (plain, GOOD, {"T": 0}, "T must be a whole number"),
        (raising, GOOD, {}, r"test_refusals.py:\d+: cannot be traced \(ValueError: mine\)"),
        (
            potential,
            GOOD,
            {},
            r"lif at .*py:\d+: lif.v is read; only a layer's results",
        ),
        (silent, GOOD, {}, "output: it depends on no input"),
    ],
)
def test_what_is_given(
    body: Forward, example: Any, options: Any, says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ModelError, match=says) as caught:
        sd.import_model(Net(body), example, **{"T": 4, **options})
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_weights_that_are_no_numbers() -> None:
    net = Net(plain)
    net.conv.weight.data[0, 0, 0, 0] = torch.nan
    with pytest.raises(ModelError, match=r"Net: conv.weight: holds NaN or infinity; train it"):
        sd.import_model(net, GOOD, T=4)


def test_torch_script_is_named() -> None:
    net: Any = Net(plain)
    net.conv = torch.jit.script(net.conv)
    with pytest.raises(ModelError, match="Net: conv: TorchScript, which cannot be traced"):
        sd.import_model(net, GOOD, T=4)


def test_no_module_with_weights() -> None:
    given: Any = Net
    with pytest.raises(ModelError, match="no torch module; give an instance"):
        sd.import_model(given, GOOD, T=4)
    with pytest.raises(ModelError, match="meta device"):
        sd.import_model(Net(plain).to("meta"), GOOD, T=4)


def test_the_module_stays_as_it_is() -> None:
    net = Net(plain).train()
    net.conv.eval()
    net(GOOD)
    before, kept, rng = copy.deepcopy(net.state_dict()), net.lif.v, torch.get_rng_state()
    modes = [part.training for part in net.modules()]
    sd.import_model(net, GOOD, T=4)
    assert modes == [part.training for part in net.modules()] and net.lif.v is kept
    assert all((before[name] == value).all() for name, value in net.state_dict().items())
    assert (torch.get_rng_state() == rng).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floats_are_approximated(dtype: torch.dtype) -> None:
    net = Net(plain).to(dtype)
    graph = sd.import_model(net, GOOD.to(dtype), T=4)
    assert {e.maps[0].weight.dtype for e in graph.projections} == {np.dtype(np.float32)}
    with pytest.raises(ModelError, match="as float32"):
        sd.import_model(net, GOOD.to(dtype), T=4, strict=True)


def test_arguments_by_name() -> None:
    class Named(Loop):
        def forward(self, x: Tensor) -> Tensor:
            mem, seen = self.lif.reset_mem(), []
            for frame in x:
                spk, mem = self.lif(mem=mem, input_=self.fc(frame))
                seen.append(spk)
            return torch.stack(seen)

    assert sd.import_model(Named(""), torch.rand(3, 2, 8)).T == 3


def test_all_frames_are_taken() -> None:
    with pytest.raises(ModelError, match="the input has 5 timesteps, the module takes 3"):
        sd.import_model(Loop(""), torch.rand(5, 2, 8))
    assert sd.import_model(Loop(""), torch.rand(3, 2, 8)).source.shape == (8, 1, 1)


def test_what_is_no_spiking_module() -> None:
    with pytest.raises(ModelError, match="no spiking layer in it"):
        sd.import_model(nn.Linear(3, 2), torch.rand(2, 3))
    with pytest.raises(ModelError, match="example_input"):
        sd.import_model(nn.Linear(3, 2))
    with pytest.raises(ModelError, match="coding 'direct'"):
        sd.import_model(Loop(""), torch.rand(3, 2, 8), coding="direct")
    with pytest.raises(ModelError, match="option 'tau'"):
        sd.import_model(Loop(""), torch.rand(3, 2, 8), tau=2)
    with pytest.raises(ModelError, match="cannot be traced"):
        sd.import_model(Loop(""), torch.rand(3, 2, 9))
