"""Pictures of a run hold its figures: bars, cells and spikes are read back from matplotlib."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import seenn_deploy as sd
from seenn_deploy.cli import seenn
from seenn_deploy.errors import DataError
from seenn_deploy.evaluation import activity
from seenn_deploy.simulator.result import RunResult
from tests.targets.lava.graphs import images, program, small

TESTED = program(small(), sd.exits.Confidence(0.5))
X, Y = images(TESTED.graph, 40), np.arange(40) % 4
RUN = sd.simulate(TESTED, X, Y, record=True)
FULL = sd.simulate(TESTED, X, record=True, full_trace=True)


def test_exits_are_bars_of_right_and_wrong_samples() -> None:
    (axes,) = activity.exits(RUN).axes
    right, wrong = ([bar.get_height() for bar in bars] for bars in axes.containers)
    at = [RUN.exit_step == t for t in range(1, 5)]
    assert right == [np.count_nonzero(RUN.correct[here]) for here in at]
    assert [a + b for a, b in zip(right, wrong, strict=True)] == [here.sum() for here in at]
    assert sum(wrong) > 0
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["right", "wrong"]
    (axes,) = activity.exits(FULL).axes
    assert axes.get_legend() is None
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("exit at timestep t", "samples")


@pytest.mark.parametrize("run", [RUN, FULL])
def test_activity_is_the_share_of_neurons_that_spiked(run: RunResult) -> None:
    axes, bar = activity.activity(run).axes
    (image,) = axes.images
    assert [text.get_text() for text in axes.get_yticklabels()] == ["first", "second"]
    for row, name in enumerate(("first", "second")):
        for t in range(1, 5):
            runs = run.exit_step >= (1 if run is FULL else t)
            share = run.spikes[name][runs, t - 1].mean()
            assert image.get_array()[row, t - 1] == pytest.approx(share, rel=1e-12)
            assert f"{share:.2f}" == axes.texts[4 * row + t - 1].get_text()
    assert bar.get_ylabel() == "spikes per neuron"


@pytest.mark.parametrize("cost", ["paper", "memory"])
def test_energy_by_layer_is_that_of_the_run(cost: str) -> None:
    (axes,) = activity.energy(RUN, cost).axes
    (bars,) = axes.containers
    lengths = [bar.get_width() for bar in bars]
    assert sum(lengths) == pytest.approx(1e6 * RUN.useful_energy(cost).mean(), rel=1e-9)
    assert [text.get_text() for text in axes.get_yticklabels()] == RUN.layers
    shares = [float(text.get_text().rstrip(" %")) for text in axes.texts]
    assert sum(shares) == pytest.approx(100, abs=0.2)
    assert shares[0] == pytest.approx(100 * lengths[0] / sum(lengths), abs=0.05)


def test_timesteps_that_no_sample_reaches_have_no_activity() -> None:
    run = sd.simulate(TESTED.with_exit(sd.exits.Confidence(0.01)), X)
    assert (run.exit_step == 1).all()
    axes, _ = activity.activity(run).axes
    assert [text.get_text() for text in axes.texts[1:4]] == ["-", "-", "-"]


def test_a_raster_shows_the_spikes_of_one_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    sample = int(np.flatnonzero(RUN.exit_step == 2)[0])
    figure = activity.raster(RUN, "first", sample)
    (axes,) = figure.axes
    spikes = RUN.spikes["first"][sample].reshape(4, -1)
    np.testing.assert_array_equal(axes.images[0].get_array(), spikes.T)
    assert axes.get_title() == f"first, sample {sample}: {spikes.sum()} spikes"
    assert all(tick == round(tick) for tick in [*axes.get_xticks(), *axes.get_yticks()])
    (legend,) = figure.legends
    assert {text.get_text() for text in legend.get_texts()} == {"spike", "exit after t=2"}

    monkeypatch.setattr(activity, "ROWS", 10)  # 48 neurons, 5 in a row, 3 in the last one
    axes, bar = activity.raster(RUN, "first", sample).axes
    rows = axes.images[0].get_array()
    assert rows.shape == (10, 4)
    np.testing.assert_allclose(rows[9], spikes[:, 45:].mean(axis=1))
    assert bar.get_ylabel() == "spikes per neuron (5 neurons per row)"


def test_what_cannot_be_drawn_is_one_line() -> None:
    with pytest.raises(DataError, match="simulate with record=True"):
        activity.raster(sd.simulate(TESTED, X), "first")
    with pytest.raises(DataError, match="no layer 'third'; recorded are first, second"):
        activity.raster(RUN, "third")
    with pytest.raises(DataError, match="sample 40 of 40"):
        activity.raster(RUN, "first", 40)


def test_simulate_draws_both(tmp_path: Path) -> None:
    TESTED.save(tmp_path / "build")
    np.savez(tmp_path / "x.npz", x=X, y=Y)
    command = ["simulate", str(tmp_path / "build"), "--data", str(tmp_path / "x.npz"), "--plot"]
    done = CliRunner().invoke(seenn, [*command, str(tmp_path / "new" / "run.png")])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "new" / "run.png").read_bytes().startswith(b"\x89PNG")
    done = CliRunner().invoke(seenn, [*command, str(tmp_path)])
    assert done.exit_code != 0
    assert isinstance(done.exception, sd.SeennError) and "name a file in it" in str(done.exception)
