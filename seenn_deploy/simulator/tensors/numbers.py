"""The floating-point type that holds whole numbers exactly, proven from bounds for any input.

A processor's and a GPU's fast products are those of floating-point numbers. Whole numbers are exact
in them, in any order of summation, as long as no partial sum leaves the mantissa: 24 bits of
float32, 53 of float64. ``ir.bounds`` says how far the sums of a layer can go.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from seenn_deploy.errors import ProgramError
from seenn_deploy.ir import bounds
from seenn_deploy.ir.bounds import Interval
from seenn_deploy.ir.graph import Node, Projection
from seenn_deploy.ir.program import Program
from seenn_deploy.simulator.layout import WRAP

MOST = ((torch.float32, 1 << 24), (torch.float64, 1 << 53))
WORD = Interval(-(1 << 31), (1 << 31) - 1)  # what events carry in the other engine


def wrapped(values: Tensor, half: int) -> Tensor:
    """Whole numbers as a register of -half..half - 1 keeps them."""
    return torch.remainder(values + half, 2 * half) - half


@dataclass(frozen=True)
class Numbers:
    """The types of a program's values.

    Parameters
    ----------
    program : Program
    """

    program: Program

    @property
    def whole(self) -> bool:
        """Whether all values are whole numbers: those of an integer program."""
        return self.program.precision != "float32"

    def sent(self, node: Node) -> Interval:
        """What a node of an integer program can send."""
        if node.real:
            return WORD  # no bound is known
        given = bounds.source_values(self.program.graph.source, self.program.input_range)
        return bounds.sent(self.program.graph, node.name, given) or WORD

    def carrying(self, node: Node) -> torch.dtype:
        """The type of what a node sends."""
        return self.type_of(self.sent(node), node.name) if self.whole else torch.float32

    def by(self, edge: Projection) -> Interval:
        """What arrives by an edge of an integer program, before any wrap."""
        pre = self.program.graph.node(edge.pre)
        return bounds.current(edge.synapses, self.sent(pre), pre.shape)

    def wraps(self, edge: Projection) -> bool:
        """Whether the chip's wrapping at 24 bits may change what a convolution gives."""
        return self.whole and edge.synapses.kind == "conv2d" and self.by(edge).size >= WRAP

    def arriving(self, edges: Iterable[Projection]) -> Interval:
        """What arrives by edges together, wrapped or not."""
        return sum((self.by(edge) for edge in edges), Interval(0, 0))

    def type_of(self, values: Interval, where: str) -> torch.dtype:
        """The narrowest type that holds all whole numbers of an interval.

        Raises
        ------
        ProgramError
            When none does.
        """
        for kind, limit in MOST:
            if values.size < limit:
                return kind
        raise ProgramError(
            f"{where}: sums of up to {values.size:,} are beyond 2^53, up to which torch's whole "
            "numbers are exact; leave out the device"
        )
