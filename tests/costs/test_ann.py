from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import seenn_deploy as sd
from seenn_deploy import costs
from seenn_deploy.costs.ann import activation_bits, ann_energy, compare
from seenn_deploy.costs.model import LayerSizes
from seenn_deploy.ir.inputs import for_program
from seenn_deploy.ir.program import Program
from seenn_deploy.simulator.result import RunResult

EXAMPLES = Path(__file__).parents[2] / "examples"


def sizes(macs: list[int], weights: list[int]) -> LayerSizes:
    return LayerSizes(np.array(weights), np.zeros(len(macs), np.int64), np.array(macs))


@given(st.integers(1, 10**6))
def test_bits_tell_the_spike_counts_apart(T: int) -> None:
    bits = activation_bits(T)
    assert 2**bits >= T + 1 > 2 ** (bits - 1)
    assert bits == math.ceil(math.log2(T + 1))


@pytest.mark.parametrize(
    ("name", "bits", "picojoules"),
    [
        ("paper", None, 1000 * 4.6),
        ("paper", 3, 1000 * 3 * 0.9),
        ("paper", 6, 1000 * 4.6),  # six accumulates cost more than the multiplier
        ("horowitz45-int8", 3, 1000 * 3 * 0.03),
        ("horowitz45-int8", 8, 1000 * 0.23),
        ("memory", None, 1000 * 4.6 + 400 * 5 + 600 * 50),
        ("memory", 3, 1000 * 3 * 0.9 + 400 * 5 + 600 * 50),
    ],
)
def test_an_ann_by_hand(name: str, bits: int | None, picojoules: float) -> None:
    two = sizes([400, 600], [10, 10**6])
    assert ann_energy(costs.load(name), two, bits) == pytest.approx(picojoules * 1e-12)


@given(st.integers(1, 8), st.sampled_from(["paper", "horowitz45-int8", "memory"]))
def test_fewer_bits_never_cost_more(bits: int, name: str) -> None:
    model, one = costs.load(name), sizes([7], [10])
    dense = ann_energy(model, one)
    few, more = ann_energy(model, one, bits), ann_energy(model, one, bits + 1)
    assert few is not None and more is not None and dense is not None
    assert few <= more * (1 + 1e-12) and more <= dense * (1 + 1e-12)


@pytest.mark.parametrize(("bits", "arithmetic"), [(None, 3.2), (3, 3 * 0.1)])
def test_an_ann_fetches_activations_and_finds_no_addresses(
    bits: int | None, arithmetic: float
) -> None:
    model = costs.load("lemaire")
    assert ann_energy(model, sizes([1000], [10]), bits) is None, "its inputs are not known"
    known = replace(sizes([1000], [10]), inputs=np.array([500]))
    price = arithmetic + 2 * 13.2 + 8.72e-5 * 4 * (10 + 500)
    assert ann_energy(model, known, bits) == pytest.approx(1000 * price * 1e-12)


def test_a_policy_s_shares() -> None:
    found = compare(costs.load("paper"), sizes([1000], [1]), 4, 23e-12, sizes([5], [1]))
    assert found.policy_macs == 5 and found.policy_mac_share == 0.005
    assert found.policy_energy == pytest.approx(23e-12)
    assert found.policy_energy_share == pytest.approx(0.5)
    summary = found.summary()
    assert summary["policy_energy_uJ_per_sample"] == pytest.approx(23e-6)
    assert summary["quantized_ann_bits"] == 3


def test_without_a_policy_its_figures_are_zero() -> None:
    for name in ("paper", "loihi1", "memory"):
        found = compare(costs.load(name), sizes([1000], [1]), 4, 1e-6)
        assert (found.policy_macs, found.policy_energy) == (0, 0.0)
        assert (found.policy_mac_share, found.policy_energy_share) == (0.0, 0.0)


def test_a_chip_without_multipliers_prices_no_ann() -> None:
    found = compare(costs.load("loihi1"), sizes([1000], [1]), 4, 1e-6, sizes([5], [1]))
    assert found.dense_energy is None and found.quantized_energy is None
    assert found.policy_energy is None and found.policy_energy_share is None
    assert found.policy_mac_share == 0.005
    assert found.summary()["dense_ann_energy_uJ"] is None


def conv_macs(outs: int, ins: int, size: int) -> int:
    return outs * ins * 9 * size * size


