"""Tables for a terminal: nothing cut, whatever the layers are called."""

from __future__ import annotations

import re
import shlex
from time import sleep

import numpy as np
import pytest
from click import unstyle

from seenn_deploy import progress
from seenn_deploy.cli import console
from seenn_deploy.cli.tables import devices, layout, programs, sweeps
from seenn_deploy.cli.tables import runs as reports
from seenn_deploy.cli.tables.fidelity import fidelity_table
from seenn_deploy.cli.tables.layout import Table
from seenn_deploy.cli.tables.training import log_table
from seenn_deploy.compiler.pipeline import compile
from seenn_deploy.evaluation.sweep.sweep import sweep
from seenn_deploy.exits.confidence import Confidence
from seenn_deploy.fidelity import FidelityReport
from seenn_deploy.frontends.base import Net
from seenn_deploy.ir.graph import Population, Source, SpikingGraph
from seenn_deploy.ir.inspection import inspect
from seenn_deploy.ir.maps import Dense
from seenn_deploy.ir.program import Program
from seenn_deploy.verification.report import LayerReport, VerifyReport
from tests.evaluation.sweep.test_sweep import PROGRAM, random_run

LONG = [f"feature_extractor/feature_extractor.{i}/activation_function/Relu" for i in range(3)]


def text(table: Table, width: int = console.WIDTH) -> str:
    shown = unstyle(table.render(width))
    assert max(map(len, shown.splitlines())) <= width and "…" not in shown
    return shown


def program(precision: str) -> Program:
    net = Net(Source("image", (1, 1, 4), input_range=(0.0, 1.0)), Population("", ()))
    last, rng = "image", np.random.default_rng(0)
    for name in LONG:
        last = net.spike(name, (last, (Dense(rng.normal(0, 1, (4, 4))),)))
    net.read_out("logits", (last, (Dense(rng.normal(0, 1, (3, 4))),)))
    graph = SpikingGraph(net.nodes, net.projections, 4)
    return compile(graph, Confidence(0.9), precision=precision)


def test_long_names_fold_and_numbers_stay() -> None:
    layers = tuple(LayerReport(name, 123_456_789, 12_345) for name in LONG)
    report = VerifyReport("lava", 2, layers, (), ((1, 1), (4, 4)), 0, 0.0, (8, 8), 1.5)
    for width in (console.WIDTH, 100):
        table, _ = devices.verify_tables(report)
        shown = text(table, width)
        assert shown.count("123,456,789") == shown.count("12345") == len(LONG)
        assert all(x in shown for x in ("neuron-", "consequences", "differing"))
        whole = inspect(program("float32"))
        assert "dense MACs" in text(programs.layer_table(program("float32"), whole), width)


def test_int8_layers() -> None:
    table, _ = programs.quantized_tables(program("int8"), None)
    assert "headroom" in text(table)


@pytest.mark.parametrize(("T", "lines"), [(4, 2), (8, 3), (300, 2)])
def test_exits_break_between_steps(T: int, lines: int) -> None:
    shown = reports.histogram_text({str(t): 25 for t in range(1, T + 1)})
    assert len(shown.splitlines()) == lines
    cells = [part for line in shown.splitlines() for part in re.split("   |, ", line)]
    assert all(part.count("t=") == 1 for part in cells)
    assert max(map(len, shown.splitlines())) <= 80 - len("the same as a dense ANN  ")


def test_a_log_of_many_timesteps_is_whole() -> None:
    line = {"epoch": 1, "loss": 2.30259, "lr": 0.1, "seconds": 8.92, "accuracy": 0.11}
    log = [line | {"accuracy_by_step": [0.98765] * 32}]
    shown = text(log_table(log))
    assert shown.count("98.77") == 32
    assert all(x in shown for x in ("2.3026", " 8.9 ", " 11.00 %"))
    shown = text(log_table([line | {"accuracy_by_step": [0.98765] * 300}]))
    assert shown.count("98.77") == 32 and "accuracy by step, 32 of 300" in shown


def test_exits_of_many_samples_stay_whole() -> None:
    shown = reports.histogram_text({str(t): 123_456 for t in range(1, 11)}).splitlines()
    assert [line.count("t=") for line in shown] == [2, 2, 2, 2, 2]
    assert reports.histogram_text({str(t): 9999 for t in range(1, 5)}).count("\n") == 1
    uneven = {"1": 27, "2": 161, "3": 12}
    assert reports.histogram_text(uneven).count("\n") == 0
    assert max(map(len, shown)) <= layout.BESIDE


