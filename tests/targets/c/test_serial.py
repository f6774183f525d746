"""The serial device: main.c behind a pseudo-terminal, and boards that say nothing or nonsense."""

from __future__ import annotations

import os
import pty
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import seenn_deploy as sd
from seenn_deploy.errors import DeviceError
from seenn_deploy.targets.c.devices import serial
from tests.targets.c.test_c import IMAGES, PROGRAM, built, written


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
    with pytest.raises(DeviceError, match="sample 0 with nonsense: b'H'"):
        sd.verify(PROGRAM, IMAGES[:1], f"serial:{name}")
    thread.join()


def test_what_is_no_line_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for argument, says in (
        ("", "device serial needs its line"),
        (f":{tmp_path / 'none'}", "cannot be opened"),
        (f":{tmp_path / 'file'}", "is no serial line"),
    ):
        with pytest.raises(DeviceError, match=says):
            sd.verify(PROGRAM, IMAGES[:1], f"serial{argument}")
