"""Checks as tables: what was imported, what each target makes of each layer, and why."""

from __future__ import annotations

from collections.abc import Iterator

from seenn_deploy.cli.tables.fidelity import fidelity_table
from seenn_deploy.cli.tables.layout import Table, facts_table
from seenn_deploy.fidelity import UNSAID, Proof
from seenn_deploy.verification.check import SIMULATOR, CheckReport, refusals


def check_tables(report: CheckReport) -> Iterator[Table | str]:
    """Yield the import, a line per layer with a column per target, and what is not taken as is."""
    yield facts_table([("source", report.source), *_assumed(report), *_proof(report)])
    if report.imported.findings:
        yield "\nimport"
        yield fidelity_table(report.imported)
    if not report.columns:
        return
    yield ""
    yield _layers(report)
    # The table says where, these say why.
    for name, found in refusals(report):
        yield f"\n{name.removeprefix(SIMULATOR).strip()}"
        yield fidelity_table(found)


def _assumed(report: CheckReport) -> Iterator[tuple[str, str]]:
    told = [f.what.removesuffix(UNSAID) for f in report.imported.findings if f.where == "assumed"]
    if told:
        yield "assumed", ", ".join(told)


def _proof(report: CheckReport) -> Iterator[tuple[str, str]]:
    if report.proof:
        status, _, how = Proof.from_dict(report.proof).text.partition(": ")
        yield status, how


def _layers(report: CheckReport) -> Table:
    headings = [name.removeprefix(f"{SIMULATOR} ").replace(" ", "\n") for name in report.columns]
    table = Table("t" + "l" * len(headings), "layer", *headings)
    for layer in report.layers:
        table.add(layer, *(report.verdict(layer, column) for column in report.columns))
    table.add("all of it", *map(report.takes, report.columns), bold=True)
    return table
