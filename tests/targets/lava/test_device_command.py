"""Any command as a device: what it gets, what it answers, and what is wrong with that."""

import io
import os
import shlex
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from seenn_deploy.errors import DeviceError
from seenn_deploy.exits.confidence import Confidence
from seenn_deploy.ir.program import write
from seenn_deploy.simulator.engine import simulate
from seenn_deploy.targets.devices import run
from seenn_deploy.verification.verify import verify
from tests.targets.lava import graphs, integer_graphs

PROGRAM = integer_graphs.program(integer_graphs.small(), Confidence(0.8))
IMAGES = graphs.images(PROGRAM.graph, 3)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    folder.mkdir()
    write("lava", PROGRAM, folder)
    return folder


def over_a_pipe(lava: Path, folder: Path) -> str:
    """What one would say over ssh, said to a shell here."""
    place, python = shlex.quote(str(folder)), shlex.quote(str(lava))
    remote = f"mkdir {place} && tar -xf - -C {place} && {python} {place}/bundle/answer.py"
    return f"sh -c {shlex.quote(remote)}"


def test_verified_over_a_pipe(lava: Path, bundle: Path, tmp_path: Path) -> None:
    samples: list[int] = []
    report = verify(
        PROGRAM, IMAGES, bundle=bundle, timeout=120, progress=samples.append,
        command=over_a_pipe(lava, tmp_path / "remote"),
    )  # fmt: skip
    assert report.exact
    assert sum(samples) == 3
    options = (tmp_path / "remote" / "request.json").read_text()
    assert options == '["--record"]'


def test_the_words_of_the_other_side_are_passed_on(
    lava: Path, bundle: Path, tmp_path: Path
) -> None:
    with pytest.raises(DeviceError, match=r"shape \(1, 2, 5, 4\), the network takes"):
        x = np.zeros((1, 2, 5, 4), np.float32)
        run(bundle, x, command=over_a_pipe(lava, tmp_path / "remote"))


# --- devices that answer something else --------------------------------------------------------

Arrays = dict[str, np.ndarray]


def right() -> Arrays:
    """What a device should return, from the simulator."""
    run_ = simulate(PROGRAM, IMAGES, record=True)
    assert run_.integer_logits is not None
    named = {f"spikes/{k}": v for k, v in run_.spikes.items()}
    named |= {f"v/{k}": v for k, v in run_.v.items()}
    return named | {
        "logits": run_.logits.astype(np.float64),
        "integer_logits": run_.integer_logits,
        "exit_step": run_.exit_step,
        "hardware_steps": run_.exit_step + 3,
        "start": np.arange(3) * 4,
        "injected": np.full(3, 4),
    }


def answering(folder: Path, arrays: Arrays) -> str:
    """A command that answers with these arrays whatever it is asked."""
    with tarfile.open(folder / "answer.tar", "w") as tar:
        for name, values in arrays.items():
            content = io.BytesIO()
            np.save(content, values)
            member = tarfile.TarInfo(f"out/{name}.npy")
            member.size = content.tell()
            content.seek(0)
            tar.addfile(member, content)
    return f"cat {shlex.quote(str(folder / 'answer.tar'))}"


def without(name: str) -> Callable[[Arrays], Arrays]:
    return lambda arrays: {k: v for k, v in arrays.items() if k != name}


def changed(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Arrays], Arrays]:
    return lambda arrays: arrays | {name: change(arrays[name])}


def test_the_right_arrays_will_do(bundle: Path, tmp_path: Path) -> None:
    report = verify(PROGRAM, IMAGES, bundle=bundle, command=answering(tmp_path, right()))
    assert report.exact


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda arrays: {}, "the device returned no logits"),
        (without("spikes/second"), "the device returned no spikes/second"),
        (without("v/first"), "the device returned no v/first"),
        (changed("logits", lambda z: z[:, :3]), r"shape \(3, 3, 4\), expected \(3, 4, 4\)"),
        (changed("exit_step", lambda t: t[:2]), r"exit_step of shape \(2,\), expected \(3,\)"),
        (changed("v/first", lambda v: v[:, :2]), r"v/first of shape \(3, 2, 3, 4, 4\), expected"),
        (changed("v/first", lambda v: v * 1.0), "v/first of type float64, expected integers"),
        (changed("exit_step", lambda t: t + 4), "stopped at step . of 4 that it sent, the program"),
    ],
)  # fmt: skip
def test_other_arrays_are_one_line(
    bundle: Path, tmp_path: Path, change: Callable[[Arrays], Arrays], says: str
) -> None:
    with pytest.raises(DeviceError, match=says) as raised:
        run(bundle, IMAGES, record=True, command=answering(tmp_path, change(right())))
    assert "\n" not in str(raised.value)


