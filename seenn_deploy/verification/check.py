"""What a network can be deployed to: everything that stands in the way, all of it at once.

Nothing is asked here that lowering does not ask itself: every column is what the compiler, the
simulator and the target say when they are given the network, so the two cannot disagree.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from seenn_deploy.compiler.pipeline import PRECISIONS, compile, to_integers
from seenn_deploy.errors import ModelError, SeennError
from seenn_deploy.fidelity import FidelityReport, Finding, RefusedError
from seenn_deploy.frontends.import_model import has_option, import_model
from seenn_deploy.io.folders import MANIFEST
from seenn_deploy.io.images.image_set import Images
from seenn_deploy.ir import html
from seenn_deploy.ir import program as programs
from seenn_deploy.ir.graph import SpikingGraph
from seenn_deploy.ir.program import Program
from seenn_deploy.ir.text import layer_text
from seenn_deploy.simulator.nodes import runner

if TYPE_CHECKING:
    from torch import Tensor, nn

Verdict: TypeAlias = Literal["yes", "approx.", "no", "-"]
SIMULATOR = "simulator"


@dataclass(frozen=True, eq=False)
class CheckReport:
    """The report of a check.

    Parameters
    ----------
    source : str
        Name of the file, folder or torch class.
    imported : FidelityReport
        What the import took as it is, assumed, approximated and refused.
    layers : dict of str
        Every layer in words, by name; empty where the import was refused.
    columns : dict of FidelityReport
        What simulator and targets make of it, by name and precision: ``"lava int8"``; empty where
        the import was refused.
    proof : dict
        How the import was proven; a :class:`~seenn_deploy.fidelity.Proof`.
    """

    source: str
    imported: FidelityReport
    layers: dict[str, str]
    columns: dict[str, FidelityReport]
    proof: dict[str, Any]

    @property
    def ok(self) -> bool:
        """Whether the network can be deployed to the simulator at least."""
        return any(
            not report.refusals for name, report in self.columns.items() if SIMULATOR in name
        )

    def takes(self, column: str) -> Verdict:
        """Whether a target takes the network as it is, near it, or not."""
        return _worst(self.columns[column].findings)

    def verdict(self, layer: str, column: str) -> Verdict:
        """Whether a target takes a layer; '-' where a refusal of all of it came first."""
        report = self.columns[column]
        own = [f for f in report.findings if layer in (f.where, f.where.rpartition(" -> ")[2])]
        # A refusal of something that is no layer (a precision, an exit rule) came before any layer
        # was looked at.
        places = {name for f in report.refusals for name in (f.where, f.where.split(" -> ")[-1])}
        if not own and report.refusals and places.isdisjoint(self.layers):
            return "-"
        return _worst(own)

    def __repr__(self) -> str:
        if not self.columns:
            return f"CheckReport({self.source}: refused, {len(self.imported.refusals)} reasons)"
        taken = ", ".join(f"{name} {self.takes(name)}" for name in self.columns)
        return f"CheckReport({self.source}: {len(self.layers)} layers; {taken})"

    def _repr_html_(self) -> str:
        rows = [
            (name, *(self.verdict(name, column) for column in self.columns)) for name in self.layers
        ]
        return html.table(repr(self), ("layer", *self.columns), rows)

    def summary(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {
            "source": self.source,
            "ok": self.ok,
            "proof": self.proof,
            "import": self.imported.to_dict(),
            "targets": {
                name: {"takes": self.takes(name), **report.to_dict()}
                for name, report in self.columns.items()
            },
            "layers": [
                {"name": name, "what": what,
                 "targets": {column: self.verdict(name, column) for column in self.columns}}
                for name, what in self.layers.items()
            ],
        }  # fmt: skip


def check(
    source: str | Path | nn.Module | SpikingGraph,
    example_input: Tensor | None = None,
    *,
    input_range: tuple[float, float] | None = None,
    calibration: Images | None = None,
    **options: Any,
) -> CheckReport:
    """List everything that stands in the way of a network, and what every target would take.

    Nothing is written. Unlike :func:`seenn_deploy.import_model` and
    :func:`seenn_deploy.compile`, it does not stop at the first refusal.

    Parameters
    ----------
    source : str, Path, torch module or SpikingGraph
        What `import_model` takes or gives, or the folder of a program.
    example_input : Tensor, optional
        An input of the live module; only live modules need one.
    input_range : (float, float), optional
        As in :func:`seenn_deploy.compile`.
    calibration : array, path or ImageSet, optional
        As in :func:`seenn_deploy.compile`, for int8; and the images that an ONNX model's
        thresholds come from.
    **options
        As in :func:`seenn_deploy.import_model`.

    Raises
    ------
    ModelError
        When there is no such file. Whatever else is wrong is in the report.

    Examples
    --------
    >>> import seenn_deploy as sd
    >>> report = sd.check(sd.example().network, T=4)
    >>> report.ok, report.takes("lava int8"), report.takes("nir float32")
    (True, 'approx.', 'yes')
    """
    if isinstance(source, str | Path):
        if not Path(source).exists():
            raise ModelError(f"{source}: no such file")
        if (Path(source) / MANIFEST).is_file():
            return _check_program(Path(source), calibration)
    if calibration is not None and has_option(source, "calibration"):
        options["calibration"] = calibration
    name = Path(source).name if isinstance(source, str | Path) else type(source).__name__
    try:
        graph = (
            source
            if isinstance(source, SpikingGraph)
            else import_model(source, example_input, **options)
        )
    except RefusedError as error:
        # What two reports of one import have both noted is shown once.
        once = FidelityReport(error.report.subject, dict.fromkeys(error.report.findings))
        return CheckReport(name, once, {}, {}, {})
    except SeennError as error:
        what = str(error).removeprefix(f"{source}: ")
        return CheckReport(name, _refused(name, name, what), {}, {}, {})
    made = {}
    for p in PRECISIONS:
        samples = None if p == "float32" else calibration
        lower = partial(compile, graph, precision=p, input_range=input_range, calibration=samples)
        made[p] = _lowered(p, lower)
    return _report(name, graph, made)


def _check_program(folder: Path, calibration: Images | None) -> CheckReport:
    """The check of what was compiled before: its own precision, and int8 where it is float32."""
    try:
        program = Program.load(folder)
    except SeennError as error:
        what = str(error).removeprefix(f"{folder}: ")
        return CheckReport(folder.name, _refused(folder.name, folder.name, what), {}, {}, {})
    made: dict[str, tuple[Program | None, FidelityReport]] = {
        program.precision: (program, _simulated(program))
    }
    if program.precision == "float32":
        # Back from integers to floats leads nowhere: the weights have been rounded.
        made["int8"] = _lowered("int8", lambda: to_integers(program, calibration))
    return _report(folder.name, program.graph, made)


def _report(
    name: str, graph: SpikingGraph, made: dict[str, tuple[Program | None, FidelityReport]]
) -> CheckReport:
    notes = graph.provenance
    imported = FidelityReport.from_dict(notes.report) if notes.report else FidelityReport(name)
    layers = {node.name: layer_text(graph, node) for node in graph.layers}
    columns = {f"{SIMULATOR} {precision}": report for precision, (_, report) in made.items()}
    for target in programs.target_names():
        # Only what the target runs at all; a column of refusals would say less than none.
        for precision in (p for p in programs.precisions(target, PRECISIONS) if p in made):
            program, report = made[precision]
            found = report if program is None else _exported(target, program)
            columns[f"{target} {precision}"] = found
    return CheckReport(name, imported, layers, columns, dict(notes.proof))


def _lowered(precision: str, lower: Any) -> tuple[Program | None, FidelityReport]:
    """A program, if there can be one, and what the simulator says of it or the compiler said."""
    try:
        program: Program = lower()
    except RefusedError as error:
        return None, error.report
    except SeennError as error:
        return None, _refused(precision, *_placed(str(error)))
    return program, _simulated(program)


def _placed(error: str) -> tuple[str, str]:
    """Where and what: errors name their place before the first colon, or are of the whole."""
    where, _, what = error.partition(": ")
    # A colon in mid-sentence follows a sentence, and names have no blanks but those of edges.
    return (where, what) if what and " " not in where.replace(" -> ", "") else ("program", error)


def _simulated(program: Program) -> FidelityReport:
    """What the simulator takes: every kind of nodes that it has a form for, and int8's rounding."""
    report = FidelityReport(SIMULATOR)
    # The simulator's own default, which refuses every kind that has registered nothing.
    unknown = runner.dispatch(object)
    for node in program.graph.layers:
        if runner.dispatch(type(node)) is unknown:
            report.findings.append(Finding(node.name, f"no form for a {node.kind} node", "refused"))
        else:
            report.faithful(node.name, node.text)
    if program.provenance.precision:
        report.findings += FidelityReport.from_dict(program.provenance.precision).findings
    return report


def _exported(target: str, program: Program) -> FidelityReport:
    """What a target says of a program, and before it what int8 has rounded."""
    try:
        report = programs.examine(target, program)
    except RefusedError as error:
        report = error.report
    rounded = program.provenance.precision
    before = FidelityReport.from_dict(rounded).findings if rounded else []
    return FidelityReport(target, dict.fromkeys([*report.findings, *before]))


def _refused(subject: str, where: str, what: str) -> FidelityReport:
    return FidelityReport(subject, [Finding(where, what, "refused")])


def _worst(findings: list[Finding]) -> Verdict:
    statuses = {finding.status for finding in findings}
    return "no" if "refused" in statuses else "approx." if "approximated" in statuses else "yes"


def refusals(report: CheckReport) -> Iterator[tuple[str, FidelityReport]]:
    """Every column that says anything but yes, with what it says; alike ones once."""
    told: list[list[Finding]] = []
    for name, found in report.columns.items():
        shown = [f for f in found.findings if f.status != "faithful"]
        if shown and shown not in told:
            told.append(shown)
            yield name, FidelityReport(name, shown)
