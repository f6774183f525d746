"""Counting the network's own layers, where lowering has changed what they cost (``ir.own``)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from seenn_deploy import ir
from seenn_deploy._typing import Array
from seenn_deploy.ir.own import OwnInput, OwnLayer, passed
from seenn_deploy.simulator.kernels import kernels
from seenn_deploy.simulator.spikes import Events


@dataclass(frozen=True, eq=False)
class OwnCount:
    """A trained layer, ready to be counted.

    Parameters
    ----------
    layer : OwnLayer
    index : mapping of str to int
        Index of each node in the graph's order.
    source : Source
    real : bool
        Whether an image or other real values are among its inputs: each element is a
        multiply-accumulate.
    fan_out : float64 array (elements,)
    """

    layer: OwnLayer
    index: dict[str, int]
    source: ir.Source
    real: bool
    fan_out: Array

    @classmethod
    def of(cls, layer: OwnLayer, graph: ir.SpikingGraph, index: dict[str, int]) -> OwnCount:
        """Make a layer of a compiled graph ready."""
        source = graph.source
        nodes = [graph.node(given.pre) for given in layer.inputs]
        real = any(node.analog or node.real for node in nodes)
        wide = np.broadcast_to(layer.fan_out, layer.in_shape).astype(np.float64)
        return cls(layer, index, source, real, wide.reshape(-1))

    def count(self, slots: Array, sent: list[list[Events]], ac: Array, mac: Array) -> None:
        """Add the elements of the layer's input that meet synapses, by kind: design, section 4."""
        units, others = self._by_windows(slots, sent) or self._by_values(slots, sent)
        if self.real:
            units, others = np.zeros_like(units), units + others
        ac[slots] += units
        mac[slots] += others

    def _by_values(self, slots: Array, sent: list[list[Events]]) -> tuple[Array, Array]:
        x = sum(
            passed(given.maps, self._values(given.pre, self._sent(given, sent), slots))
            for given in self.layer.inputs
        )
        flat = np.asarray(x).reshape(len(slots), -1)
        units = np.abs(flat) == 1
        met = ((kind.astype(np.float64) @ self.fan_out) for kind in (units, (flat != 0) & ~units))
        ones, others = (np.rint(m).astype(np.int64) for m in met)
        return ones, others

    def _sent(self, given: OwnInput, sent: list[list[Events]]) -> Events:
        history = sent[self.index[given.pre]]
        return history[min(given.lag, len(history) - 1)]

    def _values(self, name: str, events: Events, slots: Array) -> Array:
        """What a node sent, as the float network has it."""
        values = events.dense(slots).astype(np.float64)
        if name == self.source.name and (self.source.scale != 1 or self.source.offset):
            return values / self.source.scale + self.source.offset
        return values

    def _by_windows(self, slots: Array, sent: list[list[Events]]) -> tuple[Array, Array] | None:
        """Count what was sent behind one pool or none, window by window; None behind all else."""
        (given, *more), fan_out = self.layer.inputs, self.layer.fan_out
        events = self._sent(given, sent)
        simple = not more and len(given.maps) < 2 and len(fan_out) == 1 < fan_out.ndim
        pool = given.maps[0] if given.maps else ir.AvgPool2d((1, 1))
        if not simple or not isinstance(pool, ir.AvgPool2d) or given.pre == self.source.name:
            return None
        size = tuple(n // k for n, k in zip(events.plane.size, pool.kernel, strict=True))
        lies, by_window = events.plane.lies, fan_out.reshape(size)
        if events.graded:
            found = kernels.count_averages(slots, events.flat_values, lies, pool.kernel, by_window)
        else:  # an average is not zero where any of its window spiked
            found = kernels.count_windows(slots, events.masks, lies, pool.kernel, by_window)
        ones, others = found
        return ones, others
