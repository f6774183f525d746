"""A board on a serial line that runs main.c: ``--device serial:/dev/ttyACM0``."""

from __future__ import annotations

import os
import select
import time
from pathlib import Path

from seenn_deploy._typing import Array
from seenn_deploy.errors import DeviceError
from seenn_deploy.targets.base import DeviceRun, Request
from seenn_deploy.targets.c import protocol
from seenn_deploy.targets.c.bundle import Bundle

SILENCE = 30.0  # seconds without a byte, until the board is given up
LINGER = 0.2  # seconds in which nonsense may go on, so that an error shows more of it
SHOWN = 32  # bytes of it


class Device:
    """A board whose firmware is the C folder, main.c speaking on a serial line.

    Where spikes and potentials are recorded, as by `verify`, the firmware has to be compiled with
    ``NET_TRACE``. The line needs a POSIX system.

    Parameters
    ----------
    bundle : Path
    argument : str
        The line, such as /dev/ttyACM0.
    baud : int
        Its speed; lines over USB ignore it.

    Raises
    ------
    ProgramError
        When there is no C folder, or its files were changed.
    DeviceError
        When no line is named.
    """

    target = "c"
    takes_length = True

    def __init__(self, bundle: Path, argument: str = "", *, baud: int = 115200) -> None:
        if not argument:
            raise DeviceError("device serial needs its line: --device serial:/dev/ttyACM0")
        self.bundle = Bundle.read(bundle)
        self.made_for = self.bundle.made_for
        self.line, self.baud = argument, baud

    def run(self, images: Array, request: Request) -> DeviceRun:
        """Ask the board sample by sample; see :meth:`seenn_deploy.targets.base.Device.run`."""
        with _Line(self.line, self.baud, request.timeout) as line:
            questions = protocol.requests(self.bundle, images, request)
            try:
                return protocol.answers(self.bundle, line.asked(questions), len(images), request)
            except protocol.NonsenseError as error:
                raise DeviceError(f"{error} The line said {line.lately()!r}") from None


class _Line:
    """An open serial line."""

    def __init__(self, path: str, baud: int, timeout: float | None) -> None:
        self.path, self.baud = path, baud
        self.until = None if timeout is None else time.monotonic() + timeout
        self.said = b""  # what came last

    def __enter__(self) -> _Line:
        try:
            import termios
            import tty
        except ImportError:
            raise DeviceError("device serial needs a POSIX system") from None
        speed = getattr(termios, f"B{self.baud}", None)
        if speed is None:
            raise DeviceError(f"baud = {self.baud}; a line takes 9600, 115200, 921600, ..")
        try:
            self.file = os.open(self.path, os.O_RDWR | os.O_NOCTTY)
        except OSError as error:
            raise DeviceError(f"{self.path}: cannot be opened ({error.strerror})") from None
        try:
            tty.setraw(self.file)
            settings = termios.tcgetattr(self.file)
            settings[4] = settings[5] = speed
            termios.tcsetattr(self.file, termios.TCSANOW, settings)
            termios.tcflush(self.file, termios.TCIOFLUSH)
        except termios.error as error:
            os.close(self.file)
            raise DeviceError(f"{self.path}: is no serial line ({error.args[-1]})") from None
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.file)

    def asked(self, questions: list[bytes]) -> protocol.Read:
        """Return a function that reads answers, and sends each question before its answer."""
        sent = 0

        def read(number: int, sample: int) -> bytes:
            nonlocal sent
            while sent <= sample:
                self._send(questions[sent])
                sent += 1
            return self._receive(number)

        return read

    def _send(self, data: bytes) -> None:
        while data:
            self._wait([], [self.file], "takes nothing")
            try:
                data = data[os.write(self.file, data[:256]) :]
            except OSError as error:
                raise self._lost(error.strerror) from None

    def _receive(self, number: int) -> bytes:
        found = b""
        while len(found) < number:
            self._wait([self.file], [], f"says nothing more after {self.said!r}")
            found += self._come(number - len(found))
        return found

    def _come(self, most: int) -> bytes:
        """What has come, of a line that has something."""
        try:
            came = os.read(self.file, most)
        except OSError as error:
            raise self._lost(error.strerror) from None
        if not came:
            raise self._lost("closed")
        self.said = (self.said + came)[-SHOWN:]
        return came

    def _lost(self, why: str | None) -> DeviceError:
        return DeviceError(f"{self.path}: the line is lost ({why}) after {self.said!r}")

    def lately(self) -> bytes:
        """What came last, with what follows at once."""
        until = time.monotonic() + LINGER
        self.said = self.said[-1:]  # the byte that was no answer
        while len(self.said) < SHOWN:
            left = max(0.0, until - time.monotonic())
            if not select.select([self.file], [], [], left)[0]:
                break
            self._come(SHOWN - len(self.said))
        return self.said

    def _wait(self, reading: list[int], writing: list[int], why: str) -> None:
        left = SILENCE if self.until is None else max(0.0, self.until - time.monotonic())
        if not any(select.select(reading, writing, [], min(SILENCE, left))):
            raise DeviceError(f"{self.path}: the board {why}; does it run main.c of this folder?")
