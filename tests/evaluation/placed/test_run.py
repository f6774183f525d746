"""What cores do in a run: counts equal brute force, energy is counts times prices, time by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import seenn_deploy as sd
from seenn_deploy import ir
from seenn_deploy.compiler.mapping.routes import routes_of
from seenn_deploy.errors import DataError, ProgramError
from seenn_deploy.evaluation.placed.activity import Activity
from seenn_deploy.evaluation.placed.clock import Clock, StepTime
from seenn_deploy.evaluation.placed.counting import loads
from seenn_deploy.evaluation.placed.run import TERMS, tokens
from seenn_deploy.evaluation.placed.steps import DIRECTIONS
from seenn_deploy.ir.schedule import Timing
from tests import placed_counts, random_graphs
from tests.compiler.mapping.test_place import FILES, described
from tests.simulator.test_integer import program_of, to_integers


@settings(max_examples=40, deadline=None)
@given(
    random_graphs.examples(plain=True),
    st.sampled_from([3, 8, 64]),
    st.sampled_from([24, 400]),
    st.sampled_from([1024, 8192]),
    st.integers(0, 99),
)
def test_counts_are_those_of_brute_force(
    tmp_path_factory: pytest.TempPathFactory, example: Any, neurons: int, outputs: int, bits: int,
    seed: int,
) -> None:  # fmt: skip
    graph = to_integers(example.graph, 1, np.random.default_rng(seed))
    assume(all(node.kind in ("population", "readout", "sum") for node in graph.layers))
    path = described(
        tmp_path_factory.getbasetemp(), neurons=neurons, output_axons=outputs, synapse_bits=bits
    )
    streams = graph.source.coding == "events"
    images = np.rint(example.images) if streams else example.images
    program = program_of(graph, images).for_targets("lava")
    try:
        placement = sd.map_to_chip(program, path)
    except ProgramError:
        assume(False)
    run = sd.simulate(program, images, record=True, full_trace=True, threads=1)
    routes = list(routes_of(program, placement))
    found = loads(program, placement, routes, Activity(program, images, run))
    chip = placed_counts.Chip(program, placement.summary(), placement.where)
    for sample, image in enumerate(images):
        expected, links = placed_counts.counts(chip, program, image, run, sample)
        for name, values in found.counts.items():
            told = {
                (route.unit, t): int(n)
                for route, of_unit in zip(routes, values[sample], strict=True)
                for t, n in enumerate(of_unit)
                if n
            }
            assert told == {key: n for key, n in expected[name].items() if n}, name
        told_links = {
            (t + depth, (x, y, DIRECTIONS[direction])): 0
            for t, depth, direction, y, x in np.argwhere(found.links[sample])
        }
        for t, depth, direction, y, x in np.argwhere(found.links[sample]):
            key = t + depth, (x, y, DIRECTIONS[direction])
            told_links[key] += found.links[sample, t, depth, direction, y, x]
        assert told_links == links


def by_hand(rule: Any) -> tuple[Any, Any]:
    """The network of docs/costs.md: three hidden neurons, of which 1, 2, 2, 2 spike."""
    hidden = np.array([[1, 1], [0.5, 0.5], [0.5, 0.25]], np.float32)
    out = np.array([[1, 1, 1], [-0.5, -0.5, -0.5]], np.float32)
    nodes = [
        ir.Source("in", (2, 1, 1), input_range=(0.0, 1.0)),
        ir.Population("hidden", (3,)),
        ir.Readout("out", (2,)),
    ]
    edges = [
        ir.Projection("in", "hidden", (ir.Dense(hidden),)),
        ir.Projection("hidden", "out", (ir.Dense(out),)),
    ]
    program = sd.compile(ir.SpikingGraph(nodes, edges, 4), rule, "int8")
    images = np.array([[[[1.0]], [[0.5]]]], np.float32)
    return program, images


def test_steps_and_energy_by_hand() -> None:
    """Hidden neurons on core 0, the readout on core 1, both in one tile."""
    program, images = by_hand(sd.exits.Fixed())
    placement = sd.map_to_chip(program, "loihi1")
    assert [tile.core for tile in placement.tiles] == [0, 1]
    found = sd.run_placed(program, placement, images)
    assert found.counts.spikes[0].tolist() == [[1, 2, 2, 2], [0, 0, 0, 0]]
    assert found.counts.updates[0].tolist() == [[3, 3, 3, 3], [2, 2, 2, 2]]
    # Core 0: three accesses of 6 ns, three updates of 3.7, and for each spike 30 and 5.1. Core 1
    # takes at most two messages of 16 with two synapses of 3.8 each. The barrier takes 600.
    one, two = 18 + 11.1 + 35.1, 18 + 11.1 + 70.2
    steps = [18.0, one, two, two, two, 12 + 2 * 3.7]
    assert found.steps.time * 1e9 == pytest.approx([600 + took for took in steps])
    assert found.steps.core_work * 1e9 == pytest.approx(steps)
    assert found.steps.core.tolist() == [0, 0, 0, 0, 0, 1]
    assert found.latency_steps("pipelined").tolist() == [4 + 2]
    assert found.paces["pipelined"].latency == pytest.approx([1e-9 * sum(600 + s for s in steps)])
    # As samples follow each other, the fourth timestep of the one before is in the first step.
    assert found.paces["pipelined"].interval == pytest.approx(
        [1e-9 * sum(600 + took for took in (two, one, two, two))]
    )
    # Gated, a timestep takes three steps: the host's, that of core 0 and that of core 1.
    alone = [[18.0, spiking, 19.4] for spiking in (one, two, two, two)]
    total = 1e-9 * sum(600 + took for steps in alone for took in steps)
    assert found.paces["gated"].latency == pytest.approx([total])
    energy = {name: float(1e12 * values[0]) for name, values in found.energy("pipelined").items()}
    assert energy == pytest.approx({
        "synapse": 14 * 35.5, "access": 4 * 5 * 51.2, "update": 4 * 5 * 21.6, "spike": 7 * 69.3,
        "message": 7 * 111.0, "hop": 0.0, "token": 2 * 111.0,
    })  # fmt: skip
    gated = {name: float(1e12 * values[0]) for name, values in found.energy("gated").items()}
    assert gated == pytest.approx(energy | {"access": 3 * energy["access"]})


def test_an_exit_that_comes_late_is_paid_for() -> None:
    program, images = by_hand(sd.exits.Confidence(0.9))
    found = sd.run_placed(program, sd.map_to_chip(program, "loihi1"), images)
    assert found.exit_step.tolist() == [2]
    told = found.summary()["schedules"]
    assert told["pipelined"] is None
    assert told["speculative"]["timesteps"] == 4 and told["gated"]["timesteps"] == 2
    # t = 3 and 4: two spikes each, with two synapses; all five neurons accessed and updated.
    wasted = 2 * (2 * (2 * 35.5 + 69.3 + 111.0) + 5 * (51.2 + 21.6))
    assert told["speculative"]["wasted_energy_uJ_per_sample"] == pytest.approx(1e-6 * wasted)
    assert told["gated"]["wasted_energy_uJ_per_sample"] == 0
    assert told["speculative"]["latency_steps"] == 4 and told["gated"]["latency_steps"] == 6
    pipelined = sd.run_placed(program.with_exit(sd.exits.Fixed()), found.placement, images)
    assert pipelined.summary()["schedules"]["speculative"]["energy_uJ_per_sample"] == (
        pytest.approx(told["speculative"]["energy_uJ_per_sample"])
    )


def test_samples_that_follow_each_other_share_steps() -> None:
    """Two samples in the pipe: the second one's first step is the first one's third."""
    program, images = by_hand(sd.exits.Fixed())
    placement = sd.map_to_chip(program.with_exit(sd.exits.Fixed()), "loihi1")
    twice = sd.run_placed(program, placement, np.concatenate([images, images]))
    once = sd.run_placed(program, placement, images)
    one, two, idle = 64.2, 99.3, 18.0
    # Of the first: its own steps, but the last two have the second one's first two in them.
    together = [idle, one, two, two, max(two, idle), max(one, 19.4)]
    latency = 1e-9 * sum(600 + took for took in together)
    assert twice.paces["pipelined"].latency[0] == pytest.approx(latency)
    # The second one begins while the first one's last timestep is with the hidden neurons.
    begun = [two, one, two, two, two, 19.4]
    assert twice.paces["pipelined"].latency[1] == pytest.approx(
        1e-9 * sum(600 + took for took in begun)
    )
    assert twice.steps.time == pytest.approx(once.steps.time)
    assert twice.paces["gated"].latency[1] == pytest.approx(once.paces["gated"].latency[0])


def test_a_trained_network_over_two_chips() -> None:
    files = sd.example()
    graph = sd.import_model(files.network, T=4)
    program = sd.compile(graph, sd.exits.Confidence(0.9), precision="int8")
    placement = sd.map_to_chip(program, "loihi1")
    images = np.load(files.images)["x"][:3]
    found = sd.run_placed(program, placement, images)
    run = sd.simulate(program, images, full_trace=True)
    # What the simulator counts on its own: spikes, and synapses but those of delay lines.
    names = [unit.name for unit in found.units]
    at = [names.index(name) for name in run.layers]
    assert (found.counts.spikes[:, at] == run.counts.spikes).all()
    lines = found.counts.spikes[:, [i for i in range(len(names)) if i not in at]].sum()
    assert found.counts.synapses.sum() == run.counts.ac.sum() + lines
    terms = found.energy("speculative")
    assert tuple(sorted(terms)) == tuple(sorted(TERMS))
    told = found.schedule("speculative")
    assert told is not None
    assert sum(told["energy_uJ_per_sample"].values()) == pytest.approx(
        told["total_energy_uJ_per_sample"]
    )
    messages, hops = tokens(placement)
    assert messages == placement.cores == 193 and min(hops) > 0


def test_energy_and_time_are_told_where_they_are_published() -> None:
    program, images = by_hand(sd.exits.Fixed())
    found = sd.run_placed(program, sd.map_to_chip(program, "loihi2"), images)
    with pytest.raises(DataError, match="loihi2: nobody has published what an operation costs"):
        found.energy()
    told = found.summary()
    assert "energy_uJ_per_sample" not in told["schedules"]["gated"]
    assert not found.paces and "time_us" not in told["hardware_steps"][0]
    # Three neurons take 3 x 2.65 ns, more than four synaptic operations of 0.7 ns.
    assert [row["least_us"] for row in told["hardware_steps"]] == pytest.approx([0.00795] * 6)
    assert max(row["busiest_core_synapses"] for row in told["hardware_steps"]) == 4


def test_a_step_s_lower_bound_where_a_chip_s_file_has_one(tmp_path: Path) -> None:
    of = json.loads((FILES / "loihi2.json").read_text())
    numbers = {"neuron": 1.0, "synapse": 2.0, "message": 5.0, "barrier": 4.5}
    of["bound_ns"] = {k: {"value": v, "source": "made up"} for k, v in numbers.items()}
    (tmp_path / "mine.json").write_text(json.dumps(of))
    program, images = by_hand(sd.exits.Fixed())
    found = sd.run_placed(program, sd.map_to_chip(program, tmp_path / "mine.json"), images)
    # Three neurons; one, then two spikes of two synapses; no link is used; the barrier.
    told = [row["least_us"] for row in found.summary()["hardware_steps"]]
    assert told == pytest.approx([0.0045, 0.0045, 0.008, 0.008, 0.008, 0.0045])


def test_another_program_is_refused() -> None:
    program, images = by_hand(sd.exits.Fixed())
    other = sd.compile(sd.import_model(sd.example().network, T=2), precision="int8")
    with pytest.raises(ProgramError, match="the placement is of program"):
        sd.run_placed(other, sd.map_to_chip(program), images)


def test_a_staged_schedule_waits_once() -> None:
    """Known after the first timestep: others follow it at once, behind the verdict."""
    program, images = by_hand(sd.exits.Fixed())
    timing, exit_step = Timing("staged", 2, known_after_first=True), np.array([3])
    found = replace(
        sd.run_placed(program, sd.map_to_chip(program), images), timing=timing, exit_step=exit_step
    )
    assert found.latency_steps("staged") == timing.latency(exit_step) == 3 + 2 * 2
    assert found.interval_steps("staged") == timing.interval(exit_step, 4) == 3 + 2
    assert found.energy("staged")["access"] == pytest.approx([1e-12 * (3 + 1 + 1) * 5 * 51.2])
    # One core, whose timesteps take 1, 10 and 100 ns in their three steps.
    clock = Clock(StepTime(np.zeros(1), 0.0), (3, 1), 3)
    work = np.array([1.0, 10.0, 100.0])[None, :, None].repeat(3, axis=0)
    clock.sample(work, 0 * work)
    pace = clock.pace(np.array([7]))
    steps = [1, 10, 100, 1, 10 + 1, 100 + 10, 100]
    assert pace.steps[:7] * 1e9 == pytest.approx(steps)
    assert pace.latency * 1e9 == pytest.approx([sum(steps)])
    # The next sample's first two steps are the last two of this one.
    assert pace.interval * 1e9 == pytest.approx([sum(steps)])


def test_samples_leave_where_an_earlier_run_let_them() -> None:
    program, images = by_hand(sd.exits.Confidence(0.9))
    placement = sd.map_to_chip(program, "loihi1")
    two = np.concatenate([images, images])
    fixed = sd.simulate(program.with_exit(sd.exits.Fixed()), two)
    found = sd.run_placed(program, placement, two, run=fixed)
    assert found.exit_step.tolist() == [4, 4]
    assert found.schedule("pipelined") is not None  # its timesteps were known before
    with pytest.raises(DataError, match="sample 1 has 1 spikes of hidden at t = 1 there, 0 here"):
        sd.run_placed(program, placement, np.concatenate([images, 0 * images]), run=fixed)
    with pytest.raises(DataError, match=r"the run has 2 samples and T = 4, these are 1 and T = 4"):
        sd.run_placed(program, placement, images, run=fixed)