def test_devices_that_are_none(bundle: Path) -> None:
    with pytest.raises(DeviceError, match="answer is no tar of arrays"):
        run(bundle, IMAGES, command="echo hello")
    with pytest.raises(DeviceError, match="answer is no tar of arrays"):
        run(bundle, IMAGES, command="true")
    with pytest.raises(DeviceError, match=r"the device cannot be started: .*no-such-device"):
        run(bundle, IMAGES, command="no-such-device --now")
    with pytest.raises(DeviceError, match="the device cannot be started: the command is empty"):
        run(bundle, IMAGES, command="  ")
    with pytest.raises(DeviceError, match="the device cannot be started: No closing quotation"):
        run(bundle, IMAGES, command="ssh 'host")


def test_last_words_of_a_device_that_dies(bundle: Path) -> None:
    command = f"{sys.executable} -c 'import sys; sys.exit(\"chip 3 is too hot\")'"
    with pytest.raises(DeviceError, match=r"exit code 1; it said:\nchip 3 is too hot"):
        run(bundle, IMAGES, command=command)


def test_a_device_that_hangs_is_ended_with_its_children(bundle: Path) -> None:
    began = time.monotonic()
    command = "sh -c 'echo warming up >&2; sleep 4321 & sleep 4321'"
    with pytest.raises(DeviceError, match=r"more than 1 s; it said:\nwarming up"):
        run(bundle, IMAGES, command=command, timeout=1)
    assert time.monotonic() - began < 20
    left = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    assert "sleep 4321" not in left.stdout.splitlines()


@pytest.mark.skipif(os.name == "nt", reason="needs a shell")
def test_the_command_line_writes_a_report(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from click.testing import CliRunner

    from seenn_deploy.cli import seenn

    PROGRAM.save(tmp_path / "build", targets=["lava"])
    np.save(tmp_path / "x.npy", IMAGES)
    wrong = right()
    wrong["v/second"] = wrong["v/second"].copy()
    wrong["v/second"][0, 0, 6] += 64
    for arrays, code, says in ((right(), 0, "equals the simulator"), (wrong, 1, "DIFFERS")):
        done = CliRunner().invoke(
            seenn,
            ["verify", str(tmp_path / "build"), "--data", str(tmp_path / "x.npy"),
             "--device-command", answering(tmp_path, arrays),
             "--report", str(tmp_path / "report.txt"), "--json", str(tmp_path / "report.json")],
        )  # fmt: skip
        assert done.exit_code == code, done.output
        assert says in (tmp_path / "report.txt").read_text()
    report = " ".join((tmp_path / "report.txt").read_text().split())
    assert "sample 0, step 1, second[6]: v " in report


def documented() -> dict[str, str]:
    """What a user's shell makes of each documented device command."""
    from seenn_deploy.cli.devices import verify_command

    found = {}
    docs = (Path(__file__).parents[3] / "docs/lava.md").read_text(encoding="utf-8")
    for name, text in (("docs/lava.md", docs), ("--help", verify_command.help or "")):
        (line,) = (x.strip() for x in text.splitlines() if "bundle/answer.py" in x)
        said = subprocess.run(["sh", "-c", f"printf %s {line}"], capture_output=True, check=True)
        found[name] = said.stdout.decode()
    return found


@pytest.mark.parametrize("name", ["docs/lava.md", "--help"])
def test_documented_commands_outlive_both_shells(name: str, tmp_path: Path) -> None:
    ssh, host, remote = shlex.split(documented()[name])
    assert (ssh, host) == ("ssh", "host")
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "answer.py").touch()
    packed = subprocess.check_output(["tar", "-cf", "-", "bundle"], cwd=tmp_path)
    python = tmp_path / "python3.10"
    python.write_text('#!/bin/sh\ntest -f "$1" && echo answered\n')
    python.chmod(0o755)
    found = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "TMPDIR": str(tmp_path)}
    answer = subprocess.check_output(
        ["sh", "-c", remote], input=packed, env=found, stderr=subprocess.STDOUT
    )
    assert answer == b"answered\n"
