"""Targets, one a file or folder, whose name is the target's: ``write(program, folder)``.

A target that changes what it writes leaves its :class:`LossReport` in the folder, as report.json.
"""

from __future__ import annotations

import json
from pathlib import Path

from seenn_deploy import plugins
from seenn_deploy.errors import ProgramError
from seenn_deploy.fidelity import Finding, LossReport, RefusedError, RefusedExportError
from seenn_deploy.ir.program import Program

REPORT = "report.json"


def names() -> list[str]:
    """The targets there are."""
    return plugins.names("targets", without=("base",))


def write(target: str, program: Program, folder: Path, strict: bool = False) -> None:
    """Write what `target` needs to run a program into an existing, empty folder.

    Parameters
    ----------
    target : str
    program : Program
    folder : Path
    strict : bool
        Refuse what the target can only approximate.

    Raises
    ------
    ProgramError
        For a target that does not exist, or one that cannot run this program.
    RefusedError
        The same, of a target that reports what it changes.
    """
    if target not in names():
        raise ProgramError(f"target {target!r} does not exist; there are {', '.join(names())}")
    try:
        plugins.load("targets", target, main="write").write(program, folder)
        found = report(folder)
        if found is not None:
            found.check(strict)
    except RefusedError as error:
        error.target = target
        raise
    except ProgramError as error:
        finding = Finding("program", str(error), "refused")
        refused = RefusedExportError(str(error), LossReport(target, [finding]))
        refused.target = target
        raise refused from None


def report(folder: Path) -> LossReport | None:
    """The loss report that a target left in its folder, if it makes one."""
    path = folder / REPORT
    if not path.is_file():
        return None
    return LossReport.from_dict(json.loads(path.read_text(encoding="utf-8")))


__all__ = ["REPORT", "names", "report", "write"]
