"""Lookahead: the best cuts against every way to cut, exits against a loop, and its schedule."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import seenn_deploy as sd
from seenn_deploy import exits
from seenn_deploy.cli import choosing, seenn
from seenn_deploy.cli.shared import check_schedule
from seenn_deploy.errors import ProgramError, SeennError
from seenn_deploy.exits.integer import lower
from seenn_deploy.exits.lookahead import Lookahead, best_bounds, leads
from seenn_deploy.ir.schedule import Timing
from tests.exits.test_looking_back import split
from tests.ir.test_program import program as some_program
from tests.targets.lava import graphs

cases = st.tuples(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(1, 4), st.booleans())


def naive_best(lead: list[float], right: list[list[bool]], patience: float) -> float:
    """The largest total over every descending choice of bounds among and around the leads."""
    T = len(right[0])
    borders = [-1.0, *sorted(set(lead))]
    best = -math.inf
    for bounds in itertools.product(borders, repeat=T - 1):
        if list(bounds) == sorted(bounds, reverse=True):
            total = 0.0
            for x, correct in zip(lead, right, strict=True):
                t = next((t for t in range(1, T) if x > bounds[t - 1]), T)
                total += patience * correct[t - 1] - t
            best = max(best, total)
    return best


@settings(max_examples=80, deadline=None)
@given(cases, st.floats(0, 30))
def test_no_other_bounds_are_better(case: Any, patience: float) -> None:
    logits, labels = split(case)
    right = logits.argmax(axis=-1) == labels[:, None]
    lead = leads(logits) + 1.0  # above 0: a lead of 0 exceeds no bound
    bounds = best_bounds(lead, right, patience)
    T = logits.shape[1]
    assert len(bounds) == T and list(bounds) == sorted(bounds, reverse=True)
    total = 0.0
    for x, correct in zip(lead, right, strict=True):
        t = next((t for t in range(1, T) if x > bounds[t - 1]), T)
        total += patience * correct[t - 1] - t
    assert total == pytest.approx(naive_best(lead.tolist(), right.tolist(), patience))


@given(cases, st.data())
def test_it_stops_where_the_loop_does(case: Any, data: st.DataObject) -> None:
    z = split(case)[0]
    T = z.shape[1]
    bounds = tuple(data.draw(st.floats(0, 4)) for _ in range(T))
    for sample in z:
        second, first = sorted(sample[0].tolist())[-2:]
        if any(abs(first - second - b) < 1e-9 for b in bounds):
            return
        expected = next((t for t in range(1, T) if first - second > bounds[t - 1]), T)
        assert Lookahead(10.0, bounds).exit_steps(sample[None])[0] == expected


def test_later_timesteps_change_nothing() -> None:
    z = split((5, 50, 4, False))[0]
    rule = Lookahead(10.0, (2.0, 1.0, 0.5, 0.0))
    steps = rule.exit_steps(z)
    assert len(set(steps.tolist())) == 4
    other = z.copy()
    other[:, 1:] = np.random.default_rng(0).normal(size=other[:, 1:].shape)
    assert np.array_equal(rule.exit_steps(other), steps)


def learned(seed: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose first timestep is noisy by a share that its lead tells."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, n)
    steps = rng.normal(size=(n, 4, 3)) * np.array([1.5, 0.5, 0.5, 0.5])[:, None]
    return np.cumsum(steps + 2 * (np.arange(3) == labels[:, None])[:, None], axis=1), labels


def test_calibration_holds_its_level_and_a_family_its_points() -> None:
    logits, labels = learned(0, 2000)
    rule = sd.calibrate("lookahead", logits, labels, 0.93)
    step = rule.exit_steps(logits)
    right = logits.argmax(axis=-1) == labels[:, None]
    early = step < 4
    assert early.mean() > 0.3
    assert right[early, step[early] - 1].mean() >= 0.93 - 1e-9
    family = Lookahead.family(logits, labels, 25)
    assert len(family.threshold) <= 25 and (np.diff(family.threshold) > 0).all()
    fresh, own = learned(1, 300)
    points = family.points(fresh)
    accuracy = points.sums((fresh.argmax(axis=-1) == own[:, None]).astype(float)) / 300
    for k in range(len(family.threshold)):
        found = family.rule(k).exit_steps(fresh)
        assert points.sums(np.arange(1.0, 5.0))[k] == pytest.approx(found.sum())
        there = fresh[np.arange(300), found - 1].argmax(axis=1) == own
        assert accuracy[k] == pytest.approx(there.mean())


def test_it_is_better_than_a_coin() -> None:
    """At its own mean number of steps, by far more than 1,000 samples' error allows."""
    logits, labels = learned(2, 4000)
    family = Lookahead.family(logits[:2000], labels[:2000], 50)
    z, y = logits[2000:], labels[2000:]
    right = z.argmax(axis=-1) == y[:, None]
    means = family.points(z).sums(np.arange(1.0, 5.0)) / 2000
    k = int(np.abs(means - 1.5).argmin())
    step = family.rule(k).exit_steps(z)
    ours = right[np.arange(2000), step - 1].mean()
    coin = np.interp(step.mean(), np.arange(1, 5), right.mean(axis=0))
    assert 1.2 < step.mean() < 1.8 and ours > coin + 0.03


