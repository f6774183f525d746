"""The serial device: main.c behind a pseudo-terminal, and boards that say nothing or nonsense."""

from __future__ import annotations

import os
import pty
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

import pytest

import seenn_deploy as sd
from seenn_deploy.errors import DeviceError
from seenn_deploy.targets.c.devices import serial
from seenn_deploy.targets.c.devices.qemu_cortex_m4 import Device as CortexM4
from seenn_deploy.targets.c.emulator import STRICT
from tests.targets.c.test_c import IMAGES, PROGRAM, built, written
from tests.targets.c.tools import needs


@pytest.fixture
def line() -> Iterator[tuple[int, str]]:
    """The board's end of a line, and the name of the other end."""
    board, host = pty.openpty()
    yield board, os.ttyname(host)
    os.close(host)
    os.close(board)


def test_a_board_that_runs_main_c(tmp_path: Path, line: tuple[int, str]) -> None:
    board, name = line
    command = built(written(PROGRAM, tmp_path / "build"), "main.c", "-DNET_TRACE")
    with subprocess.Popen(command, stdin=board, stdout=board) as running:
        try:
            report = sd.verify(PROGRAM, IMAGES, f"serial:{name}", timeout=60)
            assert report.ok and report.samples == len(IMAGES)
            # Its bytes may be any, those that a terminal would take for commands among them.
            assert sd.verify(PROGRAM, IMAGES, f"serial:{name}", full_trace=True, timeout=60).ok
        finally:
            running.kill()


@contextmanager
def emulated(folder: Path, work: Path) -> Iterator[str]:
    """A Cortex-M4 that runs main.c behind its UART; the name of the line that QEMU gave it."""
    board = CortexM4(folder)
    shutil.copytree(str(files("seenn_deploy.targets.c").joinpath("boards")), work)
    options = [option.replace("rdimon", "nosys") for option in board.options(work)]
    sources = [*(folder / name for name in ("net.c", "weights.c", "main.c")), work / "uart.c"]
    compile_ = [board.tools[0], "-O2", *STRICT, "-DNET_TRACE", *options, *map(str, sources)]
    subprocess.run([*compile_, "-o", str(work / "net.elf")], check=True)
    command = [board.tools[1], *board.machine_options, "-nographic", "-monitor", "none",
               "-serial", "pty", "-kernel", str(work / "net.elf")]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        try:
            said = running.stdout.readline()
            found = re.search(r"/dev/\S+", said)
            assert found, said
            yield found.group()
        finally:
            running.kill()


def test_an_emulated_board_behind_its_uart(tmp_path: Path) -> None:
    needs("qemu-cortex-m4")
    with emulated(written(PROGRAM, tmp_path / "build"), tmp_path / "board") as line:
        report = sd.verify(PROGRAM, IMAGES, f"serial:{line}", timeout=60)
        assert report.ok and report.samples == len(IMAGES)
        assert sd.verify(PROGRAM, IMAGES[:1], f"serial:{line}", full_trace=True, timeout=60).ok


def test_silence_is_one_line(line: tuple[int, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serial, "SILENCE", 0.2)
    with pytest.raises(DeviceError, match=r"says nothing more after b''; does it run main\.c"):
        sd.verify(PROGRAM, IMAGES[:1], f"serial:{line[1]}")


def test_nonsense_is_one_line_with_what_came(line: tuple[int, str]) -> None:
    board, name = line

    def babble() -> None:
        os.read(board, 1)
        os.write(board, b"Hello")

    thread = threading.Thread(target=babble)
    thread.start()
    with pytest.raises(DeviceError, match=r"sample 0 with nonsense: b'H'.*said b'Hello'"):
        sd.verify(PROGRAM, IMAGES[:1], f"serial:{name}")
    thread.join()


def test_a_line_that_is_unplugged_is_one_line() -> None:
    other, host = pty.openpty()
    path = os.ttyname(host)

    def unplug() -> None:
        os.read(other, 1)
        os.write(other, b"L")
        os.close(other)

    thread = threading.Thread(target=unplug)
    thread.start()
    with pytest.raises(DeviceError, match="the line is lost"):
        sd.verify(PROGRAM, IMAGES[:1], f"serial:{path}", timeout=20)
    thread.join()
    os.close(host)


def test_what_is_no_line_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for argument, says in (
        ("", "device serial needs its line"),
        (f":{tmp_path / 'none'}", "cannot be opened"),
        (f":{tmp_path / 'file'}", "is no serial line"),
    ):
        with pytest.raises(DeviceError, match=says):
            sd.verify(PROGRAM, IMAGES[:1], f"serial{argument}")
