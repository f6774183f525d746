from __future__ import annotations

from pathlib import Path

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings

from seenn_deploy import ir
from seenn_deploy.compiler.passes import balance_delays, cast
from seenn_deploy.compiler.pipeline import compile
from seenn_deploy.errors import ModelError, ProgramError
from seenn_deploy.exits.confidence import Confidence
from seenn_deploy.exits.fixed import Fixed
from seenn_deploy.frontends import seenn
from tests import random_graphs


def with_shortcut() -> ir.SpikingGraph:
    """input -> a -> b -> c -> out, and a -> c beside b."""
    shape = (2, 4, 4)
    conv = ir.Conv2d(np.ones((2, 2, 3, 3)), padding=(1, 1), bias=np.ones(2))
    return ir.SpikingGraph(
        [
            ir.Source("input", shape),
            *(ir.Population(n, shape) for n in "abc"),
            ir.Readout("out", (3,)),
        ],
        [
            ir.Projection("input", "a", (conv,)),
            ir.Projection("a", "b", (conv,)),
            ir.Projection("b", "c", (conv,)),
            ir.Projection("a", "c", (ir.Identity(),)),
            ir.Projection(
                "c", "out", (ir.AvgPool2d((4, 4)), ir.Dense(np.ones((3, 2)), np.ones(3)))
            ),
        ],
        T=3,
    )


def path_lengths(graph: ir.SpikingGraph) -> dict[str, set[int]]:
    """By node: stages plus delays of every path from the source, walked one by one.

    Feedback is left out: it leads to an earlier timestep's end, not to a longer path.
    """
    lengths: dict[str, set[int]] = {}
    stack = [(graph.source.name, 0)]
    while stack:
        name, length = stack.pop()
        lengths.setdefault(name, set()).add(length)
        for _, post, edge in graph.nx.out_edges(name, data="projection"):
            stage = 0 if isinstance(graph.node(post), ir.Sum | ir.Product) else 1
            if not (edge.lag and nx.has_path(graph.nx, post, name)):
                stack.append((post, length + stage + edge.delay))
    return lengths


def test_a_shortcut_waits_for_the_main_path() -> None:
    program = compile(with_shortcut())
    delays = {(e.pre, e.post): e.delay for e in program.graph.projections}
    assert delays == {
        ("input", "a"): 0,
        ("a", "b"): 0,
        ("b", "c"): 0,
        ("a", "c"): 1,
        ("c", "out"): 0,
    }


@settings(max_examples=100)
@given(random_graphs.examples(largest=3, populations=5))
def test_every_path_is_equally_long(example: random_graphs.Example) -> None:
    lengths = path_lengths(balance_delays.apply(example.graph))
    assert {name: len(found) for name, found in lengths.items()} == dict.fromkeys(lengths, 1)


def test_options_reach_the_program() -> None:
    program = compile(with_shortcut(), Confidence(0.5), schedule="gated")
    assert (program.exit_rule, program.schedule) == (Confidence(0.5), "gated")
    assert (program.precision, program.T) == ("float32", 3)
    assert compile(with_shortcut()).exit_rule == Fixed()


def test_compiled_is_float32_with_one_map_an_edge() -> None:
    graph = compile(with_shortcut()).graph
    assert all(e.synapses.weight.dtype == np.float32 for e in graph.projections)
    assert all(n.bias.dtype == np.float32 for n in graph.layers)
    assert all(len(e.maps) == 1 for e in graph.projections)


def test_compiling_twice_changes_nothing() -> None:
    once = compile(with_shortcut()).graph
    twice = compile(once).graph
    for a, b in zip(once.projections, twice.projections, strict=True):
        np.testing.assert_array_equal(a.synapses.weight, b.synapses.weight)
        assert (a.delay, a.dense_macs) == (b.delay, b.dense_macs)


def test_an_unknown_precision() -> None:
    with pytest.raises(ProgramError, match="precision 'int3': there is float32"):
        compile(with_shortcut(), precision="int3")


def test_an_unknown_schedule() -> None:
    with pytest.raises(ProgramError, match="'soon' does not exist"):
        compile(with_shortcut(), schedule="soon")


def test_a_weight_too_large_for_float32_is_named() -> None:
    graph = ir.SpikingGraph(
        [ir.Source("input", (1, 1, 1)), ir.Population("p", (1,)), ir.Readout("out", (1,))],
        [
            ir.Projection("input", "p", (ir.Dense(np.array([[1e39]])),)),
            ir.Projection("p", "out", (ir.Dense(np.ones((1, 1))),)),
        ],
        T=1,
    )
    with pytest.raises(ModelError, match=r"input -> p: a folded weight exceeds float32 \(1e\+39\)"):
        cast.apply(graph)


def test_dense_macs_of_the_policy_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """ResNet-8 (16-32-64, 1-1-1) over ResNet-19 (128-256-512, 3-3-2) on 3x32x32: 0.547 %."""
    policy, resnet19 = (
        resnet_macs(monkeypatch, width, blocks)
        for width, blocks in ((1, (1, 1, 1)), (8, (3, 3, 2)))
    )
    assert resnet19 == 2_285_245_440
    assert policy == 12_501_632
    assert f"{100 * policy / resnet19:.3f}" == "0.547"


def resnet_macs(monkeypatch: pytest.MonkeyPatch, width: int, blocks: tuple[int, ...]) -> int:
    """Dense MACs of SEENN's ResNet, from a checkpoint of zeros in memory."""
    arrays: dict[str, np.ndarray] = {}
    last = _conv_and_norm(arrays, "conv1", "bn", (16 * width, 3, 3, 3))
    for stage, count in enumerate(blocks, start=1):
        here = 16 * width * 2 ** (stage - 1)
        for name in (f"layer{stage}.{block}" for block in range(count)):
            if last != here:
                shape = (here, last, 1, 1)
                _conv_and_norm(arrays, f"{name}.downsample.1.module", f"{name}.downsample.2", shape)
            _conv_and_norm(arrays, f"{name}.conv1.module", f"{name}.bn1", (here, last, 3, 3))
            last = _conv_and_norm(arrays, f"{name}.conv2.module", f"{name}.bn2", (here, here, 3, 3))
    arrays["fc1.module.weight"] = np.zeros((10, last), np.float32)
    arrays["fc1.module.bias"] = np.zeros(10, np.float32)
    monkeypatch.setattr(seenn, "read_state_dict", lambda path: arrays)
    return sum(e.dense_macs for e in seenn.read(Path("in memory")).projections)


def _conv_and_norm(
    arrays: dict[str, np.ndarray], conv: str, norm: str, shape: tuple[int, ...]
) -> int:
    arrays[f"{conv}.weight"] = np.zeros(shape, np.float32)
    for part in ("weight", "bias", "running_mean", "running_var"):
        arrays[f"{norm}.bn.{part}"] = np.ones(shape[0], np.float32)
    return shape[0]
