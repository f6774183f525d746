"""Which neurons of a placed unit fired at each timestep, and which were updated.

A neuron is updated if its potential before the timestep is not 0, its bias is not 0, the image's
current among it, or at least one of its synapses had a spike (``docs/chips.md``).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import singledispatch
from math import prod

import numpy as np

from seenn_deploy import ir
from seenn_deploy._typing import Array
from seenn_deploy.compiler.mapping.units import HOST, pixels
from seenn_deploy.ir.fixed_point import SHIFT
from seenn_deploy.ir.maps import Conv2d, Dense, Identity, PooledDense, Synapses
from seenn_deploy.ir.nodes.population import Population
from seenn_deploy.ir.nodes.readout import Readout
from seenn_deploy.ir.nodes.sum import Sum
from seenn_deploy.simulator.result import RunResult


@dataclass(frozen=True)
class Activity:
    """Fired and updated neurons of n samples, bool (n, T, C, H, W) by unit.

    Parameters
    ----------
    program : Program
    images : float32 array (n, C, H, W), for events (n, T, C, H, W)
    run : RunResult
        Of these images, with ``record`` and ``full_trace``.
    """

    program: ir.Program
    images: Array
    run: RunResult
    _sent: dict[str, Array] = field(default_factory=dict)

    def fired(self, unit: str, layer: str) -> Array:
        """Neurons of a unit that fired; those of a delay line fire as their layer did."""
        name = self.program.graph.source.name if unit == HOST else layer
        return self._as_image(self.sent(name) != 0)

    def updated(self, unit: str, layer: str) -> Array:
        """Neurons of a unit that were updated."""
        if unit != layer:  # a delay line's neurons keep nothing
            return self.fired(unit, layer)
        node, graph = self.program.graph.node(layer), self.program.graph
        found = np.zeros((len(self.images), graph.T, *node.shape), np.bool_)
        found |= _held(node, self.run) | (self._bias(node) != 0)[:, None]
        for edge in graph.into(layer):
            if not self._still(edge):
                found |= _met(edge.synapses, _late(self.sent(edge.pre) != 0, edge.lag))
        runs = np.arange(graph.T) < self.run.ends[:, None]  # a signal may end before T
        return self._as_image(found & runs.reshape(*runs.shape, *[1] * len(node.shape)))

    def sent(self, name: str) -> Array:
        """What a node sends at each timestep, (n, T, *shape); sums send values."""
        if name not in self._sent:
            self._sent[name] = _sends(self.program.graph.node(name), self)
        return self._sent[name]

    def _as_image(self, values: Array) -> Array:
        return values.reshape(*values.shape[:2], *pixels(values.shape[2:]))

    def _still(self, edge: ir.Projection) -> bool:
        """Whether an edge carries an image, whose currents the host writes as biases."""
        source = self.program.graph.source
        return edge.pre == source.name and source.coding == "direct"

    def _bias(self, node: ir.Node) -> Array:
        """Bias and the image's currents, int64 (n, *shape)."""
        graph = self.program.graph
        own = 0 if node.bias is None else np.asarray(node.bias, np.int64)
        total = np.zeros((len(self.images), *node.shape), np.int64) + own
        for edge in graph.into(node.name):
            if self._still(edge):
                image = graph.source.integers(self.images).astype(np.float64)
                total += edge.synapses.currents(image).astype(np.int64) << SHIFT
        return total


def _late(x: Array, lag: int) -> Array:
    late = np.zeros_like(x)
    late[:, lag:] = x[:, : x.shape[1] - lag]
    return late


@singledispatch
def _sends(node: ir.Node, of: Activity) -> Array:
    """What a node sends, (n, T, *shape)."""
    raise NotImplementedError(f"a {node.kind} node on a chip")  # mapping refuses these


@_sends.register
def _(node: ir.Source, of: Activity) -> Array:
    return node.integers(of.images)


@_sends.register
def _(node: Population, of: Activity) -> Array:
    return of.run.spikes[node.name]


@_sends.register
def _(node: Readout, of: Activity) -> Array:
    return np.zeros((len(of.images), of.program.T, *node.shape), np.bool_)


@_sends.register
def _(node: Sum, of: Activity) -> Array:
    n, T = len(of.images), of.program.T
    total = np.zeros((n * T, *node.shape))
    for edge in of.program.graph.into(node.name):
        x = of.sent(edge.pre).astype(np.float64)
        total += edge.synapses.currents(x.reshape(n * T, *x.shape[2:]))
    return total.reshape(n, T, *node.shape)


@singledispatch
def _held(node: ir.Node, run: RunResult) -> Array:
    """Neurons whose potential before each timestep is not 0, (n, T, *shape)."""
    return np.zeros((), np.bool_)  # a sum keeps nothing


@_held.register
def _(node: Population, run: RunResult) -> Array:
    held = run.v[node.name] != 0
    first = np.broadcast_to(np.asarray(node.v_init) != 0, held[:, :1].shape)
    return np.concatenate([first, held[:, :-1]], axis=1)


@_held.register
def _(node: Readout, run: RunResult) -> Array:
    assert run.integer_logits is not None
    held = run.integer_logits != 0
    return np.concatenate([np.zeros_like(held[:, :1]), held[:, :-1]], axis=1)


# --- which neurons had a spike at a synapse -------------------------------------------------------


@singledispatch
def _met(synapses: Synapses, spiked: Array) -> Array:
    """Neurons with a synapse that had a spike, bool (n, T, *out), of bool (n, T, *shape)."""
    shape = spiked.shape[2:]
    ones = synapses.with_weight(np.ones_like(synapses.weight))
    found = ones.currents(spiked.reshape(-1, *shape).astype(np.float64))
    return np.asarray(found.reshape(*spiked.shape[:2], *found.shape[1:]) != 0)


@_met.register
def _(conv: Conv2d, spiked: Array) -> Array:
    """A group's channels have the same synapses, so that one stands for all of them."""
    n, T, channels, *size = spiked.shape
    by_group = spiked.reshape(n * T, conv.groups, channels // conv.groups, *size)
    any_of = np.asarray(by_group.any(axis=2), np.float32)
    ones = np.ones((conv.groups, 1, *conv.weight.shape[2:]), np.float32)
    one = Conv2d(ones, conv.stride, conv.padding, conv.dilation, conv.groups)
    found = one.rounded_currents(any_of)
    found = found.reshape(n, T, *found.shape[1:]).repeat(len(conv.weight) // conv.groups, axis=2)
    return np.asarray(found != 0)


@_met.register(Dense)
@_met.register(PooledDense)
def _(dense: Synapses, spiked: Array) -> Array:
    n, T = spiked.shape[:2]
    some = np.asarray(spiked.reshape(n, T, -1).any(axis=2))
    return some[:, :, None].repeat(prod(dense.out_shape(spiked.shape[2:])), axis=2)


@_met.register
def _(identity: Identity, spiked: Array) -> Array:
    return spiked
