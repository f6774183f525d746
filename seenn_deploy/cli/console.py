"""The terminal: tables on it, and the same tables in files."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

import click

from seenn_deploy.cli.options import JSON_ON_STDOUT
from seenn_deploy.cli.tables.layout import Table
from seenn_deploy.io import folders

WIDTH = 80  # columns of pipes and files


def width() -> int:
    """Return the columns to print in: what COLUMNS says, the terminal has, or `WIDTH`."""
    return shutil.get_terminal_size((WIDTH, 24)).columns


def show(*parts: Table | str) -> None:
    """Print tables and lines; to standard error where ``--json -`` takes standard output."""
    context = click.get_current_context(silent=True)
    stderr = bool(context and context.meta.get(JSON_ON_STDOUT))
    for part in parts:
        click.echo(part if isinstance(part, str) else part.render(width()), err=stderr)


def write_text(path: Path, parts: Iterable[Table]) -> None:
    """Write tables as plain text, whole or not at all."""
    # Of one width, because a file is read elsewhere than where it was written.
    lines = (click.unstyle(part.render(WIDTH)) + "\n" for part in parts)
    folders.write_file(path, "".join(lines))
