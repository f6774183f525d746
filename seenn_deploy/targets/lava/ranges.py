"""The limits of Lava's ``fixed_pt`` arithmetic, which are checked here because Lava does not.

Lava runs a threshold of 18 bits, clips a weight of 300 to 255, drops the lowest bit of odd weights
of mixed sign, and says nothing. Every limit of the design, section 6, is one line here.
"""

from __future__ import annotations

from functools import singledispatch
from math import inf, isfinite
from typing import Any, NoReturn

import numpy as np

from seenn_deploy import ir
from seenn_deploy._typing import Array, Shape
from seenn_deploy.errors import ProgramError
from seenn_deploy.exits import integer
from seenn_deploy.fidelity import FidelityReport
from seenn_deploy.ir.fixed_point import (
    CONV,
    EXPONENT,
    LISTED,
    MANTISSA,
    SHORTCUT,
    STATE,
    THRESHOLD,
    UNITY,
)  # fmt: skip

BITS_32 = 2**31 - 1  # the largest sum before Lava casts it to 32 bits


def check(program: ir.Program, report: FidelityReport) -> None:
    """Gather every node and edge of an integer program with a value that Lava cannot hold."""
    graph = program.graph
    with report.gathering(graph.source.name):
        _check_source(graph.source, program.input_range)
    for node in graph.layers:
        with report.gathering(node.name):
            _check_node(node)
    for edge in graph.projections:
        name = f"{edge.pre} -> {edge.post}"
        with report.gathering(name):
            weight = _integers(f"{name}: weight", edge.synapses.weight)
            shape = graph.node(edge.pre).shape
            _check_weights(edge.synapses, f"{name}: weight", weight, shape)
    with report.gathering("program"):
        _check_sums(program)
    with report.gathering("exit rule"):
        _check_rule(program)


def dv(node: ir.Population) -> Any:
    """Return the leak as Lava counts it, 4096 (1 - tau)."""
    return UNITY - share(node.tau)


def share(tau: ir.Parameter) -> Any:
    """Return the share of a state that a timestep leaves, in 4096ths."""
    return whole(UNITY * tau)


def whole(value: ir.Parameter) -> Any:
    """Return a number, or an array of them, as integers."""
    return np.rint(value).astype(np.int32) if isinstance(value, np.ndarray) else round(value)


def bias_parts(node: ir.Population) -> tuple[Array, int]:
    """Return mantissas (int16, in the bias' shape) and the least exponent that give the bias.

    Raises
    ------
    ProgramError
        When no mantissas and exponent give it.
    """
    bias = _integers(f"{node.name}: bias", node.bias)
    low, high = -MANTISSA - 1, MANTISSA
    for exponent in range(EXPONENT + 1):
        mantissa = bias >> exponent
        if (mantissa << exponent == bias).all() and _within(mantissa, low, high):
            return mantissa.astype(np.int16), exponent
    worst = bias.flat[np.abs(bias).argmax()]
    _fail(
        f"{node.name}: bias {worst}",
        f"a mantissa of {low} to {high} times one power of 2 up to 2^{EXPONENT} for the layer",
    )


# --- nodes -------------------------------------------------------------------------------------


def _check_source(source: ir.Source, limits: tuple[float, float]) -> None:
    if not 0 < source.scale < inf:
        _fail(f"{source.name}: scale {source.scale}", "a number above 0")
    largest = _largest(source, limits)
    if isfinite(largest) and largest > STATE:
        _fail(f"{source.name}: inputs up to {largest:g}", f"messages of 24 bits, {STATE}")


def _largest(source: ir.Source, limits: tuple[float, float]) -> float:
    """Return the largest magnitude that the source sends; infinity without input limits."""
    return max(abs(x - source.offset) for x in limits) * source.scale


@singledispatch
def _check_node(node: ir.Node) -> None:
    """Raise ProgramError where Lava cannot hold a parameter; nodes without any need no form."""


@_check_node.register
def _(node: ir.Population) -> None:
    _check_leak(node, "tau", node.tau)
    _check_leak(node, "tau_syn", node.tau_syn)
    for name, value, low, high in (
        ("threshold", node.v_threshold, 0, THRESHOLD),
        ("reset_by", node.subtracted, 0, THRESHOLD),
        ("initial potential", node.v_init, -STATE, STATE),
    ):
        values = np.ravel(value)
        outside = values[(values != np.rint(values)) | (values < low) | (values > high)]
        if outside.size:
            _fail(f"{node.name}: {name} {outside[0]:g}", f"whole numbers from {low} to {high}")
    bias_parts(node)


def _check_leak(node: ir.Population | ir.Readout, name: str, tau: ir.Parameter) -> None:
    leaks = UNITY * np.ravel(tau)
    wrong = leaks[(leaks < 0) | (leaks > UNITY) | (leaks != np.rint(leaks))]
    if wrong.size:
        _fail(f"{node.name}: {name} {wrong[0] / UNITY}", f"multiples of 1/{UNITY} from 0 to 1")


@_check_node.register
def _(node: ir.Readout) -> None:
    _check_leak(node, "tau", node.tau)
    _check_leak(node, "tau_syn", node.tau_syn)
    bias = _integers(f"{node.name}: bias", node.bias)
    if not _within(bias, -BITS_32, BITS_32):
        _fail(f"{node.name}: bias {np.abs(bias).max()}", f"32 bits, {BITS_32}")


# --- synapses ------------------------------------------------------------------------------------


@singledispatch
def _check_weights(synapses: ir.Synapses, name: str, weight: Array, in_shape: Shape) -> None:
    """Raise ProgramError for weights beyond what Lava's process for the synapses holds: a list."""
    _check_signs(name, summed(ir.Sparse.listing(synapses, in_shape)))


