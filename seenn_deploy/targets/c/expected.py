"""The self-test's inputs and what they have to give, computed slowly with numpy alone.

It is arithmetic of its own, from the equations of the design, section 6: the simulator lies on a
higher floor, and two ways to one result are what a self-test is for.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import singledispatch

import numpy as np

from seenn_deploy import ir
from seenn_deploy._typing import Array
from seenn_deploy.errors import ProgramError
from seenn_deploy.ir.fixed_point import SHIFT, STATE, UNITY
from seenn_deploy.targets.c.layout import Grid

LIMIT = STATE + 1


@dataclass(frozen=True)
class Expected:
    """What one input gives: class, exit step, checksum of potentials, and logits (M,)."""

    answer: int
    exit_step: int
    checksum: int
    logits: Array


def made_up(test: int, places: Array, span: int | None) -> Array:
    """Values of made-up inputs at `places`; those of an input without limits are -8..7."""
    bits = (places.astype(np.uint64) * 2654435761 + test * 40503 + 12345) & 0xFFFFFFFF
    bits = (bits ^ bits >> np.uint64(15)) * np.uint64(2246822519) & np.uint64(0xFFFFFFFF)
    bits = ((bits ^ bits >> np.uint64(13)) >> np.uint64(8)).astype(np.int64)
    return np.asarray(bits % 16 - 8 if span is None else bits % (span + 1))


def run(program: ir.Program, test: int, span: int | None, base: int) -> Expected:
    """Run a made-up input to its exit; a policy network chooses by its own definition."""
    graph, rule = program.graph, program.integer_rule()
    grid = Grid(graph.source.shape)
    states = {node.name: _State.of(node) for node in graph.layers}
    sent: dict[str, list[Array]] = {node.name: [] for node in graph.order}
    checksum, until = 0, program.T
    for t in range(program.T):
        first = t * grid.size if graph.source.coding == "events" else 0
        raw = made_up(test, first + np.arange(grid.size), span)
        sent[graph.source.name].append(grid.restored(raw) + base)
        if t == 0 and program.policy is not None:
            scores = program.policy.scores(sent[graph.source.name][0][None])
            until = int(program.policy.timesteps(scores)[0])
        for node in graph.layers:
            arrived = _arriving(program, node, sent, t)
            sent[node.name].append(_update(node, states[node.name], arrived))
        checksum = (checksum * 31 + _checksum(graph, states)) & 0xFFFFFFFF
        z = states[graph.readout.name].v
        if rule.stops(z[None], np.array([t + 1]))[0] or t + 1 == until:
            return Expected(int(z.argmax()), t + 1, checksum, z)
    raise AssertionError("every sample stops at T")


@dataclass
class _State:
    """Potentials and synaptic currents of a layer."""

    v: Array
    u: Array

    @classmethod
    def of(cls, node: ir.Node) -> _State:
        zero = np.zeros(node.shape, np.int64)
        return cls(zero + np.asarray(getattr(node, "v_init", 0)).astype(np.int64), zero)


def _arriving(program: ir.Program, node: ir.Node, sent: dict[str, list[Array]], t: int) -> Array:
    total = np.zeros(node.arriving, np.int64)
    for edge in program.graph.into(node.name):
        if t >= edge.lag:
            found = edge.synapses.currents(sent[edge.pre][t - edge.lag][None].astype(np.float64))
            sums = np.rint(found[0]).astype(np.int64)
            if edge.synapses.kind == "conv2d":
                sums = (sums + LIMIT) % (2 * LIMIT) - LIMIT
            total += sums
    return _in_32_bits(total)


def _in_32_bits(x: Array) -> Array:
    return np.asarray((x + (1 << 31)) % (1 << 32) - (1 << 31))


def _leaked(x: Array, share: ir.Parameter) -> Array:
    kept = x * np.rint(UNITY * np.asarray(share)).astype(np.int64)
    return np.asarray(np.sign(kept) * (np.abs(kept) >> 12))


@singledispatch
def _update(node: ir.Node, state: _State, arrived: Array) -> Array:
    """Run one timestep of a layer, and return what it sends."""
    raise ProgramError(f"{node.name}: target c has no form for a {node.kind} node")


@_update.register
def _(node: ir.Sum, state: _State, arrived: Array) -> Array:
    return arrived


@_update.register
def _(node: ir.Product, state: _State, arrived: Array) -> Array:
    return node.taken(arrived + node.bias.astype(np.int64))


@_update.register
def _(node: ir.Readout, state: _State, arrived: Array) -> Array:
    state.u = _leaked(state.u, node.tau_syn) + arrived + node.bias.astype(np.int64)
    state.v = _leaked(state.v, node.tau) + state.u
    return state.v


@_update.register
def _(node: ir.Population, state: _State, arrived: Array) -> Array:
    return _fired(node, state, arrived, node.bias.astype(np.int64))


@_update.register
def _(node: ir.Maximum, state: _State, arrived: Array) -> Array:
    bias = node.bias.astype(np.int64)
    if bias.size > 1 and bias.shape[-2:] != (1, 1):  # before the maximum, in units of currents
        return _fired(node, state, node.taken(arrived + (bias >> SHIFT)), np.zeros((), np.int64))
    return _fired(node, state, node.taken(arrived), bias)


def _fired(node: ir.Population, state: _State, arrived: Array, bias: Array) -> Array:
    u = _in_32_bits(arrived << SHIFT)
    u = np.where(u > LIMIT, u - 2 * LIMIT, np.where(u <= -LIMIT, u + 2 * LIMIT, u)) + bias
    if np.any(node.tau_syn):
        u = state.u = np.clip(_leaked(state.u, node.tau_syn) + u, -STATE, STATE)
    v = np.clip(_leaked(state.v, node.tau) + u, -STATE, STATE)
    threshold, taken = (
        np.asarray(x).astype(np.int64) << SHIFT for x in (node.v_threshold, node.subtracted)
    )
    fired = v >= threshold if node.comparison == ">=" else v > threshold
    state.v = np.where(fired, v - taken if node.reset == "soft" else 0, v)
    return np.asarray(fired, np.int64)


def _checksum(graph: ir.SpikingGraph, states: dict[str, _State]) -> int:
    total = 0
    for node in graph.populations:
        v = Grid(node.shape).laid_out(states[node.name].v).ravel() & 0xFFFFFFFF
        odd = 2 * np.arange(len(v), dtype=np.uint64) + 1
        part = int((v.astype(np.uint64) * odd & 0xFFFFFFFF).sum()) & 0xFFFFFFFF
        total = (total * 31 + part) & 0xFFFFFFFF
    return total
