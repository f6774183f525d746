"""The compiler's table of contents."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Literal

import numpy as np

from seenn_deploy.compiler.passes import balance_delays, cast, fold_affine, fold_pool
from seenn_deploy.compiler.passes.quantize import quantize
from seenn_deploy.errors import ProgramError
from seenn_deploy.exits import ExitRule
from seenn_deploy.exits.fixed import Fixed
from seenn_deploy.ir.graph import SpikingGraph
from seenn_deploy.ir.program import Program

PRECISIONS = ("float32", "int8")


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
        ``Fixed()`` by default.
    precision : 'float32' or 'int8'
    schedule : 'pipelined', 'speculative' or 'gated'

    Raises
    ------
    ModelError
        When something cannot be folded.
    ProgramError
        For a precision or schedule that does not exist, or a pipelined schedule with an exit rule
        that decides on the way.
    """
    if precision not in PRECISIONS:
        raise ProgramError(f"precision {precision!r}: there is {', '.join(PRECISIONS)}")
    for step in (fold_pool, fold_affine, cast, balance_delays):
        graph = step.apply(graph)
    folded = graph.provenance.get("assumed", {}).get("mean") is not None
    limits = (0.0, 1.0) if folded else (-np.inf, np.inf)
    program = Program(graph, exit_rule or Fixed(), schedule, "float32", limits)
    return program if precision == "float32" else to_integers(program)


def to_integers(program: Program) -> Program:
    """A float program in 8-bit weights and 24-bit states; ``compiler.quantize`` has the rules.

    The scale of every layer and what rounding did to it goes into the provenance.

    Raises
    ------
    ModelError
        When a layer fits into no scale.
    """
    graph, unit, scales = quantize(program.graph, program.input_range)
    provenance = {"quantized": [asdict(layer) for layer in scales]}
    return replace(program, graph=graph, precision="int8", logit_scale=unit, provenance=provenance)
