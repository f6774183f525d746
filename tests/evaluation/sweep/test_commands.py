"""seenn sweep, seenn calibrate, and the options of exit rules."""

from __future__ import annotations

import errno
import json
import os
import shlex
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from seenn_deploy import cli, exits
from seenn_deploy.cli import choosing, options
from seenn_deploy.ir.program import Program
from seenn_deploy.simulator.engine import simulate
from tests.ir.test_program import program

Seenn = Callable[..., tuple[int, str, str]]


@pytest.fixture
def seenn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Seenn:
    """Run a command beside a program in build/ and data.npz; exit code, output, errors."""
    monkeypatch.chdir(tmp_path)
    program().save("build")
    rng = np.random.default_rng(0)
    x = rng.random((40, 2, 2, 2)).astype(np.float32)
    np.savez("data.npz", x=x, y=rng.integers(0, 3, 40))
    np.savez("nolabels.npz", x=x)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["seenn", *arguments])
        with pytest.raises(SystemExit) as end:
            cli.main()
        printed = capsys.readouterr()
        return int(end.value.code or 0), printed.out, printed.err

    return run


def test_sweep_writes_and_prints(seenn: Seenn) -> None:
    code, out, err = seenn(
        "sweep", "build", "--data", "data.npz", "--out", "found", "--json", "figures.json",
        "--candidates", "50",
    )  # fmt: skip
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines())) <= 100
    assert "cheapest within 0.5 points" in out
    assert "seenn-compile build --exit" in " ".join(joined(out))
    for name in ("confidence", "entropy", "margin", "conformal", "t=4"):
        assert name in out
    figures = json.loads(Path("figures.json").read_text())
    for key in ("samples", "accuracy", "mean_exit_step", "exit_histogram", "ac_per_sample",
                "mac_per_sample", "energy_uJ_per_sample",
                "policy_energy_uJ_per_sample"):  # fmt: skip
        assert key in figures
    assert Path("found/sweep.png").is_file()
    code, out, err = seenn(
        "simulate", "build", "--data", "data.npz", "--exit-file", "found/rule.json"
    )
    assert (code, err) == (0, "")


def test_the_old_spelling_of_candidates_warns(seenn: Seenn) -> None:
    code, _, err = seenn("sweep", "build", "--data", "data.npz", "--thresholds", "5")
    assert code == 0 and err.startswith("warning: --thresholds is now --candidates")


def test_the_next_command_is_that_of_the_program(seenn: Seenn) -> None:
    again = choosing._again
    assert again(Path("build"), program(), "sequential") == "seenn-compile build"
    assert again(Path("a b"), program(), "gated") == "seenn-compile 'a b' --schedule gated"
    _, out, _ = seenn("sweep", "build", "--data", "data.npz", "--out", "swept")
    assert "\\\n" in out  # too long for a line, and pasted all the same
    line = out.partition("\nnext ")[2].replace("NEW_FOLDER", "other")
    command, *arguments = shlex.split(line.replace("\\\n", ""))  # as a shell reads it
    assert command == "seenn-compile" and seenn("compile", *arguments)[0] == 0
    again_ = Program.load("other")
    assert again_.fingerprint == Program.load("build").fingerprint
    assert again_.exit_rule != Program.load("build").exit_rule
    code, _, err = seenn("compile", "build", "--precision", "int8", "-o", "int8")
    assert code == 2 and "is compiled in float32 already; compile its source in int8" in err
    code, _, err = seenn("compile", "build", "-T", "3", "-o", "longer")
    assert code == 2 and "--T is for its source" in err


def joined(out: str) -> list[str]:
    """Lines of a table of facts, with those that go on in the next put together."""
    lines: list[str] = []
    for line in out.splitlines():
        if line.startswith("    ") and lines:
            lines[-1] += " " + line.strip()
        else:
            lines.append(line.strip())
    return lines


