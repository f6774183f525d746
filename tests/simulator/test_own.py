"""Counts of the layers as they were trained, beside those of the program: folded pools, sharing."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from spikingjelly.activation_based import neuron
from torch import nn

import seenn_deploy as sd
from seenn_deploy import ir
from tests import naive, random_graphs

T = 2


def network(chain: random_graphs.Chain, coding: Any, rng: np.random.Generator) -> ir.SpikingGraph:
    """Spikes of the input's shape, a chain of maps to two populations, and from the input, too."""
    out = ir.Population("b", chain.out_shape)
    last = ir.Dense(rng.normal(size=(2, int(np.prod(chain.out_shape)))).astype(np.float32))
    edges = [
        ir.Projection("in", "a", (ir.Identity(),)),
        ir.Projection("a", "b", chain.maps),
        ir.Projection("in", "b", chain.maps),
        ir.Projection("a", "c", chain.maps),  # the same layers on the same spikes
        ir.Projection("b", "c", (ir.Identity(),), lag=1),
        ir.Projection("b", "out", (last,)),
        ir.Projection("c", "out", (last,)),
    ]
    nodes = [
        ir.Source("in", chain.in_shape, coding, input_range=(0.0, 1.0)),
        ir.Population("a", chain.in_shape, v_threshold=0.5),
        out,
        ir.Population("c", chain.out_shape, tau=0.0),
        ir.Readout("out", (2,)),
    ]
    return ir.SpikingGraph(nodes, edges, T)


