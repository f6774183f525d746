"""Average pools as sums of their own: the same network, other counts, and what it costs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import seenn_deploy as sd
from seenn_deploy import ir
from seenn_deploy.errors import ProgramError
from tests import naive


def network(
    seed: int, shape: tuple[int, int, int], kernel: tuple[int, int], behind: str, T: int = 3
) -> ir.SpikingGraph:
    """An image, a convolution, spikes, a pool with or without a scale, and a layer behind."""
    rng = np.random.default_rng(seed)
    channels, height, width = shape
    pooled = (channels, height // kernel[0], width // kernel[1])
    conv = ir.Conv2d(rng.integers(-32, 33, (channels, 2, 3, 3)) / 32, padding=(1, 1))
    pool: list[Any] = [ir.AvgPool2d(kernel)]
    # A list of synapses, which uncovered windows become, takes no factors in front.
    if seed % 2 and (height % kernel[0], width % kernel[1]) == (0, 0):
        pool.insert(
            0, ir.Affine(rng.integers(1, 5, channels) / 4, rng.integers(-2, 3, channels) / 4)
        )
    nodes: list[Any] = [
        ir.Source("input", (2, height, width), "events"),
        ir.Population("a", shape, tau=0.5, v_threshold=0.5),
        ir.Readout("out", (4,), np.zeros(4)),
    ]
    edges = [ir.Projection("input", "a", (conv,))]
    if behind == "dense":
        dense = ir.Dense(rng.integers(-16, 17, (4, int(np.prod(pooled)))) / 16)
        edges.append(ir.Projection("a", "out", (*pool, dense)))
    else:
        nodes.insert(2, ir.Population("b", pooled, v_threshold=0.25))
        core = [ir.Conv2d(rng.integers(-16, 17, (channels, channels, 3, 3)) / 16, padding=(1, 1))]
        edges.append(ir.Projection("a", "b", (*pool, *(core if behind == "conv" else []))))
        last = ir.Dense(rng.integers(-16, 17, (4, int(np.prod(pooled)))) / 16)
        edges.append(ir.Projection("b", "out", (last,)))
    return ir.SpikingGraph(nodes, edges, T)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**16),
    st.tuples(st.integers(1, 5), st.integers(2, 7), st.integers(2, 7)),
    st.tuples(st.sampled_from([1, 2]), st.sampled_from([1, 2])),  # sizes that floats hold exactly
    st.sampled_from(["dense", "conv", "nothing"]),
    st.sampled_from(["float32", "int8"]),
)
def test_sums_compute_what_folded_pools_do(
    seed: int, shape: Any, kernel: Any, behind: str, precision: str
) -> None:
    graph = network(seed, shape, kernel, behind)
    rng = np.random.default_rng(seed)
    frames = rng.integers(0, 2, (3, 3, 2, *shape[1:])).astype(np.float32)
    runs = {}
    for pools in ("fold", "sum"):
        program = sd.compile(graph, precision=precision, pools=pools)
        runs[pools] = sd.simulate(program, frames, full_trace=True, record=True)
        if precision == "float32":
            want = naive.run(program.graph, frames)
            for name in ("ac", "mac", "ac_effective", "graded"):
                found = getattr(runs[pools].counts, name)
                place = [want.layers.index(layer) for layer in runs[pools].layers]
                np.testing.assert_array_equal(found, want.counts[name][:, place], err_msg=name)
    if precision == "float32":
        np.testing.assert_array_equal(runs["sum"].logits, runs["fold"].logits)
        own = [run.counts.own_ac.sum() + run.counts.own_mac.sum() for run in runs.values()]
        assert own[0] == own[1]  # the network's own layers are the same


def test_each_way_is_told_with_what_it_costs() -> None:
    graph = network(2, (4, 6, 6), (3, 3), "dense")
    program = sd.compile(graph, pools="auto")
    (told,) = program.provenance.pools
    assert (told["pre"], told["kernel"], told["measured"]) == ("a", [3, 3], False)
    assert told["fold_ac"] == 4 * 36 * 4
    assert (told["sum_ac"], told["payloads"], told["behind"]) == (4 * 36, 4 * 4, 4 * 4 * 4)
    # 0.9 * 144 + 4.6 * 64 pJ are less than 0.9 * 576.
    assert told["choice"] == "sum"
    assert [n.name for n in program.graph.layers] == ["a", "a.pool3x3", "out"]
    few = np.zeros((2, 3, 2, 6, 6), np.float32)
    few[:, :, 0, 0, 0] = 1  # single spikes are cheaper where they are
    (told,) = sd.compile(graph, pools="auto", calibration=few).provenance.pools
    assert told["measured"]


def test_a_pool_that_two_layers_take_is_summed_once() -> None:
    graph = network(2, (4, 6, 6), (2, 2), "conv")
    pool = ir.Dense(np.ones((4, 36)))
    edges = [*graph.projections, ir.Projection("a", "out", (ir.AvgPool2d((2, 2)), pool))]
    program = sd.compile(graph.replace(projections=edges), pools="sum")
    assert sum(isinstance(n, ir.Sum) for n in program.graph.layers) == 1


def test_files_targets_and_words(tmp_path: Path) -> None:
    graph = network(2, (4, 6, 6), (2, 2), "conv")
    program = sd.compile(graph, pools="sum")
    program.save(tmp_path / "sum")
    again = sd.load(tmp_path / "sum")
    assert again.fingerprint == program.fingerprint != sd.compile(graph).fingerprint
    assert [dict(p) for p in again.provenance.pools] == [dict(p) for p in program.provenance.pools]
    with pytest.raises(sd.SeennError, match=r"a -> a\.pool2x2: .*pools='fold'"):
        program.save(tmp_path / "nir", targets=["nir"])
    with pytest.raises(ProgramError, match="pools = 'some'; there is fold, sum, auto"):
        sd.compile(graph, pools="some")  # type: ignore[arg-type]
    with pytest.raises(ProgramError, match="pools='auto' and for attention_order='cheapest'"):
        sd.compile(graph, calibration=np.zeros((1, 3, 2, 6, 6), np.float32))
