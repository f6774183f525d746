"""A device is one new file: found by its name, run, verified, and caught when it is wrong."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seenn_deploy import targets
from seenn_deploy.errors import DeviceError
from seenn_deploy.exits.confidence import Confidence
from seenn_deploy.ir.program import Program
from seenn_deploy.simulator.engine import simulate
from seenn_deploy.targets import devices
from seenn_deploy.verification.verify import verify
from tests.targets.lava import graphs, integer_graphs

# It computes with the simulator, whose spikes it may get wrong; start and latency it counts itself.
DEVICE = '''
"""A device that answers with the simulator's arithmetic, and flips a spike when asked to."""

import numpy as np

from seenn_deploy.ir.program import Program
from seenn_deploy.simulator.engine import simulate
from seenn_deploy.targets.base import DeviceRun


def write(program, folder):
    program.save(folder / "program")


class Device:
    def __init__(self, bundle, argument="", *, flip=False, short=False):
        self.program = Program.load(bundle / "program")
        self.flip, self.short = flip or argument == "wrong", short

    def run(self, images, request):
        found = simulate(self.program, images, record=True, full_trace=request.full_trace)
        spikes = {name: values.copy() for name, values in found.spikes.items()}
        if self.flip:
            spikes["first"][0, 0, 0, 0, 0] ^= True
        if self.short:
            spikes["first"] = spikes["first"][:, :1]
        T, depth = self.program.T, self.program.depth
        sent = np.full(len(images), T) if request.full_trace else found.exit_step
        injected = np.minimum(sent + depth, T)  # speculative: the verdict comes that much later
        start = np.cumsum(injected) - injected
        return DeviceRun(
            found.logits, found.exit_step, sent + depth, spikes, start=start, injected=injected,
            v=found.v, integer_logits=found.integer_logits,
        )
'''

# Of this folder and of the package, with those in the folder `devices` of a target.
THERE = (
    "c, lava, mock, qemu-cortex-m3, qemu-cortex-m4, qemu-cortex-m7, qemu-riscv32, sanafe, serial"
)
FLOAT = graphs.program(graphs.small(), Confidence(0.8))
INTEGER = integer_graphs.program(integer_graphs.small(), Confidence(0.8))
IMAGES = graphs.images(FLOAT.graph, 3)


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of extensions with the device `mock` in it."""
    (tmp_path / "targets").mkdir()
    (tmp_path / "targets" / "mock.py").write_text(DEVICE)
    monkeypatch.setenv("SEENN_PLUGINS", str(tmp_path))
    path = list(targets.__path__)
    yield tmp_path
    targets.__path__[:] = path  # type: ignore[index]
    sys.modules.pop("seenn_deploy.targets.mock", None)


def seenn(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "seenn_deploy", *words]
    return subprocess.run(command, check=False, cwd=folder, capture_output=True, text=True)


@pytest.mark.usefixtures("plugins")
@pytest.mark.parametrize("program", [FLOAT, INTEGER], ids=["float32", "int8"])
@pytest.mark.parametrize("full_trace", [False, True])
def test_one_file_is_found_and_verified(program: Program, full_trace: bool) -> None:
    assert ", ".join(devices.names()) == THERE
    report = verify(program, IMAGES, "mock", full_trace=full_trace)
    assert report.exact
    assert report.device == "mock"


@pytest.mark.usefixtures("plugins")
def test_a_wrong_spike_is_caught() -> None:
    by_option = verify(FLOAT, IMAGES, "mock", flip=True)
    by_argument = verify(FLOAT, IMAGES, "mock:wrong")
    for report in (by_option, by_argument):
        assert not report.ok
        first = report.first_differences[0]
        assert (first.sample, first.step, first.layer, first.kind) == (0, 1, "first", "mismatch")


@pytest.mark.usefixtures("plugins")
def test_arrays_of_another_shape_are_one_line() -> None:
    with pytest.raises(DeviceError, match=r"spikes/first of shape \(3, 1, 3, 4, 4\), expected"):
        verify(FLOAT, IMAGES, "mock", short=True)


@pytest.mark.usefixtures("plugins")
def test_what_a_device_does_not_have_is_one_line() -> None:
    cases: tuple[tuple[str, dict[str, Any], str], ...] = (
        ("chip9", {}, f"device 'chip9' does not exist; there are: {THERE}"),
        ("base", {}, "device 'base' does not exist"),
        ("nir", {}, "device 'nir' does not exist"),
        ("mock", {"command": "ssh host"}, "device mock takes no option 'command'; .*flip, short"),
        ("lava:3", {}, "device lava takes no argument '3'"),
    )
    for device, options, says in cases:
        with pytest.raises(DeviceError, match=says) as raised:
            verify(FLOAT, IMAGES, device, **options)
        assert "\n" not in str(raised.value)


def test_on_the_command_line(plugins: Path) -> None:
    FLOAT.save(plugins / "build", targets=["mock"])
    np.save(plugins / "x.npy", IMAGES)
    common = ("build", "--data", "x.npy")
    right = seenn(plugins, "verify", *common, "--device", "mock")
    assert right.returncode == 0, right.stderr
    assert "mock equals the simulator, spike for spike" in right.stdout
    wrong = seenn(plugins, "verify", *common, "--device", "mock:wrong")
    assert wrong.returncode == 1, wrong.stderr
    assert "mock:wrong DIFFERS from the simulator" in wrong.stdout
    files = ("--json", "ran.json", "--predictions", "ran.csv", "-o", "kept")
    ran = seenn(plugins, "run", *common, "--device", "mock", *files)
    assert ran.returncode == 0, ran.stderr
    assert json.loads((plugins / "ran.json").read_text())["samples"] == len(IMAGES)
    with np.load(plugins / "kept" / "arrays.npz") as kept:
        np.testing.assert_array_equal(kept["exit_step"], simulate(FLOAT, IMAGES).exit_step)
    again = seenn(plugins, "run", *common, "--device", "mock", *files)
    assert again.returncode == 2 and "kept: holds a device run already" in again.stderr
    rows = list(csv.DictReader((plugins / "ran.csv").read_text().splitlines()))
    answer = simulate(FLOAT, IMAGES)  # the device computes what this does, and measures no energy
    at_exit = [answer.logits[i, t - 1] for i, t in enumerate(answer.exit_step)]
    assert [list(row) for row in rows] == [["sample", "class", "exit_step", "confidence"]] * 3
    for i, (row, logits) in enumerate(zip(rows, at_exit, strict=True)):
        share = np.exp(logits.max()) / np.exp(logits).sum()
        assert (row["sample"], row["exit_step"]) == (str(i), str(answer.exit_step[i]))
        assert row["class"] == str(logits.argmax())
        assert float(row["confidence"]) == pytest.approx(share)
    for command in ("run", "verify"):
        unknown = seenn(plugins, command, *common, "--device", "chip9")
        assert unknown.returncode == 2
        assert unknown.stderr.strip().splitlines()[-1] == (
            f"error: device 'chip9' does not exist; there are: {THERE}"
        )


def test_both_kinds_of_device_are_told_apart(tmp_path: Path) -> None:
    for words in (("verify",), ("run",)):
        said = seenn(tmp_path, *words, "--help").stdout
        assert "--device NAME[:ARGUMENT]" in said and "Device that runs the program" in said
    said = seenn(tmp_path, "train", "snn", "--help").stdout
    assert "--torch-device TEXT" in said and " --device" not in said
