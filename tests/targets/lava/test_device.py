"""The subprocess: whatever happens to it, one clear error and nothing left running."""

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from seenn_deploy.errors import DeviceError, ProgramError
from seenn_deploy.exits.confidence import Confidence
from seenn_deploy.ir.inputs import for_program
from seenn_deploy.ir.program import write
from seenn_deploy.targets import names
from seenn_deploy.targets.devices import run
from tests.targets.lava import graphs


def alive(bundle: Path) -> list[int]:
    """Processes that run a bundle."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes() if entry.name.isdigit() else b""
        except OSError:
            continue
        if str(bundle / "run.py").encode() in words:
            found.append(int(entry.name))
    return found


@pytest.fixture
def endless(tmp_path: Path) -> Path:
    """A bundle that would run for hours."""
    write("lava", graphs.program(graphs.small(T=10**6)), tmp_path)
    return tmp_path


def test_time_up_ends_every_process(endless: Path) -> None:
    began = time.monotonic()
    with pytest.raises(DeviceError, match=r"more than 15 s; it said:\nstarted in"):
        run(endless, graphs.images(graphs.small(), 1), timeout=15)
    assert time.monotonic() - began < 35
    assert alive(endless) == []


def test_a_process_of_lava_that_dies_ends_the_run(tmp_path: Path) -> None:
    program = graphs.program(graphs.small(T=200))
    write("lava", program, tmp_path)

    def kill_one(_: int) -> None:
        children = [pid for pid in alive(tmp_path) if os.getsid(pid) != pid]
        os.kill(children[-1], signal.SIGKILL)

    with pytest.raises(DeviceError, match="a process of Lava ended: exit code -9"):
        run(tmp_path, graphs.images(program.graph, 50), timeout=60, progress=kill_one)
    assert alive(tmp_path) == []


def test_an_interrupt_ends_every_process(endless: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import subprocess

    def interrupt(self: object, timeout: float | None = None) -> int:
        time.sleep(4)
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess.Popen, "wait", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(endless, graphs.images(graphs.small(), 1), python=None)
    assert alive(endless) == []


def test_a_program_folder_will_do(tmp_path: Path) -> None:
    program = graphs.program(graphs.small(), Confidence(0.8))
    program.save(tmp_path / "build", targets=["lava"])
    x = graphs.images(program.graph, 3)
    data = for_program(program, x, np.array([0, 1, 2]))
    finished: list[int] = []
    ran = run(tmp_path / "build", data, progress=finished.append)
    assert sum(finished) == 3
    summary = ran.summary()
    assert summary["samples"] == 3
    assert summary["accuracy"] == pytest.approx((ran.prediction == [0, 1, 2]).mean())
    assert sum(summary["exit_histogram"].values()) == 3
    assert summary["hardware_steps_per_sample"] == pytest.approx(ran.exit_step.mean() + 3)
    assert ran.spikes == {}
    assert not list((tmp_path / "build").rglob("__pycache__"))


def test_a_bundle_of_an_earlier_compile_is_refused(tmp_path: Path) -> None:
    first, other = (
        graphs.program(graphs.small(), Confidence(0.8)),
        graphs.program(graphs.small(seed=1)),
    )
    x = graphs.images(first.graph, 1)
    later = {
        r"exit rule \{.*0\.8.* instead of .*0\.9": first.with_exit(Confidence(0.9)),
        "schedule speculative instead of gated": first.with_schedule("gated"),
        f"program {first.fingerprint} instead of {other.fingerprint}": other,
    }
    for words, program in later.items():
        first.save(tmp_path / "build", targets=["lava"], force=True)
        program.save(tmp_path / "build", force=True)
        with pytest.raises(ProgramError, match=words):
            run(tmp_path / "build", x)
        with pytest.raises(ProgramError, match="renew it with --target lava"):
            run(tmp_path / "build" / "lava", x)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    x = graphs.images(graphs.small(), 1)
    with pytest.raises(ProgramError, match="no Lava bundle here"):
        run(tmp_path, x)
    with pytest.raises(DeviceError, match="'loihi9' does not exist"):
        run(tmp_path, x, device="loihi9")
    with pytest.raises(ProgramError, match="target 'tpu' does not exist"):
        write("tpu", graphs.program(graphs.small()), tmp_path)
    assert "lava" in names()


def test_the_bundles_own_words_are_passed_on(tmp_path: Path) -> None:
    write("lava", graphs.program(graphs.small()), tmp_path)
    with pytest.raises(DeviceError, match=r"shape \(1, 2, 5, 4\), the network takes"):
        run(tmp_path, np.zeros((1, 2, 5, 4), np.float32))