@_check_weights.register
def _(synapses: ir.Conv2d, name: str, weight: Array, in_shape: Shape) -> None:
    _in_range(name, weight, -CONV - 1, CONV)


@_check_weights.register(ir.Identity)
@_check_weights.register(ir.Dense)
@_check_weights.register(ir.PooledDense)
def _(synapses: ir.Synapses, name: str, weight: Array, in_shape: Shape) -> None:
    _check_signs(name, weight.reshape(-1))


def summed(synapses: ir.Sparse) -> Array:
    """Add up a list's several synapses of one pair of neurons, as a matrix holds them."""
    pairs = synapses.sources * (int(synapses.targets.max(initial=0)) + 1) + synapses.targets
    _, place = np.unique(pairs, return_inverse=True)
    total = np.zeros(place.max(initial=-1) + 1, np.int64)
    np.add.at(total, place.ravel(), synapses.weight.astype(np.int64))
    return total


def _check_signs(name: str, weight: Array) -> None:
    """Check a matrix against the range of its sign mode, which Lava infers from its values."""
    if not weight.size or weight.min() >= 0:
        _in_range(name, weight, 0, SHORTCUT)
    elif weight.max() <= 0:
        _in_range(name, weight, -SHORTCUT, 0)
    else:
        _in_range(name, weight, -LISTED - 2, LISTED)
        odd = weight[weight % 2 != 0]
        if odd.size:
            _fail(f"{name} {odd[0]}", "even numbers where a matrix has both signs")


def _in_range(name: str, values: Array, low: int, high: int) -> None:
    outside = values[(values < low) | (values > high)]
    if outside.size:
        _fail(f"{name} {outside.flat[np.abs(outside).argmax()]}", f"{low} to {high}")


def _check_sums(program: ir.Program) -> None:
    """Check that convolution sums, which Lava casts from float64, fit 32 bits before they wrap."""
    largest = messages(program)
    for edge in program.graph.projections:
        sent, shape = largest[edge.pre], program.graph.node(edge.pre).shape
        # Without input limits nothing is proven here: the bundle keeps `input_limit` and checks
        # its data.
        if isfinite(sent) and (total := most(edge, shape) * round(sent)) > BITS_32:
            _fail(f"{edge.pre} -> {edge.post}: sums up to {total}", f"32 bits, {BITS_32}")


def messages(program: ir.Program) -> dict[str, float]:
    """Return the largest magnitude that each node sends; infinity without input limits."""
    graph = program.graph
    largest: dict[str, float] = {}
    for node in graph.order:
        largest[node.name] = 1.0
        # A sum sends as much as all that it adds; everything else sends one spike.
        if not node.stages:
            largest[node.name] = _total(graph, node, largest)
    largest[graph.source.name] = _largest(graph.source, program.input_range)
    return largest


def _total(graph: ir.SpikingGraph, node: ir.Node, largest: dict[str, float]) -> float:
    total = sum(
        largest[edge.pre] * most(edge, graph.node(edge.pre).shape) for edge in graph.into(node.name)
    )
    if total > STATE:
        _fail(f"{node.name}: sums up to {total:g}", f"messages of 24 bits, {STATE}")
    return total


def most(edge: ir.Projection, in_shape: Shape) -> int:
    """Return the largest sum of |weights| of one target neuron, with padding taken as input."""
    weight = np.abs(edge.synapses.weight.astype(np.int64))
    return int(edge.synapses.summed(weight, in_shape).max(initial=0))


def check_without_wrap(edge: ir.Projection, program: ir.Program) -> None:
    """Raise ProgramError where a convolution's sums may wrap at 24 bits, which no list does."""
    total = most(edge, program.graph.node(edge.pre).shape) * messages(program)[edge.pre]
    if total > STATE:
        _fail(f"{edge.pre} -> {edge.post}: sums up to {total:g} in a list", f"24 bits, {STATE}")


@singledispatch
def needs_split(synapses: ir.Synapses) -> bool:
    """Tell whether a list of both signs and odd weights needs two matrices of one sign each.

    Weights of other kinds are made even, or are not clipped.
    """
    return False


@needs_split.register
def _(synapses: ir.Sparse) -> bool:
    weight = synapses.weight
    integers = weight.dtype.kind == "i"
    return integers and bool((weight > 0).any() and (weight < 0).any() and (weight % 2 != 0).any())


def input_limit(program: ir.Program) -> float:
    """Return the largest |x - offset| whose messages fit 24 bits and whose sums fit 32."""
    graph = program.graph
    source = graph.source
    sums = [most(e, source.shape) for e in graph.projections if e.pre == source.name]
    return min(STATE, BITS_32 // max(1, *sums)) / source.scale


# --- what the program adds ---------------------------------------------------------------------


def _check_rule(program: ir.Program) -> None:
    try:
        integer.lower(program.exit_rule, logit_scale(program), program.T)
    except ValueError as error:
        raise ProgramError(str(error)) from None


def logit_scale(program: ir.Program) -> float:
    """Return the factor from integer logits to real ones; 1 for a float program."""
    return float(getattr(program, "logit_scale", 1.0))


def _integers(name: str, values: Array) -> Array:
    rounded = np.asarray(values).astype(np.int64)
    if not np.array_equal(rounded, values):
        wrong = np.asarray(values)[rounded != values].flat[0]
        _fail(f"{name} {wrong:g}", "whole numbers")
    return rounded


def _within(values: Array, low: int, high: int) -> bool:
    return bool(values.size == 0 or (values.min() >= low and values.max() <= high))


def _fail(found: str, limit: str) -> NoReturn:
    raise ProgramError(f"{found}: Lava's fixed_pt holds {limit}")