def test_sweep_figures_are_those_of_a_simulation(seenn: Seenn) -> None:
    """The chosen rule, simulated on its own on the reported images."""
    seenn("sweep", "build", "--data", "data.npz", "--out", "found", "--seed", "3")
    swept = json.loads(Path("found/sweep.json").read_text())
    order = np.random.default_rng(3).permutation(40)
    stored = np.load("data.npz")
    reported = np.sort(order[20:])
    np.savez("reported.npz", x=stored["x"][reported], y=stored["y"][reported])
    seenn(
        "simulate", "build", "--data", "reported.npz", "--exit-file", "found/rule.json",
        "--json", "run.json",
    )  # fmt: skip
    run = json.loads(Path("run.json").read_text())
    for key in ("samples", "accuracy", "mean_exit_step", "exit_histogram", "ac_per_sample",
                "mac_per_sample", "energy_uJ_per_sample",
                "total_energy_uJ_per_sample"):  # fmt: skip
        assert swept[key] == pytest.approx(run[key])


def test_calibrate_writes_a_rule_for_compile_and_simulate(seenn: Seenn) -> None:
    code, out, _ = seenn(
        "calibrate", "build", "--data", "data.npz", "--rule", "conformal", "--level", "0.5",
        "-o", "rule.json",
    )  # fmt: skip
    assert code == 0
    assert "conformal(level=0.5" in out
    rule = exits.from_dict(json.loads(Path("rule.json").read_text()))
    assert rule.program == Program.load("build").fingerprint
    assert seenn("simulate", "build", "--data", "data.npz", "--exit-file", "rule.json")[0] == 0
    program(scale=2.0).save("other")
    code, _, err = seenn("simulate", "other", "--data", "data.npz", "--exit-file", "rule.json")
    assert code == 2
    assert err.count("\n") == 1
    assert rule.program in err
    assert Program.load("other").fingerprint in err


def test_a_level_that_no_threshold_reaches_is_told(seenn: Seenn) -> None:
    """Every early answer is wrong: the labels are classes that no timestep before T names."""
    x = np.load("data.npz")["x"]
    said = simulate(Program.load("build"), x, full_trace=True).logits[:, :3].argmax(axis=-1)
    others = [sorted({0, 1, 2} - set(row)) for row in said.tolist()]
    kept = [n for n, labels in enumerate(others) if labels]
    assert kept
    np.savez("data.npz", x=x[kept], y=[others[n][0] for n in kept])
    code, out, _ = seenn("calibrate", "build", "--data", "data.npz", "--rule", "confidence",
                         "--level", "1", "-o", "rule.json")  # fmt: skip
    assert json.loads(Path("rule.json").read_text())["alpha"] == 1
    assert code == 0 and "no threshold reaches the level" in out


@pytest.mark.parametrize(
    "options",
    [
        ("--exit", "fixed"),
        ("--alpha", "0.5"),
        ("--theta", "0.2"),
        ("--beta", "0.1"),
        ("--exit", "margin", "--beta", "0.1,0.2,0.3,0.4"),
    ],
)
def test_rules_from_options(seenn: Seenn, options: tuple[str, ...]) -> None:
    assert seenn("simulate", "build", "--data", "data.npz", *options)[0] == 0


