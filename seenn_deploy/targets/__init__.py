"""Targets, one a file or folder, whose name is the target's: ``write(program, folder)``."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

from seenn_deploy.errors import ProgramError
from seenn_deploy.program import Program


def names() -> list[str]:
    """The targets there are."""
    return sorted(m.name for m in iter_modules(__path__))


def write(target: str, program: Program, folder: Path) -> None:
    """Write what `target` needs to run a program into an existing, empty folder.

    Raises
    ------
    ProgramError
        For a target that does not exist, or one that cannot run this program.
    """
    if target not in names():
        raise ProgramError(f"target {target!r} does not exist; there are {', '.join(names())}")
    import_module(f"{__name__}.{target}").write(program, folder)


__all__ = ["names", "write"]
