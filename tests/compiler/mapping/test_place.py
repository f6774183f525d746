"""Placing neurons: every limit holds on random graphs, by a checker that shares no code with it."""

from __future__ import annotations

import json
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import seenn_deploy as sd
from seenn_deploy import ir
from seenn_deploy.compiler.mapping import chip as chips
from seenn_deploy.compiler.mapping.needs import Box
from seenn_deploy.compiler.mapping.placement import Placement, Tile
from seenn_deploy.errors import DataError, ProgramError
from tests import placed, random_graphs
from tests.simulator.test_integer import program_of, to_integers
from tests.targets.lava import graphs, policies

FILES = Path(chips.__file__).parent / "chips"


def described(folder: Path, **limits: int) -> Path:
    """A chip's file with small cores, whose spikes carry values."""
    of = json.loads((FILES / "loihi1.json").read_text())
    of["graded_spikes"]["value"] = True
    for name, value in limits.items():
        of["limits"][name]["value"] = value
    path = folder / "small.json"
    path.write_text(json.dumps(of))
    return path


@settings(max_examples=60, deadline=None)
@given(
    random_graphs.examples(),
    st.sampled_from([4, 16, 64]),
    st.sampled_from([24, 80, 400]),
    st.sampled_from([24, 200]),
    st.sampled_from([1024, 8192]),
    st.integers(0, 99),
)
def test_limits_hold(
    tmp_path_factory: pytest.TempPathFactory, example: Any, neurons: int, inputs: int,
    outputs: int, bits: int, seed: int,
) -> None:  # fmt: skip
    graph = to_integers(example.graph, 1, np.random.default_rng(seed))
    assume(all(node.kind in ("population", "readout", "sum") for node in graph.layers))
    path = described(
        tmp_path_factory.getbasetemp(), neurons=neurons, input_axons=inputs,
        output_axons=outputs, synapse_bits=bits,
    )  # fmt: skip
    program = program_of(graph, example.images)
    try:
        placement = sd.map_to_chip(program, path)
    except ProgramError as refusal:
        assert "one neuron takes" in str(refusal) or "send back" in str(refusal)
        return
    placed.check(program, placement.summary(), path)


def test_the_trained_network_has_its_place_on_each_chip() -> None:
    program = sd.compile(sd.import_model(sd.example().network, T=4), precision="int8")
    for name in chips.names():
        placement = sd.map_to_chip(program, name)
        assert sum(tile.neurons for tile in placement.tiles) > sum(
            prod(node.shape) for node in program.graph.populations
        )
        several = name == "loihi1"
        assert placement.chips == 1 + several
        assert placement.too_large.startswith("193 cores are 2 chips of 128") == several
        assert repr(placement).startswith(f"Placement({name}, ")


def test_a_policy_network_gets_cores_where_spikes_carry_values(tmp_path: Path) -> None:
    graph = graphs.small()
    images = graphs.images(graph, 3)
    plain = sd.compile(graph, precision="int8", calibration=images)
    rule = policies.convolutional(plain.graph, tmp_path / "policy.onnx", (1, 2), seed=2)
    program = plain.with_exit(rule)
    assert program.policy is not None
    for name in chips.names():
        placement = sd.map_to_chip(program, name)
        placed.check(program, placement.summary(), FILES / f"{name}.json")
        theirs = [layer for layer in placement.layers if layer["layer"].startswith("policy")]
        assert bool(theirs) == (name == "loihi2")
        assert sum(layer["neurons"] for layer in theirs) == (
            0 if name == "loihi1" else sum(map(prod, program.policy.shapes[1:]))
        )
        # What the spiking network does is counted as without it, where the cores are the same.
        found = sd.run_placed(program, placement, images)
        same = sd.run_placed(plain, sd.map_to_chip(plain, name), images)
        np.testing.assert_array_equal(found.counts.spikes, same.counts.spikes)
        np.testing.assert_array_equal(found.counts.updates, same.counts.updates)


def test_what_a_chip_cannot_compute_is_refused(tmp_path: Path) -> None:
    graph = sd.import_model(sd.example().network, T=2)
    with pytest.raises(ProgramError, match="--precision int8"):
        sd.map_to_chip(sd.compile(graph), "loihi1")
    rng = np.random.default_rng(0)
    nodes = [
        ir.Source("in", (40, 1, 1), input_range=(0.0, 1.0)),
        ir.Population("a", (40, 1, 1)),
        ir.Sum("twice", (40, 1, 1)),
        ir.Readout("out", (2,)),
    ]
    one = ir.Identity()
    edges = [
        ir.Projection("in", "a", (one,)),
        *(ir.Projection("a", "twice", (one,)) for _ in range(2)),
        ir.Projection("twice", "out", (ir.Dense(rng.random((2, 40), np.float32)),)),
    ]
    program = sd.compile(ir.SpikingGraph(nodes, edges, 2), precision="int8")
    with pytest.raises(ProgramError, match="twice: chip loihi1 has no spikes with values"):
        sd.map_to_chip(program, "loihi1")
    assert sd.map_to_chip(program, "loihi2").cores == 2
    with pytest.raises(ProgramError, match=r"out: one neuron takes 1,000 synapse bits|out: one"):
        sd.map_to_chip(program, described(tmp_path, input_axons=39, synapse_bits=64))


