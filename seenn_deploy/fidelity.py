"""Fidelity reports: what an import or export kept, changed or refused, one finding per thing.

A frontend or target tells a :class:`FidelityReport` what it meets. A faithful finding means the
same arithmetic, up to rounding. An approximated one means another function, and `by` says how far
off it is. A refused one is an error.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, NoReturn

from seenn_deploy.errors import ModelError, ProgramError, SeennError

Status = Literal["faithful", "approximated", "refused"]
LEFT_OUT = "the self-check was left out"
UNSAID = ", where the file says nothing else"  # ends every assumption


@dataclass(frozen=True)
class Finding:
    """One thing that a source holds, and what was done with it.

    Parameters
    ----------
    where : str
        Name of the node or layer in its source.
    what : str
        What was done with the thing.
    status : 'faithful', 'approximated' or 'refused'
    by : str
        Size of an approximation's error.
    """

    where: str
    what: str
    status: Status = "faithful"
    by: str = ""


@dataclass(frozen=True)
class Proof:
    """How a graph was proven: what ran beside it, and what was compared; or why nothing was.

    Parameters
    ----------
    by : str
        What ran beside the graph, such as 'the module itself'; '' where nothing did.
    why : str
        Reason why nothing did.
    samples, timesteps : int
        Samples that were compared, and the timesteps of each; 0 timesteps for an ANN.
    compared : int
        Neurons times timesteps times samples.
    ties : int
        Potentials so near their threshold that rounding decides.
    spikes : mapping of layer to int
        Spikes of each layer in the comparison; of an ANN, its activations above 0.
    """

    by: str = ""
    why: str = ""
    samples: int = 0
    timesteps: int = 0
    compared: int = 0
    ties: int = 0
    spikes: Mapping[str, int] = field(default_factory=dict)

    @property
    def silent(self) -> list[str]:
        """The layers that never spiked, of which the comparison says nothing."""
        return [name for name, spikes in self.spikes.items() if not spikes]

    @property
    def text(self) -> str:
        """The proof in a reader's words."""
        if not self.by:
            return f"not proven: {self.why}"
        # Layers that never spiked agree with anything, and must not pass for proven.
        never = self.silent[:3] + [f".. ({len(self.silent) - 3} more)"] * (len(self.silent) > 3)
        silent = f"; never spiked: {', '.join(never)}" if never else ""
        spikes = f"{sum(self.spikes.values()):,}"
        ties = f", {self.ties} ties" if self.ties else ""
        if not self.timesteps:
            what = f"{self.samples} samples, {self.compared:,} activations, {spikes} above 0"
        else:
            times = f"{self.samples} samples of {self.timesteps} timesteps"
            what = f"{times}, {self.compared:,} neuron-steps, {spikes} spikes"
        return f"proven: by {self.by}, {what}{ties}{silent}"

    def to_dict(self) -> dict[str, Any]:
        """Return the proof as JSON values."""
        return {"proven": bool(self.by), **asdict(self), "silent": self.silent}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Proof:
        """Undo `to_dict`."""
        return cls(**{f.name: stored[f.name] for f in fields(cls)})


class RefusedError(ModelError):
    """An import or export cannot be done; its `report` has what was found until then.

    `target` is the name of the target, if it is an export.
    """

    target = ""

    def __init__(self, message: str, report: FidelityReport) -> None:
        super().__init__(message)
        self.report = report


class RefusedExportError(RefusedError, ProgramError):
    """An export was refused by a target that keeps no report of its own."""


class FidelityReport:
    """A growing list of findings.

    Parameters
    ----------
    subject : str
        Name of what is imported or exported: a file, or a module's class.
    """

    def __init__(self, subject: str, findings: Iterable[Finding] = ()) -> None:
        self.subject, self.findings = subject, list(findings)
        self._first: SeennError | None = None

    def faithful(self, where: str, what: str) -> None:
        """Note something that was taken as it is."""
        self.findings.append(Finding(where, what))

    def approximated(self, where: str, what: str, by: str) -> None:
        """Note something that was replaced by something near it."""
        self.findings.append(Finding(where, what, "approximated", by))

    def refuse(self, where: str, what: str, remedy: str) -> NoReturn:
        """Note something that cannot be taken, and stop.

        Raises
        ------
        RefusedError
            Always.
        """
        self.findings.append(Finding(where, f"{what}; {remedy}", "refused"))
        raise RefusedError(f"{self.subject}: {where}: {what}; {remedy}", self)

    @contextmanager
    def gathering(self, where: str = "") -> Iterator[None]:
        """Let a loop go on behind a refusal, so that everything in the way is found at once.

        `stop` raises the first one when the loop is over. What follows a refusal may fail for its
        sake alone; such errors are no findings.

        Parameters
        ----------
        where : str
            Name of the node or layer, for errors that are in no report yet; by default what
            stands before their first colon.
        """
        try:
            yield
        except RefusedError as error:
            # A refusal of this report has noted itself already.
            if error.report is not self:
                self.findings += error.report.findings
            self._first = self._first or error
        except SeennError as error:
            place, _, what = str(error).partition(": ")
            if not what or (where and place != where):
                place, what = where or "program", str(error)
            self.findings.append(Finding(place, what, "refused"))
            self._first = self._first or RefusedExportError(str(error), self)
        except Exception:
            if self._first is None:
                raise

    def stop(self) -> None:
        """Raise the first refusal that was gathered, if there was any.

        Raises
        ------
        RefusedError
        """
        if self._first is not None:
            raise self._first

    @property
    def refusals(self) -> list[Finding]:
        """The refused findings, each one once."""
        return list(dict.fromkeys(f for f in self.findings if f.status == "refused"))

    def proven(self, proof: Proof) -> None:
        """Note how the graph was proven, and the layers of which the proof says nothing."""
        self.faithful("self-check", proof.text)
        for name in proof.silent:
            self.faithful(name, "not proven: no neuron of it spiked in the self-check")

    def check(self, strict: bool, allow: Collection[str] = ()) -> None:
        """Refuse approximations if `strict`, but for those that `allow` names.

        Parameters
        ----------
        strict : bool
        allow : names
            Places (``Finding.where``) that may be approximated, or the report's subject for all.

        Raises
        ------
        RefusedError
            When there are approximations and `strict` is set.
        """
        changed = [f for f in self.findings if f.status == "approximated" and f.where not in allow]
        if strict and changed and self.subject not in allow:
            first = changed[0]
            raise RefusedError(
                f"{self.subject}: {first.where}: {first.what} ({first.by}); strict takes no "
                f"approximation, of which there {_are(len(changed))}; allow what may be: "
                f"--allow '{self.subject}' or --allow '{first.where}'",
                self,
            )

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {"subject": self.subject, "findings": [asdict(f) for f in self.findings]}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> FidelityReport:
        """Undo `to_dict`."""
        return cls(stored["subject"], [Finding(**f) for f in stored["findings"]])


def _are(count: int) -> str:
    return "is 1" if count == 1 else f"are {count}"


REPORT = "report.json"


def report(folder: Path) -> FidelityReport | None:
    """Read the fidelity report that a target left in its folder, if there is one.

    Raises
    ------
    ProgramError
        Where the file is something else.
    """
    path = folder / REPORT
    if not path.is_file():
        return None
    try:
        return FidelityReport.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise ProgramError(f"{path}: no fidelity report; compile the model again") from None


def __getattr__(name: str) -> Any:
    if name == "LossReport":
        warnings.warn(
            "LossReport is now FidelityReport; the old name goes with the next release",
            DeprecationWarning,
            stacklevel=2,
        )
        return FidelityReport
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
