"""What an import or export kept, changed or could not take: one line a thing, in words and JSON.

A frontend or target tells a :class:`FidelityReport` what it meets. Faithful: the same arithmetic,
or rounding alone. Approximated: another function, and `by` says how far off. Refused: an error.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn

from seenn_deploy.errors import ModelError, ProgramError

Status = Literal["faithful", "approximated", "refused"]


@dataclass(frozen=True)
class Finding:
    """One thing that a source holds.

    Parameters
    ----------
    where : str
        Node or layer, as its source names it.
    what : str
        What was done with it.
    status : 'faithful', 'approximated' or 'refused'
    by : str
        How far off an approximation is.
    """

    where: str
    what: str
    status: Status = "faithful"
    by: str = ""


class RefusedError(ModelError):
    """An import or export that cannot be done; its `report` has what was found until then.

    `target` is the name of the target, of an export.
    """

    target = ""

    def __init__(self, message: str, report: FidelityReport) -> None:
        super().__init__(message)
        self.report = report


class RefusedExportError(RefusedError, ProgramError):
    """What a target raised that keeps no report of its own."""


class FidelityReport:
    """Findings, as they are made.

    Parameters
    ----------
    subject : str
        What is imported or exported: a file's name, or a module's class.
    """

    def __init__(self, subject: str, findings: Iterable[Finding] = ()) -> None:
        self.subject, self.findings = subject, list(findings)

    def faithful(self, where: str, what: str) -> None:
        """Note what was taken as it is."""
        self.findings.append(Finding(where, what))

    def approximated(self, where: str, what: str, by: str) -> None:
        """Note what was replaced by something near it."""
        self.findings.append(Finding(where, what, "approximated", by))

    def refuse(self, where: str, what: str, remedy: str) -> NoReturn:
        """Note what cannot be taken, and stop.

        Raises
        ------
        RefusedError
        """
        self.findings.append(Finding(where, what, "refused"))
        raise RefusedError(f"{self.subject}: {where}: {what}; {remedy}", self)

    def check(self, strict: bool) -> None:
        """Refuse approximations where `strict`.

        Raises
        ------
        RefusedError
        """
        changed = [f for f in self.findings if f.status == "approximated"]
        if strict and changed:
            first = changed[0]
            raise RefusedError(
                f"{self.subject}: {first.where}: {first.what} ({first.by}); strict takes no "
                f"approximation, of which there {_are(len(changed))}",
                self,
            )

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {"subject": self.subject, "findings": [asdict(f) for f in self.findings]}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> FidelityReport:
        """The inverse of `to_dict`."""
        return cls(stored["subject"], [Finding(**f) for f in stored["findings"]])


def _are(count: int) -> str:
    return "is 1" if count == 1 else f"are {count}"


REPORT = "report.json"


def report(folder: Path) -> FidelityReport | None:
    """The fidelity report that a target left in its folder, if it makes one."""
    path = folder / REPORT
    if not path.is_file():
        return None
    return FidelityReport.from_dict(json.loads(path.read_text(encoding="utf-8")))


def __getattr__(name: str) -> Any:
    if name == "LossReport":
        warnings.warn(
            "LossReport is now FidelityReport; the old name goes with the next release",
            DeprecationWarning,
            stacklevel=2,
        )
        return FidelityReport
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
