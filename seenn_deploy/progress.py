"""A sign of life for whoever waits: one line of plain text that is written over and over.

It needs no terminal library, because the simulator and the devices must not import one.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import TypeAlias

Progress: TypeAlias = bool | Callable[[int], None] | None
"""True shows a bar, False none; None shows one to whoever watches, once it takes a while; a
callable is called with the number of samples that just finished."""

PATIENCE = 2.0  # seconds without a sign of life
REFRESH = 0.5  # seconds; the clock goes on while a device works on one sample
WIDTH = 24  # characters of the bar itself


@contextmanager
def shown(
    progress: Progress, what: str, total: int | None = None
) -> Iterator[Callable[[int], None] | None]:
    """Give what is to be called with the number of samples that just finished, if anything is.

    Parameters
    ----------
    progress : bool, callable or None
        As the caller of a public function gave it.
    what : str
        What is going on: 'simulating'.
    total : int, optional
        Number of samples. Work that has no parts to count shows the time only.
    """
    if callable(progress):
        yield progress
    elif progress is False or (progress is None and not _is_watched()):
        yield None
    else:
        with _bar(what, total, 0.0 if progress else PATIENCE) as advance:
            yield advance


def _is_watched() -> bool:
    """Whether somebody sees standard error as it is written: on a terminal or in a notebook."""
    return sys.stderr.isatty() or "ipykernel" in sys.modules


@contextmanager
def _bar(what: str, total: int | None, after: float) -> Iterator[Callable[[int], None]]:
    """Draw a bar every half second from `after` seconds on; nothing of it stays."""
    done, ended, began = [0], Event(), time.monotonic()

    def draw() -> None:
        if ended.wait(after):
            return
        width = 0
        while True:
            line = text(what, done[0], total, time.monotonic() - began)
            width = max(width, len(line))
            print("\r" + line.ljust(width), end="", file=sys.stderr, flush=True)
            if ended.wait(REFRESH):
                break
        print("\r" + " " * width + "\r", end="", file=sys.stderr, flush=True)

    def advance(samples: int) -> None:
        done[0] += samples

    drawing = Thread(target=draw, daemon=True)
    drawing.start()
    try:
        yield advance
    finally:
        ended.set()
        drawing.join()


def text(what: str, done: int, total: int | None, seconds: float) -> str:
    """Write one state of the bar: what, how much of it, the time it took and the time left."""
    if total is None:
        return f"{what}, {_clock(seconds)}"
    share = min(done / total, 1.0) if total else 1.0
    bar = ("#" * int(share * WIDTH)).ljust(WIDTH, "-")
    left = f", {_clock(seconds * (1 - share) / share)} left" if 0 < share < 1 else ""
    return f"{what} [{bar}] {done}/{total}, {_clock(seconds)}{left}"


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