SWEEP = ("sweep", "build", "--data", "data.npz")
CALIBRATE = ("calibrate", "build", "--data", "data.npz", "-o", "r.json")
SIMULATE = ("simulate", "build", "--data", "data.npz")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((*SWEEP[:3], "nolabels.npz"), "the images have no labels"),
        ((*CALIBRATE[:3], "nolabels.npz", *CALIBRATE[4:], "--rule", "margin"), "no labels"),
        ((*SWEEP, "--rules", "hunch"), "'hunch' does not exist"),
        ((*SWEEP, "--split", "0"), "split = 0.0 lies outside"),
        ((*SWEEP, "--limit", "1"), "leaves none in the"),
        ((*SWEEP, "--energy-budget", "1fJ"), "give joules, e.g. 20uJ"),
        ((*SWEEP, "--energy-budget", "1pJ"), "the cheapest takes"),
        ((*SWEEP, "--energy-budget", "1uJ", "--keep-accuracy", "1"), "give one of them"),
        ((*SWEEP, "--schedule", "pipelined"), "pipelined"),
        ((*SWEEP, "--out", "build"), "build: exists"),
        ((*CALIBRATE, "--rule", "fixed"), "'fixed' cannot be calibrated"),
        ((*CALIBRATE, "--rule", "margin", "--level", "2"), "level = 2.0 lies outside"),
        ((*SIMULATE, "--exit", "conformal"), "needs calibrated numbers"),
        ((*SIMULATE, "--exit", "margin", "--alpha", "0.5"), "--alpha belongs to exit rule conf"),
        (("run", "build", "--data", "data.npz", "--timeout", "-1"), "not in the range x>0"),
        ((*SWEEP, "--seed", "-1"), "not in the range x>=0"),
        ((*SIMULATE, "--exit", "policy"), "needs its network: --policy"),
        ((*SIMULATE, "--beta", "1,2"), "numbers for 2 timesteps, the program runs 4"),
        ((*SIMULATE, "--beta", "-1"), "beta = -1.0 lies outside"),
        ((*SIMULATE, "--theta", "2"), "theta = 2.0 lies outside"),
        ((*SIMULATE, "--exit-file", "none.json"), "none.json: No such file"),
        ((*SIMULATE, "--exit-file", "data.npz"), "data.npz: not an exit rule"),
        ((*SIMULATE, "--exit-file", "x", "--exit", "fixed"), "holds the whole exit rule"),
    ],
)
def test_bad_input_is_one_line(seenn: Seenn, arguments: tuple[str, ...], words: str) -> None:
    code, _, err = seenn(*arguments)
    assert code == 2
    assert words in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "joules"),
    [("20uJ", 2e-5), ("1.5mJ", 1.5e-3), ("3e-5", 3e-5), ("3e-5 J", 3e-5), ("7 µJ", 7e-6),
     ("2nJ", 2e-9), ("4pJ", 4e-12), ("20nJ", 2e-8), ("1e-5J", 1e-5)],
)  # fmt: skip
def test_energies(text: str, joules: float) -> None:
    assert options.joules(None, None, text) == pytest.approx(joules)  # type: ignore[arg-type]


def test_a_budget_without_its_unit_is_told_once(seenn: Seenn) -> None:
    code, out, err = seenn(*SWEEP, "--energy-budget", "20")
    assert code == 0 and "most accurate within 2e+07 uJ" in out
    (warning,) = [line for line in err.splitlines() if "unit" in line]
    assert warning == "warning: 20 without a unit is read as joules; write 20J, or 20uJ"
    code, out, err = seenn(*SWEEP, "--energy-budget", "1e-5J", "--schedule", "gated")
    assert (code, err) == (0, "") and "gated, D=3" in out


def test_figures_are_refused_where_they_cannot_be_written(seenn: Seenn) -> None:
    Path("file").write_text("kept")
    for place, words in (
        ("file/figures.json", "is a file, no folder"),
        ("build", "is a folder; name a file in it"),
    ):
        for command in (("sweep", "--out", "found"), ("simulate", "--out", "run")):
            name, *more = command
            code, out, err = seenn(name, "build", "--data", "data.npz", *more, "--json", place)
            assert (code, out, len(err.splitlines())) == (2, "", 1), err
            assert words in err
    code, out, err = seenn("calibrate", "build", "--data", "data.npz", "--rule", "margin",
                           "-o", "file/rule.json")  # fmt: skip
    assert (code, out) == (2, "") and "is a file, no folder" in err
    assert not Path("found").exists() and not Path("run").exists()
    assert Path("file").read_text() == "kept"


def test_figures_into_what_is_no_plain_file(seenn: Seenn) -> None:
    os.mkfifo("pipe")
    with ThreadPoolExecutor() as other:
        read = other.submit(Path("pipe").read_text)
        assert seenn("inspect", "build", "--json", "pipe")[0] == 0
        assert json.loads(read.result(timeout=60))["layers"]
    assert Path("pipe").is_fifo()
    Path("true.json").write_text("")
    Path("link.json").symlink_to("true.json")
    assert seenn("inspect", "build", "--json", "link.json")[0] == 0
    assert Path("link.json").is_symlink() and json.loads(Path("true.json").read_text())


def test_errors_of_the_system_are_one_line(seenn: Seenn, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "figures.json")

    monkeypatch.setattr("seenn_deploy.io.folders.write_json", full)
    code, _, err = seenn("inspect", "build", "--json", "figures.json")
    assert (code, err) == (2, "error: figures.json: No space left on device\n")


def test_no_command_at_all_is_help(seenn: Seenn) -> None:
    for command in ((), ("train",)):
        code, out, err = seenn(*command)
        assert (code, err) == (0, "") and out.startswith("Usage: ") and "Examples:" in out
        assert not any(line.endswith("...") for line in out.splitlines()[1:])
