"""The pytest plugin, in a pytest of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from tests.targets.c.test_c import IMAGES, PROGRAM
from tests.targets.c.tools import needs
from tests.targets.test_devices import DEVICE

TEST = """
def test_network(assert_same_spikes, seenn_device):
    report = assert_same_spikes("build", "x.npy")
    assert report.device == seenn_device and report.samples == 4
"""


def run(folder: Path, device: str) -> tuple[int, str, str]:
    """Exit code, what was printed, and the message in the JUnit file."""
    (folder / "test_it.py").write_text(TEST)
    (folder / "targets").mkdir(exist_ok=True)
    (folder / "targets" / "mock.py").write_text(DEVICE)
    if not (folder / "build").exists():
        PROGRAM.save(folder / "build")
    np.save(folder / "x.npy", IMAGES)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--junitxml", "out.xml",
               "--seenn-device", device]  # fmt: skip
    env = os.environ | {
        "SEENN_PLUGINS": str(folder),
        "PYTEST_PLUGINS": "seenn_deploy.verification.pytest_plugin",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    failure = ElementTree.parse(folder / "out.xml").find(".//failure")
    message = "" if failure is None else failure.attrib["message"]
    return done.returncode, done.stdout + done.stderr, message


def test_equal_passes(tmp_path: Path) -> None:
    needs("cc")
    code, said, _ = run(tmp_path, "c")
    assert code == 0, said


def test_what_was_deployed_is_what_runs(tmp_path: Path) -> None:
    """A program's folder with C in it: that C, and not one made for the test."""
    needs("cc")
    PROGRAM.save(tmp_path / "build", ["c"])
    assert run(tmp_path, "c")[0] == 0
    with (tmp_path / "build" / "c" / "net.c").open("a") as source:
        source.write(" ")
    code, said, message = run(tmp_path, "c")
    assert code == 1, said
    assert "net.c: its checksum differs from network.json" in message
    assert "another exception" not in said


def test_a_wrong_spike_fails_with_the_first_difference(tmp_path: Path) -> None:
    code, said, message = run(tmp_path, "mock:wrong")
    assert code == 1, said
    assert "mock:wrong differs from the simulator: sample 0, step 1, first[0, 0, 0]: " in message
    assert "1 of 4 samples differ" in message
    assert "\n" not in message


def test_a_device_that_is_not_there_fails_in_a_line(tmp_path: Path) -> None:
    code, said, message = run(tmp_path, "chip9")
    assert code == 1, said
    assert message.startswith("Failed: chip9: device 'chip9' does not exist; there are: c, lava")
