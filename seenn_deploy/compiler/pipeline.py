"""The compiler's table of contents."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Literal

from seenn_deploy._typing import checked_types
from seenn_deploy.compiler.passes import balance_delays, cast, fold_affine, fold_pool
from seenn_deploy.compiler.passes.quantize import quantize
from seenn_deploy.errors import ModelError, ProgramError
from seenn_deploy.exits import ExitRule
from seenn_deploy.exits.fixed import Fixed
from seenn_deploy.exits.policy import Policy
from seenn_deploy.io import folders
from seenn_deploy.ir.graph import SpikingGraph
from seenn_deploy.ir.program import Program

PRECISIONS = ("float32", "int8")


@checked_types
def compile(
    graph: SpikingGraph,
    exit_rule: ExitRule | None = None,
    precision: str = "float32",
    schedule: Literal["pipelined", "speculative", "gated"] = "speculative",
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
    schedule : 'pipelined', 'speculative' or 'gated'

    Raises
    ------
    ModelError
        When something cannot be folded, or the policy network that a graph came with is not there.
    ProgramError
        For a precision or schedule that does not exist, or a pipelined schedule with an exit rule
        that decides on the way.

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
    for step in (fold_pool, fold_affine, cast, balance_delays):
        graph = step.apply(graph)
    rule, assumed = (exit_rule, "") if exit_rule is not None else _default_rule(graph)
    program = Program(graph, rule, schedule, exit_rule_assumed=assumed)
    return program if precision == "float32" else to_integers(program)


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
    if folders.sha256(file) != checksum:
        raise ModelError(f"{file}: not what {model} was exported with; {remedy}")


def to_integers(program: Program) -> Program:
    """Quantise a float program to 8-bit weights and 24-bit states; see ``passes.quantize``.

    The provenance keeps the scale of every layer and the errors that rounding caused in it.

    Raises
    ------
    ModelError
        When there is no scale at which a layer fits into these numbers.
    """
    graph, unit, scales = quantize(program.graph, program.input_range)
    notes = replace(graph.provenance, quantized=tuple(asdict(layer) for layer in scales))
    return replace(program, graph=graph.noted(notes), precision="int8", logit_scale=unit)
