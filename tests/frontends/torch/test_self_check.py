"""An import proves itself: odd networks equal their own module, or they are refused."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from spikingjelly.activation_based import neuron
from torch import nn

import seenn_deploy as sd
from seenn_deploy import ir
from seenn_deploy.fidelity import FidelityReport, Proof, RefusedError
from seenn_deploy.frontends.torch import self_check
from tests.frontends.torch import odd_networks, odder_networks

WHERE = r"\.py:\d+|: ([A-Z]\w*|forward|output|spike): "  # a line, or what was given


def seeded(name: str) -> odd_networks.Case:
    torch.manual_seed(0)
    odder_networks.seen["calls"] = 0
    return odd_networks.CASES[name]()


def imported(case: odd_networks.Case) -> ir.SpikingGraph:
    example = case.x[:2] if case.example is None else case.example
    return sd.import_model(case.module, example, **case.options)


@pytest.mark.parametrize("name", odd_networks.CASES)
def test_an_odd_network_is_equal_or_refused(name: str) -> None:
    case = seeded(name)
    if case.says:
        with pytest.raises(sd.SeennError) as caught:
            imported(case)
        said = str(caught.value)
        assert case.says in said and "\n" not in said, said
        # In the user's words, and with a place: a line, or what was given.
        assert not re.search(r"\baten\b|fake|functional tensor|seenn_deploy", said.lower()), said
        assert isinstance(case.module, nn.Sequential) or re.search(WHERE, said), said
        return
    graph, frames = imported(case), case.x.ndim == 3
    lead = case.x.shape[: 1 + frames]
    images = case.x.numpy().reshape(*lead, *graph.source.shape)
    ours = sd.simulate(sd.compile(graph), images, full_trace=True).logits
    theirs = case.steps.numpy()
    theirs = theirs.cumsum(1) if case.reads == "steps" else theirs
    ours = ours[:, -1:] if case.reads == "last" else ours
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, atol=1e-4 * max(1.0, np.abs(theirs).max()))


# --- the check itself: what it overlooks would be overlooked for every user ----------------------


class Small(nn.Module):
    """Every kind of thing that a graph has: both resets, a shortcut, a pool, a bias, a norm."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(2, 4, 3, padding=1)
        self.lif1 = neuron.LIFNode(tau=2.0)
        self.conv2 = nn.Conv2d(4, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.if2 = neuron.IFNode(v_reset=None)
        self.pool = nn.AvgPool2d(2)
        self.fc = nn.Linear(36, 5)
        for part in (self.conv1, self.conv2, self.fc):
            part.weight.data.mul_(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        s = self.lif1(self.conv1(x))
        s = self.if2(self.norm(self.conv2(s)) + s)
        return torch.as_tensor(self.fc(self.pool(s).flatten(1)))


@pytest.fixture(scope="module")
def subject() -> self_check.Subject:
    """What the check is given when `Small` is imported."""
    found: list[self_check.Subject] = []
    patch = pytest.MonkeyPatch()
    patch.setattr(self_check, "prove", lambda subject, report: found.append(subject) or Proof())
    torch.manual_seed(0)
    net = Small().eval()
    sd.import_model(net, torch.rand(2, 2, 6, 6), T=3)
    patch.undo()
    return found[0]


def mutated(graph: ir.SpikingGraph, rng: np.random.Generator) -> tuple[str, ir.SpikingGraph]:
    """A graph with one thing changed."""
    nodes, edges = list(graph.order), list(graph.projections)
    populations = [i for i, n in enumerate(nodes) if isinstance(n, ir.Population)]
    kind = str(rng.choice(["weight", "bias", "leak", "threshold", "start", "reset", "edge", "lag",
                           "pool"]))  # fmt: skip
    i = int(rng.choice(populations))
    node = nodes[i]
    assert isinstance(node, ir.Population)
    changes: dict[str, Any] = {
        "leak": {"tau": node.tau * float(rng.uniform(0.5, 0.95))},
        "threshold": {"v_threshold": node.v_threshold * float(rng.uniform(0.7, 1.3))},
        "start": {"v_init": float(rng.uniform(-0.5, 0.5))},
        "reset": {"reset": "soft" if node.reset == "hard" else "hard"},
        "bias": {"bias": node.bias + float(rng.uniform(-0.3, 0.3))},
    }
    if kind in changes:
        nodes[i] = replace(node, **changes[kind])
        return kind, ir.SpikingGraph(nodes, edges, graph.T)
    e = int(rng.integers(len(edges)))
    if kind == "edge":
        identity = next(k for k, x in enumerate(edges) if isinstance(x.maps[0], ir.Identity))
        edges.pop(identity)
    elif kind == "lag":
        e = int(rng.integers(1, len(edges)))  # the first is the image's, which is always there
        edges[e] = replace(edges[e], lag=1)
    elif kind == "pool":
        k = next(k for k, x in enumerate(edges) if isinstance(x.maps[0], ir.AvgPool2d))
        half = ir.Affine(np.full(4, 0.5), np.zeros(4))
        edges[k] = replace(edges[k], maps=(half, *edges[k].maps))
    else:
        maps = list(edges[e].maps)
        m = int(rng.choice([k for k, x in enumerate(maps) if hasattr(x, "weight")]))
        weight = np.array(maps[m].weight)
        at = tuple(int(rng.integers(n)) for n in weight.shape)
        weight[at] += float(rng.choice([-1, 1])) * 0.5
        maps[m] = replace(maps[m], weight=weight)
        edges[e] = replace(edges[e], maps=tuple(maps))
    return kind, ir.SpikingGraph(nodes, edges, graph.T)


def spikes_and_logits(graph: ir.SpikingGraph, x: np.ndarray) -> tuple[list[Any], np.ndarray]:
    run = sd.simulate(sd.compile(graph, sd.exits.Fixed()), x, record=True)
    return list(run.spikes.values()), run.logits


def test_every_mutation_that_changes_a_spike_is_found(subject: self_check.Subject) -> None:
    x = subject.example.numpy()
    spikes, logits = spikes_and_logits(subject.graph, x)
    self_check.prove(subject, FidelityReport("Small"))
    found = changed = 0
    for seed in range(200):
        kind, other = mutated(subject.graph, np.random.default_rng(seed))
        theirs, off = spikes_and_logits(other, x)
        differs = any((a != b).any() for a, b in zip(spikes, theirs, strict=True))
        differs |= bool(np.abs(logits - off).max() > 1e-3)
        changed += differs
        try:
            self_check.prove(replace(subject, graph=other), FidelityReport("Small"))
        except RefusedError:
            found += differs
        else:
            assert not differs, f"a changed {kind} (seed {seed}) is overlooked"
    assert found == changed > 150


def test_the_report_says_how_it_was_proven() -> None:
    torch.manual_seed(0)
    net = Small().eval()
    report = sd.import_model(net, torch.rand(2, 2, 6, 6), T=3).provenance["report"]
    (said,) = [f["what"] for f in report["findings"] if f["where"] == "self-check"]
    assert said.startswith(
        "proven: by the module itself, 3 samples of 3 timesteps, 2,592 neuron-steps"
    )
    left_out = sd.import_model(net, torch.rand(2, 2, 6, 6), T=3, check=False).provenance["report"]
    (said,) = [f["what"] for f in left_out["findings"] if f["where"] == "self-check"]
    assert said == "not proven: the self-check was left out"


def test_a_layer_that_never_spikes_is_named() -> None:
    net = nn.Sequential(nn.Linear(4, 4), neuron.IFNode(v_threshold=1e6), nn.Linear(4, 2)).eval()
    report = sd.import_model(net, torch.rand(2, 4), T=2).provenance["report"]
    assert {"1": "not proven: no neuron of it spiked in the self-check"}.items() <= {
        f["where"]: f["what"] for f in report["findings"] if "not proven" in f["what"]
    }.items()


def test_the_refusal_names_layer_timestep_and_cause() -> None:
    case = seeded("sets its own factor")
    with pytest.raises(sd.SeennError) as caught:
        sd.import_model(case.module, case.x[:2], **case.options)
    said = str(caught.value)
    assert "spike at odd_networks.py" in said and "the module's neuron" in said
    assert "at timestep 5" in said and "threshold 1" in said and "count changes" in said


def test_one_of_several_outputs() -> None:
    class Two(Small):
        def forward(self, x: torch.Tensor) -> Any:
            logits = super().forward(x)
            return {"features": logits[:, :2] * 2, "logits": logits}

    net, x = Two().eval(), torch.rand(2, 2, 6, 6)
    with pytest.raises(sd.SeennError, match=r"returns several|part of an axis"):
        sd.import_model(net, x, T=3)


def test_the_module_stays_as_it_is() -> None:
    net = Small().eval()
    net(torch.rand(2, 2, 6, 6))
    before = net.lif1.v.clone()
    sd.import_model(net, torch.rand(2, 2, 6, 6), T=3)
    assert torch.equal(net.lif1.v, before)
