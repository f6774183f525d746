"""The compiler's table of contents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from seenn_deploy._typing import checked_types
from seenn_deploy.compiler import memory
from seenn_deploy.compiler.passes import (
    activity,
    balance_delays,
    cast,
    fold_affine,
    fold_factor,
    fold_pool,
    input_scale,
    own_layers,
    sum_pools,
    sum_windows,
)
from seenn_deploy.compiler.passes import attention_order as orders
from seenn_deploy.compiler.passes.quantize import LayerScale, quantize
from seenn_deploy.errors import ModelError, ProgramError
from seenn_deploy.exits import ExitRule
from seenn_deploy.exits.fixed import Fixed
from seenn_deploy.exits.policy import Policy
from seenn_deploy.exits.policy_network.integer import IntegerPolicy
from seenn_deploy.fidelity import FidelityReport
from seenn_deploy.io import folders
from seenn_deploy.io.images.image_set import Images, ImageSet
from seenn_deploy.io.images.spec import bounded
from seenn_deploy.ir import policy
from seenn_deploy.ir.graph import Source, SpikingGraph
from seenn_deploy.ir.inputs import for_program
from seenn_deploy.ir.program import Program, prepared_for
from seenn_deploy.ir.schedule import Schedule

PRECISIONS = ("float32", "int8")


@checked_types
def compile(
    graph: SpikingGraph,
    exit_rule: ExitRule | None = None,
    precision: str = "float32",
    schedule: Schedule = "sequential",
    *,
    input_range: tuple[float, float] | None = None,
    calibration: Images | None = None,
    pools: sum_pools.Pools = "fold",
    attention_order: orders.Order = "module",
    resize: int | None = None,
    crop: int | tuple[int, int] | None = None,
    strict: bool = False,
    allow: Sequence[str] = (),
) -> Program:
    """Lower a float graph to a program.

    Parameters
    ----------
    graph : SpikingGraph
        As a frontend gives it: pools, batch norms and normalisation still there.
    exit_rule : ExitRule, optional
        By default the one that the network came with (``graph.exit_rule``), as SEENN's own
        checkpoints do; without one ``Fixed()``. ``program.exit_rule_assumed`` then says why.
    precision : 'float32' or 'int8'
    schedule : 'sequential', 'pipelined', 'speculative', 'gated' or 'staged'
        How timesteps follow each other. A target with a pipeline replaces 'sequential' by its own
        default when the program is written for it.
    input_range : (float, float), optional
        Smallest and largest input value, where the network's normalisation does not say it. Real
        values of an int8 program beyond it are clipped.
    calibration : array, path or ImageSet, optional
        Samples, as the program takes them, from which int8 takes the scales of the input (all of
        them) and of the weights (the first 16); see ``passes.quantize``. `pools` and
        `attention_order` count on them.
    pools : 'fold', 'sum' or 'auto'
        Whether an average pool becomes part of the layer behind it, whose fan-out every spike then
        pays, or a node that sums the spikes of each window and sends the sum; 'auto' takes what
        costs less on the calibration samples, or where every neuron spikes.
        ``program.provenance.pools`` has both counts.
    attention_order : 'module' or 'cheapest'
        Order of the products of attention: the network's own, or the one with the fewest
        accumulates, (q k^T) v or q (k^T v), on the calibration samples or where every neuron
        spikes; spikes and logits are the same. ``program.provenance.attention`` has both counts.
    resize : int, optional
        Pixels that the shorter side of image files is brought to before the network, bilinear with
        antialiasing: 256 for most networks of ImageNet. The program keeps it, and everything that
        runs it on image files does it; arrays are taken as they are.
    crop : int or (int, int), optional
        What is cut out of the middle after that: the network's own height and width, the default.
    strict : bool
        Whether to refuse whatever import or precision only approximate.
    allow : names
        Places or reports that may be approximated all the same: ``["int8"]``.

    Raises
    ------
    ModelError
        When something cannot be folded, or the policy network that a graph came with is not there.
    ProgramError
        For a precision or schedule that does not exist, or a pipelined schedule with an exit rule
        that decides on the way.
    RefusedError
        When `strict` refuses an approximation.
    ResourceError
        When compiling needs more memory than there is.

    Examples
    --------
    >>> import seenn_deploy as sd
    >>> files = sd.example()
    >>> graph = sd.import_model(files.network, T=4)
    >>> program = sd.compile(graph, sd.exits.Confidence(0.95), precision="int8")
    >>> program.precision, program.exit_rule.alpha
    ('int8', 0.95)
    """
    if precision not in PRECISIONS:
        raise ProgramError(f"precision {precision!r}: there is {', '.join(PRECISIONS)}")
    counts = pools == "auto" or attention_order == "cheapest"
    if calibration is not None and precision == "float32" and not counts:
        raise ProgramError(
            "calibration is for the scales of int8, for pools='auto' and for "
            "attention_order='cheapest'; add one of them"
        )
    if input_range is not None:
        graph = _stated(graph, input_range)
    if resize is not None or crop is not None:
        graph = prepared_for(graph, resize, crop)
    rule, assumed = (exit_rule, "") if exit_rule is not None else _default_rule(graph)
    if pools in sum_pools.CHOICES:  # any other word is refused below
        memory.require(graph, pools, precision)
    graph = sum_windows.apply(graph)
    sent = None
    if counts and calibration is not None:
        folded = Program(_folded(own_layers.noted(graph)), rule)
        sent = activity.sent(folded.graph, for_program(folded, calibration))
    graph, products = orders.apply(graph, attention_order, sent)
    # Before folding, which makes one layer of several.
    graph, costs = sum_pools.apply(own_layers.noted(graph), pools, sent)
    notes = replace(
        graph.provenance, pools=sum_pools.noted(costs), attention=orders.noted(products)
    )
    graph = _folded(graph).noted(notes)
    program = Program(graph, rule, schedule, exit_rule_assumed=assumed)
    if precision != "float32":
        program = to_integers(program, calibration)
    program.provenance.check(strict, allow)
    return program


def _folded(graph: SpikingGraph) -> SpikingGraph:
    # Pools before affine maps, which may stand behind; delays last, when the stages are known.
    for step in (fold_factor, fold_pool, fold_affine, cast, balance_delays):
        graph = step.apply(graph)
    return own_layers.kept(graph)


def _default_rule(graph: SpikingGraph) -> tuple[ExitRule, str]:
    """The exit rule of a program that nobody chose one for, and why it is this one."""
    rule = graph.exit_rule
    if rule is None:
        return Fixed(), "the network came without an exit rule"
    if isinstance(rule, Policy):
        _check_network(Path(rule.onnx), rule.sha256, graph.provenance.source)
    return rule, "the network came with it"


def _check_network(file: Path, checksum: str, model: str) -> None:
    """Raise ModelError unless a policy network is the one that a model was exported with."""
    remedy = "put it back, or choose another rule with --policy or --exit"
    if not file.is_file():
        raise ModelError(f"{file}: {model} was exported with this policy network; {remedy}")
    # The exits would still look sensible, and be those of another network.
    if folders.sha256(file) != checksum:
        raise ModelError(f"{file}: not what {model} was exported with; {remedy}")


def to_integers(program: Program, calibration: Images | None = None) -> Program:
    """Quantise a float program to 8-bit weights and 24-bit states; see ``passes.quantize``.

    The provenance keeps the scale of every layer and the errors that rounding caused in it.
    `calibration` is that of `compile`.

    Raises
    ------
    ModelError
        When there is no scale at which a layer fits into these numbers.
    """
    samples = None if calibration is None else for_program(program, calibration)
    source, of = input_scale.scaled(program.graph.source, samples)
    graph = program.graph.replace([source, *program.graph.layers])
    # In float, since scales have to be chosen before there are integers to run.
    sent = None if samples is None else activity.sent(graph, samples)
    graph, unit, scales = quantize(graph, source.input_range, sent)
    report = FidelityReport("int8")
    input_scale.report(graph.source, of, report)
    for layer in scales:
        report.approximated(layer.name, "8-bit weights", _rounding(layer))
    quantized = tuple(asdict(layer) | {"advice": layer.advice} for layer in scales)
    chooses = None
    if isinstance(program.exit_rule, Policy):
        chooses = _policy(program.exit_rule, graph.source, samples, report)
    notes = replace(graph.provenance, quantized=quantized, precision=report.to_dict())
    return replace(
        program,
        graph=graph.noted(notes),
        precision="int8",
        input_range=source.input_range,
        logit_scale=unit,
        policy=chooses,
    )


def _policy(
    rule: Policy, source: Source, samples: ImageSet | None, report: FidelityReport
) -> IntegerPolicy:
    """The integer form of a policy network; how often it chooses otherwise goes into the report."""
    if samples is None:
        report.findings.append(policy.found(None, 0))
        return policy.lowered(rule, source)
    made = policy.lowered(rule, source, samples.batches(input_scale.BATCH))
    equal = policy.equal_choices(made, rule, source, samples.batches(input_scale.BATCH))
    report.findings.append(policy.found(equal, len(samples)))
    return made


def _rounding(layer: LayerScale) -> str:
    of = "of the threshold" if layer.threshold else "in logits"
    size = 100 * layer.worst_rounding if layer.threshold else layer.worst_rounding
    clipped = f", {layer.clipped_weights} clipped" if layer.clipped_weights else ""
    return f"rounded by up to {size:.2g}{' %' if layer.threshold else ''} {of}{clipped}"


def _stated(graph: SpikingGraph, limits: tuple[float, float]) -> SpikingGraph:
    """The graph with the range of its input as somebody stated it."""
    source, (low, high) = graph.source, limits
    if source.normalization is not None:
        raise ModelError(
            f"input_range {low:g}, {high:g}: normalisation is part of this program, which takes "
            "pixels 0..1; leave the range out"
        )
    if not (bounded(limits) and low < high):
        raise ModelError(f"input_range {low:g}, {high:g}: give two numbers, the smaller one first")
    told = replace(source, input_range=(low, high), real_range=(low, high))
    return graph.replace([told, *graph.layers])
