"""What an import or export changed: in the provenance, on the terminal, in --json; --strict."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from click import unstyle
from click.testing import CliRunner, Result

import seenn_deploy as sd
from seenn_deploy import fidelity
from seenn_deploy.cli import seenn
from seenn_deploy.cli.tables.fidelity import fidelity_table
from seenn_deploy.errors import ProgramError
from seenn_deploy.fidelity import FidelityReport, RefusedError
from seenn_deploy.frontends.import_model import import_model
from seenn_deploy.ir.program import Program
from tests import checkpoints, checkpoints_qcfs


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """With a directly trained network and one to convert."""
    state = checkpoints.resnet(blocks=(1, 1, 1), channels=(3, 4, 5), size=8)
    torch.save(state, tmp_path / "direct.pth")
    torch.save(checkpoints_qcfs.resnet(), tmp_path / "qcfs.pth")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def half_target(monkeypatch: pytest.MonkeyPatch) -> str:
    """A target that halves what it is given, and refuses int8."""
    module = ModuleType("seenn_deploy.targets.half")

    def write(program: Program, folder: Path) -> None:
        report = FidelityReport("half")
        report.faithful("fc1", "as it is")
        if program.precision == "int8":
            report.refuse("weights", "are integers", "use float32")
        report.approximated("spike", "threshold halved", "50 %")
        (folder / fidelity.REPORT).write_text(json.dumps(report.to_dict()))

    module.write = write  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr("seenn_deploy.ir.program.target_names", lambda: ["half"])
    return "half"


def run(command: str, model: str, *options: str) -> Result:
    done = CliRunner().invoke(
        seenn, [command, model, "--input-size", "8", "-o", "build", "--json", "out.json", *options]
    )
    assert max(map(len, done.output.splitlines()), default=0) <= 80
    return done


def found() -> dict[str, object]:
    stored: dict[str, object] = json.loads(Path("out.json").read_text())
    return stored


def test_a_directly_trained_network_is_kept_as_it_is(folder: Path) -> None:
    graph = import_model("direct.pth", input_size=8)
    report = FidelityReport.from_dict(graph.provenance["report"])
    assert report.subject == "direct.pth"
    assert {f.status for f in report.findings} == {"faithful"}
    layers = [f.where for f in report.findings if f.where not in ("assumed", "self-check")]
    assert layers == [n.name for n in graph.layers]
    assumed = [f.what.split(" = ")[0] for f in report.findings if f.where == "assumed"]
    assert set(assumed) == set(graph.provenance["assumed"])


def test_conversion_says_which_activations_it_approximates(folder: Path) -> None:
    graph = import_model("qcfs.pth", input_size=8, T=8)
    report = FidelityReport.from_dict(graph.provenance["report"])
    changed = [f for f in report.findings if f.status == "approximated"]
    assert [f.where for f in changed] == list(graph.provenance["conversion"]["thresholds"])
    assert changed[0].by.startswith("at most 1/16 of the threshold")
    with pytest.raises(RefusedError, match=r"conv1\.2: QCFS .* strict takes no approximation"):
        import_model("qcfs.pth", input_size=8, strict=True)


def test_compile_prints_and_writes_the_report(folder: Path) -> None:
    done = run("compile", "direct.pth", "--strict")
    assert done.exit_code == 0, done.output
    assert done.output.count("faithful") == 1 and "findings" in done.output
    report = found()["report"]
    assert report == {"import": import_model("direct.pth", input_size=8).provenance["report"]}
    stored = json.loads(Path("build/program.json").read_text())["provenance"]["report"]
    assert stored == report["import"]


@pytest.mark.parametrize("command", ["compile", "convert"])
def test_many_approximations_of_a_kind_are_one_line(folder: Path, command: str) -> None:
    done = run(command, "qcfs.pth")
    assert done.exit_code == 0, done.output
    assert done.output.count("approximated") == 1
    words = " ".join(done.output.split())
    assert "(6 more)" in words and "at most 1/32" in words
    assert sd.Program.load("build").fingerprint == found()["program"]


@pytest.mark.parametrize("command", ["compile", "convert"])
def test_strict_refuses_and_still_says_what_it_found(folder: Path, command: str) -> None:
    done = run(command, "qcfs.pth", "--strict")
    assert isinstance(done.exception, RefusedError) and not Path("build").exists()
    stored = found()
    assert "strict takes no approximation, of which there are 9" in str(stored["refused"])
    statuses = [f["status"] for f in stored["report"]["import"]["findings"]]
    assert statuses.count("approximated") == 9


def test_exports_report_too(folder: Path, half_target: str) -> None:
    done = run("compile", "direct.pth", "--target", half_target)
    assert done.exit_code == 0, done.output
    assert "export to half" in done.output and "threshold halved" in done.output
    assert Path("build/half/report.json").is_file()
    export = found()["report"]["export"]["half"]
    assert [f["status"] for f in export["findings"]] == ["faithful", "approximated"]


@pytest.mark.parametrize(
    ("options", "words"),
    [(["--strict"], "threshold halved (50 %)"), (["--precision", "int8"], "use float32")],
)
def test_a_refused_export_leaves_no_folder(
    folder: Path, half_target: str, options: list[str], words: str
) -> None:
    done = run("compile", "direct.pth", "--target", half_target, *options)
    assert isinstance(done.exception, RefusedError) and not Path("build").exists()
    stored = found()
    assert words in str(stored["refused"])
    assert set(stored["report"]) - {"int8"} == {"import", "export"}
    assert stored["report"]["export"]["half"]["subject"] == "half"


def test_lava_reports_and_int8_has_its_figures(folder: Path) -> None:
    int8 = ("compile", "direct.pth", "--target", "lava", "--precision", "int8", "--strict")
    done = run(*int8)
    assert isinstance(done.exception, RefusedError) and not Path("build").exists()
    assert "strict takes no approximation" in str(found()["refused"])
    assert set(found()["report"]) == {"int8"}
    done = run(*int8, "--allow", "int8")
    assert done.exit_code == 0, done.output
    assert re.search(r"approximated +spike", done.output) and "8-bit" in done.output
    assert "export to lava" in done.output and "headroom" in done.output
    stored = found()
    layers = [layer["name"] for layer in stored["quantized"]]
    findings = stored["report"]["export"]["lava"]["findings"]
    assert [f["where"] for f in findings] == layers
    assert {f["status"] for f in findings} == {"faithful"}
    int8 = stored["report"]["int8"]["findings"]
    assert [f["status"] for f in int8] == ["faithful"] + ["approximated"] * len(layers)


def test_calibration_says_what_int8_changes(folder: Path) -> None:
    x = checkpoints.images((7, 3, 8, 8))
    np.savez("some.npz", x=x, y=np.arange(7))
    done = run("compile", "direct.pth", "--precision", "int8", "--calibration", "some.npz")
    assert done.exit_code == 0, done.output
    compared = found()["compared"]
    graph = import_model("direct.pth", input_size=8)
    program = Program.load("build")
    float32 = sd.compile(graph, program.exit_rule)
    runs = [sd.simulate(p, x, np.arange(7)) for p in (float32, program)]
    changed = int(np.count_nonzero(runs[0].prediction != runs[1].prediction))
    assert compared["predictions_changed"] == changed
    assert f"{changed} of 7" in done.output
    accuracies = [run.summary()["accuracy"] for run in runs]
    assert [compared["accuracy_float32"], compared["accuracy"]] == pytest.approx(accuracies)


def test_an_input_range_is_two_numbers(folder: Path) -> None:
    options = ("--no-normalize", "--precision", "int8", "--input-range")
    assert run("compile", "direct.pth", *options, "1").exit_code == 2
    assert run("compile", "direct.pth", *options, "0,1").exit_code == 0
    assert Program.load("build").input_range == (0, 1)


def test_what_lava_cannot_run_is_in_the_figures(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seenn_deploy.targets.lava.write.TAGS", {})
    done = run("compile", "direct.pth", "--target", "lava")
    assert isinstance(done.exception, ProgramError) and not Path("build").exists()
    (finding,) = found()["report"]["export"]["lava"]["findings"]
    assert finding["status"] == "refused" and finding["what"] == found()["refused"]


def test_approximations_that_differ_in_numbers_are_one_line() -> None:
    report = FidelityReport("net")
    for name, value in (("a", 1.25), ("b", 0.5), ("c", 3e-05)):
        report.approximated(name, f"a soft reset by {value}, 3x3", "at most 1/32")
    report.approximated("d", "no reset", "always")
    _, soft, other = unstyle(fidelity_table(report).render(80)).splitlines()
    assert "a, b, c" in soft and "a soft reset by 3e-05 to 1.25, 3x3" in soft
    assert "no reset" in other
