"""Programs, layer by layer, as tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from seenn_deploy.cli.tables.layout import Table, _some, facts_table, numbers_table, shape_text
from seenn_deploy.ir.inspection import LayerInfo
from seenn_deploy.ir.program import Program
from seenn_deploy.verification.precision import PrecisionReport

MOST_ADVICE = 3  # lines of it that are printed


def layer_table(program: Program, layers: list[LayerInfo]) -> Table:
    """Make a table with one row per layer; a narrow one leaves out the shapes of the inputs."""
    headings = ("layer", "synapses from", "in", "out", "neurons", "synapses", "dense MACs", "depth")
    table = Table("ttllrrrr", *headings, spare=2)
    for layer in layers:
        table.add(
            layer.name,
            layer.kind,
            shape_text(layer.shape_in),
            shape_text(layer.shape_out),
            f"{layer.neurons:,}" if layer.neurons else "-",
            f"{layer.synapses:,}",
            f"{layer.dense_macs:,}",
            str(layer.depth),
        )
    totals = (sum(getattr(x, key) for x in layers) for key in ("neurons", "synapses", "dense_macs"))
    depth = program.graph.depth[program.graph.readout.name]
    table.add("total", "", "", "", *(f"{n:,}" for n in totals), f"D={depth}", bold=True)
    return table


def neuron_rows(layers: list[LayerInfo], most: int = 4) -> Iterator[tuple[str, str]]:
    """Yield the lines below the layers: each kind of neuron with the layers that have it."""
    kinds: dict[str, list[str]] = {}
    for layer in layers:
        if layer.neurons:
            # Most networks have one kind of neuron, and a line per layer would say it again and
            # again.
            kinds.setdefault(layer.neuron, []).append(layer.name)
    rows = list(kinds.items())
    for kind, names in rows if len(rows) <= most else rows[: most - 1]:
        yield kind, "all layers" if len(rows) == 1 else _some(names)
    if len(rows) > most:
        yield f"{len(rows) - most + 1} more kinds", "see --json"


def own_rows(layers: list[LayerInfo], most: int = 4) -> Iterator[tuple[str, str]]:
    """Yield the trained layers beside the lowered ones, where lowering changed their synapses."""
    changed = [layer for layer in layers if layer.own_synapses != layer.synapses]
    if not changed:
        return
    own, lowered = (sum(getattr(x, key) for x in layers) for key in ("own_synapses", "synapses"))
    yield "trained synapses", f"{own:,}, lowered {lowered:,}"
    for layer in changed[:most]:
        yield "", f"{layer.name}: {layer.own_synapses:,}, lowered {layer.synapses:,}"
    if len(changed) > most:
        yield "", f"{len(changed) - most} more, see --json"


def quantized_tables(program: Program, changes: PrecisionReport | None) -> Iterator[Table]:
    """Scales and rounding by layer and, of a comparison on images, what they changed."""
    headings = ("scale", "threshold", "largest w", "clipped w", "rounding", "headroom")
    table = numbers_table("layer", *headings, *(("changed",) if changes else ()))
    for layer in program.provenance.quantized:
        share = changes.spikes_changed.get(layer["name"]) if changes else None
        table.add(
            layer["name"],
            f"{layer['scale']:.6g}",
            str(layer["threshold"] or "-"),
            _of(layer),
            str(layer["clipped_weights"]),
            f"{100 * layer['worst_rounding']:.2f} %",
            f"{layer['headroom_bits']:.1f} bits",
            *(("-" if share is None else f"{100 * share:.3f} %",) if changes else ()),
        )
    yield table
    yield facts_table(_quantized_rows(program, changes))


def _of(layer: Mapping[str, Any]) -> str:
    """The largest weight, of what it might be; earlier programs do not say the latter."""
    most = layer.get("levels")
    return f"{layer['largest_weight']}" + (f"/{most}" if most else "")


def _quantized_rows(program: Program, changes: PrecisionReport | None) -> Iterator[tuple[str, str]]:
    open_layers = [x["name"] for x in program.provenance.quantized if not x["headroom_bits"] >= 0]
    yield "", ""
    yield (
        "overflow",
        (
            f"cannot be excluded in {', '.join(open_layers)}; simulate counts it"
            if open_layers
            else "proven impossible in every layer, for any input in range"
        ),
    )
    advice = [layer["advice"] for layer in program.provenance.quantized if layer.get("advice")]
    clipped = [x for x in program.provenance.quantized if x["clipped_weights"]]
    if clipped:
        count = sum(x["clipped_weights"] for x in clipped)
        why = (
            "as samples favour it"
            if changes
            else "the others are finer; --calibration asks samples"
        )
        yield "weights clipped", f"{count:,} in {_some([x['name'] for x in clipped])}: {why}"
    for text in advice[:MOST_ADVICE]:
        yield "advice", text
    if len(advice) > MOST_ADVICE:
        yield "advice", f"{len(advice) - MOST_ADVICE} more, see --json"
    if changes:
        saturated = sum(changes.saturated.values())
        yield "compared on", f"{changes.samples:,} images, every timestep to T"
        yield "wrapped or saturated", f"{saturated:,}"
        yield "predictions changed", f"{changes.predictions_changed:,} of {changes.samples:,}"
        if changes.accuracy:
            before, after = (f"{100 * a:.2f} %" for a in changes.accuracy)
            yield "accuracy", f"{after}, in float32 {before}"
        yield "exit steps changed", str(changes.exits_changed)
        if changes.policy_choices_equal is not None:
            equal = f"{changes.policy_choices_equal:,} of {changes.samples:,}"
            yield "policy network", f"chooses as in float for {equal}"
        # An integer rule looks exponentials up in a table, which rounds.
        yield "decisions near the table's limit", str(changes.near_threshold)
