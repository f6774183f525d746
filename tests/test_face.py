"""The public functions as a stranger calls them: types, wrong types, signs of life."""

from __future__ import annotations

import inspect
import io
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import numpy as np
import pytest

import seenn_deploy as sd
from seenn_deploy import progress
from seenn_deploy.errors import ArgumentError
from tests.targets.lava.graphs import images, program, small

FUNCTIONS = ("calibrate", "compare", "compile", "convert", "evaluate", "inspect", "run",
             "simulate", "sweep", "verify")  # fmt: skip
TESTED = program(small())
X = images(TESTED.graph, 6)


class Wrong:
    """Of no type that any function takes."""


def parameters() -> list[tuple[str, str]]:
    """Every parameter whose type is not that of an array."""
    found = []
    for function in FUNCTIONS:
        called = getattr(sd, function)
        hints = get_type_hints(called)
        for name, parameter in inspect.signature(called).parameters.items():
            arrays = name in ("images", "labels", "logits", "calibration", "length")
            if not arrays and parameter.kind is not parameter.VAR_KEYWORD:
                assert get_origin(hints[name]) or get_args(hints[name]) or hints[name] is not Any
                found.append((function, name))
    return found


def right(function: str) -> dict[str, Any]:
    """Arguments of the right types, for the required parameters."""
    run = sd.simulate(TESTED, X, np.zeros(6, int), full_trace=True)
    given = {"program": TESTED, "images": X, "run": run, "rule": "margin", "logits": run.logits,
             "labels": run.labels, "level": 0.9, "graph": small(), "folder": ".",
             "programs": {"a": TESTED, "b": TESTED}, "model": "a.pth"}  # fmt: skip
    wanted = inspect.signature(getattr(sd, function)).parameters.values()
    return {p.name: given[p.name] for p in wanted if p.default is p.empty and p.name in given}


@pytest.mark.parametrize(("function", "name"), parameters())
def test_a_wrong_type_is_one_line(function: str, name: str) -> None:
    with pytest.raises(ArgumentError) as error:
        getattr(sd, function)(**{**right(function), name: Wrong()})
    said = str(error.value)
    assert said.startswith(f"{function}(")
    assert f"{name} is a Wrong, give " in said
    assert "\n" not in said


@pytest.mark.parametrize("length", [Wrong(), "all", [1, 2], np.full(6, 2.5), np.full(6, 99)])
def test_lengths_that_are_none_are_one_line(length: object) -> None:
    with pytest.raises(sd.SeennError, match="length") as error:
        sd.run(".", X, length=length)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("function", ["simulate", "evaluate", "verify"])
def test_images_that_are_none_are_one_line(function: str) -> None:
    with pytest.raises(sd.SeennError) as error:
        getattr(sd, function)(TESTED, Wrong())
    assert "\n" not in str(error.value)
    assert "images" in str(error.value)


def test_what_is_likely_meant_is_said() -> None:
    run = sd.simulate(TESTED, X)
    with pytest.raises(ArgumentError, match=r"ExitRule; name the rule .*Confidence\(0.9\)"):
        sd.compile(small(), 0.9)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match=r"simulate\(program, images, ..\): .* compile it"):
        sd.simulate(small(), X)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match=r"sweep\(run, program, ..\): run is a Program"):
        sd.sweep(TESTED, run)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match=r"^with_exit\(rule, ..\): .* make the rule"):
        TESTED.with_exit("margin")  # type: ignore[arg-type]
    with pytest.raises(sd.SeennError, match="ndarray: neither a path nor a torch module"):
        sd.import_model(np.zeros(3))  # type: ignore[arg-type]


def test_numpy_numbers_and_paths_are_right_types(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=X)
    run = sd.simulate(TESTED, tmp_path / "x.npz", threads=np.int64(1))  # type: ignore[arg-type]
    assert (run.exit_step == sd.simulate(TESTED, str(tmp_path / "x.npz")).exit_step).all()


def test_a_users_file_passes_the_type_checker(tmp_path: Path) -> None:
    user = tmp_path / "user.py"
    user.write_text(
        textwrap.dedent(
            """
            from pathlib import Path

            import numpy as np
            import seenn_deploy as sd

            program = sd.compile(sd.import_model("model.pth", T=4))
            rule: object = sd.exits.Confidence(0.9)
            run = sd.simulate(program, "images.npz", [0, 1], progress=True)
            sd.simulate(program, Path("images.npz"))
            sd.simulate(program, np.zeros((1, 3, 32, 32)), progress=lambda samples: None)
            sd.simulate(program, [[[[0.5]]]])
            sd.evaluate(program, "images.npz", progress=False)
            sd.run("build/", "images.npz")
            sd.verify(program, "images.npz", bundle="build/lava")
            sd.calibrate("margin", run.logits, run.labels, 0.9, program)
            reveal_type(run)
            """
        )
    )
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-incremental", str(user)],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stdout
    assert 'Revealed type is "seenn_deploy.simulator.result.RunResult"' in checked.stdout


# --- signs of life -------------------------------------------------------------------------------


def test_a_bar_is_shown_when_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    sd.simulate(TESTED, X, progress=True)
    shown = capsys.readouterr()
    assert "\rsimulating [" in shown.err
    assert "/6, 0:00" in shown.err
    assert shown.err.endswith(" \r")  # the line is empty again
    assert not shown.out


def test_nothing_is_shown_in_pipes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "PATIENCE", 0.0)
    sd.simulate(TESTED, X)
    sd.evaluate(TESTED, X, np.zeros(6, int), progress=False)
    assert capsys.readouterr().err == ""


def test_a_terminal_gets_a_bar_once_it_takes_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO()
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stderr", terminal)
    sd.simulate(TESTED, X)
    assert terminal.getvalue() == ""
    monkeypatch.setattr(progress, "PATIENCE", 0.0)
    sd.simulate(TESTED, X)
    assert "simulating [" in terminal.getvalue()


def test_a_function_is_told_of_every_sample() -> None:
    told: list[int] = []
    sd.simulate(TESTED, X, progress=told.append)
    assert sum(told) == 6


def test_the_bar_in_words() -> None:
    assert progress.text("simulating", 0, 8, 3.0) == f"simulating [{'-' * 24}] 0/8, 0:03"
    half = f"simulating [{'#' * 12}{'-' * 12}] 4/8, 1:05, 1:05 left"
    assert progress.text("simulating", 4, 8, 65.0) == half