@settings(max_examples=60, deadline=None)
@given(
    random_graphs.chains(),
    st.sampled_from(["direct", "events"]),
    st.sampled_from(["float32", "int8"]),
    st.integers(0, 2**32 - 1),
)
def test_own_layers_are_counted_element_by_element(
    chain: random_graphs.Chain, coding: str, precision: str, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    graph = network(chain, coding, rng)
    shape = (2, *((T,) if coding == "events" else ()), *chain.in_shape)
    x = rng.integers(0, 2, shape).astype(np.float32)
    if coding == "direct":
        x *= rng.integers(0, 256, shape).astype(np.float32) / np.float32(255)
    program = sd.compile(graph, precision=precision)
    run = sd.simulate(program, x, record=True, full_trace=True)
    frames = x if coding == "events" else np.repeat(x[:, None], T, 1)
    ac, mac = naive.own_counts(graph, {"in": frames, **run.spikes})
    assert run.layers == naive.layer_order(graph)[1:]
    np.testing.assert_array_equal(run.counts.own_ac, ac)
    np.testing.assert_array_equal(run.counts.own_mac, mac)


@pytest.mark.parametrize("width", [3, 20])
def test_own_layers_survive_the_disk(width: int, tmp_path: Path) -> None:
    conv = ir.Conv2d(np.ones((width, 3, 3, 3), np.float32), padding=(1, 1))
    maps = (ir.Affine(np.full(3, 2.0), np.array([0.0, 0.5, 0.0])), ir.AvgPool2d((2, 2)), conv)
    chain = random_graphs.Chain(maps, (3, 4, 6), (width, 2, 3))
    program = sd.compile(network(chain, "direct", np.random.default_rng(0)))
    program.save(tmp_path / "build")
    again = sd.Program.load(tmp_path / "build")
    assert again.fingerprint == program.fingerprint
    x = np.random.default_rng(1).random((2, 3, 4, 6), np.float32)
    for a, b in zip(*(sd.simulate(p, x).counts.items() for p in (program, again)), strict=True):
        np.testing.assert_array_equal(a[1], b[1])
    layers = {layer.name: layer for layer in sd.inspect(again)}
    # 3 channels of 2x3 pixels, of which corners meet 4 taps of 9 and the middle of a side 6; twice,
    # for the image and for the spikes.
    assert layers["b"].own_synapses == 2 * 3 * width * (4 * 4 + 2 * 6)
    assert layers["c"].own_synapses == width * 6  # the shortcut alone: the layer is b's
    assert layers["b"].synapses == 2 * 4 * 3 * width * (4 * 4 + 2 * 6)
    summary = sd.simulate(again, x).summary()
    assert summary["own_ac_per_sample"] < summary["ac_per_sample"]


# --- torch modules -------------------------------------------------------------------------------


class PreAct(nn.Module):
    """Currents add up from block to block, so that each convolution feeds every later neuron."""

    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.stem, self.last = conv(2, 4), nn.Linear(256, 5)
        self.spikes = nn.ModuleList(neuron.IFNode() for _ in range(blocks + 1))
        self.convs = nn.ModuleList(conv(4, 4) for _ in range(blocks))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        u = self.stem(x)
        for spike, layer in zip(self.spikes, self.convs, strict=False):
            u = u + layer(spike(u))
        return self.last(self.spikes[-1](u).flatten(1))


class Two(nn.Module):
    """One convolution of a sum of two streams, one of a part, a pool behind and a 1x1 one."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.both, self.mixed = conv(2, 4), conv(2, 4), conv(4, 4), conv(4, 4)
        self.point, self.last = nn.Conv2d(4, 4, 1), nn.Linear(64, 5)
        self.s = nn.ModuleList(neuron.IFNode() for _ in range(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a, b = self.s[0](self.a(x)), self.s[1](self.b(x))
        u = nn.functional.avg_pool2d(self.both(a + 0.5 * b), 2)
        c = self.s[2](self.point(u))
        d = self.s[3](u + nn.functional.avg_pool2d(self.mixed(a), 2))
        return self.last((c + d).flatten(1))


def conv(a: int, b: int) -> nn.Conv2d:
    made = nn.Conv2d(a, b, 3, padding=1)
    made.weight.data.mul_(3)
    return made


def hooked(net: nn.Module, x: torch.Tensor, steps: int) -> tuple[int, int]:
    """ACs and MACs of every layer behind the image, by the values that the module gives it."""
    net, units, others = copy.deepcopy(net).eval(), 0, 0

    def hook(layer: Any, given: Any, out: Any) -> None:
        nonlocal units, others
        ones = torch.ones_like(layer.weight, dtype=torch.double)
        for number, kind in enumerate(
            (given[0].abs() == 1, (given[0] != 0) & (given[0].abs() != 1))
        ):
            live = kind.double()
            hits = (
                nn.functional.conv2d(live, ones, None, layer.stride, layer.padding)
                if ones.ndim == 4
                else live @ ones.t()
            )
            units += 0 if number else int(hits.sum().round())
            others += int(hits.sum().round()) if number else 0

    for part in net.modules():
        if isinstance(part, nn.Conv2d | nn.Linear) and part.weight.shape[1] != 2:
            part.register_forward_hook(hook)
    with torch.no_grad():
        for _ in range(steps):
            net(x)
    return units, others


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.Sequential(
            conv(2, 4), neuron.IFNode(), nn.AvgPool2d(2), conv(4, 6), neuron.IFNode(),
            nn.Flatten(), nn.Linear(96, 5),
        ),
        lambda: nn.Sequential(
            conv(2, 4), neuron.IFNode(), conv(4, 6), nn.AvgPool2d(2), neuron.IFNode(),
            nn.AvgPool2d(2), nn.Flatten(), nn.Linear(24, 5),
        ),
        lambda: PreAct(3),
        Two,
    ],
)  # fmt: skip
def test_a_modules_own_layers(make: Any) -> None:
    torch.manual_seed(0)
    net, x = make(), torch.rand(3, 2, 8, 8)
    program = sd.compile(sd.import_model(net, x[:2], T=3))
    run = sd.simulate(program, x.numpy(), full_trace=True)
    units, others = hooked(net, x, 3)
    # Spikes added to spikes are additions, but of no layer.
    layers = [i for i, node in enumerate(program.graph.layers) if node.stages]
    own = tuple(int(c[:, layers].sum()) for c in (run.counts.own_ac, run.counts.own_mac))
    stems = sum(part.weight.shape[1] == 2 for part in net.modules() if isinstance(part, nn.Conv2d))
    ones = torch.ones(4, 2, 3, 3, dtype=torch.double)
    hits = nn.functional.conv2d((x != 0).double(), ones, None, padding=1).sum()
    assert own == (units, others + stems * int(hits.round()))
    assert run.counts.ac.sum() + run.counts.mac.sum() != sum(own)  # the program has others
