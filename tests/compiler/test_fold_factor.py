"""Constant factors behind products, which the thresholds of the next neurons take."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import seenn_deploy as sd
from seenn_deploy import ir
from tests.compiler.test_attention_order import Attending

T, N = 4, 6


def factor(c: float) -> ir.Identity:
    return ir.Identity(np.asarray(c, np.float32))


def masked(behind: tuple[Any, ...], seed: int, **constants: Any) -> ir.SpikingGraph:
    """Neurons behind a product of spikes, which gets to them by the maps `behind`."""
    rng = np.random.default_rng(seed)
    dense = [ir.Dense(rng.normal(size=(n, N)).astype(np.float32)) for n in (N, N, 3)]
    at, ones = np.arange(N), np.ones(N, np.float32)
    factors = [ir.Sparse.of(at, at + side * N, ones, N, (2 * N,)) for side in (0, 1)]
    nodes = [
        ir.Source("input", (N, 1, 1)),
        ir.Population("first", (N,), v_threshold=0.1),
        ir.Population("other", (N,), v_threshold=0.2),
        ir.Product("product", (N,), "n,n->n", (N,), (N,)),
        ir.Population("second", (N,), **constants),
        ir.Readout("head", (3,)),
    ]
    edges = [
        ir.Projection("input", "first", (dense[0],)),
        ir.Projection("input", "other", (dense[1],)),
        ir.Projection("first", "product", (factors[0],)),
        ir.Projection("other", "product", (factors[1],)),
        ir.Projection("product", "second", behind),
        ir.Projection("second", "head", (dense[2],)),
    ]
    return ir.SpikingGraph(nodes, edges, T)


@given(
    c=st.sampled_from([0.125, 0.5, 2.0]),
    reset=st.sampled_from(["hard", "soft"]),
    constants=st.fixed_dictionaries(
        {
            "tau": st.sampled_from([0.5, 1.0]),
            "v_init": st.sampled_from([0.0, 0.25]),
            "v_threshold": st.sampled_from([0.5, np.linspace(0.25, 1.5, N, dtype=np.float32)]),
            "reset_by": st.sampled_from([None, 0.75]),
            "tau_syn": st.sampled_from([0.0, 0.5]),
            "bias": st.sampled_from([np.zeros(()), np.linspace(-0.5, 0.5, N)]),
        }
    ),
    seed=st.integers(0, 99),
)
@settings(max_examples=25, deadline=None)
def test_spikes_stay_and_the_factor_goes(
    c: float, reset: str, constants: dict[str, Any], seed: int
) -> None:
    """A diagonal matrix is the same factor, and stays one; potentials are those over c."""
    constants |= {"reset": reset}
    program = sd.compile(masked((factor(c),), seed, **constants))
    kept = sd.compile(masked((ir.Dense(np.eye(N, dtype=np.float32) * c),), seed, **constants))
    (edge,) = program.graph.into("second")
    assert edge.synapses.kind == "identity" and edge.synapses.weight == 1
    x = np.random.default_rng(seed).random((5, N, 1, 1)).astype(np.float32) * 3
    runs = [sd.simulate(p, x, record=True, full_trace=True) for p in (program, kept)]
    np.testing.assert_array_equal(runs[0].logits, runs[1].logits)
    np.testing.assert_array_equal(runs[0].spikes["second"], runs[1].spikes["second"])


@pytest.mark.parametrize(
    "maps",
    [(factor(-0.5),), (factor(0.0),), (factor(0.75),), (ir.Dense(np.eye(N, dtype=np.float32)),)],
)
def test_other_factors_stay(maps: tuple[Any, ...]) -> None:
    graph = masked(maps, 1)
    (edge,) = sd.compile(graph).graph.into("second")
    assert np.any(edge.synapses.weight != 1)
    assert sd.compile(graph).graph.node("second").v_threshold == 1.0


def test_a_second_input_keeps_the_factor() -> None:
    graph = masked((factor(0.5),), 1)
    both = [*graph.projections, ir.Projection("first", "second", (ir.Identity(),))]
    program = sd.compile(graph.replace(projections=both))
    assert program.graph.node("second").v_threshold == 1.0


def test_attention_of_a_module_is_sent_as_it_is() -> None:
    x, network = torch.rand(3, 3, 5), Attending(2, 3, 5, "qk", 3).eval()
    network.attend.tau = 2.0  # halves its current, beside the factor of a quarter
    program = sd.compile(sd.import_model(network, x, T=2))
    products = [node.name for node in program.graph.layers if node.kind == "product"]
    (edge,) = (e for e in program.graph.projections if e.pre == products[-1])
    assert np.unique(edge.synapses.weight).tolist() == [1.0]
    assert program.graph.node(edge.post).v_threshold == 8.0