@pytest.mark.parametrize("depth", [0, 1, 5])
def test_a_staged_schedule_waits_once(depth: int) -> None:
    """Walk the pipeline: a timestep goes in a step after the last, the second after a verdict."""
    for stop in range(1, 5):
        enters = [1]
        for t in range(2, stop + 1):
            verdict = enters[0] + depth  # when the first timestep has come out
            enters.append(verdict + 1 if t == 2 else enters[-1] + 1)
        # Without a second one, the next sample waits for the verdict as the second would have.
        follows = enters[-1] + 1 if stop > 1 else enters[0] + depth + 1
        timing = Timing("staged", depth, known_after_first=True)
        at = np.array([stop])
        assert timing.latency(at)[0] == enters[-1] + depth
        assert timing.interval(at, 4)[0] == follows - enters[0]
        assert timing.injected(at, 4)[0] == stop
    assert timing.compared[-1] == "staged" and Timing().compared == Timing().compared[:4]


def test_a_staged_run(tmp_path: Path) -> None:
    program = sd.compile(graphs.small(4))
    x = graphs.images(program.graph, 40)
    full = sd.simulate(program, x, full_trace=True)
    rule = Lookahead(1.0, (*np.quantile(leads(full.logits), [0.7, 0.5, 0.2]).tolist(), 0.0))
    program = program.with_exit(rule).with_schedule("staged")
    run = sd.simulate(program, x, out=tmp_path / "run")
    assert np.array_equal(run.exit_step, rule.exit_steps(full.logits))
    assert len(set(run.exit_step.tolist())) == 4
    assert np.array_equal(run.energy(), run.under("gated").energy())
    D = program.depth
    expected = np.where(run.exit_step == 1, 1 + D, run.exit_step + 2 * D)
    assert np.array_equal(run.timing.latency(run.exit_step), expected)
    program.save(tmp_path / "build")
    assert sd.Program.load(tmp_path / "build").schedule == "staged"
    assert sd.RunResult.load(tmp_path / "run").timing == program.timing
    figures = sd.sweep(
        sd.simulate(program, x, np.zeros(40, np.int64), full_trace=True), program, ["lookahead"],
        bootstrap=2,
    )  # fmt: skip
    assert figures.schedule == "staged"


def test_a_sweep_recommends_a_schedule_that_its_rule_can_follow(tmp_path: Path) -> None:
    """Where a fixed t is better than any lookahead, it is pipelined: t is known before."""
    program = sd.compile(graphs.small(4))
    program.save(tmp_path / "build")
    x = graphs.images(program.graph, 40)
    z = sd.simulate(program, x, full_trace=True).logits
    np.savez(tmp_path / "data.npz", x=x, y=z[:, 1].argmax(axis=-1))
    words = ["sweep", "build", "--data", "data.npz", "--rules", "lookahead", "--schedule", "staged"]
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(tmp_path)
        done = CliRunner().invoke(seenn, [*words, "--keep-accuracy", "100", "-o", "sweep"])
        assert done.exit_code == 0, done.output
        assert "staged" in done.stdout
        for rule, schedule in ((exits.Fixed(), "pipelined"), (Lookahead(1.0, (0.0,)), "staged")):
            best = SimpleNamespace(rule=rule)
            report: Any = SimpleNamespace(best=best, schedule="staged")
            assert choosing._followed(report) == schedule
        report = SimpleNamespace(best=None, schedule="gated")
        assert choosing._followed(report) == "gated"


def test_what_cannot_be_staged_is_refused_in_one_line() -> None:
    program = sd.compile(graphs.small(4))
    rule = Lookahead(1.0, (1.0, 1.0, 1.0, 0.0))
    staged = program.with_exit(rule).with_schedule("staged")
    run = sd.simulate(staged, graphs.images(program.graph, 10), np.zeros(10, int), full_trace=True)
    for refused in (
        lambda: program.with_schedule("staged"),
        lambda: staged.with_exit(exits.Confidence(0.9)),
        lambda: sd.sweep(run, staged, ["confidence"]),
        lambda: check_schedule("staged", "lava"),
        lambda: Timing().under("staged"),
    ):
        with pytest.raises(SeennError, match="staged") as error:
            refused()
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"patience": -1, "bounds": [1]}, r"patience = -1 lies outside"),
        ({"patience": 2, "bounds": []}, "holds no number"),
        ({"patience": 2, "bounds": [1, -1]}, r"bounds\[t=2\] = -1.0 lies"),
        ({"patience": 2}, "lookahead: .*bounds"),
    ],
)
def test_parameters_out_of_range(parameters: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        exits.from_dict({"rule": "lookahead", **parameters})


def test_it_is_stored_and_has_no_integer_form() -> None:
    rule = Lookahead(12.5, (math.inf, 2.0, 1.0, 0.0), program="0123")
    assert exits.from_dict(json.loads(json.dumps(rule.to_dict(), allow_nan=False))) == rule
    with pytest.raises(ValueError, match="'lookahead' has no integer form"):
        lower(rule, 0.1, 4)
    with pytest.raises(ProgramError, match="numbers for 2 timesteps"):
        some_program().with_exit(Lookahead(1.0, (1.0, 0.0)))
    assert not rule.stops(np.full((1, 4, 3), np.nan), np.arange(1, 5)).any()
