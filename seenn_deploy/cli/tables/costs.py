"""Cost models as tables: all of them, one in full, and one run under all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from seenn_deploy.cli.tables.layout import Table, _uj, facts_table, numbers_table
from seenn_deploy.costs.model import CostModel, Memory
from seenn_deploy.evaluation.conventions import Matrix

NOTE = (
    "pJ per operation, and the source of an AC's price; seenn costs NAME has all of\n"
    "them. NeuroBench counts operations and states no joules: see docs/costs.md."
)


def models_tables(models: Sequence[CostModel]) -> Iterator[Table | str]:
    """Yield one row per model, its prices and what they are for, and the sources of the prices."""
    sources = list(dict.fromkeys(model.sources["ac"] for model in models))
    table = Table("lrrtr", "cost model", "AC", "MAC", "includes", "source")
    for model in models:
        table.add(
            model.name,
            f"{model.prices['ac']:g}",
            f"{model.prices['mac']:g}",
            ", ".join(model.includes),
            f"[{1 + sources.index(model.sources['ac'])}]",
        )
    yield table
    yield ""
    yield facts_table((f"[{n}]", source) for n, source in enumerate(sources, 1))
    yield ""
    yield NOTE


def model_tables(model: CostModel) -> Iterator[Table | str]:
    """Yield what one model says: its prices, its memories, and what it leaves out."""
    yield facts_table([("cost model", model.name), ("about", model.about)])
    yield ""
    table = Table("lrt", "one", "pJ", "source")
    _add(table, "", model.prices, model.sources)
    _add(table, "address: ", model.addressing, model.addressing_sources)
    _add(table, "not applied: ", model.not_applied, model.not_applied_sources)
    yield table
    if model.memory is not None:
        yield ""
        yield facts_table(_memory_rows(model.memory))
    if model.no_ann:
        yield ""
        yield facts_table([("ANN", model.no_ann)])


def _add(table: Table, what: str, prices: Mapping[str, float], sources: Mapping[str, str]) -> None:
    for name, price in prices.items():
        table.add(f"{what}{name}", f"{price:g}", sources[name])


def _memory_rows(memory: Memory) -> Iterator[tuple[str, str]]:
    yield "memory", memory.about
    widths = set(memory.word_bits.values())
    each = ", ".join(f"{bits} bits of {place}" for place, bits in memory.word_bits.items())
    yield "word", f"{widths.pop()} bits" if len(widths) == 1 else each
    for count, words in memory.traffic.items():
        yield f"per {count}", ", ".join(f"{n:g} of {place}" for place, n in words.items())
    access = f"access of {memory.access_bits} bits"
    if memory.line is not None:
        base, rise = memory.line
        yield access, f"{base:g} pJ and {rise:g} pJ per byte of the memory: {memory.sources[0]}"
    for (size, price), source in zip(memory.levels, memory.sources, strict=False):
        yield access, f"{price:g} pJ up to {size:,} bytes: {source}"
    if len(memory.levels) > 1:
        how = {"step": "as much as the next larger size", "linear": "in proportion"}
        yield "between two sizes", how[memory.between]


def matrix_tables(matrix: Matrix) -> Iterator[Table | str]:
    """Yield one run under all models, in microjoules per sample, and why figures are missing."""
    table = numbers_table(
        "cost model, uJ", "energy", "wasted", "policy", "ANN", f"{matrix.bits}-bit", "ANN / SNN"
    )
    for row in matrix.rows:
        cells = (row.total, row.wasted, row.policy, row.dense_ann, row.quantized_ann)
        ratio = row.dense_ann / row.total if row.dense_ann and row.total else None
        table.add(
            row.name,
            *("-" if joules is None else _uj(1e6 * joules) for joules in cells),
            "-" if ratio is None else f"{ratio:.1f}",
        )
    yield table
    reasons = [(row.name, row.reason) for row in matrix.rows if row.reason]
    if reasons:
        yield ""
        yield facts_table(reasons)
