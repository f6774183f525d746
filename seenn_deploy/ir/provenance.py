"""Where a network came from: a note for people, from which nothing is computed.

What decides something is a field of the graph or of one of its nodes: the range of input values and
the normalisation belong to the source, the exit rule that came along to the graph.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from seenn_deploy.fidelity import FidelityReport


@dataclass(frozen=True, eq=False)
class Provenance(Mapping[str, Any]):
    """Where a network came from and what was assumed about it; all of it plain JSON values.

    It reads as a dictionary of what is known, too: ``graph.provenance["source"]``.

    Parameters
    ----------
    source : str
        Name of the file or of the torch class.
    frontend, family : str
        Which frontend read it, and what kind of network it was recognised as.
    assumed : mapping
        What the source does not say, and the value that was taken for it.
    report : mapping
        A :class:`~seenn_deploy.fidelity.FidelityReport` of the import.
    conversion : mapping
        ``thresholds`` of a converted ANN: the threshold of each activation.
    quantized : sequence of mappings
        Scale and rounding errors per layer of an integer program.
    pools : sequence of mappings
        Average pools, and what either way to deploy them costs.
    attention : sequence of mappings
        Products in a row, and what either order of them costs.
    proof : mapping
        A :class:`~seenn_deploy.fidelity.Proof` of the import.
    precision : mapping
        A :class:`~seenn_deploy.fidelity.FidelityReport` of the integer program against the float
        one.
    more : mapping
        Other notes, of a frontend of one's own or of an earlier version.
    """

    source: str = ""
    frontend: str = ""
    family: str = ""
    assumed: Mapping[str, Any] = field(default_factory=dict)
    report: Mapping[str, Any] = field(default_factory=dict)
    conversion: Mapping[str, Any] = field(default_factory=dict)
    quantized: tuple[Mapping[str, Any], ...] = ()
    pools: tuple[Mapping[str, Any], ...] = ()
    attention: tuple[Mapping[str, Any], ...] = ()
    proof: Mapping[str, Any] = field(default_factory=dict)
    precision: Mapping[str, Any] = field(default_factory=dict)
    more: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, notes: Mapping[str, Any]) -> Provenance:
        """The notes of a dictionary, such as ``program.json`` holds them."""
        if isinstance(notes, cls):
            return notes
        notes = dict(notes)  # TypeError or ValueError for anything but a mapping, from a file
        known = {f.name for f in fields(cls)} - {"more"}
        named = {name: value for name, value in notes.items() if name in known}
        for name, value in named.items():
            _check_kind(name, value, type(getattr(_NOTHING, name)))
        return cls(**named, more={k: v for k, v in notes.items() if k not in known})

    @property
    def not_proven(self) -> str:
        """Reason why the graph was not compared with its source; '' where it was.

        A graph that was made by hand has no source, and so nothing to prove.
        """
        if self.proof:
            return str(self.proof["why"])
        return "compiled by a version that proved nothing" if self.frontend else ""

    @property
    def warning(self) -> dict[str, str]:
        """What the JSON values of a program begin with that was not proven; empty where it was."""
        return {"not_proven": self.not_proven} if self.not_proven else {}

    def to_dict(self) -> dict[str, Any]:
        """Everything that is known, as ``program.json`` holds it."""
        named = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "more"}
        return {name: value for name, value in named.items() if value} | dict(self.more)

    def check(self, strict: bool, allow: Collection[str] = ()) -> None:
        """Refuse what import or precision approximate, if `strict`; see `FidelityReport.check`."""
        for stored in (self.report, self.precision):
            if stored:
                FidelityReport.from_dict(stored).check(strict, allow)

    def __getitem__(self, name: str) -> Any:
        return self.to_dict()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.to_dict())

    def __len__(self) -> int:
        return len(self.to_dict())


_NOTHING = Provenance()


def _check_kind(name: str, value: Any, kind: type) -> None:
    """Raise TypeError unless a note is text, a mapping or a list of mappings, as its field is."""
    if kind is tuple:
        fits = isinstance(value, list | tuple) and all(isinstance(v, Mapping) for v in value)
    else:
        fits = isinstance(value, str if kind is str else Mapping)
    if not fits or (name == "proof" and value and not isinstance(value.get("why"), str)):
        raise TypeError(f"provenance: {name} = {value!r} is no such note")
