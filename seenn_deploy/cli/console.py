"""The terminal: a console, progress bars, and tables into files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from threading import Timer
from typing import Any

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from seenn_deploy.cli.options import JSON_ON_STDOUT
from seenn_deploy.io import folders

WIDTH = 100  # columns that tables make use of, and what pipes and files get
PATIENCE = 2.0  # seconds after which a progress bar appears


def console(stderr: bool = False) -> Console:
    """Return a console that prints no wider than the tables are made for."""
    context = click.get_current_context(silent=True)
    stderr = stderr or bool(context and context.meta.get(JSON_ON_STDOUT))
    found = Console(stderr=stderr)
    width = min(found.width, WIDTH) if found.is_terminal else WIDTH
    return Console(stderr=stderr, width=width)


def write_text(path: Path, parts: Iterable[Any]) -> None:
    """Write tables as plain text, whole or not at all."""
    text = StringIO()
    plain = Console(file=text, width=WIDTH)
    for part in parts:
        plain.print(part)
    folders.write_file(path, text.getvalue())


@contextmanager
def progress(what: str, total: int) -> Iterator[Any]:
    """Show a progress bar (see :func:`_late`), and yield the function that advances it."""
    bar = Progress(
        TextColumn(what),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console(stderr=True),
        transient=True,
    )
    task = bar.add_task(what, total=total)
    with _late(bar):
        yield lambda samples: bar.advance(task, samples)


@contextmanager
def working(what: str) -> Iterator[None]:
    """Show a spinner with the time (see :func:`_late`) during work that has no parts to count."""
    columns = SpinnerColumn(), TextColumn(what), TimeElapsedColumn()
    bar = Progress(*columns, console=console(stderr=True), transient=True)
    bar.add_task(what, total=None)
    with _late(bar):
        yield


@contextmanager
def _late(bar: Progress) -> Iterator[None]:
    """Show a bar on a terminal once the work has taken longer than `PATIENCE` seconds."""
    timer = Timer(PATIENCE, bar.start)
    timer.daemon = True
    if bar.console.is_terminal:
        timer.start()
    try:
        yield
    finally:
        timer.cancel()
        if timer.ident is not None:
            timer.join()
        if bar.live.is_started:
            bar.stop()
