"""What values of a program can be, for any input: from it follow the types in C."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from seenn_deploy import ir
from seenn_deploy.ir import bounds
from seenn_deploy.ir.bounds import Interval
from seenn_deploy.ir.fixed_point import SHIFT, STATE, UNITY

WRAP = 1 << 23  # the sum of a convolution is a signed integer of 24 bits (design, section 6)
WORD = (1 << 31) - 1


@dataclass(frozen=True)
class Ranges:
    """The ranges of a program's values.

    Parameters
    ----------
    program : Program
        Of int8 precision.
    """

    program: ir.Program

    @property
    def input(self) -> Interval | None:
        """What the source sends; None without limits."""
        return bounds.source_values(self.program.graph.source, self.program.input_range)

    def sent(self, node: ir.Node) -> Interval | None:
        """What a node sends; None without limits, or where it may not fit 32 bits."""
        return _held(bounds.sent(self.program.graph, node.name, self.input))

    def edge(self, edge: ir.Projection) -> Interval | None:
        """What arrives by an edge, before any wrap."""
        pre = self.program.graph.node(edge.pre)
        values = self.sent(pre)
        return None if values is None else bounds.current(edge.synapses, values, pre.shape)

    def wraps(self, edge: ir.Projection) -> bool:
        """Whether the sums of an edge may leave the 24 bits that a convolution has."""
        found = self.edge(edge)
        return edge.synapses.kind == "conv2d" and (found is None or found.size >= WRAP)

    def arriving(self, node: ir.Node) -> Interval | None:
        """What arrives at a node by all edges, without its bias; None where it may wrap."""
        total = Interval(0, 0)
        for edge in self.program.graph.into(node.name):
            found = self.edge(edge)
            if found is None:
                return None
            total += Interval(-WRAP, WRAP - 1) if self.wraps(edge) else found
        return _held(total)


def _held(found: Interval | None) -> Interval | None:
    return found if found is not None and found.size <= WORD else None


def potentials(node: ir.Population, arriving: Interval | None, T: int) -> Interval | None:
    """What the potential of neurons with the same constants is after 0..T timesteps.

    None where a current may wrap at 24 bits behind its shift.
    """
    bias = np.asarray(node.bias, np.int64)
    if arriving is None or (arriving.size << SHIFT) >= STATE:
        return None
    least = (arriving.low << SHIFT) + int(bias.min())
    most = (arriving.high << SHIFT) + int(bias.max())
    threshold, taken = int(node.v_threshold) << SHIFT, int(node.subtracted) << SHIFT
    keep = round(UNITY * float(node.tau))
    low = high = reached_low = reached_high = int(node.v_init)
    for _ in range(T):
        # Every step of the arithmetic keeps the order of two potentials.
        low = max(_leaked(low, keep) + least, -STATE)
        rises = min(_leaked(high, keep) + most, STATE)
        after_spike = (threshold - taken, rises - taken) if node.reset == "soft" else (0, 0)
        high = max(min(rises, threshold), *after_spike)
        low = min(low, *after_spike)
        reached_low, reached_high = min(low, reached_low), max(high, reached_high)
    return Interval(reached_low, reached_high)


def _leaked(v: int, keep: int) -> int:
    """What a leak leaves of a potential, rounded toward zero."""
    return v * keep // UNITY if v >= 0 else -(-v * keep // UNITY)


def logits(node: ir.Readout, arriving: Interval | None, T: int) -> int | None:
    """The largest magnitude of logits without a leak; None without limits."""
    if arriving is None:
        return None
    bias = np.asarray(node.bias, np.int64)
    return T * max(abs(arriving.low + int(bias.min())), abs(arriving.high + int(bias.max())))
