"""Reading of a folder that holds a program or a run."""

from __future__ import annotations

from pathlib import Path

from seenn_deploy._typing import checked_types
from seenn_deploy.errors import ProgramError
from seenn_deploy.evaluation.sweep.report import MANIFEST as SWEEP
from seenn_deploy.evaluation.sweep.report import RULE
from seenn_deploy.io.folders import MANIFEST as PROGRAM
from seenn_deploy.ir.program import Program
from seenn_deploy.simulator.result import MANIFEST as RUN
from seenn_deploy.simulator.result import RunResult


@checked_types
def load(folder: str | Path) -> Program | RunResult:
    """Read a folder that this package wrote, whichever of the two kinds it is.

    Parameters
    ----------
    folder : str or Path
        What ``program.save`` or ``seenn compile`` wrote gives a program, what
        ``simulate(.., out=folder)`` wrote a run.

    Raises
    ------
    ProgramError
        When the folder is missing or holds neither, was altered, or its run was cut off.

    Examples
    --------
    >>> import seenn_deploy as sd
    >>> program = sd.compile(sd.import_model(sd.example().network, T=4))
    >>> program.save("build")
    >>> sd.load("build").fingerprint == program.fingerprint
    True
    """
    folder = Path(folder)
    if (folder / PROGRAM).is_file():
        return Program.load(folder)
    if (folder / RUN).is_file():
        return RunResult.load(folder)
    if (folder / SWEEP).is_file():
        raise ProgramError(
            f"{folder}: is a sweep; its figures are in sweep.csv, the rule that it chose in {RULE}"
        )
    what = f"has neither {PROGRAM} nor {RUN}" if folder.is_dir() else "no such folder"
    raise ProgramError(f"{folder}: {what}; name what program.save or simulate(.., out=..) wrote")
