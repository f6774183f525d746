"""A command that runs a device: started, listened to, and ended whole.

It is a process group of its own, so that nothing of it is left when the time is up or the user
interrupts.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO

from seenn_deploy.errors import DeviceError
from seenn_deploy.targets.base import Request

# Lava's shared memory is returned by its own handlers, which need a moment.
GRACE = 5.0  # seconds between two attempts to end it, each less gentle
LAST_WORDS = 12  # lines


def drive(
    command: list[str],
    environment: dict[str, str],
    request: Request,
    pipes: tuple[Path, Path] | None = None,
    folder: Path | None = None,
) -> None:
    """Run to the end, or end all of it.

    Parameters
    ----------
    command : list of str
        A line ``sample ..`` that it says counts as a finished sample.
    environment : dict of str
        All of its environment variables.
    request : Request
        Its `timeout` and `progress` are heeded.
    pipes : (Path, Path), optional
        Files that are its standard input and output. Without them it is given nothing, and its
        standard output is listened to; with them its standard error.
    folder : Path, optional
        Folder that it is started in.

    Raises
    ------
    DeviceError
        With the last words, when it cannot be started, fails or takes too long.
    """
    with ExitStack() as open_files:
        process, said = _start(command, environment, pipes, folder, open_files)
    words: deque[str] = deque(maxlen=LAST_WORDS)
    reader = threading.Thread(target=_listen, args=(said, words, request.progress), daemon=True)
    reader.start()
    try:
        # The reader thread empties the pipe meanwhile, or a talkative device would block on it.
        code = process.wait(request.timeout)
    except subprocess.TimeoutExpired:
        _end(process)
        reader.join(1)
        late = f"the device took more than {request.timeout:g} s"
        raise DeviceError(f"{late}; {_said(words)}") from None
    # Also an interrupt: a group of its own gets no Ctrl-C from the terminal.
    except BaseException:
        _end(process)
        raise
    reader.join(1)
    # What the leader started may have outlived it.
    if code:
        _end(process)
        raise DeviceError(_reason(code, words))


def output_of(command: list[str], what: str) -> str:
    """Run a tool to its end; return what it said.

    Raises
    ------
    DeviceError
        With the last words, when it cannot be started or fails; `what` is its name there.
    """
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
            check=False,
        )  # fmt: skip
    except OSError as error:
        raise DeviceError(f"{what} cannot be started: {error}") from None
    if done.returncode:
        words = deque((done.stderr + done.stdout).splitlines(), LAST_WORDS)
        raise DeviceError(f"{what} failed with exit code {done.returncode}; {_said(words)}")
    return done.stdout


def _start(
    command: list[str],
    environment: dict[str, str],
    pipes: tuple[Path, Path] | None,
    folder: Path | None,
    open_files: ExitStack,
) -> tuple[subprocess.Popen[str], IO[str]]:
    """Start the process; return it, and the stream that it speaks on."""
    into: int | IO[bytes] = subprocess.DEVNULL
    out: int | IO[bytes] = subprocess.PIPE
    if pipes:
        into = open_files.enter_context(pipes[0].open("rb"))
        out = open_files.enter_context(pipes[1].open("wb"))
    try:
        process = subprocess.Popen(
            command,
            stdin=into,
            stdout=out,
            stderr=subprocess.PIPE if pipes else subprocess.STDOUT,
            env=environment,
            cwd=folder,
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except OSError as error:
        raise DeviceError(f"the device cannot be started: {error}") from None
    said = process.stderr if pipes else process.stdout
    assert said is not None
    return process, said


def _listen(said: IO[str], words: deque[str], progress: Callable[[int], None] | None) -> None:
    for line in said:
        words.append(line.rstrip())
        if progress and line.startswith("sample "):
            progress(1)


def _reason(code: int, words: deque[str]) -> str:
    errors = [line for line in words if line.startswith("error: ")]
    # A bundle refuses its input in one line, which says all there is to say.
    if code == 2 and errors:
        return errors[-1].removeprefix("error: ")
    return f"the device failed with exit code {code}; {_said(words)}"


def _said(words: deque[str]) -> str:
    return "it said:\n" + "\n".join(words) if words else "it said nothing"


def _end(process: subprocess.Popen[str]) -> None:
    """End the whole process group, its leader first: that returns Lava's shared memory."""
    for end in (
        process.terminate,
        lambda: os.killpg(process.pid, signal.SIGTERM),
        lambda: os.killpg(process.pid, signal.SIGKILL),
    ):
        with suppress(ProcessLookupError):
            end()
        if _gone(process):
            return


def _gone(process: subprocess.Popen[str]) -> bool:
    """Wait a while for the last process of the group; was there an end?"""
    until = time.monotonic() + GRACE
    while time.monotonic() < until:
        process.poll()
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False