def test_feedback_waits_as_long_as_on_every_pipeline() -> None:
    """From the third layer back to the first: a lag of one timestep is too short, but for gated."""
    rng = np.random.default_rng(0)
    nodes = [
        ir.Source("in", (6, 1, 1), input_range=(0.0, 1.0)),
        *(ir.Population(name, (6,), v_threshold=0.2) for name in "abc"),
        ir.Readout("out", (3,)),
    ]
    ends = [
        ("in", "a", 6, 0),
        ("a", "b", 6, 0),
        ("b", "c", 6, 0),
        ("c", "out", 3, 0),
        ("c", "a", 6, 1),
    ]
    edges = [
        ir.Projection(pre, post, (ir.Dense(rng.normal(size=(n, 6)).astype(np.float32)),), lag=lag)
        for pre, post, n, lag in ends
    ]
    program = sd.compile(ir.SpikingGraph(nodes, edges, 4), sd.exits.Confidence(), "int8")
    with pytest.raises(
        ProgramError, match="c -> a: feedback with a lag of 1 comes back 2 hardware"
    ):
        sd.map_to_chip(program)
    gated = program.with_schedule("gated")
    (back,) = (edge for edge in gated.graph.projections if edge.lag)
    assert gated.waiting_steps(back) == back.delay + gated.depth + 1 == 2
    assert sd.map_to_chip(gated).layer("c")["delay_neurons"] == 2 * 6


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda of: of.pop("mesh"), "mesh is missing"),
        (lambda of: of["mesh"].pop("rows"), r"mesh\.rows is None; give a whole number, at least 1"),
        (lambda of: of["limits"].pop("neurons"), r"limits\.neurons is missing"),
        (lambda of: of["limits"]["neurons"].update(value=-1), r"limits\.neurons is -1"),
        (lambda of: of["limits"]["neurons"].update(value=1.5), r"limits\.neurons is 1\.5"),
        (lambda of: of["limits"]["neurons"].pop("source"), r"limits\.neurons has no source"),
        (lambda of: of["limits"].update(cats=1), r"limits\.cats means nothing"),
        (lambda of: of["energy_pJ"].pop("spike"), r"energy_pJ\.spike is missing"),
        (lambda of: of["energy_pJ"]["spike"].update(value="1"), r"energy_pJ\.spike is '1'"),
        (lambda of: of["time_ns"]["barrier"].update(value=[[1]]), r"time_ns\.barrier has \[1\]"),
        (lambda of: of["synapses"]["index_bits"].update(value=[]), r"synapses\.index_bits is \[\]"),
        (lambda of: of.update(graded_spikes={"value": 1, "source": "x"}), "give true or false"),
    ],
)
def test_a_chip_s_file_is_read_strictly(tmp_path: Path, change: Any, says: str) -> None:
    of = json.loads((FILES / "loihi1.json").read_text())
    change(of)
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(of))
    with pytest.raises(DataError, match=says) as refusal:
        chips.load(path)
    assert str(refusal.value).startswith(f"{path}: ")


def test_an_unknown_chip_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="chip 'loihi3' does not exist; there are loihi1, loihi2"):
        chips.load("loihi3")
    (tmp_path / "x.json").write_text("[")
    with pytest.raises(DataError, match="no chip's file"):
        chips.load(tmp_path / "x.json")


def test_lists_take_what_nengo_loihi_says() -> None:
    """``SynapseConfig.bits_per_axon`` of nengo-loihi 1.1.0, 8-bit weights and n_synapses = 63."""
    bits = chips.load("loihi1").format.bits
    # (synapses, neurons of the box): index bits 0, 6, 10, 12
    known = {(1, 1): 64, (64, 1): 576, (10, 60): 192, (65, 1024): 1280, (200, 4096): 4224}
    assert {key: bits(*key) for key in known} == known


@pytest.mark.parametrize(("cores", "mesh"), [(1, (8, 4)), (129, (16, 4)), (300, (16, 8))])
def test_tiles_of_several_chips_lie_side_by_side(cores: int, mesh: tuple[int, int]) -> None:
    chip = chips.load("loihi1")
    box = Box((0, 1), (0, 1), (0, 1))
    tiles = tuple(Tile("a", "a", box, "neuron", i, 1, 0, 0, 0, 0) for i in range(cores))
    placement = Placement(chip, "", tiles, 0)
    assert placement.mesh == mesh
    at = placement.where
    assert at.min() == 0 and (at.max(axis=0) < mesh).all()
    assert max(np.unique(at, axis=0, return_counts=True)[1]) <= chip.cores_per_tile
    first, second = at[: chip.cores], at[chip.cores : 2 * chip.cores]
    assert (second - first[: len(second)] == (8, 0)).all()
    # Neighbours in number are in neighbouring tiles, but from chip to chip.
    steps = np.abs(np.diff(first, axis=0)).sum(axis=1)
    assert steps.max(initial=0) <= 1