def test_a_policy_network_is_paid_where_an_ann_is_compared() -> None:
    summary = {
        "energy_uJ_per_sample": 1.0, "total_energy_uJ_per_sample": 5.0, "quantized_ann_bits": 3,
        "dense_ann_energy_uJ": 10.0, "quantized_ann_energy_uJ": 0.1, "policy_mac": 7,
        "policy_energy_uJ_per_sample": 4.0, "policy_energy_share": 0.8, "policy_mac_share": 0.5,
    }  # fmt: skip
    told = {"cost_model": "paper", "schedule": "gated", "wasted_energy_uJ_per_sample": 0.0}
    rows = dict([*reports._energy_rows(summary | told), *reports._ann_rows(summary)])
    assert rows["energy per sample"] == "5.000 uJ (cost model paper, gated schedule)"
    assert rows["policy network"].endswith("4.000 uJ, 80.0 % of all")
    assert rows["the same as a dense ANN"] == "10.000 uJ (2.0 times as much)"
    assert rows["the same as a 3-bit ANN"] == "0.1 uJ (0.02 times as much)"


def test_places_of_a_fidelity_report_stay_short() -> None:
    report = FidelityReport("net.onnx")
    for name in LONG:
        report.approximated(name, "Relu: an integrate-and-fire neuron", "at most 1/32")
    assert ".. (2 more)" in " ".join(text(fidelity_table(report)).split())


@pytest.mark.parametrize("terminal", [True, False])
def test_what_takes_long_shows_itself_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], terminal: bool
) -> None:
    monkeypatch.setattr(progress, "_is_watched", lambda: terminal)
    with progress.shown(None, "brief"), progress.shown(None, "brief", 2) as advance:
        assert (advance is not None) == terminal
    assert not capsys.readouterr().err
    monkeypatch.setattr(progress, "PATIENCE", 0.01)
    with progress.shown(None, "importing net.onnx"):
        sleep(0.1)
    with progress.shown(None, "running on lava", 2):  # and no sample is finished yet
        sleep(0.1)
    said = capsys.readouterr().err
    shown = ["importing net.onnx, 0:00" in said, "on lava [------------------------] 0/2" in said]
    assert shown == [terminal] * 2
    with pytest.raises(ValueError, match="as it was"), progress.shown(None, "failing"):
        raise ValueError("as it was")


def test_a_sweep_in_80_columns_loses_nothing() -> None:
    report = sweep(random_run(5, 40), PROGRAM, keep_accuracy=5, bootstrap=20)
    wide, narrow = text(sweeps.sweep_table(report, 110), 110), text(sweeps.sweep_table(report))
    for word in re.findall(r"[a-z]+ [\d.]+|-?[\d.]+|\[[^]]*\]", wide):
        assert word in narrow


def test_names_break_between_their_words() -> None:
    layers = tuple(LayerReport(name, 123_456_789, 12_345) for name in LONG)
    report = VerifyReport("lava", 2, layers, (), ((1, 1), (4, 4)), 0, 0.0, (8, 8), 1.5)
    table, _ = devices.verify_tables(report)
    inspected = programs.layer_table(program("float32"), inspect(program("float32")))
    for shown in (text(table, 80), text(inspected, 80)):
        parts = set(re.split(r"[\s/._]+", shown))
        assert {"feature", "extractor", "activation", "function", "Relu"} <= parts


def test_a_command_of_several_lines_can_be_pasted() -> None:
    words = [
        "seenn",
        "simulate",
        "a folder/of mine",
        "--data",
        "images of birds.npz",
        "-x",
        "y" * 50,
    ]
    shown = text(layout.facts_table([("next", layout.Command(shlex.join(words)))]), 60)
    pasted = shown.replace("\\\n", "")  # which is what a shell reads
    assert shlex.split(pasted) == ["next", *words] and len(shown.splitlines()) == 3
    assert all(line.endswith(" \\") for line in shown.splitlines()[:-1])
    assert "\\" not in text(layout.facts_table([("next", layout.Command("seenn inspect b"))]))