def test_the_paper_s_policy_network_is_half_a_percent_of_the_operations() -> None:
    """ResNet-8 (16-32-64) beside ResNet-19 (128-256-512, blocks 3-3-2), 3x32x32, by formula."""
    resnet19 = [conv_macs(128, 3, 32)] + [conv_macs(128, 128, 32)] * 6
    resnet19 += [conv_macs(256, 128, 16)] + [conv_macs(256, 256, 16)] * 5 + [256 * 128 * 256]
    resnet19 += [conv_macs(512, 256, 8)] + [conv_macs(512, 512, 8)] * 3 + [512 * 256 * 64, 5120]
    resnet8 = [conv_macs(16, 3, 32)] + [conv_macs(16, 16, 32)] * 2
    resnet8 += [conv_macs(32, 16, 16), conv_macs(32, 32, 16), 32 * 16 * 256]
    resnet8 += [conv_macs(64, 32, 8), conv_macs(64, 64, 8), 64 * 32 * 64, 640]
    found = compare(
        costs.load("paper"),
        sizes(resnet19, [1] * len(resnet19)),
        4,
        1e-4,
        sizes(resnet8, [1] * len(resnet8)),
    )
    assert round(100 * found.policy_mac_share, 3) == 0.547
    assert found.policy_energy_share is not None
    assert found.policy_energy_share > 10 * found.policy_mac_share


@pytest.fixture(scope="module")
def program() -> Program:
    graph = sd.import_model(EXAMPLES / "seenn_resnet19_w1_T4_c10.pth", T=4)
    return sd.compile(graph, sd.exits.Confidence(0.9))


@pytest.fixture(scope="module")
def runs(program: Program) -> tuple[RunResult, RunResult]:
    """Early exit, and the full trace."""
    images = for_program(program, EXAMPLES / "cifar10_200.npz", limit=12)
    return sd.simulate(program, images), sd.simulate(program, images, full_trace=True)


@pytest.mark.parametrize("cost", costs.names())
def test_a_full_trace_changes_no_figure(runs: tuple[RunResult, RunResult], cost: str) -> None:
    early, full = runs
    assert early.summary(cost) == full.summary(cost)
    assert early.summary(cost)["exit_histogram"] == {
        str(t): int(np.count_nonzero(early.exit_step == t)) for t in range(1, 5)
    }
    np.testing.assert_array_equal(early.energy(cost), full.energy(cost))
    for (_, a), (_, b) in zip(early.counts.items(), full.charged.items(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert full.counts.ac.sum() > early.counts.ac.sum()


@pytest.mark.parametrize("cost", costs.names())
def test_energy_by_step_meets_the_energy_at_the_exit(
    runs: tuple[RunResult, RunResult], cost: str
) -> None:
    early, full = runs
    by_step = full.energy_by_step(cost)
    assert by_step.shape == (12, 4) and (np.diff(by_step, axis=1) > 0).all()
    at_exit = by_step[np.arange(12), full.exit_step - 1]
    np.testing.assert_allclose(at_exit, early.energy(cost), rtol=1e-12)
    np.testing.assert_allclose(early.energy_by_step(cost)[:, -1], early.energy(cost), rtol=1e-12)


def test_summary_stands_beside_the_same_network_as_an_ann(
    program: Program, runs: tuple[RunResult, RunResult]
) -> None:
    summary = runs[0].summary("paper")
    macs = sum(edge.dense_macs for edge in program.graph.projections)
    assert summary["dense_ann_mac"] == macs == 36_094_592
    assert summary["dense_ann_energy_uJ"] == pytest.approx(macs * 4.6e-6)
    assert summary["quantized_ann_energy_uJ"] == pytest.approx(macs * 2.7e-6)
    with_policy = runs[0].summary("paper", policy=sizes([197_432], [1000]))
    assert with_policy["policy_mac_share"] == pytest.approx(0.00547, abs=1e-5)
    assert with_policy["energy_uJ_per_sample"] == summary["energy_uJ_per_sample"]


def test_the_documented_figures_are_those_of_the_program(program: Program) -> None:
    text = (EXAMPLES.parent / "docs" / "costs.md").read_text()
    images = for_program(program, EXAMPLES / "cifar10_200.npz")
    run = sd.simulate(program, images, full_trace=True)
    for cost in costs.names():
        summary = run.summary(cost)
        eager = run.under("speculative").summary(cost)
        (row,) = [line for line in text.splitlines() if line.startswith(f"| `{cost}` | ")][-1:]
        cells = [cell.strip().replace(",", "") for cell in row.split("|")[2:-1]]
        figures = [
            summary[key]
            for key in (
                "total_energy_uJ_per_sample",
                "dense_ann_energy_uJ",
                "quantized_ann_energy_uJ",
            )
        ]
        ratios = [figure and figure / figures[0] for figure in figures[1:]]
        spent = eager["total_energy_uJ_per_sample"]
        expected = [*figures, *ratios, spent, figures[1] and figures[1] / spent]
        for cell, value in zip(cells, expected, strict=True):
            if value is None:
                assert cell == "-"
            else:
                last_digit = 10.0 ** -len(cell.partition(".")[2])
                assert float(cell) == pytest.approx(value, abs=0.51 * last_digit + 1e-3 * value)
